"""Every row of docs/losses.md: TF1's loss equals Keras's, and what looks alike differs."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

PAGE = Path(__file__).parents[2] / "docs" / "losses.md"
GENERATOR = np.random.default_rng(12)


def uniform(*shape):
    return GENERATOR.uniform(0.05, 0.95, size=shape).astype(np.float32)


def normalized(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def rows():
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            yield tuple(cell.strip().strip("`") for cell in line.strip("|").split(" | "))


ROWS = list(rows())
CLASSES = GENERATOR.integers(0, 3, size=8).astype(np.int32)
NAMES = {
    "tf": tf,
    "v1": tf.compat.v1.losses,
    "k": keras.losses,
    "y": uniform(8, 3),
    "p": uniform(8, 3),
    "z": GENERATOR.normal(size=(8, 3)).astype(np.float32),
    "b": GENERATOR.integers(0, 2, size=(8, 3)).astype(np.float32),
    "c": CLASSES,
    "h": np.eye(3, dtype=np.float32)[CLASSES],
    "u": normalized(uniform(8, 3)),
    "q": normalized(uniform(8, 3)),
    "w": np.array([[1], [0], [2], [0.5], [0], [3], [1], [1]], np.float32),
}


def value(code):
    return np.asarray(eval(code, dict(NAMES)))


def in_a_graph(code):
    """As a TF1 program evaluates it."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        return session.run(eval(code, dict(NAMES)))


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_of_the_catalogue_holds(row):
    legacy, same, other = row
    np.testing.assert_allclose(in_a_graph(legacy), value(same), rtol=1e-5)
    assert not np.allclose(in_a_graph(legacy), value(other), rtol=1e-2)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_eager_execution_gives_the_same_but_for_pairs(row):
    differs = "pairwise" in row[0]
    assert np.allclose(value(row[0]), in_a_graph(row[0]), rtol=1e-5) is not differs


def test_the_catalogue_has_every_loss_of_tf1():
    losses = tf.compat.v1.losses
    functions = {n for n in dir(losses) if callable(getattr(losses, n)) and n[0].islower()}
    about_collections = {n for n in functions if n.startswith(("get_", "add_"))}
    assert len(functions - about_collections) == 11
    text = "".join(row[0] for row in ROWS)
    assert {name for name in functions - about_collections if f"v1.{name}(" not in text} == set()


def test_the_total_loss_is_that_of_all_and_of_the_regularization():
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.losses.mean_squared_error([[1.0]], [[3.0]])
        tf.compat.v1.losses.absolute_difference([[1.0]], [[3.0]])
        tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES, tf.constant(0.5))
        assert session.run(tf.compat.v1.losses.get_total_loss()) == 4.0 + 2.0 + 0.5
