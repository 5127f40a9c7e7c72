"""Every pitfall is found where it is, and its page shows what the report says now."""

import re
from pathlib import Path

import pytest
from tests.integration.pitfall_pairs import IMAGES, PAIRS, Pair, conv

from lockstep.results.pitfalls import SLUGS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "pitfalls"


def test_every_pitfall_has_a_pair():
    assert set(PAIRS) == set(SLUGS)


# What a report names besides the mistake's own place: all that the mistake is seen in, each with its own pitfall.
BESIDES = {
    "batch-statistics": [("extra-update", "net/norm/moving_mean"), ("extra-update", "net/norm/moving_variance")],
    "extra-variable": [("extra-operation", "net/dense/BiasAdd")],
    "frozen-statistics": [("missing-update", "net/norm/moving_mean"), ("missing-update", "net/norm/moving_variance")],
    "missing-bias": [("missing-bias", "net/dense/BiasAdd")],
    "missing-variable": [("missing-scale", "net/mul")],
    "operation-order": [("operation-order", "net/Relu")],
}


@pytest.mark.parametrize("slug", SLUGS)
def test_its_pair_is_put_down_to_it_and_nothing_else_is_blamed(slug):
    culprits = PAIRS[slug].culprits()
    assert culprits[0].pitfall == slug
    assert [(culprit.pitfall, culprit.reference) for culprit in culprits[1:]] == BESIDES.get(slug, [])
    page = " ".join((PAGES / f"{slug}.md").read_text(encoding="utf-8").split())
    # Figures that a machine rounds otherwise may end otherwise.
    assert _without_last_digits(culprits[0].cause) in _without_last_digits(page)


@pytest.mark.parametrize("slug", SLUGS)
def test_the_original_against_itself_has_no_culprit(slug):
    pair = PAIRS[slug]
    assert type(pair)(pair.reference, pair.reference, pair.shape, pair.training).culprits() == ()


@pytest.mark.parametrize("rates", [(1, 2), (2, 1), (2, 3)])
def test_another_dilation_is_one_culprit_whichever_side_spreads_its_input(rates):
    ours, theirs = ({"dilation_rate": rate} for rate in rates)
    culprits = Pair(lambda x, _: conv(x, **ours), lambda x, _: conv(x, **theirs), IMAGES).culprits()
    assert [culprit.pitfall for culprit in culprits] == ["dilation"]


def _without_last_digits(text: str) -> str:
    return re.sub(r"(\.\d{3})\d+", r"\1", text)
