"""`tf.estimator` for a TensorFlow that has none (2.16 and later): what a `model_fn` itself needs of it, and no more."""

import importlib
import sys
import types
from typing import Any, Dict, List, NamedTuple, Optional

import tensorflow as tf

_Fields = NamedTuple(
    "_Fields",
    [
        ("mode", str),
        ("predictions", Any),
        ("loss", Any),
        ("train_op", Any),
        ("eval_metric_ops", Dict[str, Any]),
        ("export_outputs", Any),
    ],
)


class ModeKeys:
    """The modes, as TensorFlow called them."""

    TRAIN = "train"
    EVAL = "eval"
    PREDICT = "infer"


class EstimatorSpec(_Fields):
    """What a `model_fn` returns.

    Raises:
        ValueError: What the mode needs is missing.
        TypeError: A metric was given for a tensor.
    """

    def __new__(
        cls,
        mode: str,
        predictions: Any = None,
        loss: Any = None,
        train_op: Any = None,
        eval_metric_ops: Any = None,
        export_outputs: Any = None,
        **others: Any,
    ) -> "EstimatorSpec":
        """Checks what TensorFlow's own class checks; hooks and scaffolds belong to sessions that are not run here."""
        del others
        if mode == ModeKeys.TRAIN and train_op is None:
            raise ValueError("Missing train_op.")
        if mode in {ModeKeys.TRAIN, ModeKeys.EVAL} and loss is None:
            raise ValueError("Missing loss.")
        if mode == ModeKeys.PREDICT and predictions is None:
            raise ValueError("Missing predictions.")
        loss = None if loss is None else tf.reshape(loss, []) if loss.shape.ndims else loss
        predictions = {} if predictions is None else predictions
        for name, value in predictions.items() if isinstance(predictions, dict) else [("", predictions)]:
            if isinstance(value, (tuple, list)):
                raise TypeError("predictions[%s] must be a tensor, given: %s" % (name, value))
        return super().__new__(cls, mode, predictions, loss, train_op, eval_metric_ops or {}, export_outputs)


class RunConfig:
    """The settings of a run on one machine, with TensorFlow's defaults."""

    def __init__(self, model_dir: Optional[str] = None, tf_random_seed: Optional[int] = None, **others: Any) -> None:
        self.model_dir, self.tf_random_seed = model_dir, tf_random_seed
        self.save_summary_steps, self.log_step_count_steps, self.keep_checkpoint_max = 100, 100, 5
        self.num_worker_replicas, self.num_ps_replicas, self.is_chief = 1, 0, True
        self.task_type, self.task_id, self.master = "worker", 0, ""
        for name, value in others.items():
            setattr(self, name, value)


class _Exported:
    """A signature to be exported; nothing is exported here."""

    def __init__(self, *outputs: Any, **named: Any) -> None:
        self.outputs = outputs, named


class PredictOutput(_Exported):
    """See `tf.estimator.export.PredictOutput`."""


class ClassificationOutput(_Exported):
    """See `tf.estimator.export.ClassificationOutput`."""


class RegressionOutput(_Exported):
    """See `tf.estimator.export.RegressionOutput`."""


class _StandIn(types.ModuleType):
    """Says of what it does not have where that can be had."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            "TensorFlow %s has no tf.estimator, and what stands for it here has no %s; run this side in a TensorFlow "
            'that has it, as in python = "3.7", requirements = ["tensorflow==1.15.5"].' % (tf.__version__, name)
        )


def install() -> None:
    """Puts it where TF1 code looks for `tf.estimator`, unless TensorFlow has its own."""
    export = _StandIn("tensorflow.estimator.export")
    module = _StandIn("tensorflow.estimator")
    for holder, members in ((export, (PredictOutput, ClassificationOutput, RegressionOutput)),
                            (module, (EstimatorSpec, ModeKeys, RunConfig))):  # fmt: skip
        for member in members:
            setattr(holder, member.__name__, member)
    module.export = export  # type: ignore[attr-defined]
    for place in _places():
        if not _has(place):
            place.estimator = module


def run_config() -> Any:
    """Returns the `config` that an Estimator gives its `model_fn`: TensorFlow's own class, or what stands for it."""
    v1 = getattr(tf.compat, "v1", tf)
    kept = v1.estimator.RunConfig if _has(v1) else RunConfig
    return kept()


def _places() -> List[Any]:
    """Returns `tensorflow` and `tensorflow.compat.v1`, which is two objects once somebody has imported it."""
    importlib.import_module("tensorflow.compat.v1" if hasattr(tf.compat, "v1") else "tensorflow")
    names = ("tensorflow", "tensorflow.compat.v1", "tensorflow._api.v2.compat.v1", "tensorflow._api.v1.compat.v1")
    found = [sys.modules.get(name) for name in names] + [getattr(tf.compat, "v1", tf)]
    return [place for place in found if place is not None]


def _has(place: Any) -> bool:
    try:
        return bool(place.estimator)
    except (AttributeError, ImportError):  # from 2.16 on there is none
        return False
