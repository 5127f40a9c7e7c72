"""The perceptron rewritten in Keras 3."""

import keras
from keras import ops

DECAY = keras.regularizers.L2(0.005)  # half of the TF1 factor: `tf.nn.l2_loss` carries a half


def build(faults):
    """Make the rewrite."""
    return Perceptron(faults)


class Perceptron(keras.Model):
    """Keras layers in the order of the TF1 code."""

    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        decay = keras.regularizers.L2(0.01) if "l2_half" in faults else DECAY
        kernel = "he_normal" if "initializer" in faults else "glorot_uniform"
        self.first = keras.layers.Dense(16, "relu", kernel_initializer=kernel, kernel_regularizer=decay, name="first")
        self.first_drop = keras.layers.Dropout(0.8 if "keep_prob" in faults else 0.2)
        twice = keras.regularizers.L2(0.01) if "doubled_regularizer" in faults else decay
        self.second = keras.layers.Dense(16, use_bias=False, kernel_regularizer=twice, name="second")
        # Keras's own defaults are 0.99 and 0.001.
        self.norm = keras.layers.BatchNormalization(
            momentum=0.99 if "momentum" in faults else 0.9,
            epsilon=1.01e-3 if "small_epsilon" in faults else 1e-3,
            name="norm",
        )
        self.elu = keras.layers.ELU(0.9 if "elu_slope" in faults else 1.0)
        gate = "hard_sigmoid" if "hard_sigmoid" in faults else "sigmoid"
        self.gate = keras.layers.Dense(16, gate, name="gate")
        self.drop = keras.layers.Dropout(0.3)
        small = keras.initializers.TruncatedNormal(stddev=0.1)
        self.logits = keras.layers.Dense(5, use_bias="no_bias" not in faults, kernel_initializer=small, name="logits")

    def build(self, shapes):
        del shapes
        self.first.build((None, 12))
        for layer in (self.second, self.norm, self.gate, self.logits):
            layer.build((None, 16))
        self.temperature = self.add_weight(shape=(), initializer=keras.initializers.Constant(2.0), name="temperature")

    def call(self, inputs, training=None):
        faults = self.faults
        net = (inputs["features"] - 0.1) / (1.25 if "deviation" in faults else 1.2)
        if "no_clip" not in faults:
            net = ops.clip(net, -1.5, 1.5)
        net = self.first_drop(self.first(net), training=training)
        net = self.norm(self.second(net), training=training and "frozen" not in faults)
        net = self.elu(net)
        dropped = self.drop(net, training=training)
        gate = self.gate(dropped if "dropout_place" in faults else net)
        net = dropped + gate if "sum_gate" in faults else dropped * gate
        logits = self.logits(net)
        logits = logits * self.temperature if "multiplied" in faults else logits / self.temperature
        return {"logits": logits, "probabilities": ops.softmax(logits)}
