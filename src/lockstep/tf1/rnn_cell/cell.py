"""The bases of all cells: `RNNCell`, for users' own cells, and `LayerRNNCell`, which makes its variables in `build`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1.layers.layer import InputSpec, Layer
from lockstep.tf1.layers.scoping import name_scope
from lockstep.tf1.rnn_cell import states
from lockstep.tf1.store import active_store

_v1 = tf.compat.v1


class RNNCell(Layer):
    """One step of a recurrent network; a subclass gives `call`, `state_size` and `output_size`.

    `call(inputs, state)` returns `(output, next_state)`. It may make its variables by
    `tf.compat.v1.get_variable`, in its own scope, which bears the class's name; they become the cell's weights.

    Args:
        trainable: whether the cell's variables are trainable.
        name: the cell's name, and its scope's; None makes one of the class name.
        dtype: dtype of the weights; None takes that of the first input.
        **kwargs: further arguments of `lockstep.tf1.layers.Layer`.

    Example:
        >>> class Sum(RNNCell):
        ...     state_size = output_size = 2
        ...     def call(self, inputs, state):
        ...         return inputs + state, inputs + state
        >>> cell = Sum()
        >>> outputs, state = tf.compat.v1.nn.dynamic_rnn(cell, tf.ones((1, 3, 2)), dtype=tf.float32)
        >>> outputs[0, :, 0].numpy().tolist(), state.numpy().tolist()
        ([1.0, 2.0, 3.0], [[3.0, 3.0]])
    """

    _first_entry: tuple[Any, Any] | None = None

    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:
        """Runs one step.

        Args:
            inputs: (batch, input size), or a structure of such tensors.
            state: tensors in the structure of `state_size`: (batch, size).
            scope: a variable scope, or the name of one, in place of the class's name.

        Returns:
            The output, (batch, output size), and the next state, in the structure of `state`.
        """
        if scope is not None:
            with _v1.variable_scope(scope, custom_getter=self._note_variable) as entered:
                return super().__call__(inputs, state, scope=entered)
        if self._scope is not None and tf.executing_eagerly():
            return super().__call__(inputs, state)  # the cell's scope has the custom getter since the first call
        with self._noting_scope():
            return super().__call__(inputs, state)

    def _noting_scope(self) -> Any:
        graph = None if tf.executing_eagerly() else _v1.get_default_graph()
        # The graph of a function, or of a loop's body, is never come back to.
        if graph is None or getattr(graph, "building_function", False):
            return _v1.variable_scope(_v1.get_variable_scope(), custom_getter=self._note_variable)
        # TF 1.15 enters, at every call, the scope of the first one; names of operations depend on it.
        if self._first_entry is None or self._first_entry[0] is not graph:
            scope = _v1.variable_scope(_v1.get_variable_scope(), custom_getter=self._note_variable)
            self._first_entry = graph, scope
        return self._first_entry[1]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        first_entry, self._first_entry = self._first_entry, None  # a copy of it would copy the graph
        try:
            return super().__deepcopy__(memo)
        finally:
            self._first_entry = first_entry

    @contextlib.contextmanager
    def _entered(self, reuse: Any) -> Iterator[Any]:
        with super()._entered(reuse) as scope:
            if not _v1.executing_eagerly_outside_functions():
                outer = scope.custom_getter
                scope.set_custom_getter(_with_reachable_loss if outer is None else _chained(outer))
            yield scope

    def _note_variable(self, getter: Any, *args: Any, **kwargs: Any) -> Any:
        """Gets a variable and adds it to the weights: a custom getter."""
        variable = getter(*args, **kwargs)
        trainable = _is_trainable(variable)
        weights = self._trainable_weights if trainable else self._non_trainable_weights
        if all(variable is not other for other in weights):
            self._refuse_second(variable, weights)
            weights.append(variable)
        return variable

    def _refuse_second(self, variable: Any, weights: list[Any]) -> None:
        """Raises if eager code makes the same variable anew, with nobody who keeps it."""
        if not tf.executing_eagerly() or active_store() is not None:
            return
        if any(variable.name == other.name for other in weights):
            raise InputError(
                f"The cell {self.name} makes the variable {variable.name} in its call, a second time: in eager "
                "execution nothing keeps what get_variable makes, so that every step would compute with new values. "
                "Call it in a method decorated with lockstep.tf1.track_tf1_style_variables, or in "
                "lockstep.tf1.VariableStore().scope()."
            )

    @property
    def state_size(self) -> Any:
        """Size of the state: an int, a `tf.TensorShape`, or a nested structure of these; a subclass gives it."""
        raise NotImplementedError(f"{type(self).__name__} must define state_size.")

    @property
    def output_size(self) -> Any:
        """Size of the output: an int or a `tf.TensorShape`; a subclass gives it."""
        raise NotImplementedError(f"{type(self).__name__} must define output_size.")

    def build(self, _: Any) -> None:
        """Makes no variables: `call` may."""

    def get_initial_state(self, inputs: Any = None, batch_size: Any = None, dtype: Any = None) -> Any:
        """Returns a state of zeros for given inputs, or for a given batch size and dtype.

        Args:
            inputs: (batch, ...), or None.
            batch_size: an int or a scalar tensor; not needed with `inputs`.
            dtype: dtype of the state; not needed with `inputs`.

        Returns:
            What `zero_state` returns.

        Raises:
            InputError: the arguments contradict each other, or say too little.
        """
        if inputs is not None:
            inputs = tf.convert_to_tensor(inputs, name="inputs")
            known = inputs.shape[0]
            given = tf.get_static_value(batch_size) if tf.is_tensor(batch_size) else batch_size
            if batch_size is not None and known != given:
                raise InputError(
                    "batch size from input tensor is different from the input param. "
                    f"Input tensor batch: {known}, batch_size: {batch_size}"
                )
            if dtype is not None and inputs.dtype != dtype:
                raise InputError(
                    "dtype from input tensor is different from the input param. "
                    f"Input tensor dtype: {inputs.dtype}, dtype: {dtype}"
                )
            batch_size, dtype = known or tf.shape(inputs)[0], inputs.dtype
        if batch_size is None or dtype is None:
            raise InputError(
                "batch_size and dtype cannot be None while constructing initial state: "
                f"batch_size={batch_size}, dtype={dtype}. Give both, or the inputs."
            )
        return self.zero_state(batch_size, dtype)

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """Returns tensors of zeros, (batch_size, size), in the structure of `state_size`."""
        with name_scope(type(self).__name__ + "ZeroState"):
            return states.zeros(self.state_size, batch_size, dtype)


class LayerRNNCell(RNNCell):
    """A cell that makes its variables in `build`, as a layer does, and knows what inputs and states it takes."""

    _num_units: int
    _input_size: int | None = None

    def __init__(self, reuse: Any, name: Any, dtype: Any, **kwargs: Any) -> None:
        super().__init__(_reuse=reuse, name=name, dtype=dtype, **kwargs)
        check_dtype(self.dtype)
        self.input_spec = InputSpec(ndim=2)

    def _call_as_layer(self, inputs: Any, state: Any, scope: Any = None, *args: Any, **kwargs: Any) -> Any:
        return Layer.__call__(self, inputs, state, *args, scope=scope, **kwargs)

    # AutoGraph leaves the library's own cells alone; users' cells, which derive from RNNCell, it may rewrite.
    __call__ = tf.autograph.experimental.do_not_convert(_call_as_layer)

    @property
    def state_size(self) -> Any:
        """The number of units."""
        return self._num_units

    @property
    def output_size(self) -> Any:
        """The number of units."""
        return self._num_units

    def _depth_of(self, inputs_shape: Any) -> int:
        """Returns the size of the inputs, of which the kernels' shapes depend."""
        depth = tf.TensorShape(inputs_shape)[-1]
        if depth is None:
            raise InputError(f"Expected inputs.shape[-1] to be known, saw shape: {inputs_shape}")
        check_dtype(self.dtype)
        self._input_size = int(depth)
        return self._input_size

    def _check_step(self, inputs: Any, state: Any) -> None:
        """Raises `InputError` if inputs or state are not what the cell was built for."""
        check_dtype(inputs.dtype)
        depth = inputs.shape[-1]
        if self._input_size is not None and depth is not None and depth != self._input_size:
            raise InputError(
                f"The cell {self.name} was built for inputs of size {self._input_size} and is given inputs of shape "
                f"{inputs.shape.as_list()}. Where it is one of a MultiRNNCell, make a cell of its own for every "
                "layer, as in MultiRNNCell([LSTMCell(n) for _ in range(2)]): one cell given twice shares its weights."
            )
        sizes = self.state_size
        if not isinstance(sizes, tuple):
            self._check_state(state, sizes, "state")
        elif not isinstance(state, tuple | list) or len(state) != len(sizes):
            raise InputError(
                f"The cell {self.name} expects a state of {len(sizes)} tensors, {type(sizes).__name__}(c, h), but was "
                f"given {_described(state)}. Its zero_state(batch_size, dtype) makes one; with "
                "state_is_tuple=False it takes a single tensor."
            )
        else:
            for part, size, of in zip(state, sizes, ("c", "h"), strict=True):
                self._check_state(part, size, f"state's {of}")

    def _check_state(self, state: Any, size: int, of: str) -> None:
        dtype = getattr(state, "dtype", None)
        if dtype is None:
            raise InputError(
                f"The cell {self.name} expects as its {of} a tensor of shape (batch, {size}), "
                f"but was given {_described(state)}."
            )
        check_dtype(dtype)
        shape = state.shape
        if shape.rank is not None and (shape.rank != 2 or shape[1] not in (None, size)):
            raise InputError(
                f"The cell {self.name} expects as its {of} a tensor of shape (batch, {size}), but was given one of "
                f"shape {shape.as_list()}. Its zero_state(batch_size, dtype) makes one that fits."
            )


def check_dtype(dtype: Any) -> None:
    """Raises `InputError` unless a cell can compute in `dtype`; None passes."""
    if dtype is None:
        return
    dtype = tf.as_dtype(dtype)
    if not (dtype.is_floating or dtype.is_complex):
        raise InputError(f"RNN cell only supports floating point inputs, but saw dtype: {dtype!r}")


def check_is_cell(argument: str, cell: Any) -> None:
    """Raises `TypeError` unless `cell` can be used as a cell; it need not be one of this package."""
    missing = [name for name in ("output_size", "state_size") if not hasattr(cell, name)]
    problems = [f"{name!r} property is missing" for name in missing]
    if not (hasattr(cell, "zero_state") or hasattr(cell, "get_initial_state")):
        problems.append("either 'zero_state' or 'get_initial_state' method is required")
    if not callable(cell):
        problems.append("is not callable")
    if problems:
        raise TypeError(f"The argument {argument!r} ({cell}) is not an RNNCell: {', '.join(problems)}.")


def _is_trainable(variable: Any) -> bool:
    if _v1.executing_eagerly_outside_functions():
        return bool(getattr(variable, "trainable", True))
    trainable = _v1.trainable_variables()
    parts = [variable] if isinstance(variable, tf.Variable) else list(variable)  # a PartitionedVariable has parts
    return any(parts[0] is other for other in trainable)


def _with_reachable_loss(getter: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Gets a variable of a graph, and computes its regularization loss outside all loops: a custom getter.

    A cell makes its variables in a loop's body. TF 1.15 computes their losses outside of it; TensorFlow 2 does so in
    the body, where nobody can get at them (seen in 2.21; `VariableScope.get_variable` is where to look whether it
    still does).
    """
    regularizer = kwargs.get("regularizer")
    if regularizer is None:
        return getter(name, *args, **kwargs)
    kwargs["regularizer"] = None
    with tf.init_scope():
        known = len(_v1.global_variables())
    variable = getter(name, *args, **kwargs)
    with tf.init_scope():
        made = _v1.global_variables()[known:]
        parts = [variable] if isinstance(variable, tf.Variable) else list(variable)
        for part in parts:
            if any(part is other for other in made):
                with _v1.name_scope(part.op.name + "/Regularizer/"):
                    loss = regularizer(part)
                if loss is not None:
                    _v1.add_to_collection(_v1.GraphKeys.REGULARIZATION_LOSSES, loss)
    return variable


def _chained(outer: Any) -> Any:
    """Returns the custom getter that calls `_with_reachable_loss`, whose getter is `outer`."""

    def getter(getter: Any, *args: Any, **kwargs: Any) -> Any:
        return _with_reachable_loss(functools.partial(outer, getter), *args, **kwargs)

    return getter


def _described(state: Any) -> str:
    if hasattr(state, "shape"):
        return f"one tensor of shape {state.shape}"
    if isinstance(state, tuple | list):
        return f"a {type(state).__name__} of {len(state)}"
    return repr(state)
