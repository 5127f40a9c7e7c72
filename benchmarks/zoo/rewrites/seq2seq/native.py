"""The translator rewritten in Keras 3."""

import keras
from keras import ops

BATCH, LENGTH, SIZE, STEPS = 3, 5, 6, 3


def build(faults):
    """Make the rewrite."""
    return Model(faults)


def cell(faults, name):
    start = keras.initializers.RandomNormal(stddev=0.4)
    return keras.layers.GRUCell(
        SIZE,
        recurrent_activation="hard_sigmoid" if "hard" in faults else "sigmoid",
        activation="relu" if "relu" in faults else "tanh",
        use_bias=False,
        kernel_initializer=start,
        recurrent_initializer=start,
        reset_after=f"reset_after_{name}" in faults or "reset_after" in faults,
        name="gru_cell",
    )


class Cell(keras.layers.Layer):
    def __init__(self, faults, **kwargs):
        super().__init__(**kwargs)
        self.cell = cell(faults, kwargs["name"])

    def build(self, x_shape, state_shape):
        del state_shape
        self.cell.build(x_shape)

    def call(self, x, state):
        return self.cell(x, [state])[0]


class Attention(keras.layers.Layer):
    def __init__(self, faults, **kwargs):
        super().__init__(**kwargs)
        self.faults = faults
        self.query_layer = keras.layers.Dense(SIZE, use_bias=False, name="query_layer")

    def build(self, *shapes):
        del shapes
        start = keras.initializers.RandomNormal(stddev=0.4)
        self.v = self.add_weight(shape=(SIZE,), initializer=start, name="v")

    def call(self, hidden, keys, memory, shown):
        added = keys + self.query_layer(hidden)[:, None]
        score = ops.sum(self.v * (added if "linear_score" in self.faults else ops.tanh(added)), axis=2)
        if "unmasked" not in self.faults:
            score = ops.where(shown > 0, score, -1e9)
        weights = ops.sigmoid(score) if "sigmoid_weights" in self.faults else ops.softmax(score)
        return ops.sum(weights[:, :, None] * (keys if "keys_mixed" in self.faults else memory), axis=1)


class Project(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.words = keras.layers.Dense(7, name="words")

    def call(self, x):
        return self.words(x)


class Model(keras.Model):
    def __init__(self, faults):
        super().__init__(name="net")
        self.faults = faults
        self.encoder, self.decoder = Cell(faults, name="encoder"), Cell(faults, name="decoder")
        self.memory_layer = keras.layers.Dense(SIZE, use_bias=False, name="memory_layer")
        self.attention = Attention(faults, name="attention")
        self.project = Project(name="project")

    def call(self, inputs, training=None):
        faults, x, shown = self.faults, inputs["x"], inputs["shown"]
        state, states = ops.zeros((BATCH, SIZE)), []
        for step in reversed(range(LENGTH)) if "reversed" in faults else range(LENGTH):
            new = self.encoder(x[:, step], state)
            state = new if "padding_read" in faults else ops.where(shown[:, step, None] > 0, new, state)
            states.append(state)
        memory = ops.stack(states, axis=1)
        keys = self.memory_layer(memory)
        answers, word = [], ops.zeros((BATCH, 7))
        for _ in range(STEPS):
            context = self.attention(state, keys, memory, shown)
            joined = [context, word] if "joined_order" in faults else [word, context]
            if "joined_order" in faults:
                joined = [ops.concatenate(joined, 1)]
            state = self.decoder(ops.concatenate(joined, axis=1), state)
            word = self.project(state)
            answers.append(word)
        return {"words": ops.stack(answers, axis=1), "last": state}
