"""Models as people port them to PyTorch and from it, and each with the mistakes that such ports have.

A pair is `(reference, candidate, inputs)`; the side that was ported takes the name of its mistake.
"""

from __future__ import annotations

import functools

import keras
import numpy as np
import tensorflow.compat.v1 as tf
import torch
from keras import layers, ops
from torch import nn
from torch.nn import functional

import lockstep


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole(below, *shape, low=0):
    return np.random.default_rng(below).integers(low, below, shape).astype(np.int32)


IMAGE = {"image": numbers(2, 8, 8, 4)}
SEQUENCE = {"x": numbers(3, 5, 6)}
SQUARE = {"x": numbers(5, 5, 6)}
WORDS = {"ids": np.array([[3, 7, 1, 0, 0], [2, 4, 9, 8, 5], [6, 1, 0, 0, 0]], np.int32)}
LOGITS = {"logits": numbers(6, 4) * 2, "labels": np.array([0, 3, 1, 2, 2, 0], np.int32)}
EPSILON = 1.001e-5
"""What TensorFlow's fused batch normalization makes of 1e-5."""
SCORES = {"scores": numbers(4, 5), "targets": (numbers(4, 5, seed=1) > 0).astype(np.float32)}


def first(image):
    return image.permute(0, 3, 1, 2)


def last(image):
    return image.permute(0, 2, 3, 1)


# ---- a residual network: TF1 against PyTorch


def residual(inputs, training):
    def norm(x, name):
        return tf.layers.batch_normalization(x, momentum=0.9, epsilon=1e-5, training=training, name=name)

    x = tf.layers.conv2d(inputs["image"], 8, 3, padding="same", use_bias=False, name="stem")
    x = tf.nn.relu(norm(x, "stem_norm"))
    x = tf.layers.max_pooling2d(x, 3, 2, padding="same")
    with tf.variable_scope("block"):
        shortcut = norm(tf.layers.conv2d(x, 12, 1, 2, use_bias=False, name="shortcut"), "shortcut_norm")
        y = tf.nn.relu(norm(tf.layers.conv2d(x, 6, 1, use_bias=False, name="reduce"), "reduce_norm"))
        y = tf.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]])
        y = tf.nn.relu(norm(tf.layers.conv2d(y, 6, 3, 2, use_bias=False, name="middle"), "middle_norm"))
        y = norm(tf.layers.conv2d(y, 12, 1, use_bias=False, name="expand"), "expand_norm")
        x = tf.nn.relu(y + shortcut)
    return {"y": tf.layers.dense(tf.reduce_mean(x, [1, 2]), 3, name="out")}


class Residual(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        early = mistake == "stride at the first convolution"
        self.stem, self.stem_norm = nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8, eps=EPSILON)
        self.block = nn.ModuleDict(
            {
                "shortcut": nn.Conv2d(8, 12, 1, 2, bias=False),
                "shortcut_norm": nn.BatchNorm2d(12, eps=EPSILON),
                "reduce": nn.Conv2d(8, 6, 1, 2 if early else 1, bias=False),
                "reduce_norm": nn.BatchNorm2d(6, eps=EPSILON),
                "middle": nn.Conv2d(6, 6, 3, 1 if early else 2, padding=1, bias=False),
                "middle_norm": nn.BatchNorm2d(6, eps=1e-3 if mistake == "one epsilon" else EPSILON),
                "expand": nn.Conv2d(6, 12, 1, bias=False),
                "expand_norm": nn.BatchNorm2d(12, eps=EPSILON),
            }
        )
        self.out = nn.Linear(12, 3)

    def forward(self, image):
        wrong, b = self.mistake, self.block
        x = functional.relu(self.stem_norm(self.stem(first(image))))
        if wrong == "symmetric pooling":
            x = functional.max_pool2d(x, 3, 2, padding=1)
        else:
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        shortcut = b["shortcut_norm"](b["shortcut"](x))
        y = functional.relu(b["reduce_norm"](b["reduce"](x)))
        y = b["middle_norm"](b["middle"](y))
        y = y if wrong == "no activation" else functional.relu(y)
        y = b["expand_norm"](b["expand"](y))
        x = functional.relu(y) + shortcut if wrong == "activation before the sum" else functional.relu(y + shortcut)
        return {"y": self.out(x.amax((2, 3)) if wrong == "maximum for mean" else x.mean((2, 3)))}


# ---- recurrent networks: Keras 3 against PyTorch


class KerasLstm(keras.Model):
    def __init__(self):
        super().__init__()
        self.lstm = layers.Bidirectional(layers.LSTM(4), name="lstm")
        self.out = layers.Dense(3, name="out")

    def call(self, inputs, training=False):
        return {"y": self.out(self.lstm(inputs["x"]))}


class TorchLstm(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.lstm = nn.LSTM(6, 4, batch_first=mistake != "time first", bidirectional=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        outputs, (h, c) = self.lstm(x)
        if self.mistake == "last output for last state":
            return {"y": self.out(outputs[:, -1])}
        forwards, backwards = (c if self.mistake == "cell for hidden state" else h).unbind(0)
        pair = (backwards, forwards) if self.mistake == "directions exchanged" else (forwards, backwards)
        return {"y": self.out(torch.cat(pair, -1))}


class KerasGru(keras.Model):
    def __init__(self):
        super().__init__()
        self.gru = layers.GRU(4, reset_after=True, return_sequences=True, name="gru")
        self.out = layers.Dense(3, name="out")

    def call(self, inputs, training=False):
        return {"y": self.out(self.gru(inputs["x"]))}


class TorchGru(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.gru, self.out = nn.GRU(6, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        x = x.flip(1) if self.mistake == "sequence reversed" else x
        return {"y": self.out(self.gru(x)[0])}


# ---- a U-Net: TF1 against PyTorch


def unet(inputs, training):
    down = tf.nn.relu(tf.layers.conv2d(inputs["image"], 6, 3, padding="same", name="down"))
    x = tf.nn.relu(tf.layers.conv2d(tf.layers.max_pooling2d(down, 2, 2), 8, 3, padding="same", name="bottom"))
    x = tf.layers.conv2d_transpose(x, 6, 2, 2, name="up")
    x = tf.nn.relu(tf.layers.conv2d(tf.concat([down, x], -1), 6, 3, padding="same", name="join"))
    return {"mask": tf.sigmoid(tf.layers.conv2d(x, 1, 1, name="out"))}


class UNet(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.down, self.bottom = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 2, 2)
        self.join, self.out = nn.Conv2d(12, 6, 3, padding=1), nn.Conv2d(6, 1, 1)

    def forward(self, image):
        wrong = self.mistake
        before = self.down(first(image))
        down = functional.relu(before)
        pooled = functional.avg_pool2d(down, 2) if wrong == "average for maximum" else functional.max_pool2d(down, 2)
        x = self.up(functional.relu(self.bottom(pooled)))
        x = functional.relu(x) if wrong == "activation after upsampling" else x
        skip = before if wrong == "skip before activation" else down
        x = torch.cat([x, skip] if wrong == "joined the other way round" else [skip, x], 1)
        x = self.out(functional.relu(self.join(x)))
        return {"mask": last(x if wrong == "logits for probabilities" else torch.sigmoid(x))}


# ---- a block of a mobile network: Keras 3 against PyTorch


class KerasMobile(keras.Model):
    def __init__(self):
        super().__init__()
        self.expand = layers.Conv2D(8, 1, use_bias=False, name="expand")
        self.expand_norm = layers.BatchNormalization(epsilon=1e-3, name="expand_norm")
        self.depthwise = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")
        self.squeeze, self.excite = layers.Dense(4, name="squeeze"), layers.Dense(8, name="excite")
        self.project = layers.Conv2D(4, 1, name="project")

    def call(self, inputs, training=False):
        x = ops.relu6(self.expand_norm(self.expand(inputs["image"]), training=training) * 4.0)
        x = ops.hard_silu(self.depthwise(x))
        scale = self.excite(ops.relu(self.squeeze(ops.mean(x, (1, 2)))))
        x = x * ops.sigmoid(scale)[:, None, None]
        return {"y": self.project(x) + inputs["image"]}


class TorchMobile(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        spread = 2 if mistake == "dilated" else 1
        self.expand, self.expand_norm = nn.Conv2d(4, 8, 1, bias=False), nn.BatchNorm2d(8, eps=1e-3, momentum=0.01)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=spread, dilation=spread, groups=8, bias=False)
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)
        self.project = nn.Conv2d(8, 4, 1)

    def forward(self, image):
        wrong, image = self.mistake, first(image)
        x = self.expand_norm(self.expand(image)) * 4.0
        x = functional.relu(x) if wrong == "relu for relu6" else functional.relu6(x)
        x = self.depthwise(x)
        x = functional.silu(x) if wrong == "silu for hard silu" else functional.hardswish(x)
        scale = self.excite(functional.relu(self.squeeze(x.mean((2, 3)))))
        scale = functional.hardsigmoid(scale) if wrong == "hard sigmoid for sigmoid" else torch.sigmoid(scale)
        x = self.project(x * scale[:, :, None, None])
        return {"y": last(x if wrong == "no residual" else x + image)}


# ---- group normalization: PyTorch against Keras 3


class TorchGroups(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 8, 3, padding=1), nn.GroupNorm(4, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, image):
        x = functional.elu(self.norm(self.conv(first(image))))
        return {"y": self.out(x.std((2, 3)))}


class KerasGroups(keras.Model):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.conv = layers.Conv2D(8, 3, padding="same", name="conv")
        self.norm = layers.GroupNormalization(
            2 if mistake == "other groups" else 4, epsilon=1e-3 if mistake == "group epsilon" else 1e-5, name="norm"
        )
        self.out = layers.Dense(3, name="out")

    def call(self, inputs, training=False):
        x = self.norm(self.conv(inputs["image"]))
        x = ops.selu(x) if self.mistake == "selu for elu" else ops.elu(x)
        count = x.shape[1] * x.shape[2]
        share = 1.0 if self.mistake == "biased deviation" else count / (count - 1)
        return {"y": self.out(ops.sqrt(ops.var(x, (1, 2)) * share))}


# ---- words: TF1 against PyTorch


def words(inputs, training):
    table = tf.get_variable("embedding", [10, 6])
    mask = tf.cast(tf.not_equal(inputs["ids"], 0), tf.float32)[:, :, None]
    x = tf.nn.embedding_lookup(table, inputs["ids"]) * np.float32(6**0.5)
    x = tf.tanh(tf.layers.conv1d(x * mask, 6, 3, padding="same", name="conv"))
    return {"y": tf.layers.dense(tf.reduce_sum(x * mask, 1) / tf.reduce_sum(mask, 1), 3, name="out")}


class Words(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.embedding = nn.Embedding(10, 6)
        self.conv, self.out = nn.Conv1d(6, 6, 3, padding=1), nn.Linear(6, 3)

    def forward(self, ids):
        wrong = self.mistake
        mask = (ids != (9 if wrong == "another padding word" else 0)).float()[:, :, None]
        x = self.embedding(ids) * (1.0 if wrong == "embedding not scaled" else 6**0.5)
        x = x if wrong == "padding not masked" else x * mask
        x = torch.tanh(self.conv(x.transpose(1, 2)).transpose(1, 2))
        if wrong == "mean over padding":
            return {"y": self.out((x * mask).mean(1))}
        return {"y": self.out((x * mask).sum(1) / mask.sum(1))}


# ---- attention in several heads: TF1 against PyTorch


def heads(inputs, training):
    def split(x):
        return tf.transpose(tf.reshape(x, [3, 5, 2, 3]), [0, 2, 1, 3])

    x = inputs["x"]
    q, k, v = (split(tf.layers.dense(x, 6, name=name)) for name in ("query", "key", "value"))
    scores = tf.matmul(q, k, transpose_b=True) / np.float32(3**0.5)
    allowed = tf.linalg.band_part(tf.ones([5, 5]), -1, 0)
    weights = tf.nn.softmax(scores + (1.0 - allowed) * -1e9)
    y = tf.reshape(tf.transpose(tf.matmul(weights, v), [0, 2, 1, 3]), [3, 5, 6])
    x = x + tf.layers.dense(y, 6, name="out")
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    gamma, beta = tf.get_variable("norm/gamma", [6]), tf.get_variable("norm/beta", [6])
    return {"y": tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-5)}


class Heads(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.query, self.key, self.value, self.out = (nn.Linear(6, 6) for _ in range(4))
        self.norm = nn.LayerNorm(6)

    def split(self, x):
        return x.view(3, 2, 5, 3) if self.mistake == "heads not transposed" else x.view(3, 5, 2, 3).transpose(1, 2)

    def forward(self, x):
        wrong, given = self.mistake, x
        x = self.norm(x) if wrong == "normalized first" else x
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = q @ k.transpose(2, 3) / (6 if wrong == "scale of the model" else 3) ** 0.5
        if wrong != "not causal":
            hidden = torch.ones(5, 5).triu(2 if wrong == "one step ahead" else 1) * -1e9
            scores = scores + (hidden.T if wrong == "mask transposed" else hidden)
        y = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(3, 5, 6)
        x = given + self.out(y)
        return {"y": x if wrong == "normalized first" else self.norm(x)}


# ---- losses: TF1 against PyTorch


def cross_entropy(inputs, training):
    x = tf.layers.dense(inputs["logits"], 4, name="out")
    return {"loss": tf.losses.softmax_cross_entropy(tf.one_hot(inputs["labels"], 4), x, label_smoothing=0.1)}


class CrossEntropy(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.out = nn.Linear(4, 4)

    def forward(self, logits, labels):
        wrong, x = self.mistake, self.out(logits)
        x = torch.softmax(x, -1) if wrong == "softmax twice" else x
        return {
            "loss": functional.cross_entropy(
                x,
                labels.long(),
                label_smoothing={"no smoothing": 0.0, "other smoothing": 0.2}.get(wrong, 0.1),
                reduction="sum" if wrong == "sum of losses" else "mean",
                ignore_index=0 if wrong == "a class ignored" else -100,
            )
        }


def binary(inputs, training):
    x = tf.layers.dense(inputs["scores"], 5, name="out")
    weights = tf.nn.sigmoid_cross_entropy_with_logits(labels=inputs["targets"], logits=x)
    return {"loss": tf.reduce_mean(tf.reduce_sum(weights, -1)), "huber": tf.losses.huber_loss(inputs["targets"], x)}


class Binary(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.out = nn.Linear(5, 5)

    def forward(self, scores, targets):
        wrong, x = self.mistake, self.out(scores)
        y = torch.sigmoid(x) if wrong == "sigmoid twice" else x
        losses = functional.binary_cross_entropy_with_logits(y, targets, reduction="none")
        beta = 0.5 if wrong == "other delta" else 1.0
        return {
            "loss": losses.mean() if wrong == "mean over labels" else losses.sum(-1).mean(),
            "huber": functional.huber_loss(x, targets, delta=beta),
        }


# ---- batch normalization without images: Keras 3 against PyTorch, and the other way round


class KerasNorm(keras.Model):
    def __init__(self, mistake=""):
        super().__init__()
        self.hidden = layers.Dense(6, name="hidden")
        self.norm = layers.BatchNormalization(
            momentum=0.1 if mistake == "keras momentum" else 0.9,
            epsilon=1e-3 if mistake == "keras epsilon" else 1e-5,
            name="norm",
        )
        self.act = layers.LeakyReLU(negative_slope=0.3 if mistake == "keras slope" else 0.01)
        self.out = layers.Dense(3, name="out")

    def call(self, inputs, training=False):
        return {"y": self.out(self.act(self.norm(self.hidden(inputs["x"]), training=training)))}


class TorchNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.norm, self.out = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x):
        return {"y": self.out(functional.leaky_relu(self.norm(self.hidden(x))))}


# ---- batch normalization of images: PyTorch against Keras 3


class TorchImages(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6, eps=1e-3)
        self.out = nn.Linear(6, 3)

    def forward(self, image):
        return {"y": self.out(functional.relu(self.bn(self.conv(first(image)))).mean((2, 3)))}


class KerasImages(keras.Model):
    def __init__(self, mistake=""):
        super().__init__()
        self.conv = layers.Conv2D(6, 3, padding="same", use_bias=False, name="conv")
        self.bn = layers.BatchNormalization(momentum=0.9, name="bn")
        self.out = layers.Dense(3, name="out")

    def call(self, inputs, training=False):
        x = ops.relu(self.bn(self.conv(inputs["image"]), training=training))
        return {"y": self.out(ops.mean(x, (1, 2)))}


# ---- an encoder with two heads: TF1 against PyTorch


def encoder(inputs, training):
    x = tf.nn.relu(tf.layers.conv2d(inputs["image"], 6, 3, 2, padding="valid", name="conv"))
    x = tf.layers.flatten(x)
    return {"mean": tf.layers.dense(x, 3, name="mean"), "deviation": tf.exp(tf.layers.dense(x, 3, name="log") / 2.0)}


class Encoder(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.conv, self.mean, self.log = nn.Conv2d(4, 6, 3, 2), nn.Linear(54, 3), nn.Linear(54, 3)

    def forward(self, image):
        x = functional.relu(self.conv(first(image)))
        if self.mistake == "flattened twice as it lies":
            return {"mean": self.mean(x.flatten(1)), "deviation": torch.exp(self.log(x.flatten(1)) / 2)}
        x = x.flatten(1) if self.mistake == "flattened as it lies" else last(x).flatten(1)
        log = self.log(x)
        return {"mean": self.mean(x), "deviation": torch.exp(log if self.mistake == "variance" else log / 2)}


def _torch(module):
    return lambda mistake: lockstep.torch(functools.partial(module, mistake) if mistake is not None else module)


def _keras(model):
    return lambda mistake: lockstep.keras(functools.partial(model, mistake) if mistake is not None else model)


def _original(side):
    return lambda: side(None)


PAIRS = {
    "residual": (lambda: lockstep.tf1_graph(residual), _torch(Residual), IMAGE),
    "lstm": (_original(_keras(KerasLstm)), _torch(TorchLstm), SQUARE),
    "gru": (_original(_keras(KerasGru)), _torch(TorchGru), SEQUENCE),
    "unet": (lambda: lockstep.tf1_graph(unet), _torch(UNet), IMAGE),
    "mobile": (_original(_keras(KerasMobile)), _torch(TorchMobile), IMAGE),
    "groups": (_original(_torch(TorchGroups)), _keras(KerasGroups), IMAGE),
    "words": (lambda: lockstep.tf1_graph(words), _torch(Words), WORDS),
    "heads": (lambda: lockstep.tf1_graph(heads), _torch(Heads), SEQUENCE),
    "cross_entropy": (lambda: lockstep.tf1_graph(cross_entropy), _torch(CrossEntropy), LOGITS),
    "binary": (lambda: lockstep.tf1_graph(binary), _torch(Binary), SCORES),
    "images": (_original(_torch(TorchImages)), _keras(KerasImages), IMAGE),
    "encoder": (lambda: lockstep.tf1_graph(encoder), _torch(Encoder), IMAGE),
    "norm": (_original(_torch(TorchNorm)), _keras(KerasNorm), {"x": numbers(8, 6)}),
}
"""Name -> what makes the reference, what makes the candidate with a mistake, and the inputs."""

TRAINED = ("norm", "images")
"""Pairs that are run in training mode too."""

MISTAKES = {
    "stride at the first convolution": ("residual", "block/reduce", {"strides"}),
    "one epsilon": ("residual", "middle_norm", {"epsilon"}),
    "symmetric pooling": ("residual", "MaxPool", {"padding"}),
    "no activation": ("residual", "block/Relu_1", {"missing-activation"}),
    "activation before the sum": ("residual", "block/add", {"operation-order"}),
    "maximum for mean": ("residual", "Mean", {"pooling-kind"}),
    "cell for hidden state": ("lstm", "lstm", {"missing-operation"}),
    "directions exchanged": ("lstm", "lstm", {"wrong-input"}),
    "sequence reversed": ("gru", "gru", {"wrong-input"}),
    "dilated": ("mobile", "depthwise", {"dilation"}),
    "relu for relu6": ("mobile", "Relu6", {"wrong-activation"}),
    "silu for hard silu": ("mobile", "Sigmoid", {"wrong-activation"}),
    "hard sigmoid for sigmoid": ("mobile", "Sigmoid", {"wrong-activation"}),
    "no residual": ("mobile", "AddV2", {"missing-operation"}),
    "normalized first": ("heads", "norm|add_1", {"missing-operation"}),
    "mean over labels": ("binary", "Mean", {"wrong-operation"}),
    "time first": ("lstm", "lstm", None),
    "last output for last state": ("lstm", "lstm", None),
    "average for maximum": ("unet", "[Pp]ool", {"pooling-kind"}),
    "activation after upsampling": ("unet", "Relu|concat", {"extra-operation", "wrong-activation"}),
    "skip before activation": ("unet", "concat", {"wrong-input"}),
    "joined the other way round": ("unet", "concat", {"concat-order"}),
    "logits for probabilities": ("unet", "Sigmoid", {"missing-activation"}),
    "other groups": ("groups", "norm", {"wrong-axis"}),
    "group epsilon": ("groups", "norm", {"epsilon"}),
    "selu for elu": ("groups", "Selu", {"wrong-activation"}),
    "biased deviation": ("groups", "Mul", {"unbiased-variance"}),
    "another padding word": ("words", "NotEqual", {"constant"}),
    "embedding not scaled": ("words", "mul", {"constant-factor"}),
    "padding not masked": ("words", "mul|conv|Mul", {"mask"}),
    "mean over padding": ("words", "Mean|Sum|truediv", None),
    "heads not transposed": ("heads", "MatMul", None),
    "scale of the model": ("heads", "truediv", {"constant-factor"}),
    "not causal": ("heads", "add", {"mask"}),
    "one step ahead": ("heads", "add", {"mask"}),
    "mask transposed": ("heads", "add", {"mask"}),
    "softmax twice": ("cross_entropy", "loss", {"extra-operation", "wrong-activation"}),
    "no smoothing": ("cross_entropy", "LogSoftmax", {"wrong-operation"}),
    "other smoothing": ("cross_entropy", "LogSoftmax", {"wrong-operation"}),
    "a class ignored": ("cross_entropy", "NotEqual", {"mask"}),
    "sum of losses": ("cross_entropy", "loss", None),
    "sigmoid twice": ("binary", "loss", {"extra-operation", "wrong-activation"}),
    "other delta": ("binary", "huber", None),
    "flattened as it lies": ("encoder", "Reshape", {"flatten-order"}),
    "flattened twice as it lies": ("encoder", "Reshape", {"flatten-order"}),
    "variance": ("encoder", "Exp", None),
    "keras variance of images": ("images", "running_var", {"unbiased-variance"}),
    "keras variance": ("norm", "running_var", {"unbiased-variance"}),
    "keras momentum": ("norm", "norm", {"momentum"}),
    "keras epsilon": ("norm", "norm", {"epsilon"}),
    "keras slope": ("norm", "LeakyRelu", {"leaky-slope"}),
}
"""Mistake -> its pair, where its first culprit is, and what it is called; None where no cause is named so far."""

SEVERAL = ("time first", "stride at the first convolution", "activation before the sum", "normalized first")
"""Mistakes that are told as several places: two of them are made at two places of the code; the others are so far."""
