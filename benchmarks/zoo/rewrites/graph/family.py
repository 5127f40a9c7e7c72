"""The mistakes of the graph network."""

from benchmarks.zoo.catalogue import Family, Fault, operation

NORMAL = operation("net/normalize/.*")
SHARED = operation("net/(normalize|spread_[01])/.*")
ATTENTION = operation("net/attention/.*")

FAMILY = Family(
    inputs=lambda random: {
        "x": random.normal(size=(6, 5)).astype("float32"),
        "adjacency": (random.uniform(size=(6, 6)) < 0.5).astype("float32"),
    },
    shim=(),
    native=(
        Fault("row", "wrong-operation", NORMAL, also=("missing-operation", "exponent")),
        Fault("selu", "wrong-activation", operation("net/spread_[01]/.*")),
        Fault("transposed", "transposed-axes", SHARED, also=("wrong-axis", "extra-operation")),
        Fault("left_right", "wrong-input", ATTENTION),
        Fault("slope", "leaky-slope", ATTENTION, also=("activation-slope", "wrong-activation")),
        Fault("no_loops", "missing-operation", NORMAL),
        Fault("degree_axis", "wrong-axis", NORMAL),
        Fault("unmasked", "mask", ATTENTION, also=("missing-operation",)),
        Fault("softmax_axis", "wrong-axis", ATTENTION),
    ),
    pairs=(("native", "selu", "left_right"), ("native", "degree_axis", "slope"), ("native", "softmax_axis", "selu")),
    unseen=("no_loops", "degree_axis", "unmasked", "softmax_axis", "degree_axis+slope", "softmax_axis+selu"),
)
