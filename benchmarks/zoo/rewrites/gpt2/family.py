"""The mistakes of GPT-2's block."""

from benchmarks.zoo.catalogue import Family, Fault, operation

BOTH = "net/h0"
NORM = operation(f"{BOTH}/ln_[12]/.*")
SCORES = operation(f"{BOTH}/attn/(scores/.*|split|Reshape.*|transpose.*|MatMul.*)")

FAMILY = Family(
    inputs=lambda random: {"x": random.normal(size=(2, 5, 12)).astype("float32")},
    shim=(),
    native=(
        Fault("epsilon", "epsilon", NORM),
        Fault("erf", "gelu-form", operation(f"{BOTH}/mlp/gelu/.*"), also=("wrong-activation",)),
        Fault("no_scale", "constant-factor", SCORES, also=("missing-operation",)),
        Fault("heads_last", "head-order", SCORES, also=("flatten-order", "transposed-axes")),
        Fault("key_value", "wrong-input", SCORES, also=("gate-order",)),
        Fault("scale_of_all", "constant-factor", SCORES),
        Fault("norm_of_all", "wrong-axis", NORM),
        Fault(
            "merge_untransposed",
            "head-order",
            operation(f"{BOTH}/attn/(transpose.*|Reshape.*|c_proj/.*|MatMul.*)"),
            also=("flatten-order", "transposed-axes", "missing-operation"),
        ),
    ),
    pairs=(("native", "epsilon", "erf"), ("native", "scale_of_all", "epsilon"), ("native", "erf", "key_value")),
    unseen=("scale_of_all", "norm_of_all", "merge_untransposed", "scale_of_all+epsilon", "erf+key_value"),
)
