"""The recurrent classifier rewritten in Keras 3, with cells that hold their weights as the TF1 cells do."""

import keras
from keras import ops

WORDS, SIZE = 20, 8


def build(faults):
    """Make the rewrite."""
    return Recurrent(faults)


class LSTMCell(keras.layers.Layer):
    """An LSTM with one kernel for inputs and state, gates in TF1's order, and the forget bias added on the way."""

    def __init__(self, faults, **kwargs):
        super().__init__(**kwargs)
        self.faults = faults
        self.state_size, self.output_size = [SIZE, SIZE], SIZE

    def build(self, shape):
        start = "orthogonal" if "initializer" in self.faults else "glorot_uniform"
        self.kernel = self.add_weight(shape=(shape[-1] + SIZE, 4 * SIZE), initializer=start, name="kernel")
        self.bias = self.add_weight(shape=(4 * SIZE,), initializer="zeros", name="bias")

    def call(self, inputs, states, training=False):
        del training
        hidden, cell = states
        joined = [hidden, inputs] if "concat_order" in self.faults else [inputs, hidden]
        gates = ops.matmul(ops.concatenate(joined, axis=1), self.kernel) + self.bias
        if "gate_order" in self.faults:
            entering, forgetting, new, leaving = ops.split(gates, 4, axis=1)
        else:
            entering, new, forgetting, leaving = ops.split(gates, 4, axis=1)
        forgetting = forgetting if "forget_bias" in self.faults else forgetting + 1.0
        sigmoid = ops.hard_sigmoid if "hard_sigmoid" in self.faults else ops.sigmoid
        cell = sigmoid(forgetting) * cell + sigmoid(entering) * ops.tanh(new)
        hidden = sigmoid(leaving) * ops.tanh(cell)
        return hidden, [hidden, cell]


class GRUCell(keras.layers.Layer):
    """A GRU whose reset comes before the multiplication, with the gates' bias at one."""

    def __init__(self, faults, **kwargs):
        super().__init__(**kwargs)
        self.faults = faults
        self.state_size = self.output_size = 6

    def build(self, shape):
        rows = shape[-1] + 6
        self.gates = self.add_weight(shape=(rows, 12), initializer="glorot_uniform", name="gates_kernel")
        one = "zeros" if "gate_bias" in self.faults else "ones"
        self.gates_bias = self.add_weight(shape=(12,), initializer=one, name="gates_bias")
        self.candidate = self.add_weight(shape=(rows, 6), initializer="glorot_uniform", name="candidate_kernel")
        self.candidate_bias = self.add_weight(shape=(6,), initializer="zeros", name="candidate_bias")

    def call(self, inputs, states, training=False):
        del training
        state = states[0]
        gates = ops.sigmoid(ops.matmul(ops.concatenate([inputs, state], axis=1), self.gates) + self.gates_bias)
        reset, update = ops.split(gates, 2, axis=1)
        if "swapped_gates" in self.faults:
            reset, update = update, reset
        if "reset_after" in self.faults:
            width = inputs.shape[-1]
            new = ops.matmul(inputs, self.candidate[:width])
            new = new + reset * ops.matmul(state, self.candidate[width:])
        else:
            new = ops.matmul(ops.concatenate([inputs, reset * state], axis=1), self.candidate)
        new = ops.tanh(new + self.candidate_bias)
        if "update_inverted" in self.faults:
            update = 1.0 - update
        state = update * state + (1.0 - update) * new
        return state, [state]


class Recurrent(keras.Model):
    """Keras layers in the order of the TF1 code."""

    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        start = keras.initializers.RandomUniform(-0.5, 0.5)
        self.table = keras.layers.Embedding(WORDS, SIZE, embeddings_initializer=start, name="table")
        options = {"return_sequences": True, "return_state": True, "unroll": True}
        zeros = "repeated_output" not in faults  # Keras repeats the last output behind a text's end by default
        cells = LSTMCell(faults, name="cell"), GRUCell(faults, name="cell")
        self.lstm = keras.layers.RNN(cells[0], name="lstm", zero_output_for_mask=True, **options)
        self.gru = keras.layers.RNN(cells[1], name="gru", zero_output_for_mask=zeros, **options)
        self.drop = None if "no_dropout" in faults else keras.layers.Dropout(0.25)
        self.logits = keras.layers.Dense(3, name="logits")

    def call(self, inputs, training=None):
        faults = self.faults
        words, length = inputs["words"], inputs["length"]
        net = self.table(words)
        if "embedding_scale" in faults:
            net = net * SIZE**0.5
        mask = ops.arange(words.shape[1])[None, :] < length[:, None]
        net, hidden, memory = self.lstm(net, mask=None if "mask" in faults else mask)
        net, _ = self.gru(ops.relu(net), mask=mask)
        count = ops.cast(length, "float32")[:, None]
        mean = ops.sum(net, axis=1) / (7.0 if "whole_mean" in faults else count)
        features = [mean, hidden] if "features_order" in faults else [hidden, mean]
        features = ops.concatenate(features, axis=1)
        dropped = features if self.drop is None else self.drop(features, training=bool(training))
        return {"logits": self.logits(dropped), "memory": memory, "states": net}
