"""The faults of the guide's network, Inception-ResNet-v2."""

from benchmarks.zoo.catalogue import Family, Fault, draw, operation, regularizer, state, training, variable

NET = "InceptionResnetV2"
BLOCK = f"{NET}/Repeat_1/block17_7"
SCALED = operation(f"{BLOCK}/mul")
POOL = operation(f"{NET}/Mixed_5b/Branch_3/AvgPool_0a_3x3/AvgPool")
LAST = operation(f"{NET}/Block8/.*")
DROPOUT = draw(f"{NET}/Logits/Dropout/.*")
STEM = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")

FAMILY = Family(
    inputs=lambda random: {"image": random.uniform(size=(2, 299, 299, 3)).astype("float32")},
    reference="../../../../examples/inception_resnet_v2/legacy_model.py:forward",
    requirements=("tensorflow==1.15.5", "tf-slim==1.1.0"),
    slow=True,
    rename=(
        (r"^(.*Logits)/weights$", r"\1/kernel"),
        (r"^(.*/(?:block\d+_\d+|Block8)/Conv2d_1x1)/weights$", r"\1/kernel"),
        (r"^(.*)/biases$", r"\1/bias"),
        (r"^(.*)/weights$", r"\1/conv/kernel"),
        (r"^(.*)/BatchNorm/(.*)$", r"\1/norm/\2"),
    ),
    shim=(
        Fault("block17_7_scale", "constant-factor", SCALED),
        Fault("block35_scale", "constant-factor", operation(*(f"{NET}/Repeat/block35_{n}/mul" for n in range(1, 11)))),
        Fault("epsilon", "epsilon", operation(f"{NET}/.*/BatchNorm/.*")),
        training("momentum", "momentum", state(f"{NET}/.*/moving_mean", f"{NET}/.*/moving_variance")),
        Fault("no_gamma", "missing-variable", variable(f"{NET}/.*/(gamma|FusedBatchNorm.*)")),
        Fault("weight_decay", "constant-factor", regularizer(f"{NET}/.*/weights")),
        Fault("max_pool", "pooling-kind", POOL),
        Fault("concat_order", "concat-order", operation(f"{NET}/Repeat_2/block8_4/concat")),
        Fault("last_activation", "extra-operation", LAST),
        training("keep_prob", "keep-prob-as-rate", DROPOUT),
    ),
    native=(
        Fault("block17_7_scale", "constant-factor", SCALED),
        Fault("epsilon", "epsilon", operation(f"{BLOCK}/.*/BatchNorm/.*")),
        training("momentum", "momentum", state(*(f"{NET}/Conv2d_{n}/BatchNorm/moving_.*" for n in STEM))),
        Fault("no_bias_decay", "missing-regularizer", regularizer(f"{BLOCK}/Conv2d_1x1/biases")),
        Fault("max_pool", "pooling-kind", POOL),
        Fault("last_activation", "extra-operation", LAST),
        training("keep_prob", "keep-prob-as-rate", DROPOUT),
    ),
    pairs=(("shim", "block17_7_scale", "max_pool"), ("native", "block17_7_scale", "last_activation")),
)
