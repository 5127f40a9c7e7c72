"""The faults of the decoder."""

from benchmarks.zoo.catalogue import Family, Fault, initializer, norm, operation, state, training, variable

NORM = operation("net/norm/.*")
AVERAGES = state("net/norm/moving_mean", "net/norm/moving_variance")
UNFLAT = operation("net/(unflat|channels_last)")

FAMILY = Family(
    inputs=lambda random: {"code": random.normal(size=(4, 10)).astype("float32")},
    shim=(
        Fault("flatten_order", "flatten-order", UNFLAT),
        Fault("swapped_axes", "transposed-axes", operation("net/channels_last")),
        Fault("initializer", "initializer", initializer("net/up_1/kernel")),
        training("momentum", "momentum", AVERAGES),
        Fault("epsilon", "epsilon", NORM),
        Fault("always_batch", "batch-statistics", norm("net/norm/.*")),
        Fault("softplus", "wrong-activation", operation("net/activation")),
        Fault("align_corners", "align-corners", operation("net/smooth.*")),
        Fault("plain_convolution", "transposed-kernel", operation("net/up_2/conv2d_transpose")),
        Fault("bicubic", "wrong-operation", operation("net/larger.*")),
        Fault("half_pixel", "half-pixel-centers", operation("net/larger.*")),
        Fault("nearest_corners", "align-corners", operation("net/rough.*")),
        Fault("no_bias", "missing-bias", variable("net/colours/(bias|BiasAdd)")),
        Fault("sigmoid", "wrong-activation", operation("net/image")),
        Fault("spread_axis", "wrong-axis", operation("net/spread/.*")),
        Fault("unbiased", "unbiased-variance", operation("net/spread/.*")),
    ),
    native=(
        Fault("flatten_order", "flatten-order", UNFLAT),
        Fault("initializer", "initializer", initializer("net/up_1/kernel")),
        training("momentum", "momentum", AVERAGES),
        Fault("epsilon", "epsilon", NORM),
        Fault("no_activation", "missing-activation", operation("net/positive")),
        Fault("elu", "wrong-activation", operation("net/positive")),
        Fault("align_corners", "align-corners", operation("net/smooth.*")),
        Fault("half_pixel", "half-pixel-centers", operation("net/larger.*")),
        Fault("larger_corners", "align-corners", operation("net/larger.*")),
        Fault("rough_average", "wrong-operation", operation("net/rough.*")),
        Fault("variance", "missing-operation", operation("net/spread/Sqrt")),
    ),
    pairs=(
        ("shim", "align_corners", "half_pixel"),
        ("shim", "epsilon", "unbiased"),
        ("shim", "momentum", "swapped_axes"),
        ("native", "half_pixel", "elu"),
        ("native", "epsilon", "variance"),
    ),
)
