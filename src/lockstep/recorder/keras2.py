"""A function `build()` that makes a Keras 2 model, as a `forward(inputs, training)` that a graph is built of.

Keras 2 is tf.keras of TensorFlow 1.13 to 2.15, and the package tf_keras. The model is put together in the graph, with
Keras's learning phase at 0, and called on the graph's placeholders. What a session of Keras's own holds by then
(`set_weights`, `load_weights`) becomes what the variables start from. Checked on TensorFlow 1.15.5, 2.4.4, 2.10.1 and
2.15.1, and with tf_keras 2.21.0.
"""

from typing import Any, Callable, List, Optional, Tuple

import tensorflow as tf

from ..ground.failures import RecordingError
from ..ground.structure import flatten
from . import graph, keras2_eager, keras2_inputs, keras2_start, keras_layers, operations, optimizer_variables

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)

_WAY_OUT = (
    'It must return a new Keras 2 model or layer (of tf.keras up to TensorFlow 2.15, of tf_keras or of keras below 3) '
    "each time it is called."
)  # fmt: skip


class NoModelError(RecordingError):
    """What a function of the user's makes is no Keras 2 model; no other way of building it helps."""


def load(build: Callable[[], Any]) -> Any:
    """Returns the Keras 2 model or layer that a function of the user's makes.

    Raises:
        NoModelError: It makes something else: a sentence says what, and what to do.
    """
    model = build()
    told = refusal(model)
    if told:
        raise NoModelError(told)
    return model


def optimizer_of(build: Callable[[], Any]) -> Any:
    """Returns the optimizer that the model of a function of the user's is compiled with; None without one."""
    return getattr(load(build), "optimizer", None)


def refusal(model: Any) -> str:
    """Returns why something is no Keras 2 model, as a sentence; empty of one."""
    if keras_layers.is_layer(model):
        return ""
    if model is None:
        return "build() returned nothing. " + _WAY_OUT
    kind = type(model).__name__
    if keras_layers.is_keras_3(model):
        return (
            'build() returned the Keras 3 model %s (%s), and runtime = "keras2" takes one of Keras 2. Give it '
            'runtime = "keras"; or have it made by Keras 2: `import tf_keras as keras`, or a TensorFlow up to 2.15 in '
            "its requirements (this is %s)." % (getattr(model, "name", ""), kind, tf.__version__)
        )
    if isinstance(model, type):
        return "build() returned the class %s, and no model of it. %s" % (model.__name__, _WAY_OUT)
    return "build() returned a %s. %s" % (kind, _WAY_OUT)


class Builder:
    """Builds the graphs of a Keras 2 model, each mode's in the same way.

    Args:
        inputs: As of `graph.build`.
        probe: Makes seeds for a graph that is thrown away.

    Attributes:
        eagerly: Whether the model is made eagerly, and traced; None before anything is built.
    """

    def __init__(self, inputs: Any, probe: Callable[[], Any]) -> None:
        self._inputs, self._probe = inputs, probe
        self.eagerly: Optional[bool] = None
        self._form = 0

    def build(self, function: Callable[[], Any], training: bool, seeds: Callable[[], Any]) -> Tuple[Any, Any]:
        """Builds the graph of one mode; the first call finds out how.

        Args:
            function: The user's `build()`.
            training: Whether it is built in training mode.
            seeds: Makes what `graph.build` is given as `seeds`, anew for each attempt.

        Returns:
            The graph, a `GraphModel`, and its seeds.

        Raises:
            RecordingError: The function makes no Keras 2 model, or one that wants other inputs.
        """
        if self.eagerly is None:
            self._choose(function)
        given = seeds()
        return self._built(function, training, given), given

    def _choose(self, function: Callable[[], Any]) -> None:
        """Tries the ways in which the model can be called, in a graph; TensorFlow 2 may have to make it eagerly."""
        eager = not tf.__version__.startswith("1.")
        failures: List[BaseException] = []
        self.eagerly = False
        forms = 1
        while self._form < forms:
            forward = Forward(function, self._form)
            try:
                model = graph.build(forward, self._inputs, True, self._probe())
            except (NoModelError, KeyboardInterrupt):
                raise
            except BaseException as error:
                failures.append(error)
                self._form, forms = self._form + 1, forward.forms
                continue
            # In a graph Keras's LSTM and GRU draw their masks in each round of a loop, eagerly once before it.
            self.eagerly = eager and (bool(lost_writes(model)) or any(draw.repeated for draw in model.draws))
            return
        if not eager:
            raise failures[0]
        self._choose_eagerly(function)

    def _choose_eagerly(self, function: Callable[[], Any]) -> None:
        failures: List[BaseException] = []
        self.eagerly = True
        for self._form in range(keras2_inputs.MOST_FORMS):
            try:
                self._built(function, True, self._probe())
            except (NoModelError, KeyboardInterrupt):
                raise
            except IndexError:
                break
            except BaseException as error:
                failures.append(error)
                continue
            return
        self.eagerly, self._form = None, 0
        raise failures[0]

    def _built(self, function: Callable[[], Any], training: bool, seeds: Any) -> graph.GraphModel:
        if self.eagerly:
            return keras2_eager.build(lambda: load(function), self._form, self._inputs, training, seeds)
        forward = Forward(function, self._form)
        model = graph.build(forward, self._inputs, training, seeds)
        model.compiled = forward.compiled
        return model


def lost_writes(model: graph.GraphModel) -> List[str]:
    """Returns the names of the operations that write a variable in a call, which no run would make.

    In a graph an assignment runs only if something that is fetched depends on it.
    """
    within = model.graph
    with within.as_default():
        variables = list(v1.global_variables()) + list(v1.local_variables())
    updates = within.get_collection(v1.GraphKeys.UPDATE_OPS)
    kept = {op.name for op in operations.leading_to(list(model.outputs.values()) + model.added_losses + updates)}
    kept.update(variable.initializer.name for variable in variables)
    fed = keras_layers.Fed(model.inputs.values())
    return [
        op.name for op in within.get_operations() if graph.WRITING.match(op.type) and op.name not in kept and fed(op)
    ]


class Forward:
    """Builds a Keras 2 model and calls it; is called once, in the graph that is to hold it.

    Args:
        build: The user's function, or the model's class.
        form: Which of the ways in which the model may want its inputs is taken; see `keras2_inputs.forms`.

    Attributes:
        forms: How many ways there are, once the model is made.
        compiled: Whether the model was compiled with an optimizer.
    """

    def __init__(self, build: Callable[[], Any], form: int = 0) -> None:
        self._build, self._form = build, form
        self.forms = 1
        self.compiled = False

    def __call__(self, inputs: Any, training: bool) -> Any:
        """Makes the model and calls it.

        Args:
            inputs: Input name -> placeholder, or one placeholder.
            training: Whether it is called in training mode.

        Returns:
            What the model returns.
        """
        with keras_layers.constructing(), keras2_start.noted() as sessions:
            model = load(self._build)
        forms = keras2_inputs.forms(model, inputs)
        self.forms = len(forms)
        positional, named = forms[self._form].arguments(inputs)
        if keras2_inputs.takes_training(model):
            named = dict(named, training=training)
        returned = model(*positional, **named)
        keras2_start.keep(sessions, model, v1.get_default_graph())
        _mark_frozen(model)
        _leave_out_strangers(v1.get_default_graph(), model, returned)
        self.compiled = getattr(model, "optimizer", None) is not None
        return returned


def _mark_frozen(model: Any) -> None:
    """Gives variables the flag that their layers have: `layer.trainable = False` leaves theirs as it was."""
    trained = {id(variable) for variable in model.trainable_weights}
    for variable in model.weights:
        if id(variable) not in trained and getattr(variable, "trainable", False) is True:
            variable._trainable = False


def _leave_out_strangers(within: Any, model: Any, returned: Any) -> None:
    """Notes variables that are neither weights of the model nor needed by it: those of its optimizer and metrics."""
    own = {variable.op.name for variable in model.weights if getattr(variable, "graph", None) is within}
    fetched = [leaf for _, leaf in flatten(returned) if hasattr(leaf, "op")]
    fetched += [
        tensor for tensor in list(model.losses) + list(model.updates) if getattr(tensor, "graph", None) is within
    ]
    needed = {op.name for op in operations.ancestors(fetched)} if fetched else set()
    for variable in list(v1.global_variables()) + list(v1.local_variables()):
        if variable.op.name not in own and variable.op.name not in needed:
            within.add_to_collection(optimizer_variables.COLLECTION, variable.op.name)
