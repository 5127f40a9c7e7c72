"""The faults of the mobile network."""

from benchmarks.zoo.catalogue import Family, Fault, initializer, norm, operation, state, training, variable

NORMALIZED = ("stem", "depthwise_1", "pointwise_1", "depthwise_2", "pointwise_2")
EACH_AVERAGE = state(
    *(f"net/{scope}/BatchNorm/{average}" for scope in NORMALIZED for average in ("moving_mean", "moving_variance"))
)
GATE = operation("net/excite/(shifted|bounded|gate|gated)")

FAMILY = Family(
    inputs=lambda random: {"image": random.integers(0, 256, size=(4, 16, 16, 3)).astype("float32")},
    requirements=("tensorflow==1.15.5", "tf-slim==1.1.0"),
    rename=(
        (r"^net/excite/(.*)/weights$", r"net/\1/kernel"),
        (r"^net/excite/(.*)/biases$", r"net/\1/bias"),
        (r"^net/logits/weights$", "net/logits/kernel"),
        (r"^net/(logits|joint)/biases$", r"net/\1/bias"),
        (r"^net/joint/(depthwise|pointwise)_weights$", r"net/joint/\1_kernel"),
        (r"^net/(.*)/(?:depthwise_)?weights$", r"net/\1/conv/kernel"),
        (r"^net/(.*)/BatchNorm/(.*)$", r"net/\1/norm/\2"),
    ),
    shim=(
        training("momentum", "momentum", EACH_AVERAGE),
        Fault("centre", "offset", operation("net/centred")),
        Fault("relu", "wrong-activation", operation("net/clipped")),
        Fault("max_pool", "pooling-kind", operation("net/global_pool")),
        Fault("sum_pool", "pooling-kind", operation("net/global_pool")),
        Fault("softmax", "wrong-activation", operation("net/scores")),
        Fault("epsilon", "epsilon", operation("net/depthwise_1/BatchNorm/.*")),
        Fault("dilation", "dilation", operation("net/depthwise_1/depthwise.*")),
        Fault("linear", "missing-activation", operation("net/pointwise_1/Relu6")),
        Fault("padding", "padding", operation("net/depthwise_2/depthwise.*")),
        Fault("stride_place", "strides", operation("net/depthwise_2/depthwise.*", "net/pointwise_2/Conv2D")),
        training("frozen", "frozen-statistics", norm("net/pointwise_2/BatchNorm/.*")),
        Fault("squeeze_axis", "wrong-axis", operation("net/excite/squeeze")),
        Fault("sigmoid", "wrong-activation", GATE),
        Fault("gate_factor", "constant-factor", operation("net/excite/gate")),
        Fault("added", "wrong-operation", operation("net/excite/gated")),
        Fault("multiplier_order", "channel-order", operation("net/joint/.*"), also=("flatten-order",)),
    ),
    native=(
        Fault("silu", "wrong-activation", operation("net/depthwise_1/Relu6")),
        Fault("dilation", "dilation", operation("net/depthwise_1/depthwise.*")),
        Fault("epsilon", "epsilon", operation("net/pointwise_1/BatchNorm/.*")),
        training(
            "no_updates",
            "missing-update",
            state("net/pointwise_1/BatchNorm/moving_mean", "net/pointwise_1/BatchNorm/moving_variance"),
        ),
        Fault("padding", "padding", operation("net/depthwise_2/depthwise.*")),
        training(
            "momentum",
            "momentum",
            state("net/depthwise_2/BatchNorm/moving_mean", "net/depthwise_2/BatchNorm/moving_variance"),
        ),
        Fault("initializer", "initializer", initializer("net/excite/reduce/weights")),
        Fault("no_bias", "missing-bias", variable("net/joint/(biases|BiasAdd)")),
        Fault("max_pool", "pooling-kind", operation("net/global_pool")),
        Fault("image_range", "image-range", operation("net/(centred|scaled)")),
        Fault("amplifier", "constant-factor", operation("net/amplified")),
        Fault("sigmoid", "wrong-activation", GATE),
        Fault("gate_shift", "offset", operation("net/excite/shifted")),
    ),
    pairs=(
        ("shim", "centre", "gate_factor"),
        ("shim", "padding", "sum_pool"),
        ("native", "epsilon", "amplifier"),
    ),
)
