"""The mistakes of the U-Net."""

from benchmarks.zoo.catalogue import Family, Fault, operation

NORM = operation("net/(down|low|merge)_norm/.*")
MISH = operation("net/mish(_1)?/.*")
LEAKY = operation("net/leaky.*")

FAMILY = Family(
    inputs=lambda random: {"x": random.normal(size=(2, 8, 8, 3)).astype("float32")},
    shim=(),
    native=(
        Fault("groups", "wrong-axis", NORM, also=("normalization",)),
        Fault("mish", "wrong-activation", MISH),
        Fault("slope", "leaky-slope", LEAKY, also=("activation-slope", "wrong-activation")),
        Fault("skip_order", "concat-order", operation("net/skip", "net/merge/.*"), also=("wrong-input",)),
        Fault("instance", "wrong-axis", NORM, also=("normalization",)),
        Fault("one_group", "wrong-axis", NORM, also=("normalization",)),
        Fault("unbiased", "unbiased-variance", NORM),
        Fault("softplus_sigmoid", "wrong-activation", MISH),
        Fault("epsilon", "epsilon", NORM),
        Fault("average", "pooling-kind", operation("net/pool.*"), also=("wrong-operation",)),
    ),
    pairs=(("native", "groups", "slope"), ("native", "mish", "skip_order"), ("native", "epsilon", "slope")),
    unseen=("instance", "one_group", "unbiased", "softplus_sigmoid", "average", "mish+skip_order", "epsilon+slope"),
)
