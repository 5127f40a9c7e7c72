"""The search for the release that changed something, with faked releases."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.bisecting import search

ANSWERS = st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=40)
PLACES = st.integers(1, 40).flatmap(lambda count: st.tuples(st.just(count), st.integers(1, count)))


@given(ANSWERS, st.booleans())
def test_what_it_names_was_seen_whatever_the_pattern(answers, every):
    known = [False, *answers]
    asked = []

    def run(place):
        asked.append(place)
        return known[place]

    found = search(len(known), run, every=every)
    assert len(asked) == len(set(asked))
    assert tuple(asked) == found.asked
    assert 0 not in asked
    if found.first_that_differs is None:
        judged = [place for place in range(1, len(known)) if known[place] is not None]
        assert not judged or known[judged[-1]] is False
        assert not any(known[place] for place in asked)
        assert known[found.last_alike] is False
        return
    low, high = found.last_alike, found.first_that_differs
    assert known[low] is False
    assert known[high] is True
    assert found.passed_over == tuple(range(low + 1, high))
    assert all(known[place] is None for place in found.passed_over)
    if every:
        assert high == known.index(True)


@given(PLACES, st.sets(st.integers(1, 40)))
def test_one_change_is_found_and_what_cannot_run_makes_it_a_range_at_most(sizes, broken):
    count, change = sizes
    found = search(count + 1, lambda place: None if place in broken else place >= change)
    whole = [place for place in range(1, count + 1) if place not in broken]
    assert found.first_that_differs == next((place for place in whole if place >= change), None)
    if found.first_that_differs is not None:
        assert found.last_alike == max((place for place in whole if place < change), default=0)


@given(PLACES)
def test_it_asks_no_more_than_bisection_has_to(sizes):
    count, change = sizes
    found = search(count + 1, lambda place: place >= change)
    assert (found.first_that_differs, found.last_alike, found.passed_over) == (change, change - 1, ())
    assert len(found.asked) <= 1 + math.ceil(math.log2(count))


def test_a_difference_that_comes_and_goes_is_seen_by_asking_for_all():
    known = [False, True, False, False, False]
    assert search(5, known.__getitem__).first_that_differs is None
    assert search(5, known.__getitem__, every=True).first_that_differs == 1


@pytest.mark.parametrize("every", [True, False])
def test_nothing_but_the_reference_can_run(every):
    found = search(4, lambda _: None, every=every)
    assert (found.first_that_differs, found.last_alike, set(found.asked)) == (None, 0, {1, 2, 3})
