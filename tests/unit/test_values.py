"""The values of a program under a bound of memory: what is held, what goes to a file, and that it comes back."""

import numpy as np
import pytest

from lockstep.common.arrays import numpy_dtype
from lockstep.localise.values import Values
from lockstep.program import Operation, Place, Program, Spec


class Given:
    """Kernels that hand out arrays."""

    def __init__(self, arrays):
        self.arrays = arrays

    def run(self, operation, inputs):
        return [self.arrays[operation.index]]

    def numpy(self, value):
        return value


def program(arrays, dtype):
    operations = [Operation(i, "Op", {}, (), (i,), Place("", "")) for i in range(len(arrays))]
    return Program(operations, [Spec(dtype(i), a.shape) for i, a in enumerate(arrays)])


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float64", "bool", "complex64", "int64"])
def test_values_of_every_dtype_are_counted_and_kept(dtype):
    arrays = [np.arange(i, i + 8).astype(numpy_dtype(dtype)) for i in range(20)]
    bound = 5 * arrays[0].nbytes
    with Values(program(arrays, lambda i: dtype), Given(arrays), max_memory=bound) as values:
        assert values.peak == bound
        assert [values[i].tobytes() for i in range(20)] == [array.tobytes() for array in arrays]
        assert values.peak == bound


def test_text_cannot_go_to_a_file_and_stays():
    arrays = [np.array(["a", "b"], object), *(np.ones(8, np.float32) for _ in range(4))]
    with Values(program(arrays, lambda i: "float32" if i else "string"), Given(arrays), max_memory=64) as values:
        assert values.peak == 64
        assert values[0].tolist() == ["a", "b"]
        assert values[1].tolist() == [1] * 8


def test_one_value_beyond_the_bound_is_held_alone():
    arrays = [np.ones(size, np.float32) for size in (4, 100, 4)]
    with Values(program(arrays, lambda i: "float32"), Given(arrays), max_memory=64) as values:
        assert values.peak == 400
        assert values[1].sum() == 100
