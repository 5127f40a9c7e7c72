"""The mistakes of BERT."""

import numpy as np
from benchmarks.zoo.catalogue import Family, Fault, operation

BOTH = "net/layer_[01]"
NORM = operation(f"{BOTH}/(attention|output)_norm/.*")
SCORES = operation(f"{BOTH}/attention/(scores/.*|Softmax|MatMul.*|query/.*|key/.*|Reshape.*|transpose.*)")
ACTIVATION = operation(f"{BOTH}/gelu/.*")
LOSS = operation("net/loss/.*")

FAMILY = Family(
    inputs=lambda random: {
        "words": random.integers(0, 11, (2, 5)).astype("int32"),
        "mask": np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], "int32"),
        "labels": random.integers(0, 11, (2, 5)).astype("int32"),
        "weights": np.array([[1, 0, 1, 0, 0], [0, 1, 1, 0, 0]], "float32"),
    },
    shim=(),
    native=(
        Fault("keras_epsilon", "epsilon", NORM),
        Fault("query_key", "wrong-input", SCORES),
        Fault("mask_axis", "wrong-axis", SCORES, also=("mask",)),
        Fault("silu", "wrong-activation", ACTIVATION),
        Fault("mean_of_all", "wrong-operation", LOSS, also=("constant-factor", "loss-reduction")),
        Fault("softmax_axis", "wrong-axis", SCORES),
        Fault("mask_inverted", "mask", SCORES),
        Fault("erf", "gelu-form", ACTIVATION, also=("wrong-activation",)),
        Fault("smoothed", "label-smoothing", LOSS, also=("constant-factor", "extra-operation")),
        Fault("sum", "wrong-operation", LOSS, also=("constant-factor", "loss-reduction", "missing-operation")),
        Fault("last_place", "slicing", operation("net/strided_slice.*", "net/pooler/.*"), also=("wrong-input",)),
    ),
    pairs=(("native", "keras_epsilon", "mean_of_all"), ("native", "silu", "query_key"), ("native", "erf", "sum")),
    unseen=("softmax_axis", "mask_inverted", "erf", "smoothed", "sum", "last_place", "silu+query_key", "erf+sum"),
)
