"""Which variable of a PyTorch module is which of a Keras model: by what TensorFlow calls it and how it lies there."""

import keras
import numpy as np
import pytest
from keras import layers

torch = pytest.importorskip("torch", reason="PyTorch is not installed: there is no build for this Python")

from torch import nn

import lockstep

SEQUENCE = {"x": np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)}
IMAGE = {"x": np.random.default_rng(1).normal(size=(2, 6, 6, 4)).astype(np.float32)}
TOKENS = {"x": np.arange(10, dtype=np.int32).reshape(2, 5)}


def functional(make, shape, dtype="float32"):
    def build():
        given = keras.Input(shape, name="x", dtype=dtype)
        return keras.Model(given, make(given))

    return build


class Images(nn.Module):
    """Layers of images, on what TensorFlow's order of axes holds."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        x = x.permute(0, 3, 1, 2)
        for part in self.children():
            x = part(x)
        return x.permute(0, 2, 3, 1)


class Sequences(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        for part in self.children():
            x = part(x)
            x = x[0] if isinstance(x, tuple) else x
        return x


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def attended(x):
    return layers.MultiHeadAttention(2, 3, name="attention")(x, x)


PAIRS = {
    "square kernels": (
        functional(lambda x: layers.Dense(6, name="b")(layers.Dense(6, name="a")(x)), (5, 6)),
        lambda: Sequences(a=nn.Linear(6, 6), b=nn.Linear(6, 6)),
        SEQUENCE,
    ),
    "a depthwise convolution": (
        functional(lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="deep")(x), (6, 6, 4)),
        lambda: Images(deep=nn.Conv2d(4, 8, 3, padding=1, groups=4)),
        IMAGE,
    ),
    "a transposed convolution": (
        functional(lambda x: layers.Conv2DTranspose(5, 2, 2, name="up")(x), (6, 6, 4)),
        lambda: Images(up=nn.ConvTranspose2d(4, 5, 2, 2)),
        IMAGE,
    ),
    "an embedding": (
        functional(lambda x: layers.Dense(8, name="out")(layers.Embedding(10, 8, name="table")(x)), (5,), "int32"),
        lambda: Sequences(table=nn.Embedding(10, 8), out=nn.Linear(8, 8)),
        TOKENS,
    ),
    "an LSTM": (
        functional(lambda x: layers.LSTM(4, return_sequences=True, name="lstm")(x), (5, 6)),
        lambda: Sequences(lstm=nn.LSTM(6, 4, batch_first=True)),
        SEQUENCE,
    ),
    "a GRU": (
        functional(lambda x: layers.GRU(4, return_sequences=True, name="gru")(x), (5, 6)),
        lambda: Sequences(gru=nn.GRU(6, 4, batch_first=True)),
        SEQUENCE,
    ),
    "attention": (functional(attended, (5, 6)), Attention, SEQUENCE),
}


@pytest.mark.parametrize("name", PAIRS)
def test_layouts_are_proposed_and_confirmed_by_running(name):
    build, module, inputs = PAIRS[name]
    report = lockstep.verify(
        lockstep.keras(build), lockstep.torch(module), inputs, steps=("variables-match",), gradients=False
    )
    (step,) = (step for step in report.steps if step.name == "variables-match")
    assert step.verdict == "equivalent", step.summary
    assert step.figures["proposal"] == "confirmed"


@pytest.mark.parametrize("name", ["square kernels", "a depthwise convolution", "a transposed convolution", "attention"])
def test_the_other_way_round_too(name):
    build, module, inputs = PAIRS[name]
    report = lockstep.verify(
        lockstep.torch(module), lockstep.keras(build), inputs, steps=("variables-match",), gradients=False
    )
    (step,) = (step for step in report.steps if step.name == "variables-match")
    assert step.verdict == "equivalent", step.summary


@pytest.mark.parametrize("name", ["an LSTM", "a GRU"])
def test_two_biases_of_the_reference_for_one_of_the_candidate_are_no_difference(name):
    build, module, inputs = PAIRS[name]
    report = lockstep.verify(lockstep.torch(module), lockstep.keras(build), inputs, gradients=False)
    assert report.verdict == "undecided"
    (step,) = (step for step in report.steps if step.name == "variables-match")
    assert "exchange the two sides" in step.summary
    assert report.culprits == ()


class NormByHand(nn.Module):
    """A batch normalization that somebody wrote: its scale is a weight, its averages are buffers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 5, bias=False)
        self.weight, self.bias = nn.Parameter(torch.ones(5)), nn.Parameter(torch.zeros(5))
        self.register_buffer("running_mean", torch.zeros(5))
        self.register_buffer("running_var", torch.ones(5))

    def forward(self, x):
        h = self.first(x) - self.running_mean
        return torch.relu(h * torch.rsqrt(self.running_var + 1e-3) * self.weight + self.bias)


def test_a_norm_that_somebody_wrote_in_pytorch_has_its_scale_and_averages_paired():
    def make(x):
        return layers.Activation("relu")(layers.BatchNormalization(name="bn")(layers.Dense(5, use_bias=False)(x)))

    report = lockstep.verify(
        lockstep.keras(functional(make, (5, 6))),
        lockstep.torch(NormByHand),
        SEQUENCE,
        steps=("variables-match", "inference-fixed"),
    )
    assert report.verdict == "equivalent", report


class CellByCell(nn.Module):
    """What `nn.GRU` or `nn.LSTM` of one layer does, by a cell that the code calls for each step."""

    def __init__(self, cell):
        super().__init__()
        self.rnn = cell(6, 4)

    def forward(self, x):
        state, found = None, []
        for step in range(x.shape[1]):
            state = self.rnn(x[:, step], state)
            found.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(found, 1)


@pytest.mark.parametrize(("layer", "cell"), [(nn.GRU, nn.GRUCell), (nn.LSTM, nn.LSTMCell), (nn.RNN, nn.RNNCell)])
def test_a_recurrent_layer_and_its_cell_keep_their_two_biases(layer, cell):
    whole = lockstep.torch(lambda: Sequences(rnn=layer(6, 4, batch_first=True)))
    report = lockstep.verify(whole, lockstep.torch(lambda: CellByCell(cell)), SEQUENCE, steps=("inference-fixed",))
    assert report.verdict == "equivalent", report
