import numpy as np

from lockstep.compare.pairs import compare_named, compare_tensor
from lockstep.compare.tolerance import FixedTolerance

GUIDE = FixedTolerance()


def test_the_guides_tolerance_holds_for_tensors_of_size_one():
    assert GUIDE.for_tensor(np.float32([1.0, -3.0])) == (1e-6, 1e-5)


def test_small_tensors_get_a_tolerance_of_their_own_scale():
    reference = np.full(4, 0.003, np.float32)
    wrong = reference * np.float32(1.001)
    # The guide's rule passes this error of one part in a thousand; the scaled one does not.
    assert np.allclose(wrong, reference, rtol=1e-6, atol=1e-5)
    assert not compare_tensor("logits", reference, wrong, GUIDE).passed
    assert compare_tensor("logits", reference, reference * np.float32(1 + 1e-6), GUIDE).passed


def test_narrow_formats_get_four_spacings():
    assert GUIDE.for_tensor(np.float16([1.0]))[0] == 4 * 2.0**-10


def test_integers_and_strings_are_exact():
    assert GUIDE.for_tensor(np.int32([5])) == (0.0, 0.0)
    assert not compare_tensor("ids", np.int32([5]), np.int32([6]), GUIDE).passed
    assert not compare_tensor("words", np.array([b"a"], object), np.array([b"b"], object), GUIDE).passed


def test_infinity_does_not_widen_the_tolerance():
    assert GUIDE.for_tensor(np.float32([np.inf, 0.5]))[1] == 1e-5 * 0.5


def test_shapes_and_dtypes_that_differ_are_told_and_fail():
    shape = compare_tensor("out", np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32), GUIDE)
    assert not shape.passed
    assert shape.describe() == "out: shape (2, 3) against (3, 2)"
    dtype = compare_tensor("out", np.zeros(2, np.float32), np.zeros(2, np.float64), GUIDE)
    assert dtype.describe() == "out: dtype float32 against float64"


def test_what_has_no_partner_is_an_entry():
    found = compare_named({"a": np.ones(1), "b": np.ones(1)}, {"a": np.ones(1), "c": np.ones(1)}, GUIDE)
    assert (found.missing, found.extra) == (("b",), ("c",))


def test_the_gravest_difference_comes_first():
    reference = {"small": np.ones(1), "large": np.ones(1)}
    found = compare_named(reference, {"small": np.full(1, 1.01), "large": np.full(1, 2.0)}, GUIDE)
    assert [pair.name for pair in found.failed] == ["large", "small"]
