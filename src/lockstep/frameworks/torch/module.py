"""PyTorch modules as subjects: run by PyTorch's own kernels, followed as what they are lowered to."""

from __future__ import annotations

import contextlib
import functools
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lockstep.common.arrays import Arrays, named
from lockstep.common.errors import InputError, SubjectError
from lockstep.frameworks.tensorflow import running
from lockstep.frameworks.tensorflow.draws import RecordedDraws, matched
from lockstep.frameworks.torch import arrays
from lockstep.frameworks.torch.calling import Call, call_of
from lockstep.frameworks.torch.drawing import Draws
from lockstep.frameworks.torch.layouts import conventions_of
from lockstep.frameworks.torch.optimizing import make_optimizer
from lockstep.ground import trials
from lockstep.ground.failures import RecordingError
from lockstep.ground.fill import cotangent, takes_values
from lockstep.ground.streaming import Course, Seen
from lockstep.program import Program
from lockstep.recorder.modules import Sources
from lockstep.subjects import (
    AS_WRITTEN,
    NOTHING_MORE,
    NOTHING_WANTED,
    Ask,
    Convention,
    Execution,
    Instance,
    Mode,
    Objective,
    Offers,
    SeenPaths,
    Setting,
    Subject,
    Wanted,
    Ways,
)
from lockstep.subjects.streaming import Eager, Roles, Streamed
from lockstep.subjects.users_functions import code_of, for_a_build, sources_of
from lockstep.traces.trace import ForwardDraw, Trace, VariableRecord, changed

if TYPE_CHECKING:
    from lockstep.frameworks.torch.executing import Compiled
    from lockstep.frameworks.torch.following import Following

SEED = 42
"""What PyTorch's generator is set to before a module is made: two builds start alike."""

_COUNTER = "num_batches_tracked"
_OWN_GENERATOR = "PyTorch"


class TorchModule(Subject):
    """A function `build()` that makes a module, as a subject."""

    def __init__(
        self, build: Callable[[], Any], label: str, inputs_as: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._build, self._inputs_as = build, inputs_as
        self.label = label

    @property
    def offers(self) -> Offers:
        """What it can do."""
        return Offers(optimizer=True, training=True)

    @property
    def sources(self) -> Sources | None:
        """Where `build()` is imported from, where Lockstep imports it."""
        return sources_of(self._build)

    def code(self) -> Mapping[str, str]:
        """Returns file -> SHA-256 of the function's code."""
        return code_of(self._build)

    def environment(self) -> Mapping[str, str]:
        """The versions of this process."""
        return {"subject": self.label, "python": platform.python_version(), "torch": torch.__version__}

    def settings(self) -> Mapping[str, str]:
        """What else the numbers depend on."""
        return {
            "system": platform.system(),
            "machine": platform.machine(),
            "numpy": np.__version__,
            "float type": str(torch.get_default_dtype()).removeprefix("torch."),
            "oneDNN": "on" if torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled else "off",
            "threads in an operation": str(torch.get_num_threads()),
        }

    def build(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> TorchInstance:
        """Makes the module."""
        del wanted  # it runs as it is asked
        return TorchInstance(self.label, self._build, mode, inputs, self._inputs_as)

    def build_again(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> TorchInstance:
        """Builds it as if for the first time, to see whether it is the same twice."""
        return self.build(mode, inputs, wanted)

    def ways(self) -> Ways:
        """How else PyTorch can carry it out."""
        from lockstep.frameworks.torch import executing

        return executing.ways()

    def make_optimizer(self, make: Callable[..., Any] | None, shapes: trials.Shapes, names: Mapping[str, str]) -> Any:
        """Makes what the user's `optimizer(parameters)` returns."""
        return None if make is None else make_optimizer(make, shapes, self.label, names)

    def streaming(self, make: Callable[..., Any] | None, roles: Roles) -> Streamed | None:
        """Returns the user's metrics: objects with `update` and `compute`, or a function of outputs and batch."""
        if make is None:
            return None
        eager = Eager(roles, lambda array: torch.from_numpy(np.array(array)), _number)

        def run(courses: Sequence[Course]) -> list[Seen]:
            try:
                with running.users_code(self.label, "computing its metrics"), torch.no_grad():
                    return eager.run(make, courses)
            except RecordingError as error:
                raise InputError(f"{self.label}: {error}") from error

        return run


def _number(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value)


class TorchInstance(Instance):
    """One module."""

    def __init__(
        self,
        label: str,
        build: Callable[[], Any],
        mode: Mode,
        inputs: Arrays,
        inputs_as: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._label, self._mode, self._given = label, mode, inputs
        self._used = for_a_build(build)
        self._asked: dict[tuple[ForwardDraw, ...], tuple[ForwardDraw | None, ...]] = {}
        self._compiled: dict[str, Compiled] = {}
        self._following: dict[Callable[[Any, Any], Any] | None, Following] = {}
        with self._used.active(), self._generator(), self._users_code("building"):
            made = self._used.function
            module = made if isinstance(made, torch.nn.Module) else made()
        if not isinstance(module, torch.nn.Module):
            raise InputError(f"build() returned a {type(module).__name__}; it must return a torch.nn.Module.")
        self._module = module
        self._call: Call = call_of(module, inputs, inputs_as)
        if any(torch.nn.parameter.is_lazy(p) for p in (*module.parameters(), *module.buffers())):
            self._make_lazy_parameters()
        module.train(mode.training)
        self._initial = self._values()

    def _make_lazy_parameters(self) -> None:
        """Calls a module whose parameters take their shapes from the first input."""
        self._module.eval()
        with torch.no_grad(), self._used.active(), self._generator():
            self._called(self._tensors(self._given))

    @property
    def followed(self) -> TorchInstance:
        """Itself."""
        return self

    @property
    def perturbed(self) -> TorchInstance:
        """Itself."""
        return self

    @property
    def conventions(self) -> Mapping[str, Convention]:
        """What TensorFlow calls its variables, and how they lie there."""
        known = self._keyed()
        return {key: told for key, told in conventions_of(self._module).items() if key in known}

    @property
    def constants(self) -> frozenset[str]:
        """Buffers of layers of the user's own that a call in training mode leaves as they are."""
        buffers = {name for name, _ in self._module.named_buffers()}
        mine = {key for key in self._keyed() if key in buffers} - conventions_of(self._module).keys()
        if not mine:
            return frozenset()
        before, mode = self._values(), self._module.training
        self._module.train()
        try:
            self._repeated(1, self._tensors(self._given), set())
            return frozenset(mine - changed(before, self._values()).keys())
        except SubjectError:  # it cannot be trained, so that nobody knows
            return frozenset()
        finally:
            self._module.train(mode)
            self._assign(before)

    @property
    def variables(self) -> tuple[VariableRecord, ...]:
        """The inventory: parameters and buffers by their names in the `state_dict`, tied ones once."""
        return tuple(
            VariableRecord(
                name, name, tuple(value.shape), arrays.dtype_name(value), self._is_trained(value), regularized=False
            )
            for name, value in self._keyed().items()
        )

    @staticmethod
    def _is_trained(value: torch.Tensor) -> bool:
        return isinstance(value, torch.nn.Parameter) and value.requires_grad

    def run(self, setting: Setting, ask: Ask = NOTHING_MORE) -> Trace:
        """Calls the module once, from values that are set before; see `Instance.run`."""
        start, draws, objective = time.perf_counter(), ask.draws, ask.objective
        if setting.kind == "initial":
            self._assign(self._initial)
        self._assign(setting.values)
        before = self._values()
        inputs = self._tensors(self._given if setting.inputs is None else setting.inputs)
        asked = self._to_be_drawn(draws, inputs) if draws else ()
        known = set(self._keyed())
        other = ask.execution if ask.execution != AS_WRITTEN else None
        with self._running(asked, other) as drawn, torch.set_grad_enabled(objective is not None):
            returned = self._called(inputs) if other is None else self._carried_out(other, inputs, drawn)
            total = None if objective is None else self._training_loss(objective, returned, inputs)
        outputs = {path: arrays.array(_as_written(value, other)) for path, value in self._outputs(returned).items()}
        differentials = {} if total is None else self._gradients(total)
        after = changed(before, self._values()) if self._mode.training else {}
        created = self._repeated(ask.repeats, inputs, known)
        self._assign(before)
        return Trace(
            variables=self.variables,
            before=before,
            outputs=outputs,
            after=after,
            training_loss=None if total is None else arrays.array(total),
            gradients={key: gradient for key, gradient in differentials.items() if gradient is not None},
            unconnected=tuple(key for key, gradient in differentials.items() if gradient is None),
            created=created,
            calls=1 + ask.repeats,
            draws=len(drawn.taken),
            forward_draws=drawn.taken,
            unaligned_draws=bool(drawn.unaligned),
            own_generator=_OWN_GENERATOR,
            notes=(*self._notes(drawn), *self._told_of_graphs(other)),
            duration_s=time.perf_counter() - start,
        )

    def run_changed(
        self,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        *,
        threads: int,
        objective: Objective | None = None,
    ) -> Trace:
        """Runs it from other values and inputs, with another number of threads."""
        before = torch.get_num_threads()
        torch.set_num_threads(threads or before)
        try:
            return self.run(Setting("given", values, inputs=self._like_given(inputs)), Ask(objective=objective))
        finally:
            torch.set_num_threads(before)

    def run_on_other_kernels(
        self,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        *,
        objective: Objective | None = None,
    ) -> Trace:
        """Runs it once without oneDNN's kernels, or with them where they are off."""
        setting = Setting("given", values, inputs=self._like_given(inputs))
        with _other_kernels():
            return self.run(setting, Ask(objective=objective))

    def program(
        self,
        values: Mapping[str, np.ndarray],
        draws: Sequence[ForwardDraw] | None = None,
        *,
        inputs: Arrays | None = None,
        objective: Objective | None = None,
    ) -> Program:
        """Follows what the module computes, operation by operation, as TensorFlow's operations; see `lowering`.

        Args:
            values: Variable key -> value to start from.
            draws: As of `run`.
            inputs: Other inputs than it was built for; None: those.
            objective: As of `Followed.program`.

        Raises:
            ProgramError: It cannot be followed.
        """
        given = self._given if inputs is None else inputs
        tensors = self._tensors(given)
        self._assign(values)
        before = self._values()
        asked = self._to_be_drawn(draws, tensors) if draws else ()
        with self._running(asked) as drawn, torch.no_grad():
            self._called(tensors)
        after = self._values()
        self._assign(before)
        loss = None if objective is None else objective.loss
        if loss not in self._following:
            from lockstep.frameworks.torch.following import Following

            self._following[loss] = Following(self._module, self._call, loss, training=self._mode.training)
        with self._used.active():
            program = self._following[loss].program(before, named(given), drawn.drawn)
        keys = self._keyed()
        program.leave_unchanged(
            {key for key in program.writes if key not in keys} | (set(program.writes) - set(changed(before, after)))
        )
        return program

    def close(self) -> None:
        """Drops the module."""
        del self._module
        self._following.clear()
        self._compiled.clear()

    def _like_given(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        return inputs if isinstance(self._given, Mapping) else next(iter(inputs.values()))

    def _keyed(self) -> dict[str, torch.Tensor]:
        """Returns name -> parameter or buffer; what is tied has the first of its names.

        A batch normalization counts its batches and reads the count where it has no momentum; other counters no result
        depends on.
        """
        found: dict[str, torch.Tensor] = dict(self._module.named_parameters())
        kept = self._module.state_dict(keep_vars=True).keys()
        read = {
            f"{name}.{_COUNTER}".removeprefix(".")
            for name, module in self._module.named_modules()
            if getattr(module, "momentum", 0.0) is None
        }
        buffers = {name: value for name, value in self._module.named_buffers() if name in kept}
        return found | {n: value for n, value in buffers.items() if n.rpartition(".")[2] != _COUNTER or n in read}

    def _values(self) -> dict[str, np.ndarray]:
        return {key: arrays.array(value) for key, value in self._keyed().items()}

    def _assign(self, values: Mapping[str, np.ndarray]) -> None:
        with torch.no_grad():
            for key, variable in self._keyed().items():
                if key in values:
                    variable.copy_(arrays.tensor(values[key], key))

    def _tensors(self, inputs: Arrays) -> Any:
        if isinstance(inputs, Mapping):
            return {name: arrays.tensor(array, f"input {name}") for name, array in inputs.items()}
        return arrays.tensor(inputs, "the input")

    def _called(self, inputs: Any, module: Any = None) -> Any:
        positional, options = self._call.arguments(inputs)
        with self._users_code("running"):
            return (self._module if module is None else module)(*positional, **options)

    def _carried_out(self, execution: Execution, inputs: Any, draws: Draws) -> Any:
        """Calls it otherwise than as it is written; the numbers that it draws are the same."""
        from lockstep.frameworks.torch import executing

        def call(module: Any) -> Any:
            return self._called(inputs, module)

        if execution.compiler:
            if execution.compiler not in self._compiled:
                self._compiled[execution.compiler] = executing.Compiled(self._module, execution.compiler)
            return self._compiled[execution.compiler](call, draws)
        if execution.precision == "float64":
            inputs = executing.widened(inputs)
            return executing.in_float64(self._module, call, draws)
        with draws, executing.surrounded(execution):
            return call(self._module)

    def _wide(self) -> bool:
        return any(value.dtype is torch.float64 for value in self._keyed().values())

    def _told_of_graphs(self, execution: Execution | None) -> tuple[str, ...]:
        compiled = self._compiled.get(execution.compiler) if execution is not None else None
        return () if compiled is None or compiled.graphs < 2 else (f"compiled in {compiled.graphs} pieces",)

    @contextlib.contextmanager
    def _running(self, asked: Sequence[ForwardDraw | None] = (), execution: Execution | None = None) -> Iterator[Draws]:
        """What surrounds the user's code: its modules, and its random numbers where it runs as written."""
        tool = RecordedDraws(self._mode.randomness, asked)
        draws = Draws(tool, single=execution is not None and not self._wide())
        opened = draws if execution is None else contextlib.nullcontext()
        with self._used.active(), self._generator(), tool.scope(), opened:
            yield draws

    @staticmethod
    @contextlib.contextmanager
    def _generator() -> Iterator[None]:
        """Has PyTorch's own generator start anew inside, and go on outside as if nothing had been drawn."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            yield

    def _to_be_drawn(self, draws: Sequence[ForwardDraw], inputs: Any) -> tuple[ForwardDraw | None, ...]:
        """Returns for each random operation which draw of the other side it is."""
        key = tuple(draws)
        if key not in self._asked:
            before = self._values()
            with self._running() as drawn, torch.no_grad():
                self._called(inputs)
            self._assign(before)
            self._asked[key] = matched(key, drawn.taken)
        return self._asked[key]

    def _outputs(self, returned: Any) -> dict[str, torch.Tensor]:
        found = arrays.leaves(returned)
        for path, value in found.items():
            if not isinstance(value, torch.Tensor):
                raise InputError(
                    f"output {path or '(the only one)'} is a {type(value).__name__}; the module must return tensors, "
                    "in a tuple, list or dict if there are several."
                )
        return found

    def _training_loss(self, objective: Objective, returned: Any, inputs: Any) -> torch.Tensor:
        """Computes what gradients are taken of."""
        if objective.loss is None:
            return _weighted(self._outputs(returned), objective.paths)
        with self._users_code("computing loss(outputs, batch)"):
            loss = objective.loss(returned, inputs)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            kind = f"tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise InputError(f"loss(outputs, batch) returned a {kind}; it must return a scalar tensor.")
        return loss.reshape(())

    def _gradients(self, total: torch.Tensor) -> dict[str, np.ndarray | None]:
        trained = {
            key: value
            for key, value in self._keyed().items()
            if self._is_trained(value) and takes_values(arrays.dtype_name(value))
        }
        if not trained or not total.requires_grad:
            return dict.fromkeys(trained)
        with self._users_code("taking gradients"):
            found = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
        return {
            key: None if gradient is None else arrays.array(gradient.to_dense() if gradient.is_sparse else gradient)
            for key, gradient in zip(trained, found, strict=True)
        }

    def _repeated(self, repeats: int, inputs: Any, known: set[str]) -> tuple[str, ...]:
        """Calls it again, and returns what parameters and buffers came of it."""
        for _ in range(repeats):
            with self._running(), torch.no_grad():
                self._called(inputs)
        return tuple(name for name in self._keyed() if name not in known)

    def _notes(self, drawn: Draws) -> tuple[str, ...]:
        notes = [self._used.note] if self._used.note else []
        if drawn.unaligned:
            some = ", ".join(dict.fromkeys(drawn.unaligned))
            notes.append(
                f"{self._label} draws by {some} from PyTorch's own generator, which no other side can draw from"
            )
        return tuple(notes)

    def _users_code(self, doing: str) -> contextlib.AbstractContextManager[None]:
        return running.users_code(self._label, f"{doing} ({running.describe(self._mode)})")


def _as_written(value: torch.Tensor, execution: Execution | None) -> torch.Tensor:
    """What autocast gives in fewer bits is compared as the float32 that it stands for."""
    coarse = execution is not None and execution.precision == "bfloat16" and value.dtype is torch.bfloat16
    return value.float() if coarse else value


@contextlib.contextmanager
def _other_kernels() -> Iterator[None]:
    """Switches oneDNN over; PyTorch 2.13 warns of a setting of Intel's GPUs that comes along with it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")
        with torch.backends.mkldnn.flags(enabled=not torch.backends.mkldnn.enabled):
            yield


def _weighted(outputs: Mapping[str, torch.Tensor], paths: SeenPaths | None) -> torch.Tensor:
    seen = paths.seen(outputs) if paths is not None else outputs
    terms = [
        (value * arrays.tensor(_cotangent(path, value), path)).sum().to(torch.float32)
        for path, value in seen.items()
        if value.is_floating_point()
    ]
    if not terms:
        raise InputError("no output is floating, so there is nothing to take gradients of.")
    return functools.reduce(torch.add, terms)


def _cotangent(path: str, value: torch.Tensor) -> np.ndarray:
    return cotangent(path, tuple(value.shape), arrays.array(value[:0] if value.dim() else value).dtype)
