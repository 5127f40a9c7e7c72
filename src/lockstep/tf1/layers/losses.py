"""The losses and updates of a layer, and where they go.

In a TF1 graph both go into graph collections. In eager execution, and in a `tf.function` called from it, updates
run at once, and the losses of weights are known to the active `VariableStore`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1.layers import reachability
from lockstep.tf1.layers.call_context import CONTEXT
from lockstep.tf1.layers.scoping import Scoped, name_scope

_v1 = tf.compat.v1


class LossesAndUpdates(Scoped):
    """Losses and updates, each with the inputs on which it depends (None: on none)."""

    trainable: bool
    stateful: bool
    _activity_regularizer: Any
    _weight_losses: list[Callable[[], Any]]
    _losses: list[tuple[Any, Any]]
    _eager_losses: list[tuple[Any, Any]]
    _updates: list[tuple[Any, Any]]
    _call_inputs: Any

    @property
    def activity_regularizer(self) -> Any:
        """Function of each output that gives a loss, or None."""
        return self._activity_regularizer

    @activity_regularizer.setter
    def activity_regularizer(self, value: Any) -> None:
        self._activity_regularizer = value

    @property
    def losses(self) -> list[Any]:
        """The losses of the weights, computed anew, and those of outputs and `add_loss`."""
        given = [loss for loss, _ in (self._eager_losses or self._losses)]
        computed = (loss() for loss in self._weight_losses)
        return given + [loss for loss in computed if loss is not None]

    def add_loss(self, losses: Any, inputs: Any = None) -> None:
        """Adds losses: scalar tensors, or functions of no argument that compute them.

        Args:
            losses: one or a list.
            inputs: the tensors on which the losses depend; None if they hold for any input.

        Raises:
            InputError: a tensor's value is given in eager execution outside `call`.
        """
        collected = []
        in_graph = not _v1.executing_eagerly_outside_functions()
        for loss in tf.nest.flatten(losses):
            if loss is None:
                continue
            if callable(loss):
                self._weight_losses.append(loss)
                tensor = loss() if in_graph else None
            else:
                tensor = tf.convert_to_tensor(loss)
                if not in_graph and not CONTEXT.depth:
                    raise InputError(
                        f"Layer {self.name} was given the value of a loss outside its call. "
                        "Pass a function of no argument that computes the loss."
                    )
                (self._losses if in_graph else self._eager_losses).append((tensor, inputs))
            if tensor is not None:
                collected.append(tensor)
        if in_graph:
            collect_once(collected, _v1.GraphKeys.REGULARIZATION_LOSSES)

    def get_losses_for(self, inputs: Any) -> list[Any]:
        """Returns the losses that depend on `inputs`; None asks for those that depend on no input."""
        given = self._eager_losses or self._losses
        if inputs is None:
            computed = (loss() for loss in self._weight_losses)
            free = [loss for loss, depends_on in given if depends_on is None]
            return free + [loss for loss in computed if loss is not None]
        reachable = reachability.reachable_from(tf.nest.flatten(inputs))
        return [loss for loss, depends_on in given if depends_on is not None and id(loss) in reachable]

    @property
    def updates(self) -> list[Any]:
        """The update operations of a graph; none if the layer is not trainable."""
        return [update for update, _ in self._updates] if self.trainable or self.stateful else []

    def add_update(self, updates: Any, inputs: Any = None) -> None:
        """Adds update operations, or functions of no argument that make them.

        In eager execution and in a `tf.function` the functions are called at once, unless the layer or one
        around it is not trainable; in a graph the operations go to `GraphKeys.UPDATE_OPS` when the call ends.
        """
        updates = list(updates) if isinstance(updates, list | tuple) else [updates]
        if _v1.executing_eagerly_outside_functions():
            if not (CONTEXT.frozen or not self.trainable):
                for update in updates:
                    if callable(update):
                        update()
            return
        depends_on = tf.nest.flatten(self._call_inputs if inputs is None else inputs)
        for update in updates:
            made = update() if callable(update) else update
            self._updates.append((made if isinstance(made, tf.Operation) else made.op, depends_on))

    def get_updates_for(self, inputs: Any) -> list[Any]:
        """Returns the updates that depend on `inputs`; None asks for those that depend on no input."""
        updates = self._updates if self.trainable or self.stateful else []
        conditional = [
            (update, id(update) in reachability.reachable_from(depends_on)) for update, depends_on in updates
        ]
        if inputs is None:
            return [update for update, depends in conditional if not depends]
        reachable = reachability.reachable_from(tf.nest.flatten(inputs))
        return [update for update, depends in conditional if depends and id(update) in reachable]

    def _add_activity_losses(self, inputs: Any, outputs: Any) -> None:
        with name_scope("ActivityRegularizer"):
            for output in tf.nest.flatten(outputs):
                loss = self._activity_regularizer(output)
                self.add_loss(loss / tf.cast(tf.shape(output)[0], loss.dtype), inputs=inputs)


def collect_once(elements: list[Any], collection: str) -> None:
    """Adds to a graph collection those elements that are not in it."""
    members = _v1.get_collection_ref(collection)
    present = {id(member) for member in members}
    members.extend(element for element in elements if id(element) not in present)
