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
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from types import CodeType
from typing import Any

import tensorflow as tf

from lockstep.tf1 import private
from lockstep.tf1.collected_loss import CollectedLoss
from lockstep.tf1.hand_losses import HandLosses
from lockstep.tf1.scope_counts import counted_anew

_v1 = tf.compat.v1
_STORE_KEY = ("__variable_store",)
_SCOPES_KEY = ("__varscope",)
_LOSS_COLLECTION = (_v1.GraphKeys.REGULARIZATION_LOSSES,)


class _Active(threading.local):
    def __init__(self) -> None:
        self.stores: list[VariableStore] = []
        # What this thread's outermost scope has put into collections: (id of the collection's list, id of the variable)
        # -> that list, which so outlives its graph and keeps its id.
        self.collected: dict[tuple[int, int], list[Any]] = {}


_active = _Active()


def active_store() -> VariableStore | None:
    """Returns the innermost store whose scope this thread is in, if any."""
    return _active.stores[-1] if _active.stores else None


def active_stores() -> tuple[VariableStore, ...]:
    """Returns all stores whose scopes this thread is in, the outermost first."""
    return tuple(_active.stores)


class VariableStore:
    """Holds the variables that TF1-style code makes through `get_variable`, by their full names.

    Inside `scope()`, `tf.compat.v1.get_variable` (and all that rests on it: `tf.compat.v1.layers`,
    tf_slim) makes each variable once and finds it again afterwards, as if every scope had
    `reuse=tf.compat.v1.AUTO_REUSE`; automatic scope names start anew at every entry.

    Attributes:
        regularizers: full variable name -> function of no argument that computes the variable's
            regularization loss from its present value (scalar tensor).
        layers: full name -> Keras layer made by `get_or_create_layer`.
        hand_losses: the losses that the last calls of the owner collected by themselves.

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
        self.owner: Any = None  # set by `lockstep.tf1.owners`
        self._variables: dict[str, tf.Variable] = {}
        self.regularizers: dict[str, Callable[[], tf.Tensor]] = {}
        self.layers: dict[str, Any] = {}
        self.hand_losses = HandLosses()
        self._on_create = on_create
        self._collections: dict[str, tuple[str, ...]] = {}
        self._collected_losses: dict[str, CollectedLoss] = {}
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
        current = scopes.current_scope
        outermost = not _active.stores
        _active.stores.append(self)
        try:
            # What the code of an inner store collects (losses, say) the code around it may go on to ask for.
            with (
                counted_anew(scopes),
                _eager_name_scope_kept(),
                _collections_kept() if outermost else contextlib.nullcontext(),
            ):
                if outermost and not tf.executing_eagerly():
                    # A template made in a trace takes a trainable variable that joins its collection for a new one.
                    self._collect_known()
                yield self
        finally:
            _active.stores.pop()
            # A scope that TensorFlow refuses while entering it (one with a caching device, eagerly) stays current.
            scopes.current_scope = current
            if outermost:
                _active.collected.clear()

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
        if not callable(custom_getter):
            raise ValueError(  # noqa: TRY004 - as TensorFlow does
                f"Variable {name}: the custom_getter of it or of its scope is not callable: {custom_getter!r}"
            )
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
        if initializer is not None and (shape is None or not callable(initializer)):
            # TF1 takes such a variable's dtype from its initial value, whatever the scope's default.
            dtype = _dtype_of_value(name, shape, initializer)
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
                    variable = self._create(
                        name, shape, dtype, initializer, trainable, constraint, synchronization, aggregation
                    )
                    self._adopt(name, variable, regularizer)
                    # Last, because other threads look for it without the lock, and must not meet one without owner.
                    self._variables[name] = variable
        else:
            _check_same(name, variable, shape, dtype)
        keys = self._collections.get(name)
        if keys is None:
            keys = self._collections[name] = _collections_of(variable, collections)
        _collect(variable, keys)
        loss = self._collected_losses.get(name)
        if loss is not None:
            _collect(loss, _LOSS_COLLECTION)
        return variable

    def _collect_known(self) -> None:
        for name, variable in self._variables.items():
            _collect(variable, self._collections.get(name, ()))

    def collect(self, variables: Iterable[tf.Variable]) -> None:
        """Puts variables that the owner made without the store where TF1 code looks for them, as TF1 itself did."""
        own = {id(variable) for variable in self._variables.values()}
        for variable in variables:
            if id(variable) not in own:
                _collect(variable, _collections_of(variable, None))

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
        trainable: bool | None,
        constraint: Any,
        synchronization: Any,
        aggregation: Any,
    ) -> tf.Variable:
        synchronization = synchronization or tf.VariableSynchronization.AUTO
        if trainable is None:
            trainable = synchronization != tf.VariableSynchronization.ON_READ
        with tf.init_scope():
            initial_value, dtype = _initial_value(name, shape, dtype, initializer)
            return private.make_variable(  # type: ignore[no-any-return]
                name,
                initial_value,
                trainable=trainable,
                dtype=dtype,
                constraint=constraint,
                synchronization=synchronization,
                aggregation=aggregation or tf.VariableAggregation.NONE,
                # It is outside of any traced function already; lifting it once more would have the function traced
                # twice, and its random operations ask for seeds twice.
                experimental_enable_variable_lifting=False,
            )

    def _adopt(self, name: str, variable: tf.Variable, regularizer: Any) -> None:
        loss = functools.partial(_regularization_loss, regularizer, variable, name) if regularizer else None
        # As TF1 does: a regularizer that answers None (a scale of zero, say) leaves no loss behind.
        if loss is not None and loss() is None:
            loss = None
        if loss is not None:
            self.regularizers[name] = loss
            self._collected_losses[name] = CollectedLoss(f"{name}/Regularizer:0", loss)
        if self._on_create is not None:
            self._on_create(variable, loss)


class _Dispatcher:
    """Lies in a graph's `("__variable_store",)` collection and passes requests on."""

    def __init__(self, original: Any) -> None:
        self.original = original

    # What `tf.compat.v1.make_template` asks in eager execution: whether a store keeps its variables, so that it need
    # not make one of its own, and which they are.
    @property
    def _store_eager_variables(self) -> bool:
        return active_store() is not None or self.original._store_eager_variables

    @_store_eager_variables.setter
    def _store_eager_variables(self, value: bool) -> None:
        if active_store() is None:
            self.original._store_eager_variables = value

    @property
    def _vars(self) -> dict[str, tf.Variable]:
        store = active_store()
        return self.original._vars if store is None else store._variables

    def get_variable(self, *args: Any, **kwargs: Any) -> tf.Variable:
        store = active_store()
        return (self.original if store is None else store).get_variable(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # What else TensorFlow asks of its own store.
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


def _eager_name_scope_kept() -> AbstractContextManager[Any]:
    """Leaves eager names as they were, also if TensorFlow fails half-way into a variable scope and forgets to."""
    if not tf.executing_eagerly():
        return contextlib.nullcontext()
    current = tf.get_current_name_scope()
    return tf.name_scope(f"{current}/" if current else "")  # type: ignore[no-any-return] # the scope it is in already


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


def _collections_of(variable: tf.Variable, collections: Any) -> tuple[str, ...]:
    keys = list(collections) if collections is not None else [_v1.GraphKeys.GLOBAL_VARIABLES]
    if variable.trainable and _v1.GraphKeys.TRAINABLE_VARIABLES not in keys:
        keys.append(_v1.GraphKeys.TRAINABLE_VARIABLES)
    return tuple(keys)


def _collect(variable: tf.Variable | CollectedLoss, keys: tuple[str, ...]) -> None:
    for key in keys:
        members = _v1.get_collection_ref(key)
        # A search of the list would make a call quadratic in the number of variables.
        entry = id(members), id(variable)
        if entry not in _active.collected:
            _active.collected[entry] = members
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
        return _constant(name, initializer), None
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


def _constant(name: str, value: Any) -> Any:
    """Takes a tensor out of the function that is being traced: the variable is made outside of it."""
    if not tf.is_symbolic_tensor(value) or not _v1.executing_eagerly_outside_functions():
        return value
    try:
        return private.value_of_symbolic(value)
    except ValueError as error:
        raise ValueError(
            f"The initial value of variable {name} depends on an input of the tf.function, or of the symbolic Keras "
            "call, that is being traced, and has no value yet. Call the layer eagerly first."
        ) from error


def _dtype_of_value(name: str, shape: Any, initializer: Any) -> tf.DType | None:
    if callable(initializer):
        return None  # known when it has been called
    if shape is not None:
        raise ValueError(f"Variable {name}: if initializer is a constant, do not specify shape ({shape}).")
    known = getattr(initializer, "dtype", None)
    return tf.as_dtype(tf.convert_to_tensor(initializer).dtype if known is None else known).base_dtype


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
    # An initializer is often an object, whose class says how it is called.
    callee = function if hasattr(function, "__code__") else getattr(type(function), "__call__", None)  # noqa: B004
    code = getattr(callee, "__code__", None)
    if code is None or any(hasattr(f, a) for f in (function, callee) for a in ("__wrapped__", "__signature__")):
        # A wrapper has the signature of what it wraps, and shares its code with other wrappers.
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
