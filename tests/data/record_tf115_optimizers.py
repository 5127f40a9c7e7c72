"""Run by an old TensorFlow: `python record_tf115_optimizers.py RECORDER_FOLDER TARGET.npz`, what its optimizers do."""

import json
import sys

import numpy as np

sys.path.insert(0, sys.argv[1])  # this file's own folder is there already
import bootstrap

bootstrap.load()
from lockstep_recorder.ground import trials  # noqa: E402
from lockstep_recorder.recorder import optimizing  # noqa: E402
from optimizer_cases import CASES, SHAPES  # noqa: E402

shapes = {key: (shape, np.dtype("float32")) for key, shape in SHAPES.items()}
arrays, told = {}, {}
for name, make in CASES.items():
    optimizer = optimizing.GraphOptimizer(make, shapes)
    steps = list(range(trials.UPDATES))
    rates = optimizer.learning_rates(steps)
    for number, update in enumerate(trials.updates(optimizer, trials.trial(shapes))):
        for kind, found in (("variables", update.variables), ("slots", update.slots)):
            arrays.update({json.dumps([name, number, kind, key]): value for key, value in found.items()})
    told[name] = {"description": optimizer.description, "rates": [rates[step] for step in steps]}
    optimizer.close()
arrays["told"] = np.array(json.dumps(told))
np.savez(sys.argv[2], **arrays)
