"""Layers of Keras 2 as a TF1 program uses them: tf.keras of TensorFlow 1.15 and 2.4, or tf_keras."""

import tensorflow as tf

try:
    import tf_keras as keras
except ImportError:
    keras = tf.keras

L = keras.layers
R = keras.regularizers


class WithLoss(L.Layer):
    def __init__(self, **kwargs):
        super(WithLoss, self).__init__(**kwargs)
        self.dense = L.Dense(3, name="inner", kernel_regularizer=R.l2(0.02))

    def call(self, x):
        y = self.dense(x)
        self.add_loss(0.1 * tf.reduce_mean(tf.square(y)))
        return y


class Net(keras.Model):
    def __init__(self):
        super(Net, self).__init__(name="net")
        self.d = L.Dense(4, activation="relu", name="d", kernel_regularizer=R.l2(0.01))
        self.bn = L.BatchNormalization(name="bn")

    def call(self, x, training=None):
        return self.bn(self.d(x), training=training)


def functional():
    inputs = keras.Input((6,), name="i")
    net = L.Dense(5, name="f1", kernel_regularizer=R.l1(0.001), activity_regularizer=R.l2(0.003))(inputs)
    net = L.Dropout(0.4, name="f3")(L.BatchNormalization(name="f2")(net))
    return keras.Model(inputs, net, name="f")


def forward(inputs, training):
    a = functional()(inputs["x"], training=training)
    # Not told of training: it follows the learning phase.
    layers = [
        L.Dense(4, name="s1", bias_regularizer=R.l2(0.5), bias_initializer="ones"),
        L.BatchNormalization(name="s2"),
        L.Dropout(0.25, name="s3"),
    ]
    b = keras.Sequential(layers, name="s")(a)
    c = WithLoss(name="w")(b)
    d = Net()(c, training=training)
    last = L.Dense(2, name="e", kernel_regularizer=R.l2(0.03))
    e = last(d)
    # What the program collects itself, in a sum, counts once.
    tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES, tf.add_n(last.losses))
    z = L.BatchNormalization(name="z")(e, training=False)
    return {"a": a, "b": b, "c": c, "d": d, "e": e, "z": z}
