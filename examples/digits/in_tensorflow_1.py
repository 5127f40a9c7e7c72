"""Trains the legacy side in real TensorFlow 1.15 and writes down the losses; imports nothing of Lockstep.

python3.7 in_tensorflow_1.py tensorflow_1.15.json
"""

import contextlib
import itertools
import json
import sys
from pathlib import Path

import legacy_train
import setting
import tensorflow.compat.v1 as tf


@contextlib.contextmanager
def aligned():
    """What `lockstep.DeterministicRandomTestTool` does, for the TensorFlow that came before it."""
    random_seed = sys.modules[tf.get_seed.__module__]  # the module that every random operation asks for its seeds
    original, numbers = random_seed.get_seed, itertools.count()
    random_seed.get_seed = lambda _: (42, next(numbers))
    try:
        yield
    finally:
        random_seed.get_seed = original


if __name__ == "__main__":
    tf.enable_resource_variables()  # the other kind may change while the loss is being read
    losses, accuracy, _ = legacy_train.train(setting.data(), setting.EPOCHS, aligned)
    found = {"tensorflow": tf.__version__, "accuracy": accuracy, "losses": losses}
    Path(sys.argv[1]).write_text(json.dumps(found) + "\n")
