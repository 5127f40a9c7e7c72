"""The mistakes of the translator."""

import numpy as np
from benchmarks.zoo.catalogue import Family, Fault, operation

CELLS = operation("net/(read.*/)?.*gru_cell.*")
ENCODER = operation("net/(read.*/)?encoder.*")
DECODER = operation("net/decoder.*")
ATTENTION = operation("net/attention.*")
ANYWHERE = operation("net/read.*", "net/stack")

FAMILY = Family(
    inputs=lambda random: {
        "x": random.normal(size=(3, 5, 4)).astype("float32"),
        "shown": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], "float32"),
    },
    shim=(),
    native=(
        Fault("reset_after", "reset-after", CELLS, also=("operation-order",)),
        Fault("unmasked", "mask", ATTENTION, also=("missing-operation",)),
        Fault("padding_read", "mask", operation("net/read.*"), also=("missing-operation",)),
        Fault("linear_score", "missing-activation", ATTENTION),
        Fault("reset_after_encoder", "reset-after", ENCODER, also=("operation-order",)),
        Fault("hard", "wrong-activation", CELLS),
        Fault("relu", "wrong-activation", CELLS),
        Fault("keys_mixed", "wrong-input", ATTENTION),
        Fault("joined_order", "concat-order", operation("net/(concat|decoder).*"), also=("wrong-input",)),
        Fault("sigmoid_weights", "wrong-activation", ATTENTION),
        Fault("reversed", "reversed", operation("net/(read|strided_slice|stack).*"),
              also=("wrong-input", "upside-down", "slicing")),
    ),
    pairs=(("native", "reset_after", "linear_score"), ("native", "hard", "keys_mixed"), ("native", "relu", "unmasked")),
    unseen=(
        "reset_after_encoder", "hard", "keys_mixed", "joined_order", "sigmoid_weights", "reversed",
        "hard+keys_mixed", "relu+unmasked",
    ),
)  # fmt: skip
