"""The faults of the perceptron."""

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

NORM = operation("net/norm/.*")
AVERAGES = state("net/norm/moving_mean", "net/norm/moving_variance")
FIRST_DROP = draw("net/dropout.*")
# What is wrong is the input of `gate`; that it is the dropout's output makes the dropout an answer as good.
GATE_OR_DROP = draw("net/(drop/.*|gate/(MatMul|BiasAdd|Sigmoid))")

FAMILY = Family(
    inputs=lambda random: {"features": random.normal(size=(16, 12)).astype("float32")},
    rename=((r"^net/first/weights$", "net/first/kernel"), (r"^net/first/biases$", "net/first/bias")),
    shim=(
        Fault("mean", "constant-factor", operation("net/sub")),
        Fault("clip", "clip-value", operation("net/clip_by_value.*")),
        Fault("no_activation", "missing-activation", operation("net/first/Relu")),
        Fault("bias_start", "initializer", initializer("net/first/biases")),
        training("keep_prob", "keep-prob-as-rate", FIRST_DROP),
        Fault("l2_half", "l2-half", regularizer("net/first/weights", "net/second/kernel")),
        Fault("no_regularizer", "missing-regularizer", regularizer("net/second/kernel")),
        Fault("transposed", "transposed-kernel", operation("net/second/MatMul")),
        Fault("epsilon", "epsilon", NORM),
        training("momentum", "momentum", AVERAGES),
        training("frozen", "frozen-statistics", norm("net/norm/.*")),
        Fault("activation_first", "operation-order", norm("net/(norm/.*|elu)")),
        Fault("selu", "wrong-activation", operation("net/elu")),
        Fault("tanh_gate", "wrong-activation", operation("net/gate/Sigmoid")),
        Fault("half_precision", "dtype", operation("net/(elu|gate/MatMul)")),
        Fault("shared_kernel", "wrong-variable", operation("net/gate/(MatMul|BiasAdd)")),
        training("dropout_place", "dropout-place", GATE_OR_DROP),
        Fault("deviation", "initializer", initializer("net/logits/kernel")),
        Fault("temperature", "missing-scale", operation("net/tempered")),
        Fault("softmax_axis", "wrong-axis", operation("net/probabilities")),
    ),
    native=(
        Fault("l2_half", "l2-half", regularizer("net/first/weights", "net/second/kernel")),
        Fault(
            "doubled_regularizer",
            "extra-regularizer",
            regularizer("net/second/kernel"),
            also=("l2-half", "constant-factor"),
        ),
        Fault("initializer", "initializer", initializer("net/first/weights")),
        training("keep_prob", "keep-prob-as-rate", FIRST_DROP),
        training("momentum", "momentum", AVERAGES),
        Fault("small_epsilon", "epsilon", NORM),
        training("frozen", "frozen-statistics", norm("net/norm/.*")),
        Fault("elu_slope", "activation-slope", operation("net/elu")),
        Fault("hard_sigmoid", "wrong-activation", operation("net/gate/Sigmoid")),
        Fault("no_bias", "missing-bias", variable("net/logits/(bias|BiasAdd)")),
        Fault("deviation", "constant-factor", operation("net/truediv")),
        Fault("no_clip", "missing-operation", operation("net/clip_by_value.*")),
        training("dropout_place", "dropout-place", GATE_OR_DROP),
        Fault("sum_gate", "wrong-operation", operation("net/gated")),
        Fault("multiplied", "wrong-operation", operation("net/tempered")),
    ),
    pairs=(
        ("shim", "epsilon", "tanh_gate"),
        ("shim", "keep_prob", "momentum"),
        ("native", "small_epsilon", "sum_gate"),
        ("native", "keep_prob", "no_bias"),
    ),
)
