"""The mistakes of the norms."""

from benchmarks.zoo.catalogue import Family, Fault, operation

LAYER, RMS, GROUP, LENGTH = (operation(f"net/{name}(_1)?/.*") for name in ("layer", "rms", "group", "length"))

FAMILY = Family(
    inputs=lambda random: {"x": random.normal(size=(2, 6, 8)).astype("float32")},
    shim=(),
    native=(
        Fault("layer_axes", "wrong-axis", LAYER, also=("normalization",)),
        Fault("more_groups", "wrong-axis", GROUP, also=("normalization",)),
        Fault("rms_as_layer", "normalization", RMS, also=("wrong-operation", "extra-operation")),
        Fault("length_axis", "wrong-axis", LENGTH, also=("normalization",)),
        Fault("layer_as_rms", "normalization", LAYER, also=("wrong-operation", "missing-operation")),
        Fault("rms_sum", "wrong-operation", RMS, also=("normalization", "constant-factor")),
        Fault("group_axis", "wrong-axis", GROUP, also=("normalization",)),
    ),
    pairs=(("native", "layer_axes", "more_groups"), ("native", "layer_as_rms", "length_axis")),
    unseen=("length_axis", "layer_as_rms", "rms_sum", "group_axis", "layer_as_rms+length_axis"),
)
