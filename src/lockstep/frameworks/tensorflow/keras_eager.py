"""Keras layers and models, and callable `tf.Module`s, run eagerly."""

from __future__ import annotations

import contextlib
import functools
import inspect
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from lockstep.common.arrays import Arrays
from lockstep.common.errors import InputError, LockstepError, SubjectError
from lockstep.common.values import brief
from lockstep.frameworks.tensorflow import calling, grappler, running
from lockstep.frameworks.tensorflow.calling import Form
from lockstep.frameworks.tensorflow.draws import RecordedDraws, matched
from lockstep.frameworks.tensorflow.eager_draws import DrawsFollowed
from lockstep.frameworks.tensorflow.eager_program import EagerRecorder, variables_by_handle, with_values
from lockstep.frameworks.tensorflow.guards import CreatedVariable, record_created_variables
from lockstep.frameworks.tensorflow.layer_lines import LayerLines
from lockstep.frameworks.tensorflow.loading import Loads
from lockstep.frameworks.tensorflow.optimizing import make_optimizer
from lockstep.frameworks.tensorflow.own_loop import KerasLoop, Loop
from lockstep.frameworks.tensorflow.subjects import Apart
from lockstep.ground import sparse, trials
from lockstep.ground.failures import RecordingError
from lockstep.ground.fill import cotangent, takes_values
from lockstep.ground.records import ONLY_INPUT
from lockstep.ground.structure import same_bits
from lockstep.program import Program
from lockstep.recorder import keras_layers
from lockstep.recorder.generators import Generators
from lockstep.recorder.modules import Sources
from lockstep.recorder.objective import scalar
from lockstep.subjects import (
    NOTHING_MORE,
    NOTHING_WANTED,
    TRAINING_LOSS,
    Ask,
    Instance,
    Mode,
    Objective,
    Offers,
    SeenPaths,
    Setting,
    Subject,
    Wanted,
)
from lockstep.subjects.streaming import Roles, Streamed
from lockstep.subjects.users_functions import code_of, for_a_build, sources_of
from lockstep.tf1 import private
from lockstep.tf1.ownership import AdoptedVariable
from lockstep.tf1.tracking import store_of
from lockstep.traces.trace import ForwardDraw, LossRecord, Trace, VariableRecord, changed, flatten, unique_keys

_Asked = tuple[tuple[ForwardDraw | None, ...], tuple[ForwardDraw | None, ...]]
"""For each seed that a call asks for: the draw of another side that it is to be, and what it is asked for."""
_Result = TypeVar("_Result")
_READY = (
    "the model is made while its module is imported, where its random numbers cannot be aligned; to compare initial "
    "values, name a function that makes it"
)
_MOST_BRANCHES = 5
"""How many draws, one behind the other, may decide what is drawn next."""


@dataclass(frozen=True)
class Said:
    """What the user says of a model besides the function that makes it.

    Attributes:
        inputs_as: Input -> how the model is given it, where that is not to be found out.
        labels: The inputs that are labels, which it is not given.
        loop: The training loop that it has; None without one.
    """

    inputs_as: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    loop: Loop | None = None


NOTHING_SAID = Said()


class KerasEager(Subject):
    """A function `build()` that makes a layer, a model or a module, as a subject."""

    def __init__(
        self,
        build: Callable[[], Any],
        label: str,
        said: Said = NOTHING_SAID,
        apart: Apart | None = None,
    ) -> None:
        if isinstance(build, keras.layers.Layer):
            raise InputError(
                f"lockstep.keras was given the {type(build).__name__} {build.name!r}; it takes a function that makes "
                "a new one each time it is called."
            )
        self._build, self._said = build, said
        self.label = label
        self._apart = apart  # None of a function that Lockstep was handed: it is known to this process alone
        self._called_as: list[Form] = []  # found by the first call of all

    @property
    def offers(self) -> Offers:
        """What it can do."""
        return Offers(
            optimizer=True,
            training=True,
            execution=True,
            compiled=True,
            own_loop=self._said.loop is not None,
            labels=self._said.labels,
            own_metrics=True,
        )

    @property
    def sources(self) -> Sources | None:
        """Where `build()` is imported from, where Lockstep imports it."""
        return sources_of(self._build)

    def code(self) -> Mapping[str, str]:
        """Returns file -> SHA-256 of the function's code."""
        return code_of(self._build)

    def elsewhere(self, variables: Mapping[str, str]) -> Subject | None:
        """Returns it for a process of its own; None of a function that no other process can find."""
        return self._apart(variables) if self._apart is not None else None

    def passes(self) -> tuple[str, ...]:
        """Returns Grappler's passes over its functions."""
        return grappler.passes()

    def environment(self) -> Mapping[str, str]:
        """The versions of this process."""
        return running.environment(self.label)

    def settings(self) -> Mapping[str, str]:
        """Those of this process."""
        return running.settings()

    def build(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> EagerInstance:
        """Makes the model; its variables come with the first run."""
        del wanted  # it runs as it is asked
        return EagerInstance(self.label, self._build, mode, inputs, self._called_as, self._said)

    def build_again(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> EagerInstance:
        """Builds it as if for the first time, to see whether it is the same twice."""
        return self.build(mode, inputs, wanted)

    def make_optimizer(self, make: Callable[[], Any] | None, shapes: trials.Shapes, names: Mapping[str, str]) -> Any:
        """Makes what the user's function returns: a Keras optimizer, or one of `tf.compat.v1.train` in a graph.

        Without a function it is the one that the model is compiled with; None of a model that is not.
        """
        make = make or self._compiled_with()
        return None if make is None else make_optimizer(make, shapes, self.label, eagerly=True, names=names)

    def streaming(self, make: Callable[..., Any] | None, roles: Roles) -> Streamed | None:
        """Returns the user's metrics, or those that the model is compiled with."""
        from lockstep.frameworks.tensorflow import streaming

        if make is not None:
            return streaming.eager(make, roles, self.label)
        return streaming.compiled(self._made_for("making its metrics"), roles, self.label)

    def _made_for(self, doing: str) -> Any:
        used = for_a_build(self._build)
        with used.active(), Generators().active(), running.users_code(self.label, doing):
            return used.function if isinstance(used.function, keras.layers.Layer) else used.function()

    def _compiled_with(self) -> Callable[[], Any] | None:
        # A model that was never compiled has no such attribute.
        optimizer = getattr(self._made_for("making its optimizer"), "optimizer", None)
        return None if optimizer is None else lambda: optimizer


class EagerInstance(Instance):
    """One model; `called_as` is the form that it is called in, empty until a call of its like has succeeded."""

    def __init__(
        self,
        label: str,
        build: Callable[[], Any],
        mode: Mode,
        inputs: Arrays,
        called_as: list[Form] | None = None,
        said: Said = NOTHING_SAID,
    ) -> None:
        self._label, self._mode, self._build, self._given, self._said = label, mode, build, inputs, said
        self._called_as = [] if called_as is None else called_as
        self._forms: tuple[Form, ...] = ()
        self._make()

    def _make(self) -> None:
        build, mode, inputs = self._build, self._mode, self._given
        self._tool = RecordedDraws(mode.randomness)
        self._initial: dict[int, np.ndarray] = {}
        self._global_steps: list[Any] = []
        self._notes: tuple[str, ...] = ()
        self._lines = LayerLines()
        self._loads = Loads()
        self._compiled: dict[bool, Any] = {}
        self._called = False
        self._used = for_a_build(build)
        self._generators = Generators()
        self._stirred: tuple[str, ...] = ()
        self._runs = 0
        if self._used.note:
            self._notes = (self._used.note,)
        self._asked: dict[tuple[ForwardDraw, ...], _Asked] = {}
        self._inputs = tf.nest.map_structure(tf.convert_to_tensor, inputs)
        # Automatic names (dense, dense_1, ...) must be the same in every mode.
        private.reset_automatic_names()
        with self._running(self._tool, self._generators):
            with self._users_code("building"), self._lines.noting(), self._loads.noting():
                made = self._used.function
                # A model of a module's own is made when the module is imported, anew for each build.
                self._is_ready = isinstance(made, keras.layers.Layer)
                if self._is_ready:
                    self._notes = (*self._notes, _READY)
                self._layer = made if self._is_ready else made()
            if keras_layers.is_layer(self._layer):
                raise InputError(
                    f"build() returned the Keras 2 model {self._layer.name} ({type(self._layer).__module__}), and "
                    'runtime = "keras" takes one of Keras 3. Give it runtime = "keras2" (lockstep.keras2 in Python).'
                )
            if not callable(self._layer):
                raise InputError(f"build() returned a {type(self._layer).__name__}, which cannot be called.")
            self._forms = (
                tuple(self._called_as)
                or self._forms
                or calling.forms(self._layer, self._given_to_it, self._said.inputs_as, self._said.labels)
            )
            self._model = self._layer
            if mode.functional:
                with self._users_code("building"):
                    self._model, notes = _functional(self._layer, self._features(inputs), self._forms[0])
                self._notes = (*self._notes, *notes)
        # What follows begins here: later calls draw as the first one does, whatever was drawn in between.
        self._built_generators = self._generators.copy()
        self._takes_training = _takes_training(self._layer)

    @property
    def followed(self) -> EagerInstance:
        """Itself."""
        return self

    @property
    def stirred(self) -> EagerInstance:
        """Itself."""
        return self

    @property
    def own_loop(self) -> KerasLoop | None:
        """Trains a new model of its kind by the user's own loop."""
        loop = self._said.loop
        if loop is None or not self._mode.training or self._mode.functional:
            return None
        return KerasLoop(self._again, loop, self._said.labels)

    def _again(self) -> EagerInstance:
        return EagerInstance(self._label, self._build, self._mode, self._given, self._called_as, self._said)

    @property
    def batch(self) -> Any:
        """Its inputs, labels included, as tensors."""
        return self._inputs

    @property
    def called(self) -> str:
        """How the model is called, as a person says it."""
        return self._forms[0].told

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns what the model is called with."""
        return self._forms[0].arguments(self._inputs)

    def keyed(self) -> list[tuple[str, Any]]:
        """Returns its variables under their keys."""
        return self._keyed()

    @contextlib.contextmanager
    def all_steps(self, *, traced: bool) -> Iterator[None]:
        """Surrounds all steps of a training loop of the user's own; its model has its variables inside."""
        functions = _functions_run(eagerly=False) if traced else _untraced(eagerly=True)
        with self._used.active():
            self._make_variables()
            with functions:
                yield

    @contextlib.contextmanager
    def one_step(self, draws: Sequence[ForwardDraw] | None) -> Iterator[tuple[RecordedDraws, int]]:
        """Surrounds one of them: it draws what a call of the model draws, as often as such a call is made.

        Gives the tool that it draws with, and how many seeds one call asks for.
        """
        given, asked = self._to_be_drawn(draws)
        tool = RecordedDraws(self._mode.randomness, given)
        with self._running(tool, self._start()):
            yield tool, len(asked)

    @property
    def layer(self) -> Any:
        """What `build()` made."""
        return self._layer

    def as_model(self) -> keras.Model:
        """Returns the layer as a Keras model, which alone can be saved; a layer is put into a functional one.

        Raises:
            InputError: It cannot be.
        """
        if isinstance(self._layer, keras.Model):
            return self._layer
        arrays = tf.nest.map_structure(lambda tensor: tensor.numpy(), self._features(self._inputs))
        # For batches of any size, unless the code insists on the one that it is checked with.
        model, notes = _functional(self._layer, arrays, self._forms[0], any_batch=True)
        if notes:
            model, notes = _functional(self._layer, arrays, self._forms[0])
        if notes:
            raise InputError(f"the candidate is no Keras model: {notes[0]}")
        return model

    def values(self) -> dict[str, np.ndarray]:
        """Returns variable key -> value, as they are now."""
        return self._values()

    @staticmethod
    def values_of(model: Any) -> dict[str, np.ndarray]:
        """Returns variable key -> value of another model, under the same names."""
        return {key: _numpy(v) for key, v in zip(unique_keys(map(_name, model.weights)), model.weights, strict=True)}

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Gives the variables values by their keys."""
        self._assign(values)

    def run_as_it_is(self) -> Trace:
        """Runs it once from the values that its variables have."""
        return self.run(Setting("given"))

    @property
    def variables(self) -> tuple[VariableRecord, ...]:
        """The inventory; empty before the first run."""
        weights = self._weights()
        names = [_name(v) for v in weights]
        regularized = {owner for owner, _ in self._regularizers()}
        return tuple(
            VariableRecord(name, key, tuple(v.shape), _dtype_name(v), bool(v.trainable), name in regularized)
            for v, name, key in zip(weights, names, unique_keys(names), strict=True)
        )

    def run(self, setting: Setting, ask: Ask = NOTHING_MORE) -> Trace:
        """Calls the model once; the very first call also makes its variables.

        In the initial setting the random operations of the call have to interleave with the initializers as they do
        in the program, so that run must be the first. With an `execution` other than as written, the model is called
        in a `tf.function`, which is traced by the first such run: its Python code is executed then, and its
        draws take their seeds, for all runs of that compiler that follow.
        """

        def run() -> Trace:
            with self._used.active(), self._on(setting.inputs):
                return self._run(setting, ask)

        return self._called_in_some_form(run)

    def _called_in_some_form(self, action: Callable[[], _Result]) -> _Result:
        """Does something that calls the model; what may want its inputs in another form is made anew and called so.

        Raises:
            SubjectError: It failed; of several forms the failure that came furthest is raised, and tells the others.
        """
        failures: list[tuple[Form, SubjectError]] = []
        while len(self._forms) > 1 and not self._called_as:
            try:
                with _held_warnings():
                    return action()
            except SubjectError as error:
                if self._called_as:
                    raise
                failures.append((self._forms[0], error))
            self._forms = self._forms[1:]
            self._make()
        try:
            return action()
        except SubjectError as error:
            if self._called_as or not failures:
                raise
            told = _in_no_form(self._layer, [*failures, (self._forms[0], error)])
            raise told from told.__cause__

    @contextlib.contextmanager
    def _on(self, inputs: Arrays | None) -> Iterator[None]:
        """Has the model called on other inputs inside, where there are any."""
        before = self._inputs, self._asked
        if inputs is not None:
            self._inputs, self._asked = tf.nest.map_structure(tf.convert_to_tensor, inputs), {}
        try:
            yield
        finally:
            self._inputs, self._asked = before

    def _run(self, setting: Setting, ask: Ask) -> Trace:
        start, draws, objective, execution = time.perf_counter(), ask.draws, ask.objective, ask.execution
        tool, drawn = self._tool, self._generators
        initial = setting.kind == "initial"
        if not initial:
            self._make_variables()
            self._assign(setting.values)
            before = self._values()
            tool = RecordedDraws(self._mode.randomness, self._to_be_drawn(draws)[0] if draws else ())
            drawn = self._start()
        in_use = self._values() if initial else {}
        started = drawn.copy()
        generators = self._generator_states()
        compiled, added = bool(execution.compiler), None
        functions = _functions_run(eagerly=False) if compiled else _untraced(bool(draws))
        with functions, self._running(tool, drawn), grappler.switched(execution):
            with tf.GradientTape() if objective else contextlib.nullcontext() as tape:
                if compiled:
                    returned, added = self._call_compiled(xla=execution.compiler == "xla")
                else:
                    returned = self._call()
                total = self._training_loss(objective, returned) if objective else None
            outputs = _arrays(returned)
            differentials = self._gradients(tape, total) if objective else {}
        overwritten: tuple[str, ...] = ()
        if initial:
            before, overwritten = self._initial_values(in_use)
        after = changed(before, self._values()) if self._mode.training else {}
        with self._users_code("computing its losses"):  # regularizers are functions of the user's
            losses, total_loss = self._losses(added)
        return Trace(
            variables=self.variables,
            before=before,
            outputs=outputs,
            losses=losses,
            total_loss=total_loss,
            after=after,
            training_loss=None if total is None else np.asarray(total),
            gradients={key: gradient for key, gradient in differentials.items() if gradient is not None},
            unconnected=tuple(key for key, gradient in differentials.items() if gradient is None),
            created=tuple(str(c) for c in self._repeat(ask.repeats)),
            calls=1 + ask.repeats,
            draws=tool.draws,
            forward_draws=None if initial else self._drawn(tool, draws),
            repeated_draws=int(tool.unaligned),
            native_initializers=self._native_initializers(),
            native_draws=bool(self._generator_states()),
            unaligned_draws=self._generators_moved(generators),
            drawn=drawn.drawn(),
            drew=drawn.moved(started),
            overwritten=overwritten,
            loads=self._loads.told(),
            notes=self._notes,
            duration_s=time.perf_counter() - start,
        )

    def program(
        self,
        values: Mapping[str, np.ndarray],
        draws: Sequence[ForwardDraw] | None = None,
        *,
        inputs: Arrays | None = None,
        objective: Objective | None = None,
    ) -> Program:
        """Calls the model once and returns what it computed, operation by operation; its variables end as before.

        Args:
            values: Variable key -> value to start from.
            draws: As of `run`.
            inputs: Other inputs than it was built for; None: those.
            objective: As of `Followed.program`.
        """

        def follow() -> Program:
            with self._used.active(), self._on(inputs):
                return self._program(values, draws, objective)

        return self._called_in_some_form(follow)

    def _program(
        self, values: Mapping[str, np.ndarray], draws: Sequence[ForwardDraw] | None, objective: Objective | None
    ) -> Program:
        self._make_variables()
        # A buffer of its own for each: it is what tells a variable's value from another's.
        self._assign({key: np.array(value) for key, value in values.items()})
        before = self._values()
        tool = RecordedDraws(self._mode.randomness, self._to_be_drawn(draws)[0] if draws else ())
        around = "" if self._model is self._layer else f"{self._model.name}/"
        recorder = EagerRecorder(variables_by_handle(self._keyed()), self._named_inputs(), self._lines.of, around)
        drawn = self._built_generators.copy()
        with _untraced(eagerly=True), self._running(tool, drawn), private.watched_operations(recorder):
            outputs = self._call()
            loss = {} if objective is None else {TRAINING_LOSS: self._training_loss(objective, outputs)}
        program = with_values(recorder.recorded({**dict(flatten(outputs)), **loss}), before)
        program.leave_unchanged(set(program.writes) - set(changed(before, self._values())))
        self._assign(before)
        return program

    def _to_be_drawn(self, draws: Sequence[ForwardDraw] | None) -> _Asked:
        """Returns what a call draws, and what each draw is to be, given what another side drew."""
        key = tuple(draws or ())
        if key not in self._asked:
            given: tuple[ForwardDraw | None, ...] = ()
            asked = self._followed(given)
            # What seems to lead to nothing may decide what is drawn next: a branch is taken by Python.
            decides = any(draw is not None and not draw.used for draw in asked)
            for _ in range(_MOST_BRANCHES if key else 0):
                before, given = asked, matched(key, asked)
                asked = self._followed(given) if decides else asked
                if [draw and draw._replace(seed=0) for draw in asked] == [d and d._replace(seed=0) for d in before]:
                    break
            self._asked[key] = given, asked
        return self._asked[key]

    def _followed(self, given: Sequence[ForwardDraw | None]) -> tuple[ForwardDraw | None, ...]:
        """Returns what each seed is asked for in a call that makes no variables; the variables end as before."""
        before = self._values()
        tool = RecordedDraws(self._mode.randomness, given)
        followed = DrawsFollowed(variables_by_handle(self._keyed()), tool)
        with _untraced(eagerly=True), tool.scope(), private.watched_operations(followed):
            outputs = self._call()
            losses = list(self._layer.losses) if isinstance(self._layer, keras.layers.Layer) else []
            results = [*(leaf for _, leaf in flatten(outputs)), *losses]
        self._assign(before)
        return followed.asked_for(results)

    def _drawn(self, tool: RecordedDraws, draws: Sequence[ForwardDraw] | None) -> tuple[ForwardDraw, ...]:
        """Returns what a call drew that leads to something, given the tool that it drew with."""
        if not tool.taken:
            return ()
        asked = self._to_be_drawn(draws)[1]
        if len(tool.taken) != len(asked):  # traced, a loop's body asks once for all rounds
            return tuple(ForwardDraw(seed) for seed in tool.taken)
        drawn = zip(asked, tool.taken, strict=True)
        return tuple(draw._replace(seed=seed) for draw, seed in drawn if draw is not None and draw.used)

    @property
    def _given_to_it(self) -> Any:
        """The inputs as the user's code gets them: each sparse one is one sparse tensor."""
        inputs = self._inputs
        return sparse.composed(inputs, tf.SparseTensor) if isinstance(inputs, Mapping) else inputs

    def _named_inputs(self) -> Mapping[str, Any]:
        return self._inputs if isinstance(self._inputs, Mapping) else {ONLY_INPUT: self._inputs}

    def close(self) -> None:
        """Drops the model."""
        self._model = self._layer = None
        self._compiled.clear()
        self._initial.clear()
        self._lines.forget()

    def in_place(self) -> AbstractContextManager[None]:
        """Puts the modules that the model came from in place, for whoever saves or loads it."""
        return self._used.active()

    def stir(self, kinds: Sequence[str]) -> None:
        """Has each further run draw other numbers of `"numpy"`, `"python"`, as the user's own runs do."""
        self._stirred = tuple(kinds)

    def _start(self) -> Generators:
        """Where the generators start from in a run that is not the first."""
        if not self._stirred:
            return self._built_generators.copy()
        self._runs += 1
        return self._built_generators.stirred(self._stirred, self._runs)

    @contextlib.contextmanager
    def _running(self, tool: RecordedDraws, drawn: Generators) -> Iterator[None]:
        """What surrounds the user's code: its modules, its random numbers, a look at the variables that it makes."""
        with (
            self._used.active(),
            running.with_global_steps(self._global_steps),
            drawn.active(),
            tool.scope(),
            tf.variable_creator_scope(drawn.create_variable),
            private.symbolic_calls_within(drawn.unmoved),
            _noting_initial_values(self._initial),
        ):
            yield

    def _users_code(self, doing: str) -> AbstractContextManager[None]:
        return running.users_code(self._label, f"{doing} ({running.describe(self._mode)})")

    def _make_variables(self) -> None:
        """Calls the model for the first time, if it has not been: a part of it may make its variables only then.

        Draws have seeds, without which deterministic kernels refuse.
        """
        if not self._called:
            tool, drawn = RecordedDraws(self._mode.randomness), self._built_generators.copy()
            with _untraced(eagerly=True), self._running(tool, drawn):
                self._call()

    def _call(self) -> Any:
        arguments = {"training": self._mode.training} if self._takes_training else {}
        self._called = True
        with self._users_code("running"):
            returned = self._form.call(self._model, self._given_to_it, arguments)
        self._called_as[:] = self._forms[:1]  # what fails from here on is not how it is called
        return returned

    @property
    def _form(self) -> Form:
        """How the model is called: a functional one that a layer was put into takes what it was made of."""
        return self._forms[0] if self._model is self._layer else calling.without(self._said.labels, calling.AS_GIVEN)

    def _features(self, inputs: Any) -> Any:
        """Returns the inputs that are no labels."""
        return calling.without_labels(inputs, self._said.labels)

    def _call_compiled(self, *, xla: bool) -> tuple[Any, list[Any]]:
        """Calls the model in a `tf.function`; returns what it returned, and the layer's losses of that call.

        After a trace the layer itself holds the trace's symbolic losses, which have no value.
        """
        if xla not in self._compiled:
            model, losses_of_call, form = self._model, self._listed_losses, self._form
            arguments = {"training": self._mode.training} if self._takes_training else {}

            def call(inputs: Any) -> Any:
                returned = form.call(model, inputs, arguments)
                return returned, losses_of_call()

            # None, unlike False, leaves an enclosed `jit_compile` of the user's own what it is.
            self._compiled[xla] = tf.function(call, jit_compile=True if xla else None)
        with self._users_code(f"running in tf.function{'(jit_compile=True)' if xla else ''}"):
            returned, losses = self._compiled[xla](self._given_to_it)
        return returned, losses

    def _training_loss(self, objective: Objective, returned: Any) -> Any:
        """Computes what gradients are taken of, on the tape that is recording."""
        if objective.loss is None:
            loss = _weighted(returned, objective.paths)
        else:
            with self._users_code("computing loss(outputs, batch)"):
                loss = tf.convert_to_tensor(objective.loss(returned, self._given_to_it))
            try:
                scalar(loss)
            except RecordingError as error:
                raise InputError(str(error)) from error
        # A loss that is returned too is one loss: as an output it has its cotangent, or is the user's loss itself.
        outputs = {id(leaf) for _, leaf in flatten(returned)}
        terms = [term for term in self._added_losses() if id(term) not in outputs]
        return tf.add_n([loss, *(tf.cast(tf.reduce_sum(term), loss.dtype) for term in terms)])

    def _gradients(self, tape: tf.GradientTape, total: Any) -> dict[str, np.ndarray | None]:
        trained = {
            key: private.raw_variable(variable)
            for key, variable in self._keyed()
            if variable.trainable and takes_values(_dtype_name(variable))
        }
        with self._users_code("taking gradients"):
            gradients = tape.gradient(total, trained)
        return {key: None if g is None else _dense(g, trained[key]) for key, g in gradients.items()}

    def _repeat(self, repeats: int) -> list[CreatedVariable]:
        created: list[CreatedVariable] = []
        for _ in range(repeats):
            with self._built_generators.copy().active(), record_created_variables(created):
                try:
                    self._call()
                except LockstepError:
                    # Keras refuses new state in a built layer; where that is what went wrong, the list says it better.
                    if not created:
                        raise
        return created

    def _weights(self) -> list[Any]:
        if isinstance(self._layer, keras.layers.Layer):
            return list(self._layer.weights)
        return list(getattr(self._layer, "variables", ()))

    def _keyed(self) -> list[tuple[str, Any]]:
        weights = self._weights()
        return list(zip(unique_keys(_name(v) for v in weights), weights, strict=True))

    def _assign(self, values: Mapping[str, np.ndarray]) -> None:
        for key, variable in self._keyed():
            if key in values:
                variable.assign(values[key])

    def _initial_values(self, in_use: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Returns what the first call started from, and the keys of what was set after its initializer ran.

        Args:
            in_use: Variable key -> value right before the call, of those that there were then. Of the others the value
                that their initializers gave counts, unless the call changed one of Keras's own though nothing is
                trained: its layer's `build` set it.
        """
        values: dict[str, np.ndarray] = {}
        overwritten = []
        for key, variable in self._keyed():
            made = self._initial.get(id(private.raw_variable(variable)))
            now = in_use.get(key)
            if now is None:
                set_within = not self._mode.training and not isinstance(variable, AdoptedVariable)
                now = _numpy(variable) if made is None or set_within else made
            moved = self._is_ready if made is None else not same_bits(made, now)
            if moved and takes_values(_dtype_name(variable)):
                overwritten.append(key)
            values[key] = now
        return values, tuple(overwritten)

    def _values(self) -> dict[str, np.ndarray]:
        return {key: _numpy(variable) for key, variable in self._keyed()}

    def _regularizers(self) -> list[tuple[str, Callable[[], Any]]]:
        if isinstance(self._layer, keras.layers.Layer):
            # Of Keras's own variables the trainable ones count, of TF1-style ones all that were given a regularizer.
            counted = [v for v in self._layer.weights if v.trainable or isinstance(v, AdoptedVariable)]
            return [(_name(v), functools.partial(v.regularizer, v)) for v in counted if v.regularizer is not None]
        return list(store_of(self._layer).regularizers.items()) if isinstance(self._layer, tf.Module) else []

    def _listed_losses(self) -> list[Any]:
        if isinstance(self._layer, keras.layers.Layer):
            return list(self._layer.losses)
        if isinstance(self._layer, tf.Module):
            return [*store_of(self._layer).hand_losses.present(), *(term() for _, term in self._regularizers())]
        return []

    def _added_losses(self) -> list[Any]:
        """Returns what a training loop adds to the loss.

        Raises:
            InputError: A loss has no value, as the function that computed it was traced.
        """
        losses = self._listed_losses()
        symbolic = [loss for loss in losses if tf.is_symbolic_tensor(loss)]
        if symbolic:
            raise InputError(
                f"the candidate computes a loss ({symbolic[0].name}) from its inputs in a tf.function of its own, "
                "outside of which the loss has no value: neither Lockstep nor a training loop can add it. Take "
                "@tf.function off the model's method, and put it on the training step that calls the model."
            )
        return losses

    def _losses(self, of_call: Sequence[Any] | None = None) -> tuple[tuple[LossRecord, ...], np.ndarray | None]:
        owned = [LossRecord(owner, np.asarray(loss())) for owner, loss in self._regularizers()]
        # What is among the losses besides was given to `add_loss`, or collected, and belongs to no variable.
        added = self._added_losses() if of_call is None else of_call
        # One that is not reduced is added to the training loss element by element.
        values = [np.asarray(tf.reduce_sum(value) if np.ndim(value) else value) for value in added]
        left = Counter(float(record.value) for record in owned)
        others = [value for value in values if not _taken(left, float(value))]
        return (*(LossRecord(None, value) for value in others), *owned), _sum(values)

    def _native_initializers(self) -> bool:
        keras_layer = isinstance(self._layer, keras.layers.Layer)
        return keras_layer and any(not isinstance(v, AdoptedVariable) for v in self._layer.weights)

    def _generator_states(self) -> dict[int, np.ndarray]:
        """The states of Keras's seed generators, which are among the variables but not the weights."""
        if not isinstance(self._layer, keras.layers.Layer):
            return {}
        weights = {id(v) for v in self._layer.weights}
        return {id(private.raw_variable(v)): _numpy(v) for v in self._layer.variables if id(v) not in weights}

    def _generators_moved(self, before: Mapping[int, np.ndarray]) -> bool:
        """Tells whether something drew from a seed generator by itself: the random tool leaves their states alone."""
        return any(
            not np.array_equal(state, before.get(key, self._initial.get(key, state)))
            for key, state in self._generator_states().items()
        )


@contextlib.contextmanager
def _held_warnings() -> Iterator[None]:
    """Keeps what Keras warns of while a call is tried until it has succeeded; of a failed one nobody hears."""
    with warnings.catch_warnings(record=True) as held:
        warnings.simplefilter("always")
        yield
    for one in held:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def _in_no_form(layer: Any, failures: Sequence[tuple[Form, SubjectError]]) -> SubjectError:
    """Returns the failure that came furthest, which tells in which other forms the model was called."""
    chosen = calling.furthest(layer, [error.__cause__ or error for _, error in failures])
    form, error = failures[chosen]
    others = [f"with {other.told}: {_said(failure)}" for n, (other, failure) in enumerate(failures) if n != chosen]
    error.also = f"It was called with {form.told}. Other forms fail too: {'; '.join(others)}."
    return error


def _said(error: SubjectError) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {running.first_line(cause)}"


@contextlib.contextmanager
def _noting_initial_values(found: dict[int, np.ndarray]) -> Iterator[None]:
    """Reads every variable as it is made: the same call may go on to change it (moving averages)."""

    def note(next_creator: Callable[..., Any], **kwargs: Any) -> Any:
        variable = next_creator(**kwargs)
        if tf.executing_eagerly():
            found[id(variable)] = np.array(variable.numpy())
        return variable

    with tf.variable_creator_scope(note):
        yield


def _untraced(eagerly: bool) -> AbstractContextManager[None]:
    """Runs the model's own `tf.function`s eagerly: those traced before would keep the seeds of their trace."""
    return _functions_run(eagerly=eagerly or tf.config.functions_run_eagerly())


@contextlib.contextmanager
def _functions_run(*, eagerly: bool) -> Iterator[None]:
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(eagerly)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _functional(layer: Any, inputs: Arrays, form: Form, *, any_batch: bool = False) -> tuple[Any, tuple[str, ...]]:
    """Puts a layer into a functional model; a layer that cannot be is called as it is, and the report says so."""
    if not isinstance(layer, keras.layers.Layer):
        return layer, ("called as it is: a functional model takes Keras layers only",)
    if isinstance(inputs, Mapping):
        symbolic = {
            name: keras.Input(
                batch_shape=_batch_shape(inputs[name], any_batch), dtype=_symbolic_dtype(inputs[name]), name=name
            )
            if name in inputs
            else _sparse_input(name, inputs, any_batch)
            for name in sparse.as_given(inputs)
        }
    else:
        symbolic = keras.Input(batch_shape=_batch_shape(inputs, any_batch), dtype=_symbolic_dtype(inputs))
    try:
        # Flat, because Keras 3.3 refuses nested outputs; the paths are what the outputs are compared by anyway.
        return keras.Model(inputs=symbolic, outputs=dict(flatten(form.call(layer, symbolic, {})))), ()
    except Exception as error:  # whatever the user's code raises when it is traced symbolically
        return layer, (f"called as it is: no functional model can be made of it ({brief(error)})",)


def _sparse_input(whole: str, inputs: Mapping[str, np.ndarray], any_batch: bool) -> Any:
    shape: tuple[int | None, ...] = tuple(int(size) for size in inputs[whole + sparse.SHAPE])
    shape = (None, *shape[1:]) if any_batch else shape
    dtype = _symbolic_dtype(inputs[whole + sparse.VALUES])
    return keras.Input(batch_shape=shape, dtype=dtype, sparse=True, name=whole)


def _symbolic_dtype(array: np.ndarray) -> str:
    """NumPy's dtypes of strings say how long they are; TensorFlow has one for all."""
    return "string" if array.dtype.kind in "SUO" else str(array.dtype.name)


def _batch_shape(array: np.ndarray, any_batch: bool) -> tuple[int | None, ...]:
    return (None, *array.shape[1:]) if any_batch and array.ndim else array.shape


def _takes_training(model: Any) -> bool:
    call = model.call if isinstance(model, keras.layers.Layer) else model.__call__
    parameters = inspect.signature(call).parameters
    return "training" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _arrays(outputs: Any) -> dict[str, np.ndarray]:
    arrays = {}
    for path, leaf in flatten(outputs):
        try:
            arrays[path] = np.asarray(tf.convert_to_tensor(leaf))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"output {path or '(the only one)'} is a {type(leaf).__name__}; the model must return tensors, in a "
                "tuple, list or dict if there are several."
            ) from error
    return arrays


def _weighted(returned: Any, paths: SeenPaths | None) -> Any:
    leaves = dict(flatten(returned))
    floating = [(n, tf.convert_to_tensor(leaf)) for n, leaf in (paths.seen(leaves) if paths else leaves).items()]
    terms = [
        tf.cast(tf.reduce_sum(tensor * cotangent(path, tuple(tensor.shape), tensor.dtype.as_numpy_dtype)), tf.float32)
        for path, tensor in floating
        if tensor.dtype.is_floating
    ]
    if not terms:
        raise InputError("no output is floating, so there is nothing to take gradients of.")
    return tf.add_n(terms)


def _dense(gradient: Any, variable: Any) -> np.ndarray:
    if isinstance(gradient, tf.IndexedSlices):
        gradient = tf.math.unsorted_segment_sum(gradient.values, gradient.indices, variable.shape[0])
    return np.asarray(gradient)


def _taken(left: Counter[float], value: float) -> bool:
    found = left[value] > 0
    left[value] -= found
    return found


def _sum(values: Sequence[np.ndarray]) -> np.ndarray | None:
    return np.asarray(tf.add_n([tf.convert_to_tensor(value) for value in values])) if values else None


def _numpy(variable: Any) -> np.ndarray:
    # A copy: on the CPU `numpy()` may share the variable's own buffer, which the next assignment changes.
    return np.array(private.raw_variable(variable).numpy())


def _name(variable: Any) -> str:
    if private.is_keras_variable(variable) and not isinstance(variable, AdoptedVariable):
        return str(variable.path)
    return str(variable.name).removesuffix(":0")


def _dtype_name(variable: Any) -> str:
    return str(tf.as_dtype(private.raw_variable(variable).dtype).base_dtype.name)
