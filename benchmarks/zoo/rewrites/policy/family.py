"""The mistakes of the policy."""

from benchmarks.zoo.catalogue import Family, Fault, operation

CELL = operation("net/lstm/.*")

FAMILY = Family(
    inputs=lambda random: {
        "x": random.normal(size=(3, 4, 5)).astype("float32"),
        "done": (random.uniform(size=(3, 4)) < 0.4).astype("float32"),
        "state": random.normal(size=(3, 12)).astype("float32"),
    },
    shim=(),
    native=(
        Fault("keras_order", "gate-order", CELL),
        Fault("no_forget_bias", "forget-bias", CELL, also=("offset", "missing-operation")),
        Fault("states_exchanged", "wrong-input", operation("net/lstm/.*"), also=("gate-order", "initial-state")),
        Fault("relu", "wrong-activation", operation("net/encode/.*")),
        Fault("input_forget", "gate-order", CELL),
        Fault("not_done", "mask", CELL),
        Fault("hard", "wrong-activation", CELL),
        Fault("no_tanh", "missing-activation", CELL, also=("wrong-activation",)),
        Fault("memory_kept", "missing-operation", CELL, also=("mask",)),
        Fault("memory_returned", "wrong-input", operation("net/lstm/.*", "net/stack"), also=("missing-operation",)),
        Fault("entropy_mean", "constant-factor", operation("net/entropy/.*"),
              also=("wrong-operation", "loss-reduction")),
    ),
    pairs=(
        ("native", "keras_order", "entropy_mean"), ("native", "no_forget_bias", "relu"),
        ("native", "input_forget", "relu"), ("native", "no_tanh", "no_forget_bias"),
    ),
    unseen=(
        "input_forget", "hard", "no_tanh", "memory_kept", "memory_returned", "entropy_mean",
        "input_forget+relu", "no_tanh+no_forget_bias",
    ),
)  # fmt: skip
