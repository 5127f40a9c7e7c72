"""Cells that do something around another cell."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1.layers.layer import Layer
from lockstep.tf1.layers.scoping import name_scope
from lockstep.tf1.rnn_cell.cell import RNNCell, check_is_cell

_v1 = tf.compat.v1


class RNNCellWrapper(RNNCell):
    """Base of the wrappers: as the wrapped cell, in its scope; a subclass gives `_call_wrapped_cell`.

    Attributes:
        cell: the wrapped cell.
    """

    def __init__(self, cell: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_is_cell("cell", cell)
        self.cell = cell

    def _call_wrapped_cell(self, inputs: Any, state: Any, cell_call_fn: Any, **kwargs: Any) -> Any:
        """Runs `cell_call_fn(inputs, state, **kwargs)` and does what the wrapper is there for."""
        raise NotImplementedError(f"{type(self).__name__} must define _call_wrapped_cell.")

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:
        """Runs one step; see `RNNCell`. The wrapper has no scope of its own."""
        return self._call_wrapped_cell(inputs, state, cell_call_fn=self.cell.__call__, scope=scope)

    @property
    def wrapped_cell(self) -> Any:
        """The wrapped cell."""
        return self.cell

    @property
    def state_size(self) -> Any:
        """The wrapped cell's."""
        return self.cell.state_size

    @property
    def output_size(self) -> Any:
        """The wrapped cell's."""
        return self.cell.output_size

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """Returns the wrapped cell's state of zeros."""
        with name_scope(type(self).__name__ + "ZeroState"):
            return self.cell.zero_state(batch_size, dtype)

    def checkpoint_children(self) -> dict[str, Any]:
        """Lets object-based checkpoints find the wrapped cell."""
        wrapped = {"cell": self.cell} if isinstance(self.cell, Layer) else {}
        return {**super().checkpoint_children(), **wrapped}


class ResidualWrapper(RNNCellWrapper):
    """Adds the cell's inputs to its outputs.

    Args:
        cell: the cell.
        residual_fn: function of inputs and outputs that gives the outputs; None adds the two.
        **kwargs: arguments of a cell.
    """

    def __init__(self, cell: Any, residual_fn: Any = None, **kwargs: Any) -> None:
        super().__init__(cell, **kwargs)
        self._residual_fn = residual_fn

    def _call_wrapped_cell(self, inputs: Any, state: Any, cell_call_fn: Any, **kwargs: Any) -> Any:
        outputs, next_state = cell_call_fn(inputs, state, **kwargs)
        return (self._residual_fn or _sum)(inputs, outputs), next_state


def _sum(inputs: Any, outputs: Any) -> Any:
    def add(part: Any, output: Any) -> Any:
        if not part.shape.is_compatible_with(output.shape):
            raise InputError(
                f"Shapes {part.shape} and {output.shape} are incompatible: a ResidualWrapper adds the inputs of its "
                "cell to the outputs. Give the cell as many units as the inputs have, or give a residual_fn."
            )
        return part + output

    tf.nest.assert_same_structure(inputs, outputs)
    return tf.nest.map_structure(add, inputs, outputs)


class DeviceWrapper(RNNCellWrapper):
    """Runs a cell on a device.

    Args:
        cell: the cell.
        device: what `tf.compat.v1.device` takes: a name, or, in a graph, a function of an operation.
        **kwargs: arguments of a cell.
    """

    def __init__(self, cell: Any, device: Any, **kwargs: Any) -> None:
        super().__init__(cell, **kwargs)
        self._device = device

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """Returns the wrapped cell's state of zeros, on the device."""
        with _v1.device(self._device):
            return super().zero_state(batch_size, dtype)

    def _call_wrapped_cell(self, inputs: Any, state: Any, cell_call_fn: Any, **kwargs: Any) -> Any:
        with _v1.device(self._device):
            return cell_call_fn(inputs, state, **kwargs)
