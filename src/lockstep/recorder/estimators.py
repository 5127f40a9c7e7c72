"""An Estimator's `model_fn(features, labels, mode, params, config)`, built as an Estimator builds it."""

import copy
import inspect
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import tensorflow as tf

from ..ground import sparse
from ..ground.failures import RecordingError
from ..ground.streaming import Course, Seen
from ..ground.structure import flatten
from . import estimator_stand_in, graph_losses, placeholders, streaming
from .generators import Generators
from .named_tensors import described
from .operations import leading_to, loss_owners
from .originals import Asked, Original, Stated
from .randomness import GraphSeeds

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)

PREDICT, TRAIN, EVAL = "infer", "train", "eval"
"""What `tf.estimator.ModeKeys` calls these modes, in every version."""

_OPTIONAL = ("labels", "mode", "params", "config")


class Estimator(Original):
    """A `model_fn`: PREDICT mode for inference, TRAIN for training mode.

    Args:
        function: The `model_fn`.
        labels: Which inputs are labels; one is given as a tensor, several as a dict.
        params: What it is given as `params`.
        features: The only feature, which is given as a tensor; empty for a dict of all that are no labels.
    """

    def __init__(
        self, function: Callable[..., Any], labels: Sequence[str], params: Mapping[str, Any], features: str = ""
    ) -> None:
        super().__init__(function)
        self._labels, self._params, self._features = tuple(labels), params, features

    def placeholders(self, inputs: Any) -> Tuple[Dict[str, Any], Any]:
        """One for each input."""
        if not isinstance(inputs, Mapping):
            raise RecordingError("a model_fn is given its inputs by their names; give a dict of arrays.")
        known = sparse.as_given(inputs)
        missing = [name for name in self._labels + ((self._features,) if self._features else ()) if name not in known]
        if missing:
            raise RecordingError("no input is called %r; the inputs are %s." % (missing[0], ", ".join(known)))
        return placeholders.made_for(inputs)

    def build(self, asked: Asked) -> Stated:
        """Calls it, and takes its EstimatorSpec apart."""
        made, training = asked.made, asked.training
        given = placeholders.composed(made)
        spec = self._called(given, TRAIN if training else PREDICT)
        if training and (spec.loss is None or spec.train_op is None):
            lacking = "loss" if spec.loss is None else "train_op"
            raise RecordingError("model_fn returned an EstimatorSpec without %s in TRAIN mode." % lacking)
        outputs = spec.predictions
        if not training and (outputs is None or not list(flatten(outputs))):
            raise RecordingError("model_fn returned an EstimatorSpec without predictions in PREDICT mode.")
        loss, train_op = (spec.loss, spec.train_op) if training else (None, None)
        return Stated(outputs, given, made, self._labels, loss, train_op, ())

    def anew(self, inputs: Any) -> Stated:
        """Builds it for training, without predictions that nobody asks for then."""
        return self.build(Asked(*self.placeholders(inputs), inputs, True))

    def completed(self, stated: Stated, asked: Asked) -> Stated:
        """Finds the predictions of a training graph, and which penalties of an inference graph are trained with."""
        training, inputs = asked.training, asked.inputs
        if training and (stated.outputs is None or not list(flatten(stated.outputs))):
            names = self._in_another_graph(inputs, PREDICT, _names_of_predictions)
            return stated._replace(outputs=_by_names(names), notes=stated.notes + (_TAKEN,))
        if not training and graph_losses.collected(v1.get_default_graph()):
            _keep_losses(self._in_another_graph(inputs, TRAIN, _trained_penalties))
        return stated

    def evaluated(self, inputs: Any, courses: List[Course]) -> Optional[List[Seen]]:
        """Has `eval_metric_ops` go through courses; None without any. The predictions are given to them as they are.

        Raises:
            RecordingError: A metric is computed from tensors that are no predictions, or a prediction is not found.
        """
        told = self._in_another_graph(inputs, PREDICT, _names_of_predictions)
        names = told if isinstance(told, Mapping) else {"": told}
        with tf.Graph().as_default():
            made = streaming.open_placeholders(courses[0].batches[0].inputs)
            pairs = dict(self._called(made, EVAL).eval_metric_ops or {})
            if not pairs:
                return None
            needs = {op.name for pair in pairs.values() for op in leading_to([pair[1]])}
            outputs = {path: _prediction(told) for path, told in names.items()}
            known = {path: tensor for path, tensor in outputs.items() if tensor is not None}
            feeds = streaming.Feeds(known, {name: made[name] for name in made if made[name].op.name in needs})
            streaming.refuse_others(pairs, feeds)
            return streaming.run(pairs, feeds, courses)

    def _called(self, made: Mapping[str, Any], mode: str) -> Any:
        v1.train.get_or_create_global_step()
        features: Any = {name: tensor for name, tensor in made.items() if name not in self._labels}
        if self._features:
            features = made[self._features]
        labels: Any = {name: made[name] for name in self._labels}
        if len(self._labels) == 1:
            labels = made[self._labels[0]]
        offered = {
            "labels": labels if self._labels and mode != PREDICT else None,
            "mode": mode,
            "params": copy.deepcopy(dict(self._params)),
            "config": estimator_stand_in.run_config(),
        }
        arguments = _parameters(self.function)
        wanted = {name: offered[name] for name in _OPTIONAL if name in arguments}
        if "labels" not in arguments and offered["labels"] is not None:
            raise RecordingError("model_fn takes no labels, and the configuration names %s." % ", ".join(self._labels))
        spec = self.function(features, **wanted)
        if not (isinstance(spec, tuple) and {"predictions", "loss", "train_op"} <= set(getattr(spec, "_fields", ()))):
            raise RecordingError(
                "model_fn returned %s in %s mode; it must return a tf.estimator.EstimatorSpec."
                % ("nothing" if spec is None else "a %s" % type(spec).__name__, _CALLED[mode])
            )
        return spec

    def _in_another_graph(self, inputs: Any, mode: str, look: Callable[[Any], Any]) -> Any:
        """Builds another mode in a graph of its own, which takes no seed and no random number of this one."""
        seeds = GraphSeeds()
        with tf.Graph().as_default(), seeds.scope(), Generators().active():
            return look(self._called(placeholders.made_for(inputs)[1], mode))


_TAKEN = (
    "model_fn gives no predictions in TRAIN mode, so that those of its PREDICT mode were taken there by their names"
)
_CALLED = {PREDICT: "PREDICT", TRAIN: "TRAIN", EVAL: "EVAL"}


def _parameters(function: Callable[..., Any]) -> List[str]:
    """Returns the names of the arguments that a `model_fn` takes, as an Estimator looks for them."""
    taken = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken):
        return list(_OPTIONAL)
    return [parameter.name for parameter in taken]


def _names_of_predictions(spec: Any) -> Any:
    """Returns the predictions, nested as they are, with each tensor's name, operation and dtype in its place."""

    def told(tensor: Any) -> Tuple[str, str, str]:
        value = tf.convert_to_tensor(tensor)
        return value.name, value.op.type, value.dtype.base_dtype.name

    if isinstance(spec.predictions, Mapping):
        return {key: told(tensor) for key, tensor in spec.predictions.items()}
    return told(spec.predictions)


def _by_names(names: Any) -> Any:
    if isinstance(names, Mapping):
        return {key: _alike(told) for key, told in names.items()}
    return _alike(names)


def _prediction(told: Tuple[str, str, str]) -> Any:
    """Returns the tensor of an evaluation's graph that a prediction is; None where it is not there."""
    try:
        return _alike(told)
    except RecordingError:
        return None


def _alike(told: Tuple[str, str, str]) -> Any:
    """Returns the tensor of the default graph that has a prediction's name, where it is one of that kind."""
    name, kind, dtype = told
    try:
        tensor = v1.get_default_graph().get_tensor_by_name(name)
    except (KeyError, ValueError):
        tensor = None
    if tensor is None or tensor.op.type != kind or tensor.dtype.base_dtype.name != dtype:
        found = "no such tensor" if tensor is None else described(tensor)
        raise RecordingError(
            "model_fn gives no predictions in TRAIN mode, and the prediction %s of its PREDICT mode has no counterpart "
            "there (%s); give predictions in TRAIN mode too." % (name, found)
        )
    return tensor


def _trained_penalties(spec: Any) -> Set[Optional[str]]:
    """Returns the names of the variables whose penalties the training loss is made of."""
    return set(_owners(graph_losses.trained_with(v1.get_default_graph(), spec.loss)).values())


def _keep_losses(trained: Set[Optional[str]]) -> None:
    """Takes the penalties out of the collections that no training adds to its loss."""
    graph = v1.get_default_graph()
    owners = _owners(graph_losses.collected(graph))
    for key in graph_losses.COLLECTIONS:
        members = graph.get_collection_ref(getattr(v1.GraphKeys, key))
        members[:] = [loss for loss in members if owners[loss.name] is None or owners[loss.name] in trained]


def _owners(losses: Sequence[Any]) -> Dict[str, Optional[str]]:
    """Returns a loss's name -> the variable that it belongs to."""
    names = [variable.op.name for variable in v1.global_variables()]
    return dict(zip([loss.name for loss in losses], loss_owners(losses, names)))
