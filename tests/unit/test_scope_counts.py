"""The scope counters against TensorFlow's own rule, over random sequences of what TensorFlow does with them."""

import copy
import random

import pytest

from lockstep.tf1.scope_counts import ScopeCounts

NAMES = ["a", "b", "ab", "a/b", "a/c", "a/b/c", "ab/c", "a/b/c/d", "b/a", "a//b", ""]


def close(counts, name):
    """TensorFlow's rule, which looks through all."""
    for other in counts:
        if name is None or other.startswith(f"{name}/"):
            counts[other] = 0


def counted(counts):
    return {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize("seed", range(30))
def test_counters_are_what_tensorflow_counts(seed):
    draw = random.Random(seed)
    ours, theirs = ScopeCounts(), {}
    kept = []
    for _ in range(200):
        action = draw.choice(["open", "open", "open", "close", "copy", "enter", "leave"])
        name = draw.choice([*NAMES, None] if action == "close" else NAMES)
        if action == "open":
            for counts in (ours, theirs):
                counts[name] = counts.get(name, 0) + 1
        elif action == "close":
            ours.close_below(name)
            close(theirs, name)
        elif action == "copy" and not kept:
            ours, theirs = copy.copy(ours), copy.copy(theirs)
        elif action == "enter":
            kept.append((ours.unchanged(), dict(theirs)))
            kept[-1][0].__enter__()
        elif action == "leave" and kept:
            context, theirs = kept.pop()
            context.__exit__(None, None, None)
        assert counted(ours) == counted(theirs)
