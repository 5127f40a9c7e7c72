"""PyTorch modules as programs: what they compute, where each operation is from, what they leave behind."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is an extra")
from torch import nn  # noqa: E402

from lockstep.common.errors import InputError, SubjectError  # noqa: E402
from lockstep.frameworks.tensorflow.kernels import TensorFlowKernels  # noqa: E402
from lockstep.frameworks.torch.exporting import named_outputs, tied_once, users_line  # noqa: E402
from lockstep.frameworks.torch.lowering.values import array_of  # noqa: E402
from lockstep.frameworks.torch.program import Lowered, arrays_of, lowered  # noqa: E402
from lockstep.program import Program  # noqa: E402
from lockstep.program.evaluating import evaluate  # noqa: E402


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)
        self.drop = nn.Dropout(0.25)

    def forward(self, image: Any) -> Any:
        x = torch.relu(self.norm(self.conv(image)))
        x = nn.functional.max_pool2d(x, 2) + 1.0
        return self.drop(self.head(x.mean((2, 3))))


LINE_OF_RELU = inspect.getsourcelines(Convolutional.forward)[1] + 1


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.table.weight

    def forward(self, words: Any) -> Any:
        return {"logits": self.out(self.table(words)), "nothing": None}


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.deep = nn.Conv2d(4, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.out = nn.ConvTranspose2d(8, 2, 3, stride=2, padding=1, output_padding=1)
        self.larger = nn.Upsample(scale_factor=2, mode="bilinear")

    def forward(self, image: Any) -> Any:
        first = self.down(image)
        second = torch.relu(self.deep(nn.functional.max_pool2d(first, 2)))
        return self.larger(self.out(torch.cat([self.up(second), first], 1)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.attention(x, x, x)


def evaluated(low: Lowered, module: Any, feeds: Mapping[str, Any], draws: Any = ()) -> tuple[Program, dict[str, Any]]:
    values = {name: array_of(tensor) for name, tensor in tied_once(module).items()}
    program = low.program(values, arrays_of(feeds), draws)
    ran = evaluate(program, TensorFlowKernels(), double=False)
    ends = {path: ran.ends[number] for path, number in program.outputs.items()}
    return program, {**ends, **{key: ran.ends[number] for key, number in program.writes.items()}}


def test_a_convolutional_network_looks_like_tensorflow_code() -> None:
    torch.manual_seed(0)
    module, image = Convolutional().eval(), torch.randn(2, 3, 8, 8)
    low = lowered(module, {"image": image}, training=False)
    program, ends = evaluated(low, module, {"image": image})
    assert low.faults == ()
    assert program.limits == []
    assert low.inputs == ("image",)
    assert "norm.running_mean" in low.names
    # Images are turned once, when they come in; kernels are.
    assert [operation.type for operation in program.operations] == [
        "Transpose",
        "Transpose",
        "Conv2D",
        "BiasAdd",
        "FusedBatchNormV3",
        "Relu",
        "MaxPool",
        "AddV2",
        "Mean",
        "Transpose",
        "MatMul",
        "BiasAdd",
    ]
    np.testing.assert_allclose(ends[""], module(image).detach().numpy(), rtol=1e-5, atol=1e-6)
    by_type = {operation.type: operation for operation in program.operations}
    assert by_type["Conv2D"].place.name == "conv/Conv2D"
    assert by_type["FusedBatchNormV3"].place.scope == "norm"
    assert by_type["Relu"].place.source == f"{__file__}:{LINE_OF_RELU}"
    assert not module.training


def test_training_moves_averages_and_drops_what_is_drawn() -> None:
    torch.manual_seed(0)
    module, image = Convolutional().eval(), torch.randn(2, 3, 8, 8)
    low = lowered(module, [image], training=True)
    assert low.faults == ()
    uniform = np.random.default_rng(0).random((2, 5), np.float32)
    program, ends = evaluated(low, module, {"image": image}, [uniform])
    assert [program.sources[tensor].name for tensor in program.draws] == ["RandomUniform"]
    masked, same = evaluated(low, module, {"image": image}, [uniform >= 0.25])
    assert [masked.sources[tensor].name for tensor in masked.draws] == ["native_dropout"]
    np.testing.assert_array_equal(ends[""], same[""])
    module.train()
    kept: Any = nn.Identity()
    module.drop = kept
    own = module(image).detach().numpy() * (uniform >= 0.25) / 0.75
    np.testing.assert_allclose(ends[""], own, rtol=1e-5, atol=1e-6)
    assert set(program.writes) == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    for name in program.writes:
        np.testing.assert_allclose(ends[name], array_of(module.state_dict()[name]), rtol=1e-5, atol=1e-7)


def test_what_is_given_has_to_fit() -> None:
    module, image = Convolutional(), torch.randn(2, 3, 8, 8)
    low = lowered(module, [image], training=True)
    values = arrays_of(module.state_dict())
    feeds = {"image": image.numpy()}
    mask = np.ones((2, 5), bool)
    with pytest.raises(InputError, match=r"numbers of 0 random operations are given, and aten.native_dropout.default"):
        low.program(values, feeds)
    with pytest.raises(InputError, match=r"numbers of 2 random operations are given, and the module has 1"):
        low.program(values, feeds, [mask, mask])
    with pytest.raises(InputError, match=r"draws bool\[2, 5\]; the numbers given for it are bool\[4\]"):
        low.program(values, feeds, [mask.reshape(-1)[:4]])
    with pytest.raises(InputError, match=r"no value for the input 'image' is given; did you mean 'imag'"):
        low.program(values, {"imag": image.numpy()}, [mask])
    with pytest.raises(InputError, match=r"'image' is float32\[2, 3, 8, 8\] in the module; the value given is float64"):
        low.program(values, {"image": image.double().numpy()}, [mask])
    with pytest.raises(InputError, match=r"the module has no variable 'other'"):
        low.program({**values, "other": mask}, feeds, [mask])


def test_tied_weights_are_one_variable_and_an_embedding_reads_it_directly() -> None:
    module, words = Tied(), torch.tensor([[0, 3, 6]])
    low = lowered(module, [words], training=False)
    program, ends = evaluated(low, module, {"words": words})
    assert low.names == ("table.weight",)
    assert list(ends) == ["logits"]
    (gather,) = [operation for operation in program.operations if operation.type == "GatherV2"]
    assert program.variables_read(gather) == ("table.weight",)
    np.testing.assert_allclose(ends["logits"], module(words)["logits"].detach().numpy(), rtol=1e-5, atol=1e-6)


_ENCODER = {"d_model": 8, "nhead": 2, "dim_feedforward": 12, "batch_first": True}
ARCHITECTURES: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "lstm": (lambda: nn.LSTM(3, 4, bidirectional=True, batch_first=True), (2, 3, 3)),
    "gru": (lambda: nn.GRU(3, 4, bidirectional=True), (3, 2, 3)),
    "attention": (Attention, (2, 5, 8)),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(**_ENCODER), (2, 5, 8)),
    "u-net": (UNet, (2, 3, 8, 8)),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_lowered_without_fault(name: str) -> None:
    torch.manual_seed(0)
    make, shape = ARCHITECTURES[name]
    module, x = make().eval(), torch.randn(shape)
    low = lowered(module, [x], training=False)
    program, ends = evaluated(low, module, {low.inputs[0]: x})
    assert program.limits == []
    with torch.no_grad():
        own = named_outputs(module(x))
    assert list(ends) == list(own)
    for path, tensor in own.items():
        np.testing.assert_allclose(ends[path], tensor.numpy(), rtol=1e-5, atol=2e-6)


def _transformers() -> dict[str, tuple[Callable[[Any], Any], dict[str, Any]]]:
    words = torch.tensor([[3, 14, 15, 9, 2], [6, 5, 3, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    text = {"input_ids": words, "attention_mask": mask}
    pixels = torch.randn(2, 3, 32, 32)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    t5 = {"vocab_size": 20, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    gpt = {"vocab_size": 20, "n_embd": 16, "n_layer": 2, "n_head": 2, "use_cache": False}
    gpt = {**gpt, "bos_token_id": 0, "eos_token_id": 0}
    resnet = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 2]}
    return {
        "BERT": (lambda t: t.BertModel(t.BertConfig(vocab_size=20, **size)), text),
        "GPT-2": (lambda t: t.GPT2Model(t.GPT2Config(**gpt)), text),
        "T5": (lambda t: t.T5EncoderModel(t.T5Config(**t5)), text),
        "ViT": (lambda t: t.ViTModel(t.ViTConfig(image_size=32, patch_size=8, **size)), {"pixel_values": pixels}),
        "ResNet": (lambda t: t.ResNetModel(t.ResNetConfig(**resnet)), {"pixel_values": pixels}),
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what transformers says while it is imported
@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5", "ViT", "ResNet"])
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_a_model_of_transformers_is_lowered_without_fault(name: str, training: bool) -> None:
    transformers = pytest.importorskip("transformers", reason="models of others, to be lowered")
    torch.manual_seed(0)
    make, inputs = _transformers()[name]
    module = make(transformers).eval()
    low = lowered(module, inputs, training=training)
    assert low.faults == ()
    if training:
        return
    _, ends = evaluated(low, module, inputs)
    with torch.no_grad():
        own = named_outputs(module(**inputs))
    assert set(ends) == set(own)
    for path, tensor in own.items():
        np.testing.assert_allclose(ends[path], tensor.numpy(), rtol=1e-4, atol=1e-5)


class Branching(nn.Module):
    def forward(self, x: Any) -> Any:
        if x.sum() > 0:
            return x
        return -x


def test_what_depends_on_values_in_python_is_refused_with_the_users_line() -> None:
    line = inspect.getsourcelines(Branching.forward)[1] + 1
    with pytest.raises(SubjectError, match=rf"^Branching cannot be exported at {__file__}:{line}: ") as caught:
        lowered(Branching(), [torch.ones(2)], training=False)
    assert "has to be written with tensors" in str(caught.value)


class Sliced(nn.Module):
    def forward(self, x: Any) -> Any:
        return x[x[:, 0] > 0] * 2, torch.nonzero(x)


def test_sizes_that_depend_on_values_are_those_of_this_run() -> None:
    x = torch.tensor([[1.0, 2.0], [-1.0, 0.0], [3.0, -4.0]])
    low = lowered(Sliced(), [x], training=False)
    program, ends = evaluated(low, Sliced(), {"x": x})
    assert program.limits == []
    np.testing.assert_array_equal(ends["0"], [[2, 4], [6, -8]])
    np.testing.assert_array_equal(ends["1"], torch.nonzero(x).numpy())


class Unusual(nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.linalg.det(x @ x.T) + 1


def test_what_has_no_rule_is_taken_from_pytorch_and_told() -> None:
    x = torch.eye(3) + 0.5
    low = lowered(Unusual(), [x], training=False)
    program, ends = evaluated(low, Unusual(), {"x": x})
    assert len(low.faults) == len(program.limits) == 1
    assert "is taken from PyTorch as it is: no rule covers it" in program.limits[0]
    assert __file__ in program.limits[0]
    assert [source.kind for source in program.sources.values() if source.kind == "opaque"]
    np.testing.assert_allclose(ends[""], Unusual()(x).numpy(), rtol=1e-6)


@dataclasses.dataclass
class Returned:
    hidden: Any
    more: Any = None


def test_outputs_are_named_by_their_paths() -> None:
    one, two = torch.ones(1), torch.zeros(2)
    assert list(named_outputs(one)) == [""]
    assert list(named_outputs((one, {"a": two, "b": None}, [one, 3]))) == ["0", "1/a", "2/0"]
    assert list(named_outputs({"last": Returned((one, two)), "none": None})) == ["last/hidden/0", "last/hidden/1"]


def test_the_users_line_is_the_innermost_outside_of_torch() -> None:
    stack = (
        f'  File "/home/me/model.py", line 7, in forward\n    y\n'
        f'  File "/home/me/part.py", line 9, in helper\n    y\n'
        f'  File "{nn.__file__}", line 3, in forward\n    y\n'
    )
    assert users_line(stack) == "/home/me/part.py:9"
    assert users_line("") == ""
