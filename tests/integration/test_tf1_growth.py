"""What making variables costs: their names are TensorFlow's own, and the work grows as their number does."""

import tensorflow as tf

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
