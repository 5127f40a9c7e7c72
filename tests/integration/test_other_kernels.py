"""Graphs run on other kernels, in a process that is kept from one run to the next."""

import os
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.environments import recorder_process
from lockstep.recorder import graph
from lockstep.recorder.randomness import GraphSeeds

v1 = tf.compat.v1
X = np.random.default_rng(5).normal(size=(8, 64)).astype(np.float32)
OTHER = {"TF_ENABLE_ONEDNN_OPTS": "0"}


def model(units):
    def forward(x, training):
        kernel = v1.get_variable("kernel", [64, units])
        return {"y": tf.nn.dropout(tf.matmul(x, kernel), rate=0.5), "sum": tf.reduce_sum(x)}

    return graph.build(forward, X, training=True, seeds=GraphSeeds(mode="num_random_ops"))


def run(built, variables=OTHER):
    values = {record.key: np.full(record.shape, 0.5, np.float32) for record in built.variables}
    return recorder_process.rerun(built, values, {"input": X}, variables)


def pid():
    return recorder_process._KEPT._child._process.pid


@pytest.fixture(autouse=True, scope="module")
def none_kept():
    recorder_process._KEPT.end()
    yield
    recorder_process._KEPT.end()


def test_what_a_process_computes_does_not_depend_on_what_it_ran_before():
    small, large = model(3), model(30)
    alone = run(large, {**OTHER, "LOCKSTEP_TEST": "another process"})
    of_alone = pid()
    run(small)
    of_both = pid()
    after = run(large)
    assert pid() == of_both != of_alone
    with pytest.raises(ProcessLookupError):
        os.kill(of_alone, 0)
    for path, value in alone.outputs.items():
        assert np.count_nonzero(value) > 0
        np.testing.assert_array_equal(after.outputs[path], value)
    assert 0 < np.count_nonzero(alone.outputs["y"] == 0) < alone.outputs["y"].size


def test_a_graph_that_fails_is_told_and_the_next_one_runs_in_the_same_process():
    built = model(3)
    run(built)
    first = pid()
    calling = graph.build(
        lambda x, training: v1.py_func(lambda value: value, [x], tf.float32), X, training=False, seeds=GraphSeeds()
    )
    with pytest.raises(InputError, match=r"running the graph on other kernels: \w+Error: (.|\n)*py_?func|pyfunc"):
        run(calling)
    run(built)
    assert pid() == first


def test_a_process_that_was_killed_is_replaced():
    run(model(3))
    first = pid()
    os.kill(first, signal.SIGKILL)
    while recorder_process._KEPT._child.lives:
        time.sleep(0.01)
    run(model(3))
    assert pid() != first


def test_an_idle_process_is_ended_and_one_that_is_asked_again_in_time_is_not(monkeypatch):
    run(model(3))
    first, waiting = pid(), recorder_process._KEPT._idle
    run(model(3))
    assert waiting.finished.is_set(), "called off"
    assert pid() == first
    monkeypatch.setattr(recorder_process, "IDLE_S", 0.1)
    run(model(3))
    recorder_process._KEPT._idle.join(20)
    assert recorder_process._KEPT._child is None
