"""Every block of the guide "Validate correctness and numerical equivalence", on today's TensorFlow."""

import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as v1
import tf_slim as slim

import lockstep

lockstep.tf1.enable()  # the one line that the guide does not have

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "inception_resnet_v2"))
import legacy_model as inception  # noqa: E402

SIZE, CLASSES = 299, 1000
TOLERANCE = {"rtol": 1e-6, "atol": 1e-5}


def inception_resnet_v2(inputs, num_classes, is_training):
    with slim.arg_scope(inception.inception_resnet_v2_arg_scope(batch_norm_scale=True)):
        return inception.inception_resnet_v2(inputs, num_classes, is_training=is_training)


class InceptionResnetV2(tf.keras.layers.Layer):
    """The slim network as a Keras layer."""

    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes

    @tf.compat.v1.keras.utils.track_tf1_style_variables
    def call(self, inputs, training=None):
        with slim.arg_scope(inception.inception_resnet_v2_arg_scope(batch_norm_scale=True)):
            return inception.inception_resnet_v2(inputs, self.num_classes, is_training=training or False)


class BrokenScalingLayer(tf.keras.layers.Layer):
    """Makes new weights at every call."""

    @tf.compat.v1.keras.utils.track_tf1_style_variables
    def call(self, inputs):
        var = tf.Variable(initial_value=2.0)
        bias = tf.Variable(initial_value=2.0, name="bias")
        return inputs * var + bias


class FixedScalingLayer(tf.keras.layers.Layer):
    """Makes its weights once."""

    def __init__(self):
        super().__init__()
        self.var = None
        self.bias = None

    @tf.compat.v1.keras.utils.track_tf1_style_variables
    def call(self, inputs):
        if self.var is None:
            self.var = tf.Variable(initial_value=2.0)
            self.bias = tf.Variable(initial_value=2.0, name="bias")
        return inputs * self.var + self.bias


def ones():
    return tf.ones((1, SIZE, SIZE, 3))


@contextmanager
def raises(error_class):
    try:
        yield
    except error_class as error:
        print(error)
    else:
        raise AssertionError(f"{error_class.__name__} should have been raised")


def step_1_variables_are_created_once():
    model = InceptionResnetV2(CLASSES)
    model(ones())
    with lockstep.assert_no_variable_creations():
        model(ones())
    with lockstep.catch_and_raise_created_variables():
        model(ones())

    for guard in (lockstep.assert_no_variable_creations, lockstep.catch_and_raise_created_variables):
        broken = BrokenScalingLayer()
        broken(ones())
        with raises(ValueError), guard():
            broken(ones())

    fixed = FixedScalingLayer()
    fixed(ones())
    with lockstep.assert_no_variable_creations():
        fixed(ones())
    with lockstep.catch_and_raise_created_variables():
        fixed(ones())
    assert len(fixed.trainable_variables) == 2


def step_2_variables_match():
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph):
        inception_resnet_v2(ones(), CLASSES, is_training=False)
        ours = {var.name: (var.trainable, var.shape) for var in tf.compat.v1.global_variables()}
        count = len(tf.compat.v1.global_variables())

    model = InceptionResnetV2(CLASSES)
    model(ones(), training=False)
    model(ones(), training=False)
    assert count == len(model.variables)
    assert ours == {var.name: (var.trainable, var.shape) for var in model.variables}
    print("variables:", count)


def step_3_fixed_values():
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as sess:
        out, _ = inception_resnet_v2(ones(), CLASSES, is_training=False)
        sess.run(tf.group([var.assign(tf.ones_like(var) * 0.001) for var in tf.compat.v1.global_variables()]))
        reg_losses = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES)
        loss, output = sess.run([tf.math.add_n(reg_losses), out])

    model = InceptionResnetV2(CLASSES)
    model(ones(), training=False)
    for var in model.variables:
        var.assign(tf.ones_like(var) * 0.001)
    compare("fixed values", loss, output, model, training=False)


def step_4_random_numbers():
    def draw():
        return [tf.random.uniform(shape=shape) * 3 for shape in ((3, 1), (3, 3), (3, 3))]

    for mode in ("constant", "num_random_ops"):
        random_tool = v1.keras.utils.DeterministicRandomTestTool(mode=mode)
        with random_tool.scope():
            graph = tf.Graph()
            with graph.as_default(), tf.compat.v1.Session(graph=graph) as sess:
                drawn = sess.run(draw())
        random_tool = v1.keras.utils.DeterministicRandomTestTool(mode=mode)
        with random_tool.scope():
            a, b, c = draw()
        for ours, theirs in zip(drawn, (a, b, c), strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), **TOLERANCE)
        assert np.allclose(b.numpy(), c.numpy(), **TOLERANCE) == (mode == "constant")
        print(mode, *(array.tolist() for array in drawn))


def step_4_order_and_operation_seeds():
    def draw(tool, order):
        found = {}
        for name, shape, seed in order:
            if seed is not None:
                tool.operation_seed = seed
            print(tool.operation_seed)
            found[name] = (tf.random.uniform(shape=shape) * 3).numpy()
        return found

    def tool():
        return v1.keras.utils.DeterministicRandomTestTool(mode="num_random_ops")

    forward = [("a", (3, 1), None), ("b", (3, 3), None)]
    random_tool = tool()
    with random_tool.scope():
        first = draw(random_tool, forward)
    random_tool = tool()
    with random_tool.scope():
        other_order = draw(random_tool, forward[::-1])
    assert not np.allclose(first["a"], other_order["a"])
    assert not np.allclose(first["b"], other_order["b"])

    random_tool = tool()
    with random_tool.scope():
        draw(random_tool, forward)
        print(random_tool.operation_seed)

    random_tool = tool()
    with random_tool.scope():
        explicit = draw(random_tool, [("b", (3, 3), 1), ("a", (3, 1), 0)])
        with raises(ValueError):  # the seed counts on to 1, which is used
            tf.random.uniform(shape=(3, 1))
    np.testing.assert_allclose(first["a"], explicit["a"], **TOLERANCE)
    np.testing.assert_allclose(first["b"], explicit["b"], **TOLERANCE)


def step_4_networks(training, mode, functional):
    random_tool = v1.keras.utils.DeterministicRandomTestTool(mode=mode)
    with random_tool.scope():
        graph = tf.Graph()
        with graph.as_default(), tf.compat.v1.Session(graph=graph) as sess:
            out, _ = inception_resnet_v2(ones(), CLASSES, is_training=training)
            sess.run(tf.compat.v1.global_variables_initializer())
            reg_losses = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES)
            loss = sess.run(tf.math.add_n(reg_losses))
            output = sess.run(out)

    random_tool = v1.keras.utils.DeterministicRandomTestTool(mode=mode)
    with random_tool.scope():
        if functional:
            keras_input = tf.keras.Input(shape=(SIZE, SIZE, 3))
            layer = InceptionResnetV2(CLASSES)
            outputs = layer(keras_input)
            try:
                model = tf.keras.Model(inputs=keras_input, outputs=outputs)
            except ValueError:  # Keras 3.3 takes no outputs nested in others
                model = tf.keras.Model(inputs=keras_input, outputs=tf.nest.flatten(outputs))
        else:
            model = InceptionResnetV2(CLASSES)
        name = f"{mode}, {'training' if training else 'inference'}{', functional' if functional else ''}"
        compare(name, loss, output, model, training)


def compare(name, loss, output, model, training):
    tf2_output = tf.nest.flatten(model(ones(), training=training))[0]
    tf2_loss = tf.math.add_n(model.losses)
    np.testing.assert_allclose(loss, tf2_loss.numpy(), **TOLERANCE)
    np.testing.assert_allclose(output, tf2_output.numpy(), **TOLERANCE)
    print(f"{name}: regularization loss {loss:.8g} and {tf2_loss.numpy():.8g}, first logit {output[0][0]:.8g}")


def main():
    step_1_variables_are_created_once()
    step_2_variables_match()
    step_3_fixed_values()
    step_4_random_numbers()
    step_4_order_and_operation_seeds()
    step_4_networks(training=False, mode="num_random_ops", functional=False)
    step_4_networks(training=True, mode="num_random_ops", functional=False)
    step_4_networks(training=True, mode="constant", functional=True)


if __name__ == "__main__":
    main()
