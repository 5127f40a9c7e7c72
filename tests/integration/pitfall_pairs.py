"""For every pitfall a pair of models that falls into it: a few lines of TF1 code, and the same with the mistake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lockstep import keras as keras_subject
from lockstep import tf1, tf1_graph, verify
from lockstep.check.forced_runs import ForcedRuns
from lockstep.check.steps import numbers, variables_match
from lockstep.compare.align import align
from lockstep.compare.tolerance import FixedTolerance
from lockstep.results.model import Culprit, gathered
from lockstep.subjects import INITIAL, Mode

v1, layers = tf.compat.v1, tf.compat.v1.layers
Forward = Callable[[Any, bool], Any]

VECTORS, IMAGES = (6, 8), (2, 8, 8, 4)


@dataclass(frozen=True)
class Pair:
    """Two functions of a tensor and of the mode.

    Attributes:
        reference: The original.
        candidate: The same with the mistake.
        shape: Of the input, `float32`, uniform in [-1, 1).
        training: Whether the mistake shows in training mode only.
    """

    reference: Forward
    candidate: Forward
    shape: tuple[int, ...] = VECTORS
    training: bool = False

    def culprits(self) -> tuple[Culprit, ...]:
        """Returns what the steps blame, without the noise runs that a whole check adds."""
        x = np.random.default_rng(3).uniform(-1.0, 1.0, self.shape).astype(np.float32)
        mode = Mode(training=self.training, randomness="num_random_ops")
        ours = tf1_graph(_in_scope(self.reference)).build(mode, x)
        theirs = keras_subject(lambda: _Migrated(self.candidate)).build(mode, x)
        traces = ours.run(INITIAL), theirs.run(INITIAL)
        alignment = align(traces[0].variables, traces[1].variables, ())
        forced = ForcedRuns(ours.followed, theirs.followed, alignment, traces[0].before, lambda _: None)
        located = forced.distinct
        assert located is not None
        findings = (
            variables_match.judge(*traces, alignment),
            numbers.initial_values(*traces, alignment, FixedTolerance()),
            numbers.losses(*traces, alignment, ()),
        )
        return gathered([*(c for finding in findings for c in finding.culprits), *located.culprits])


@dataclass(frozen=True)
class SchedulePair:
    """TF1's staircase and Keras's, which counts the updates from another number.

    Attributes:
        reference: What the original counts from.
        candidate: What the candidate counts from.
        shape: Of the variable that is trained.
        training: Not asked: an optimizer trains.
    """

    reference: int
    candidate: int
    shape: tuple[int, ...] = VECTORS
    training: bool = True

    def culprits(self) -> tuple[Culprit, ...]:
        """Returns what the step `optimizer` blames."""
        x = np.ones(self.shape, np.float32)
        options = {"decay_steps": 3, "decay_rate": 0.5, "staircase": True}

        def original() -> Any:
            step = v1.train.get_or_create_global_step() + self.reference
            return v1.train.GradientDescentOptimizer(v1.train.exponential_decay(0.1, step, **options))

        def migrated() -> Any:
            return keras.optimizers.SGD(_Counted(keras.optimizers.schedules.ExponentialDecay(0.1, **options), count))

        count = self.candidate
        model = _in_scope(lambda x, _: _dense(x))
        report = verify(
            tf1_graph(model),
            keras_subject(lambda: _Migrated(lambda x, _: _dense(x))),
            x,
            loss=lambda outputs, _: tf.reduce_mean(tf.square(outputs)),
            optimizers=(original, migrated),
            steps=("optimizer",),
        )
        return report.culprits


class _Counted(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that counts from another number."""

    def __init__(self, schedule: Any, start: int) -> None:
        super().__init__()
        self.schedule, self.start = schedule, start

    def __call__(self, step: Any) -> Any:
        return self.schedule(step + self.start)


def _in_scope(function: Forward) -> Forward:
    def forward(inputs: Any, training: bool) -> Any:
        with v1.variable_scope("net"):
            return function(inputs, training)

    return forward


class _Migrated(keras.layers.Layer):
    def __init__(self, function: Forward) -> None:
        super().__init__(name="migrated")
        self._forward = _in_scope(function)

    @tf1.track_tf1_style_variables
    def call(self, inputs: Any, training: bool = False) -> Any:
        return self._forward(inputs, training)


def _dense(x: Any, **options: Any) -> Any:
    return layers.dense(x, 8, name="dense", **options)


def _norm(x: Any, training: bool, **options: Any) -> Any:
    return layers.batch_normalization(x, training=training, name="norm", **{"momentum": 0.9, **options})


def conv(x: Any, **options: Any) -> Any:
    """A convolution of four channels."""
    return layers.conv2d(x, 4, 3, name="conv", **{"padding": "same", **options})


def _averaged(x: Any, training: bool, *, updates: bool) -> Any:
    """Subtracts the mean of the batch, and keeps a moving average of it."""
    average = v1.get_variable("average", 8, initializer=v1.zeros_initializer(), trainable=False)
    mean = tf.reduce_mean(x, 0)
    if training and updates:
        update = v1.assign_sub(average, (average - mean) * 0.1)
        v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
    return x - mean if training else x - average


def _gates(x: Any, order: tuple[int, ...]) -> Any:
    pieces = tf.split(tf.matmul(x, v1.get_variable("kernel", (8, 32))), 4, axis=1)
    i, j, f, o = (pieces[place] for place in order)
    return tf.tanh(tf.sigmoid(f) + tf.sigmoid(i) * tf.tanh(j)) * tf.sigmoid(o)


def _two(x: Any, *names: str) -> Any:
    made = {name: v1.get_variable(name, 8) for name in ("first", "second")}
    first, second = (x * made[name] for name in names)
    return tf.exp(first) + tf.tanh(second)


def _regularized(x: Any, regularizer: Callable[[Any], Any] | None) -> Any:
    return _dense(x, kernel_regularizer=regularizer)


def _scaled(x: Any, *, scale: bool) -> Any:
    net = _dense(x)
    return net * v1.get_variable("scale", 8) if scale else net


def _square(x: Any, *, transpose: bool) -> Any:
    return tf.matmul(x, v1.get_variable("kernel", (8, 8)), transpose_b=transpose)


def _biased(x: Any, data_format: str) -> Any:
    return tf.nn.bias_add(x, v1.get_variable("bias", 8, initializer=v1.ones_initializer()), data_format=data_format)


def _shuffled(x: Any) -> Any:
    """The channels of two groups in turn."""
    groups = tf.reshape(x, (*x.shape[:3], 2, x.shape[3] // 2))
    return tf.reshape(tf.transpose(groups, (0, 1, 2, 4, 3)), x.shape)


def _rounds(x: Any, state: Any) -> Any:
    """Three rounds of a recurrence."""
    kernel = v1.get_variable("kernel", (8, 8))

    def again(step: Any, state: Any) -> Any:
        return step + 1, tf.tanh(x + tf.matmul(state, kernel))

    return tf.while_loop(lambda step, _: step < 3, again, (tf.constant(0), state))[1]


def _constant(seed: int) -> Any:
    return tf.constant(np.random.default_rng(seed).uniform(size=(8, 8)).astype(np.float32))


PAIRS: dict[str, Pair | SchedulePair] = {
    "activation-slope": Pair(
        lambda x, _: tf.sigmoid(x),
        lambda x, _: 1.0 / (1.0 + tf.exp(-(1.5 * x))),
    ),
    "align-corners": Pair(
        lambda x, _: v1.image.resize_bilinear(x, (12, 12), align_corners=True),
        lambda x, _: v1.image.resize_bilinear(x, (12, 12)),
        IMAGES,
    ),
    "attribute": Pair(
        lambda x, _: tf.nn.local_response_normalization(x, bias=1.0),
        lambda x, _: tf.nn.local_response_normalization(x, bias=2.0),
        IMAGES,
    ),
    "batch-statistics": Pair(lambda x, _: _norm(conv(x), False), lambda x, _: _norm(conv(x), True), IMAGES),
    "channel-order": Pair(lambda x, _: conv(_shuffled(x)), lambda x, _: conv(x), IMAGES),
    "clip-value": Pair(lambda x, _: tf.maximum(x, 0.1), lambda x, _: tf.maximum(x, 0.2)),
    "concat-order": Pair(
        lambda x, _: tf.concat([tf.tanh(x), tf.exp(x)], 1),
        lambda x, _: tf.concat([tf.exp(x), tf.tanh(x)], 1),
    ),
    "constant": Pair(lambda x, _: tf.matmul(x, _constant(1)), lambda x, _: tf.matmul(x, _constant(2))),
    "constant-factor": Pair(lambda x, _: x + 0.10 * _dense(x), lambda x, _: x + 0.11 * _dense(x)),
    "data-format": Pair(lambda x, _: _biased(x, "NHWC"), lambda x, _: _biased(x, "NCHW"), (2, 8, 8, 8)),
    "dilation": Pair(lambda x, _: conv(x, dilation_rate=2), lambda x, _: conv(x), IMAGES),
    "dropout-place": Pair(
        lambda x, t: layers.dropout(_dense(x), 0.3, training=t, name="drop"), lambda x, _: _dense(x), training=True
    ),
    "dropout-rate": Pair(
        lambda x, t: layers.dropout(_dense(x), 0.2, training=t, name="drop"),
        lambda x, t: layers.dropout(_dense(x), 0.3, training=t, name="drop"),
        training=True,
    ),
    "dtype": Pair(
        lambda x, _: tf.tanh(_dense(x)),
        lambda x, _: tf.cast(tf.tanh(tf.cast(_dense(x), tf.float16)), tf.float32),
    ),
    "epsilon": Pair(lambda x, t: _norm(conv(x), t, epsilon=1e-3), lambda x, t: _norm(conv(x), t, epsilon=2e-3), IMAGES),
    "exponent": Pair(lambda x, _: tf.pow(tf.exp(x), 0.75), lambda x, _: tf.pow(tf.exp(x), 0.7)),
    "extra-operation": Pair(lambda x, _: _dense(x), lambda x, _: tf.abs(_dense(x))),
    "extra-regularizer": Pair(
        lambda x, _: _regularized(x, None), lambda x, _: _regularized(x, lambda w: 0.01 * tf.nn.l2_loss(w))
    ),
    "extra-update": Pair(
        lambda x, t: _averaged(x, t, updates=False), lambda x, t: _averaged(x, t, updates=True), training=True
    ),
    "extra-variable": Pair(lambda x, _: _scaled(x, scale=False), lambda x, _: _scaled(x, scale=True)),
    "flatten-order": Pair(
        lambda x, _: tf.reshape(x, (2, 256)),
        lambda x, _: tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (2, 256)),
        IMAGES,
    ),
    "forget-bias": Pair(lambda x, _: tf.sigmoid(_dense(x) + 1.0), lambda x, _: tf.sigmoid(_dense(x))),
    "frozen-statistics": Pair(
        lambda x, t: _norm(conv(x), t), lambda x, _: _norm(conv(x), False), IMAGES, training=True
    ),
    "gate-order": Pair(lambda x, _: _gates(x, (0, 1, 2, 3)), lambda x, _: _gates(x, (0, 2, 1, 3))),
    "gelu-form": Pair(
        lambda x, _: tf.nn.gelu(_dense(x), approximate=True), lambda x, _: tf.nn.gelu(_dense(x), approximate=False)
    ),
    "half-pixel-centers": Pair(
        lambda x, _: v1.image.resize_bilinear(x, (12, 12)),
        lambda x, _: v1.image.resize_bilinear(x, (12, 12), half_pixel_centers=True),
        IMAGES,
    ),
    "head-order": Pair(
        lambda x, _: tf.transpose(tf.reshape(x, (2, 8, 2, 4)), (0, 2, 1, 3)),
        lambda x, _: tf.transpose(tf.reshape(x, (2, 8, 4, 2)), (0, 3, 1, 2)),
        (2, 8, 8),
    ),
    "image-range": Pair(
        lambda x, _: conv((x - 127.5) / 127.5),
        lambda x, _: conv(x / 255.0),
        IMAGES,
    ),
    "initial-state": Pair(
        lambda x, _: _rounds(x, tf.zeros((6, 8))),
        lambda x, _: _rounds(x, tf.ones((6, 8))),
    ),
    "initializer": Pair(
        lambda x, _: layers.dense(x, 64, kernel_initializer=v1.glorot_uniform_initializer(), name="dense"),
        lambda x, _: layers.dense(x, 64, kernel_initializer=v1.glorot_normal_initializer(), name="dense"),
    ),
    "keep-prob-as-rate": Pair(
        lambda x, t: layers.dropout(_dense(x), 1 - 0.8, training=t, name="drop"),
        lambda x, t: layers.dropout(_dense(x), 0.8, training=t, name="drop"),
        training=True,
    ),
    "l2-half": Pair(
        lambda x, _: _regularized(x, lambda w: 0.01 * tf.nn.l2_loss(w)),
        lambda x, _: _regularized(x, lambda w: 0.01 * tf.reduce_sum(w * w)),
    ),
    "leaky-slope": Pair(lambda x, _: tf.nn.leaky_relu(x, 0.2), lambda x, _: tf.nn.leaky_relu(x, 0.3)),
    "mask": Pair(lambda x, _: tf.linalg.band_part(x, -1, 0), lambda x, _: tf.linalg.band_part(x, -1, 1), (2, 8, 8)),
    "missing-activation": Pair(lambda x, _: tf.nn.relu(_dense(x)), lambda x, _: _dense(x)),
    "missing-bias": Pair(lambda x, _: _dense(x), lambda x, _: _dense(x, use_bias=False)),
    "missing-operation": Pair(lambda x, _: tf.abs(_dense(x)), lambda x, _: _dense(x)),
    "missing-regularizer": Pair(
        lambda x, _: _regularized(x, lambda w: 0.01 * tf.nn.l2_loss(w)), lambda x, _: _regularized(x, None)
    ),
    "missing-scale": Pair(lambda x, _: tf.nn.softmax(_dense(x) * 0.125), lambda x, _: tf.nn.softmax(_dense(x))),
    "missing-update": Pair(
        lambda x, t: _averaged(x, t, updates=True), lambda x, t: _averaged(x, t, updates=False), training=True
    ),
    "missing-variable": Pair(lambda x, _: _scaled(x, scale=True), lambda x, _: _scaled(x, scale=False)),
    "momentum": Pair(lambda x, t: _norm(_dense(x), t), lambda x, t: _norm(_dense(x), t, momentum=0.99), training=True),
    "offset": Pair(lambda x, _: x * 2.0 - 1.0, lambda x, _: x * 2.0 - 0.5),
    "operation-order": Pair(
        lambda x, t: tf.nn.relu(_norm(conv(x), t)), lambda x, t: _norm(tf.nn.relu(conv(x)), t), IMAGES
    ),
    "padding": Pair(
        lambda x, _: conv(x, strides=2),
        lambda x, _: conv(tf.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), strides=2, padding="valid"),
        IMAGES,
    ),
    "pooling-kind": Pair(
        lambda x, _: layers.max_pooling2d(x, 2, 2, name="pool"),
        lambda x, _: layers.average_pooling2d(x, 2, 2, name="pool"),
        IMAGES,
    ),
    "regularizer-kind": Pair(
        lambda x, _: _regularized(x, lambda w: 0.01 * tf.reduce_sum(w * w)),
        lambda x, _: _regularized(x, lambda w: 0.01 * tf.reduce_sum(tf.abs(w))),
    ),
    "resize-size": Pair(
        lambda x, _: tf.reduce_mean(v1.image.resize_bilinear(x, (12, 12)), (1, 2)),
        lambda x, _: tf.reduce_mean(v1.image.resize_bilinear(x, (16, 16)), (1, 2)),
        IMAGES,
    ),
    "schedule-step": SchedulePair(0, 1),
    "slicing": Pair(lambda x, _: tf.tanh(x[:, 1:5]), lambda x, _: tf.tanh(x[:, 0:4])),
    "strides": Pair(
        lambda x, _: tf.reduce_mean(conv(x, strides=2), (1, 2)),
        lambda x, _: tf.reduce_mean(conv(x, strides=1), (1, 2)),
        IMAGES,
    ),
    "transposed-axes": Pair(
        lambda x, _: conv(tf.transpose(x, (0, 2, 3, 1))),
        lambda x, _: conv(tf.transpose(x, (0, 3, 2, 1))),
        (2, 4, 8, 8),
    ),
    "transposed-kernel": Pair(lambda x, _: _square(x, transpose=False), lambda x, _: _square(x, transpose=True)),
    "unbiased-variance": Pair(
        lambda x, t: _norm(conv(x), t, fused=True), lambda x, t: _norm(conv(x), t, fused=False), IMAGES, training=True
    ),
    "window": Pair(
        lambda x, _: layers.max_pooling2d(x, 3, 2, padding="same", name="pool"),
        lambda x, _: layers.max_pooling2d(x, 2, 2, padding="same", name="pool"),
        IMAGES,
    ),
    "wrong-activation": Pair(lambda x, _: tf.nn.relu(_dense(x)), lambda x, _: tf.tanh(_dense(x))),
    "wrong-axis": Pair(lambda x, _: tf.reduce_mean(x, 1), lambda x, _: tf.reduce_mean(x, 2), (2, 8, 8, 4)),
    "wrong-input": Pair(lambda x, _: tf.tanh(x) + _dense(tf.tanh(x)), lambda x, _: tf.tanh(x) + _dense(x)),
    "wrong-operation": Pair(lambda x, _: tf.add(_dense(x), tf.exp(x)), lambda x, _: tf.multiply(_dense(x), tf.exp(x))),
    "wrong-variable": Pair(lambda x, _: _two(x, "first", "second"), lambda x, _: _two(x, "first", "first")),
}
"""Slug -> the pair that falls into it."""
