"""`lockstep switches` for PyTorch: compiled, decomposed, in bfloat16, without oneDNN, all against float64."""

import functools
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: there is no build for this Python")

from tests.integration import torch_ports

import lockstep
from lockstep.common.errors import InputError

AOT, DECOMPOSED, INDUCTOR = (
    f'torch.compile(backend="{name}")' for name in ("aot_eager", "aot_eager_decomp_partition", "inductor")
)
X = {"x": np.random.default_rng(5).normal(size=(4, 6)).astype(np.float32)}


class Net(torch.nn.Module):
    """A small network; what is odd about it is its `kind`."""

    def __init__(self, kind="", epsilon=1e-5):
        super().__init__()
        self.kind, self.calls = kind, 0
        self.first, self.norm = torch.nn.Linear(6, 8), torch.nn.LayerNorm(8, eps=epsilon)
        self.drop, self.last = torch.nn.Dropout(0.5), torch.nn.Linear(8, 3)

    def forward(self, x):
        y = self.drop(torch.nn.functional.gelu(self.norm(self.first(x))))
        if self.kind == "asks whether it is compiled" and torch.compiler.is_compiling():
            y = y * 1.5
        if self.kind == "tells odd from even":
            y = torch.floor(y * 100) % 2
        if self.kind == "counts":
            self.calls += 1
            y = y * self.calls
        return self.last(y)


class Uncompiled(Net):
    @torch.compiler.disable(recursive=True)
    def forward(self, x):
        return super().forward(x)


def switched(candidate, reference=Net, without=("inductor",), **options):
    return lockstep.switches(lockstep.torch(reference), lockstep.torch(candidate), X, without=without, **options)


def row(report, setting, mode="inference"):
    return next(row for row in report.settings if (row.setting, row.mode) == (setting, mode))


def verdicts(report, mode="inference"):
    return {row.setting: row.verdict for row in report.settings if row.mode == mode}


def said(report, *texts):
    return any(all(text in sentence for text in texts) for sentence in report.findings)


def test_a_right_module_is_equivalent_in_every_way_of_running_it_dropout_included():
    report = switched(Net, training=True)
    assert report.verdict == "equivalent", report.findings
    for mode in ("inference", "training"):
        ways = ["eager", AOT, DECOMPOSED, "oneDNN off", "one thread", "bfloat16 autocast"]
        assert verdicts(report, mode) == dict.fromkeys(ways, "equivalent")
        eager, coarse = row(report, "eager", mode), row(report, "bfloat16 autocast", mode)
        assert 0 < eager.from_float64 < 1e-5 < coarse.from_float64
        assert coarse.as_written.outputs <= coarse.noise_budget
        # A dropout that drew otherwise would be far off.
        assert row(report, AOT, mode).as_written.bit_equal


def test_a_module_that_asks_whether_it_is_compiled_diverges_there_and_nowhere_else():
    report = switched(functools.partial(Net, "asks whether it is compiled"))
    found = verdicts(report)
    assert {name for name, verdict in found.items() if verdict == "diverged"} == {AOT, DECOMPOSED}
    assert said(report, AOT, "more than rounding explains", "asks whether it is traced", "run eagerly")
    assert said(report, DECOMPOSED, f"so it does with {AOT}")
    assert row(report, AOT).from_float64 > 1e-2 > row(report, "eager").from_float64


def test_what_pytorch_ran_uncompiled_is_no_pass():
    report = switched(Uncompiled)
    assert report.verdict == "undecided"
    assert "compiled nothing of it" in row(report, AOT).note
    assert said(report, AOT, "--without compile")


def test_telling_odd_from_even_needs_more_than_bfloat16():
    report = switched(
        functools.partial(Net, "tells odd from even"), reference=functools.partial(Net, "tells odd from even")
    )
    found = verdicts(report)
    assert [name for name, verdict in found.items() if verdict == "diverged"] == ["bfloat16 autocast"]
    assert said(report, "bfloat16 autocast", "needs more than 8 bits")


def test_a_difference_of_the_code_is_told_from_that_of_the_runtime_by_float64():
    report = switched(functools.partial(Net, epsilon=1e-2))
    assert row(report, "eager").verdict == "diverged"
    assert said(report, "in float64", "that share is the code's, not the runtime's")
    assert row(report, AOT).verdict == "equivalent"
    assert said(switched(Net, without=("inductor", "compile", "autocast")), "bit for bit the reference")


def test_code_that_does_something_else_in_each_call_is_told():
    report = switched(functools.partial(Net, "counts"), without=("inductor", "autocast", "onednn", "threads"))
    assert said(report, "from one call to the next")


def test_without_a_compiler_inductor_is_not_run_and_that_is_said(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    report = switched(Net, without=("compile", "autocast", "onednn", "threads"))
    assert row(report, INDUCTOR).verdict == "not asked for"
    assert said(report, INDUCTOR, "was not run", "there is no C++ compiler (no-such-compiler")
    assert report.verdict == "equivalent"


def test_a_variable_without_a_partner_is_an_error_and_no_difference():
    class More(Net):
        def __init__(self):
            super().__init__()
            self.more = torch.nn.Parameter(torch.ones(7))

        def forward(self, x):
            return super().forward(x) * self.more.sum()

    with pytest.raises(InputError, match="which variable is which is not known"):
        switched(More)


@pytest.mark.slow
def test_a_tf1_port_has_its_names_found_as_a_check_finds_them():
    forward, module, inputs = torch_ports.PORTS["dense_net"]
    report = lockstep.switches(
        lockstep.tf1_graph(forward),
        lockstep.torch(functools.partial(module, "")),
        inputs,
        without=("inductor",),
        training=True,
    )
    assert report.verdict == "equivalent", report.findings
    assert "both only round" in " ".join(report.findings)


@pytest.mark.release
@pytest.mark.skipif(not shutil.which("g++"), reason="Inductor needs a C++ compiler")
def test_inductor_fuses_and_stays_within_its_budget():
    forward, module, inputs = torch_ports.PORTS["conv_net"]
    report = lockstep.switches(
        lockstep.tf1_graph(forward), lockstep.torch(functools.partial(module, "")), inputs, training=True
    )
    for mode in ("inference", "training"):
        assert row(report, INDUCTOR, mode).verdict == "equivalent", report.findings
