"""Reads what the recorders of this folder wrote, and loads the configurations that they ran."""

import importlib.util
import json
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parent


class Recording:
    """One recorded file: `index` says what was run, `array` gives the values that it points to."""

    def __init__(self, name):
        with np.load(DATA / name, allow_pickle=False) as archive:
            self.index = json.loads(archive["index"].tobytes().decode())
            self.values = archive["values"].tobytes()

    def array(self, place):
        dtype, shape, start = place
        count = int(np.prod(shape))
        return np.frombuffer(self.values, dtype, count, start).reshape(shape)


def load(name):
    """Imports a module of this folder, which is no package: Python 3.7 runs its modules as scripts."""
    spec = importlib.util.spec_from_file_location(name, DATA / (name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
