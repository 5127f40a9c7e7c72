"""Which draw of a reference is which of a candidate's, and drawing the same numbers there."""

import numpy as np
import pytest
import tensorflow as tf

from lockstep.frameworks.tensorflow.draws import RecordedDraws, matched
from lockstep.ground.records import ForwardDraw


def draw(seed, size=8, kind="RandomUniform", *, used=True, earlier=()):
    return ForwardDraw(seed, kind, "float32", size, used, earlier)


def seeds(reference, asked_for):
    return [found and found.seed for found in matched(reference, asked_for)]


def test_what_is_drawn_for_nothing_takes_nobodys_numbers():
    unused = draw(0, used=False)
    assert seeds([draw(5), draw(7)], [unused, draw(1), None, draw(2)]) == [None, 5, None, 7]
    assert seeds([draw(5), draw(7)], [draw(1), unused, unused, draw(2), unused]) == [5, None, None, 7, None]


def test_what_decides_a_branch_in_python_seems_unused_and_is_paired():
    assert seeds([draw(5, 1), draw(7)], [draw(0, 1, used=False), draw(1)]) == [5, 7]


def test_draws_of_another_size_type_or_dtype_are_not_the_same():
    other = ForwardDraw(1, "RandomUniform", "float64", 8)
    assert seeds([draw(5)], [draw(1, 9)]) == [None]
    assert seeds([draw(5)], [draw(1, kind="TruncatedNormal")]) == [None]
    assert seeds([draw(5)], [other]) == [None]
    assert seeds([ForwardDraw(5)], [other]) == [5]  # an old trace knows the seed alone


def test_draws_of_other_branches_may_come_in_another_order():
    assert seeds([draw(5, 8), draw(7, 9)], [draw(0, 9), draw(1, 8)]) == [7, 5]


@pytest.mark.parametrize(("ours", "theirs"), [(2, 1), (1, 2), (3, 2), (2, 3)])
def test_no_draw_is_given_away_twice(ours, theirs):
    found = seeds([draw(5 + n) for n in range(ours)], [draw(n) for n in range(theirs)])
    known = [seed for seed in found if seed is not None]
    assert len(known) == len(set(known)) == min(ours, theirs)


def rounds(count):
    """What an operation in a graph draws, run after run."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        drawn = tf.raw_ops.RandomUniform(shape=[8], dtype=tf.float32, seed=42, seed2=3)
        return [session.run(drawn) for _ in range(count)]


@pytest.mark.parametrize("wanted", [[0, 1, 2], [2], [0, 2], [1, 0], [2, 1, 0]])
def test_each_round_of_a_loop_is_drawn_whatever_was_drawn_before(wanted):
    expected = rounds(3)
    tool = RecordedDraws("num_random_ops", [draw(3, earlier=(8,) * place) for place in wanted])
    with tool.scope():
        found = [tf.random.uniform([8]).numpy() for _ in wanted]
    for place, values in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(values, expected[place])
    assert not tool.unaligned


def test_a_draw_that_cannot_be_brought_to_its_place_is_told():
    tool = RecordedDraws("num_random_ops", [draw(3, kind="RandomGamma", earlier=(8,))])
    with tool.scope():
        tf.random.gamma([8], 2.0)
    assert tool.unaligned
