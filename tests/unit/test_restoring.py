"""Which entry of a checkpoint belongs to which variable: partitioned variables, moving averages, optimizer slots."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.common.errors import InputError
from lockstep.compare.align import TransformRule, align
from lockstep.compare.transforms import Transform
from lockstep.files.checkpoints import Checkpoint, Kind
from lockstep.files.checkpoints.entries import counted
from lockstep.ground.restoring import Held, match, value
from lockstep.traces.trace import VariableRecord

WHOLE = np.arange(20, dtype=np.float32).reshape(10, 2)


def record(name, shape, dtype="float32"):
    return VariableRecord(name, name, tuple(shape), dtype, True)


def held(**entries):
    return {name: Held(tuple(array.shape), array.dtype.name) for name, array in entries.items()}


def checkpoint(entries, **options):
    return Checkpoint(Path("model.ckpt"), held(**entries), lambda name: entries[name], **options)


def restored(variables, entries):
    found = match(variables, held(**entries))
    assert not found.missing
    assert not found.clashes
    return {key: value(source, entries.__getitem__) for key, source in found.sources.items()}


def test_the_parts_of_a_graphs_variable_are_cut_from_the_whole_in_the_checkpoint():
    parts = [record(f"net/w/part_{n}", (size, 2)) for n, size in enumerate((4, 3, 3))]
    got = restored(parts[::-1], {"net/w": WHOLE})
    np.testing.assert_array_equal(got["net/w/part_0"], WHOLE[:4])
    np.testing.assert_array_equal(got["net/w/part_1"], WHOLE[4:7])
    np.testing.assert_array_equal(got["net/w/part_2"], WHOLE[7:])


def test_parts_along_another_axis_and_their_slots_are_cut_too():
    names = ["w/part_0", "w/part_1", "w/part_0/Adam", "w/part_1/Adam"]
    got = restored([record(name, (10, 1)) for name in names], {"w": WHOLE, "w/Adam": -WHOLE})
    np.testing.assert_array_equal(got["w/part_1"], WHOLE[:, 1:])
    np.testing.assert_array_equal(got["w/part_0/Adam"], -WHOLE[:, :1])


def test_parts_that_were_saved_one_by_one_are_joined():
    entries = {"w/part_1": WHOLE[6:], "w/part_0": WHOLE[:6], "v/part_0": WHOLE[:, :1], "v/part_1": WHOLE[:, 1:]}
    got = restored([record("w", (10, 2)), record("v", (10, 2))], entries)
    np.testing.assert_array_equal(got["w"], WHOLE)
    np.testing.assert_array_equal(got["v"], WHOLE)


SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=12)


@given(SIZES, st.integers(0, 2), st.lists(st.integers(1, 3), min_size=2, max_size=2))
def test_however_a_variable_is_cut_its_parts_and_its_whole_make_each_other(sizes, axis, others):
    shape = (*others[:axis], sum(sizes), *others[axis:])
    whole = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    ends = np.cumsum(sizes)[:-1]
    parts = {f"s/w/part_{n}": part for n, part in enumerate(np.split(whole, ends, axis))}
    cut = restored([record(name, part.shape) for name, part in parts.items()], {"s/w": whole})
    for name, part in parts.items():
        np.testing.assert_array_equal(cut[name], part)
    np.testing.assert_array_equal(restored([record("s/w", shape)], parts)["s/w"], whole)


@pytest.mark.parametrize(
    ("variables", "entries", "missing", "clashes"),
    [
        ([record("a", (2,))], {"b": WHOLE}, ("a",), []),
        ([record("w", (2, 10))], {"w": WHOLE}, (), ["w"]),
        ([record("w", (10, 2), "float16")], {"w": WHOLE}, (), ["w"]),
        ([record("w", (10, 2))], {"w/part_0": WHOLE[:4], "w/part_2": WHOLE[4:]}, ("w",), []),  # part 1 is not there
        ([record("w", (11, 2))], {"w/part_0": WHOLE[:4], "w/part_1": WHOLE[4:]}, (), ["w"]),
        ([record("w/part_0", (4, 2)), record("w/part_1", (4, 2))], {"w": WHOLE}, (), ["w/part_0", "w/part_1"]),
        ([record("w/part_0", (4, 2))], {"v": WHOLE}, ("w/part_0",), []),
    ],
)
def test_what_does_not_fit_is_missing_or_a_clash_and_never_filled(variables, entries, missing, clashes):
    found = match(variables, held(**entries))
    assert found.missing == missing
    assert list(found.clashes) == clashes
    assert not found.sources


ENTRIES = {
    "net/w": WHOLE,
    "net/w/Adam": WHOLE,
    "net/w/Adam_1": WHOLE,
    "net/w/MyOptimizer": WHOLE,
    "net/w/ExponentialMovingAverage": WHOLE * 2,
    "net/b": WHOLE[0],
    "net/Adam": WHOLE[0],  # a variable of that name: nothing is called net
    "beta1_power": np.float32(0.9),
    "global_step": np.int64(7),
}


def test_each_entry_is_told_for_what_it_is():
    kinds = {name: entry.kind for name, entry in checkpoint(ENTRIES).entries.items()}
    assert [n for n, kind in kinds.items() if kind is Kind.VARIABLE] == ["net/Adam", "net/b", "net/w"]
    assert [n for n, kind in kinds.items() if kind is Kind.SLOT] == [
        "beta1_power", "net/w/Adam", "net/w/Adam_1", "net/w/MyOptimizer"]  # fmt: skip
    assert kinds["net/w/ExponentialMovingAverage"] is Kind.AVERAGE
    assert kinds["global_step"] is Kind.COUNTER
    assert counted(checkpoint(ENTRIES).entries) == "3 variables, 1 moving average, 4 optimizer slots, 1 counter"


def test_moving_averages_take_the_place_of_their_variables_where_they_are_asked_for():
    variables = (record("net/w", (10, 2)), record("net/b", (2,)))
    for averages, factor in ((False, 1), (True, 2)):
        one = checkpoint(ENTRIES, moving_averages=averages)
        found = one.match(variables)
        np.testing.assert_array_equal(one.restored(found)["net/w"], WHOLE * factor)
        np.testing.assert_array_equal(one.restored(found)["net/b"], WHOLE[0])  # it has none
        unused = {entry.name for entry in one.unused(found)}
        assert ("net/w" in unused) is averages
        assert ("net/w/ExponentialMovingAverage" in unused) is not averages
    with pytest.raises(InputError, match="holds no moving average"):
        checkpoint({"net/b": WHOLE}, moving_averages=True)


def test_an_empty_checkpoint_is_refused():
    with pytest.raises(InputError, match="holds no variable"):
        checkpoint({})


def test_one_variable_becomes_several_by_rules_that_name_their_source():
    reference = [record("cell/kernel", (5, 8)), record("dense/kernel", (2, 3))]
    candidate = [record("lstm/kernel", (2, 8)), record("lstm/recurrent_kernel", (3, 8)), record("dense/kernel", (3, 2))]
    rules = [
        TransformRule("^(lstm)/kernel$", Transform.parse("split(0, 0, [2, 3])"), "cell/kernel"),
        TransformRule("recurrent_kernel$", Transform.parse("split(0, 1, [2, 3])"), "cell/kernel"),
        TransformRule("^dense/", Transform.parse("transpose(1,0)")),
    ]
    found = align(reference, candidate, (), rules)
    assert [r.name for r, _ in found.pairs] == ["cell/kernel", "cell/kernel", "dense/kernel"]
    assert [c for _, c in found.pairs] == candidate
    assert not found.missing
    assert not found.extra
    for r, c in found.pairs:
        assert found.shape(r, c) == c.shape
        assert found.carried(c, np.zeros(r.shape)).shape == c.shape
    with pytest.raises(InputError, match="the reference has no such variable; did you mean 'cell/kernel'"):
        align(reference, candidate, (), [TransformRule("^lstm/kernel", rules[0].transform, "cel/kernel")])
    with pytest.raises(InputError, match=r"dense/kernel: .* cannot be applied to shape \(2, 3\)"):
        align(reference, candidate, (), [TransformRule("^dense/", Transform.parse("squeeze(0)"))])
