"""The same models, written anew in Keras 3; `mistake` plants one of those that a migration makes."""

import keras
import tensorflow as tf
from keras import layers, ops


class BatchNormalization(layers.BatchNormalization):
    """Keeps what Keras 2 keeps of a batch of images: n / (n - 1) times its variance."""

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable):
            return super().call(inputs, training=False, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1.0 - self.momentum))
        return outputs


def _convolution(filters, name, size=1, strides=1, **more):
    return layers.Conv2D(filters, size, strides=strides, padding="same", kernel_initializer=_HE, name=name, **more)


_HE = {"class_name": "VarianceScaling", "config": {"scale": 2.0, "mode": "fan_out", "distribution": "normal"}}
_TOP = {"class_name": "VarianceScaling", "config": {"scale": 1 / 3, "mode": "fan_out", "distribution": "uniform"}}


def _mobile_block(x, size, filters, strides, expand, drop_rate, name, mistake):
    inputs, before = x, x.shape[-1]
    if expand != 1:
        x = _convolution(before * expand, name + "expand_conv", use_bias=False)(x)
        x = ops.silu(BatchNormalization(name=name + "expand_bn")(x))
    x = layers.DepthwiseConv2D(
        size, strides, padding="same", use_bias=False, depthwise_initializer=_HE, name=name + "dwconv"
    )(x)
    x = ops.silu(BatchNormalization(name=name + "bn")(x))
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
    squeezed = _convolution(max(1, before // 4), name + "se_reduce", activation="silu")(squeezed)
    gates = "hard_sigmoid" if mistake == "gates" else "sigmoid"
    x = x * _convolution(before * expand, name + "se_expand", activation=gates)(squeezed)
    x = _convolution(filters, name + "project_conv", use_bias=False)(x)
    x = BatchNormalization(name=name + "project_bn")(x)
    if strides == 1 and filters == before:
        if drop_rate:
            x = layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=name + "drop")(x)
        x = x + inputs
    return x


def efficientnet(mistake=None):
    x = image = keras.Input((32, 32, 3))
    x = ops.silu(BatchNormalization(name="stem_bn")(_convolution(32, "stem_conv", 3, 2, use_bias=False)(x)))
    number, total = 0, 5
    stages = [(3, 1, 16, 1, 1), (3, 2, 24, 2, 6), (5, 2, 40, 2, 6)]
    for stage, (size, repeats, filters, strides, expand) in enumerate(stages, 1):
        for repeat in range(repeats):
            name = f"block{stage}{chr(97 + repeat)}_"
            rate = 0.2 * number / total
            x = _mobile_block(x, size, filters, strides if repeat == 0 else 1, expand, rate, name, mistake)
            number += 1
    x = ops.silu(BatchNormalization(name="top_bn")(_convolution(1280, "top_conv", use_bias=False)(x)))
    x = layers.Dropout(0.2, name="top_dropout")(layers.GlobalAveragePooling2D(name="avg_pool")(x))
    return keras.Model(image, layers.Dense(5, activation="softmax", kernel_initializer=_TOP, name="probs")(x))


def efficientnet_with_hard_gates():
    return efficientnet("gates")


class Norm(layers.Layer):
    def __init__(self, epsilon=1e-14, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.supports_masking = True

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(shape[-1],), initializer="zeros", name="beta")

    def call(self, x):
        mean = ops.mean(x, -1, keepdims=True)
        variance = ops.mean(ops.square(x - mean), -1, keepdims=True)
        # Keras 2's backend takes the root of nothing below 0.
        deviation = ops.sqrt(ops.maximum(variance + self.epsilon, 0.0))
        return (x - mean) / deviation * self.gamma + self.beta


class Attention(layers.Layer):
    def __init__(self, heads, masked=True, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.masked = heads, masked
        self.supports_masking = True

    def build(self, shape):
        size = shape[-1]
        for letter in "qkvo":
            kernel = self.add_weight(shape=(size, size), initializer="glorot_normal", name=f"{self.name}_W{letter}")
            bias = self.add_weight(shape=(size,), initializer="zeros", name=f"{self.name}_b{letter}")
            setattr(self, letter, (kernel, bias))

    def call(self, x, mask=None):
        batch, length, size = x.shape[0] or ops.shape(x)[0], x.shape[1], x.shape[2]
        q, k, v = (
            ops.transpose(
                ops.reshape(ops.matmul(x, kernel) + bias, (batch, length, self.heads, size // self.heads)), (0, 2, 1, 3)
            )
            for kernel, bias in (self.q, self.k, self.v)
        )
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / (size // self.heads) ** 0.5
        if mask is not None and self.masked:
            scores = scores - 10000.0 * (1.0 - ops.cast(mask, "float32"))[:, None, None, :]
        weights = ops.exp(scores - ops.max(scores, -1, keepdims=True))
        weights = weights / ops.sum(weights, -1, keepdims=True)
        merged = ops.reshape(ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3)), (batch, length, size))
        return ops.matmul(merged, self.o[0]) + self.o[1]


class FeedForward(layers.Layer):
    def __init__(self, units, approximate=True, **kwargs):
        super().__init__(**kwargs)
        self.units, self.approximate = units, approximate
        self.supports_masking = True

    def build(self, shape):
        make = {"initializer": "glorot_normal"}
        self.w1 = self.add_weight(shape=(shape[-1], self.units), name=f"{self.name}_W1", **make)
        self.b1 = self.add_weight(shape=(self.units,), initializer="zeros", name=f"{self.name}_b1")
        self.w2 = self.add_weight(shape=(self.units, shape[-1]), name=f"{self.name}_W2", **make)
        self.b2 = self.add_weight(shape=(shape[-1],), initializer="zeros", name=f"{self.name}_b2")

    def call(self, x):
        inner = ops.gelu(ops.matmul(x, self.w1) + self.b1, approximate=self.approximate)
        return ops.matmul(inner, self.w2) + self.b2


class Bert(keras.Model):
    def __init__(self, mistake=None):
        super().__init__(name="bert")
        self.token = layers.Embedding(20, 8, name="Embedding-Token")
        self.segment = layers.Embedding(2, 8, name="Embedding-Segment")
        self.position = layers.Embedding(6, 8, name="Embedding-Position")
        self.drop, self.norm = layers.Dropout(0.1), Norm(name="Embedding-Norm")
        self.blocks = [self._block(f"Encoder-{number}-", mistake) for number in (1, 2)]
        self.mlm_dense = layers.Dense(8, name="MLM-Dense")
        self.mlm_norm = Norm(name="MLM-Norm")
        self.bias = self.add_weight(shape=(20,), initializer="zeros", name="MLM-Sim-bias")
        self.nsp_dense = layers.Dense(8, "tanh", name="NSP-Dense")
        self.nsp = layers.Dense(2, "softmax", name="NSP")
        self.approximate = mistake != "gelu"

    def _block(self, name, mistake):
        attention = Attention(2, mistake != "mask", name=name + "MultiHeadSelfAttention")
        forward = FeedForward(12, mistake != "gelu", name=name + "FeedForward")
        return [
            (attention, layers.Dropout(0.1), Norm(name=name + "MultiHeadSelfAttention-Norm")),
            (forward, layers.Dropout(0.1), Norm(name=name + "FeedForward-Norm")),
        ]

    def call(self, inputs, training=None):
        tokens, segments = inputs["Input-Token"], inputs["Input-Segment"]
        mask = ops.not_equal(tokens, 0.0)
        x = self.token(tokens) + self.segment(segments) + self.position(ops.arange(6))
        x = self.norm(self.drop(x, training=training))
        for (attention, drop, norm), (forward, drop_after, norm_after) in self.blocks:
            x = norm(x + drop(attention(x, mask=mask), training=training))
            x = norm_after(x + drop_after(forward(x), training=training))
        words = self.mlm_norm(ops.gelu(self.mlm_dense(x), approximate=self.approximate))
        scores = ops.softmax(ops.matmul(words, ops.transpose(self.token.embeddings)) + self.bias)
        return scores, self.nsp(self.nsp_dense(x[:, 0]))


def bert():
    return Bert()


def bert_without_a_mask():
    return Bert("mask")


def bert_with_the_other_gelu():
    return Bert("gelu")
