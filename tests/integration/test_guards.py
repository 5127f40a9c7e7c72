import keras
import pytest
import tensorflow as tf

import lockstep
from lockstep import tf1
from lockstep.frameworks.tensorflow.guards import VariableCreationError

v1 = tf.compat.v1
X = tf.ones([2, 3])
GUARDS = [lockstep.assert_no_variable_creations, lockstep.catch_and_raise_created_variables]


def layer_of(function):
    class Layer(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, x):
            return function(self, x)

    return Layer()


def bare(self, x):
    return x * tf.Variable(2.0, name="scale")


def bare_keras(self, x):
    return x * keras.Variable(2.0, name="scale")


def keras_layer(self, x):
    return keras.layers.Dense(2, name="inner")(x)


def keras_weight(self, x):
    return x * self.add_weight(shape=(), name="scale")


def moving_name(self, x):
    self.calls = getattr(self, "calls", 0) + 1
    return x * v1.get_variable(f"scale_{self.calls}", [])


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize(
    ("function", "reason", "told"),
    [
        (bare, "bare-variable", "keep it in an attribute"),
        (bare_keras, "bare-variable", "keep it in an attribute"),
        (keras_layer, "keras-layer", "Dense 'inner'"),
        (moving_name, "get-variable", "use the same names at every call"),
    ],
)
def test_each_reason_is_told_with_the_users_line_and_the_fix(guard, function, reason, told):
    layer = layer_of(function)
    layer(X)
    with pytest.raises(ValueError, match=r"variable|vars") as caught, guard():
        layer(X)
    assert isinstance(caught.value, VariableCreationError)
    created = caught.value.created[0]
    assert created.reason == reason
    assert told in str(caught.value)
    assert created.source.file == __file__
    assert created.source.function == function.__name__
    assert created.source.text in str(caught.value)


def test_add_weight_in_the_forward_pass_is_told():
    class Layer(keras.layers.Layer):
        def call(self, x):
            return x * self.add_weight(shape=(), name="scale")

    layer = Layer()
    told = r"move add_weight into build\(\)"
    with pytest.raises(VariableCreationError, match=told), lockstep.assert_no_variable_creations():
        layer(X)


def test_an_unnamed_legacy_layer_is_told():
    with tf.Graph().as_default():
        x = tf.ones([2, 3])
        tf1.layers.dense(x, 4)
        told = "no explicit name"
        with pytest.raises(VariableCreationError, match=told) as caught, lockstep.assert_no_variable_creations():
            tf1.layers.dense(x, 4)
    assert caught.value.created[0].reason == "legacy-layer"


@pytest.mark.parametrize("guard", GUARDS)
def test_a_layer_that_reuses_its_variables_passes(guard):
    def scale(self, x):
        return tf1.layers.dense(x, 2, name="dense") * v1.get_variable("scale", [])

    layer = layer_of(scale)
    layer(X)
    with guard():
        layer(X)


def test_variables_first_made_inside_tf_function_are_caught():
    layer = layer_of(lambda self, x: x * v1.get_variable("scale", []))
    function = tf.function(lambda x: layer(x))
    with pytest.raises(VariableCreationError, match="scale"), lockstep.catch_and_raise_created_variables():
        function(X)


def test_the_list_names_every_variable():
    def two(self, x):
        return x * tf.Variable(1.0, name="a") + tf.Variable(1.0, name="b")

    layer = layer_of(two)
    with pytest.raises(VariableCreationError) as caught, lockstep.catch_and_raise_created_variables():
        layer(X)
    assert [c.name.rpartition("/")[2] for c in caught.value.created] == ["a", "b"]


def test_an_exception_inside_the_guard_is_not_replaced():
    with pytest.raises(ZeroDivisionError), lockstep.catch_and_raise_created_variables():
        _ = 1 / 0
