"""The policy rewritten in Keras 3."""

import keras
from keras import ops

STEPS, SIZE = 4, 6


def build(faults):
    """Make the rewrite."""
    return Model(faults)


class Memory(keras.layers.Layer):
    def __init__(self, faults, **kwargs):
        super().__init__(**kwargs)
        self.faults = faults

    def build(self, *shapes):
        del shapes
        normal = keras.initializers.RandomNormal(stddev=0.3)
        self.wx = self.add_weight(shape=(7, 4 * SIZE), initializer=normal, name="wx")
        self.wh = self.add_weight(shape=(SIZE, 4 * SIZE), initializer=normal, name="wh")
        self.b = self.add_weight(shape=(4 * SIZE,), initializer="zeros", name="b")

    def call(self, x, done, state):
        faults = self.faults
        memory, hidden = ops.split(state, 2, axis=-1)
        if "states_exchanged" in faults:
            memory, hidden = hidden, memory
        outputs = []
        for step in range(STEPS):
            kept = 1.0 - done[:, step, None]
            if "not_done" in faults:
                kept = done[:, step, None]
            hidden = hidden * kept
            memory = memory if "memory_kept" in faults else memory * kept
            gates = ops.matmul(x[:, step], self.wx) + ops.matmul(hidden, self.wh) + self.b
            if "keras_order" in faults:
                i, f, u, o = ops.split(gates, 4, axis=-1)
            elif "input_forget" in faults:
                f, i, o, u = ops.split(gates, 4, axis=-1)
            else:
                i, f, o, u = ops.split(gates, 4, axis=-1)
            gate = ops.hard_sigmoid if "hard" in faults else ops.sigmoid
            f = gate(f if "no_forget_bias" in faults else f + 1.0)
            memory = f * memory + gate(i) * ops.tanh(u)
            out = gate(o)
            hidden = out * (memory if "no_tanh" in faults else ops.tanh(memory))
            outputs.append(memory if "memory_returned" in faults else hidden)
        return ops.stack(outputs, axis=1), ops.concatenate([memory, hidden], axis=-1)


class Model(keras.Model):
    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        self.encode = keras.layers.Dense(7, activation="relu" if "relu" in faults else "tanh", name="encode")
        self.lstm = Memory(faults, name="lstm")
        self.pi = keras.layers.Dense(3, name="pi")
        self.vf = keras.layers.Dense(1, name="vf")

    def call(self, inputs, training=None):
        net, state = self.lstm(self.encode(inputs["x"]), inputs["done"], inputs["state"])
        logits = self.pi(net)
        log = ops.log_softmax(logits)
        entropy = -ops.sum(ops.exp(log) * log, axis=-1)
        if "entropy_mean" in self.faults:
            entropy = -ops.mean(ops.exp(log) * log, axis=-1)
        return {"logits": logits, "value": ops.squeeze(self.vf(net), -1), "state": state, "entropy": entropy}
