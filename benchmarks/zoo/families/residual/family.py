"""The faults of the residual network."""

from benchmarks.zoo.catalogue import Family, Fault, Place, norm, operation, regularizer, state, training, variable

LAST_AVERAGES = state("net/last_norm/moving_mean", "net/last_norm/moving_variance")
PAD_OR_CONV = operation("net/block_2/(pad|conv_1/Conv2D)")

FAMILY = Family(
    inputs=lambda random: {"image": random.normal(size=(4, 12, 12, 3)).astype("float32")},
    shim=(
        Fault("scale_1", "constant-factor", operation("net/block_1/scaled")),
        Fault("scale_3", "constant-factor", operation("net/block_3/scaled")),
        Fault("no_scale", "missing-scale", operation("net/block_2/scaled")),
        Fault("no_shortcut", "missing-operation", operation("net/block_2/sum")),
        Fault("shortcut_input", "wrong-input", operation("net/block_2/shortcut/Conv2D")),
        Fault("same_padding", "padding", PAD_OR_CONV),
        Fault("pad_mode", "padding", operation("net/block_2/pad"), also=("wrong-operation",)),
        Fault(
            "epsilon",
            "epsilon",
            operation(
                "net/block_2/norm_1/.*",
                "net/block_2/norm_2/.*",
                "net/block_3/norm_1/.*",
                "net/block_3/norm_2/.*",
                "net/last_norm/.*",
            ),
        ),
        Fault("tiny_epsilon", "epsilon", operation("net/block_2/norm_1/.*")),
        training("momentum", "momentum", LAST_AVERAGES),
        training("fused", "unbiased-variance", norm("net/last_norm/(moving_variance|moments/.*)")),
        training("norm_variance", "unbiased-variance", operation("net/block_1/norm_2/.*")),
        Fault(
            "leaky_slope",
            "leaky-slope",
            operation(*(f"net/block_{block}/activation_{number}.*" for block in (2, 3) for number in (1, 2))),
        ),
        Fault("last_slope", "leaky-slope", operation("net/last_activation.*")),
        Fault("dilation", "dilation", operation("net/context/.*")),
        Fault("no_bias", "missing-bias", variable("net/context/(bias|BiasAdd)")),
        Fault("no_decay", "missing-regularizer", regularizer("net/block_3/conv_1/kernel")),
        Fault("resized_low", "wrong-operation", operation("net/low/AvgPool"), also=("pooling-kind",)),
    ),
    native=(
        Fault("no_scale", "missing-scale", operation("net/block_1/scaled")),
        Fault("scale", "constant-factor", operation("net/block_3/scaled")),
        Fault("minus", "wrong-operation", operation("net/block_3/sum")),
        Fault("tiny_epsilon", "epsilon", operation("net/block_1/norm_1/.*")),
        Fault("keras_epsilon", "epsilon", operation("net/block_3/norm_1/.*", "net/block_3/norm_2/.*")),
        Fault("same_padding", "padding", PAD_OR_CONV),
        Fault("l1", "regularizer-kind", regularizer("net/block_2/conv_1/kernel")),
        Fault("leaky_slope", "leaky-slope", operation("net/block_2/activation_1.*", "net/block_2/activation_2.*")),
        Fault("no_activation", "missing-activation", operation("net/block_3/activation_2.*")),
        Fault("dilation", "dilation", operation("net/context/.*")),
        training("momentum", "momentum", LAST_AVERAGES),
        Fault(
            "untrainable",
            "frozen-statistics",
            (Place("net/last_norm/(beta|gamma)", ("variable",)), Place("net/last_norm/.*", ("operation", "state"))),
        ),
        Fault("max_pool", "pooling-kind", operation("net/low/AvgPool")),
        Fault("sigmoid", "wrong-activation", operation("net/bounded")),
    ),
    pairs=(
        ("shim", "scale_1", "last_slope"),
        ("shim", "same_padding", "scale_3"),
        ("shim", "momentum", "no_scale"),
        ("native", "same_padding", "scale"),
        ("native", "tiny_epsilon", "max_pool"),
    ),
)
