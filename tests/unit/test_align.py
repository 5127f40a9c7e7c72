import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.common.errors import InputError
from lockstep.compare.align import TransformRule, align, rename, renamer
from lockstep.traces.trace import VariableRecord, unique_keys


def records(*named_shapes):
    keys = unique_keys(name for name, _ in named_shapes)
    return [VariableRecord(n, k, s, "float32", True) for (n, s), k in zip(named_shapes, keys, strict=True)]


def names(alignment):
    return [(r.key, c.key) for r, c in alignment.pairs]


def test_pairs_by_name_whatever_the_order():
    found = align(records(("a", (1,)), ("b", (2,))), records(("b", (2,)), ("a", (1,))))
    assert names(found) == [("a", "a"), ("b", "b")]
    assert found.missing == found.extra == ()


def test_what_has_no_partner_is_listed_with_its_likely_partner():
    found = align(
        records(("net/a/weights", (3, 4)), ("net/b/weights", (3, 4)), ("net/step", ())),
        records(("net/b/kernel", (3, 4)), ("net/a/kernel", (3, 4))),
    )
    assert [r.name for r, _ in found.missing] == ["net/a/weights", "net/b/weights", "net/step"]
    guesses = {r.name: p.record.name for r, p in found.missing if p is not None}
    assert guesses == {"net/a/weights": "net/a/kernel", "net/b/weights": "net/b/kernel"}
    assert found.missing[0][1].reason == "same shape, closest name"
    assert [c.name for c, _ in found.extra] == ["net/b/kernel", "net/a/kernel"]


def test_a_transposed_shape_is_told_as_a_likely_partner():
    found = align(records(("dense/kernel", (3, 4))), records(("dense/weight", (4, 3))))
    assert "same shape transposed" in found.missing[0][1].reason


def test_duplicates_of_a_name_are_paired_in_order_and_none_is_lost():
    found = align(records(("a", (1,)), ("a", (2,))), records(("a", (1,)), ("a", (2,)), ("a", (3,))))
    assert names(found) == [("a", "a"), ("a#2", "a#2")]
    assert [c.key for c, _ in found.extra] == ["a#3"]


def test_rules_tell_apart_what_bears_one_name_on_either_side():
    same = records(("w", (2,)), ("w", (2,)), ("w", (2,)))
    own = records(("layers/0/w", (2,)), ("layers/1/w", (2,)), ("layers/2/w", (2,)))
    turned = [("^layers/0/w$", "w#3"), ("^layers/1/w$", "w#2"), ("^layers/2/w$", "w")]
    found = align(own, same, turned)
    assert names(found) == [("layers/0/w", "w#3"), ("layers/1/w", "w#2"), ("layers/2/w", "w")]
    rules = [(r"^w\#2$", "layers/0/w"), (r"^w\#3$", "layers/2/w"), ("^w$", "layers/1/w")]
    assert names(align(same, own, rules)) == [("w", "layers/1/w"), ("w#2", "layers/0/w"), ("w#3", "layers/2/w")]
    left = align(same, same, ignore=[r"w\#2$"])
    assert names(left) == [("w", "w"), ("w#3", "w#3")]
    assert left.ignored == (1, 1)
    made = align(own, same, turned, [TransformRule.of((r"#2$", "transpose(0)"))])
    assert list(made.transforms) == ["w#2"]


def test_several_that_are_led_to_one_name_take_what_bears_it_in_order():
    found = align(records(("a", (1,)), ("b", (1,))), records(("w", (1,)), ("w", (1,))), [("^[ab]$", "w")])
    assert names(found) == [("a", "w"), ("b", "w#2")]
    assert found.missing == found.extra == ()


def test_rename_rules_apply_to_the_reference_and_the_first_that_matches_wins():
    rules = [(r"^net/(.*)/weights$", r"model/\1/kernel"), (r"weights", "never")]
    found = align(records(("net/a/weights", (1,))), records(("model/a/kernel", (1,))), rules)
    assert names(found) == [("net/a/weights", "model/a/kernel")]


def test_a_broken_rule_is_a_clear_error():
    with pytest.raises(InputError, match=r"the rename rule '\(' -> 'x' cannot be applied"):
        rename("a", [("(", "x")])


def test_a_thousand_unmatched_variables_do_not_take_minutes():
    """A third of them, as the time grows with the square of their number."""
    many = [(f"block_{i}/weights", (3, 3)) for i in range(500)]
    start = time.process_time()
    found = align(records(*many), records(*((name.replace("weights", "kernel"), shape) for name, shape in many)))
    assert time.process_time() - start < 20  # 1 s without load
    assert len(found.missing) == 500
    assert found.missing[300][1].record.name == "block_300/kernel"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["^a$", "^b/w$", "a", "^(.*)/w$", r"^a\.b$", "^a.b$"]), st.sampled_from(["x", "y/z"])
        ),
        max_size=5,
    ),
    st.sampled_from(["a", "b/w", "a.b", "axb", "c/w", "none"]),
)
def test_a_renamer_gives_what_trying_rule_after_rule_gives(rules, name):
    assert renamer(rules)(name) == rename(name, rules)


def test_ten_thousand_exact_rules_are_no_matter_of_minutes():
    rules = [(f"^net/{n}/weights$", f"model/{n}/kernel") for n in range(10_000)]
    sides = records(*((f"net/{n}/weights", (1,)) for n in range(10_000))), records(
        *((f"model/{n}/kernel", (1,)) for n in range(10_000)))  # fmt: skip
    start = time.perf_counter()
    found = align(*sides, rules)
    assert len(found.pairs) == 10_000
    assert time.perf_counter() - start < 20  # 1 s on a busy machine; tried one by one it is minutes
