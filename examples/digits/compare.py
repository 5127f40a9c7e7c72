"""Trains both sides and prints their losses and accuracies side by side.

python compare.py
"""

import json
from pathlib import Path

import keras_train
import legacy_train
import numpy as np
import setting

from lockstep import DeterministicRandomTestTool, tf1


def aligned():
    """A new tool for each side, so that both count their random operations from zero."""
    return DeterministicRandomTestTool(mode="num_random_ops").scope()


def main():
    tf1.enable()  # gives the legacy code its `tf.layers`
    data = setting.data()
    graph = legacy_train.train(data, setting.EPOCHS, aligned)
    fit = keras_train.train(data, setting.EPOCHS, aligned)
    recorded = json.loads(Path(__file__).with_name("tensorflow_1.15.json").read_text())
    print(f"{'step':>8} {'TF1 graph':>12} {'Keras fit':>12} {'TensorFlow ' + recorded['tensorflow']:>18}")
    for step in range(0, len(graph[0]), 32):
        print(f"{step:8} {graph[0][step]:12.8f} {fit[0][step]:12.8f} {recorded['losses'][step]:18.8f}")
    print(f"{'accuracy':>8} {graph[1]:12.4f} {fit[1]:12.4f} {recorded['accuracy']:18.4f}")
    apart = np.abs(np.array(graph[0]) - np.array(fit[0]))
    same = np.sum(apart == 0)
    print(f"\ngraph and fit: losses of {len(apart)} steps at most {apart.max():.2g} apart, {same} bit-equal")
    equal = sum(np.array_equal(graph[2][name], fit[2][name]) for name in graph[2])
    print(f"graph and fit: {equal} of {len(graph[2])} variables bit-equal after the last step")


if __name__ == "__main__":
    main()
