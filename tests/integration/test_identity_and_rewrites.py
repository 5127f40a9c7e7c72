"""A sample of the corpora of `make soundness`: unchanged code and right rewrites, of which none may be blamed."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections import defaultdict

import pytest
from benchmarks.soundness import identity, rewrites

import lockstep

pytestmark = pytest.mark.corpus

SEED = 12
OF_EACH_TOPIC = 2


def sample(cases):
    """Some cases of every topic, without those of which `undecided` is right.

    Which ones, the names and the seed say, each case for itself: another case replaces one of its topic at most.
    """
    topics = defaultdict(list)
    for case in cases:
        if not case.reason:
            topics[case.name.partition("/")[0]].append(case)
    return [case for topic in topics.values() for case in sorted(topic, key=drawn)[:OF_EACH_TOPIC]]


def drawn(case):
    return zlib.crc32(f"{SEED} {case.name}".encode())


SAMPLE = [pytest.param(case, id=case.name) for case in (*sample(identity.cases()), *sample(rewrites.cases()))]


@pytest.mark.parametrize("case", SAMPLE)
def test_what_is_right_is_equivalent(case):
    report = lockstep.verify(case.reference(), case.candidate(), case.inputs(), **case.arguments())
    assert report.verdict == "equivalent", report


def test_the_corpora_are_as_large_as_they_are_said_to_be():
    programs, pairs = identity.cases(), rewrites.cases()
    assert len({case.name for case in programs}) == len(programs) >= 400
    assert len({case.name for case in pairs}) == len(pairs) >= 200
    assert sum(case.kind == "native" for case in pairs) >= 60
    assert sum(bool(case.reason) for case in programs) <= 0.02 * len(programs)


def test_listing_the_cases_imports_no_framework():
    script = (
        "import sys; from benchmarks.soundness import identity, rewrites; identity.cases(); rewrites.cases();"
        "assert not {'tensorflow', 'keras', 'tf_slim'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
