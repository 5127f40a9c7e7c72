"""Named transforms: what each gives, that each can be undone, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.common.errors import InputError
from lockstep.compare.transforms import Transform, joined


def numbers(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize(
    ("text", "shape", "expected"),
    [
        ("transpose(1,0)", (2, 3), numbers(2, 3).T),
        ("transpose", (2, 3, 4), numbers(2, 3, 4).transpose(2, 1, 0)),
        ("reshape(3,-1)", (2, 3), numbers(3, 2)),
        ("squeeze", (1, 3, 1), numbers(3)),
        ("squeeze(-1)", (1, 3, 1), numbers(1, 3)),
        ("expand(-1)", (3,), numbers(3, 1)),
        ("flip(0)", (3,), np.array([2, 1, 0], np.float32)),
        ("split(0, 1, [2, 3])", (5, 2), numbers(5, 2)[2:]),
        ("gates(ijfo->ifjo)", (1, 8), np.array([[0, 1, 4, 5, 2, 3, 6, 7]], np.float32)),
        ("gates(ijfo->ifco)", (1, 4), np.array([[0, 2, 1, 3]], np.float32)),  # j and c are one gate
        ("gates(ru->ur, 0)", (2, 1), np.array([[1], [0]], np.float32)),
        ("forget_bias(1.0, ijfo)", (4,), np.array([0, 1, 3, 3], np.float32)),
        ("split(0, 0, [1, 2]) | squeeze(0) | reshape(2,2) | transpose(1,0)", (3, 4), numbers(2, 2).T),
    ],
)
def test_each_transform_gives_what_its_name_says(text, shape, expected):
    transform = Transform.parse(text)
    found = transform.apply(numbers(*shape))
    np.testing.assert_array_equal(found, expected)
    assert transform.shape(shape) == expected.shape


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("transpos(1,0)", "there is no 'transpos'; did you mean 'transpose'"),
        ("zebra", "there is no 'zebra'; known are transpose"),
        ("transpose(1,", "'transpose(1,' is none"),
        ("transpose(a)", "its arguments must be integers"),
        ("reshape(-1,-1)", "one may be -1"),
        ("split(0, 2, [1, 2])", "index counts the sizes from 0"),
        ("split(0)", "its arguments cannot be understood"),
        ("gates(ijfo->ifc)", "both orders must name the same gates"),
        ("gates(iifo->ifoi)", "no two alike"),
        ("forget_bias(one, ijfo)", "its arguments cannot be understood"),
        ("forget_bias(1.0, ijo)", "one of the gates is called f"),
        ("", "is none"),
    ],
)
def test_what_is_no_transform_is_refused_with_the_reason(text, told):
    with pytest.raises(InputError) as caught:
        Transform.parse(text)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shape", "told"),
    [
        ("transpose(1,0)", (2, 3, 4), "it has 3 axes, and [1, 0] is no order of them"),
        ("transpose(0,0)", (2, 3), "is no order of them"),
        ("reshape(4,-1)", (2, 3), "6 elements cannot be put into [4, -1]"),
        ("reshape(4,2)", (2, 3), "has 8 elements, not 6"),
        ("squeeze(0)", (2, 3), "axis 0 has size 2, not 1"),
        ("flip(2)", (2, 3), "it has 2 axes, and none is number 2"),
        ("split(0, 0, [1, 2])", (2, 3), "add up to 3, and axis 0 has 2"),
        ("gates(ijfo->ifco)", (2, 6), "6 elements, which 4 gates cannot share"),
        ("gates(ijfo->ifco)", (), "none is number -1"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_moved(text, shape, told):
    transform = Transform.parse(text)
    for action in (lambda: transform.shape(shape), lambda: transform.apply(np.zeros(shape))):
        with pytest.raises(InputError) as caught:
            action()
        assert told in str(caught.value)


@st.composite
def cases(draw):
    """A shape, and steps each of which fits what those before it leave."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    before, steps = shape, []
    for _ in range(draw(st.integers(1, 4))):
        rank = len(shape)
        axis = draw(st.integers(-rank, rank - 1)) if rank else 0
        kinds = ["transpose", "squeeze", "expand", "reshape"] + (["flip", "gates"] if rank else [])
        kind = draw(st.sampled_from(kinds))
        if kind == "transpose":
            step = f"transpose({','.join(map(str, draw(st.permutations(range(rank)))))})"
        elif kind == "reshape":
            step = "reshape(-1)"
        elif kind == "gates":
            letters = "ifox"[: draw(st.sampled_from([n for n in (1, 2, 3, 4) if shape[axis] % n == 0]))]
            step = f"gates({letters}->{''.join(draw(st.permutations(letters)))}, {axis})"
        else:
            step = {"squeeze": "squeeze", "expand": f"expand({axis})", "flip": f"flip({axis})"}[kind]
        steps.append(step)
        shape = Transform.parse(step).shape(shape)
    return before, " | ".join(steps)


@given(cases())
def test_undoing_a_transform_gives_the_value_back_bit_for_bit(case):
    shape, text = case
    value = numbers(*shape)
    transform = Transform.parse(text)
    moved = transform.apply(value)
    assert sorted(moved.reshape(-1)) == sorted(value.reshape(-1))  # it moves numbers, and makes none
    assert moved.shape == transform.shape(shape)
    np.testing.assert_array_equal(transform.undo(moved, shape), value)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 1), st.booleans())
def test_the_parts_of_a_split_give_the_whole_back(sizes, axis, turned):
    shape = (sum(sizes), 3) if axis == 0 else (3, sum(sizes))
    whole = numbers(*shape)
    after = " | transpose(1,0)" if turned else ""
    transforms = [Transform.parse(f"split({axis}, {n}, {sizes}){after}") for n in range(len(sizes))]
    parts = [(transform, transform.apply(whole)) for transform in transforms]
    np.testing.assert_array_equal(joined(parts, shape), whole)


def test_a_part_alone_and_parts_with_a_hole_are_refused():
    first, second = (Transform.parse(f"split(0, {n}, [1, 2])") for n in (0, 1))
    with pytest.raises(InputError, match="gives a part"):
        first.undo(np.zeros((1, 2)), (3, 2))
    with pytest.raises(InputError, match="leave holes or overlap"):
        joined([(first, np.zeros((1, 2), np.float32))], (3, 2))
    with pytest.raises(InputError, match="leave holes or overlap"):
        joined([(second, np.zeros((2, 2), np.float32))] * 2, (3, 2))


def test_a_forget_bias_is_taken_off_again():
    transform = Transform.parse("forget_bias(1.0, ijfo) | gates(ijfo->ifco)")
    value = np.array([0.5, 0.25, 2.0, 4.0], np.float32)
    moved = transform.apply(value)
    np.testing.assert_array_equal(moved, [0.5, 3.0, 0.25, 4.0])
    np.testing.assert_array_equal(transform.undo(moved, (4,)), value)
    np.testing.assert_array_equal(joined([(transform, moved)], (4,)), value)
    with pytest.raises(InputError, match=r"turns shape \(4,\) into \(4,\), not into \(8,\)"):
        transform.undo(np.zeros(8, np.float32), (4,))
