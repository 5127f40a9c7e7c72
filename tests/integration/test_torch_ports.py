"""TF1 functions against their ports to PyTorch: right ones are equivalent, and each mistake is found and named."""

import functools

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: there is no build for this Python")

from tests.integration import torch_ports

import lockstep

STEPS = ("variables-match", "inference-fixed", "training-random", "gradients")


def checked(port, mistake="", steps=STEPS):
    forward, module, inputs = torch_ports.PORTS[port]
    candidate = lockstep.torch(functools.partial(module, mistake), label=f"{port} {mistake}")
    return lockstep.verify(lockstep.tf1_graph(forward), candidate, inputs, steps=steps)


@pytest.mark.parametrize(
    "port", [pytest.param(one, marks=pytest.mark.slow if one == "recurrent" else ()) for one in torch_ports.PORTS]
)
def test_a_right_port_is_equivalent_without_a_rule(port):
    report = checked(port)
    assert report.verdict == "equivalent", report.steps
    assert not report.culprits


QUICK = ("epsilon", "flatten order", "square kernel", "gelu", "no scale", "align_corners")
"""Of each kind one; the others take minutes together."""


@pytest.mark.parametrize(
    "mistake", [pytest.param(one, marks=() if one in QUICK else pytest.mark.slow) for one in torch_ports.MISTAKES]
)
def test_a_mistake_is_found_and_named(mistake):
    port, where, cause = torch_ports.MISTAKES[mistake]
    report = checked(port, mistake, steps=STEPS[:-1])
    assert report.verdict == "diverged"
    first = next(culprit for culprit in report.culprits if culprit.kind != "variable" or mistake == "no bias")
    assert where in f"{first.reference} {first.candidate}"
    assert cause in (first.cause or "")
