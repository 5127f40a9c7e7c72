"""The faults of the transformer block."""

from benchmarks.zoo.catalogue import Family, Fault, draw, initializer, operation, training

NORMS = ("attention_norm", "feed_norm", "last_norm")
GELU = operation("net/feed/(gelu|erf|add|mul|truediv)")
MASK = operation("net/attention/(masked|weights)")
DROP = draw("net/attention/drop/.*")
EMBEDDED = operation("net/scaled")

FAMILY = Family(
    inputs=lambda random: {"words": random.integers(0, 30, size=(3, 6)).astype("int32")},
    rename=(
        ("^net/(words|places)$", r"net/\1/embeddings"),
        ("^net/feed/(.*)$", r"net/\1"),
    ),
    shim=(
        Fault("place_start", "initializer", initializer("net/places")),
        Fault("embedding_scale", "missing-scale", EMBEDDED),
        Fault("place_offset", "offset", operation("net/placed")),
        Fault("residual_input", "wrong-input", operation("net/attended")),
        Fault("max_summary", "pooling-kind", operation("net/summary")),
        Fault("norm_axes", "wrong-axis", operation("net/feed_norm/.*")),
        Fault("unbiased", "unbiased-variance", operation("net/last_norm/.*")),
        Fault("epsilon", "epsilon", operation(*(f"net/{norm}/.*" for norm in NORMS))),
        Fault("first_epsilon", "epsilon", operation("net/attention_norm/.*")),
        Fault("shared_key", "wrong-variable", operation("net/attention/key/.*")),
        Fault("score_scale", "missing-scale", operation("net/attention/scores")),
        Fault("whole_size", "constant-factor", operation("net/attention/scores")),
        Fault("mask_inclusive", "offset", MASK),
        Fault("mask_late", "offset", MASK),
        Fault("no_mask", "mask", MASK),
        Fault("softmax_axis", "wrong-axis", operation("net/attention/weights")),
        training("keep_prob", "keep-prob-as-rate", DROP),
        training("dropout_place", "dropout-place", DROP),
        Fault("heads_apart", "missing-operation", operation("net/attention/(together|joined)")),
        Fault("gelu_form", "gelu-form", GELU),
        Fault("relu", "wrong-activation", GELU),
        Fault("half_precision", "dtype", operation("net/feed/(gelu|narrow/.*)")),
    ),
    native=(
        Fault("place_start", "initializer", initializer("net/places")),
        Fault("embedding_scale", "missing-scale", EMBEDDED),
        Fault("keras_epsilon", "epsilon", operation("net/attention_norm/.*")),
        Fault("small_epsilon", "epsilon", operation("net/last_norm/.*")),
        training("dropout_rate", "dropout-rate", DROP),
        Fault("score_scale", "missing-scale", operation("net/attention/scores")),
        Fault("mask_inclusive", "offset", MASK),
        Fault("no_mask", "mask", MASK),
        Fault("interleaved_heads", "head-order", operation("net/attention/(Reshape|transpose)(_[12])?")),
        Fault("gelu_form", "gelu-form", GELU),
        Fault("silu", "wrong-activation", GELU),
        Fault("post_norm", "wrong-input", operation("net/fed")),
        Fault("no_residual", "missing-operation", operation("net/fed")),
        Fault("early_summary", "wrong-input", operation("net/summary")),
    ),
    pairs=(
        ("shim", "gelu_form", "score_scale"),
        ("shim", "mask_late", "unbiased"),
        ("shim", "keep_prob", "embedding_scale"),
        ("native", "gelu_form", "mask_inclusive"),
        ("native", "small_epsilon", "silu"),
    ),
)
