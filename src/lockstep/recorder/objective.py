"""What a TF1 graph is differentiated for: the training loss, and its gradient for every trainable variable."""

from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import numpy as np
import tensorflow as tf

from ..ground import fill
from ..ground.failures import RecordingError
from ..ground.training import OWN_LOSS
from . import graph_losses

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)

Loss = Callable[[Any, Any], Any]
"""The user's `loss(outputs, batch)`."""


class Objective:
    """The tensors of a training loss and its gradients in one graph.

    Attributes:
        loss: The loss, a scalar.
        cotangents: Output path -> placeholder for what that output is weighted with; empty where the user gave a loss.
        gradients: Variable key -> gradient, dense; None where the loss does not depend on the variable.
    """

    def __init__(self, loss: Any, cotangents: Mapping[str, Any], gradients: Mapping[str, Optional[Any]]) -> None:
        self.loss, self.cotangents, self.gradients = loss, dict(cotangents), dict(gradients)

    @property
    def connected(self) -> Dict[str, Any]:
        """Variable key -> gradient, where there is one."""
        return {key: tensor for key, tensor in self.gradients.items() if tensor is not None}

    def names(self) -> Dict[str, Any]:
        """Returns the names of the tensors, for whoever imports the exported graph."""
        return {
            "loss": self.loss.name,
            "cotangents": {path: tensor.name for path, tensor in self.cotangents.items()},
            "gradients": {key: None if tensor is None else tensor.name for key, tensor in self.gradients.items()},
        }


def named(graph: Any, names: Mapping[str, Any]) -> Objective:
    """Finds the tensors of an objective in a graph by the names that `Objective.names` gave."""
    tensor = graph.get_tensor_by_name
    return Objective(
        tensor(names["loss"]),
        {path: tensor(name) for path, name in names["cotangents"].items()},
        {key: None if name is None else tensor(name) for key, name in names["gradients"].items()},
    )


def differentiate(model: Any, loss: Optional[Loss]) -> Objective:
    """Adds the training loss and its gradients to a graph.

    Without a loss of the user's it is the sum of the floating outputs' elements, each weighted with its cotangent
    (`fill.cotangent`). The losses in the graph's collections are added to either, but for those that are outputs:
    a training loss that `forward` collects and returns is one loss. What the user's loss collects is its own value.

    Args:
        model: A `GraphModel` that `graph.build` made.
        loss: The user's `loss(outputs, batch)`; `OWN_LOSS` for the one that the program itself states, to which
            nothing is added; or None.

    Raises:
        RecordingError: The loss is no scalar tensor, or no output is floating.
    """
    with model.graph.as_default(), tf.name_scope("lockstep_objective"):
        cotangents: Dict[str, Any] = {}
        added = model.added_losses
        if loss is None:
            value, cotangents = _weighted(model.outputs)
        elif loss is OWN_LOSS:
            if model.loss is None:
                raise RecordingError("this program states no training loss.")
            value, added = scalar(tf.convert_to_tensor(model.loss), "the program's own loss is"), []
        else:
            with graph_losses.kept(model.graph):
                value = scalar(tf.convert_to_tensor(loss(model.returned, model.given)))
        total = tf.add_n([value] + [tf.cast(tf.reduce_sum(term), value.dtype) for term in added])
        trained = [
            (record, variable)
            for record, variable in zip(model.variables, model.raw_variables)
            if record.trainable and fill.takes_values(record.dtype)
        ]
        found = tf.gradients(total, [variable for _, variable in trained]) if trained else []
        gradients = {
            record.key: None if gradient is None else _dense(gradient, record.shape)
            for (record, _), gradient in zip(trained, found)
        }
        return Objective(total, cotangents, gradients)


def scalar(loss: Any, what: str = "loss(outputs, batch) returned") -> Any:
    """Returns a loss that is a floating scalar, as it is.

    Args:
        loss: The loss.
        what: How a message begins.

    Raises:
        RecordingError: It is something else.
    """
    if loss.shape.ndims != 0 or not loss.dtype.is_floating:
        raise RecordingError(
            "%s a %s tensor of shape %s; it must be a floating scalar, as tf.reduce_mean gives it."
            % (what, loss.dtype.name, loss.shape)
        )
    return loss


def _weighted(outputs: Mapping[str, Any]) -> Tuple[Any, Dict[str, Any]]:
    cotangents: Dict[str, Any] = {}
    terms: List[Any] = []
    for path, tensor in outputs.items():
        if tensor.dtype.is_floating:
            weights = v1.placeholder(tensor.dtype, None, name="cotangent")
            cotangents[path] = weights
            terms.append(tf.cast(tf.reduce_sum(tensor * weights), tf.float32))
    if not terms:
        raise RecordingError("no output is floating, so there is nothing to take gradients of.")
    return tf.add_n(terms), cotangents


def _dense(gradient: Any, shape: Any) -> Any:
    """Adds the slices of a sparse gradient (of an embedding, say) up to one that has the variable's shape."""
    if isinstance(gradient, tf.IndexedSlices):
        return v1.unsorted_segment_sum(gradient.values, gradient.indices, int(shape[0]))
    return tf.identity(gradient)


def cotangents_of(objective: Objective, shapes: Mapping[str, Any]) -> Dict[Any, np.ndarray]:
    """Returns placeholder -> the weights of an output, from the outputs' shapes."""
    return {
        placeholder: fill.cotangent(path, tuple(shapes[path]), placeholder.dtype.as_numpy_dtype)
        for path, placeholder in objective.cotangents.items()
    }
