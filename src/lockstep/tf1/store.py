"""The variable store: what gives TF1-style code its variables in eager mode and inside `tf.function`.

TF1's `get_variable` asks an object that lies in the graph collection `("__variable_store",)`. Lockstep
puts a dispatcher there, once per graph; it hands each request to the store that is active in the
requesting thread, or, where none is, to the object that was there before.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

import tensorflow as tf

from lockstep.tf1 import private

_v1 = tf.compat.v1
_STORE_KEY = ("__variable_store",)
_SCOPES_KEY = ("__varscope",)


class _Active(threading.local):
    def __init__(self) -> None:
        self.stores: list[VariableStore] = []


_active = _Active()


def active_store() -> VariableStore | None:
    """Returns the innermost store whose scope this thread is in, if any."""
    return _active.stores[-1] if _active.stores else None


class VariableStore:
    """Holds the variables that TF1-style code makes through `get_variable`, by their full names.

    Inside `scope()`, `tf.compat.v1.get_variable` (and all that rests on it: `tf.compat.v1.layers`,
    tf_slim) makes each variable once and finds it again afterwards, as if every scope had
    `reuse=tf.compat.v1.AUTO_REUSE`; automatic scope names start anew at every entry.

    Attributes:
        regularizers: full variable name -> function of no argument that computes the variable's
            regularization loss from its present value (scalar tensor).
        layers: full name -> Keras layer made by `get_or_create_layer`.

    Example:
        >>> store = VariableStore()
        >>> for _ in range(2):
        ...     with store.scope(), tf.compat.v1.variable_scope("a"):
        ...         w = tf.compat.v1.get_variable("w", [2, 3])
        >>> [v.name for v in store.variables]
        ['a/w:0']
    """

    def __init__(
        self,
        on_create: Callable[[tf.Variable, Callable[[], tf.Tensor] | None], None] | None = None,
        on_layer: Callable[[str, Any], None] | None = None,
    ) -> None:
        """Makes an empty store; the two functions are told of every new variable and layer."""
        self.on_layer = on_layer
        self._variables: dict[str, tf.Variable] = {}
        self.regularizers: dict[str, Callable[[], tf.Tensor]] = {}
        self.layers: dict[str, Any] = {}
        self._on_create = on_create
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._variables)

    @property
    def variables(self) -> list[tf.Variable]:
        """All variables, in the order in which they were made."""
        return list(self._variables.values())

    @contextlib.contextmanager
    def scope(self) -> Iterator[VariableStore]:
        """Makes this store the one that `get_variable` asks, in this thread, until the scope is left.

        Entered again by the code inside it, it goes on with the same scope counters. What the code
        adds to graph collections (eager code has no other end for them) is taken out on leaving.
        """
        if active_store() is self:
            yield self
            return
        _install_dispatcher()
        scopes = private.variable_scope_store()
        counts, scopes.variable_scopes_count = scopes.variable_scopes_count, {}
        _active.stores.append(self)
        try:
            with _collections_kept():
                yield self
        finally:
            _active.stores.remove(self)
            scopes.variable_scopes_count = counts

    def get_variable(  # noqa: PLR0913, PLR0917 - TensorFlow's own signature
        self,
        name: str,
        shape: Any = None,
        dtype: Any = tf.float32,
        initializer: Any = None,
        regularizer: Any = None,
        reuse: Any = None,
        trainable: bool | None = None,
        collections: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        validate_shape: bool = True,
        use_resource: bool | None = None,
        custom_getter: Any = None,
        constraint: Any = None,
        synchronization: Any = tf.VariableSynchronization.AUTO,
        aggregation: Any = tf.VariableAggregation.NONE,
    ) -> tf.Variable:
        """Finds or makes the variable `name`; the arguments are those of `tf.compat.v1.get_variable`."""
        wanted = {
            "name": name,
            "shape": shape,
            "dtype": dtype,
            "initializer": initializer,
            "regularizer": regularizer,
            "reuse": reuse,
            "trainable": trainable,
            "collections": collections,
            "caching_device": caching_device,
            "partitioner": partitioner,
            "validate_shape": validate_shape,
            "use_resource": use_resource,
            "synchronization": synchronization,
            "aggregation": aggregation,
        }
        if custom_getter is None:
            return self._find_or_create(constraint=constraint, **wanted)
        if _accepts(custom_getter, "constraint"):
            wanted["constraint"] = constraint
        return custom_getter(getter=self._find_or_create, **wanted)

    def _find_or_create(  # noqa: PLR0913, PLR0917 - what custom getters are handed
        self,
        name: str,
        shape: Any = None,
        dtype: Any = tf.float32,
        initializer: Any = None,
        regularizer: Any = None,
        reuse: Any = None,
        trainable: bool | None = None,
        collections: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        validate_shape: bool = True,
        use_resource: bool | None = None,
        constraint: Any = None,
        synchronization: Any = tf.VariableSynchronization.AUTO,
        aggregation: Any = tf.VariableAggregation.NONE,
    ) -> tf.Variable:
        del caching_device, validate_shape, use_resource  # no meaning outside a TF1 graph
        dtype = tf.as_dtype(dtype).base_dtype if dtype is not None else None
        variable = self._variables.get(name)
        if variable is None:
            with self._lock:
                variable = self._variables.get(name)
                if variable is None:
                    if reuse is True:
                        raise ValueError(
                            f"Variable {name} does not exist, or was not created with tf.get_variable(). "
                            "Did you mean to set reuse=tf.AUTO_REUSE in VarScope?"
                        )
                    if partitioner is not None:
                        _refuse_partitions(name, partitioner, shape, dtype)
                    if trainable is None:
                        trainable = synchronization != tf.VariableSynchronization.ON_READ
                    variable = self._create(
                        name, shape, dtype, initializer, trainable, constraint, synchronization, aggregation
                    )
                    self._variables[name] = variable
                    self._adopt(name, variable, regularizer)
        else:
            _check_same(name, variable, shape, dtype)
        _collect(variable, collections)
        return variable

    def take_in(self, variable: tf.Variable, regularizer: Any = None) -> None:
        """Owns a variable that was not made by `get_variable`, which will not find it: a Keras-style layer's."""
        name = variable.name.removesuffix(":0")
        self._variables[f"{name} (Keras style)"] = variable
        self._adopt(name, variable, regularizer)

    @staticmethod
    def _create(  # noqa: PLR0913, PLR0917
        name: str,
        shape: Any,
        dtype: Any,
        initializer: Any,
        trainable: bool,
        constraint: Any,
        synchronization: Any,
        aggregation: Any,
    ) -> tf.Variable:
        with tf.init_scope():
            initial_value, dtype = _initial_value(name, shape, dtype, initializer)
            return tf.Variable(
                initial_value,
                name=name,
                trainable=trainable,
                dtype=dtype,
                constraint=constraint,
                synchronization=synchronization,
                aggregation=aggregation,
            )

    def _adopt(self, name: str, variable: tf.Variable, regularizer: Any) -> None:
        loss = functools.partial(_regularization_loss, regularizer, variable, name) if regularizer else None
        # As TF1 does: a regularizer that answers None (a scale of zero, say) leaves no loss behind.
        if loss is not None and loss() is None:
            loss = None
        if loss is not None:
            self.regularizers[name] = loss
        if self._on_create is not None:
            self._on_create(variable, loss)


class _Dispatcher:
    """Lies in a graph's `("__variable_store",)` collection and passes requests on."""

    def __init__(self, original: Any) -> None:
        self.original = original

    def get_variable(self, *args: Any, **kwargs: Any) -> tf.Variable:
        store = active_store()
        return (self.original if store is None else store).get_variable(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # What else TensorFlow asks of its own store (`_vars`, `_store_eager_variables`, ...).
        return getattr(self.original, name)


_install_lock = threading.Lock()


def _install_dispatcher() -> None:
    stores = _v1.get_collection_ref(_STORE_KEY)
    if stores and isinstance(stores[0], _Dispatcher):
        return
    with _install_lock:
        if not stores:
            private.default_variable_store()  # puts TensorFlow's own into the collection
        if not isinstance(stores[0], _Dispatcher):
            stores[0] = _Dispatcher(stores[0])


@contextlib.contextmanager
def _collections_kept() -> Iterator[None]:
    graph = _v1.get_default_graph()
    kept = (_STORE_KEY, _SCOPES_KEY)
    before = {key: len(graph.get_collection_ref(key)) for key in graph.get_all_collection_keys() if key not in kept}
    try:
        yield
    finally:
        for key in graph.get_all_collection_keys():
            if key not in kept:
                del graph.get_collection_ref(key)[before.get(key, 0) :]


def _collect(variable: tf.Variable, collections: Any) -> None:
    keys = list(collections) if collections is not None else [_v1.GraphKeys.GLOBAL_VARIABLES]
    if variable.trainable and _v1.GraphKeys.TRAINABLE_VARIABLES not in keys:
        keys.append(_v1.GraphKeys.TRAINABLE_VARIABLES)
    for key in keys:
        members = _v1.get_collection_ref(key)
        # The same variable asked for twice in a row (kernel, then its alias) is the common repetition; a full
        # search would make a call quadratic in the number of variables.
        if not members or members[-1] is not variable:
            members.append(variable)


def _check_same(name: str, variable: tf.Variable, shape: Any, dtype: Any) -> None:
    if shape is not None and not variable.shape.is_compatible_with(shape):
        raise ValueError(
            f"Trying to share variable {name}, but specified shape {tf.TensorShape(shape)} and found shape "
            f"{variable.shape}."
        )
    if dtype is not None and not dtype.is_compatible_with(variable.dtype):
        raise ValueError(
            f"Trying to share variable {name}, but specified dtype {dtype.name} and found dtype {variable.dtype.name}."
        )


def _refuse_partitions(name: str, partitioner: Any, shape: Any, dtype: Any) -> None:
    pieces = partitioner(shape=tf.TensorShape(shape), dtype=dtype) if shape is not None else [1]
    if any(piece != 1 for piece in pieces):
        raise ValueError(
            f"Variable {name} would be split into {pieces} parts by its partitioner, which eager execution cannot do. "
            "Take the partitioner off: one whole variable computes the same."
        )


def _initial_value(name: str, shape: Any, dtype: Any, initializer: Any) -> tuple[Any, Any]:
    if initializer is None:
        initializer = _default_initializer(name, dtype)
    if not callable(initializer):
        if shape is not None and not tf.TensorShape(shape).is_compatible_with(tf.convert_to_tensor(initializer).shape):
            raise ValueError(f"Variable {name}: if initializer is a constant, do not specify shape ({shape}).")
        return initializer, dtype if not tf.is_tensor(initializer) else None
    if inspect.isclass(initializer):
        initializer = initializer()
    if shape is None:
        if _needs_arguments(initializer):
            raise ValueError(f"Shape of a new variable ({name}) must be fully defined, or its initializer a value.")
        return initializer, None
    full_shape = tf.TensorShape(shape)
    if not full_shape.is_fully_defined():
        raise ValueError(f"Shape of a new variable ({name}) must be fully defined, but instead was {full_shape}.")
    extra = {"partition_info": None} if _accepts(initializer, "partition_info") else {}
    return functools.partial(initializer, full_shape.as_list(), dtype=dtype, **extra), dtype


def _default_initializer(name: str, dtype: Any) -> Any:
    if dtype.is_floating:
        return _v1.glorot_uniform_initializer()
    if dtype.is_integer or dtype.is_bool or dtype == tf.string:
        return _v1.zeros_initializer()
    raise ValueError(f"An initializer for variable {name} of {dtype.name} is required")


def _regularization_loss(regularizer: Any, variable: tf.Variable, name: str) -> tf.Tensor:
    with tf.name_scope(name + "/Regularizer/"):
        return regularizer(variable)


def _needs_arguments(function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _accepts(function: Callable[..., Any], argument: str) -> bool:
    """Tells whether `function` names `argument`, or, for a getter's `constraint`, takes any keyword."""
    code = getattr(function, "__code__", None)
    if code is None:
        return _signature_accepts(function, argument)
    # tf_slim makes a new closure at every call of a layer; what it accepts is a matter of its code alone.
    key = code, argument
    if key not in _accepted:
        _accepted[key] = _signature_accepts(function, argument)
    return _accepted[key]


_accepted: dict[tuple[CodeType, str], bool] = {}


def _signature_accepts(function: Callable[..., Any], argument: str) -> bool:
    parameters = inspect.signature(function).parameters
    if argument in parameters:
        return True
    return argument == "constraint" and any(p.kind is p.VAR_KEYWORD for p in parameters.values())
