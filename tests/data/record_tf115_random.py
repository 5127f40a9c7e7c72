"""Records what real TF 1.15 draws for every case of random_cases.py under the seeds of the random tool.

    python3.7 record_tf115_random.py tf115_random.npz

Python 3.7 with tensorflow 1.15; imports nothing of Lockstep. For each mode: all cases in one graph, in their order, and
two runs of one session, since a TF1 operation goes on drawing where its last run stopped.
"""

import sys

import numpy as np
import random_cases
import tensorflow as tf

# The module whose `get_seed` every random operation asks; TF 1.15 has a second copy under tensorflow_core.
random_seed = sys.modules[tf.compat.v1.get_seed.__module__]


def record(mode):
    asked = []

    def get_seed(op_seed):
        asked.append(op_seed)
        return 42, 0 if mode == "constant" else len(asked) - 1

    random_seed.get_seed = get_seed
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tensors = {name: draw(tf) for name, (draw, _) in random_cases.CASES.items()}
        return [session.run(tensors) for _ in range(2)]


def main(path):
    arrays = {}
    for mode in random_cases.MODES:
        for number, values in enumerate(record(mode)):
            for name, value in values.items():
                arrays["%s/%d/%s" % (mode, number, name)] = value
    # One run of bytes per dtype, and the order and shapes as text: 200 arrays of their own would be mostly headers.
    kept = {"names": np.array(["\n".join("%s|%s|%s" % (n, a.dtype, a.shape) for n, a in arrays.items())])}
    for dtype in ("float32", "int32", "int64"):
        parts = [a.reshape(-1) for a in arrays.values() if str(a.dtype) == dtype]
        kept[dtype] = np.concatenate(parts)
    np.savez_compressed(path, **kept)


if __name__ == "__main__":
    main(sys.argv[1])
