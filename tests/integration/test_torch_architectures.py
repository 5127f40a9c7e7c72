"""Ports to PyTorch and from it, of architectures as people port them: right ones are equivalent, mistakes are named."""

import re

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: there is no build for this Python")

from tests.integration import torch_architectures

import lockstep

RIGHT = [name for name in torch_architectures.PAIRS if name not in ("norm", "images")]
"""Keras's running variance is another one than PyTorch's, so that no layer of Keras is a right port of those pairs."""
QUICK_RIGHT = ("groups",)
QUICK = ("group epsilon", "keras variance of images", "no smoothing", "mask transposed", "flattened as it lies")
"""Of each kind of pair one that takes seconds."""


def checked(pair, mistake):
    reference, candidate, inputs = torch_architectures.PAIRS[pair]
    training = ["training-random"] if pair in torch_architectures.TRAINED else []
    return lockstep.verify(reference(), candidate(mistake), inputs, steps=["inference-fixed", *training])


@pytest.mark.parametrize(
    "pair", [pytest.param(one, marks=() if one in QUICK_RIGHT else pytest.mark.release) for one in RIGHT]
)
def test_a_right_port_is_equivalent(pair):
    report = checked(pair, "")
    assert report.verdict == "equivalent", report.steps
    assert not report.culprits


@pytest.mark.parametrize(
    "mistake",
    [pytest.param(one, marks=() if one in QUICK else pytest.mark.release) for one in torch_architectures.MISTAKES],
)
def test_a_mistake_is_the_first_culprit_and_has_its_cause(mistake):
    pair, where, pitfalls = torch_architectures.MISTAKES[mistake]
    report = checked(pair, mistake)
    assert report.verdict == "diverged"
    first = report.culprits[0]
    assert re.search(where, f"{first.reference} {first.candidate}"), first
    assert pitfalls is None or first.pitfall in pitfalls, first
    # Of the pair with Keras's layer the variance is another mistake.
    expected = {"unbiased-variance", "constant-factor"} if pair == "norm" else set()
    if mistake not in torch_architectures.SEVERAL:
        assert {culprit.pitfall for culprit in report.culprits[1:]} <= expected, report.culprits
