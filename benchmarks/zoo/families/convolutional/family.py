"""The faults of the inception network."""

from benchmarks.zoo.catalogue import (
    Family,
    Fault,
    draw,
    initializer,
    norm,
    operation,
    regularizer,
    state,
    training,
    variable,
)

NORMALIZED = ("conv_1", "conv_2", "mixed/first", "mixed/second_reduce", "mixed/second", "mixed/third")
EACH_NORM = norm(*(f"net/{scope}/BatchNorm/.*" for scope in NORMALIZED))
EACH_KERNEL = regularizer(*(f"net/{scope}/weights" for scope in (*NORMALIZED, "logits")))
AVERAGES = state("net/conv_2/BatchNorm/moving_mean", "net/conv_2/BatchNorm/moving_variance")
# The fused kernel gives the variance that the average takes in: it, or the average, is what differs.
VARIANCE = norm("net/conv_2/BatchNorm/(moving_variance|FusedBatchNorm.*)")
RELU = operation("net/conv_2/Relu")
DROP = draw("net/drop/.*")
# Without the pooling the convolution behind it reads something else; both say the same.
POOL_OR_ITS_READER = operation("net/mixed/(third_pool/AvgPool|third/Conv2D)")

FAMILY = Family(
    inputs=lambda random: {"image": random.uniform(size=(4, 16, 16, 3)).astype("float32")},
    requirements=("tensorflow==1.15.5", "tf-slim==1.1.0"),
    rename=(
        (r"^net/logits/weights$", "net/logits/kernel"),
        (r"^net/logits/biases$", "net/logits/bias"),
        (r"^net/(?:mixed/)?(.*)/weights$", r"net/\1/conv/kernel"),
        (r"^net/(?:mixed/)?(.*)/BatchNorm/(.*)$", r"net/\1/norm/\2"),
    ),
    shim=(
        Fault("epsilon", "epsilon", EACH_NORM),
        training("frozen", "frozen-statistics", EACH_NORM),
        Fault("weight_decay", "constant-factor", EACH_KERNEL),
        Fault("not_doubled", "missing-scale", operation("net/doubled")),
        Fault("offset", "offset", operation("net/centred")),
        Fault("padding", "padding", operation("net/conv_1/Conv2D")),
        Fault("stride_place", "strides", operation("net/conv_1/Conv2D", "net/conv_2/Conv2D")),
        training("momentum", "momentum", AVERAGES),
        training("unbiased", "unbiased-variance", VARIANCE),
        Fault("no_gamma", "missing-variable", variable("net/conv_2/BatchNorm/(gamma|FusedBatchNorm.*)")),
        Fault("leaky", "wrong-activation", RELU),
        Fault("half_precision", "dtype", operation("net/(conv_2/Relu|pool/MaxPool)")),
        Fault("average_pool", "pooling-kind", operation("net/pool/MaxPool")),
        Fault("pool_size", "window", operation("net/pool/MaxPool")),
        Fault("dilation", "dilation", operation("net/mixed/second/Conv2D")),
        Fault("no_pool", "missing-operation", POOL_OR_ITS_READER),
        Fault("max_pool", "pooling-kind", operation("net/mixed/third_pool/AvgPool")),
        Fault("concat_order", "concat-order", operation("net/mixed/joined")),
        Fault("flatten_order", "flatten-order", operation("net/flat/.*")),
        training("keep_prob", "keep-prob-as-rate", DROP),
        Fault("no_regularizer", "missing-regularizer", regularizer("net/logits/weights")),
    ),
    native=(
        Fault("no_regularizer", "missing-regularizer", regularizer("net/conv_2/weights")),
        training("momentum", "momentum", AVERAGES),
        Fault("epsilon", "epsilon", operation("net/conv_2/BatchNorm/.*")),
        training("biased_variance", "unbiased-variance", VARIANCE),
        training("no_updates", "missing-update", AVERAGES),
        Fault("padding", "padding", operation("net/conv_1/Conv2D")),
        Fault("no_activation", "missing-activation", operation("net/mixed/second_reduce/Relu")),
        Fault("activation_first", "operation-order", norm("net/mixed/second/(BatchNorm/.*|Relu)")),
        Fault("dilation", "dilation", operation("net/mixed/second/Conv2D")),
        Fault("max_pool", "pooling-kind", operation("net/mixed/third_pool/AvgPool")),
        Fault("flatten_order", "flatten-order", operation("net/flat/.*")),
        training("dropout_rate", "dropout-rate", DROP),
        Fault("initializer", "initializer", initializer("net/logits/weights")),
        Fault("wrong_input", "wrong-input", POOL_OR_ITS_READER, also=("missing-operation",)),
        Fault("concat_order", "concat-order", operation("net/mixed/joined")),
    ),
    pairs=(
        ("shim", "padding", "leaky"),
        ("shim", "pool_size", "concat_order"),
        ("shim", "momentum", "keep_prob"),
        ("native", "epsilon", "wrong_input"),
        ("native", "padding", "biased_variance"),
    ),
)
