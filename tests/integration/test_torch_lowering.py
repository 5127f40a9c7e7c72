"""Each ATen operation, lowered, gives what PyTorch gives; what has no rule is listed with the reason."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is an extra")

from tests.integration.torch_samples import SAMPLES, seeded, t  # noqa: E402

from lockstep.frameworks.tensorflow.kernels import TensorFlowKernels  # noqa: E402
from lockstep.frameworks.torch.lowering import RULES, rules  # noqa: E402
from lockstep.frameworks.torch.lowering.attention import decompositions  # noqa: E402
from lockstep.frameworks.torch.lowering.interpreting import Interpreter, Numbers, Pair  # noqa: E402
from lockstep.frameworks.torch.lowering.proving import difference  # noqa: E402
from lockstep.frameworks.torch.lowering.values import array_of  # noqa: E402
from lockstep.program import ProgramBuilder  # noqa: E402
from lockstep.program.evaluating import evaluate  # noqa: E402

DERIVATIVE = "of derivatives alone: the export of a forward pass has none"
NO_TENSOR = "gives no tensor: the number that PyTorch had is taken"
WITHOUT_RULE = {
    "aten._adaptive_avg_pool2d_backward.default": DERIVATIVE,
    "aten._local_scalar_dense.default": NO_TENSOR,
    "aten._native_batch_norm_legit.default": "changes its averages in place; export gives the functional form",
    "aten.atan2.out": "writes into a tensor that is given; export gives the functional form",
    "aten.avg_pool2d_backward.default": DERIVATIVE,
    "aten.convolution_backward.default": DERIVATIVE,
    "aten.empty.memory_format": "its values are whatever was in the memory",
    "aten.empty_strided.default": "its values are whatever was in the memory",
    "aten.max_pool2d_with_indices_backward.default": DERIVATIVE,
    "aten.native_group_norm_backward.default": DERIVATIVE,
    "aten.native_layer_norm_backward.default": DERIVATIVE,
    "aten.resize_.default": "resizes a tensor in place; export gives the functional form",
    "aten.sym_is_contiguous.default": "gives no tensor, and no value: how a tensor lies in memory",
    "aten.sym_numel.default": NO_TENSOR,
    "aten.sym_size.int": NO_TENSOR,
    "aten.sym_storage_offset.default": NO_TENSOR,
    "aten.sym_stride.int": NO_TENSOR,
}
NOT_WRITTEN = {
    ("aten.max_pool2d_with_indices.default", 1): "the places of the largest are of TensorFlow's own counting",
    ("aten.max_pool3d_with_indices.default", 1): "the places of the largest are of TensorFlow's own counting",
    **{("aten._embedding_bag.default", place): "of derivatives alone" for place in (1, 2, 3)},
}
"""Overload and output -> why a rule leaves it out; it is PyTorch's where a module reads it."""


def overload(name: str) -> Any:
    namespace, packet, kind = full(name).split(".")
    return getattr(getattr(getattr(torch.ops, namespace), packet), kind)


def full(name: str) -> str:
    name = name if name.startswith("prims.") else f"aten.{name}"
    return name if name.count(".") == 2 else f"{name}.default"


def run(target: Any, args: Any, kwargs: Any) -> tuple[Any, Interpreter, Any, Any]:
    """Lowers one operation as a graph of its own; returns the program, the interpreter, the results."""
    graph = torch.fx.Graph()
    tensors: list[Any] = []

    def placed(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            tensors.append(value)
            return graph.placeholder(f"x{len(tensors)}")
        return [placed(each) for each in value] if isinstance(value, list) else value

    args, kwargs = [placed(each) for each in args], {name: placed(each) for name, each in kwargs.items()}
    node = graph.call_function(target, tuple(args), kwargs)
    outputs = len(target._schema.returns) if len(target._schema.returns) > 1 else 0
    kept = [place for place in range(outputs) if (str(target), place) not in NOT_WRITTEN]
    results = (
        [graph.call_function(__import__("operator").getitem, (node, place)) for place in kept] if outputs else node
    )
    graph.output(results)
    builder = ProgramBuilder()
    interpreter = Interpreter(builder, Numbers(None))
    with torch.no_grad():
        given = [interpreter.pair(each, "input", f"x{place}") for place, each in enumerate(tensors)]
        results = interpreter.run(torch.fx.GraphModule(torch.nn.Module(), graph), given)
    leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(results) if isinstance(leaf, Pair)]
    program = builder.program
    program.outputs.update({str(place): leaf.value.number for place, leaf in enumerate(leaves)})
    return program, interpreter, leaves, results


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_lowered_operation_gives_what_pytorch_gives(name: str, dtype: str) -> None:
    seeded()
    torch.manual_seed(0)
    target = overload(name)
    for sample in SAMPLES[name]:
        args, kwargs = sample()
        if dtype == "float64":
            args = torch.utils._pytree.tree_map(_widened, args)
        program, interpreter, leaves, _ = run(target, args, kwargs)
        assert not interpreter.faults, (interpreter.faults, args, kwargs)
        # The program by itself, run again, gives the same.
        ran = evaluate(program, TensorFlowKernels(), double=False)
        for place, leaf in enumerate(leaves):
            own, again = array_of(leaf.own), ran.ends[program.outputs[str(place)]]
            assert (own.shape, own.dtype) == (again.shape, again.dtype)
            if own.dtype.kind in "fc":
                scale = float(np.max(np.abs(own[np.isfinite(own)]), initial=0.0))
                precision = {"f2": 1e-2, "f4": 1e-5, "c8": 1e-5}.get(own.dtype.str[1:], 1e-11)
                np.testing.assert_allclose(again, own, rtol=precision, atol=precision * scale)
            else:
                np.testing.assert_array_equal(again, own)


def _widened(value: Any) -> Any:
    wide = {torch.float32: torch.float64, torch.complex64: torch.complex128}
    return value.to(wide.get(value.dtype, value.dtype)) if isinstance(value, torch.Tensor) else value


def test_every_rule_has_samples() -> None:
    shared: dict[Any, list[str]] = {}
    for name, rule in RULES.items():
        shared.setdefault(rule.write, []).append(name)
    sampled = {full(name) for name in SAMPLES}
    # Of overloads that one function writes, one is enough; but every function has its samples.
    lacking = [names for names in shared.values() if not sampled.intersection(names)]
    assert lacking == []


def test_core_aten_is_covered_but_for_what_is_listed() -> None:
    core = set()
    # What PyTorch registers, not what lies in `torch.ops.aten`: that holds what somebody has used before.
    for registered in torch._C._dispatch_get_all_op_names():
        namespace, _, name = registered.partition("::")
        if namespace == "aten":
            packet, _, kind = name.partition(".")
            found = getattr(getattr(torch.ops.aten, packet), kind or "default")
            if torch.Tag.core in found.tags:
                core.add(str(found))
    assert len(core) > 150
    without = core - set(RULES)
    print("\n".join(f"{name}: {WITHOUT_RULE.get(name)}" for name in sorted(without)))
    assert without <= set(WITHOUT_RULE)


def test_a_rule_reads_every_argument_of_its_schema_or_says_why_not() -> None:
    unread = {}
    for name, rule in RULES.items():
        schema = overload(name.removeprefix("aten."))._schema
        for argument in schema.arguments:
            plain = argument.name in rules._WITHOUT_EFFECT or "drawn" in rule.reads
            if rules.parameter_of(rule, argument.name) is None and not plain:
                unread[name] = argument.name
        needed = {n for n, p in list(inspect.signature(rule.write).parameters.items())[1:] if p.default is p.empty}
        given = {rules.parameter_of(rule, argument.name) for argument in schema.arguments}
        assert needed - {"drawn"} <= given, name
    assert unread == {"aten.searchsorted.Tensor": "sorter"}


def test_an_argument_that_no_rule_reads_is_refused() -> None:
    rule = rules.Rule("aten.gelu.default", lambda w, x: w.op("Relu", x), frozenset({"x"}))
    arguments = torch.ops.aten.gelu.default._schema.arguments
    assert rules.bound(rule, arguments, ["value"], {}) == {"x": "value"}
    with pytest.raises(rules.RefusedError, match=r"aten.gelu.default with approximate = 'tanh' is not covered"):
        rules.bound(rule, arguments, ["value"], {"approximate": "tanh"})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("gelu", lambda w, x, approximate: w.op("Mul", x, w.op("Sigmoid", w.op("Mul", x, 1.702)))),
        ("_softmax", lambda w, x, dim, half_to_float: w.op("Mul", w.op("Softmax", x), 1.00001)),
        ("sub.Tensor", lambda w, x, other, alpha: w.op("Sub", other, x)),
        ("mean.dim", lambda w, x, dim, keepdim, dtype: w.op("Sum", x, w.ints(list(dim)), keep_dims=keepdim)),
        ("sum.dim_IntList", lambda w, x, dim, keepdim, dtype: w.op("Sum", x, w.ints([0]), keep_dims=False)),
        ("argmax", lambda w, x, dim, keepdim: w.op("ArgMin", x, w.ints(0))),
        ("relu", lambda w, x: w.op("Relu", x, alpha=0.5)),  # which TensorFlow's Relu does not have
    ],
)
def test_a_wrong_rule_is_found_and_its_operation_taken_from_pytorch(
    name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = RULES[full(name)]
    monkeypatch.setitem(RULES, full(name), rules.Rule(right.name, wrong, right.reads))
    arguments = {
        "gelu": [],
        "_softmax": [-1, False],
        "sub.Tensor": [t(5, 5)],
        "mean.dim": [[1]],
        "argmax": [0],
        "relu": [],
    }
    program, interpreter, leaves, _ = run(overload(name), [t(5, 5), *arguments.get(name, [[1], True])], {})
    (fault,) = interpreter.faults
    assert fault.operation == full(name)
    assert program.limits == [str(fault)]
    assert program.sources[program.outputs["0"]].kind == "opaque"
    assert array_of(leaves[0].own).shape


def test_rounding_is_no_fault_and_more_is() -> None:
    own = np.array([1.0, 1e-3, -3.0], np.float32)
    wide = own.astype(np.float64)
    near = np.nextafter(own, np.float32(9))

    def same() -> Any:
        return [wide], [wide]

    def other() -> Any:
        return [wide], [wide * (1 + 1e-7)]

    assert difference([own], [near], lambda: pytest.fail("not in doubt")) == ""
    far = own + np.float32(1e-6)
    assert difference([own], [far], same) == ""
    assert "float64 the results differ" in difference([own], [far], other)
    assert "off the float64 result" in difference([own], [own + np.float32(1e-3)], same)
    assert "float32[3]" in difference([own], [own[:2]], same)
    assert "1 of 3 elements differ" in difference([np.arange(3)], [np.array([0, 1, 3])], same)
    missing = np.array([1.0, math.nan, -3.0], np.float32)
    assert "NaN" in difference([own], [missing], lambda: ([wide], [missing.astype(np.float64)]))


def test_what_cannot_be_judged_in_float64_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow(w: Any, x: Any, dim: Any, half_to_float: bool) -> Any:
        if w.wide:
            raise TypeError("no kernel for double")
        return w.op("Mul", w.op("Softmax", x), 1.00001)

    right = RULES["aten._softmax.default"]
    monkeypatch.setitem(RULES, right.name, rules.Rule(right.name, narrow, right.reads))
    _, interpreter, _, _ = run(overload("_softmax"), [t(5, 5), -1, False], {})
    (fault,) = interpreter.faults
    assert "cannot be judged in float64: no kernel for double" in fault.told


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PyTorch 2.13 copies its own deprecated class
def test_lerp_is_lowered_as_one_formula() -> None:
    """PyTorch decomposes it into a choice by the weight's size, of which a gate of 0 to 1 meets one side alone."""

    class Gated(torch.nn.Module):
        def forward(self, x: Any, y: Any, weight: Any) -> Any:
            return torch.lerp(x, y, weight) + torch.lerp(x, y, 0.7)

    exported = torch.export.export(Gated(), (torch.ones(3),) * 3).run_decompositions(decompositions())
    targets = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert targets == ["aten.lerp.Tensor", "aten.lerp.Scalar", "aten.add.Tensor"]
