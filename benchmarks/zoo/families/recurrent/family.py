"""The faults of the recurrent classifier."""

from benchmarks.zoo.catalogue import Family, Fault, draw, initializer, operation, training

# What is wrong in a cell is an operation within the loop; its name there depends on how loops are written as graphs.
LSTM = operation("net/lstm/.*")
GRU = operation("net/gru/.*")
MEAN = operation("net/(total|mean)")
FEATURES = operation("net/features")
DROP = draw("net/drop/.*")


def inputs(random):
    """Texts of seven places, of which the first few are words."""
    return {
        "words": random.integers(0, 20, size=(4, 7)).astype("int32"),
        "length": random.permutation([3, 4, 6, 7]).astype("int32"),
    }


FAMILY = Family(
    inputs=inputs,
    rename=(
        ("^net/table$", "net/table/embeddings"),
        ("^net/lstm/lstm_cell/(.*)$", r"net/lstm/cell/\1"),
        ("^net/gru/gru_cell/(.*)/(.*)$", r"net/gru/cell/\1_\2"),
    ),
    shim=(
        Fault("gate_order", "gate-order", LSTM),
        Fault("output_activation", "missing-activation", LSTM),
        Fault("no_input_gate", "missing-operation", LSTM),
        Fault("forget_bias", "forget-bias", LSTM),
        Fault("cell_clip", "clip-value", LSTM),
        Fault("activation", "wrong-activation", LSTM),
        Fault("initializer", "initializer", initializer("net/table")),
        Fault("reversed", "wrong-input", operation("net/embedded.*")),
        Fault("initial_state", "initial-state", LSTM),
        Fault("mask", "mask", LSTM),
        Fault("mask_offset", "offset", LSTM),
        Fault("last_step", "wrong-input", FEATURES),
        Fault("cell_state", "wrong-input", FEATURES),
        Fault("no_activation", "missing-activation", operation("net/between")),
        Fault("gate_bias", "initializer", initializer("net/gru/gru_cell/gates/bias")),
        Fault("gru_mask", "mask", GRU),
        Fault("whole_mean", "constant-factor", MEAN),
        training("keep_prob", "keep-prob-as-rate", DROP),
    ),
    native=(
        Fault("initializer", "initializer", initializer("net/lstm/lstm_cell/kernel")),
        Fault("concat_order", "concat-order", LSTM),
        Fault("gate_order", "gate-order", LSTM),
        Fault("forget_bias", "forget-bias", LSTM),
        Fault("hard_sigmoid", "wrong-activation", LSTM),
        Fault("gate_bias", "initializer", initializer("net/gru/gru_cell/gates/bias")),
        Fault("swapped_gates", "gate-order", GRU),
        Fault("reset_after", "operation-order", GRU),
        Fault("update_inverted", "gate-order", GRU),
        Fault("repeated_output", "mask", GRU),
        Fault("embedding_scale", "extra-operation", operation("net/embedded.*")),
        Fault("mask", "mask", LSTM),
        Fault("whole_mean", "constant-factor", MEAN),
        Fault("features_order", "concat-order", FEATURES),
        training("no_dropout", "missing-operation", DROP),
    ),
    pairs=(
        ("shim", "forget_bias", "whole_mean"),
        ("shim", "mask", "cell_state"),
        ("native", "gate_order", "features_order"),
    ),
)
