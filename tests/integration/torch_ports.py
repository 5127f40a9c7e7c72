"""TF1 functions and their ports to PyTorch: right ones, and the same with one mistake of the kind that ports have."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf
import torch
from torch import nn
from torch.nn import functional

IMAGE = {"image": np.random.default_rng(0).normal(size=(3, 8, 8, 4)).astype(np.float32)}
ROWS = {"x": np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)}
SEQUENCE = {"x": np.random.default_rng(2).normal(size=(2, 5, 6)).astype(np.float32)}


# ---- a convolutional network


def conv_net(inputs, training):
    x = tf.layers.conv2d(inputs["image"], 6, 3, strides=2, padding="same", name="conv")
    x = tf.layers.batch_normalization(x, momentum=0.9, epsilon=1e-3, training=training, name="bn")
    x = tf.nn.leaky_relu(x, 0.2)
    x = tf.layers.average_pooling2d(x, 3, 2, padding="same")
    x = tf.layers.dense(tf.layers.flatten(x), 5, name="out")
    return {"p": tf.nn.softmax(x)}


class ConvNet(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.conv = nn.Conv2d(4, 6, 3, stride=2, padding=1 if mistake == "symmetric padding" else 0)
        self.bn = nn.BatchNorm2d(
            6,
            eps=1e-5 if mistake == "epsilon" else 1e-3,
            momentum=0.9 if mistake == "momentum" else 0.1,
        )
        self.out = nn.Linear(24, 5)

    def forward(self, image):
        x = image.permute(0, 3, 1, 2)
        if self.mistake != "symmetric padding":
            x = functional.pad(x, (0, 1, 0, 1))  # TensorFlow's SAME for an even size and a stride of 2
        x = self.conv(x)
        if self.mistake == "activation before normalization":
            x = self.bn(functional.leaky_relu(x, 0.2))
        else:
            x = functional.leaky_relu(self.bn(x), 0.01 if self.mistake == "slope" else 0.2)
        counted = self.mistake == "count_include_pad"
        if counted:
            x = functional.avg_pool2d(functional.pad(x, (0, 1, 0, 1)), 3, 2)
        else:
            x = functional.avg_pool2d(x, 3, 2, padding=0, ceil_mode=True, count_include_pad=False)
        x = x.flatten(1) if self.mistake == "flatten order" else x.permute(0, 2, 3, 1).flatten(1)
        return {"p": functional.softmax(self.out(x), dim=0 if self.mistake == "softmax axis" else -1)}


# ---- layers of dense networks


def dense_net(inputs, training):
    x = tf.layers.dense(inputs["x"], 6, name="square")
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    gamma, beta = tf.get_variable("norm/gamma", [6]), tf.get_variable("norm/beta", [6])
    x = tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-6)
    x = 0.5 * x * (1.0 + tf.erf(x / np.float32(np.sqrt(2.0))))
    x = tf.layers.dropout(x, 0.3, training=training)
    return {"y": tf.layers.dense(x, 3, name="out")}


class DenseNet(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.square = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6, eps=1e-3 if mistake == "layer norm epsilon" else 1e-6)
        self.dropout = nn.Dropout(0.7 if mistake == "dropout rate" else 0.3)
        self.out = nn.Linear(6, 3, bias=mistake != "no bias")

    def forward(self, x):
        wrong = self.mistake == "square kernel"
        x = x @ self.square.weight + self.square.bias if wrong else self.square(x)
        x = self.norm(x)
        x = functional.gelu(x, approximate="tanh" if self.mistake == "gelu" else "none")
        return {"y": self.out(self.dropout(x))}


# ---- attention


def attention(inputs, training):
    x = inputs["x"]
    q, k, v = (tf.layers.dense(x, 6, name=name) for name in ("query", "key", "value"))
    scores = tf.matmul(q, k, transpose_b=True) / np.float32(np.sqrt(6.0))
    return {"y": tf.layers.dense(tf.matmul(tf.nn.softmax(scores), v), 4, name="out")}


class Attention(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.query, self.key, self.value = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.out = nn.Linear(6, 4)

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        if self.mistake == "keys and values":
            k, v = v, k
        scores = q @ k.transpose(1, 2)
        if self.mistake != "no scale":
            scores = scores / 6.0**0.5
        return {"y": self.out(torch.softmax(scores, dim=1 if self.mistake == "attention axis" else -1) @ v)}


# ---- an upsampling


def upsampling(inputs, training):
    x = tf.raw_ops.ResizeBilinear(images=inputs["image"], size=[16, 16], half_pixel_centers=True)
    return {"y": tf.layers.conv2d(x, 3, 1, name="conv")}


class Upsampling(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.conv = nn.Conv2d(4, 3, 1)

    def forward(self, image):
        x = image.permute(0, 3, 1, 2)
        if self.mistake == "align_corners":
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        else:
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return {"y": self.conv(x).permute(0, 2, 3, 1)}


# ---- a recurrent cell by hand


def recurrent(inputs, training):
    h = c = tf.zeros([2, 3])
    with tf.variable_scope("cell"):
        kernel, bias = tf.get_variable("kernel", [9, 12]), tf.get_variable("bias", [12])
    for step in range(5):
        z = tf.matmul(tf.concat([inputs["x"][:, step], h], 1), kernel) + bias
        i, j, f, o = tf.split(z, 4, axis=1)
        c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
        h = tf.tanh(c) * tf.sigmoid(o)
    return {"h": h}


class Recurrent(nn.Module):
    def __init__(self, mistake=""):
        super().__init__()
        self.mistake = mistake
        self.cell = nn.Linear(9, 12)

    def forward(self, x):
        h = c = torch.zeros(2, 3)
        for step in range(5):
            z = self.cell(torch.cat([x[:, step], h], 1))
            if self.mistake == "gate order":
                i, f, j, o = z.chunk(4, 1)
            else:
                i, j, f, o = z.chunk(4, 1)
            f = f if self.mistake == "forget bias" else f + 1.0
            c = c * torch.sigmoid(f) + torch.sigmoid(i) * torch.tanh(j)
            h = torch.tanh(c) * torch.sigmoid(o)
        return {"h": h}


PORTS = {
    "conv_net": (conv_net, ConvNet, IMAGE),
    "dense_net": (dense_net, DenseNet, ROWS),
    "attention": (attention, Attention, SEQUENCE),
    "upsampling": (upsampling, Upsampling, IMAGE),
    "recurrent": (recurrent, Recurrent, SEQUENCE),
}
"""Name -> the TF1 function, the module, and what both run on."""

MISTAKES = {
    "epsilon": ("conv_net", "bn/", "with epsilon 0.001 the difference vanishes"),
    "momentum": ("conv_net", "bn/moving_mean", "momentum is 0.1; with 0.9 the difference vanishes"),
    "symmetric padding": ("conv_net", "conv/Conv2D", "only the candidate computes Pad"),
    "activation before normalization": ("conv_net", "LeakyRelu", "in the wrong place"),
    "slope": ("conv_net", "LeakyRelu", "0.2 against 0.01"),
    "count_include_pad": ("conv_net", "AvgPool", "only the candidate computes Pad"),
    "flatten order": ("conv_net", "Reshape", "the candidate arranges values by transpose (0, 3, 1, 2)"),
    "softmax axis": ("conv_net", "Softmax", "along axis 0 instead of 1"),
    "layer norm epsilon": ("dense_net", "norm/", "epsilon is 0.001"),
    "square kernel": ("dense_net", "square/MatMul", "the last two axes are swapped"),
    "dropout rate": ("dense_net", "dropout/", "is 0.7; with 0.3"),
    "no bias": ("dense_net", "out/bias", "the candidate has no out/bias"),
    "gelu": ("dense_net", "Erf", "tanh approximation"),
    "keys and values": ("attention", "MatMul", "are exchanged"),
    "no scale": ("attention", "truediv", "lacks the factor 0.408248"),
    "attention axis": ("attention", "Softmax", "along axis 1 instead of 2"),
    "align_corners": ("upsampling", "ResizeBilinear", "align_corners: False against True"),
    "gate order": ("recurrent", "Split", "pieces 1, 2 of Split are exchanged"),
    "forget bias": ("recurrent", "add", "the forget bias is 0; with 1"),
}
"""Mistake -> its port, where it is, and what the cause says."""
