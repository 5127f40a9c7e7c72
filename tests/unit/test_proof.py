"""What a proof rests on: inputs that hide nothing, kinks met on both sides, outputs that move, one function."""

from typing import ClassVar

import numpy as np
import pytest

from lockstep.check.proof import inputs, kinks, reach, roles, start, whole
from lockstep.check.steps.numbers import but_for_signs
from lockstep.common.errors import KernelError
from lockstep.compare.align import Alignment
from lockstep.compare.tolerance import change_atol
from lockstep.ground import fill
from lockstep.program import Place, ProgramBuilder, Spec
from lockstep.traces.trace import Trace, VariableRecord

F = np.float32


class NumPyKernels:
    """Runs a few operations by NumPy."""

    OPERATIONS: ClassVar = {
        "MatMul": lambda a, b: a @ b,
        "AddV2": lambda a, b: a + b,
        "Sub": lambda a, b: a - b,
        "Mul": lambda a, b: a * b,
        "Relu": lambda a: np.maximum(a, 0),
        "Relu6": lambda a: np.clip(a, 0, 6),
        "Rsqrt": lambda a: 1 / np.sqrt(a),
        "GatherV2": lambda table, places, axis: np.take(table, places, int(axis)),
        "ArgMax": lambda a, axis: np.argmax(a, int(axis)),
    }

    def run(self, operation, given):
        return [self.OPERATIONS[operation.type](*map(np.asarray, given))]

    def run_double(self, operation, given, *, halves=False):
        if operation.type == "Narrow":
            raise KernelError("no such kernel")
        wide = [np.asarray(v, np.float64) if np.asarray(v).dtype.kind == "f" else np.asarray(v) for v in given]
        return self.run(operation, wide)

    def numpy(self, value):
        return np.asarray(value)


class Maker:
    """Puts a program together, computing as it goes."""

    def __init__(self):
        self.builder, self.values = ProgramBuilder(), {}

    def source(self, kind, name, value):
        value = np.asarray(value)
        tensor = self.builder.source(kind, name, value, Spec(value.dtype.name, value.shape))
        self.values[tensor] = value
        return tensor

    def constant(self, value):
        value = np.asarray(value)
        tensor = self.builder.constant(value, Spec(value.dtype.name, value.shape))
        self.values[tensor] = value
        return tensor

    def do(self, kind, *given):
        (value,) = [NumPyKernels.OPERATIONS[kind](*(self.values[tensor] for tensor in given))]
        spec = Spec(value.dtype.name, value.shape)
        (tensor,) = self.builder.operation(kind, {}, given, [(spec, value)], Place(kind, ""))
        self.values[tensor] = value
        return tensor

    def returns(self, **outputs):
        self.builder.program.outputs.update(outputs)
        return self.builder.program


X = np.linspace(-1, 1, 12, dtype=F).reshape(4, 3)
W = fill.distinct("w", (3, 5), F)


def net(activation, offset=0.0, factor=1.0):
    maker = Maker()
    x, w = maker.source("input", "x", X), maker.source("variable", "w", W)
    y = maker.do("MatMul", x, w)
    y = maker.do("Mul", y, maker.constant(F(factor)))
    y = maker.do("AddV2", y, maker.constant(F(offset)))
    axes = [maker.constant(np.int32(1))] if activation == "ArgMax" else []
    return maker.returns(y=maker.do(activation, y, *axes))


def derivative_of(program):
    """By differences in float64: what the framework's tape gives exactly."""
    kernels = NumPyKernels()
    found = {}
    for tensor, source in program.sources.items():
        if source.kind not in ("variable", "input") or source.value.dtype.kind != "f":
            continue
        rest = reach.evaluate(program, kernels, double=True).ends
        moved = reach.evaluate(program, kernels, double=True, sources={tensor: source.value * F(1 + 1e-4)}).ends
        found[tensor] = np.asarray([np.abs(moved[t] - rest[t]).max() for t in program.outputs.values()])
    return found


def no_derivative(program):
    raise KernelError("none")


class TestKinks:
    def test_a_side_that_no_value_was_on_is_told(self):
        coverage = kinks.Coverage()
        coverage.observe(net("Relu6"), NumPyKernels())
        assert coverage.unmet_kinks == {"Relu6": ["above 6"]}
        assert kinks.told({"reference": coverage}) == ("1 of 1 kinks were met on one side only (Relu6: never above 6)")

    def test_what_another_run_met_counts(self):
        coverage = kinks.Coverage()
        coverage.observe(net("Relu6"), NumPyKernels())
        coverage.observe(net("Relu6", factor=50.0), NumPyKernels())
        assert coverage.unmet == []
        assert kinks.told({"reference": coverage}) == ""

    @pytest.mark.parametrize(
        ("places", "unmet"), [([0, 1], ["the last row"]), ([3, 2], ["the first row"]), ([0, 3], [])]
    )
    def test_rows_of_a_table(self, places, unmet):
        maker = Maker()
        table = maker.source("variable", "table", np.ones((4, 2), F))
        y = maker.do("GatherV2", table, maker.source("input", "ids", np.asarray(places)), maker.constant(np.int32(0)))
        coverage = kinks.Coverage()
        coverage.observe(maker.returns(y=y), NumPyKernels())
        assert [side for _, side in coverage.unmet] == unmet


class TestReach:
    def test_a_variable_behind_a_dead_kink_moves_nothing(self):
        found = reach.Reach()
        dead = net("Relu", offset=-100.0)
        found.observe(dead, NumPyKernels(), derivative_of)
        assert found.unmoved == ["w"]
        assert found.dead == ["y"]
        assert reach.stopped_by(dead, NumPyKernels(), ["w"]) == {"Relu"}
        assert reach.told(found).startswith("proved for 0 of 1 variables")

    def test_one_that_moves_it_somewhere_is_proved(self):
        found = reach.Reach()
        found.observe(net("Relu", offset=-100.0), NumPyKernels(), derivative_of)
        found.observe(net("Relu"), NumPyKernels(), derivative_of)
        assert (found.unmoved, found.dead, reach.told(found)) == ([], [], "")

    def test_behind_whole_numbers_a_variable_is_changed(self):
        for derivatives in (derivative_of, no_derivative):
            found = reach.Reach()
            found.observe(net("ArgMax"), NumPyKernels(), derivatives)
            assert (found.unmoved, found.dead) == ([], [])

    def test_what_leads_to_no_output_is_not_asked(self):
        maker = Maker()
        x, w = maker.source("input", "x", X), maker.source("variable", "w", W)
        maker.do("MatMul", x, maker.source("variable", "unused", W))
        found = reach.Reach()
        found.observe(maker.returns(y=maker.do("MatMul", x, w)), NumPyKernels(), derivative_of)
        assert list(found.asked) == ["w"]


class TestRoles:
    def test_what_a_square_root_is_taken_of_is_positive_whatever_its_name(self):
        maker = Maker()
        variance = maker.source("variable", "a/Squeeze_1/Average", np.ones(3, F))
        mean = maker.source("variable", "a/Squeeze/Average", np.ones(3, F))
        scale = maker.do("Rsqrt", maker.do("AddV2", variance, maker.constant(F(1e-3))))
        x = maker.do("Sub", maker.source("input", "x", X), mean)
        assert roles.positive(maker.returns(y=maker.do("Mul", x, scale))) == {"a/Squeeze_1/Average"}


class TestInputs:
    def test_what_an_input_cannot_show(self):
        given = {"a": np.ones((2, 3), F), "b": np.tile(np.arange(3, dtype=F), (2, 1)), "c": np.arange(6).reshape(1, 6)}
        told = inputs.blind_spots(given)
        assert told == ["a is 1 everywhere", "b is constant along axis 0", "c is a batch of one"]
        assert inputs.blind_spots(X) == []

    def test_a_generic_input_has_the_same_shape_dtype_and_range(self):
        given = {
            "ones": np.ones((2, 3), F),
            "zeros": np.zeros((2, 3), F),
            "image": X * 255,
            "ids": np.asarray([[3, 7, 5]]),
            "mask": np.asarray([[1, 0, 1, 1]], F),
            "flag": np.asarray([True, True, True, True, True, True]),
            "rate": np.float32(0.5),
            "words": np.asarray(["a", "b"]),
        }
        made = inputs.generic(given)
        assert {n: (a.shape, a.dtype) for n, a in made.items()} == {n: (a.shape, a.dtype) for n, a in given.items()}
        for name in ("ones", "zeros", "image"):
            assert np.ptp(made[name]) > 0
        assert made["image"].min() >= given["image"].min()
        assert made["image"].max() <= given["image"].max()
        assert set(made["ids"].reshape(-1)) <= set(range(3, 8))
        assert set(made["mask"].reshape(-1)) <= {0.0, 1.0}
        assert made["rate"] == given["rate"]
        assert made["words"] is given["words"]

    def test_one_array_stays_one_array(self):
        assert inputs.generic(X).shape == X.shape


class TestWhole:
    def compared(self, reference, candidate):
        found = whole.compare(reference, candidate, NumPyKernels(), sources={}, names={})
        return found.of("output")["y"]

    def test_rounding_is_no_other_function(self):
        maker = Maker()
        x, w = maker.source("input", "x", X), maker.source("variable", "w", W)
        big = maker.constant(F(1e4))
        y = maker.do("Sub", maker.do("AddV2", maker.do("MatMul", x, w), big), big)
        spoiled = maker.returns(y=maker.do("Relu", y))
        found = self.compared(net("Relu"), spoiled)
        assert found.same
        assert found.rounding[1] > 1e-5  # what float32 makes of it

    @pytest.mark.parametrize("factor", [1.0001, -1.0])
    def test_another_constant_is(self, factor):
        assert not self.compared(net("Relu"), net("Relu", factor=factor)).same

    def test_the_same_is_the_same(self):
        assert self.compared(net("Relu6"), net("Relu6")).difference == 0.0

    def test_without_a_float64_kernel_nothing_is_told(self):
        maker = Maker()
        x = maker.source("input", "x", X)
        NumPyKernels.OPERATIONS["Narrow"] = lambda a: a
        narrow = maker.returns(y=maker.do("Narrow", x))
        assert whole.compare(narrow, narrow, NumPyKernels(), sources={}, names={}) is None

    @pytest.mark.parametrize(
        ("a", "b", "expected"),
        [
            (np.ones(2), np.ones((2, 1)), np.inf),
            (np.asarray([1.0, np.nan]), np.asarray([1.5, np.nan]), 0.5),
            (np.asarray([np.inf]), np.asarray([1.0]), np.inf),
            (np.asarray([1, 2]), np.asarray([1, 3]), np.inf),
            (np.asarray(["a"]), np.asarray(["a"]), 0.0),
        ],
    )
    def test_distance(self, a, b, expected):
        assert whole.distance(a, b) == expected


class TestStart:
    RECORD = VariableRecord("w", "w", (2,), "float32", True, False)
    PAIRED = Alignment(pairs=((RECORD, RECORD),), missing=(), extra=())

    def trace(self, *values):
        return Trace(variables=(self.RECORD,), before={"w": np.asarray(values, F)}, outputs={})

    def test_one_unit_in_the_last_place_is_another_start(self):
        assert start.apart(self.trace(1, 2), self.trace(1, 2), self.PAIRED) == []
        assert start.apart(self.trace(1, 2), self.trace(1, np.nextafter(F(2), F(3))), self.PAIRED) == ["w"]

    def test_a_value_that_is_not_known_is_not_the_same(self):
        unknown = Trace(variables=(self.RECORD,), before={}, outputs={})
        assert start.apart(self.trace(1, 2), unknown, self.PAIRED) == ["w"]


class TestFill:
    @pytest.mark.parametrize("kind", ["distinct", "even", *(f"wide/{n}" for n in range(len(fill.WIDE)))])
    def test_what_has_to_be_positive_is(self, kind):
        assert (fill.values(kind, "a/b", (50,), F, positive=True) > 0).all()
        assert (fill.values(kind, "a/moving_variance", (50,), F) > 0).all()

    def test_wide_values_reach_further(self):
        reached = [np.abs(fill.values(f"wide/{n}", "a/kernel", (9, 9), F)).max() for n in range(len(fill.WIDE))]
        assert max(reached) > 50 * np.abs(fill.values("distinct", "a/kernel", (9, 9), F)).max()

    def test_even_values_keep_a_layer_as_large_as_it_was(self):
        assert np.ones(64, F) @ fill.values("even", "kernel", (64, 8), F) == pytest.approx(np.ones(8))


def test_a_step_that_a_value_hides_is_seen():
    before = np.full(4, 1.0, F)
    step = F(1e-3)
    assert change_atol(before, before + step) == pytest.approx(2e-7, rel=1e-3)
    assert change_atol(before, before) == np.inf
    assert change_atol(before.astype(np.float16), before.astype(np.float16)) == np.inf


class TestSigns:
    """Orthogonal initial values whose factorization chose other signs."""

    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 4)))[0].astype(F) * F(1.4)

    def test_whole_columns_or_rows_may_be_turned(self):
        assert but_for_signs(self.Q, self.Q * np.asarray([1, -1, 1, -1], F))
        assert but_for_signs(self.Q.T, self.Q.T * np.asarray([[1], [-1], [1], [1]], F))
        assert but_for_signs(self.Q.reshape(3, 3, 1, 4), (self.Q * np.asarray([1, -1, 1, 1], F)).reshape(3, 3, 1, 4))

    def test_other_differences_are_differences(self):
        assert not but_for_signs(self.Q, self.Q)  # nothing is turned
        assert not but_for_signs(self.Q, np.abs(self.Q))  # single elements
        assert not but_for_signs(self.Q, self.Q * np.asarray([1, -1.01, 1, 1], F))
        random = np.random.default_rng(0).normal(size=(9, 4)).astype(F)
        assert not but_for_signs(random, random * np.asarray([1, -1, 1, 1], F))  # no orthogonal matrix
        assert not but_for_signs(self.Q, self.Q * np.asarray([1, -1.0001, 1, 1], F))

    def test_a_single_column_is_orthogonal_to_no_other(self):
        column = np.random.default_rng(1).normal(size=(5, 1)).astype(F)
        assert not but_for_signs(column, column * F(1.0001))
        assert not but_for_signs(column, -column)
        unit = column / np.linalg.norm(column)
        assert but_for_signs(unit, -unit)
