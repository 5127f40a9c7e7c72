"""What making variables costs: their names are TensorFlow's own, and the work grows as their number does."""

import sys

import keras
import pytest
import tensorflow as tf

from lockstep import tf1
from lockstep.tf1 import private

v1 = tf.compat.v1


def described(variable):
    """Everything that TensorFlow derives from a variable's name; the numbers that make an id unique left out."""
    return {
        "name": variable.name,
        "text": str(variable),
        "shared name": variable._shared_name,
        "id": variable._unique_id.rpartition("_")[0],
        "handle": (variable.handle._name, variable.handle._unique_id == variable._unique_id),
    }


def both_ways(name):
    return private.make_variable(name, [1.0, 2.0]), tf.Variable([1.0, 2.0], name=name)


def test_a_variable_made_without_a_kernel_of_its_own_has_the_name_that_tensorflow_gives():
    ours, theirs = both_ways("scope/inner/weights")
    assert "weights/" in str(ours.handle)  # the shorter way was taken
    assert "scope" not in str(ours.handle)
    assert described(ours) == described(theirs)
    with tf.name_scope("around"):
        ours, theirs = both_ways("scope/around/weights")
    assert described(ours) == described(theirs)
    assert ours.name == "around/scope/around/weights:0"
    again = private.make_variable("scope/inner/weights", [1.0, 2.0])
    assert again._unique_id != ours._unique_id


def test_whoever_watches_the_making_of_variables_sees_the_whole_name():
    seen = []

    def creator(next_creator, **kwargs):
        seen.append(kwargs["name"])
        return next_creator(**kwargs)

    with tf.variable_creator_scope(creator):
        variable = private.make_variable("scope/weights", 1.0)
    assert seen == ["scope/weights"]
    assert variable.name == "scope/weights:0"


def test_a_graph_and_a_strategy_get_the_whole_name():
    with tf.Graph().as_default():
        assert private.make_variable("scope/weights", 1.0).handle.name == "scope/weights:0"
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        assert "scope/weights" in str(private.make_variable("scope/weights", 1.0).handle)


def steps_of(action):
    """Counts the lines of Python that run, wherever they are: time would depend on the machine."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        count += 1
        return trace

    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(None)
    return count


def scopes(number):
    with v1.variable_scope("net"):
        for i in range(number // 2):
            with v1.variable_scope(f"block{i // 4}"), v1.variable_scope(f"layer{i % 4}"):
                tf1.layers.dense(tf.ones([1, 1]), 1, name="dense")


def regularized(number):
    for i in range(number):
        v1.get_variable(f"a/v{i}", [1], regularizer=tf.nn.l2_loss)


def work(forward, number):
    """Steps of Python in a first call, a second call and one look at weights and losses."""

    class Layer(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, x):
            forward(number)
            return x

    layer = Layer()
    x = tf.zeros([])
    steps = [steps_of(lambda: layer(x)) for _ in range(2)]
    steps.append(steps_of(lambda: (layer.weights, layer.losses)))
    assert len(layer.variables) == number
    return steps


@pytest.mark.parametrize("forward", [scopes, regularized])
def test_the_work_grows_as_the_number_of_variables(forward):
    work(forward, 20)  # what is done once
    small, large = work(forward, 100), work(forward, 200)
    for few, many in zip(small, large, strict=True):
        assert many / few < 2.05, (small, large)


def test_work_that_grows_as_the_square_would_be_seen():
    def quadratic(number):
        regularized(number)
        for _ in range(number):
            for _ in range(number):
                pass

    small, large = work(quadratic, 100), work(quadratic, 200)
    assert large[1] / small[1] > 2.2


def test_variables_that_appear_one_call_after_the_other_are_checked_one_by_one():
    class Layer(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, x, number):
            return x + v1.get_variable(f"a/v{number}", [])

    layer = Layer()
    layer(tf.zeros([]), number=0)
    looked_at = []
    before = private.raw_variable

    def counting(variable):
        looked_at.append(variable)
        return before(variable)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private, "raw_variable", counting)
        for number in range(1, 30):
            layer(tf.zeros([]), number=number)
    assert len(layer.trainable_variables) == 30
    assert len(looked_at) <= 2 * 29  # 435 when each call looks at all
