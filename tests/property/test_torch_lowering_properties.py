"""What is lowered for windows and turned images, on parameters that nobody picked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="PyTorch is an extra")

from lockstep.frameworks.tensorflow.kernels import TensorFlowKernels  # noqa: E402
from lockstep.frameworks.torch.lowering.interpreting import Interpreter, Numbers  # noqa: E402
from lockstep.frameworks.torch.lowering.values import array_of  # noqa: E402
from lockstep.frameworks.torch.lowering.writing import _merged  # noqa: E402
from lockstep.program import ProgramBuilder  # noqa: E402
from lockstep.program.evaluating import evaluate  # noqa: E402

few = settings(max_examples=30, deadline=None, derandomize=True)


@few
@given(st.data())
def test_a_reshape_in_front_of_a_transposition_gives_what_one_behind_it_gives(data: Any) -> None:
    shape = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=5))
    order = data.draw(st.permutations(range(len(shape))))
    turned = np.arange(math.prod(shape)).reshape(shape).transpose(order)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(shape) - 1))))
    wanted = tuple(math.prod(part) for part in np.split(np.array(turned.shape), cuts))
    merged = _merged(turned.shape, tuple(order), wanted)
    if merged is not None:
        again = np.arange(math.prod(shape)).reshape(merged[0]).transpose(merged[1])
        np.testing.assert_array_equal(again, turned.reshape(wanted))


def test_what_cannot_be_merged_is_not() -> None:
    assert _merged((2, 8, 4, 4), (0, 3, 1, 2), (2, 128)) is None
    assert _merged((2, 8, 4, 4), (0, 3, 1, 2), (2, 2, 64)) is None
    assert _merged((2, 8, 1, 1), (0, 3, 1, 2), (2, 8)) == ([2, 8], [0, 1])


def lowered_like(compute: Any, x: Any, *others: Any) -> None:
    """Lowers a function of tensors, finds no fault, and runs the program again."""
    graph = torch.fx.Graph()
    names = [graph.placeholder(f"x{place}") for place in range(1 + len(others))]
    graph.output(compute(graph, *names))
    builder = ProgramBuilder()
    interpreter = Interpreter(builder, Numbers(None))
    with torch.no_grad():
        pairs = [interpreter.pair(each, "input", f"x{place}") for place, each in enumerate((x, *others))]
        result = interpreter.run(torch.fx.GraphModule(torch.nn.Module(), graph), pairs)
    assert interpreter.faults == []
    builder.program.outputs[""] = result.value.number
    ran = evaluate(builder.program, TensorFlowKernels(), double=False)
    own = array_of(result.own)
    np.testing.assert_allclose(ran.ends[result.value.number], own, rtol=1e-4, atol=1e-5)


windows = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.booleans(), st.booleans())


@few
@given(windows, windows, st.integers(4, 9), st.integers(4, 9))
def test_pooling_with_any_window(rows: Any, columns: Any, height: int, width: int) -> None:
    kernel, stride, padding = zip(rows[:3], columns[:3], strict=True)
    assume(all(2 * pad <= side for pad, side in zip(padding, kernel, strict=True)))
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    aten, ceil, include = torch.ops.aten, rows[3], rows[4]
    lowered_like(lambda g, x: g.call_function(aten.avg_pool2d.default, (x, kernel, stride, padding, ceil, include)), x)

    def largest(graph: Any, x: Any) -> Any:
        found = graph.call_function(aten.max_pool2d_with_indices.default, (x, kernel, stride, padding, (1, 1), ceil))
        return graph.call_function(__import__("operator").getitem, (found, 0))

    lowered_like(largest, x)


@few
@given(windows, windows, st.integers(5, 8), st.integers(1, 2), st.booleans(), st.booleans())
def test_convolving_with_any_window(
    rows: Any, columns: Any, size: int, gap: int, transposed: bool, grouped: bool
) -> None:
    kernel, stride, padding = zip(rows[:3], columns[:3], strict=True)
    more = tuple(int(step > 1 and transposed and rows[3]) for step in stride)
    spread = [(side - 1) * gap + 1 for side in kernel]
    assume(all(2 * pad < side + size for pad, side in zip(padding, spread, strict=True)))
    assume(transposed or max(spread) <= size)
    generator = torch.Generator().manual_seed(2)
    groups = 2 if grouped else 1
    x = torch.randn(2, 4, size, size + 1, generator=generator)
    channels = (4, 6 // groups) if transposed else (6, 4 // groups)
    weight, bias = torch.randn(*channels, *kernel, generator=generator), torch.randn(6, generator=generator)
    given_ = (stride, padding, (gap, gap), transposed, more, groups)
    try:
        torch.ops.aten.convolution.default(x, weight, bias, *given_)
    except RuntimeError:
        assume(False)  # an output of no size
    lowered_like(
        lambda g, x, w, b: g.call_function(torch.ops.aten.convolution.default, (x, w, b, *given_)), x, weight, bias
    )


@few
@given(st.lists(st.sampled_from(["relu", "pad", "mean", "cat", "slice", "norm", "scale", "flat"]), max_size=5))
def test_what_follows_a_convolution_in_any_order(steps: list[str]) -> None:
    generator = torch.Generator().manual_seed(3)
    x, weight = torch.randn(2, 3, 6, 6, generator=generator), torch.randn(4, 3, 3, 3, generator=generator)
    aten = torch.ops.aten
    scale = torch.randn(1, 4, 1, 1, generator=generator)

    def network(graph: Any, x: Any, w: Any, factor: Any) -> Any:
        nothing = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
        y = graph.call_function(aten.convolution.default, (x, w, None, *nothing))
        channels = 4
        for step in steps:
            if step == "relu":
                y = graph.call_function(aten.relu.default, (y,))
            elif step == "pad":
                y = graph.call_function(aten.constant_pad_nd.default, (y, [1, 0, 0, 2], 0.5))
            elif step == "mean":
                other = graph.call_function(aten.mean.dim, (y, [2, 3], True))
                y = graph.call_function(aten.sub.Tensor, (y, other))
            elif step == "cat":
                y = graph.call_function(aten.cat.default, ([y, y], 1))
                channels *= 2
            elif step == "slice":
                y = graph.call_function(aten.slice.Tensor, (y, 3, 1, 5))
            elif step == "norm":
                y = graph.call_function(aten.div.Tensor, (y, 3.0))
            elif channels == 4:
                y = graph.call_function(aten.mul.Tensor, (y, factor))
        return graph.call_function(aten.reshape.default, (y, [2, -1])) if "flat" in steps else y

    lowered_like(network, x, weight, scale)
