"""Several cells, one upon the other."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1.layers.layer import Layer
from lockstep.tf1.layers.scoping import name_scope
from lockstep.tf1.rnn_cell.cell import RNNCell

_v1 = tf.compat.v1


class MultiRNNCell(RNNCell):
    """Cells of which each gets the output of the one before it; they are in the scopes `cell_0`, `cell_1`, ...

    Args:
        cells: list or tuple of cells. One that stands there twice shares its weights; TensorFlow's logger warns.
        state_is_tuple: whether the state is a tuple of the cells' states; else these are one tensor, side by side.

    Raises:
        InputError: no cells, or a cell has a tuple of states although `state_is_tuple` is False.
        TypeError: `cells` is neither a list nor a tuple.
    """

    def __init__(self, cells: Any, state_is_tuple: bool = True) -> None:
        super().__init__()
        if not cells:
            raise InputError("Must specify at least one cell for MultiRNNCell.")
        if not isinstance(cells, list | tuple):
            raise TypeError(f"cells must be a list or tuple, but saw: {cells}.")
        if len({id(cell) for cell in cells}) < len(cells):
            tf.get_logger().warning(
                "At least two cells provided to MultiRNNCell are the same object and will share weights."
            )
        self._cells = cells
        self._state_is_tuple = state_is_tuple
        if not state_is_tuple and any(tf.nest.is_nested(cell.state_size) for cell in cells):
            raise InputError(
                "Some cells return tuples of states, but the flag state_is_tuple is not set. State sizes are: "
                f"{[cell.state_size for cell in cells]}. Give the cells state_is_tuple=False, too."
            )

    @property
    def state_size(self) -> Any:
        """Tuple of the cells' sizes, or their sum."""
        sizes = tuple(cell.state_size for cell in self._cells)
        return sizes if self._state_is_tuple else sum(sizes)

    @property
    def output_size(self) -> Any:
        """The last cell's."""
        return self._cells[-1].output_size

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """Returns the cells' states of zeros as a tuple, or one tensor."""
        if not self._state_is_tuple:
            return super().zero_state(batch_size, dtype)
        with name_scope(type(self).__name__ + "ZeroState"):
            return tuple(cell.zero_state(batch_size, dtype) for cell in self._cells)

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the last cell's output and all cells' next states."""
        next_states = []
        for place, (cell, cell_state) in enumerate(zip(self._cells, self._states_of(state), strict=True)):
            with _v1.variable_scope(f"cell_{place}"):
                inputs, next_state = cell(inputs, cell_state)
            next_states.append(next_state)
        return inputs, (tuple(next_states) if self._state_is_tuple else tf.concat(next_states, 1))

    def _states_of(self, state: Any) -> Any:
        if not self._state_is_tuple:
            return tf.split(state, [cell.state_size for cell in self._cells], axis=1)
        if not tf.nest.is_nested(state) or len(state) != len(self._cells):
            raise InputError(f"Expected state to be a tuple of length {len(self._cells)}, but received: {state}")
        return state

    def _layers(self) -> list[Layer]:
        return [cell for cell in self._cells if isinstance(cell, Layer)]

    @property
    def trainable_weights(self) -> list[Any]:
        """The cells' trainable variables."""
        return [weight for cell in self._layers() for weight in cell.trainable_weights] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The cells' other variables; all of them if this cell is not trainable."""
        others = [weight for cell in self._layers() for weight in cell.non_trainable_weights]
        if self.trainable:
            return others
        return [weight for cell in self._layers() for weight in cell.trainable_weights] + others

    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    def checkpoint_children(self) -> dict[str, Any]:
        """Lets object-based checkpoints find the cells under TF 1.15's names."""
        cells = {f"cell-{place}": cell for place, cell in enumerate(self._cells) if isinstance(cell, Layer)}
        return {**super().checkpoint_children(), **cells}
