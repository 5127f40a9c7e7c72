"""The bug zoo: its data fit its models, right migrations pass, planted mistakes are found, and figures are right."""

import contextlib
import json
import textwrap
import zlib

import numpy as np
import pytest

pytest.importorskip("tf_slim")

import tensorflow as tf
from benchmarks.zoo import catalogue, scoring, table
from benchmarks.zoo.__main__ import main
from benchmarks.zoo.running import Runner

from lockstep import tf1
from lockstep.frameworks.tensorflow.keras_eager import KerasEager
from lockstep.subjects import declared as subjects

ZOO = catalogue.load()
SMALL = [name for name, exhibit in ZOO.items() if not exhibit.family.slow]
SIDES = [(name, migration) for name in ZOO for migration in catalogue.MIGRATIONS]
QUICK = [("perceptron", "shim"), ("perceptron", "native"), ("decoder", "native")]
LONG = [(name, migration) for name, migration in SIDES if name in SMALL and (name, migration) not in QUICK]
FIXED, WHOLE = Runner(fixed=True), Runner()

# Bugs that a whole check has to find, to place and to name, and nothing besides: of every small family, of both
# migrations and modes, alone and two at once. `make zoo` checks all.
SHORT = (
    "convolutional/native/padding+biased_variance",
    "decoder/native/half_pixel+elu",
    "decoder/shim/momentum",
    "perceptron/native/sum_gate",
    "perceptron/shim/epsilon+tanh_gate",
    "perceptron/shim/l2_half",
    "recurrent/shim/forget_bias",
    "residual/native/same_padding+scale",
    "separable/shim/dilation",
    "transformer/native/small_epsilon+silu",
)
FURTHER = (
    "convolutional/native/wrong_input",
    "convolutional/shim/momentum+keep_prob",
    "convolutional/shim/flatten_order",
    "decoder/native/variance",
    "decoder/shim/align_corners+half_pixel",
    "perceptron/native/keep_prob+no_bias",
    "perceptron/shim/dropout_place",
    "perceptron/shim/shared_kernel",
    "recurrent/native/gate_order+features_order",
    "recurrent/shim/mask",
    "residual/native/l1",
    "residual/shim/scale_1+last_slope",
    "residual/shim/norm_variance",
    "separable/native/epsilon+amplifier",
    "separable/native/no_updates",
    "separable/shim/multiplier_order",
    "transformer/native/gelu_form",
    "transformer/shim/keep_prob+embedding_scale",
    "transformer/shim/mask_inclusive",
)


@pytest.fixture(scope="module")
def operations():
    """Names of the reference's operations in either mode, by family; made once each."""
    known = {}

    def names(family):
        if family not in known:
            known[family] = set()
            exhibit = ZOO[family]
            tf1.enable()
            for training in (False, True):
                with tf.Graph().as_default() as graph:
                    inputs = {name: tf.constant(array) for name, array in exhibit.arrays().items()}
                    exhibit.forward()(inputs, training)
                    known[family] |= {operation.name for operation in graph.get_operations()}
        return known[family]

    return names


def test_there_are_eight_families_with_both_migrations_and_more_bugs_than_were_asked_for():
    assert len(ZOO) >= 8
    for exhibit in ZOO.values():
        assert {"family.py", "shim.py", "native.py"} <= {file.name for file in exhibit.folder.iterdir()}
    bugs = {side: ZOO[side[0]].bugs(side[1]) for side in SIDES}
    assert sum(map(len, bugs.values())) >= 80
    assert sum(len(found) for (_, migration), found in bugs.items() if migration == "native") >= 20
    planted = [bug for found in bugs.values() for bug in found]
    assert len({str(bug) for bug in planted}) == len(planted)
    assert sum(len(bug.faults) == 2 for bug in planted) >= 10
    assert sum(fault.mode == "training" for bug in planted for fault in bug.faults) >= 10


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[pytest.mark.release] * exhibit.family.slow) for name, exhibit in ZOO.items()]
)
def test_every_place_is_one_of_the_references_operations_or_variables(family, operations):
    faults = [fault for migration in catalogue.MIGRATIONS for fault in ZOO[family].family.faults(migration).values()]
    nowhere = [
        (fault.name, place.pattern)
        for fault in faults
        for place in fault.places
        if not any(place.matches(name) for name in operations(family))
    ]
    assert nowhere == []


def traces(family, migration, *faults):
    """What a migration computes, without any comparison: inference from two sets of values, and training."""
    exhibit = ZOO[family]
    found = []
    for training in (False, True):
        mode = subjects.Mode(training=training, randomness="num_random_ops")
        instance = KerasEager(exhibit.build(migration, *faults), "migration").build(mode, exhibit.arrays())
        found.append(instance.run(subjects.INITIAL))
        if not training:
            # At its initial values a batch normalisation does nothing, and no bias is to be seen.
            found.append(instance.run(subjects.Setting("given", moved(found[0].before))))
        instance.close()
    return found


def moved(values):
    """Every value pushed up or down a little, each by its own amount: less than would make a variance negative."""
    pushes = {
        key: np.random.default_rng(zlib.crc32(key.encode())).uniform(-0.15, 0.15, v.shape) for key, v in values.items()
    }
    return {key: (value + pushes[key]).astype(value.dtype) for key, value in values.items()}


def differ(before, after, rtol):
    """Tells whether two traces differ in anything that a fault may change, in numbers beyond a share of their size."""
    losses = [sorted((str(loss.variable), float(loss.value)) for loss in trace.losses) for trace in (before, after)]
    if before.variables != after.variables or before.after.keys() != after.after.keys() or losses[0] != losses[1]:
        return True
    for old, new in ((before.before, after.before), (before.after, after.after), (before.outputs, after.outputs)):
        for name, array in old.items():
            if np.max(np.abs(array - new[name]), initial=0.0) > rtol * np.max(np.abs(array), initial=0.0):
                return True
    return False


def assert_every_fault_changes_something(family, migration):
    right = traces(family, migration)
    for fault in ZOO[family].family.faults(migration).values():
        planted = traces(family, migration, fault.name)
        if fault.mode == "inference":
            assert any(differ(*pair, rtol=1e-6) for pair in zip(right, planted, strict=True)), fault.name
            assert any(differ(*pair, rtol=0.0) for pair in zip(right[:2], planted[:2], strict=True)), fault.name
        else:
            # Another kernel of the same operation may round otherwise in inference.
            assert not any(differ(*pair, rtol=1e-6) for pair in zip(right[:2], planted[:2], strict=True)), fault.name
            assert differ(right[2], planted[2], rtol=1e-5), fault.name


@pytest.mark.parametrize(("family", "migration"), QUICK)
def test_every_fault_changes_something_in_its_mode(family, migration):
    assert_every_fault_changes_something(family, migration)


# It tells about the zoo, not about Lockstep.
@pytest.mark.release
@pytest.mark.parametrize(("family", "migration"), LONG)
def test_every_fault_of_the_other_small_families_changes_something_in_its_mode(family, migration):
    assert_every_fault_changes_something(family, migration)


@pytest.mark.parametrize(
    ("family", "migration"),
    [pytest.param(*side, marks=[pytest.mark.slow] * (side in LONG)) for side in (*QUICK, *LONG)],
)
def test_right_migrations_are_equivalent(family, migration):
    outcome = WHOLE.check(ZOO[family], migration)
    assert outcome.verdict == "equivalent", outcome.note


@pytest.mark.release
@pytest.mark.parametrize("setting", ["default", "ones"])
@pytest.mark.parametrize(("family", "migration"), LONG)
def test_right_migrations_are_equivalent_by_the_fixed_tolerance(family, migration, setting):
    outcome = FIXED.check(ZOO[family], migration, setting=setting)
    assert outcome.verdict == "equivalent", outcome.note


def planted(name):
    family, migration, bug = name.split("/")
    return ZOO[family], migration, next(found for found in ZOO[family].bugs(migration) if found.name == bug)


def _cost(name):
    """A mistake in a cell takes minutes to be named, and is for a release."""
    return pytest.mark.release if name.startswith("recurrent/") else pytest.mark.slow


@pytest.mark.parametrize("name", [*SHORT, *(pytest.param(name, marks=_cost(name)) for name in FURTHER)])
def test_a_planted_bug_is_found_and_placed_with_its_cause_and_nothing_else_is_blamed(name):
    outcome = WHOLE.check(*planted(name))
    assert outcome.detected, outcome
    assert [str(n) for n in outcome.named if not any(n.is_at(place) for place in outcome.places)] == []
    # Of the places that one fault moves, a report may name the first and say that the others follow from it.
    assert outcome.every_fault_named, outcome
    assert outcome.causes() == ["right"] * len(outcome.faults)


def test_the_short_zoo_has_every_small_family_and_both_modes_alone_and_in_pairs():
    bugs = [planted(name)[2] for name in SHORT]
    assert {bug.family for bug in bugs} == set(SMALL)
    assert {bug.migration for bug in bugs} == set(catalogue.MIGRATIONS)
    assert {fault.mode for bug in bugs for fault in bug.faults} == {"inference", "training"}
    assert {len(bug.faults) for bug in bugs} == {1, 2}
    assert not set(SHORT) & set(FURTHER)


def test_by_the_fixed_tolerance_a_bug_is_detected_without_a_search():
    outcome = FIXED.check(*planted("perceptron/native/no_bias"))
    assert outcome.detected, outcome
    assert outcome.first_right, outcome


def outcome(verdict, named, *faults, migration="shim"):
    bug = catalogue.Bug("family", migration, faults) if faults else None
    return scoring.Outcome("family", migration, "default", verdict, tuple(named), 1.0, bug=bug)


EPSILON = catalogue.Fault("epsilon", "epsilon", catalogue.operation("net/a/norm/.*", "net/b/norm/.*"))
DECAY = catalogue.Fault("decay", "l2-half", catalogue.regularizer("net/a/kernel"))


def test_a_culprit_is_read_with_and_without_the_fields_of_newer_reports():
    class Culprit:
        reference, candidate, kind = "operation net/a/norm/add", "net/a/norm/add", "operation"

    assert scoring.Named.of(Culprit()) == scoring.Named("operation", "net/a/norm/add")
    Culprit.reference, Culprit.scopes, Culprit.pitfall = None, ("net/a", "net/b"), "extra-operation"
    assert scoring.Named.of(Culprit()) == scoring.Named("operation", "net/a", "extra-operation")


def test_scores_count_places_culprits_pairs_and_causes():
    both = outcome(
        "diverged",
        [
            scoring.Named("operation", "net/a/norm/add", "epsilon"),
            scoring.Named("operation", "net/a/kernel"),  # the right name, but of another kind
            scoring.Named("operation", "net/a/norm/mul", "constant-factor"),
        ],
        EPSILON,
        DECAY,
    )
    late = outcome(
        "diverged",
        [scoring.Named("state", "net/x"), scoring.Named("regularizer", "net/a/kernel", "constant-factor")],
        DECAY,
    )
    missed = outcome("undecided", [], EPSILON)
    score = scoring.Score.over([both, late, missed, outcome("equivalent", [])])
    assert (score.bugs, score.detected, score.first_right) == (3, 2, 1)
    assert (score.places, score.places_named) == (3 + 1 + 2, 1 + 1 + 0)
    assert (score.named, score.named_rightly) == (5, 3)
    assert (score.pairs, score.pairs_named) == (1, 0)
    assert score.causes == {"right": 1, "wrong": 1, "none": 2}
    assert score.as_json()["localisation_precision"] == 0.6


def test_a_cause_that_no_check_could_tell_apart_is_right_too():
    twice = catalogue.Fault("twice", "extra-regularizer", DECAY.places, also=("l2-half",))
    told = [scoring.Named("regularizer", "net/a/kernel", pitfall) for pitfall in ("l2-half", "epsilon")]
    assert [outcome("diverged", [named], twice).causes() for named in told] == [["right"], ["wrong"]]


def test_only_equivalent_is_no_alarm_and_only_diverged_is_a_detection():
    right = [outcome(verdict, []) for verdict in ("equivalent", "undecided", "diverged", "error")]
    assert [alarm.verdict for alarm in scoring.false_alarms(right)] == ["undecided", "diverged", "error"]
    assert [outcome(verdict, [], DECAY).detected for verdict in ("undecided", "error", "diverged")] == [0, 0, 1]
    told = table.as_json(right, "graph")
    assert (told["false_alarms"], told["right_undecided"]) == (2, 1)


def test_the_table_tells_what_was_missed_and_what_was_named_instead():
    wrong = outcome("diverged", [scoring.Named("state", "net/x")], DECAY)
    text = "\n".join(table.lines([outcome("undecided", []), wrong]))
    assert "1 checks, 1 not found equivalent" in text
    assert "family/shim/decay: diverged; first state net/x; expected regularizer net/a/kernel" in text


def test_ones_replace_floating_inputs_and_leave_numbers_of_words():
    assert np.all(ZOO["perceptron"].arrays(ones=True)["features"] == 1.0)
    words = ZOO["transformer"].arrays(ones=True)["words"]
    assert words.dtype == np.int32
    assert np.array_equal(words, ZOO["transformer"].arrays()["words"])


def test_a_migration_refuses_a_fault_that_it_does_not_have():
    with pytest.raises(catalogue.ZooError, match=r"perceptron/native has no fault 'epsilonn'; there are: .*elu_slope"):
        ZOO["perceptron"].build("native", "epsilonn")


@pytest.mark.parametrize(
    "arguments",
    [["--family", "perceptrn"], ["--zoo", "nowhere"], ["--bug", "("], ["--bug", "no such bug", "--no-right"]],
)
def test_what_cannot_be_run_ends_with_status_2(arguments, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip()


@pytest.fixture
def other_zoo(tmp_path):
    """A zoo of somebody else's: one family, whose only fault is the factor."""
    folder = tmp_path / "scaling"
    folder.mkdir()
    files = {
        "family.py": """
            from benchmarks.zoo.catalogue import Family, Fault, operation
            FACTOR = Fault("factor", "constant-factor", operation("scaled"))
            FAMILY = Family(
                inputs=lambda random: {"x": random.normal(size=(3, 2)).astype("float32")}, shim=(FACTOR,), native=()
            )
        """,
        "reference.py": """
            import tensorflow.compat.v1 as tf
            def forward(inputs, training):
                return tf.multiply(inputs["x"], 2.0, name="scaled")
        """,
        "shim.py": """
            import keras
            class Scaling(keras.layers.Layer):
                def __init__(self, faults):
                    super().__init__()
                    self.factor = 2.1 if "factor" in faults else 2.0
                def call(self, inputs):
                    return inputs["x"] * self.factor
            def build(faults):
                return Scaling(faults)
        """,
    }
    for name, text in files.items():
        (folder / name).write_text(textwrap.dedent(text))
    return tmp_path


def test_another_zoo_is_run_by_the_same_program(other_zoo, capsys, tmp_path):
    file = tmp_path / "outcomes.json"
    arguments = ["--zoo", str(other_zoo), "--setting", "default", "--fixed-tolerance", "--json", str(file)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "default      1 of 1 equivalent" in out
    assert "scaling" in out
    told = json.loads(file.read_text())
    assert told["score"]["detection_recall"] == 1.0
    assert [check["bug"] for check in told["checks"]] == [None, "factor"]


def test_a_right_migration_that_diverges_is_an_alarm_and_one_that_fails_an_error(other_zoo, capsys):
    file = other_zoo / "scaling" / "shim.py"
    file.write_text(file.read_text().replace('2.1 if "factor" in faults else 2.0', "2.2"))
    arguments = ["--zoo", str(other_zoo), "--setting", "default", "--fixed-tolerance", "--no-bugs"]
    with fresh_modules(other_zoo):
        assert main(arguments) == 1
    assert "diverged: scaling/shim, default: inference-fixed" in capsys.readouterr().out
    file.write_text(file.read_text().replace("2.2", "missing_name"))
    with fresh_modules(other_zoo):
        assert main(arguments) == 1
    assert "error: scaling/shim, default: SubjectError" in capsys.readouterr().out


@contextlib.contextmanager
def fresh_modules(folder):
    """Lets files below a folder be imported anew."""
    import sys

    for name in [name for name in sys.modules if name.startswith(f"zoo {folder.resolve()}")]:
        del sys.modules[name]
    yield


@pytest.mark.slow
def test_settings_that_hold_for_a_process_get_one(other_zoo, capsys):
    arguments = ["--zoo", str(other_zoo), "--setting", "one-thread", "--setting", "no-onednn", "--fixed-tolerance"]
    assert main([*arguments, "--no-bugs"]) == 0
    out = capsys.readouterr().out
    assert "one-thread   1 of 1 equivalent" in out
    assert "no-onednn    1 of 1 equivalent" in out
