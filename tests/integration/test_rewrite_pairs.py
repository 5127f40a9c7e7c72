"""Every rewrite of the corpus computes what its original computes: in float64, from random values, in both modes.

What Lockstep says of a pair counts for nothing here: both sides are run, and NumPy compares.
"""

from __future__ import annotations

import contextlib
import zlib

import keras
import numpy as np
import pytest
from benchmarks.soundness import rewrites

from lockstep.compare import filling
from lockstep.compare.align import TransformRule, align
from lockstep.subjects import INITIAL, Mode, Setting
from lockstep.subjects.variable_parts import PartRule, in_parts

pytestmark = pytest.mark.corpus
PAIRS = [pytest.param(pair, id=f"{topic}/{pair.name}") for topic, pair in rewrites.pairs()]
SINGLE = {"rtol": 1e-5, "atol": 1e-5}
# Keras keeps some of its constants (rates, momenta) in float32 whatever the dtype is.
CLOSE = {False: {"rtol": 1e-9, "atol": 1e-9}, True: {"rtol": 5e-7, "atol": 5e-8}}


@contextlib.contextmanager
def working_in(precision):
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(precision)
    keras.config.set_dtype_policy(precision)  # made of floatx once, and kept
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


def value(record):
    """A random value away from 0 and 1, where mistakes hide; variances are positive."""
    generator = np.random.default_rng(zlib.crc32(record.name.encode()))
    if "variance" in record.name:
        return generator.uniform(0.3, 2.0, record.shape).astype(record.dtype)
    return generator.normal(0.1, 0.6, record.shape).astype(record.dtype)


def both_runs(pair, training):
    """Runs both sides from the same values; returns the alignment and the traces."""
    precision = pair.original.precision
    inputs = {n: a.astype(precision) if a.dtype == np.float32 else a for n, a in pair.original.inputs.items()}
    mode = Mode(training=training, randomness="constant")
    reference = pair.original.subject().build(mode, inputs)
    parts = tuple(map(PartRule.of, pair.options.get("parts", ())))
    candidate = in_parts(pair.candidate(), parts).build(mode, inputs)
    alignment = align(
        reference.run(INITIAL).variables,
        candidate.run(INITIAL).variables,
        pair.options.get("rename", ()),
        tuple(map(TransformRule.of, pair.options.get("transforms", ()))),
    )
    values = {record.key: value(record) for record in reference.variables}
    traces = (
        reference.run(Setting("given", values)),
        candidate.run(Setting("given", filling.carried(values, alignment))),
    )
    reference.close()
    candidate.close()
    return alignment, traces


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("pair", PAIRS)
def test_a_rewrite_computes_the_same_in_double_precision(pair, training):
    precision = pair.original.precision
    close = CLOSE[pair.native] if precision == "float64" else SINGLE
    with working_in(precision):
        alignment, (reference, candidate) = both_runs(pair, training)
    assert not alignment.missing
    assert not alignment.extra
    assert len(filling.alike(alignment)) == len(alignment.pairs)
    assert reference.outputs.keys() == candidate.outputs.keys()
    assert any(array.dtype == precision for array in reference.outputs.values())
    for path, array in reference.outputs.items():
        other = candidate.outputs[path]
        assert (array.dtype, array.shape) == (other.dtype, other.shape)
        assert np.isfinite(array).all()
        np.testing.assert_allclose(other, array, **close, err_msg=path)
    for r, c in alignment.pairs:
        ours = reference.after.get(r.key, reference.before[r.key])
        theirs = candidate.after.get(c.key, candidate.before[c.key])
        np.testing.assert_allclose(theirs, alignment.carried(c, ours), **close, err_msg=r.name)
    np.testing.assert_allclose(candidate.total_loss or 0.0, reference.total_loss or 0.0, **close)


def test_another_computation_is_told_from_the_original():
    """The comparison above can fail: with the rewrite of another original it does."""
    by_name = {pair.name: pair for _, pair in rewrites.pairs()}
    right, wrong = by_name["gelu_by_erf/keras_gelu"], by_name["gelu_by_tanh/keras_gelu_by_tanh"]
    mixed = type(right)("mixed", right.original, wrong.rewrite, native=True)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        test_a_rewrite_computes_the_same_in_double_precision(mixed, training=False)
