"""The update rules in NumPy against the optimizers themselves: TF1's in a graph, and Keras's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lockstep.adapters.optimizing import KerasOptimizer, make_optimizer
from lockstep.optimizers import replay
from lockstep.optimizers.description import from_plain
from lockstep.recorder.optimizing import GraphOptimizer
from lockstep.recorder.trials import trial
from lockstep.tolerance import update_tolerance

v1 = tf.compat.v1
train = v1.train
SHAPES = {"net/kernel": ((5, 4), np.dtype("float32")), "net/bias": ((4,), np.dtype("float32"))}


def rate(kind):
    step = train.get_or_create_global_step()
    return {
        "exponential": lambda: train.exponential_decay(0.1, step, 2, 0.5),
        "staircase": lambda: train.exponential_decay(0.1, step, 2, 0.5, staircase=True),
        "polynomial": lambda: train.polynomial_decay(0.1, step, 4, 0.01, power=2.0),
        "cosine": lambda: train.cosine_decay(0.1, step, 4, alpha=0.1),
        "piecewise": lambda: train.piecewise_constant(step, [1, 3], [0.1, 0.05, 0.01]),
    }[kind]()


TF1 = {
    "sgd": lambda: train.GradientDescentOptimizer(0.1),
    "momentum": lambda: train.MomentumOptimizer(0.1, 0.9),
    "nesterov": lambda: train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "adam": lambda: train.AdamOptimizer(0.01),
    "adam with a large epsilon": lambda: train.AdamOptimizer(0.01, 0.8, 0.99, epsilon=1e-3),
    "rmsprop": lambda: train.RMSPropOptimizer(0.01, momentum=0.9),
    "centered rmsprop": lambda: train.RMSPropOptimizer(0.01, 0.8, epsilon=1e-4, centered=True),
    "adagrad": lambda: train.AdagradOptimizer(0.1),
    "adadelta": lambda: train.AdadeltaOptimizer(1.0),
    "ftrl": lambda: train.FtrlOptimizer(0.1, l1_regularization_strength=1e-3, l2_regularization_strength=0.1,
                                        l2_shrinkage_regularization_strength=0.01),
    "ftrl with another power": lambda: train.FtrlOptimizer(0.1, -0.7, 0.2, beta=0.3),
    "proximal adagrad": lambda: train.ProximalAdagradOptimizer(0.1, 0.2, l1_regularization_strength=1e-2,
                                                               l2_regularization_strength=0.1),
    **{kind: lambda kind=kind: train.MomentumOptimizer(rate(kind), 0.9)
       for kind in ("exponential", "staircase", "polynomial", "cosine", "piecewise")},
}  # fmt: skip
schedules = keras.optimizers.schedules
KERAS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "nesterov": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "adam with weight decay": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, momentum=0.9, centered=True),
    "adagrad": lambda: keras.optimizers.Adagrad(0.1),
    "adadelta": lambda: keras.optimizers.Adadelta(1.0),
    "ftrl": lambda: keras.optimizers.Ftrl(0.1, l1_regularization_strength=1e-3, l2_regularization_strength=0.1,
                                          l2_shrinkage_regularization_strength=0.01, beta=0.2),
    "clipped by value": lambda: keras.optimizers.SGD(0.1, clipvalue=0.01),
    "clipped by norm": lambda: keras.optimizers.SGD(0.1, clipnorm=0.1),
    "clipped by global norm": lambda: keras.optimizers.SGD(0.1, global_clipnorm=0.1),
    "averaged": lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9),
    "scheduled": lambda: keras.optimizers.SGD(schedules.ExponentialDecay(0.1, 2, 0.5), momentum=0.9),
}  # fmt: skip


def follows_its_rule(optimizer):
    given = trial(SHAPES)
    values, before, updates = given.variables, [], []
    for gradients in given.gradients:
        before.append(values)
        updates.append(optimizer.apply(values, gradients))
        values = updates[-1].variables
    assert [update.step for update in updates] == [1, 2, 3, 4, 5]
    rates = optimizer.learning_rates(range(5))
    description = from_plain(optimizer.description)
    replayed = replay(description.kind, description.arguments, [rates[i] for i in range(5)], before, given.gradients)
    seen = set()
    for start, update, value, slots in zip(before, updates, replayed.variables, replayed.slots, strict=True):
        for key in SHAPES:
            assert np.any(update.variables[key] != start[key])
            assert np.all(np.abs(update.variables[key] - value[key]) <= update_tolerance(start[key], value[key]))
        for name, slot in update.slots.items():
            key, role = name.split(": ")
            np.testing.assert_allclose(slot, slots[key][role], rtol=1e-4, atol=1e-6 * np.abs(slot).max())
            seen.add(role)
    optimizer.close()
    return seen


@pytest.mark.parametrize("name", TF1)
def test_a_tf1_optimizer_follows_its_rule(name):
    seen = follows_its_rule(GraphOptimizer(TF1[name], SHAPES))
    assert seen or name == "sgd"


@pytest.mark.parametrize("name", KERAS)
def test_a_keras_optimizer_follows_its_rule(name):
    optimizer = make_optimizer(KERAS[name], SHAPES, "candidate", eagerly=True)
    assert isinstance(optimizer, KerasOptimizer)
    seen = follows_its_rule(optimizer)
    assert seen or name == "sgd" or name.startswith("clipped")
