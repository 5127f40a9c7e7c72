"""Keras 3 layers that native rewrites of TF1 models need in several families."""

import keras
import numpy as np
from keras import ops


class FusedBatchNormalization(keras.layers.Layer):
    """Batch normalisation over (batch, height, width, channels) with the moving variance of TF1's fused kernel.

    The kernel puts n / (n - 1) times the batch's variance into the moving average; `keras.layers.BatchNormalization`
    puts the variance itself.
    """

    def __init__(self, momentum, epsilon, scale=True, unbiased=True, updates=True, **kwargs):
        super().__init__(**kwargs)
        self.epsilon, self.scale = epsilon, scale
        self.unbiased, self.updates = unbiased, updates
        # TF1 subtracts in float32: at 0.9997 that is 3e-5 away from what double precision gives.
        self.rate = np.float32(1.0) - np.float32(momentum)

    def build(self, shape):
        shape = (shape[-1],)
        if self.scale:
            self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")
        self.moving_mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="moving_mean")
        self.moving_variance = self.add_weight(shape=shape, initializer="ones", trainable=False, name="moving_variance")

    def call(self, inputs, training=False):
        mean, variance = self.moving_mean, self.moving_variance
        if training:
            mean, variance = ops.moments(inputs, axes=[0, 1, 2])
        if training and self.updates:
            count = inputs.shape[0] * inputs.shape[1] * inputs.shape[2]
            correction = count / max(count - 1, 1) if self.unbiased else 1.0
            for average, value in ((self.moving_mean, mean), (self.moving_variance, variance * correction)):
                average.assign(average - (average - value) * self.rate)
        gamma = self.gamma if self.scale else None
        return ops.batch_normalization(inputs, mean, variance, -1, self.beta, gamma, self.epsilon)
