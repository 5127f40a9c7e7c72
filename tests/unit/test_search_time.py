"""The watch of one search."""

import pytest

from lockstep.causes.repairs.search import Trials
from lockstep.common import search_time
from lockstep.common.errors import InputError
from lockstep.common.search_time import SearchTime, Watch, checked_seconds


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(search_time.time, "monotonic", lambda: Clock.now)
    return Clock


def test_edits_may_take_half_unless_nothing_comes_after_them(clock):
    watch = Watch(SearchTime(60.0), _began=100.0)
    clock.now = 131.0
    assert watch.over_for_edits()
    assert not watch.over_for_edits(alone=True)
    assert not watch.over()
    clock.now = 161.0
    assert watch.over()
    assert watch.over_for_edits(alone=True)


def test_what_was_left_out_is_told_with_what_gives_more(clock):
    watch = Watch(SearchTime(60.0), _began=100.0)
    assert watch.note() is None
    clock.now = 161.0
    watch.unexplained = 1
    assert watch.note() == (
        "the search for causes was ended after 61 s: none was looked for at 1 place; --search-time 120 gives it more"
    )
    watch.cut_short = True
    assert "at 1 place and edits of the whole model were left untried; --search-time 120" in str(watch.note())


def test_progress_is_told_once_in_a_while(clock):
    said = []
    watch = Watch(SearchTime(60.0, said.append), _began=100.0, _said=100.0)
    for second in range(10):
        clock.now, watch.tried = 100.0 + second, second
        watch.says()
    assert len(said) == 4
    assert said[0] == "looking for causes: 2 edits tried, 0 places looked at, 2 of 60 s"


class Runs:
    """Counterfactual runs of which each costs as much as a search may."""

    spent = 0


def edits():
    for number in range(1000):
        Runs.spent += 10_000_000
        yield number


@pytest.mark.parametrize(("seconds", "tried"), [(0.0, 0), (60.0, 5), (120.0, 10), (1200.0, 100)])
def test_more_time_gives_more_edits_on_any_machine(clock, seconds, tried):
    Runs.spent = 0
    watch = Watch(SearchTime(seconds), _began=100.0)
    trials = Trials(Runs(), edits(), watch)
    assert len(list(trials.each())) == tried
    assert watch.cut_short


def test_all_edits_that_there_are_are_no_search_cut_short(clock):
    watch = Watch(SearchTime(60.0), _began=100.0)
    Runs.spent = 0
    assert len(list(Trials(Runs(), iter(range(3)), watch).each())) == 3
    assert not watch.cut_short


@pytest.mark.parametrize(("given", "seconds"), [(None, 120.0), (0, 0.0), (30, 30.0), (0.5, 0.5)])
def test_a_time_is_a_number_of_seconds(given, seconds):
    assert checked_seconds(given) == seconds


def test_nothing_else_is():
    with pytest.raises(InputError, match="search_time is -1; it must be a number of seconds"):
        checked_seconds(-1)
