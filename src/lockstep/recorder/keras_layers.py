"""Keras layers in a TF1 graph: their losses and updates lie in no collection, and Keras 2 draws in its own way.

A layer of tf.keras, tf_keras or Keras 2 keeps its regularization losses, the losses given to `add_loss` and the updates
of its moving averages to itself; Keras's own `fit` asks for them, a TF1 training loop has to. What a `Watch` noted it
puts into the graph's collections, where all else looks. Checked on TensorFlow 1.15.5 and 2.4.3, and on tf_keras 2.16.0
with TensorFlow 2.16.2. The layers of `tf.layers` collect by themselves and are left alone.
"""

import contextlib
import functools
import importlib
import os
import re
import sys
import threading
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

import tensorflow as tf

from ..ground.failures import RecordingError
from .graph_losses import add_losses
from .wrapping import wrapped

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)

_BASE_LAYER = re.compile(r"^(?P<root>.+)\.engine\.base_layer(?P<graphs>_v1)?$")
"""The module of a Keras 2's base class, wherever that Keras lies; from 2.2 on graphs have a class of their own."""
_KERAS_3_LAYER = "keras.src.layers.layer"
_COLLECTING_LAYER = re.compile(r"\b(layers|legacy_tf_layers)\.base$")
"""The module of the base class of `tf.layers`, whose layers put losses and updates into collections themselves."""
_INITIALIZERS = re.compile(r"\.(init_ops_v2|initializers_v2)$")
"""The modules in which initializers with a seed draw by stateless operations from it, up to 2.9."""
_LEGACY_DRAWS = "legacy_stateful"
"""What `RandomGenerator` of Keras 2.10 to 2.15 and tf_keras calls the draws that ask TensorFlow for their seeds."""


_DRAWS = ("random_normal", "random_uniform", "truncated_normal")

_Keras = NamedTuple("_Keras", [("layers", Tuple[Any, ...]), ("backend", Any)])
"""One Keras 2 of this process: its base classes, and its backend."""


class _Watching(threading.local):
    def __init__(self) -> None:
        self.watches: List["Watch"] = []
        self.generators: List[List[Tuple[Any, ...]]] = []
        """Where the generators are noted that draw otherwise for a while, in models that are made eagerly."""


_watching = _Watching()


class Watch:
    """Notes the Keras 2 layers that are made or called while it is open, in one graph.

    Meanwhile Keras's learning phase is what `training` says, and 0 while a functional model is put together, as its
    layers are then called on placeholders that nobody feeds.

    Args:
        graph: The graph that is being built.
        training: What `forward` is called with.
        placeholders: The inputs of the graph.
    """

    def __init__(self, graph: Any, training: bool, placeholders: Mapping[str, Any]) -> None:
        self.graph, self._training = graph, training
        self.fed = Fed(placeholders.values())
        self.generators: List[Tuple[Any, ...]] = []
        self._layers: Dict[int, Any] = {}
        self._depth = 0

    @contextlib.contextmanager
    def open(self) -> Iterator["Watch"]:
        """Notes layers inside it.

        Raises:
            RecordingError: A Keras 2 was first imported inside, so that its layers could not be noted.
        """
        known = installed()
        with contextlib.ExitStack() as stack:
            for keras in known:
                _set_learning_phase(keras.backend, self._training)
                for layer in keras.layers:
                    stack.enter_context(wrapped(layer, "__init__", _noting_new))
                    stack.enter_context(wrapped(layer, "__call__", functools.partial(_noting_called, keras.backend)))
            _wrap_draws(stack, known)
            _watching.watches.append(self)
            stack.callback(self._leave)
            yield self
        late = {layer for keras in _loaded_keras() for layer in keras.layers}
        late.difference_update(layer for keras in known for layer in keras.layers)
        if late:
            names = sorted({layer.__module__.partition(".")[0] for layer in late})
            raise RecordingError(
                "%s was imported while forward ran, so that the losses and updates of its layers were not seen. Import "
                "it at the top of the module that forward is in." % " and ".join(names)
            )

    def _leave(self) -> None:
        _watching.watches.remove(self)
        _restore(self.generators)

    def note(self, layer: Any) -> None:
        """Notes a layer that was made or called."""
        if not any(_COLLECTING_LAYER.search(base.__module__) for base in type(layer).__mro__):
            self._layers.setdefault(id(layer), layer)

    @contextlib.contextmanager
    def calling(self, backend: Any, inputs: Any) -> Iterator[None]:
        """Is entered around each call of a layer."""
        outermost, self._depth = self._depth == 0, self._depth + 1
        try:
            if outermost and self._training and not all(self.fed(op) for op in _operations(inputs)):
                with phase_of_construction(backend):
                    yield
            else:
                yield
        finally:
            self._depth -= 1

    def collect(self) -> None:
        """Adds the losses and updates of the noted layers to the graph's collections, each once.

        What the program collected itself, alone or in a sum, is not added again; a loss or an update that rests on a
        placeholder other than the inputs belongs to the construction of a functional model, and to no run.

        Raises:
            RecordingError: A loss lies in a `tf.function`, from which it cannot be fetched.
        """
        layers = list(self._layers.values())
        add_losses(self.graph, [self._losses_of(layer) for layer in layers])
        updates = v1.get_collection_ref(v1.GraphKeys.UPDATE_OPS)
        known = {getattr(update, "op", update).name for update in updates}
        for layer in layers:
            for update in getattr(layer, "updates", ()):
                op = getattr(update, "op", update)
                if op.graph is self.graph and op.name not in known and self.fed(op):
                    known.add(op.name)
                    updates.append(op)

    def _losses_of(self, layer: Any) -> List[Any]:
        found = []
        for loss in getattr(layer, "losses", ()):
            graph = getattr(loss, "graph", None)
            if graph is self.graph:
                if self.fed(loss.op):
                    found.append(loss)
            elif graph is None:
                found.append(tf.convert_to_tensor(loss))
            elif _lies_in(graph, self.graph):
                raise RecordingError(
                    "the layer %s computes a loss (%s) in a tf.function, from which it cannot be fetched. Take "
                    "@tf.function off its call: in a TF1 graph it changes nothing else." % (layer.name, loss.name)
                )
        return found


class Fed:
    """Tells whether an operation can run with the inputs of the graph fed, and nothing else.

    Args:
        inputs: The placeholders that are fed.
    """

    def __init__(self, inputs: Any) -> None:
        self._inputs = {tensor.op.name for tensor in inputs}
        self._known: Set[str] = set()

    def __call__(self, op: Any) -> bool:
        """Follows the graph back from `op`."""
        seen = {op.name}
        waiting = [op]
        while waiting:
            current = waiting.pop()
            if current.name in self._known:
                continue
            if current.type == "Placeholder" and current.name not in self._inputs:
                return False
            for before in [tensor.op for tensor in current.inputs] + list(current.control_inputs):
                if before.name not in seen:
                    seen.add(before.name)
                    waiting.append(before)
        self._known |= seen
        return True


def _noting_new(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        watch = _current_watch()
        if watch is not None:
            watch.note(self)

    return init


def _noting_called(backend: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        watch = _current_watch()
        if watch is None:
            return original(self, *args, **kwargs)
        watch.note(self)
        with watch.calling(backend, (args, kwargs)):
            return original(self, *args, **kwargs)

    return call


def _current_watch() -> Any:
    """Returns this thread's innermost watch, if it is that of the graph in which code runs now."""
    watch = _watching.watches[-1] if _watching.watches else None
    return watch if watch is not None and _lies_in(v1.get_default_graph(), watch.graph) else None


def _lies_in(graph: Any, whole: Any) -> bool:
    """Tells whether a graph is another one, or that of a function within it."""
    while graph is not None and graph is not whole:
        graph = getattr(graph, "outer_graph", None)
    return graph is not None


def _operations(nested: Any) -> List[Any]:
    """Returns the operations of the tensors in the arguments of a call."""
    if isinstance(nested, dict):
        nested = list(nested.values())
    if isinstance(nested, (list, tuple)):
        return [op for item in nested for op in _operations(item)]
    return [nested.op] if isinstance(nested, tf.Tensor) else []


# --- random numbers


@contextlib.contextmanager
def drawing_by_seeds() -> Iterator[None]:
    """Has every Keras 2 draw by operations that ask TensorFlow for their seeds, in models that are made eagerly."""
    noted: List[Tuple[Any, ...]] = []
    with contextlib.ExitStack() as stack:
        _wrap_draws(stack, installed())
        _watching.generators.append(noted)
        try:
            yield
        finally:
            _watching.generators.pop()
            _restore(noted)


def _wrap_draws(stack: contextlib.ExitStack, kerases: List["_Keras"]) -> None:
    for keras in kerases:
        generator = getattr(keras.backend, "RandomGenerator", None)
        if generator is not None:
            stack.enter_context(wrapped(generator, "_maybe_init", _drawing_as_before))
    for drawing in _seeded_draws():
        for name in _DRAWS:
            stack.enter_context(wrapped(drawing, name, _unseeded))


def _generators() -> Optional[List[Tuple[Any, ...]]]:
    """Returns where a generator is noted that is made to draw otherwise; None where none is to be."""
    watch = _current_watch()
    if watch is not None:
        return watch.generators  # type: ignore[no-any-return]
    return _watching.generators[-1] if _watching.generators else None


def _restore(generators: List[Tuple[Any, ...]]) -> None:
    for generator, *state in reversed(generators):
        # An initializer of the user's module lives on.
        generator._rng_type, generator._built, generator._seed = state
    del generators[:]


# --- the Kerases of this process


def is_layer(value: Any) -> bool:
    """Tells whether something is a layer or model of a Keras 2."""
    return any(_BASE_LAYER.match(base.__module__) for base in type(value).__mro__)


def version() -> str:
    """Returns the version of the Keras 2 of this process; empty where it does not tell, or there are several."""
    roots = {_BASE_LAYER.match(name) for name in sys.modules} - {None}
    packages = {matched.group("root").partition(".")[0] for matched in roots if matched}
    packages -= {"tensorflow", "tensorflow_core"} if len(packages) > 1 else set()
    names = [name for name in packages if name in ("keras", "tf_keras")]
    found = [sys.modules[name] for name in names] or ([tf.keras] if packages else [])
    return str(getattr(found[0], "__version__", "")) if len(found) == 1 else ""


def is_keras_3(value: Any) -> bool:
    """Tells whether something is a layer or model of Keras 3."""
    return any(base.__module__ == _KERAS_3_LAYER for base in type(value).__mro__)


def installed() -> List[_Keras]:
    """Returns each Keras 2 that has been imported, and that `tf.keras` is where it is one."""
    version = [int(part) for part in re.findall(r"\d+", tf.__version__)[:2]]
    if version < [2, 16] or os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True"):
        # `tf.keras` may be a lazy loader, which `forward` would otherwise be the first to ask.
        getattr(getattr(tf, "keras", None), "layers", None)
    for name in list(sys.modules):
        matched = _BASE_LAYER.match(name)
        if matched and not matched.group("graphs"):
            with contextlib.suppress(ImportError):  # an older Keras has one class for all
                importlib.import_module(name + "_v1")
    return _loaded_keras()


def _loaded_keras() -> List[_Keras]:
    found: Dict[int, Tuple[Any, List[Any]]] = {}
    for name, module in sorted(sys.modules.items()):
        matched = _BASE_LAYER.match(name)
        layer = getattr(module, "Layer", None) if matched else None
        backend = sys.modules.get(matched.group("root") + ".backend") if matched else None
        if isinstance(layer, type) and backend is not None:
            layers = found.setdefault(id(backend), (backend, []))[1]
            if not any(layer is other for other in layers):
                layers.append(layer)
    return [_Keras(tuple(layers), backend) for backend, layers in found.values()]


def _set_learning_phase(backend: Any, training: bool) -> None:
    # From 2.11 on the public function warns that it is deprecated, and calls this one.
    quiet = getattr(backend, "deprecated_internal_set_learning_phase", backend.set_learning_phase)
    quiet(int(training))


@contextlib.contextmanager
def constructing() -> Iterator[None]:
    """Has every Keras 2 of this process put models together as for inference, whatever they are called for then."""
    with contextlib.ExitStack() as stack:
        for keras in installed():
            stack.enter_context(phase_of_construction(keras.backend))
        yield


@contextlib.contextmanager
def phase(training: bool) -> Iterator[None]:
    """Has the layers of every Keras 2 that are told nothing follow the mode."""
    before = [(keras.backend, keras.backend.learning_phase()) for keras in installed()]
    for backend, _ in before:
        _set_learning_phase(backend, training)
    try:
        yield
    finally:
        for backend, was in before:
            if isinstance(was, int):
                _set_learning_phase(backend, bool(was))


def reset_names() -> None:
    """Has automatic names (dense, dense_1, ...) begin anew."""
    for keras in installed():
        keras.backend.reset_uids()


@contextlib.contextmanager
def phase_of_construction(backend: Any) -> Iterator[None]:
    """Has a Keras put models together as for inference inside it."""
    phase = backend.learning_phase()
    if not isinstance(phase, int):  # the program's own tensor
        yield
        return
    _set_learning_phase(backend, False)
    try:
        yield
    finally:
        _set_learning_phase(backend, bool(phase))


def _drawing_as_before(original: Callable[..., Any]) -> Callable[..., Any]:
    """Lets Keras from 2.10 on draw by operations that ask TensorFlow for their seeds, as Keras before it did.

    Its initializers draw by stateless operations from seeds of their own, which no alignment reaches.
    """

    @functools.wraps(original)
    def maybe_init(self: Any) -> Any:
        noted = _generators()
        if noted is not None and self._rng_type != _LEGACY_DRAWS:
            noted.append((self, self._rng_type, self._built, self._seed))
            self._rng_type = _LEGACY_DRAWS
        return original(self)

    return maybe_init


def _seeded_draws() -> List[Any]:
    """Returns the classes by which initializers draw in TensorFlow and Keras 2.0 to 2.9."""
    found = []
    for name, module in sorted(sys.modules.items()):
        drawing = getattr(module, "_RandomGenerator", None) if _INITIALIZERS.search(name) else None
        if isinstance(drawing, type) and all(draw in vars(drawing) for draw in _DRAWS) and drawing not in found:
            found.append(drawing)
    return found


def _unseeded(original: Callable[..., Any]) -> Callable[..., Any]:
    """Lets an initializer with a seed of its own draw as one without: by operations that ask TensorFlow for a seed."""

    @functools.wraps(original)
    def draw(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _generators() is None or self.seed is None:
            return original(self, *args, **kwargs)
        seed, self.seed = self.seed, None
        try:
            return original(self, *args, **kwargs)
        finally:
            self.seed = seed

    return draw
