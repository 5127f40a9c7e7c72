"""The update rules in NumPy against the optimizers themselves: TF1's in a graph, and Keras's."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from lockstep.common.errors import UnavailableEnvironmentError
from lockstep.compare.tolerance import update_tolerance
from lockstep.environments import EnvironmentSpec, provide
from lockstep.environments.recorder_process import RECORDER
from lockstep.frameworks.tensorflow.optimizing import KerasOptimizer, make_optimizer
from lockstep.ground import trials
from lockstep.ground.trials import trial
from lockstep.optimizers import replay
from lockstep.optimizers.description import from_plain
from lockstep.recorder.optimizing import GraphOptimizer

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from optimizer_cases import CASES
from optimizer_cases import SHAPES as PLAIN

SHAPES = {key: (shape, np.dtype("float32")) for key, shape in PLAIN.items()}


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
    updates = trials.updates(optimizer, given)
    assert [update.step for update in updates] == [1, 2, 3, 4, 5]
    rates = optimizer.learning_rates(range(5))
    seen = agrees(from_plain(optimizer.description), [rates[i] for i in range(5)], given, updates)
    optimizer.close()
    return seen


def agrees(description, rates, given, updates):
    """Holds updates against the rule in float64; returns the roles of the slots that were compared."""
    before = [given.variables, *(update.variables for update in updates[:-1])]
    replayed = replay(description.kind, description.arguments, rates, before, given.gradients)
    seen = set()
    for start, update, value, slots in zip(before, updates, replayed.variables, replayed.slots, strict=True):
        for key in SHAPES:
            assert np.any(update.variables[key] != start[key])
            assert np.all(np.abs(update.variables[key] - value[key]) <= update_tolerance(start[key], value[key]))
        for name, slot in update.slots.items():
            key, role = name.split(": ")
            np.testing.assert_allclose(slot, slots[key][role], rtol=1e-4, atol=1e-6 * np.abs(slot).max())
            seen.add(role)
    return seen


@pytest.mark.parametrize("name", CASES)
def test_a_tf1_optimizer_follows_its_rule(name):
    seen = follows_its_rule(GraphOptimizer(CASES[name], SHAPES))
    assert seen or name == "sgd"


@pytest.mark.parametrize("name", KERAS)
def test_a_keras_optimizer_follows_its_rule(name):
    optimizer = make_optimizer(KERAS[name], SHAPES, "candidate", eagerly=True)
    assert isinstance(optimizer, KerasOptimizer)
    seen = follows_its_rule(optimizer)
    assert seen or name == "sgd" or name.startswith("clipped")


@pytest.mark.slow
def test_the_optimizers_of_tensorflow_115_follow_the_same_rules(tmp_path):
    try:
        environment = provide(EnvironmentSpec("3.7", ("tensorflow==1.15.5",)), say=lambda _: None)
    except UnavailableEnvironmentError as error:
        pytest.skip(f"no TensorFlow 1.15 can be had here: {error}")
    target = tmp_path / "updates.npz"
    script = Path(__file__).parents[1] / "data" / "record_tf115_optimizers.py"
    command = [environment.python, script, RECORDER, target]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(target) as archive:
        told = json.loads(str(archive["told"]))
        found = {tuple(json.loads(name)): archive[name] for name in archive.files if name != "told"}
    assert list(told) == list(CASES)
    for name, facts in told.items():
        updates = [
            SimpleNamespace(**{
                kind: {key: value for (case, at, what, key), value in found.items()
                       if (case, at, what) == (name, number, kind)}
                for kind in ("variables", "slots")
            })
            for number in range(5)
        ]  # fmt: skip
        seen = agrees(from_plain(facts["description"]), facts["rates"], trial(SHAPES), updates)
        assert seen or name == "sgd"
