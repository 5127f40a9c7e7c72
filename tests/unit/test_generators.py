"""NumPy's and Python's global generators: alike for both sides, and given back."""

import contextlib
import random

import numpy as np

from lockstep.recorder.generators import Generators


def drawn():
    return random.random(), float(np.random.rand()), float(np.random.normal())


def test_both_sides_draw_the_same_whatever_was_drawn_before():
    numbers = []
    for _ in range(2):
        drawn()
        with Generators().active():
            numbers.append([drawn(), drawn()])
    assert numbers[0] == numbers[1]


def test_the_process_draws_on_where_it_stopped():
    random.seed(1), np.random.seed(1)
    expected = [drawn(), drawn()]
    random.seed(1), np.random.seed(1)
    found = [drawn()]
    with contextlib.suppress(ZeroDivisionError), Generators().active():
        np.random.seed(7), random.seed(7)
        1 / 0  # noqa: B018
    assert [*found, drawn()] == expected


def test_what_a_build_draws_in_two_parts_is_one_stream():
    whole, parts = Generators(), Generators()
    with whole.active():
        expected = [drawn(), drawn()]
    found = []
    for _ in range(2):
        with parts.active():
            found.append(drawn())
        drawn()
    assert found == expected


def test_initial_values_have_a_stream_of_their_own():
    with_variables, later = Generators(), Generators()
    with with_variables.active():
        with with_variables.initial_values():
            first = drawn()
        expected = drawn()
    with later.active():  # a later call, which makes no variable
        assert drawn() == expected
    assert first != expected


def test_what_is_called_for_its_shapes_alone_moves_nothing():
    one = Generators()
    with one.active():
        with one.unmoved():
            first = drawn()
        assert drawn() == first


def test_a_copy_draws_on_by_itself():
    one = Generators()
    with one.active():
        drawn()
    copies = [one.copy(), one.copy()]
    found = []
    for copy in copies:
        with copy.active():
            found.append(drawn())
    assert found[0] == found[1]


def test_the_streams_are_numpys_legacy_one_on_every_version():
    with Generators().active():
        assert np.random.rand() == np.random.RandomState(42).rand()
        assert random.random() == random.Random(42).random()


def test_how_far_they_came_is_told_of_each_by_itself():
    one, other, neither = Generators(), Generators(), Generators()
    with one.active():
        np.random.rand()
    with other.active():
        np.random.rand(), random.random()
    with neither.active(), neither.initial_values():
        drawn()
    assert neither.drawn() == ("", "")
    assert one.drawn()[0] == other.drawn()[0] != ""
    assert (one.drawn()[1], other.drawn()[1] != "") == ("", True)


def test_stirred_ones_draw_others_of_one_kind():
    start = Generators()
    with start.copy().active():
        expected = random.random(), np.random.rand()
    with start.stirred(["python"], 1).active():
        found = random.random(), np.random.rand()
    assert found[0] != expected[0]
    assert found[1] == expected[1]
