"""Whether a side's code really loaded its file: told from the values in use, entry by entry."""

from pathlib import Path

import numpy as np
import pytest

from lockstep.check.steps import in_use, own_file
from lockstep.check.steps.in_use import Expected
from lockstep.compare.align import TransformRule, align
from lockstep.files.checkpoints import Checkpoint, Entry, Kind
from lockstep.files.checkpoints.numbered import Numbered, named_by_number
from lockstep.ground.restoring import Held
from lockstep.traces.trace import Trace, VariableRecord

RANDOM = np.random.default_rng(0)
INITIAL = {f"l{n}/w": RANDOM.normal(size=(2, 3)).astype(np.float32) for n in range(4)}
FILE = {f"l{n}/w": RANDOM.normal(size=(2, 3)).astype(np.float32) for n in range(4)}


def checkpoint(held, kind=None):
    entries = {n: kind(n, a) if kind else Held(a.shape, a.dtype.name) for n, a in held.items()}
    return Checkpoint(Path("old.h5"), entries, held.__getitem__)


def record(name, array):
    return VariableRecord(name, name, array.shape, array.dtype.name, True)


def trace(values, initial=INITIAL, loads=()):
    later = tuple(key for key, value in values.items() if value is not initial.get(key))
    return Trace(tuple(record(n, v) for n, v in values.items()), values, {}, overwritten=later, loads=loads)


def judged(values, held=FILE, *, asked=False, its_own=True, **options):
    seen = trace(values, **options)
    expected = own_file.expected_of(checkpoint(held), seen.variables)
    return in_use.judge("candidate", seen, expected, asked=asked, its_own=its_own)


def test_of_the_originals_file_a_part_may_be_loaded_on_purpose():
    (finding,) = judged({**FILE, "l2/w": INITIAL["l2/w"]}, its_own=False)
    assert str(finding.verdict) == "undecided"
    assert finding.phrase.endswith('[checkpoint] loaded = ["candidate"] says that it is, [] that it is not')
    (finding,) = judged(FILE, its_own=False)
    assert str(finding.verdict) == "equivalent"


def test_constants_that_every_initializer_gives_are_no_sign_of_loading():
    """As of a model that is made while its module is imported: nobody saw what its initializers gave."""
    zeros = {"b": np.zeros(3, np.float32), "gamma": np.ones(3, np.float32)}
    assert judged({**INITIAL, **zeros}, {**FILE, **zeros}, initial={}) == []


def test_all_loaded():
    (finding,) = judged(FILE)
    assert (str(finding.verdict), finding.phrase) == (
        "equivalent", "4 of 4 variables of the candidate hold the values of old.h5")  # fmt: skip
    assert finding.figures["candidate_weights_in_use"]["bit_equal"] == 4


def test_one_of_four_was_never_loaded():
    (finding,) = judged({**FILE, "l2/w": INITIAL["l2/w"]})
    assert str(finding.verdict) == "diverged"
    assert finding.phrase == (
        "1 of 4 variables of the candidate was never loaded from old.h5: it still holds what its initializer gave: l2/w"
    )


def test_two_that_changed_places_are_named():
    (finding,) = judged({**FILE, "l0/w": FILE["l1/w"], "l1/w": FILE["l0/w"]})
    assert str(finding.verdict) == "diverged"
    assert finding.phrase == "2 hold other values than old.h5: l0/w, l1/w"
    assert finding.details[0] == "~ l0/w: differs from the file, it holds what the file has for l1/w"


def test_a_value_that_is_no_entrys_is_told_as_another():
    (finding,) = judged({**FILE, "l0/w": FILE["l0/w"] * 2})
    assert finding.details == ("~ l0/w: differs from the file, it was set to another value",)


def test_a_model_that_loads_nothing_itself_is_not_blamed_for_it():
    assert judged(INITIAL) == []
    one_is_set = {**INITIAL, "l0/w": np.ones((2, 3), np.float32)}
    assert judged(one_is_set) == []  # a constant that its maker sets is no sign that it loads this file


@pytest.mark.parametrize(("its_own", "verdict"), [(True, "diverged"), (False, "undecided")])
def test_loading_that_changed_nothing_is_told(its_own, verdict):
    (finding,) = judged(INITIAL, its_own=its_own, loads=("build() calls load_weights, which changed nothing",))
    assert str(finding.verdict) == verdict
    assert finding.phrase.startswith("4 of 4 variables of the candidate were never loaded from old.h5")


def renamed(held):
    return {name.replace("l", "old_"): value for name, value in held.items()}


def test_what_was_loaded_under_other_names_is_found_by_its_bits_zeros_included():
    zeros = {"b": np.zeros(3, np.float32)}
    (finding,) = judged({**FILE, **zeros}, renamed({**FILE, **zeros}), initial={**INITIAL, **zeros})
    assert str(finding.verdict) == "equivalent"
    assert "under other names" in finding.phrase


def test_nothing_loaded_under_other_names_is_never_taken_for_loaded_because_of_zeros():
    zeros = {"b": np.zeros(3, np.float32)}
    held = {**INITIAL, **zeros}
    (finding,) = judged(held, renamed({**FILE, "lb": zeros["b"]}), initial=held, asked=True)
    assert str(finding.verdict) == "diverged"
    assert finding.phrase.startswith("5 of 5 variables of the candidate were never loaded")
    assert sum(line.startswith("unread: ") for line in finding.details) == 5


def test_a_new_head_without_an_entry_is_told_and_no_mistake():
    head = {"head/w": np.ones((7,), np.float32)}
    (finding,) = judged({**FILE, **head}, {**FILE, "old_head/w": np.ones(9, np.float32)}, initial={**INITIAL, **head})
    assert str(finding.verdict) == "equivalent"
    assert finding.phrase.endswith(
        "without an entry: head/w; 1 entry of the file is in no variable (old_head/w)"
    )  # fmt: skip


def test_a_variable_that_an_unread_entry_would_fit_is_undecided():
    lost = {name: value for name, value in FILE.items() if name != "l3/w"}
    (finding,) = judged({**FILE, "l3/w": INITIAL["l3/w"]}, {**lost, "other/w": FILE["l3/w"]})
    assert str(finding.verdict) == "undecided"
    assert "l3/w" in finding.phrase


def test_slots_that_nobody_reads_are_no_entries_of_the_model():
    def kind(name, array):
        return Entry(name, array.shape, array.dtype.name, Kind.SLOT if "slot" in name else Kind.VARIABLE)

    seen = trace(FILE)
    file = checkpoint({**FILE, "slot/m": np.ones((2, 3), np.float32)}, kind)
    (finding,) = in_use.judge("candidate", seen, own_file.expected_of(file, seen.variables), asked=False)
    assert "in no variable" not in finding.phrase


def test_values_after_a_rule_are_counted_apart():
    values = {"l0/w": FILE["l0/w"].T}
    seen = Trace((record("l0/w", values["l0/w"]),), values, {}, overwritten=("l0/w",))
    (finding,) = in_use.judge("candidate", seen, Expected(checkpoint(FILE), values, {"l0/w"}), asked=False)
    assert finding.phrase.endswith("1 of them after a rule")


# The candidate's own file against the original's.


def compared(own, carried):
    variables = tuple(record(name, value) for name, value in carried.items())
    return own_file.compared(own_file.expected_of(checkpoint(own), variables), carried, "old.ckpt")


def test_a_right_conversion_is_equivalent_and_a_wrong_one_is_named_with_its_kind():
    assert str(compared(FILE, FILE).verdict) == "equivalent"
    square = np.arange(9, dtype=np.float32).reshape(3, 3)
    found = compared({**FILE, "s": square.T.copy(), "l1/w": FILE["l1/w"] + 1}, {**FILE, "s": square})
    assert str(found.verdict) == "diverged"
    assert "2 of 5 entries of old.h5 are not what old.ckpt and the rules give: l1/w, s" in found.phrase
    assert "~ s: it is transposed" in found.details
    assert any(line.startswith("~ l1/w: the largest difference is 1") for line in found.details)
    lost = compared({"l0/w": FILE["l0/w"]}, FILE)
    assert str(lost.verdict) == "undecided"
    assert "has nothing for 3 of 4 variables" in lost.phrase


def test_from_the_candidates_file_alone_the_reference_gets_its_partners_values_but_not_through_a_transform():
    ours, theirs = ({f"{side}/{name}": value for name, value in INITIAL.items()} for side in ("r", "c"))
    held = {f"c/{name}": value for name, value in FILE.items()}
    both = trace(ours, ours), trace(theirs, theirs)
    own = own_file.expected_of(checkpoint(held), both[1].variables)
    plain = align(both[0].variables, both[1].variables, [("^r/", "c/")])
    given, taken, told = own_file.values_from(own, *both, plain, ())
    assert (given["r/l1/w"] is FILE["l1/w"], taken["c/l1/w"] is FILE["l1/w"]) == (True, True)
    assert str(told[0].verdict) == "not asked for"
    ruled = align(both[0].variables, both[1].variables, [("^r/", "c/")], [TransformRule.of(("c/l0/w", "flip(0)"))])
    given, _, told = own_file.values_from(own, *both, ruled, ())
    assert given == {}
    assert "it has no value for 1 of 4 variables of the reference (r/l0/w)" in told[0].phrase


# Entries that a file numbers.

SHAPES = {"dense/0": (2, 3), "dense/1": (3,), "dense_1/0": (2, 3), "dense_1/1": (3,), "dense_2/0": (3, 4)}
LAYERS = (
    Numbered(("net", "a"), ("dense/0", "dense/1")),
    Numbered(("net", "b"), ("dense_1/0", "dense_1/1")),
    Numbered(("net", "c"), ("dense_2/0",)),
)


def wanted(*layers):
    return {f"{name}/{part}": shape for name, parts in layers for part, shape in parts.items()}


AB = {"kernel": (2, 3), "bias": (3,)}


def test_layers_are_found_by_their_names_whatever_their_order():
    found = named_by_number(LAYERS, SHAPES, wanted(("b", AB), ("a", AB), ("x/c", {"kernel": (3, 4)})))
    assert found == {"a/kernel": "dense/0", "a/bias": "dense/1", "b/kernel": "dense_1/0", "b/bias": "dense_1/1",
                     "x/c/kernel": "dense_2/0"}  # fmt: skip


def test_without_names_they_are_the_only_ones_of_their_shapes_or_in_order():
    bare = tuple(Numbered((layer.entries[0].split("/")[0],), layer.entries) for layer in LAYERS)
    found = named_by_number(bare, SHAPES, wanted(("q", AB), ("p", AB), ("z", {"kernel": (3, 4)})))
    assert found["z/kernel"] == "dense_2/0"
    assert (found["q/kernel"], found["p/kernel"]) == ("dense/0", "dense_1/0")


def test_a_layer_of_other_shapes_gets_nothing():
    found = named_by_number(LAYERS, SHAPES, wanted(("a", {"kernel": (9, 9)}), ("b", AB)))
    assert found == {"b/kernel": "dense_1/0", "b/bias": "dense_1/1"}


def test_arrays_of_a_whole_model_are_its_variables_in_order_if_all_shapes_are_its():
    whole = (Numbered((), ("arr_0", "arr_1")),)
    shapes = {"arr_0": (2, 3), "arr_1": (3,)}
    assert named_by_number(whole, shapes, wanted(("a", AB))) == {"a/kernel": "arr_0", "a/bias": "arr_1"}
    assert named_by_number(whole, shapes, wanted(("a", {"bias": (3,), "kernel": (2, 3)}))) == {}
