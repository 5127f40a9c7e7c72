"""PyTorch's variables as TensorFlow would have them, without PyTorch; transforms that undo and follow each other."""

import dataclasses

import numpy as np
import pytest

from lockstep.check.steps import native_order
from lockstep.common.errors import InputError
from lockstep.compare.transforms import Transform, inverse, joined, joined_texts
from lockstep.config.guessing import framework_of
from lockstep.files.checkpoints.foreign import proposed
from lockstep.program import ProgramBuilder, Spec
from lockstep.program.model import Place
from lockstep.program.relaying import relaid
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.subjects import Convention
from lockstep.traces.trace import Trace, VariableRecord

LINEAR = {"fc.weight": Convention("kernel", (((4, 3), "transpose(1,0)"),)), "fc.bias": Convention("bias")}


def record(name, *shape):
    return VariableRecord(name, name, shape, "float32", True)


def pairs(missing, extra, ours, theirs):
    return {p.record.name: (p.entry.name, p.transform) for p in proposed(missing, extra, (ours, theirs)).pairs}


def test_a_linear_layer_is_a_dense_one_with_its_kernel_turned():
    tensorflow, torch = (
        [record("net/fc/kernel", 4, 3), record("net/fc/bias", 3)],
        [
            record("fc.weight", 3, 4),
            record("fc.bias", 3),
        ],
    )
    told = pairs(tensorflow, torch, {}, LINEAR)
    assert told == {"fc.weight": ("net/fc/kernel", "transpose(1,0)"), "fc.bias": ("net/fc/bias", "")}
    back = pairs(torch, tensorflow, LINEAR, {})
    assert back == {"net/fc/kernel": ("fc.weight", "transpose(1,0)"), "net/fc/bias": ("fc.bias", "")}


def test_a_square_kernel_is_turned_as_well():
    square = {"fc.weight": Convention("kernel", (((3, 3), "transpose(1,0)"),))}
    told = pairs([record("fc/kernel", 3, 3)], [record("fc.weight", 3, 3)], {}, square)
    assert told == {"fc.weight": ("fc/kernel", "transpose(1,0)")}


def test_between_two_modules_nothing_is_turned():
    other = {"head.weight": LINEAR["fc.weight"]}
    told = pairs([record("fc.weight", 3, 4)], [record("head.weight", 3, 4)], LINEAR, other)
    assert told == {"head.weight": ("fc.weight", "")}


def test_a_table_that_is_called_as_its_layer_is_of_one_role_with_it():
    """So that it stays a pair where running confirms nothing, as another mistake makes the outputs differ."""
    names = "word_embeddings", "token_embeddings"
    tensorflow = [record(f"bert/{name}", 6, 4) for name in names]
    torch = [record(f"bert.{name}.weight", 6, 4) for name in reversed(names)]
    told = {one.name: Convention("embeddings", alone=True) for one in torch}
    for missing, extra, conventions in ((tensorflow, torch, ({}, told)), (torch, tensorflow, (told, {}))):
        found = proposed(missing, extra, conventions).pairs
        assert len(found) == 2
        assert all(pair.of_one_role for pair in found)
        assert all(pair.entry.name.replace(".", "/").split("/")[1] in pair.record.name for pair in found)


def test_two_biases_are_halves_of_one():
    shared = Convention("bias", (((8,), "share(2)"),), shared=True)
    theirs = {"cell.bias_ih": shared, "cell.bias_hh": shared}
    told = pairs([record("cell/bias", 8)], [record("cell.bias_ih", 8), record("cell.bias_hh", 8)], {}, theirs)
    assert told == {"cell.bias_ih": ("cell/bias", "share(2)"), "cell.bias_hh": ("cell/bias", "share(2)")}


def test_shares_add_up_and_each_has_the_gradient_of_the_sum():
    share, value = Transform.parse("forget_bias(1.0, ijfo) | share(2)"), np.arange(8, dtype=np.float32)
    parts = [(share, share.apply(value))] * 2
    assert np.array_equal(joined(parts, (8,)), value)
    assert np.array_equal(share.apply_to_gradient(value), value)
    with pytest.raises(InputError, match="one of 2 shares, and there are 3"):
        joined([*parts, parts[0]], (8,))
    with pytest.raises(InputError, match="halves, quarters or eighths"):
        Transform.parse("share(3)")


@pytest.mark.parametrize(
    "text",
    ["transpose(3,2,0,1)", "gates(zrh->rzh) | transpose(3,2,0,1)", "transpose(2,3,0,1) | reshape(6,1,3,2)", "flip(1)"],
)
def test_an_inverse_undoes_and_cancels(text):
    value = np.random.default_rng(0).normal(size=(3, 2, 2, 3))
    back = inverse(text, value.shape)
    assert np.array_equal(Transform.parse(back).apply(Transform.parse(text).apply(value)), value)
    if "flip" not in text:
        assert joined_texts([text, back], value.shape) == ""


def test_what_takes_a_part_has_no_inverse():
    assert inverse("split(0, 1, [2, 2])", (4,)) is None
    assert inverse("share(2)", (4,)) is None


def test_a_program_reads_the_other_sides_variable_where_it_only_turned_it_back():
    builder = ProgramBuilder()
    x = builder.source("input", "x", None, Spec("float32", (2, 4)))
    weight = builder.variable("fc.weight", np.zeros((3, 4), np.float32), Spec("float32", (3, 4)))
    order = builder.constant(np.array([1, 0], np.int32), Spec("int32", (2,)))
    place = Place("", "")
    (turned,) = builder.operation("Transpose", {}, [weight, order], [(Spec("float32", (4, 3)), None)], place)
    (y,) = builder.operation("MatMul", {}, [x, turned], [(Spec("float32", (2, 3)), None)], place)
    builder.program.outputs["y"] = y
    kernel = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = relaid(builder.program, {"fc.weight": [("Transpose", (1, 0))]}, {"fc.weight": kernel})
    assert [operation.type for operation in found.operations] == ["MatMul"]
    source = found.sources[found.operations[0].inputs[1]]
    assert (source.kind, source.name) == ("variable", "fc.weight")
    assert np.array_equal(source.value, kernel)


def test_a_variable_that_is_read_as_it_lies_is_turned_in_the_program():
    builder = ProgramBuilder()
    x = builder.source("input", "x", None, Spec("float32", (2, 3)))
    weight = builder.variable("w", np.zeros((3, 3), np.float32), Spec("float32", (3, 3)))
    (y,) = builder.operation("MatMul", {}, [x, weight], [(Spec("float32", (2, 3)), None)], Place("", ""))
    builder.program.outputs["y"] = y
    found = relaid(builder.program, {"w": [("Transpose", (1, 0))]}, {"w": np.eye(3, dtype=np.float32)})
    assert [operation.type for operation in found.operations] == ["Transpose", "MatMul"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import torch\ndef build():\n    return torch.nn.Linear(2, 2)\n", "torch"),
        ("from torch import nn\nclass Net(nn.Module): ...\ndef build():\n    return Net()\n", "torch"),
        ("import keras, torch\ndef build():\n    return keras.Sequential()\n", "keras"),
        ("from nets import Net\ndef build():\n    return Net()\n", "torch"),
        ("def build():\n    import torch\n    return torch.nn.Linear(2, 2)\n", "torch"),
        ("def build():\n    return 3\n", None),
    ],
)
def test_the_framework_of_an_entry_is_what_its_code_leads_to(tmp_path, text, expected):
    (tmp_path / "nets.py").write_text("import torch\nclass Net(torch.nn.Module): ...\n")
    (tmp_path / "model.py").write_text(text)
    assert framework_of(tmp_path / "model.py", "build") == expected


def test_numbers_of_a_generator_that_one_side_alone_has_are_no_difference_of_the_code():
    own = Trace((), {}, {}, own_generator="PyTorch", unaligned_draws=True)
    plain = Trace((), {}, {})
    differs = [Finding(Verdict.DIVERGED, "1 of 1 outputs differ")]
    for both in ((plain, own), (own, plain)):
        (found,) = native_order.excused(*both, differs)
        assert found.verdict is Verdict.UNDECIDED
        assert "PyTorch's own generator" in found.phrase
    assert native_order.excused(plain, dataclasses.replace(own, unaligned_draws=False), differs) == differs
