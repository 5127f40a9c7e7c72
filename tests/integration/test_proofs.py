"""No wrong model passes, and no right one is blamed: what an `equivalent` has to rest on, kind by kind."""

import keras
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import lockstep
from lockstep import tf1
from lockstep.common.errors import DivergedError
from lockstep.frameworks.tensorflow.graph_races import races

X = {"x": np.random.default_rng(1).normal(size=(5, 7)).astype("f")}
ONES = {"x": np.ones((5, 7), "f")}
IDS = {"n": np.asarray([1, 2, 3], "i4")}


@pytest.fixture(autouse=True)
def _enabled():
    tf1.enable()


def dense(x, units, name):
    return tf.layers.dense(x, units, name=name)


def shim(function):
    class Candidate(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, inputs, training=None):
            return function(inputs, bool(training))

    return Candidate


def check(right, wrong=None, inputs=X, build=None, **more):
    return lockstep.verify(
        lockstep.tf1_graph(lambda inputs, training: right(inputs, training)),
        lockstep.keras(build or shim(wrong)),
        inputs,
        **more,
    )


def step(report, name):
    return next(step for step in report.steps if step.name == name)


def of(function, name="a"):
    """A model that does something to what a layer gives."""
    return lambda inputs, training: {"y": function(dense(inputs["x"], 4, name))}


@pytest.mark.parametrize(
    "lost",
    [
        lambda x: tf.where(tf.equal(x, -999.0), tf.zeros_like(x), x),
        lambda x: x * tf.cast(tf.not_equal(x, -1.0), tf.float32),
    ],
)
def test_a_value_that_one_side_alone_treats_otherwise_and_that_no_input_is_proves_nothing(lost):
    """A sentinel, a masked value: the batch has none, and nothing that is tried by itself hits upon one."""
    report = check(lambda i, _: dense(lost(i["x"]), 4, "a"), lambda i, _: dense(i["x"], 4, "a"))
    assert report.verdict == "undecided", report
    assert "only the reference has" in step(report, "inference-fixed").summary
    both = check(lambda i, _: dense(lost(i["x"]), 4, "a"), lambda i, _: dense(lost(i["x"]), 4, "a"))
    assert both.verdict == "equivalent", both


def test_what_compares_constants_or_places_has_no_other_side():
    def counted(i, _):
        places = tf.range(4)
        keep = tf.cast(tf.less(places, 9), tf.float32) * tf.cast(tf.equal(tf.zeros([4]), 0.0), tf.float32)
        return dense(i["x"], 4, "a") * keep

    report = check(counted, lambda i, _: dense(i["x"], 4, "a"))
    assert report.verdict == "equivalent", report


class TestKinks:
    """What no value reaches by itself is reached by wider values, or by another input."""

    @pytest.mark.parametrize(
        ("right", "wrong"),
        [
            (of(lambda y: tf.maximum(tf.minimum(y, 3.0), -3.0)), of(lambda y: y)),
            (of(lambda y: y), of(lambda y: tf.minimum(y, 9.0))),  # the kink is the candidate's alone
            (of(lambda y: tf.where(y > 4.0, tf.zeros_like(y), y)), of(lambda y: y)),
        ],
        ids=["lost clip", "extra clip", "lost threshold"],
    )
    def test_a_side_that_was_not_met(self, right, wrong):
        report = check(right, wrong)
        assert report.verdict == "diverged"
        assert "wider values" in step(report, "inference-fixed").summary

    def test_the_end_of_a_table(self):
        def looked_up(limit):
            def forward(inputs, _training):
                table = tf.get_variable("table", [9, 3])
                return {"y": tf.gather(table, tf.minimum(inputs["n"], limit))}

            return forward

        report = check(looked_up(5), looked_up(8), IDS)
        assert report.verdict == "diverged"
        assert "a second, generic input" in step(report, "inference-fixed").summary

    def test_what_cannot_be_reached_is_told(self):
        square = of(lambda y: tf.nn.relu(tf.square(y) + 0.1))
        report = check(square, square)
        assert report.verdict == "equivalent"
        fixed = step(report, "inference-fixed")
        assert "never below 0" in fixed.summary
        assert fixed.figures["kink_sides_not_met"] == 2  # on either side


def dropped(rate):
    def forward(inputs, training):
        y = dense(inputs["x"], 4, "a")
        return {"y": y * tf.cast(tf.random.uniform(tf.shape(y)) >= rate, tf.float32) if training else y}

    return forward


def normalized(spread):
    def forward(inputs, _training):
        y = dense(inputs["x"], 4, "a")
        variance = tf.get_variable("moving_variance", [4], initializer=tf.ones_initializer(), trainable=False)
        return {"y": tf.tanh(y) * tf.rsqrt(4.0 * variance + spread)}

    return forward


def unit(bound):
    return of(lambda y: y * tf.rsqrt(tf.maximum(tf.reduce_sum(tf.square(y), -1, keepdims=True), bound)))


class TestOtherNumbers:
    """A number that differs is a difference, though nothing that was tried shows it."""

    @pytest.mark.parametrize(
        ("right", "wrong", "said"),
        [
            (dropped(0.5), dropped(0.50005), "it compares what is drawn with 0.50005, the reference with 0.5"),
            (normalized(1e-3), normalized(1.0001e-3), "0.0010001"),
            (unit(1e-12), unit(1e-10), "1e-10; with 1e-12 the difference vanishes"),
        ],
        ids=["a mask's threshold", "an epsilon", "a bound that keeps from zero"],
    )
    def test_values_are_chosen_that_show_it(self, right, wrong, said):
        report = check(right, wrong)
        assert report.verdict == "diverged"
        assert len(report.culprits) == 1
        assert said in report.culprits[0].cause
        assert check(right, right).verdict == "equivalent"

    def test_what_no_value_shows_is_undecided(self):
        def above(threshold):
            return of(lambda y: y * tf.cast(y > threshold, tf.float32))

        report = check(above(0.1), above(0.1000001))
        assert report.verdict == "undecided"
        said = "compares with 0.1000001, the reference with 0.1; no value that was tried lies between"
        assert said in step(report, "inference-fixed").summary

    def test_one_number_rounded_twice_is_one(self):
        def scaled(rate):
            return of(lambda y: y * tf.cast(y > rate, tf.float32))

        assert check(scaled(0.1), scaled(np.float32(0.1))).verdict == "equivalent"


class TestDependence:
    @pytest.mark.parametrize("offset", [-100.0, -1e4], ids=["reached by wider values", "not reached"])
    def test_an_output_that_is_always_the_same_proves_nothing(self, offset):
        report = check(of(lambda y: tf.nn.relu(y + offset)), of(lambda y: tf.nn.relu(3.0 * y + offset)))
        assert report.verdict == ("diverged" if offset == -100.0 else "undecided")

    def test_one_dead_part_of_two(self):
        def model(factor):
            return lambda i, t: {"y": tf.nn.relu(factor * dense(i["x"], 4, "a") - 1e4) + dense(i["x"], 4, "b")}

        report = check(model(1.0), model(3.0))
        assert report.verdict == "undecided"
        assert "proved for 2 of 4 variables" in step(report, "inference-fixed").summary

    def test_a_variable_whose_effect_cancels_is_no_dead_one(self):
        def attention(inputs, _training):
            q, k = dense(inputs["x"], 4, "q"), dense(inputs["x"], 4, "k")  # the key's bias moves no softmax
            return {"y": tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True)), inputs["x"])}

        assert check(attention, attention).verdict == "equivalent"


class TestInputs:
    def test_ones_hide_an_order_that_a_second_input_shows(self):
        def model(turned):
            def forward(inputs, _training):
                x = tf.reverse(inputs["x"], [1]) if turned else inputs["x"]
                return {"y": tf.matmul(x, tf.get_variable("w", [7, 7]))}

            return forward

        assert check(model(False), model(True), ONES).verdict == "diverged"
        report = check(model(False), model(False), ONES, also_generic=False)
        assert "not shown by these inputs: x is 1 everywhere" in step(report, "inference-fixed").summary


class TestOutputs:
    @pytest.mark.parametrize(
        "other",
        [lambda y: tf.expand_dims(y, 0), lambda y: tf.cast(y, tf.float64), lambda y: tf.cast(y, tf.float16)],
        ids=["shape", "wider dtype", "narrower dtype"],
    )
    def test_shape_and_dtype_count(self, other):
        report = check(of(lambda y: y), of(other))
        assert report.verdict == "diverged"
        assert report.culprits[0].kind == "output"

    @pytest.mark.parametrize("factor", [1.01, -1.0])
    def test_where_rounding_hides_the_answer_nothing_is_decided(self, factor):
        big = 1e5 if factor > 0 else 1e7
        report = check(of(lambda y: (y + big) - big), of(lambda y: (factor * y + big) - big))
        assert step(report, "inference-fixed").verdict == "undecided"
        assert step(report, "inference-random").verdict == "undecided"
        assert step(report, "gradients").verdict == "diverged"  # the derivative is not hidden

    def test_another_order_of_sums_is_rounding(self):
        def model(turned):
            return of(lambda y: tf.reduce_sum(tf.reverse(y, [1]) if turned else y, 1) * 1e3)

        assert check(model(False), model(True)).verdict == "equivalent"

    @pytest.mark.parametrize("every", [3, 5])
    def test_a_candidate_that_differs_from_itself(self, every):
        calls = [0]

        def sometimes(inputs, _training):
            calls[0] += 1
            return {"y": dense(inputs["x"], 4, "a") * (1.1 if calls[0] % every == every - 1 else 1.0)}

        report = check(of(lambda y: y), sometimes)
        assert report.verdict == "diverged"
        assert "the candidate differs from itself" in step(report, "inference-fixed").summary


class TestTraining:
    def test_a_lost_stop_gradient_is_found_though_nobody_asked(self):
        def model(stop):
            return lambda i, t: {"y": dense(stop(dense(i["x"], 4, "a")), 3, "b")}

        report = check(model(tf.stop_gradient), model(tf.identity))
        assert report.verdict == "diverged"
        assert step(report, "gradients").verdict == "diverged"
        assert check(model(tf.stop_gradient), model(tf.identity), gradients=False).verdict == "equivalent"

    def test_what_cannot_be_differentiated_is_no_failure(self):
        report = check(*[lambda i, t: {"y": tf.argmax(dense(i["x"], 4, "a"), 1)}] * 2)
        assert report.verdict == "equivalent"
        assert step(report, "gradients").verdict == "not asked for"

    def test_state_is_judged_by_its_step(self):
        def model(factor):
            def forward(inputs, training):
                y = dense(inputs["x"], 4, "a")
                average = tf.get_variable("m", [4], initializer=tf.ones_initializer(), trainable=False)
                if training:
                    new = tf.nn.moments(y, [0])[1] * factor
                    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, average.assign_sub((average - new) * 0.0001))
                return {"y": y}

            return forward

        assert check(model(5 / 4), model(1.0)).verdict == "diverged"
        assert check(model(5 / 4), model(5 / 4)).verdict == "equivalent"

    def test_two_updates_in_no_order_are_the_references_own(self):
        def twice(inputs, training):
            y = dense(inputs["x"], 4, "a")
            average = tf.get_variable("m", [4], initializer=tf.zeros_initializer(), trainable=False)
            for factor in (1.0, 2.0) if training else ():
                new = factor * tf.reduce_mean(y, 0)
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, average.assign_sub((average - new) * 0.5))
            return {"y": y}

        report = check(twice, twice)
        assert report.verdict == "undecided"
        assert "the reference differs from itself" in step(report, "training-random").summary

    def test_sums_that_commute_are_in_order_enough(self):
        class Model:
            pass

        with tf.Graph().as_default():
            counter = tf.get_variable("n", [], initializer=tf.zeros_initializer(), use_resource=True)
            Model.raw_variables, Model.outputs = [counter], {}
            Model.variables = [type("Record", (), {"key": "n"})]
            Model.updates = [counter.assign_add(1.0).op, counter.assign_add(2.0).op]
            assert races(Model) == []
            Model.updates.append(counter.assign(5.0).op)
            assert races(Model) == ["n"]


class Loading(keras.Model):
    """A rewrite whose weights somebody sets."""

    def __init__(self, values=None):
        super().__init__(name="net")
        self.a = keras.layers.Dense(4, name="a")
        self.a.build((None, 7))
        if values is not None:
            self.a.set_weights(values)

    def call(self, inputs, training=None):
        return {"y": self.a(inputs["x"])}


class TestValuesInUse:
    def test_weights_that_are_set_are_noticed(self):
        values = [np.random.default_rng(3).normal(size=shape).astype("f") for shape in ((7, 4), (4,))]
        report = check(of(lambda y: y), build=lambda: Loading(values))
        assert report.verdict == "undecided"
        random = step(report, "inference-random")
        assert "the candidate starts from values of its own: 2 of 2 variables" in random.summary
        assert step(report, "inference-fixed").verdict == "equivalent"
        with pytest.raises(lockstep.UndecidedError):
            report.raise_if_diverged()

    def test_a_file_that_changes_nothing_is_noticed(self, tmp_path):
        def build():
            model = keras.Sequential([keras.Input((7,)), keras.layers.Dense(4, name="other")])
            model.save(tmp_path / "old.h5")
            x = keras.Input((7,), name="x")
            loaded = keras.Model({"x": x}, {"y": keras.layers.Dense(4, name="a")(x)})
            loaded.load_weights(tmp_path / "old.h5", by_name=True)
            return loaded

        report = check(of(lambda y: y), build=build)
        assert report.verdict == "undecided"
        assert "which changed none of 2 variables" in step(report, "inference-random").summary

    def test_a_rule_carries_the_initial_values(self):
        class Transposed(keras.layers.Layer):
            def build(self, _shape):
                self.k = self.add_weight(shape=(4, 7), name="k")

            def call(self, inputs, training=None):
                return {"y": keras.ops.matmul(inputs["x"], keras.ops.transpose(self.k))}

        def right(inputs, _training):
            return {"y": tf.layers.dense(inputs["x"], 4, use_bias=False, name="a")}

        report = check(
            right,
            build=lambda: Transposed(name="net"),
            rename=[("^a/kernel$", "net/k")],
            transforms=[("k$", "transpose(1,0)")],
        )
        assert report.verdict == "equivalent"
        assert step(report, "inference-random").figures["largest_output_error"] < 1e-5


class TestFillings:
    def test_values_that_overflow_are_chosen_again(self):
        def deep(inputs, _training):
            x = inputs["x"]
            for number in range(12):
                with tf.variable_scope(f"layer_{number}"):
                    scale = tf.get_variable("scale", [7], initializer=tf.ones_initializer())
                    x = tf.matmul(x, tf.get_variable("w", [7, 7])) / tf.square(scale)
            return {"y": x}

        report = check(deep, deep)
        assert report.verdict == "equivalent"
        fixed = step(report, "inference-fixed").summary
        assert (
            "constant values give no finite number in the reference; compared at values scaled to each layer" in fixed
        )

    def test_a_variance_by_any_name_is_positive(self):
        def model(inputs, _training):
            y = dense(inputs["x"], 4, "a")
            spread = tf.get_variable("b/zeta", [4], initializer=tf.ones_initializer(), trainable=False)
            return {"y": y / tf.sqrt(spread + 1e-3)}

        report = check(model, model)
        assert report.verdict == "equivalent"
        assert "what is read as a variance is positive instead" in step(report, "inference-fixed").summary


def test_a_report_of_another_shape_says_what_to_do():
    report = check(of(lambda y: y), of(lambda y: tf.expand_dims(y, 0)))
    with pytest.raises(DivergedError) as caught:
        report.raise_if_diverged()
    assert "output y has another shape (5, 4) against (1, 5, 4)" in " ".join(str(caught.value).split())
