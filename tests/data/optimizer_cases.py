"""TF1's optimizers with arguments that matter, for TensorFlow 1.15 and for today's."""

import tensorflow.compat.v1 as tf

train = tf.train
SHAPES = {"net/kernel": (5, 4), "net/bias": (4,)}


def scheduled(schedule):
    def make():
        return train.MomentumOptimizer(schedule(train.get_or_create_global_step()), 0.9)

    return make


def ftrl():
    return train.FtrlOptimizer(
        0.1,
        l1_regularization_strength=1e-3,
        l2_regularization_strength=0.1,
        l2_shrinkage_regularization_strength=0.01,
    )


def proximal_adagrad():
    return train.ProximalAdagradOptimizer(0.1, 0.2, l1_regularization_strength=1e-2, l2_regularization_strength=0.1)


CASES = {
    "sgd": lambda: train.GradientDescentOptimizer(0.1),
    "momentum": lambda: train.MomentumOptimizer(0.1, 0.9),
    "nesterov": lambda: train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "adam": lambda: train.AdamOptimizer(0.01),
    "adam with a large epsilon": lambda: train.AdamOptimizer(0.01, 0.8, 0.99, epsilon=1e-3),
    "rmsprop": lambda: train.RMSPropOptimizer(0.01, momentum=0.9),
    "centered rmsprop": lambda: train.RMSPropOptimizer(0.01, 0.8, epsilon=1e-4, centered=True),
    "adagrad": lambda: train.AdagradOptimizer(0.1),
    "adadelta": lambda: train.AdadeltaOptimizer(1.0),
    "ftrl": ftrl,
    "ftrl with another power": lambda: train.FtrlOptimizer(0.1, -0.7, 0.2),
    "proximal adagrad": proximal_adagrad,
    "exponential": scheduled(lambda step: train.exponential_decay(0.1, step, 2, 0.5)),
    "staircase": scheduled(lambda step: train.exponential_decay(0.1, step, 2, 0.5, staircase=True)),
    "polynomial": scheduled(lambda step: train.polynomial_decay(0.1, step, 4, 0.01, power=2.0)),
    "cosine": scheduled(lambda step: train.cosine_decay(0.1, step, 4, alpha=0.1)),
    "piecewise": scheduled(lambda step: train.piecewise_constant(step, [1, 3], [0.1, 0.05, 0.01])),
}
