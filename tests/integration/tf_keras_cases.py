"""The shim on tf_keras layers, models and modules; run by test_tf1_tf_keras.py in an environment that has tf_keras."""

import sys
import traceback

import numpy as np


def case_a_layer_owns_weights_and_losses_once(base, **_):
    owner = make(base)
    x = tf.ones([2, 3])
    first = owner(x)
    np.testing.assert_array_equal(owner(x), first)
    assert sorted(v.name for v in owner.weights) == NAMES, [v.name for v in owner.weights]
    assert sorted(v.name for v in owner.trainable_weights) == [n for n in NAMES if n != "net/mean:0"]
    assert [v.name for v in owner.non_trainable_weights] == ["net/mean:0"]
    assert len(owner.losses) == 2, owner.losses
    before = float(tf.add_n(owner.losses))
    for variable in owner.trainable_weights:
        variable.assign(2 * variable)
    np.testing.assert_allclose(float(tf.add_n(owner.losses)), 4 * before, rtol=1e-5)


def case_the_first_call_may_be_in_a_function(base, **_):
    owner = make(base)
    function = tf.function(lambda x: owner(x))
    np.testing.assert_allclose(function(tf.ones([2, 3])), owner(tf.ones([2, 3])), rtol=1e-6)
    assert sorted(v.name for v in owner.weights) == NAMES
    assert len(owner.losses) == 2


def case_fit_trains_and_weights_round_trip(base, folder, **_):
    inputs = tf_keras.Input([3])
    owner = make(base)
    model = tf_keras.Model(inputs, owner(inputs))
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    y = x @ np.ones((3, 2), np.float32)
    model.compile(tf_keras.optimizers.SGD(0.1), "mse")
    losses = model.fit(x, y, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0], losses
    expected = model(x)
    model.save_weights(f"{folder}/{base.__name__}.weights.h5")
    for variable in model.weights:
        variable.assign(tf.zeros_like(variable))
    model.load_weights(f"{folder}/{base.__name__}.weights.h5")
    np.testing.assert_array_equal(model(x), expected)


def case_layers_of_both_keras_count_once(base, **_):
    for made, kind in ((tf_keras.layers.Dense, "tf_keras"), (keras.layers.Dense, "keras")):
        owner = make(base, lambda x, made=made: get_or_create_layer("d", lambda: made(2, kernel_regularizer="l2"))(x))
        owner(tf.ones([1, 3]))
        owner(tf.ones([1, 3]))
        assert len(owner.weights) == len(owner.trainable_weights) == 2, (kind, owner.weights)
        assert len(owner.losses) == 1, (kind, owner.losses)
        assert float(owner.losses[0]) > 0


def case_a_keras_3_layer_owns_a_tf_keras_layer(**_):
    owner = make(
        keras.layers.Layer,
        lambda x: get_or_create_layer("d", lambda: tf_keras.layers.Dense(2, kernel_regularizer="l2"))(x),
    )
    owner(tf.ones([1, 3]))
    owner(tf.ones([1, 3]))
    assert len(owner.trainable_variables) == 2
    assert len(owner.losses) == 1
    assert float(owner.losses[0]) > 0


def case_a_module_owns_layers_of_both_keras(**_):
    def body(x):
        theirs = get_or_create_layer("theirs", lambda: tf_keras.layers.Dense(2, kernel_regularizer="l2"))
        ours = get_or_create_layer("ours", lambda: keras.layers.Dense(2, kernel_regularizer="l2"))
        return theirs(x) + ours(x)

    owner = make(tf.Module, body)
    owner(tf.ones([1, 3]))
    owner(tf.ones([1, 3]))
    assert len(owner.trainable_variables) == 4
    assert len(tf1.store_of(owner).regularizers) == 2


def case_nested_layers_count_once(base, **_):
    class Outer(base):
        def __init__(self):
            super().__init__()
            self.inner = None

        @track_tf1_style_variables
        def call(self, x):
            if self.inner is None:
                self.inner = make(base)
            return self.inner(x) * v1.get_variable("scale", [])

    owner = Outer()
    owner(tf.ones([2, 3]))
    owner(tf.ones([2, 3]))
    assert sorted(v.name for v in owner.weights) == sorted([*NAMES, "scale:0"])
    assert len(owner.losses) == 2


def case_variable_scope_layer_gets_training(**_):
    class Net(v1.keras.utils.VariableScopeLayer):
        def forward_pass(self, x, training=None):
            return x * v1.get_variable("train" if training else "infer", [])

    layer = Net()
    assert isinstance(layer, tf.keras.layers.Layer), type(layer).__mro__
    layer(tf.ones([1]))
    layer(tf.ones([1]), training=True)
    assert sorted(v.name for v in layer.weights) == ["infer:0", "train:0"]


NAMES = ["net/dense/bias:0", "net/dense/kernel:0", "net/mean:0", "net/w:0"]


def net(x):
    def l2(weights):
        return 0.1 * tf.reduce_sum(weights**2)

    with v1.variable_scope("net"):
        x = v1.layers.dense(x, 4, kernel_regularizer=l2)
        mean = v1.get_variable("mean", [4], trainable=False)
        return tf.matmul(x + 0 * mean, v1.get_variable("w", [4, 2], regularizer=l2))


def make(base, function=net):
    class Owner(base):
        @track_tf1_style_variables
        def call(self, x):
            return function(x)

        if base is tf.Module:
            __call__ = call

    return Owner()


def main(folder):
    """Runs all cases on tf_keras layers and models; prints what fails and returns how many did."""
    cases = [(name, case) for name, case in list(globals().items()) if name.startswith("case_")]
    failed = 0
    for name, case in cases:
        for base in (tf_keras.layers.Layer, tf_keras.Model):
            try:
                case(base=base, folder=folder)
            except Exception:
                failed += 1
                print(f"{name} {base}\n{traceback.format_exc()}")
    print(f"{2 * len(cases) - failed} of {2 * len(cases)} passed")
    return failed


if __name__ == "__main__":
    import keras
    import tensorflow as tf
    import tf_keras

    from lockstep import tf1

    v1 = tf.compat.v1
    tf1.enable()
    track_tf1_style_variables = v1.keras.utils.track_tf1_style_variables
    get_or_create_layer = v1.keras.utils.get_or_create_layer
    sys.exit(main(sys.argv[1]))
