"""The measure of wrong verdicts: mutators change what they say, and nothing else; a blind judge is caught."""

from __future__ import annotations

import dataclasses
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from benchmarks.soundness import __main__ as program
from benchmarks.soundness import checking, pool, table
from benchmarks.soundness.interception import Mutation, Watch, watched
from benchmarks.soundness.mutators import MUTATORS, mutants
from benchmarks.soundness.oracle import Oracle
from benchmarks.soundness.outcome import FALSE_EQUIVALENT, HARMLESS, INVALID, Outcome, pattern
from benchmarks.soundness.sites import drawn, mutated, survey
from benchmarks.soundness.specimens import Pair, pairs

from lockstep.results.model import Culprit, Report, Verdict


class Sample(keras.layers.Layer):
    """One operation of each sort that a mutator looks for."""

    def build(self, shape):
        self.first = self.add_weight(shape=(3, 3), name="first", initializer="ones", regularizer="l2")
        self.second = self.add_weight(shape=(3, 3), name="second")
        self.average = self.add_weight(shape=(3,), name="average", initializer="zeros", trainable=False)

    def call(self, x, training=False):
        x = tf.convert_to_tensor(x)
        net = tf.nn.relu(tf.matmul(x, self.second.value) * 3.0 - 0.5)
        net = tf.minimum(net, 1.5) + tf.stop_gradient(net)
        net = tf.concat([net, tf.matmul(x, self.second.value)], axis=1)
        mean = tf.reduce_mean(x, axis=0)
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axis=0)
        if training:
            with tf.name_scope("noise"):
                net += tf.random.uniform([4, 6])
            with tf.name_scope("update"):
                self.average.value.assign(0.9 * self.average.value + 0.1 * mean)
        return {"net": net, "variance": variance, "table": tf.matmul(self.first.value, self.second.value)}


X = np.random.default_rng(3).normal(size=(4, 3)).astype("float32")


@pytest.fixture(scope="module")
def found():
    return {mutant.name: mutant for mutant in mutants(survey(Sample, X))}


@pytest.fixture(scope="module")
def oracle():
    return Oracle(Sample, X)


def called(build, training=False, calls=1):
    """Returns the layer, what it returned in its last call, and gradients of the sum of all that."""
    layer = build()
    with drawn():
        layer(X, training=training)
    layer.second.assign(np.arange(9, dtype="float32").reshape(3, 3) / 5 - 0.5)
    layer.average.assign([1.0, 2.0, 3.0])
    for _ in range(calls):
        with drawn(), tf.GradientTape() as tape:
            returned = layer(X, training=training)
            total = tf.add_n([tf.reduce_sum(tf.cast(one, tf.float32)) for one in returned.values()])
        gradients = tape.gradient(total, [layer.first.value, layer.second.value])
    return layer, {name: np.asarray(one) for name, one in returned.items()}, [np.asarray(g) for g in gradients]


def only(found, expression):
    names = [name for name in found if re.search(expression, name)]
    assert len(names) == 1, names or list(found)
    return found[names[0]]


def changed(found, expression, training=False):
    """Returns what a mutant gives, and what the original does."""
    mutation = only(found, expression).make()
    result = called(mutated(Sample, mutation), training)
    assert mutation.applied == 2
    return result, called(Sample, training)


@pytest.mark.parametrize("training", [False, True])
def test_a_candidate_under_watch_computes_the_same_bit_for_bit(training):
    layer, outputs, gradients = called(mutated(Sample, Mutation()), training)
    plain, expected, expected_gradients = called(Sample, training)
    assert all(np.array_equal(outputs[name], expected[name]) for name in expected)
    assert all(np.array_equal(a, b) for a, b in zip(gradients, expected_gradients, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), plain.get_weights(), strict=True))


def test_every_family_finds_something(found):
    families = {mutant.family for mutant in found.values()}
    assert families >= (set(MUTATORS) - {"index"}) | {
        "cast",
        "shape",
        "initial",
        "loss",
    }  # no operation here has an index


def test_a_mutation_is_the_same_in_every_call(found):
    make = only(found, r"^:Mul:0\|constant:x1\.1\[1\]").make
    _, once, _ = called(mutated(Sample, make()))
    _, thrice, _ = called(mutated(Sample, make()), calls=3)
    assert np.array_equal(once["net"], thrice["net"])


def test_another_constant(found):
    (_, mutant, _), (_, original, _) = changed(found, r"^:Mul:0\|constant:x1\.1\[1\]")
    inner = X @ (np.arange(9, dtype="float32").reshape(3, 3) / 5 - 0.5)
    relu = np.maximum(inner * 3.3 - 0.5, 0)
    np.testing.assert_allclose(mutant["net"][:, :3], np.minimum(relu, 1.5) + relu, rtol=1e-5, atol=1e-6)
    assert np.array_equal(mutant["variance"], original["variance"])


def test_operands_exchanged(found):
    (_, mutant, _), _ = changed(found, r"^:Sub:0\|swap")
    inner = X @ (np.arange(9, dtype="float32").reshape(3, 3) / 5 - 0.5)
    relu = np.maximum(0.5 - inner * 3, 0)
    np.testing.assert_allclose(mutant["net"][:, :3], np.minimum(relu, 1.5) + relu, rtol=1e-5, atol=1e-6)


def test_an_operation_left_out_or_another_one(found):
    inner = X @ (np.arange(9, dtype="float32").reshape(3, 3) / 5 - 0.5) * 3 - np.float32(0.5)
    (_, mutant, _), _ = changed(found, r"^:Relu:0\|omit:\[0\]")
    np.testing.assert_allclose(mutant["net"][:, :3], np.minimum(inner, 1.5) + inner, rtol=1e-5, atol=1e-6)
    (_, mutant, _), _ = changed(found, r"^:Relu:0\|kind:Abs")
    np.testing.assert_allclose(mutant["net"][:, :3], np.minimum(abs(inner), 1.5) + abs(inner), rtol=1e-5, atol=1e-6)


def test_another_variable_of_the_same_shape_and_a_transposed_one(found):
    (_, mutant, _), (layer, original, _) = changed(found, r"^:MatMul:2\|variable:0\[1\]")
    first, second = (np.asarray(v) for v in (layer.first, layer.second))
    np.testing.assert_allclose(mutant["table"], first @ first, rtol=1e-6)
    (_, mutant, _), _ = changed(found, r"^:MatMul:2\|transpose:\[1\]")
    np.testing.assert_allclose(mutant["table"], first @ second.T, rtol=1e-6, atol=1e-6)
    assert np.array_equal(mutant["net"], original["net"])


def test_half_precision(found):
    (_, mutant, _), (_, original, _) = changed(found, r"^:MatMul:2\|half:float16")
    assert np.array_equal(mutant["table"], original["table"].astype("float16").astype("float32"))
    assert not np.array_equal(mutant["table"], original["table"])


def test_another_axis_and_an_unbiased_variance(found):
    (_, mutant, _), (_, original, _) = changed(found, r"^:Mean:1\|variance:unbiased")
    np.testing.assert_allclose(mutant["variance"], original["variance"] * 4 / 3, rtol=1e-6)
    (_, mutant, _), _ = changed(found, r"^:Mean:1\|axis:\+1")
    assert mutant["variance"].shape == (4,)


def test_gradients_are_mutated_without_the_value(found):
    (_, mutant, gradients), (_, original, expected) = changed(found, r"^:MatMul:2\|gradient:stopped")
    assert all(np.array_equal(mutant[name], original[name]) for name in original)
    assert not gradients[0].any()
    assert expected[0].any()
    (_, mutant, gradients), _ = changed(found, r"^:MatMul:2\|gradient:x1\.1")
    assert np.array_equal(mutant["table"], original["table"])
    np.testing.assert_allclose(gradients[0], 1.1 * expected[0], rtol=1e-5)
    (_, mutant, gradients), _ = changed(found, r"^:StopGradient:0\|gradient:no stop")
    assert np.array_equal(mutant["net"], original["net"])
    assert not np.allclose(gradients[1], expected[1])


def test_updates(found):
    (lost, _, _), (original, _, _) = changed(found, r"^update:AssignVariableOp:0@training\|update:lost", training=True)
    assert np.array_equal(np.asarray(lost.average), [1, 2, 3])
    (paced, _, _), _ = changed(found, r"^update:AssignVariableOp:0@training\|update:pace x0\.5", training=True)
    np.testing.assert_allclose(
        np.asarray(paced.average) - [1, 2, 3], (np.asarray(original.average) - [1, 2, 3]) / 2, rtol=1e-5
    )


def test_another_draw(found):
    (_, mutant, _), (_, original, _) = changed(found, r"^noise:RandomUniform:0@training\|draw:seed", training=True)
    assert abs(mutant["net"] - original["net"]).max() > 0.1
    inference = called(mutated(Sample, only(found, r"^noise:RandomUniform:0@training\|draw:seed").make()))[1]
    assert np.array_equal(inference["net"], called(Sample)[1]["net"])


def test_outputs_and_initial_values(found):
    (_, mutant, _), _ = changed(found, r"^output:1\|cast:float64")
    assert mutant["table"].dtype == np.float64
    layer = mutated(Sample, only(found, r"^initial:0:.*first\|initial:\+0\.1").make())()
    layer(X)
    np.testing.assert_allclose(np.asarray(layer.first), 1.1, rtol=1e-6)


def test_losses(found):
    losses = {}
    for label in ("lost", "x2", "x1.01"):
        mutation = only(found, rf"^loss:0:.*first\|loss:{re.escape(label)}$").make()
        layer = mutated(Sample, mutation)()
        layer(X), layer(X)
        assert mutation.applied == 1
        losses[label] = [float(one) for one in layer.losses]
    assert losses == {"lost": [], "x2": [pytest.approx(0.18)], "x1.01": [pytest.approx(0.0909)]}
    layer = mutated(Sample, only(found, r"^loss:1:.*second\|loss:one more").make())()
    layer(X)
    assert len(layer.losses) == 2


def test_a_loss_that_is_lost_or_one_too_many_is_harmful(found, oracle):
    for expression in (r"^loss:0:.*first\|loss:lost$", r"^loss:1:.*second\|loss:one more$"):
        judged, applied = oracle.judge(only(found, expression).make)
        assert applied
        assert judged.effect == float("inf")
        assert "loss" in judged.where


def test_float64_values_agree_with_a_float64_layer(oracle):
    run = oracle.original["inference", "as given"]
    layer = Sample()
    with drawn():
        layer(X)
    x, second = X.astype("float64"), np.asarray(layer.second).astype("float64")
    relu = np.maximum(x @ second * 3 - 0.5, 0)
    expected = np.concatenate([np.minimum(relu, 1.5) + relu, x @ second], 1)
    np.testing.assert_allclose(run.results["output:0"], expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(run.results["output:2"], x.var(0), rtol=1e-12)
    assert not oracle.single


def test_harmless_is_shown_harmless(found, oracle):
    for expression in (r"^:Relu:0\|double", r"^:StopGradient:0\|gradient:no stop"):
        judged, applied = oracle.judge(only(found, expression).make)
        assert applied
        assert judged.harmless == (":Relu" in expression), judged
    judged, _ = oracle.judge(only(found, r"^:Mul:0\|constant:x1\.0001\[1\]").make)
    assert not judged.harmless
    assert 1e-6 < judged.effect < 1e-2
    judged, _ = oracle.judge(only(found, r"^:Minimum:0\|clip:lost").make)
    assert not judged.harmless, "a bound that small values do not reach is reached by large ones"


def test_a_mutation_that_does_not_run_is_no_mutation(found):
    mutation = only(found, r"^update:AssignVariableOp:0@training\|update:lost").make()
    called(mutated(Sample, mutation))
    assert not mutation.applied


def test_the_watch_is_gone_after_a_call_that_failed():
    from tensorflow.python import pywrap_tfe

    before = pywrap_tfe.TFE_Py_FastPathExecute

    class Failing(keras.layers.Layer):
        def call(self, x):
            raise OSError("told by the test")

    with pytest.raises(OSError, match="told by the test"):
        watched(Failing, Watch())()(X)
    assert pywrap_tfe.TFE_Py_FastPathExecute is before


def judge(verdict, *culprits):
    return lambda *_, **__: Report(verdict, (), culprits, {}, 0.0)


def blindly(reference, candidate, inputs, **options):
    """Runs the candidate as a check does, and finds everything equivalent."""
    from lockstep.subjects import INITIAL, Mode

    for training in (False, True):
        instance = candidate.build(Mode(training=training, randomness="num_random_ops"), inputs)
        instance.run(INITIAL)
        instance.close()
    return judge(Verdict.EQUIVALENT)()


SAMPLE = Pair("sample", lambda: None, lambda: Sample, lambda: X)


def small(verify):
    return checking.Mutants(dataclasses.replace(SAMPLE, forward=lambda: lambda inputs, training: inputs), verify)


def test_a_blind_judge_is_caught():
    measured = small(blindly)
    assert measured.check(":Mul:0|constant:x1.0001[1]").outcome == FALSE_EQUIVALENT
    assert measured.check(":Relu:0|double:").outcome == HARMLESS
    assert measured.check(":Mean:1|axis:one less" if ":Mean:1|axis:one less" in measured.families else
                          ":MatMul:0|attribute:transpose_a=True").outcome == INVALID  # fmt: skip


def test_a_judge_that_runs_nothing_is_caught():
    outcome = small(judge(Verdict.EQUIVALENT)).check(":Mul:0|constant:x1.1[1]")
    assert outcome.outcome == "error"
    assert "never ran" in outcome.note
    assert outcome.wrong


def culprit(name, kind="operation", types=()):
    return Culprit(name, name, kind, "", operations=((), tuple(types)))


def test_a_culprit_is_right_by_operation_scope_or_layer():
    deep = SimpleNamespace(place="net/block/norm:Mul:0", scope="net/block/norm", kind="Mul", whole=False)
    assert checking.names(deep, culprit("net/block/norm/Add"))
    assert checking.names(deep, culprit("candidate/net/block/norm/batch/Rsqrt"))
    assert not checking.names(deep, culprit("net/block/norm_1/Mul"))
    top = SimpleNamespace(place="net:Mul:0", scope="net", kind="Mul", whole=True)
    assert checking.names(top, culprit("net/scaled", types=("Mul",)))
    assert not checking.names(top, culprit("net/Relu", types=("Relu",)))
    start = SimpleNamespace(place="initial:0:layer/net/kernel", scope="layer/net", kind="", whole=False)
    assert checking.names(start, culprit("net/kernel", "initializer"))
    assert not checking.names(start, culprit("net/bias", "initializer"))


def test_a_name_is_matched_by_its_pattern_alone():
    name = "zoo-x|net/a:Mul:0@training|constant:x1.0001[1]"
    assert re.search(pattern(name), name)
    assert not re.search(pattern(name), name.replace("1.0001", "1x0001"))
    assert "'" not in pattern(name)
    assert program._pairs_of(pattern(name), ["zoo-x", "zoo-y"]) == ["zoo-x"]


def test_samples_are_seeded_and_take_all_families_in_turn():
    named = {f"{family}{number}": family for family in "abc" for number in range(9)}
    taken = program._spread("1", named, 6)
    assert taken == program._spread("1", named, 6) != program._spread("2", named, 6)
    assert sorted(named[name] for name in taken) == list("aabbcc")
    assert len(program._spread("1", named, 100)) == len(named)


def test_figures():
    made = [
        Outcome("mutants", "p|1", "p", "detected", 1.0, "diverged", 0.1, first_right=True),
        Outcome("mutants", "p|2", "p", FALSE_EQUIVALENT, 1.0, "equivalent", 1e-8, "training: output"),
        Outcome("mutants", "p|3", "p", HARMLESS, 1.0, "equivalent", 0.0),
        Outcome("mutants", "p|4", "p", INVALID),
        Outcome("mutants", "p|5", "p", "crash", note="status -11"),
        Outcome("identity", "i", "rnn", "undecided", 1.0, "undecided", reason="draws in a loop"),
        Outcome("identity", "j", "rnn", "diverged", 1.0, "diverged"),
    ]
    assert [one.name for one in made if one.wrong] == ["p|2", "p|5", "j"]
    assert [Outcome.of_json(one.as_json()) for one in made] == made
    text = "\n".join(table.lines(made))
    assert "which float32 cannot show there: 1" in text
    assert made[1].command in text
    assert "| 2 harmful mutants of 1 right pairs | 1 `diverged`, first culprit right in 1 of 1 | 1 `equivalent` |" in (
        "\n".join(table.readme(made))
    )


def test_a_crash_and_a_hang_are_outcomes():
    (crash,) = pool.run([pool.Job("mutants", "none", ("none|nothing",))], 1)
    assert (crash.outcome, crash.group) == ("crash", "none")
    assert "KeyError" in crash.note
    (hang,) = pool.run([pool.Job("mutants", "none", ("none|nothing",))], 1, time_limit_s=0.2)
    assert hang.outcome == "hang"


def test_names_of_pairs_are_unique_and_enough():
    assert len(pairs()) >= 20
    assert sum(pair.share for pair in pairs().values()) >= 2000


def test_a_small_sample_is_judged_rightly():
    measured = checking.Mutants(checking.all_pairs()["layer-dense_named_relu_without_bias"])
    names = [
        "logits:MatMul:0|clip:at -20",
        "logits:Relu:0|double:",
        "logits:Relu:0|gradient:stopped",
        "logits:Relu:0|scale:x1.0001",
    ]
    outcomes = [measured.check(name) for name in names]
    assert not [one for one in outcomes if one.wrong]
    assert any(one.outcome == "detected" for one in outcomes)
