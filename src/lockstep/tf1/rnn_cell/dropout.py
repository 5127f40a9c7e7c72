"""Dropout around a cell."""
# ruff: noqa: PLR0913, PLR0917 - the signature is TF 1.15's

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1 import private
from lockstep.tf1.rnn_cell.lstm import LSTMStateTuple
from lockstep.tf1.rnn_cell.wrappers import RNNCellWrapper

_v1 = tf.compat.v1


class DropoutWrapper(RNNCellWrapper):
    """Drops out inputs, states and outputs of a cell.

    Each kept value is divided by its keep probability. With `variational_recurrent` the mask is drawn once, when
    the wrapper is made, and is the same at every step and for every example (Gal and Ghahramani 2015,
    arXiv 1512.05287): in a graph once per run, in eager execution once per wrapper.

    Args:
        cell: the cell.
        input_keep_prob: probability with which an input is kept, a number or a scalar tensor; 1 draws nothing.
        output_keep_prob: the same for outputs.
        state_keep_prob: the same for the states that the cell gives.
        variational_recurrent: whether there is one mask for all steps.
        input_size: size of the inputs, or a structure of sizes; needed for variational dropout of inputs.
        dtype: of inputs, states and outputs; needed for variational dropout.
        seed: seeds all masks, each with a salt of its kind and place; None draws as an operation without a seed.
        dropout_state_filter_visitor: function of a state, or a part of it, that tells which of its parts to drop
            out; None drops out all but the `c` of an `LSTMStateTuple`, and no `TensorArray`.
        **kwargs: arguments of a cell.

    Raises:
        InputError: a probability is not between 0 and 1, or variational dropout lacks `dtype` or `input_size`.
        TypeError: the filter is not callable, or `cell` is no cell.
    """

    def __init__(
        self,
        cell: Any,
        input_keep_prob: Any = 1.0,
        output_keep_prob: Any = 1.0,
        state_keep_prob: Any = 1.0,
        variational_recurrent: bool = False,
        input_size: Any = None,
        dtype: Any = None,
        seed: int | None = None,
        dropout_state_filter_visitor: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, dtype=dtype, **kwargs)
        if dropout_state_filter_visitor is not None and not callable(dropout_state_filter_visitor):
            raise TypeError(
                f"dropout_state_filter_visitor must be callable, but this was given: {dropout_state_filter_visitor!r}"
            )
        self._state_filter = dropout_state_filter_visitor or _all_but_memory
        with _v1.name_scope("DropoutWrapperInit"):
            self._input_keep_prob = _probability("input_keep_prob", input_keep_prob)
            self._state_keep_prob = _probability("state_keep_prob", state_keep_prob)
            self._output_keep_prob = _probability("output_keep_prob", output_keep_prob)
        self._variational_recurrent = variational_recurrent
        self._seed = seed
        self._noise: dict[str, Any] = {}
        if variational_recurrent:
            self._draw_noise(input_size, dtype)

    def _draw_noise(self, input_size: Any, dtype: Any) -> None:
        if dtype is None:
            raise InputError("When variational_recurrent=True, dtype must be provided")

        def drawn(kind: str, sizes: Any) -> Any:
            def draw(place: int, size: Any) -> Any:
                # One mask for all examples of the batch.
                shape = [1, *tf.TensorShape(size).as_list()]
                return tf.random.uniform(shape, dtype=dtype, seed=self._gen_seed(kind, place))

            return _enumerated(draw, sizes, sizes)

        if _drops(self._input_keep_prob):
            if input_size is None:
                raise InputError(
                    "When variational_recurrent=True and input_keep_prob < 1.0 or is unknown, input_size must be "
                    "provided"
                )
            self._noise["input"] = drawn("input", input_size)
        self._noise["state"] = drawn("state", self.cell.state_size)
        self._noise["output"] = drawn("output", self.cell.output_size)

    def _gen_seed(self, salt_prefix: str, index: int) -> int | None:
        """Returns the seed of one mask: TF 1.15's salt, so that the masks are TF 1.15's."""
        if self._seed is None:
            return None
        salted = f"{self._seed}{salt_prefix}_{index}".encode()
        return int(hashlib.md5(salted, usedforsecurity=False).hexdigest()[:8], 16) & 0x7FFFFFFF

    def _call_wrapped_cell(self, inputs: Any, state: Any, cell_call_fn: Any, **kwargs: Any) -> Any:
        if _drops(self._input_keep_prob):
            inputs = self._dropped("input", inputs, inputs, self._input_keep_prob)
        output, next_state = cell_call_fn(inputs, state, **kwargs)
        if _drops(self._state_keep_prob):
            chosen = private.nested().get_traverse_shallow_structure(self._state_filter, next_state)
            next_state = self._dropped("state", next_state, chosen, self._state_keep_prob)
        if _drops(self._output_keep_prob):
            output = self._dropped("output", output, output, self._output_keep_prob)
        return output, next_state

    def _dropped(self, kind: str, values: Any, chosen: Any, keep_prob: Any) -> Any:
        """Drops out `values` where `chosen`, a structure no deeper, does not say False."""

        def drop(place: int, choice: Any, value: Any, *noise: Any) -> Any:
            if isinstance(choice, bool) and not choice:
                return value
            if self._variational_recurrent:
                return value / keep_prob * tf.floor(keep_prob + noise[0])
            return tf.nn.dropout(value, rate=1.0 - keep_prob, seed=self._gen_seed(kind, place))

        noise = [self._noise[kind]] if self._variational_recurrent else []
        return _enumerated(drop, chosen, chosen, values, *noise)


def _probability(argument: str, value: Any) -> Any:
    """Returns a keep probability as a float where it is known, as a tensor where it is not."""
    # By way of a tensor, as in TF 1.15: 0.9 becomes 0.8999999761581421.
    tensor = tf.convert_to_tensor(value)
    known = tf.get_static_value(tensor)
    if known is None:
        return tensor
    if not 0 <= known <= 1:
        raise InputError(f"Parameter {argument} must be between 0 and 1: {float(known):g}")
    return float(known)


def _drops(keep_prob: Any) -> bool:
    return not isinstance(keep_prob, float) or keep_prob < 1


def _all_but_memory(state: Any) -> Any:
    if isinstance(state, LSTMStateTuple):
        return LSTMStateTuple(c=False, h=True)
    return not isinstance(state, tf.TensorArray)


def _enumerated(function: Callable[..., Any], shallow: Any, *structures: Any) -> Any:
    """Maps a function of place and values over structures, as deep as `shallow` goes."""
    places = itertools.count()
    return private.nested().map_structure_up_to(shallow, lambda *values: function(next(places), *values), *structures)
