"""The mistakes of the discriminator."""

from benchmarks.zoo.catalogue import Family, Fault, operation

NORM = operation("net/(norm_1|norm_1_1)/.*")
LEAKY = operation("net/leaky_[01].*")
SPECTRAL = operation("net/(conv_[01].*/)?.*spectral.*")
LOSS = operation("net/loss/.*")

FAMILY = Family(
    inputs=lambda random: {name: random.normal(size=(3, 8, 8, 3)).astype("float32") for name in ("real", "fake")},
    shim=(),
    native=(
        Fault("keras_slope", "leaky-slope", LEAKY, also=("activation-slope", "wrong-activation")),
        Fault("layer_norm", "wrong-axis", NORM, also=("normalization",)),
        Fault("mean_pooled", "wrong-operation", operation("net/pooled.*"), also=("constant-factor",)),
        Fault("labels_exchanged", "wrong-input", LOSS, also=("wrong-operation",)),
        Fault("batch_norm", "wrong-axis", NORM, also=("normalization",)),
        Fault("old_u", "wrong-input", SPECTRAL, also=("missing-operation",)),
        Fault("epsilon_in_norm", "epsilon", SPECTRAL, also=("wrong-operation", "offset")),
        Fault("softplus_loss", "wrong-activation", LOSS, also=("wrong-operation",)),
    ),
    pairs=(("native", "keras_slope", "layer_norm"), ("native", "mean_pooled", "batch_norm")),
    unseen=("batch_norm", "old_u", "epsilon_in_norm", "softplus_loss", "mean_pooled+batch_norm"),
)
