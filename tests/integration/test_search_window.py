"""A program too large to be searched whole is searched in a window around what is blamed."""

import pytest
import tensorflow as tf
from tests.integration.pitfall_pairs import Pair

from lockstep import tf1
from lockstep.causes.repairs import search, window

v1, layers = tf.compat.v1, tf.compat.v1.layers


@pytest.fixture(autouse=True)
def tf1_code():
    tf1.enable()
    yield
    tf1.disable()


def spelled_silu(x):
    return x / (1.0 + tf.exp(-x))


def deep(function, scale=1.0, depth=24):
    """Many layers, two blocks of attention in their middle, and many layers."""

    def forward(x, training):
        net = x
        for number in range(depth):
            net = layers.dense(net, 8, tf.tanh, name=f"before_{number}")
        for number in range(2):
            heads = layers.dense(net, 16, function, name=f"wide_{number}")
            gain = v1.get_variable(f"gain_{number}", [16])
            square = tf.reduce_mean(tf.square(heads), axis=-1, keepdims=True)
            net = layers.dense(heads / tf.sqrt(square + 1e-3) * gain * scale, 8, name=f"narrow_{number}")
        for number in range(depth):
            net = layers.dense(net, 8, tf.tanh, name=f"behind_{number}")
        return net

    return forward


@pytest.fixture
def windows(monkeypatch):
    """The windows that are cut out, where a third of a program is all that is held."""
    found, real = [], window.around

    def watched(*arguments):
        found.append((arguments, real(*arguments)))
        return found[-1][1]

    monkeypatch.setattr(window, "around", watched)
    monkeypatch.setattr(search, "_MOST_VALUES", 8_000)
    return found


def test_a_function_spelled_otherwise_is_one_mistake_in_a_large_program(windows):
    (culprit,) = Pair(deep(spelled_silu), deep(tf.nn.gelu)).culprits()
    assert culprit.pitfall == "wrong-activation"
    assert "wide_0" in str(culprit.candidate)
    assert culprit.consequences
    (((_, reference, candidate, *_), cut),) = windows
    assert cut.outside == ()
    for whole, part in ((reference, cut.reference), (candidate, cut.candidate)):
        assert len(part.operations) < len(whole.operations) / 2
        assert [operation.index for operation in part.operations] == list(range(len(part.operations)))


def test_two_mistakes_in_a_window_are_two_culprits(windows):
    found = Pair(deep(spelled_silu), deep(tf.nn.gelu, 0.25)).culprits()
    assert {culprit.pitfall for culprit in found} == {"wrong-activation", "constant-factor"}
    assert len(windows) == 1


def test_what_does_not_fit_into_a_window_is_told_place_by_place(monkeypatch):
    monkeypatch.setattr(search, "_MOST_VALUES", 100)
    found = Pair(deep(spelled_silu), deep(tf.nn.gelu)).culprits()
    assert found
    assert all(culprit.consequences == 0 for culprit in found if not culprit.pitfall)


def test_what_is_right_has_no_culprit_and_needs_no_window(windows):
    assert Pair(deep(spelled_silu), deep(tf.nn.silu)).culprits() == ()
    assert windows == []
