"""Files of `torch.save`: state dicts and training checkpoints, tensors alone; left out where there is no PyTorch."""

import re

import numpy as np
import pytest

from lockstep.common.errors import InputError
from lockstep.files.checkpoints import Kind
from lockstep.frameworks.runtimes import open_checkpoint

torch = pytest.importorskip("torch", reason="PyTorch is an extra")

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int64, torch.bool)
SHAPES = ((), (0, 3), (2, 3), (4,))


def trained():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def assert_same(checkpoint, state):
    assert {n for n, e in checkpoint.entries.items() if e.kind is Kind.VARIABLE} == state.keys()
    for name, tensor in state.items():
        value = checkpoint[name]
        assert value.dtype.name == str(tensor.dtype).removeprefix("torch.")
        assert value.shape == tuple(tensor.shape)
        assert value.tobytes() == tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", ["pt", "pth", "bin"])
def test_a_state_dict_is_read_bit_for_bit(tmp_path, zipped, suffix):
    random = np.random.default_rng(1)
    state = {
        f"{dtype}.{shape}".replace("torch.", ""): torch.tensor(random.normal(size=shape) * 5).to(dtype)
        for dtype in DTYPES
        for shape in SHAPES
    }
    state["transposed"] = torch.from_numpy(random.normal(size=(4, 3))).T
    torch.save(state, tmp_path / f"m.{suffix}", _use_new_zipfile_serialization=zipped)
    assert_same(open_checkpoint(tmp_path / f"m.{suffix}"), state)


@pytest.mark.parametrize("name", ["state_dict", "model_state_dict", "model"])
def test_of_a_training_checkpoint_the_weights_are_told_from_the_optimizer(tmp_path, name):
    model, optimizer = trained()
    torch.save({name: model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, tmp_path / "m.pth")
    checkpoint = open_checkpoint(tmp_path / "m.pth")
    assert_same(checkpoint, model.state_dict())
    slots = [entry for entry in checkpoint.entries.values() if entry.kind is Kind.SLOT]
    assert len(slots) == 3 * len(list(model.parameters()))


def test_a_whole_module_a_sparse_tensor_and_a_damaged_file_are_refused_in_one_sentence(tmp_path):
    model, _ = trained()
    torch.save(model, tmp_path / "module.pt")
    torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "sparse.pt")
    torch.save(model.state_dict(), tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:300])
    (tmp_path / "text.pt").write_bytes(b"hello")
    for name, told in (
        ("module.pt", "holds Python objects other than tensors (torch.nn.modules"),
        ("sparse.pt", "'w' is no dense tensor"),
        ("cut.pt", "damaged"),
        ("text.pt", "is no file of torch.save, or is damaged"),
    ):
        with pytest.raises(InputError, match=re.escape(told)) as raised:
            open_checkpoint(tmp_path / name)
        assert "\n" not in str(raised.value)
