"""Run inside the reference's environment: trains it for two steps and saves it with `tf.train.Saver`.

    python save_checkpoint.py FOLDER FILE.py:FUNCTION INPUTS.npz CHECKPOINT

Python 3.6 syntax.
"""

import importlib
import sys

import numpy as np
import tensorflow.compat.v1 as tf


def main(folder, entry, inputs, checkpoint):
    """Builds the reference in training mode, so that moving averages move, and writes its variables."""
    sys.path.insert(0, folder)
    import training

    module, _, function = entry.partition(".py:")
    forward = getattr(importlib.import_module(module), function)
    with np.load(inputs) as file:
        arrays = dict(file)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(7)
        fed = {name: tf.placeholder(array.dtype, array.shape) for name, array in arrays.items()}
        loss = training.loss(forward(fed, True), fed)
        step = tf.train.get_or_create_global_step()
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train = training.legacy_optimizer().minimize(loss, global_step=step)
        session.run([tf.global_variables_initializer(), tf.tables_initializer()])
        for _ in range(2):
            session.run(train, {fed[name]: array for name, array in arrays.items()})
        tf.train.Saver().save(session, checkpoint, write_meta_graph=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
