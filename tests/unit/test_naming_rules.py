"""The fewest rules that give pairs, and how they are written into a configuration."""

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.check.proposed_rules import fewest_patterns, fewest_renames
from lockstep.common.errors import InputError
from lockstep.compare.align import rename
from lockstep.naming.likeness import Ground, pair_names
from lockstep.report.rules import as_lines
from lockstep.report.writing import with_rules

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BLOCKS = {
    f"bert/layer_{i}/attention/{old}/{v}": f"net/block{i}/{new}/{v}"
    for i in range(12)
    for old, new in (("self/query", "query"), ("self/key", "key"), ("output/dense", "projection"))
    for v in ("kernel", "bias")
}


def led(rules, names):
    return {name: rename(name, rules) for name in names}


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({f"old/{n}": f"new/{n}" for n in "abc"}, 1),
        ({f"{n}/kernel": f"m/{n}/kernel" for n in "abc"}, 1),
        ({f"m/{n}/kernel": f"{n}/kernel" for n in "abc"}, 1),
        ({f"a/{n}/weights": f"b/{n}/kernel" for n in ("x", "y")} | {f"a/{n}/biases": f"b/{n}/bias" for n in "xy"}, 2),
        (BLOCKS, 2),
        ({"old/a": "new/a", "old/b": "new/b", "old/c": "elsewhere"}, 2),
        ({"a.b(c)/w": "x\\1/w"}, 1),
    ],
)
def test_few_rules_lead_each_name_to_its_partner(wanted, count):
    rules = fewest_renames(wanted, {})
    assert led(rules, wanted) == wanted
    assert len(rules) == count


def test_a_name_that_has_its_partner_is_not_led_elsewhere():
    kept = {"old/keep": "old/keep", "old/x/keep": "elsewhere"}
    wanted = {"old/a": "new/a", "old/b": "new/b"}
    rules = fewest_renames(wanted, kept)
    assert led(rules, wanted) == wanted
    assert all(rename(name, rules) in (name, to) for name, to in kept.items())


NAMES = st.lists(
    st.lists(st.sampled_from(["a", "b", "net", "layer_1", "layer_2", "w", "x.y", "(", "\\1"]), min_size=1, max_size=4),
    min_size=1,
    max_size=8,
    unique_by=tuple,
).map(lambda parts: ["/".join(part) for part in parts])


@settings(deadline=None)
@given(NAMES, NAMES, st.randoms(use_true_random=False))
def test_rules_are_right_whatever_the_names(ours, theirs, random):
    random.shuffle(theirs)
    wanted = dict(zip(ours, theirs, strict=False))
    kept = {name: name for name in ours[len(wanted) :]}
    assert led(fewest_renames(wanted, kept), [*wanted, *kept]) == {**wanted, **kept}


def test_a_transform_is_found_in_no_name_that_it_does_not_make():
    made = {"a/kernel": "transpose(1,0)", "b/kernel": "transpose(1,0)", "c/kernel": "reshape(3,4)"}
    names = [*made, "d/kernel", "a/bias"]
    for pattern, text in fewest_patterns(made, names):
        hit = {name for name in names if re.search(pattern, name)}
        assert {name for name, its in made.items() if its == text} >= hit


def test_rules_are_written_before_those_that_are_there_and_comments_stay():
    text = '[reference]\nentry = "a.py:f"  # the original\n\n[variables]\nrename = [["^x$", "y"]]  # mine\n'
    written = with_rules(text, {"rename": [["^old/", "new/"]], "parts": [["^g$", 1, [2, 3]]]})
    assert "# the original" in written
    assert tomllib.loads(written)["variables"] == {
        "rename": [["^old/", "new/"], ["^x$", "y"]],
        "parts": [["^g$", 1, [2, 3]]],
    }


@pytest.mark.parametrize("text", ["variables = 3\n", "[variables\n"])
def test_what_cannot_take_rules_is_told(text):
    with pytest.raises(InputError, match=r"the rules cannot be put into \[variables\]"):
        with_rules(text, {"rename": [["a", "b"]]})


def test_what_is_printed_is_toml_that_means_the_rules():
    table = {"rename": [['^a"b\\\\c$', "d\n"], ["^x$", "y"]], "transform": [["/kernel$", "transpose(1,0)"]]}
    assert tomllib.loads("\n".join(as_lines(table))) == {"variables": table}


def test_names_are_one_whatever_parts_their_words():
    """`block0/filter` is `block0_filter`, not the gate beside it that is made first; a lacking one changes nothing."""
    ours = [f"net/block{n}/{what}/kernel" for n in range(3) for what in ("filter", "gate", "res")]
    theirs = [f"block_{n}_{what}/kernel" for n in range(3) for what in ("gate", "res", "filter")][:-1]
    found = {(ours[pair.reference], theirs[pair.candidate], pair.ground) for pair in pair_names(ours, theirs)}
    spelled = {theirs_name: theirs_name.replace("block_", "net/block").replace("_", "/") for theirs_name in theirs}
    assert found == {(spelled[name], name, Ground.NAME) for name in theirs}


def test_numbers_that_begin_elsewhere_are_not_taken_for_the_same():
    ours, theirs = [f"block{n}/w" for n in (1, 2, 3)], [f"block_{n}/kernel" for n in (0, 1, 2)]
    pairs = pair_names(ours, theirs)
    assert [(pair.reference, pair.candidate, pair.ground) for pair in pairs] == [(n, n, Ground.RANK) for n in range(3)]


def test_what_is_called_otherwise_in_front_and_what_one_side_lacks_change_no_pair():
    ours = ["net/in/kernel", "net/aux/kernel", "net/block_0/gate/kernel", "net/block_1/gate/kernel"]
    theirs = ["n/block0_gate/kernel", "n/block1_gate/kernel", "n/in_proj/kernel"]
    found = {(ours[pair.reference], theirs[pair.candidate]) for pair in pair_names(ours, theirs)}
    assert found == {
        ("net/block_0/gate/kernel", "n/block0_gate/kernel"),
        ("net/block_1/gate/kernel", "n/block1_gate/kernel"),
        ("net/in/kernel", "n/in_proj/kernel"),
    }
