"""How the shim grows: with the number of variables, and over a thousand calls. Run as a process of its own.

`python benchmarks/shim_sizes.py growth` and `... memory` print their rows; with `small` behind it in small sizes.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
import tf_slim as slim

import lockstep

v1 = tf.compat.v1
SIZES = (1_000, 4_000, 16_000)
REGULARIZED_SIZES = (1_000, 4_000)
FURTHER_CALLS = 3
LARGEST_GROWTH = 1.5  # of the time per variable; a square would be 16


def making(make, number: int):
    """A forward pass that makes variables and hands its inputs on."""

    def forward(inputs):
        make(number)
        return inputs

    return forward


def in_one_scope(number: int) -> None:
    with v1.variable_scope("net"):
        for i in range(number):
            v1.get_variable(f"v{i}", [1], initializer=v1.zeros_initializer())


def in_nested_scopes(number: int) -> None:
    with v1.variable_scope("net"):
        for i in range(number):
            with v1.variable_scope(f"block{i // 4}"), v1.variable_scope(f"layer{i % 4}"):
                v1.get_variable("weights", [1], initializer=v1.zeros_initializer())


def regularized(number: int) -> None:
    with v1.variable_scope("net", regularizer=tf.nn.l2_loss):
        in_nested_scopes(number)


def layer_of(forward) -> keras.layers.Layer:
    class Network(keras.layers.Layer):
        @lockstep.tf1.track_tf1_style_variables
        def call(self, inputs):
            return forward(inputs)

    return Network()


def processor_time_s(action) -> float:
    gc.collect()  # what earlier sizes left behind is not this one's
    start = time.process_time()
    action()
    return time.process_time() - start


def growth(fraction: int = 1) -> None:
    print("growth with the number of variables, of one element each; processor time per variable, microseconds")
    inputs = tf.zeros([])
    layer_of(making(regularized, 100))(inputs)  # what is done once per process
    cases = ((in_one_scope, SIZES), (in_nested_scopes, SIZES), (regularized, REGULARIZED_SIZES))
    for make, whole in cases:
        sizes = [size // fraction for size in whole]
        rows: dict[str, list[float]] = {"first call": [], "further call": [], "losses": []}
        for size in sizes:
            layer = layer_of(making(make, size))
            rows["first call"].append(processor_time_s(lambda layer=layer: layer(inputs)) / size)
            further = [processor_time_s(lambda layer=layer: layer(inputs)) for _ in range(FURTHER_CALLS)]
            rows["further call"].append(min(further) / size)
            rows["losses"].append(processor_time_s(lambda layer=layer: layer.losses) / size)
        for what, times in rows.items():
            if what == "losses" and make is not regularized:
                continue
            ratio = times[-1] / times[0]
            figures = "  ".join(f"{size:,}: {t * 1e6:6.1f}" for size, t in zip(sizes, times, strict=True))
            name = f"{make.__name__.replace('_', ' ')}, {what}"
            print(f"  {name:<34} {figures:<46} ratio {ratio:5.2f}  {judged(ratio, LARGEST_GROWTH)}")


def judged(value: float, target: float) -> str:
    return f"target at most {target}: {'met' if value <= target else 'MISSED'}"


def small_network(inputs: tf.Tensor) -> tf.Tensor:
    with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, weights_regularizer=slim.l2_regularizer(1e-3)):
        net = slim.conv2d(inputs, 4, 3, scope="conv")
    net = v1.layers.dropout(net, 0.5, training=True)
    return v1.layers.dense(v1.layers.flatten(net), 2, kernel_regularizer=tf.nn.l2_loss)


def resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def memory(fraction: int = 1) -> None:
    few, many = 100 // fraction, 1000 // fraction
    print(
        f"memory over {many:,} calls of a small network (slim batch norm, dropout, regularizers), `losses` read at each"
    )
    inputs = tf.ones([2, 8, 8, 3])
    for what in ("eager", "tf.function"):
        layer = layer_of(small_network)

        def run(x, layer=layer):
            return layer(x), tf.add_n(layer.losses)

        step = tf.function(run) if what == "tf.function" else run
        seen = {}
        for call in range(1, many + 1):
            step(inputs)
            if call in {few, many}:
                gc.collect()
                traces = step.experimental_get_tracing_count() if step is not run else 0
                seen[call] = len(gc.get_objects()), resident_kib(), traces
        (objects, kib, traced), (objects_later, kib_later, traced_later) = seen[few], seen[many]
        more = objects_later - objects
        print(
            f"  {what:<12} objects {objects:,} at call {few}, {objects_later:,} at {many:,} ({more:+,}; "
            f"{judged(more, 100)})  resident {kib / 1024:,.1f} MiB, {kib_later / 1024:,.1f} MiB "
            f"({(kib_later - kib) / 1024:+.1f}; {judged((kib_later - kib) / 1024, 8)})"
            + (f"  traced {traced}, {traced_later} times" if what == "tf.function" else "")
        )


if __name__ == "__main__":
    lockstep.tf1.enable()
    {"growth": growth, "memory": memory}[sys.argv[1]](50 if "small" in sys.argv[2:] else 1)
