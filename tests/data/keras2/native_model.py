"""The model of `legacy_model` in Keras 3: right, and with one thing lost."""

import keras

L = keras.layers
R = keras.regularizers


class WithLoss(L.Layer):
    def __init__(self, name, adds):
        super().__init__(name=name)
        self.dense, self.adds = L.Dense(3, name="inner", kernel_regularizer=R.L2(0.02)), adds

    def call(self, x):
        y = self.dense(x)
        if self.adds:
            self.add_loss(0.1 * keras.ops.mean(keras.ops.square(y)))
        return y


class Top(keras.Model):
    def __init__(self, lost=""):
        super().__init__(name="top")
        self.lost = lost
        activity = None if lost == "activity" else R.L2(0.003)
        self.f1 = L.Dense(5, name="f1", kernel_regularizer=R.L1(0.001), activity_regularizer=activity)
        self.f2, self.f3 = L.BatchNormalization(name="f2"), L.Dropout(0.4)
        bias = None if lost == "regularizer" else R.L2(0.5)
        self.s1 = L.Dense(4, name="s1", bias_regularizer=bias, bias_initializer="ones")
        self.s2, self.s3 = L.BatchNormalization(name="s2"), L.Dropout(0.25)
        self.w = WithLoss("w", adds=lost != "add_loss")
        self.d = L.Dense(4, activation="relu", name="d", kernel_regularizer=R.L2(0.01))
        self.bn = L.BatchNormalization(name="bn")
        self.e, self.z = L.Dense(2, name="e", kernel_regularizer=R.L2(0.03)), L.BatchNormalization(name="z")

    def call(self, inputs, training=None):
        a = self.f3(self.f2(self.f1(inputs["x"]), training=training), training=training)
        b = self.s3(self.s2(self.s1(a), training=training), training=training)
        c = self.w(b)
        d = self.bn(self.d(c), training=training and self.lost != "update")
        e = self.e(d)
        return {"a": a, "b": b, "c": c, "d": d, "e": e, "z": self.z(e, training=False)}


def build():
    return Top()


def build_without_regularizer():
    return Top("regularizer")


def build_without_activity():
    return Top("activity")


def build_without_add_loss():
    return Top("add_loss")
