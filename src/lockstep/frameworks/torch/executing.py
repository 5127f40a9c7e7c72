"""Other ways of carrying out a module: compiled, in bfloat16, in float64, with other kernels, on one thread."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from lockstep.common.errors import SubjectError
from lockstep.frameworks.torch.drawing import Draws
from lockstep.frameworks.torch.private import TorchDispatchMode, backend_called, draws_as_eager
from lockstep.subjects import Execution, Way, Ways

Called = Callable[[torch.nn.Module], Any]
"""Calls a module on its inputs."""

_TF32 = "TF32 acceleration on top of oneDNN"
"""PyTorch 2.13 warns of a setting of Intel's GPUs that comes along with oneDNN's."""
_BFLOAT16_BITS = 8
_FLOAT32_BITS = 24
COMPILERS = ("aot_eager", "aot_eager_decomp_partition", "inductor")
"""Backends of `torch.compile`, each of which does all that the one before it does."""


def ways() -> Ways:
    """Returns how else a module can be carried out on this machine."""
    traced, decomposed, fused = (f'torch.compile(backend="{name}")' for name in COMPILERS)
    kernels = "it is a kernel of PyTorch's, not your code"
    return Ways(
        (
            Way(
                traced,
                Execution(COMPILERS[0]),
                "compile",
                "it is traced, and PyTorch's own kernels run the trace",
                "what was traced is not what runs. Python that asks whether it is traced, or keeps a value from call "
                "to call, is your code; anything else is PyTorch's",
            ),
            Way(
                decomposed,
                Execution(COMPILERS[1]),
                "compile",
                "operations are decomposed into smaller ones, as for Inductor, and PyTorch's own kernels run these",
                "it is a decomposition of PyTorch's, not your code",
                traced,
            ),
            Way(
                fused,
                Execution(COMPILERS[2]),
                "inductor",
                "Inductor fuses operations into loops in C++",
                "it is Inductor, not your code",
                decomposed,
                missing=_no_compiler(),
            ),
            Way("oneDNN off", Execution(off=("onednn",)), "onednn", "other kernels sum in another order", kernels),
            Way("one thread", Execution(off=("threads",)), "threads", "one thread sums in another order", kernels),
            Way(
                "bfloat16 autocast",
                Execution(precision="bfloat16"),
                "autocast",
                "bfloat16 keeps 8 bits of a number, float32 24",
                "a number that needs more than 8 bits is lost: keep what computes it in float32",
                coarseness=2.0 ** (_FLOAT32_BITS - _BFLOAT16_BITS),
            ),
        ),
        exact=Execution(precision="float64"),
    )


def _no_compiler() -> str:
    usual = "clang++" if sys.platform == "darwin" else "g++"
    wanted = os.environ.get("CXX") or usual
    return (
        "" if shutil.which(wanted) else f"there is no C++ compiler ({wanted}; CXX names another), which Inductor needs"
    )


class Compiled:
    """A module, compiled when it is first called.

    PyTorch runs a module uncompiled, and says nothing, while a dispatch mode is open; so random numbers are replaced
    within what was compiled, and what was compiled counts its calls.

    Args:
        module: The module.
        backend: One of `COMPILERS`.
    """

    def __init__(self, module: torch.nn.Module, backend: str) -> None:
        self._draws: Draws | None = None
        self._backend, self._calls, self.graphs = backend, 0, 0
        self._failed: Exception | None = None
        torch.compiler.reset()
        self._compiled = torch.compile(module, backend=self._made, dynamic=False)

    def __call__(self, call: Called, draws: Draws) -> Any:
        """Calls it, with the numbers that are to be drawn.

        Raises:
            SubjectError: Nothing of it was compiled, or the backend failed.
        """
        self._draws, before, doing = draws, self._calls, "running it compiled"
        # What the user's code warns of was said by its run as written; the compilers warn of themselves.
        with draws_as_eager(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                returned = call(self._compiled)
            except SubjectError as error:
                if self._failed is None:
                    raise
                told = (str(self._failed).strip().splitlines() or ["it says nothing"])[0]
                failed = f"{self._backend} failed: {type(self._failed).__name__}: {told}"
                raise SubjectError(failed, side="", doing=doing) from error
        if self._calls == before:
            raise SubjectError("PyTorch compiled nothing of it, and ran it as it is written", side="", doing=doing)
        return returned

    def _made(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        try:
            made = backend_called(self._backend, graph, inputs)
        except Exception as error:  # PyTorch's, of any kind: kept to be told, as what is raised hides it
            self._failed = error
            raise

        def run(*given: Any) -> Any:
            self._calls += 1
            with self._draws or contextlib.nullcontext():
                return made(*given)

        return torch.compiler.disable(run)


def in_float64(module: torch.nn.Module, call: Called, draws: Draws) -> Any:
    """Calls a copy of a module whose numbers are float64, and stay so where its code asks for fewer bits."""
    wide = copy.deepcopy(module).double()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with draws, _Widened():
            return call(wide)
    finally:
        torch.set_default_dtype(before)


def widened(inputs: Any) -> Any:
    """Returns inputs with their floating numbers in float64."""
    if isinstance(inputs, Mapping):
        return {name: widened(value) for name, value in inputs.items()}
    return inputs.double() if inputs.is_floating_point() else inputs


@contextlib.contextmanager
def surrounded(execution: Execution) -> Iterator[None]:
    """What surrounds a run that is carried out as `execution` says, but for compilers and float64."""
    threads = torch.get_num_threads()
    with contextlib.ExitStack() as stack:
        if execution.precision == "bfloat16":
            stack.enter_context(torch.autocast("cpu", dtype=torch.bfloat16))
        if "onednn" in execution.off:
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message=_TF32)
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        if "threads" in execution.off:
            stack.callback(torch.set_num_threads, threads)
            torch.set_num_threads(1)
        yield


class _Widened(TorchDispatchMode):
    """While it is open, what asks for fewer bits than float64 gets float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        return func(*_wide(args), **_wide(kwargs or {}))


def _wide(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(_wide(item) for item in value)
    if isinstance(value, dict):
        return {name: _wide(item) for name, item in value.items()}
    return torch.float64 if value in (torch.float32, torch.float16, torch.bfloat16) else value
