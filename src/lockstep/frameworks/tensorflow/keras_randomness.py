"""Keras 3's own random functions, drawn as TF1 draws: by stateful operations that ask TensorFlow for their seeds.

Keras 3 draws by stateless operations from seeds of its own, which no patch of TensorFlow's seeds reaches. While a
scope of `DeterministicRandomTestTool` is open, its functions are replaced by the operations that TF1's functions
of the same meaning are made of. The seeds that Keras's callers hand over are not looked at, as those of TF1's
callers are not, and a `SeedGenerator` stays as it is: after the scope a model draws what it would have drawn
without it. Why this way: docs/design/randomness.md.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from lockstep.tf1 import private


@contextlib.contextmanager
def replaced(module: Any, reaches: Callable[[], bool]) -> Iterator[None]:
    """Replaces the random functions of Keras's TensorFlow backend, and puts them back on leaving.

    Variables that Keras makes while a `tf.function` is traced are made outside of it meanwhile, as variables of the
    shim are: TensorFlow would otherwise trace the function a second time, and its draws would take seeds twice.

    Args:
        module: The backend's module of random functions.
        reaches: Asked at every call; where it answers no, Keras's own function is called.
    """
    # A Keras without one of them (3.0 has no `binomial`) has no layer that draws by it either.
    originals = {name: getattr(module, name) for name in _ALIGNED if hasattr(module, name)}
    try:
        for name, original in originals.items():
            setattr(module, name, _switch(original, _ALIGNED[name], reaches))
        with _made_outside_functions(private.keras_variable_class(), reaches):
            yield
    finally:
        for name, original in originals.items():
            setattr(module, name, original)


def _switch(original: Callable[..., Any], aligned: Callable[..., Any], reaches: Callable[[], bool]) -> Any:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def draw(*args: Any, **kwargs: Any) -> Any:
        if not reaches():
            return original(*args, **kwargs)
        arguments = signature.bind(*args, **kwargs).arguments
        arguments.pop("seed", None)
        return aligned(**arguments)

    return draw


@contextlib.contextmanager
def _made_outside_functions(variable_class: Any, reaches: Callable[[], bool]) -> Iterator[None]:
    inherited = "__init__" not in vars(variable_class)
    original = variable_class.__init__

    @functools.wraps(original)
    def make(self: Any, *args: Any, **kwargs: Any) -> None:
        initializer = args[0] if args else kwargs.get("initializer")
        # A function of the user's may rest on tensors of the traced function, which do not exist outside of it.
        known = isinstance(initializer, (str, keras.initializers.Initializer))
        if not known or tf.executing_eagerly() or not reaches():
            original(self, *args, **kwargs)
            return
        with tf.init_scope(), tf.variable_creator_scope(_not_lifted):
            original(self, *args, **kwargs)

    variable_class.__init__ = make
    try:
        yield
    finally:
        if inherited:
            del variable_class.__init__
        else:
            variable_class.__init__ = original


def _not_lifted(next_creator: Callable[..., Any], **kwargs: Any) -> Any:
    return next_creator(**{**kwargs, "experimental_enable_variable_lifting": False})


def _floating(dtype: Any) -> Any:
    return tf.as_dtype(keras.backend.standardize_dtype(dtype or keras.config.floatx()))


def _normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None) -> Any:
    return tf.random.normal(shape, mean, stddev, _floating(dtype))


def _truncated_normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None) -> Any:
    return tf.random.truncated_normal(shape, mean, stddev, _floating(dtype))


def _uniform(shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None) -> Any:
    dtype = _floating(dtype)
    return tf.random.uniform(shape, tf.cast(minval, dtype), tf.cast(maxval, dtype), dtype)


def _randint(shape: Any, minval: Any, maxval: Any, dtype: Any = "int32") -> Any:
    wanted = tf.as_dtype(keras.backend.standardize_dtype(dtype))
    drawn = wanted if wanted in (tf.int32, tf.int64) else tf.int64
    return tf.cast(tf.random.uniform(shape, tf.cast(minval, drawn), tf.cast(maxval, drawn), drawn), wanted)


def _categorical(logits: Any, num_samples: Any, dtype: Any = "int64") -> Any:
    return tf.cast(tf.random.categorical(logits, num_samples), dtype)


def _dropout(inputs: Any, rate: Any, noise_shape: Any = None) -> Any:
    if rate == 0:
        # TF1 draws nothing here; today's `tf.nn.dropout` would take a seed.
        return inputs
    if rate == 1:
        return tf.zeros_like(inputs)
    return tf.nn.dropout(inputs, rate, _concrete(noise_shape, inputs))


def _concrete(noise_shape: Sequence[Any] | None, inputs: Any) -> Any:
    """Keras allows None for "as the input", and mixes numbers with scalar tensors."""
    if noise_shape is None or all(isinstance(size, int) for size in noise_shape):
        return noise_shape
    sizes = tf.shape(inputs)
    return tf.stack([sizes[axis] if size is None else size for axis, size in enumerate(noise_shape)])


def _shuffle(x: Any, axis: int = 0) -> Any:
    x = tf.convert_to_tensor(x)
    order = list(range(x.shape.rank))
    order[0], order[axis] = order[axis], order[0]
    if order[0] == 0:
        return tf.random.shuffle(x)
    return tf.transpose(tf.random.shuffle(tf.transpose(x, order)), order)


def _gamma(shape: Any, alpha: Any, dtype: Any = None) -> Any:
    wanted = _floating(dtype)
    drawn = tf.float32 if wanted is tf.bfloat16 else wanted
    return tf.cast(tf.random.gamma(*_samples_of_each(shape, tf.cast(alpha, drawn)), dtype=drawn), wanted)


def _samples_of_each(shape: Any, alpha: tf.Tensor) -> tuple[Any, tf.Tensor]:
    """TensorFlow draws a shape of samples for each alpha, where Keras means the shape of the whole."""
    rank = alpha.shape.rank
    if rank == 0:
        return shape, alpha
    sizes = tf.get_static_value(tf.convert_to_tensor(shape, tf.int32))
    if sizes is not None and alpha.shape.as_list() == sizes[-rank:].tolist():
        return sizes[:-rank], alpha
    return [], tf.broadcast_to(alpha, shape)


def _beta(shape: Any, alpha: Any, beta: Any, dtype: Any = None) -> Any:
    """Two draws, as TF1's `distributions.Beta` makes them: X / (X + Y) of two gamma samples."""
    x, y = _gamma(shape, alpha, dtype), _gamma(shape, beta, dtype)
    return x / (x + y)


def _binomial(shape: Any, counts: Any, probabilities: Any, dtype: Any = None) -> Any:
    """TF1 has no binomial operation with seeds, so its stateless one gets them from a draw that has."""
    wanted = _floating(dtype)
    drawn = tf.float32 if wanted is tf.bfloat16 else wanted
    seeds = tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32)
    return tf.cast(tf.random.stateless_binomial(shape, seeds, counts, probabilities, drawn), wanted)


_ALIGNED: dict[str, Callable[..., Any]] = {
    "normal": _normal,
    "uniform": _uniform,
    "truncated_normal": _truncated_normal,
    "randint": _randint,
    "categorical": _categorical,
    "dropout": _dropout,
    "shuffle": _shuffle,
    "gamma": _gamma,
    "beta": _beta,
    "binomial": _binomial,
}
