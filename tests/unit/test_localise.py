"""Forced lockstep on small programs whose operations NumPy computes: what it finds, and what it must not blame."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.causes import causes
from lockstep.causes.causes import cause_of
from lockstep.causes.culprits import culprits
from lockstep.causes.hypotheses.case import alike
from lockstep.check.steps import forced
from lockstep.common.errors import FaultWarning, KernelError
from lockstep.common.search_time import SearchTime
from lockstep.localise import budget, effects, forcing, written_otherwise
from lockstep.localise.findings import Blame
from lockstep.localise.forcing import localise
from lockstep.localise.matching import reads_all, without_duplicates
from lockstep.localise.numbering import Numbering
from lockstep.localise.values import Values
from lockstep.program import Place, ProgramBuilder, Spec

RNG = np.random.default_rng(7)
X = RNG.normal(size=(8, 6)).astype(np.float32)
ONE, TWO = np.array([5, 0, 2], np.int32), np.array([1, 4, 0], np.int32)
KERNELS = {
    "a": RNG.normal(size=(6, 6)).astype(np.float32),
    "b": RNG.normal(size=(6, 6)).astype(np.float32),
    "bias": RNG.normal(size=6).astype(np.float32),
    "square": RNG.normal(size=(6, 6)).astype(np.float32),
    "columns": RNG.normal(size=6).astype(np.float32),
    "more": RNG.normal(size=6).astype(np.float32),
    "taps": RNG.normal(size=(3, 1, 1)).astype(np.float32),
}
OPERATIONS = {
    "MatMul": lambda x, w, **_: x @ w,
    "Mul": lambda x, y, **_: x * y,
    "AddV2": lambda x, y, **_: x + y,
    "Sub": lambda x, y, **_: x - y,
    "Neg": lambda x, **_: -x,
    "ArgSort": lambda x, **_: np.argsort(x, -1, kind="stable").astype(np.int32),
    "StridedSlice": lambda x, begin, end, strides, **_: x[:: int(strides[0]), None],
    "Softmax": lambda x, **_: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    "Relu": lambda x, **_: np.maximum(x, 0),
    "Elu": lambda x, **_: np.where(x > 0, x, np.expm1(x)).astype(x.dtype),
    "Tanh": lambda x, **_: np.tanh(x),
    "Sigmoid": lambda x, **_: (1 / (1 + np.exp(-x))).astype(x.dtype),
    "RealDiv": lambda x, y, **_: x / y,
    "Sum": lambda x, axis, keep_dims=False, **_: x.sum(int(axis), keepdims=keep_dims, dtype=x.dtype),
    "Transpose": lambda x, order, **_: np.transpose(x, order),
    "Reshape": lambda x, shape, **_: np.reshape(x, shape),
    "Convolve": lambda x, w, **_: np.stack([np.convolve(row, w[:, 0, 0], "same") for row in x]).astype(x.dtype),
    "Correlate": lambda x, w, **_: np.stack([np.convolve(row, w[::-1, 0, 0], "same") for row in x]).astype(x.dtype),
    "Maximum": lambda x, y, **_: np.maximum(x, y),
    "Minimum": lambda x, y, **_: np.minimum(x, y),
    "Mean": lambda x, axis, keep_dims=False, **_: x.mean(int(axis), keepdims=keep_dims, dtype=x.dtype),
    "LeakyRelu": lambda x, alpha, **_: np.where(x > 0, x, x.dtype.type(alpha) * x),
    "ConcatV2": lambda *given, **_: np.concatenate(given[:-1], int(given[-1])),
    "Select": lambda condition, x, y, **_: np.where(condition, x, y),
    "Normalise": lambda x, w, b, factor: x @ (w * x.dtype.type(factor)) + b,
    "Slice": lambda x, begin, size, **_: x[tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))],
    "GatherV2": lambda x, places, axis, **_: np.take(x, places, int(axis)),
}


class NumpyKernels:
    """The operations above."""

    def __init__(self):
        self.ran = 0

    def run(self, operation, inputs):
        self.ran += 1
        try:
            with np.errstate(all="ignore"):  # as a framework's kernels: infinity is an answer
                return [np.asarray(OPERATIONS[operation.type](*inputs, **operation.attributes))]
        except (TypeError, ValueError) as error:  # NumPy's own, of what does not fit
            raise KernelError(str(error)) from error

    def run_double(self, operation, inputs, *, halves=False):
        wide = [a.astype(np.float64) if np.asarray(a).dtype == np.float32 else a for a in map(np.asarray, inputs)]
        return self.run(operation, wide)

    def numpy(self, value):
        return np.asarray(value)

    def changed(self, operation, attributes):
        return replace(operation, attributes={**operation.attributes, **attributes})


class Writer:
    """Writes a program down as one would write a model."""

    def __init__(self):
        self.builder, self.kernels = ProgramBuilder(), NumpyKernels()
        self.line = ""  # of everything, where it is one line that runs several times
        self.x = self.builder.source("input", "x", X, spec(X))

    def variable(self, name):
        return self.builder.variable(name, KERNELS[name], spec(KERNELS[name]))

    def constant(self, value, dtype=np.float32):
        array = np.asarray(value, dtype)
        return self.builder.constant(array, spec(array))

    def __call__(self, kind, *inputs, scope="net", **attributes):
        shapes = [np.ones(s.shape, s.dtype) for s in (self.builder.program.specs[t] for t in inputs)]
        sources = self.builder.program.sources
        given = [sources[t].value if t in sources else a for t, a in zip(inputs, shapes, strict=True)]
        value = OPERATIONS[kind](*given, **attributes)
        place = Place(f"{scope}/{kind}", scope, self.line or f"{scope}.py:{len(self.builder.program.operations) + 1}")
        return self.builder.operation(kind, attributes, inputs, [(spec(value), value)], place)[0]

    def done(self, output, **more):
        self.builder.program.outputs.update({"": output, **more})
        return self.builder.program.without_the_unused()


def spec(array):
    return Spec(array.dtype.name, array.shape)


def network(scale=0.1, activation="Relu", kernel="b", slope=None, order=(0, 1), extra=None):
    """relu(x a) + scale * (x a), times b, joined with itself."""
    net = Writer()
    hidden = net("MatMul", net.x, net.variable("a"), scope="first")
    active = hidden if activation is None else net(activation, hidden, scope="first")
    scaled = hidden if scale is None else net("Mul", hidden, net.constant(scale), scope="branch")
    if extra:
        scaled = net(extra, scaled, scope="branch")
    both = net("AddV2", active, scaled, scope="sum")
    if slope is not None:
        both = net("LeakyRelu", both, scope="sum", alpha=slope)
    last = net("MatMul", both, net.variable(kernel), scope="last")
    joined = [last, both]
    return net.done(net("ConcatV2", joined[order[0]], joined[order[1]], net.constant(1, np.int32), scope="joined"))


def found(reference, candidate, variables=("a", "b", "bias")):
    kernels = NumpyKernels()
    result = localise(reference, candidate, {name: name for name in variables}, kernels)
    return result, culprits(result, reference, candidate, kernels)


def test_equal_programs_are_identical_without_running_the_candidate():
    kernels = NumpyKernels()
    reference = network()
    result = localise(reference, network(), {"a": "a", "b": "b"}, kernels)
    assert (result.blames, result.compared, result.complete, result.bit_equal) == ([], 0, True, True)
    assert result.identical == len(reference.operations) == kernels.ran


@pytest.mark.parametrize(
    ("right", "wrong", "name", "pitfall"),
    [
        ({}, {"scale": 0.11}, "branch/Mul", "constant-factor"),
        ({}, {"scale": None}, "branch/Mul", "missing-scale"),
        ({}, {"activation": "Elu"}, "first/Relu", "wrong-activation"),
        ({}, {"activation": None}, "first/Relu", "missing-activation"),
        ({}, {"kernel": "a"}, "last/MatMul", "wrong-variable"),
        ({"slope": 0.2}, {"slope": 0.3}, "sum/LeakyRelu", "leaky-slope"),
        ({}, {"order": (1, 0)}, "joined/ConcatV2", "concat-order"),
        ({}, {"scale": 0.1 * (1 + 1e-5)}, "branch/Mul", "constant-factor"),
    ],
)
def test_one_wrong_operation_is_named_alone_with_its_cause(right, wrong, name, pitfall):
    _, named = found(network(**right), network(**{**right, **wrong}))
    assert [(culprit.reference, culprit.pitfall) for culprit in named] == [(name, pitfall)]
    assert named[0].ratio > 5
    assert named[0].reference_source.startswith(f"{name.split('/', maxsplit=1)[0]}.py:")


def test_what_only_the_candidate_computes_is_told_with_what_reads_it():
    _, named = found(network(), network(extra="Tanh"))
    assert [(culprit.candidate, culprit.pitfall) for culprit in named] == [("branch/Tanh", "wrong-activation")]


def test_all_wrong_operations_are_found_in_one_pass():
    _, named = found(network(slope=0.2), network(scale=0.11, activation="Elu", slope=0.3, kernel="a"))
    assert {culprit.reference for culprit in named} == {"branch/Mul", "first/Relu", "sum/LeakyRelu", "last/MatMul"}


def mean_of_squares(parts):
    """The variance of each row, by its definition or by the mean of squares."""
    net = Writer()
    axis = net.constant(1, np.int32)
    hidden = net("MatMul", net.x, net.variable("a"))
    mean = net("Mean", hidden, axis, keep_dims=True)
    if parts:
        off = net("Sub", hidden, mean)
        return net.done(net("Mean", net("Mul", off, off), axis))
    square = net("Mean", net("Mul", hidden, hidden), axis, keep_dims=True)
    return net.done(net("Sub", square, net("Mul", mean, mean)))


def test_code_that_is_written_otherwise_is_right_within_its_noise_budget():
    result, named = found(mean_of_squares(parts=True), mean_of_squares(parts=False))
    assert named == ()
    assert result.compared
    assert result.complete
    assert not result.bit_equal
    assert max(result.ratios) < 0.1  # the mean that both start from is rounded, which leaves a little


def test_an_error_without_any_effect_on_what_is_returned_is_none():
    net = Writer()
    net("Elu", net("MatMul", net.x, net.variable("a")))
    program = net.done(net("Relu", net("MatMul", net.x, net.variable("b"))))
    assert [operation.type for operation in program.operations] == ["MatMul", "Relu"]


def test_an_output_that_one_side_lacks_leaves_the_answer_incomplete():
    reference = network()
    reference.outputs["more"] = reference.outputs[""]
    result, _ = found(reference, network())
    assert not result.complete
    assert "output more" in result.unmatched[0]


def test_a_variable_without_a_partner_is_no_ground_to_blame_what_follows():
    _, named = found(network(), network(), variables=("a",))
    assert [culprit.reference for culprit in named] == []


def averaging(momentum, changes=True, pace=None, scale=1.0):
    net = Writer()
    mean = net("Mean", net("MatMul", net.x, net.variable("a")), net.constant(0, np.int32))
    kept = net("Mul", net.variable("bias"), net.constant(momentum), scope="average")
    large = net("Mul", mean, net.constant(scale)) if scale != 1.0 else mean
    taken = net("Mul", large, net.constant(1 - momentum if pace is None else pace), scope="average")
    if changes:
        net.builder.write("bias", net("AddV2", kept, taken, scope="average"))
    return net.done(net("Tanh", mean))


def test_what_leads_to_an_update_alone_is_a_state():
    _, named = found(averaging(0.99), averaging(0.9))
    assert {(culprit.kind, culprit.reference, culprit.pitfall) for culprit in named} == {("state", "bias", "momentum")}


def test_one_minus_a_decay_in_float32_is_no_other_pace():
    """It is 0.00300002 for 0.003, as TF1's fused batch normalisation has it; averages far from zero show it."""
    pace = np.float32(1) - np.float32(0.997)
    assert pace != np.float32(0.003)
    result, named = found(averaging(0.997, pace=pace, scale=1e3), averaging(0.997, scale=1e3))
    assert [blame.updates for blame in result.blames] == ["bias"]
    assert named == ()
    sides = averaging(0.997, pace=pace, scale=1e3), averaging(0.997, scale=1e3)
    assert culprits(result, *sides, NumpyKernels(), SearchTime(0.0)) == (), "no verdict depends on the time"
    _, named = found(averaging(0.997, scale=1e3), averaging(0.997, pace=0.0030001, scale=1e3))
    assert [culprit.pitfall for culprit in named] == ["momentum"]


def test_an_update_that_one_side_lacks_is_a_state():
    for sides, pitfall in (((True, False), "missing-update"), ((False, True), "extra-update")):
        _, named = found(averaging(0.9, sides[0]), averaging(0.9, sides[1]))
        assert [(culprit.kind, culprit.reference, culprit.pitfall) for culprit in named] == [("state", "bias", pitfall)]


def test_values_beyond_the_bound_are_read_back_bit_for_bit():
    program, kernels = network(), NumpyKernels()
    with Values(program, kernels) as free, Values(program, kernels, max_memory=500) as bound:
        for operation in program.operations:
            for tensor in operation.outputs:
                np.testing.assert_array_equal(free[tensor], bound[tensor])
        largest = max(int(np.prod(each.shape)) * 4 for each in program.specs)
        assert largest <= bound.peak <= 500 < free.peak


@given(st.floats(-30, 30, width=32), st.integers(0, 2**31 - 1))
@settings(max_examples=50, deadline=None)
def test_rounding_alone_is_within_the_budget_and_a_millionth_more_is_not(scale, seed):
    """A sum in another order is rounding; one in which a term is a hundred-thousandth larger is not."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(4, 50)) * 2.0**scale).astype(np.float32)
    w = rng.normal(size=(50, 3)).astype(np.float32)

    def part(factor, order):
        net = ProgramBuilder()
        a = net.source("input", "x", x[:, order], spec(x))
        b = net.source("variable", "w", (w * factor)[order].astype(np.float32), spec(w))
        (out,) = net.operation("MatMul", {}, (a, b), [(Spec("float32", (4, 3)), None)], Place("m", ""))
        values = {a: x[:, order], b: net.program.sources[b].value}
        return budget.Part(net.program, net.program.operations, values, out, {})

    kernels = NumpyKernels()
    plain = part(np.ones((50, 1)), np.arange(50))
    here = plain.run(kernels)
    assert budget.judged(kernels, plain, part(np.ones((50, 1)), np.arange(50)[::-1]), here).within
    assert not budget.judged(kernels, plain, part(np.full((50, 1), 1 + 1e-4), np.arange(50)), here).within


def test_a_cause_is_told_only_if_the_difference_vanishes_with_it():
    reference, candidate = network(activation="Tanh"), network(activation="Elu", scale=0.3)
    result, _ = found(reference, candidate)
    by_name = {cause_of(b, reference, candidate, NumpyKernels()).pitfall for b in result.blames}
    assert by_name == {"wrong-activation", "constant-factor"}


def scaled(first, active=False, factor=0.25):
    """The scale before the product or after it, which is the same, unless something lies between."""
    net = Writer()
    hidden = net("Tanh", net("MatMul", net.x, net.variable("a")))
    given_scale = net.constant(factor)
    read = net("Mul", hidden, given_scale, scope="scale") if first else hidden
    product = net("MatMul", read, net.variable("b"), scope="product")
    if active:
        product = net("Elu", product, scope="product")
    out = product if first else net("Mul", product, given_scale, scope="scale")
    return net.done(net("Tanh", net("AddV2", out, net.variable("bias"))))


def test_a_factor_that_only_changes_places_is_not_blamed():
    result, named = found(scaled(first=False), scaled(first=True))
    assert named == ()
    assert result.complete


def test_a_factor_that_changes_places_past_something_that_minds_is_blamed():
    _, named = found(scaled(first=False, active=True), scaled(first=True, active=True))
    assert named


def test_another_factor_in_another_place_is_blamed():
    _, named = found(scaled(first=False), scaled(first=True, factor=0.3))
    assert named


def pieces(picked, activation, offset, scale):
    """An activation and a scale, of which a piece is taken by a slice or by a list of places."""
    net = Writer()
    hidden = net(activation, net("MatMul", net.x, net.variable("a")), scope="first")
    scaled = net("Mul", net("Sub", hidden, net.constant(offset)), net.constant(scale), scope="scale")
    if picked == "Slice":
        piece = net("Slice", scaled, net.constant([0, 0], np.int32), net.constant([4, 6], np.int32))
    else:
        piece = net("GatherV2", scaled, net.constant(range(4), np.int32), net.constant(0, np.int32))
    return net.done(net("MatMul", piece, net.variable("b"), scope="last"))


def test_operations_behind_a_piece_have_the_same_role_however_it_is_taken():
    _, named = found(pieces("Slice", "Relu", 0.2, 0.1), pieces("GatherV2", "Tanh", 0.3, 0.11))
    assert {c.reference: c.pitfall for c in named} == {
        "first/Relu": "wrong-activation",
        "net/Sub": "offset",
        "scale/Mul": "constant-factor",
    }


def rounds(repeated, scale):
    """Three rounds of a recurrence whose outputs, where masked, are zero or repeat the last; they are masked again."""
    net, outputs = Writer(), []
    net.line = "loop.py:1"
    zero, state = net.constant(np.zeros((8, 6))), net.x
    masks = [np.arange(8)[:, None] < count for count in (8, 5, 2)]
    for mask in masks:
        product = net("MatMul", state, net.variable("a"), scope="round/product")
        state = net("Tanh", net("Mul", product, net.constant(scale), scope="round/scale"), scope="round/state")
        condition = net.constant(np.broadcast_to(mask, (8, 6)), bool)
        other = outputs[-1] if repeated and outputs else zero
        outputs.append(net("Select", condition, state, other, scope="round/output"))
    joined = net("ConcatV2", *outputs, net.constant(1, np.int32))
    return net.done(net("Mul", joined, net.constant(np.repeat(np.hstack(masks), 6, axis=1))))


def test_what_only_all_rounds_of_a_loop_together_make_harmless_is_not_blamed():
    reference = rounds(repeated=False, scale=0.1)
    assert found(reference, rounds(repeated=True, scale=0.1))[1] == ()
    _, named = found(reference, rounds(repeated=True, scale=0.11))
    assert [culprit.reference for culprit in named] == ["round/scale/Mul"]


def test_an_output_that_is_wrong_itself_hides_no_harmless_place():
    def program(first, active):
        net = Writer()
        hidden = net("MatMul", net.x, net.variable("a"))
        more = net("Relu", hidden, scope="more") if active else hidden
        read = net("Mul", hidden, net.constant(0.25), scope="scale") if first else hidden
        product = net("MatMul", read, net.variable("b"), scope="product")
        return net.done(product if first else net("Mul", product, net.constant(0.25), scope="scale"), more=more)

    _, named = found(program(first=False, active=True), program(first=True, active=False))
    assert [culprit.reference for culprit in named] == ["more/Relu"]


@pytest.mark.parametrize("activation", ["Relu", "Tanh"])
def test_reading_another_tensor_is_put_down_to_the_reader_where_nobody_asks_for_the_right_one(activation):
    def program(*, right):
        net = Writer()
        other = net("Tanh", net("MatMul", net.x, net.variable("b")), scope="other")
        wanted = net(activation, net("MatMul", net.x, net.variable("a")), scope="wanted") if right else other
        shown = net("Elu", other, scope="shown")
        return net.done(net("Sub", wanted, net.variable("bias"), scope="reader"), more=shown)

    _, named = found(program(right=True), program(right=False))
    assert [(culprit.reference, culprit.pitfall) for culprit in named] == [("reader/Sub", "wrong-input")]


def chain(*steps):
    """Several operations between two products."""
    net = Writer()
    value = net("MatMul", net.x, net.variable("a"), scope="product")
    for step in steps:
        if step in ("Tanh", "Relu", "Elu"):
            value = net(step, value, scope="part")
        else:
            kind, number = step
            value = net(kind, value, net.constant(number), scope="part")
    return net.done(net("MatMul", value, net.variable("b"), scope="last"))


@pytest.mark.parametrize(
    ("candidate", "pitfall"),
    [
        ((("Mul", 3.0), ("AddV2", -0.5), "Relu"), "operation-order"),
        (("Relu", ("Mul", 3.0), ("AddV2", -0.5)), ""),  # as in the reference
        ((("Mul", 3.0), ("AddV2", -0.5)), "missing-activation"),
        (("Relu", ("Mul", 3.0), ("AddV2", -0.5), "Tanh"), "wrong-activation"),
        (("Relu", ("Mul", 3.0)), "offset"),
        (("Relu", ("AddV2", -0.5)), "missing-scale"),
    ],
)
def test_one_operation_among_several_that_is_lacking_too_many_or_in_another_place_is_the_cause(candidate, pitfall):
    """What lies between the products is looked at as one, as where no tensor within is known to be the same."""
    reference, program, kernels = chain("Relu", ("Mul", 3.0), ("AddV2", -0.5)), chain(*candidate), NumpyKernels()
    with Values(reference, kernels) as values:
        start = reference.operations[0].outputs[0], program.operations[0].outputs[0]
        ends = reference.operations[-1].inputs[0], program.operations[-1].inputs[0]
        parts = [
            budget.Part(side, side.operations[1:-1], {first: values[start[0]]}, end, {})
            for side, first, end in zip((reference, program), start, ends, strict=True)
        ]
        judged = budget.judged(kernels, *parts, values[ends[0]])
        assert judged.within == (not pitfall)
        blame = Blame(*(tuple(part.operations) for part in parts), judged, *parts, ends[0])
        assert not pitfall or cause_of(blame, reference, program, kernels).pitfall == pitfall


def gated(inverted):
    net = Writer()
    gate = net("Sigmoid", net("MatMul", net.x, net.variable("a")), scope="gate")
    kept = net("Sub", net.constant(1.0), gate, scope="gate")
    product = net("MatMul", net.x, net.variable("b"))
    sides = (kept, gate) if inverted else (gate, kept)
    return net.done(net("AddV2", net("Mul", sides[0], product), net("Mul", sides[1], net.x), scope="state"))


def test_a_gate_and_its_complement_that_changed_places_are_told_as_gates():
    _, named = found(gated(inverted=False), gated(inverted=True))
    assert {culprit.pitfall for culprit in named} == {"gate-order"}


def averaged(own):
    net = Writer()
    steps, axis = net("Reshape", net("MatMul", net.x, net.variable("a")), shape=(8, 3, 2)), net.constant(1, np.int32)
    if own:
        counts = net.constant(np.arange(1, 9).reshape(8, 1))
        mean = net("RealDiv", net("Sum", steps, axis, scope="mean"), counts, scope="mean")
    else:
        mean = net("Mean", steps, axis, scope="mean")
    return net.done(net("Tanh", mean))


def test_a_constant_where_each_row_has_a_number_of_its_own_is_a_factor():
    _, named = found(averaged(own=True), averaged(own=False))
    assert [(culprit.reference, culprit.pitfall) for culprit in named] == [("mean/RealDiv", "constant-factor")]
    assert "for each row" in named[0].cause


def selecting(zero):
    net = Writer()
    product = net("MatMul", net.x, net.variable("a"))
    mask = net.constant(np.broadcast_to(np.arange(8)[:, None] < 5, (8, 6)), bool)
    other = net.constant(np.zeros((8, 6))) if zero else net("Tanh", product)
    chosen = net("Select", mask, net("Relu", product), other, scope="mask")
    return net.done(net("MatMul", chosen, net.variable("b")))


def test_what_differs_only_where_a_condition_holds_is_a_mask():
    _, named = found(selecting(zero=True), selecting(zero=False))
    assert [culprit.pitfall for culprit in named] == ["mask"]


def test_a_kernel_whose_taps_run_backwards_is_told():
    def program(kind):
        net = Writer()
        return net.done(net(kind, net.x, net.variable("taps"), scope="taps"))

    _, named = found(program("Convolve"), program("Correlate"), variables=("taps",))
    assert [(culprit.reference, culprit.pitfall) for culprit in named] == [("taps/Convolve", "transposed-kernel")]


def stretched(scope, slope=None, further=0.3):
    """An activation, stretched on one side by a select of its own, and a factor that both have further on."""
    net = Writer()
    active = net("Elu", net("MatMul", net.x, net.variable("a")), scope="active")
    if slope is not None:
        positive = net.constant(np.broadcast_to(np.arange(6) % 2 == 0, (8, 6)), bool)
        active = net("Select", positive, active, net("Mul", active, net.constant(slope), scope=scope), scope=scope)
    factor = net("Mul", active, net.constant(further), scope="factor")
    if slope is None:
        factor = net("Slice", factor, net.constant([0, 0], np.int32), net.constant([4, 6], np.int32))
    else:
        factor = net("GatherV2", factor, net.constant(range(4), np.int32), net.constant(0, np.int32))
    return net.done(net("MatMul", factor, net.variable("b"), scope="last"))


@pytest.mark.parametrize(
    ("scope", "name"), [("active", "active/Elu"), ("elsewhere", "active/Elu"), ("factor", "factor/Mul")]
)
def test_what_only_the_candidate_computes_goes_with_what_is_of_its_scope(scope, name):
    _, named = found(stretched(scope), stretched(scope, slope=0.9))
    assert [(culprit.reference, culprit.pitfall) for culprit in named] == [(name, "activation-slope")]


def test_a_step_that_reads_the_same_is_not_taken_for_a_later_one_with_the_right_number():
    _, named = found(stretched("active"), stretched("active", slope=0.9, further=0.3))
    assert "factor/Mul" not in {culprit.reference for culprit in named}
    _, named = found(stretched("active"), stretched("active", slope=0.9, further=0.4))
    assert {culprit.reference for culprit in named} >= {"factor/Mul"}


def normalised(activation, *, fused, factor=0.25):
    """Activates x a and normalises it, in one operation or spelled out."""
    net = Writer()
    net_x = net("MatMul", net.x, net.variable("a"), scope="first")
    if activation is not None:
        net_x = net(activation, net_x, scope="first")
    kernel, bias = net.variable("b"), net.variable("bias")
    if fused:
        return net.done(net("Normalise", net_x, kernel, bias, scope="norm", factor=factor))
    gain = net("Mul", kernel, net.constant(factor), scope="norm")
    return net.done(net("AddV2", net("MatMul", net_x, gain, scope="norm"), bias, scope="norm"))


@pytest.mark.parametrize("activation", ["Elu", "Tanh"])
def test_a_wrong_activation_before_what_is_one_operation_and_several_is_blamed_alone(activation):
    reference = normalised("Relu", fused=True)
    _, (one,) = found(reference, normalised(activation, fused=False))
    assert (one.reference, one.candidate, one.pitfall) == ("first/Relu", f"first/{activation}", "wrong-activation")


def test_a_lost_activation_before_what_is_one_operation_and_several_is_told():
    _, (one,) = found(normalised("Relu", fused=True), normalised(None, fused=False))
    assert (one.reference, one.pitfall) == ("first/Relu", "missing-activation")


def test_two_mistakes_in_one_place_are_two_culprits():
    _, named = found(normalised("Relu", fused=True), normalised("Elu", fused=False, factor=0.75))
    assert {(c.reference, c.pitfall) for c in named} == {
        ("first/Relu", "wrong-activation"),
        ("norm/Normalise", "attribute"),
    }


def test_what_is_written_in_one_operation_and_in_several_is_right():
    assert found(normalised("Relu", fused=True), normalised("Relu", fused=False))[1] == ()


def test_a_layer_that_is_called_twice_on_the_same_is_one():
    def program(calls, scopes=("norm", "norm")):
        net = Writer()
        hidden = net("MatMul", net.x, net.variable("a"))
        normed = [
            net("Tanh", net("Mul", hidden, net.constant(0.5), scope=scope), scope=scope) for scope in scopes[:calls]
        ]
        return net.done(net("AddV2", normed[0], net("Relu", normed[-1])))

    once, twice = program(1), program(2)
    assert len(twice.operations) == len(once.operations) + 2
    merged = without_duplicates(twice, once)
    assert [(o.index, o.type, o.inputs) for o in merged.operations][:3] == [
        (o.index, o.type, o.inputs) for o in once.operations
    ][:3]
    assert len(merged.operations) == len(once.operations)
    assert len(without_duplicates(program(2, ("norm", "other")), once).operations) == len(twice.operations)
    assert without_duplicates(twice, program(2, ("norm", "other"))).operations == twice.operations


def test_a_variable_that_the_candidate_leaves_unread_may_be_meant_by_what_it_computes_twice():
    names = {name: name for name in ("a", "b")}
    assert reads_all(network(), network(), names)
    assert not reads_all(network(), network(kernel="a"), names)


def joined(shortcut):
    """Two residual blocks; the first has no shortcut, if so."""
    net = Writer()
    first = net("Tanh", net("MatMul", net.x, net.variable("a")), scope="first")
    if shortcut:
        first = net("AddV2", first, net("MatMul", net.x, net.variable("square")), scope="first/sum")
    second = net("Relu", net("MatMul", first, net.variable("b")), scope="second")
    both = net("AddV2", first, second, scope="second/sum")
    return net.done(net("Sub", both, net.variable("bias")), more=net("Elu", first, scope="more"))


def test_a_sum_that_joins_something_else_is_not_taken_for_one_that_is_lacking():
    _, named = found(joined(shortcut=True), joined(shortcut=False), variables=("a", "b", "bias", "square"))
    assert [(culprit.reference, culprit.pitfall) for culprit in named] == [("first/sum/AddV2", "missing-operation")]


def test_rearrangements_are_judged_at_their_end_alone():
    def program(shape, *orders):
        net = Writer()
        pieces = net("Reshape", net("MatMul", net.x, net.variable("a")), shape=shape, scope="heads")
        for order in orders:
            pieces = net("Transpose", pieces, net.constant(order, np.int32), scope="heads")
        return net.done(net("Tanh", pieces))

    reference = program((8, 2, 3), (1, 0, 2))
    assert found(reference, program((8, 2, 3), (1, 2, 0), (0, 2, 1)))[1] == ()
    _, named = found(reference, program((8, 3, 2), (2, 0, 1)))
    assert [(culprit.reference, culprit.pitfall) for culprit in named] == [("heads/Transpose", "head-order")]


@pytest.mark.parametrize(("kinds", "numbers", "pitfall"), [
    (("Sub", "AddV2"), (1.0, 0.0), "offset"),
    (("AddV2", "Sub"), (0.5, 0.5), "offset"),
    (("RealDiv", "Mul"), (4.0, 0.5), "constant-factor"),
])  # fmt: skip
def test_a_constant_is_told_though_the_rewrite_uses_the_inverse_operation(kinds, numbers, pitfall):
    def program(kind, number):
        net = Writer()
        return net.done(net("Tanh", net(kind, net("MatMul", net.x, net.variable("a")), net.constant(number))))

    _, (one,) = found(program(kinds[0], numbers[0]), program(kinds[1], numbers[1]))
    assert (one.reference, one.pitfall) == (f"net/{kinds[0]}", pitfall)


def test_a_lost_sum_is_told_where_a_spelled_out_operation_ends_in_one_too():
    def program(*, fused, shortcut):
        net = Writer()
        first = net("Tanh", net("MatMul", net.x, net.variable("a")), scope="first")
        kernel, bias = net.variable("b"), net.variable("bias")
        if fused:
            normed = net("Normalise", first, kernel, bias, scope="norm", factor=0.25)
        else:
            gain = net("Mul", kernel, net.constant(0.25), scope="norm")
            normed = net("AddV2", net("MatMul", first, gain, scope="norm"), bias, scope="norm")
        return net.done(net("Relu", net("AddV2", normed, first, scope="sum") if shortcut else normed))

    reference = program(fused=True, shortcut=True)
    assert found(reference, program(fused=False, shortcut=True))[1] == ()
    _, (one,) = found(reference, program(fused=False, shortcut=False))
    assert (one.reference, one.pitfall) == ("sum/AddV2", "missing-operation")


class SinglePrecision(NumpyKernels):
    """Kernels of which some have no float64."""

    def run_double(self, operation, inputs, *, halves=False):
        if operation.type == "Tanh":
            raise KernelError("no float64 kernel for Tanh")
        return super().run_double(operation, inputs, halves=halves)


@pytest.mark.parametrize("activation", ["Relu", "Elu"])
def test_what_cannot_be_mended_where_it_is_keeps_nobody_from_looking_for_what_is_only_written_otherwise(activation):
    def program(activation, *, folded):
        net = Writer()
        hidden = net("MatMul", net.x, net.variable("a"))
        # The reference scales each element by the variable, the candidate what it scales each column by.
        column, scale = net("Sigmoid", net.variable("columns")), net.variable("bias")
        if folded:
            scaled = net("Mul", net("Mul", net("RealDiv", net.constant(1.0), column), scale), hidden)
        else:
            scaled = net("Mul", net("RealDiv", hidden, column), scale)
        return net.done(net(activation, scaled, scope="active"))

    result, named = found(program("Relu", folded=False), program(activation, folded=True), KERNELS)
    assert result.notes == []
    assert [culprit.reference for culprit in named] == ([] if activation == "Relu" else ["active/Relu"])


def drawing(kind, value):
    net = Writer()
    drawn = net.builder.source("draw", kind, value, spec(value))
    return net.done(net("AddV2", net("MatMul", net.x, net.variable("a")), drawn))


def test_numbers_of_another_distribution_are_a_draw_to_blame():
    normal, uniform = RNG.normal(size=(8, 6)).astype(np.float32), RNG.random((8, 6), np.float32)
    sides = drawing("RandomStandardNormal", normal), drawing("RandomUniform", uniform)
    (one,) = found(*sides)[1]
    assert (one.kind, one.pitfall) == ("draw", "wrong-operation")
    assert "RandomUniform in the candidate" in one.cause
    assert found(sides[0], drawing("RandomStandardNormal", normal))[1] == ()


@pytest.mark.parametrize("pair", [("one", "both"), ("two", "both")])
def test_a_lost_step_is_one_culprit_though_another_of_its_kind_reads_the_same_then(pair):
    def program(steps):
        net = Writer()
        first = hidden = net("MatMul", net.x, net.variable("a"))
        if steps != "two":
            first = hidden = net("Mul", hidden, net.constant(0.5), scope="one")
        if steps != "one":
            hidden = net("Mul", hidden, net.constant(4.0), scope="two")
        return net.done(net("Tanh", hidden, scope="last"), first=first)

    _, (culprit,) = found(program("both"), program(pair[0]))
    lost = "two" if pair[0] == "one" else "one"
    assert (culprit.reference, culprit.pitfall) == (f"{lost}/Mul", "missing-scale")


def test_a_step_with_a_number_does_not_stand_for_one_with_a_tensor():
    def program(*, right):
        net = Writer()
        hidden = net("MatMul", net.x, net.variable("a"))
        other = net("Tanh", net("MatMul", net.x, net.variable("b")), scope="other")
        kept = net("Sub", hidden, net.constant(1.0), scope="one") if right else hidden
        return net.done(net("Tanh", net("Sub", kept, other, scope="two"), scope="last"), other=other)

    _, (culprit,) = found(program(right=True), program(right=False))
    assert (culprit.reference, culprit.pitfall) == ("one/Sub", "offset")


def test_an_operation_among_several_that_differs_is_named_itself():
    def program(axis, keep):
        net = Writer()
        hidden = net("MatMul", net.x, net.variable("a"))
        largest = net("Sum", hidden, net.constant(axis, np.int32), scope="sum", keep_dims=keep)
        return net.done(net("Mul", hidden, net("AddV2", largest, net.constant(3.0), scope="more"), scope="last"))

    _, (culprit,) = found(program(1, True), program(0, True))
    assert (culprit.reference, culprit.pitfall) == ("sum/Sum", "wrong-axis")


@pytest.mark.parametrize(("activation", "named"), [("Tanh", []), ("Sigmoid", ["last/Tanh"])])
def test_factors_that_are_multiplied_in_another_order_do_not_shift_what_follows(activation, named):
    def program(activation, *, other):
        net = Writer()
        hidden, scale = net("MatMul", net.x, net.variable("a")), net("Sigmoid", net("MatMul", net.x, net.variable("b")))
        number = net.constant(3.0)
        if other:
            product = net("RealDiv", net("Mul", hidden, scale), net("AddV2", scale, number))
        else:
            product = net("Mul", net("RealDiv", scale, net("AddV2", scale, number)), hidden)
        return net.done(net(activation, net("Sub", product, hidden, scope="last"), scope="last"), product=product)

    result, culprits_found = found(program("Tanh", other=False), program(activation, other=True))
    assert [culprit.reference for culprit in culprits_found] == named
    assert len(result.blames) == len(named)


def test_reading_another_input_is_told_though_what_is_read_goes_through_steps_without_effect():
    def program(name, *, wrapped):
        net = Writer()
        table = net("MatMul", net.x, net.variable("a"))
        one, two = (net.builder.source("input", n, p, spec(p)) for n, p in (("one", ONE), ("two", TWO)))
        kept = net("GatherV2", table, one, net.constant(1, np.int32), scope="kept")
        read = {"one": one, "two": two}[name]
        if wrapped:
            read = net("Maximum", read, net.constant(0, np.int32), scope="wrap")
        return net.done(net("Mul", kept, net("GatherV2", table, read, net.constant(1, np.int32), scope="taken")))

    assert found(program("two", wrapped=False), program("two", wrapped=True))[1] == ()
    _, (one,) = found(program("two", wrapped=False), program("one", wrapped=True))
    assert (one.reference, one.pitfall) == ("taken/GatherV2", "wrong-input")


def test_what_gives_a_shape_to_a_tensor_of_another_size_is_not_blamed_beside_it():
    def program(rows):
        net = Writer()
        hidden = net("MatMul", net.x, net.variable("a"))
        cut = net("Slice", hidden, net.constant([0, 0], np.int32), net.constant([rows, 6], np.int32), scope="cut")
        shaped = net("Reshape", net("MatMul", cut, net.variable("b")), scope="shaped", shape=(rows, 6, 1))
        return net.done(net("Relu", net("Sum", shaped, net.constant(0, np.int32), scope="sum"), scope="last"))

    _, named = found(program(4), program(6))
    assert [culprit.reference for culprit in named] == ["cut/Slice"]


def shifted(*, negated, bias=True):
    """A scaled mean is taken from a bias, and from the rest: by a difference, or by adding what is negative."""
    net = Writer()
    mean, scale = net("Tanh", net.variable("columns")), net("Sigmoid", net.variable("more"))
    if negated:
        moved = net("Mul", net("Neg", mean), scale)
        moved = net("AddV2", moved, net.variable("bias")) if bias else moved
    else:
        moved = net("Sub", net.variable("bias"), net("Mul", mean, scale), scope="moved")
    scaled = net("Mul", net("MatMul", net.x, net.variable("a")), scale)
    return net.done(net("Relu", net("AddV2", scaled, moved, scope="sum"), scope="last"))


def test_places_that_have_one_cause_together_are_one_culprit():
    reference = shifted(negated=False)
    assert found(reference, shifted(negated=True), KERNELS)[1] == ()
    (one,) = found(reference, shifted(negated=True, bias=False), KERNELS)[1]
    assert (one.reference, one.pitfall) == ("moved/Sub", "missing-bias")


@pytest.mark.parametrize("epsilon", [1e-9, 1e-4])
def test_a_mistake_within_what_is_written_otherwise_is_named_alone(epsilon):
    def program(epsilon, *, other):
        net = Writer()
        hidden, scale = net("MatMul", net.x, net.variable("a")), net("Sigmoid", net("MatMul", net.x, net.variable("b")))
        number = net("AddV2", scale, net.constant(epsilon), scope="number")
        if other:
            product = net("RealDiv", net("Mul", hidden, net("Tanh", scale)), number)
        else:
            product = net("Mul", net("RealDiv", net("Tanh", scale), number), hidden)
        return net.done(net("Relu", net("Sub", product, net.variable("bias"), scope="last"), scope="last"))

    _, named = found(program(1e-9, other=False), program(epsilon, other=True))
    assert [culprit.reference for culprit in named] == ([] if epsilon == 1e-9 else ["number/AddV2"])


@pytest.mark.parametrize(("step", "kind"), [(1, "Reshape"), (-1, "StridedSlice")])
def test_a_slice_that_only_adds_a_dimension_gives_another_shape(step, kind):
    net = Writer()
    hidden = net("MatMul", net.x, net.variable("a"))
    bounds = net.constant([0, 0], np.int32), net.constant([8, 0], np.int32), net.constant([step, 1], np.int32)
    program = net.done(net("StridedSlice", hidden, *bounds))
    assert [operation.type for operation in program.operations] == ["MatMul", kind]


def test_a_loop_that_begins_with_what_was_computed_has_another_initial_state():
    def program(*, right):
        net = Writer()
        hidden = net("MatMul", net.x, net.variable("a"))
        state = net.constant(np.zeros((8, 6))) if right else net("Tanh", hidden, scope="first")
        net.line = "loop.py:1"
        for _ in range(3):
            kept = net("Mul", state, net("Sigmoid", hidden, scope="gate"), scope="kept")
            state = net("AddV2", kept, hidden, scope="state")
        return net.done(state)

    _, (one,) = found(program(right=True), program(right=False))
    assert (one.reference, one.pitfall) == ("kept/Mul", "initial-state")


def test_an_order_of_equal_numbers_is_no_effect_of_what_is_only_written_otherwise(monkeypatch):
    def program(*, other):
        net = Writer()
        hidden, factor = net("MatMul", net.x, net.variable("a")), net.constant(0.25)
        again = net("Mul", net("Mul", hidden, net.constant(0.1)), net.constant(10.0)) if other else hidden
        order = net("ArgSort", net("Sub", again, hidden, scope="zero"), scope="order")
        if other:
            out = net("MatMul", net("Mul", hidden, factor, scope="scale"), net.variable("b"), scope="product")
        else:
            out = net("Mul", net("MatMul", hidden, net.variable("b"), scope="product"), factor, scope="scale")
        return net.done(net("Tanh", net("AddV2", out, net.variable("bias"))), order=order)

    monkeypatch.setattr(forcing, "_FURTHEST_PART", 0)  # or both sides would be found to meet behind the products
    _, named = found(program(other=False), program(other=True))
    assert named == ()


def test_a_cause_of_a_piece_comes_before_what_is_only_surplus_in_the_whole():
    def program(*, first):
        net = Writer()
        hidden = net("MatMul", net.x, net.variable("a"))
        if first:
            order = net.constant([1, 0], np.int32)
            weights = net("Transpose", net("Softmax", net("Transpose", hidden, order), scope="weights"), order)
        else:
            weights = net("Softmax", hidden, scope="weights")
        wide = net("Reshape", weights, scope="wide", shape=(8, 1, 6))
        return net.done(net("Mul", wide, net("Reshape", hidden, shape=(8, 1, 6)), scope="mixed"))

    _, (one,) = found(program(first=False), program(first=True))
    assert (one.reference, one.pitfall) == ("weights/Softmax", "wrong-axis")


@pytest.mark.parametrize("places", [(8, 6), (8, 1)])
def test_another_noise_shape_is_told(places):
    def program(shape):
        net = Writer()
        drawn = RNG.random(shape).astype(np.float32)
        mask = net.builder.source("draw", "RandomUniform", drawn, spec(drawn))
        kept = net("Maximum", mask, net.constant(0.5))
        return net.done(net("Mul", net("MatMul", net.x, net.variable("a")), kept, scope="drop"))

    named = found(program((8, 6)), program(places))[1]
    if places == (8, 6):
        assert [culprit.kind for culprit in named] == []
    else:
        assert [(culprit.kind, culprit.pitfall) for culprit in named] == [("draw", "dropout-place")]


@pytest.mark.parametrize(("number", "pitfall"), [(-1e9, "mask"), (-3.0, "missing-scale")])
def test_a_lacking_factor_that_leaves_something_out_is_a_mask(number, pitfall):
    def program(*, right):
        net = Writer()
        hidden = net("MatMul", net.x, net.variable("a"))
        other = net("Sigmoid", net("MatMul", net.x, net.variable("b")))
        other = net("Mul", other, net.constant(number), scope="factor") if right else other
        return net.done(net("AddV2", hidden, other, scope="sum"))

    _, (one,) = found(program(right=True), program(right=False))
    assert one.pitfall == pitfall


def masked(factor):
    """Scores of which the last two are masked by a large number."""
    net = Writer()
    scores = net("MatMul", net.x, net.variable("a"), scope="scores")
    scores = scores if factor == 1.0 else net("Mul", scores, net.constant(factor), scope="scale")
    mask = net.constant(np.array([0, 0, 0, 0, -1e9, -1e9] + [0] * 6).reshape(2, 6)[[0, 1] * 4])
    return net.done(net("AddV2", scores, mask, scope="masked"))


@pytest.mark.parametrize("factor", [1.0 + 1e-5, 1.5])
def test_no_last_place_of_a_mask_excuses_a_wrong_score_beside_it(factor):
    _, (one,) = found(masked(1.0), masked(factor))
    assert one.pitfall == "constant-factor"
    assert found(masked(1.0), masked(1.0))[1] == ()


@pytest.mark.parametrize(("wrong", "named"), [((), []), (("b",), ["b/Tanh"]), (("a", "b"), ["a/Tanh", "b/Tanh"])])
def test_what_is_joined_in_two_steps_is_judged_piece_by_piece(wrong, named):
    def program(wrong, *, nested):
        net = Writer()
        pieces = [
            net("Relu" if name in wrong else "Tanh", net("MatMul", net.x, net.variable(name), scope=name), scope=name)
            for name in ("a", "b", "square")
        ]
        axis = net.constant(1, np.int32)
        if nested:
            pieces = [pieces[0], net("ConcatV2", *pieces[1:], axis, scope="inner")]
        return net.done(net("Relu", net("ConcatV2", *pieces, axis, scope="joined"), scope="last"))

    _, culprits_found = found(program((), nested=True), program(wrong, nested=False), KERNELS)
    assert sorted(culprit.reference for culprit in culprits_found) == named


def test_what_follows_a_wrong_output_is_not_blamed_for_it():
    def program(activation, quarter):
        net = Writer()
        given = net(activation, net("MatMul", net.x, net.variable("a"), scope="given"), scope="given")
        number = net.constant(4.0 if quarter == "RealDiv" else 0.25)
        return net.done(net("Relu", net(quarter, given, number, scope="last")), given=given)

    _, (one,) = found(program("Tanh", "RealDiv"), program("Sigmoid", "Mul"))
    assert one.reference == "given/Tanh"


@pytest.mark.parametrize(("active", "factor"), [(False, 0.25), (True, 0.25), (False, 0.2501)])
def test_an_operation_without_a_float64_kernel_keeps_nobody_from_looking_for_what_is_only_written_otherwise(
    active, factor
):
    sides = scaled(first=False, active=active), scaled(first=True, active=active, factor=factor)
    result = localise(*sides, {name: name for name in KERNELS}, SinglePrecision())
    assert bool(result.blames) == (active or factor != 0.25)
    assert result.notes == []


def test_a_search_for_what_is_only_written_otherwise_that_was_not_made_is_told(monkeypatch):
    def impossible(*_):
        raise KernelError("nothing can be done in float64")

    sides = scaled(first=False), scaled(first=True)
    monkeypatch.setattr(forcing, "_FURTHEST_PART", 0)  # or both sides would be found to meet behind the products
    with monkeypatch.context() as without:
        without.setattr(effects, "Whole", impossible)
        result = localise(*sides, {name: name for name in KERNELS}, NumpyKernels())
    assert result.blames
    assert "nothing can be done in float64" in result.notes[0]
    monkeypatch.setattr(written_otherwise, "_MOST_COMPUTED", 100)
    result = localise(*sides, {name: name for name in KERNELS}, NumpyKernels())
    assert result.blames
    assert "numbers a run" in result.notes[0]
    finding = forced.judge(forced.Located(result, culprits(result, *sides, NumpyKernels())))
    assert finding.details == (f"forced lockstep: {result.notes[0]}",)


def test_two_alike_that_are_joined_in_another_order_keep_their_roles():
    def program(order):
        net = Writer()
        sides = [net("Tanh", net("MatMul", net.x, net.variable(name)), scope=name) for name in ("a", "b")]
        joined = net("ConcatV2", *(sides[place] for place in order), net.constant(1, np.int32), scope="joined")
        return net.done(net("Relu", joined))

    _, named = found(program((0, 1)), program((1, 0)))
    assert [(culprit.reference, culprit.pitfall) for culprit in named] == [("joined/ConcatV2", "concat-order")]


@pytest.mark.parametrize(
    ("kind", "constant", "pitfall"),
    [("AddV2", 0.0, "missing-operation"), ("AddV2", 1.0, "wrong-input"), ("Mul", 0.5, "constant-factor")],
)
def test_a_constant_where_the_reference_reads_a_tensor_is_the_cause(kind, constant, pitfall):
    def program(*, right):
        net = Writer()
        hidden = net("MatMul", net.x, net.variable("a"))
        other = net("Tanh", hidden, scope="other")
        read = other if right else net.constant(np.full((8, 6), constant))
        return net.done(net(kind, net("Relu", hidden), read, scope="reader"), more=other)

    _, named = found(program(right=True), program(right=False))
    assert [(culprit.reference, culprit.pitfall) for culprit in named] == [(f"reader/{kind}", pitfall)]
    assert "other/Tanh" in named[0].cause


def test_twice_something_is_not_put_down_to_a_batch_of_two():
    """2 is n / (n - 1) with n = 2, and two of something are everywhere."""
    net = Writer()
    pair = net("Slice", net.x, net.constant([0, 0], np.int32), net.constant([2, 6], np.int32))
    reference = net.done(net("Tanh", pair))
    net = Writer()
    pair = net("Slice", net.x, net.constant([0, 0], np.int32), net.constant([2, 6], np.int32))
    _, named = found(reference, net.done(net("Tanh", net("Mul", pair, net.constant(2.0)))))
    assert [culprit.pitfall for culprit in named] == ["constant-factor"]


def test_an_activation_is_recognised_though_its_result_gets_another_dimension():
    def program(*steps):
        net = Writer()
        value = net("MatMul", net.x, net.variable("a"))
        for kind, number in steps:
            value = net(kind, value, *([] if number is None else [net.constant(number)]), scope="gate")
        wide = net("Reshape", value, shape=(8, 1, 6), scope="gate")
        return net.done(net("Mul", net("Reshape", net.x, shape=(8, 1, 6)), wide))

    hard = (("Mul", 1 / 6), ("AddV2", 0.5), ("Maximum", 0.0), ("Minimum", 1.0))
    _, named = found(program(("Sigmoid", None)), program(*hard))
    assert [culprit.pitfall for culprit in named] == ["wrong-activation"]
    assert named[0].cause == "hard sigmoid (x / 6 + 1 / 2) in the candidate, sigmoid in the reference"


def test_a_mask_is_no_rounded_number_however_large_what_it_is_multiplied_by():
    """One of the scores is ten times too large; the mask's last place times 1e9 would allow for more."""
    mask = (np.arange(48).reshape(8, 6) % 3 > 0).astype(np.float32)

    def program(factor):
        net = Writer()
        given_mask = net.builder.source("input", "mask", mask, spec(mask))
        hidden = net("Mul", net("MatMul", net.x, net.variable("a")), net.constant(factor), scope="scores")
        away = net("Mul", net("Sub", net.constant(1.0), given_mask), net.constant(-1e9))
        return net.done(net("Relu", net("AddV2", hidden, away)))

    sides = program(1.0), program(1.5)
    with Values(sides[0], NumpyKernels()) as values:
        parts = [budget.Part(side, side.operations, {0: X, 1: mask}, side.outputs[""], {}) for side in sides]
        judged = budget.judged(NumpyKernels(), *parts, values[sides[0].outputs[""]])
    assert judged.ratio > 1000


def gelu(half=0.5, scale=(2 / math.pi) ** 0.5):
    net = Writer()
    x = net("MatMul", net.x, net.variable("a"))
    cube = net("Mul", net("Mul", net("Mul", x, x), x), net.constant(0.044715), scope="gelu")
    curve = net("Tanh", net("Mul", net("AddV2", x, cube), net.constant(scale)), scope="gelu")
    halved = net("Mul", x, net.constant(half), scope="gelu")
    active = net("Mul", halved, net("AddV2", curve, net.constant(1.0)), scope="gelu")
    return net.done(net("MatMul", active, net.variable("b")))


def test_one_activation_for_another_is_one_mistake_however_both_are_spelled_out():
    """Factor by factor SiLU for GELU is a factor too many, an input from elsewhere, and another curve."""
    net = Writer()
    x = net("MatMul", net.x, net.variable("a"))
    curve = net("Sigmoid", net("Mul", x, net.constant(1.0)), scope="silu")
    candidate = net.done(net("MatMul", net("Mul", x, curve, scope="silu"), net.variable("b")))
    _, named = found(gelu(), candidate)
    assert [culprit.pitfall for culprit in named] == ["wrong-activation"]
    assert named[0].cause == "swish in the candidate, gelu (tanh approximation) in the reference"


def test_two_mistakes_in_what_is_multiplied_stay_two():
    _, named = found(gelu(), gelu(half=0.4, scale=0.7))
    assert [culprit.cause.split(";")[0] for culprit in named] == [
        "the constant factor is 0.7", "the constant factor is 0.4",
    ]  # fmt: skip


def test_a_bug_in_one_hypothesis_is_told_and_takes_nothing_from_the_others(monkeypatch):
    def broken(case):
        raise IndexError("out of range")
        yield

    monkeypatch.setattr(causes, "_ORDER", (broken, *causes._ORDER))
    with pytest.warns(FaultWarning, match="a fault of Lockstep's own, please report it: IndexError: out of range"):
        (one,) = found(network(), network(activation="Elu"))[1]
    assert one.pitfall == "wrong-activation"


def test_an_operation_that_one_trial_ran_in_single_precision_loosens_no_other_trial():
    def program(*, spelled_out, factor=None):
        net = Writer()
        before = net("MatMul", net.x, net.variable("a"))
        active = before
        for kind, *number in (
            [("Mul", 2.0), ("Sigmoid",), ("Mul", 2.0), ("AddV2", -1.0)] if spelled_out else [("Tanh",)]
        ):
            active = net(kind, active, *map(net.constant, number))
        out = product = net("MatMul", active, net.variable("b"))
        if factor is not None:
            out = net("Mul", product, net.constant(factor))
        return net.done(out), active, out

    ours, our_active, our_out = program(spelled_out=True)
    theirs, their_active, their_out = program(spelled_out=False, factor=1 + 4e-7)
    places = [[effects.Place(our_active, their_active)], [effects.Place(our_out, None, end=their_out)]]
    trials = effects.Whole(ours, theirs, {}, SinglePrecision(), places, [(their_out, our_out)])
    assert trials.harmless({0})  # another spelling, run in single precision
    assert not trials.harmless({1})  # a factor, beside which nothing was


def test_what_a_trial_supposes_is_forgotten_also_after_an_error():
    numbers = Numbering(network(), network(), {"a": "a", "b": "b"})
    before, forced = dict(numbers.theirs), dict(numbers.forced)
    known = next(iter(before))
    seen = []

    def trial(supposed):
        with supposed:
            seen.append(numbers.theirs.get(known))
            raise KernelError("refused")

    for supposed in (numbers.supposing({known: -1}), numbers.without([known], [])):
        with pytest.raises(KernelError):
            trial(supposed)
    assert seen == [-1, None]
    assert (numbers.theirs, numbers.forced) == (before, forced)


def test_beside_what_is_masked_the_other_numbers_are_the_measure():
    """What leaves elements out of a softmax is so large that next to it any two arrays would be alike."""
    scores = np.asarray([[0.5, -2.0, -1e9], [1.5, -1e9, -1e9]])
    assert alike(scores, scores * (1 + 1e-8))
    assert not alike(scores, np.where(scores < -1e8, scores, scores + 0.01))
    assert not alike(scores, np.flip(scores, 0))
