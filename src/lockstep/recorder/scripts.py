"""A script that makes placeholders: built as it stands, with its own placeholders fed by the inputs.

What a script runs in a `Session` is not run: Lockstep wants its graph. See `contained`.
"""

import contextlib
import inspect
import os
import sys
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from ..ground import sparse
from ..ground.failures import RecordingError, UsersImportError
from ..ground.records import ONLY_INPUT
from . import graph_losses, named_tensors
from .operations import leading_to
from .originals import Asked, Original, Stated
from .sparse_placeholders import Noted, of_input
from .wrapping import wrapped

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)

_PLACEHOLDERS = ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault")
_FORM = 'it must return nothing, {"feeds": {...}, "fetches": {...}}, or a pair (feeds, fetches)'


class ScriptStopped(BaseException):
    """Ends a script where it begins to train; nothing that means to handle errors should catch it."""


class Script(Original):
    """A script, or a function of it that takes no inputs, whose graph is fed and fetched by names.

    Args:
        function: What builds the graph: the script itself, or its function.
        folder: Whose code may be led into Lockstep's graph.
        whole: Whether the function runs a script as it stands.
        feeds: Input name -> name of a placeholder.
        fetches: Output path -> name of a tensor.
        training_feeds: Placeholder's name -> value in training mode.
        inference_feeds: The same for inference.
        arguments: What `sys.argv` holds behind the script's name.
        loss: Name of the training loss; empty without one.
        train_op: Name of the training step; empty without one.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - all that a configuration says of a script
        self,
        function: Callable[..., Any],
        folder: str,
        whole: bool,
        feeds: Mapping[str, str],
        fetches: Mapping[str, str],
        training_feeds: Mapping[str, Any],
        inference_feeds: Mapping[str, Any],
        arguments: Sequence[str] = (),
        loss: str = "",
        train_op: str = "",
    ) -> None:
        super().__init__(function)
        self._folder, self._whole, self._arguments = folder, whole, list(arguments)
        self._feeds, self._fetches = dict(feeds), dict(fetches)
        self._constants = {True: training_feeds, False: inference_feeds}
        self._loss, self._train_op = loss, train_op

    def placeholders(self, inputs: Any) -> Tuple[Dict[str, Any], Any]:
        """None: it makes its own."""
        del inputs
        return {}, None

    def build(self, asked: Asked) -> Stated:
        """Runs it, and finds what is fed and fetched."""
        inputs, training = asked.inputs, asked.training
        constants = {_tensor_name(name): value for name, value in self._constants[training].items()}
        place = "training_feeds" if training else "inference_feeds"
        noted = Noted()
        with _fixed(constants, place), contained(self._folder, self._arguments) as told, noted.noting():
            returned = self._run(training)
        graph = v1.get_default_graph()
        graph._unsafe_unfinalize()  # a MonitoredSession has finalized it; gradients are to be added
        feeds, fetches = _returned(returned)
        feeds.update(self._feeds)
        fetches.update(self._fetches)
        arrays = inputs if isinstance(inputs, Mapping) else {ONLY_INPUT: inputs}
        with _where_stopped(told):
            fed = _each(feeds, arrays, noted)
            placeholders = {name: _placeholder(name, fed[name], arrays) for name in fed}
            outputs = {path: _fetch(path, fetches[path]) for path in fetches}
            loss = named_tensors.tensor(self._loss, "loss") if self._loss else None
            train_op = named_tensors.operation(self._train_op, "train_op") if self._train_op else None
        if not outputs:
            raise RecordingError(
                'nothing is fetched of the script; name tensors, as in fetches = {logits = "logits:0"}.'
            )
        given = sparse.composed(placeholders, tf.SparseTensor)
        return Stated(outputs, given, placeholders, (), loss, train_op, tuple(told))

    def completed(self, stated: Stated, asked: Asked) -> Stated:
        """Refuses a placeholder that a run needs and nobody feeds."""
        targets = list(stated.outputs.values()) + ([] if stated.loss is None else [stated.loss])
        targets += graph_losses.collected(v1.get_default_graph()) if stated.loss is None else []
        if asked.training and stated.train_op is not None:
            targets.append(stated.train_op)
        fed = {tensor.op.name for tensor in stated.inputs.values()}
        for op in leading_to(targets):
            if op.type in _PLACEHOLDERS[:2] and op.name not in fed:
                raise RecordingError(
                    "nobody feeds the placeholder %s in %s mode; name it in feeds, or give it a value in %s."
                    % (named_tensors.described(op.outputs[0]), *_OF_MODE[asked.training])
                )
        return stated

    def _run(self, training: bool) -> Any:
        function = self.function
        try:
            if self._whole:
                function()
                return None
            if "training" not in inspect.signature(function).parameters:
                return function()
            return function(training=training)
        except ScriptStopped:
            return None
        except UsersImportError as failure:
            cause = failure.__cause__
            if isinstance(cause, ScriptStopped):
                return None
            if isinstance(cause, SystemExit):
                raise _ended(cause) from failure
            if isinstance(cause, OSError):
                raise _not_opened(cause, self._folder) from failure
            raise cause if cause is not None else failure
        except OSError as error:
            raise _not_opened(error, self._folder) from error
        except SystemExit as ending:
            raise _ended(ending) from ending


def _not_opened(error: OSError, folder: str) -> Exception:
    """Returns the error of a script, or what to do where it opens a file relative to the folder that it is run from."""
    name = error.filename
    if not isinstance(error, FileNotFoundError) or not isinstance(name, str) or os.path.isabs(name):
        return error
    if not os.path.exists(os.path.join(folder, name)):
        return error
    return RecordingError(
        "the script opens %s, which lies in its own folder, and is run in another one, where what it writes is in "
        "nobody's way; begin it with os.chdir(os.path.dirname(os.path.abspath(__file__)))." % name
    )


_OF_MODE = {True: ("training", "training_feeds"), False: ("inference", "inference_feeds")}


def _ended(ending: SystemExit) -> RecordingError:
    return RecordingError(
        "the script ends the program by sys.exit(%s) while its graph is built; put what follows the graph below "
        'if __name__ == "__main__":.' % ("" if ending.code is None else repr(ending.code))
    )


@contextlib.contextmanager
def contained(folder: str, arguments: Sequence[str]) -> Iterator[List[str]]:
    """Lets a script build its graph in the default one, and run nothing; yields what is to be told of that.

    An initializer (an operation that is run without feeds, for the first time) is passed over. The first
    `Session.run` that wants a value, feeds something, or runs an operation again ends the script there: the graph is
    what it has become by then. Code of the script's folder that enters a graph of its own, or resets the default one,
    stays in this one. `tf.app.run` and `absl.app.run` call `main`, and return.
    """
    told: List[str] = []
    graph, owner = v1.get_default_graph(), _Sessions(told)
    with contextlib.ExitStack() as stack:
        session = next(c for c in v1.Session.__mro__ if "make_callable" in vars(c))
        stack.enter_context(wrapped(session, "run", owner.running))
        stack.enter_context(wrapped(session, "make_callable", lambda _: owner.stopping))
        stack.enter_context(wrapped(session, "partial_run_setup", lambda _: owner.stopping))
        stack.enter_context(wrapped(v1.Graph, "as_default", lambda original: _entering(original, graph, folder)))
        for module in _modules_with("app"):
            stack.enter_context(_replaced(module.app, "run", _run_main))
        if "absl.app" in sys.modules:
            stack.enter_context(_replaced(sys.modules["absl.app"], "run", _run_main))
        for module in _modules_with("reset_default_graph"):
            stack.enter_context(_replaced(module, "reset_default_graph", lambda: None))
        behind, sys.argv[1:] = sys.argv[1:], list(arguments)
        stack.callback(lambda: sys.argv.__setitem__(slice(1, None), behind))
        yield told


class _Sessions:
    """What becomes of the runs of a script's sessions."""

    def __init__(self, told: List[str]) -> None:
        self._told = told
        self._passed: List[str] = []

    def running(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Passes over initializers, and ends the script at anything else."""
        del original

        def run(session: Any, fetches: Any, feed_dict: Any = None, **others: Any) -> Any:
            del session, others
            several = isinstance(fetches, (list, tuple))
            wanted = list(fetches) if several else [fetches]
            only_operations = all(isinstance(one, tf.Operation) for one in wanted)
            if not only_operations or feed_dict or any(one.name in self._passed for one in wanted):
                self.stopping()
            self._passed.extend(one.name for one in wanted)
            return [None] * len(wanted) if several else None

        return run

    def stopping(self, *arguments: Any, **options: Any) -> Any:
        """Ends the script."""
        del arguments, options
        if not self._told:
            self._told.append(
                "the script was ended%s, at its first Session.run besides initializers, which is not carried out"
                % _users_line()
            )
        raise ScriptStopped


def _users_line() -> str:
    """Returns the line of the script that is running, from the innermost frame that is no library's."""
    frame: Optional[Any] = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if "site-packages" not in path and "dist-packages" not in path and path.endswith(".py") and not _ours(frame):
            return " at line %d of %s" % (frame.f_lineno, path.replace("\\", "/").rpartition("/")[2])
        frame = frame.f_back
    return ""


def _ours(frame: Any) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(__name__.partition(".")[0] + ".")


def _entering(original: Callable[..., Any], graph: Any, folder: str) -> Callable[..., Any]:
    inside = os.path.join(os.path.abspath(folder), "")

    def as_default(self: Any) -> Any:
        frame = sys._getframe(1)
        caller = os.path.abspath(frame.f_code.co_filename)
        users = caller.startswith(inside) and "site-packages" not in caller and not _ours(frame)
        return original(graph if users else self)

    return as_default


def _run_main(main: Any = None, argv: Any = None, **others: Any) -> None:
    """Calls `main` as `tf.app.run` does, and does not end the program."""
    del others
    flags = sys.modules.get("absl.flags")
    given = list(sys.argv if argv is None else argv)
    left = given if flags is None else flags.FLAGS(given, known_only=True)
    main = sys.modules["__main__"].main if main is None else main
    main(left)


def _modules_with(name: str) -> List[Any]:
    """Returns TensorFlow's public modules that have a name: `tensorflow`, and each form of `tensorflow.compat.v1`."""
    places = [tf, v1] + [sys.modules.get(n) for n in ("tensorflow.compat.v1", "tensorflow._api.v2.compat.v1")]
    found = {id(place): place for place in places if place is not None and getattr(place, name, None) is not None}
    return list(found.values())


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextlib.contextmanager
def _fixed(constants: Mapping[str, Any], place: str) -> Iterator[None]:
    """Makes constants of the placeholders that have a value, under the same names.

    Raises:
        RecordingError: There is no such placeholder, or the value does not fit it.
    """
    # Whatever makes a placeholder calls these, in every TensorFlow from 1.12 to 2.21.
    from tensorflow.python.ops import gen_array_ops

    seen: List[str] = []

    def fixed(original: Callable[..., Any], default: str) -> Callable[..., Any]:
        def make(*arguments: Any, **options: Any) -> Any:
            name = v1.get_default_graph().unique_name(options.get("name") or default, mark_as_used=False) + ":0"
            seen.append(name)
            if name not in constants:
                return original(*arguments, **options)
            with tf.Graph().as_default():
                dtype, shape = _form(original(*arguments, **options))
            return _constant(constants[name], dtype, shape, options.get("name") or default, name, place)

        return make

    with _replaced(gen_array_ops, "placeholder", fixed(gen_array_ops.placeholder, "Placeholder")):
        before = gen_array_ops.placeholder_with_default

        def with_default(input: Any, shape: Any, name: Any = None) -> Any:  # noqa: A002 - TensorFlow's name
            called = v1.get_default_graph().unique_name(name or "PlaceholderWithDefault", mark_as_used=False) + ":0"
            seen.append(called)
            if called not in constants:
                return before(input, shape, name)
            value = tf.convert_to_tensor(input)
            called_so = name or "PlaceholderWithDefault"
            return _constant(constants[called], value.dtype, tf.TensorShape(shape), called_so, called, place)

        with _replaced(gen_array_ops, "placeholder_with_default", with_default):
            yield
    missing = [name for name in constants if name not in seen]
    if missing:
        raise RecordingError(
            "%s names %s, which is no placeholder of the script%s"
            % (place, missing[0], named_tensors.near(missing[0], seen))
        )


def _form(placeholder: Any) -> Tuple[Any, Any]:
    return placeholder.dtype, placeholder.shape


def _constant(value: Any, dtype: Any, shape: Any, name: str, called: str, place: str) -> Any:
    array = np.asarray(value, dtype.as_numpy_dtype)
    if not shape.is_compatible_with(array.shape):
        raise RecordingError(
            "%s gives %s a value of shape %s, and the placeholder has %s." % (place, called, array.shape, shape)
        )
    return tf.constant(array, dtype, name=name)


def _tensor_name(name: str) -> str:
    return name if ":" in name else name + ":0"


def _returned(value: Any) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Returns what the user's function says is fed and fetched.

    Raises:
        RecordingError: It returned something else.
    """
    if value is None:
        return {}, {}
    feeds, fetches = value if isinstance(value, tuple) and len(value) == 2 else (None, None)
    if isinstance(value, Mapping) and set(value) == {"feeds", "fetches"}:
        feeds, fetches = value["feeds"], value["fetches"]
    if not isinstance(feeds, Mapping) or not isinstance(fetches, Mapping):
        raise RecordingError("the script's function returned a %s; %s." % (type(value).__name__, _FORM))
    return dict(feeds), dict(fetches)


@contextlib.contextmanager
def _where_stopped(told: Sequence[str]) -> Iterator[None]:
    """Adds to an error that the script did not come to its end."""
    try:
        yield
    except RecordingError as error:
        raise RecordingError("%s%s" % (error, "".join(" (%s.)" % note for note in told))) from error


def _each(feeds: Mapping[str, Any], arrays: Mapping[str, np.ndarray], noted: Noted) -> Dict[str, Any]:
    """Returns what each array feeds: a sparse input feeds the placeholders of one sparse placeholder.

    Raises:
        RecordingError: A sparse input and a dense placeholder are named together, or the other way round.
    """
    fed = {}  # type: Dict[str, Any]
    for name, placeholder in feeds.items():
        if name in sparse.wholes(arrays):
            fed.update(of_input(name, placeholder, noted))
        elif isinstance(placeholder, tf.SparseTensor):
            raise RecordingError(
                "feeds: %s is a sparse placeholder, and the input %s is a dense array; give the input a .npz file of "
                "scipy.sparse.save_npz, or a density." % (name, name)
            )
        else:
            fed[name] = placeholder
    return fed


def _placeholder(name: str, fed: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Returns the placeholder that an input feeds.

    Raises:
        RecordingError: There is no such input, no such placeholder, or they do not fit.
    """
    place = "feeds: %s" % name
    if name not in arrays:
        raise RecordingError("feeds names an input %s; the inputs are %s." % (name, ", ".join(arrays)))
    names = [op.name + ":0" for op in v1.get_default_graph().get_operations() if op.type in _PLACEHOLDERS]
    if isinstance(fed, str):
        if _tensor_name(fed) not in names:
            raise RecordingError(
                "%s names %s, which is no placeholder of the script%s Its placeholders are %s."
                % (place, fed, named_tensors.near(_tensor_name(fed), names), ", ".join(names) or "none")
            )
        fed = named_tensors.tensor(fed, place)
    if getattr(fed, "name", None) not in names:
        raise RecordingError("%s is %s, which is no placeholder of the script." % (place, fed))
    array = arrays[name]
    dtype = tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)
    if fed.dtype.base_dtype != dtype or not fed.shape.is_compatible_with(array.shape):
        raise RecordingError(
            "the input %s is %s of shape %s, and the placeholder that it feeds is %s."
            % (name, dtype.name, tuple(array.shape), named_tensors.described(fed))
        )
    return fed


def _fetch(path: str, fetched: Any) -> Any:
    place = "fetches: %s" % path
    if isinstance(fetched, str):
        return named_tensors.tensor(fetched, place)
    if isinstance(fetched, (tf.Operation, tuple, list)):
        raise RecordingError("%s is a %s, and no tensor." % (place, type(fetched).__name__))
    return tf.convert_to_tensor(fetched)
