"""Opens files that `torch.save` wrote, through `torch.load(weights_only=True)`, which builds tensors and nothing else.

Apart from the runtime of PyTorch models: a model that left PyTorch is checked with nothing but its weights.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.common.arrays import MAX_DIMENSIONS, numpy_dtype
from lockstep.common.errors import InputError
from lockstep.common.values import brief, said, shown, shown_path
from lockstep.files.checkpoints.entries import Checkpoint, Entry, Kind

_NESTED = ("state_dict", "model_state_dict", "model")
"""What training scripts call the weights where they save more besides: an optimizer, an epoch."""

_DEEPEST = 8
_FOREIGN = re.compile(r"GLOBAL ([\w.]+\.[\w.]+)")
"""Of what PyTorch 2.6 to 2.13 say of an object that they do not make: the class."""


def open_checkpoint(path: Path, *, moving_averages: bool = False) -> Checkpoint:
    """Opens a state dict, or a training checkpoint that holds one; tensors are mapped from the file, not copied.

    Raises:
        InputError: PyTorch is missing, the file is damaged, or it holds Python objects other than tensors.
    """
    try:
        import torch
    except ImportError:
        raise InputError(
            f"{shown_path(path)} is a file of PyTorch, which alone reads it: pip install 'lockstep-verify[torch]'; or "
            "save the weights with safetensors, which needs no PyTorch."
        ) from None
    try:
        loaded = _loaded(torch, path)
    except Exception as error:  # of a restricted unpickler on a damaged file: whatever its parts raise
        raise InputError(_told(path, error)) from error
    tensors = dict(_tensors(torch, _weights(torch, loaded)))
    found = {name: tensor for name, tensor in tensors.items() if _is_plain(torch, tensor)}
    other = sorted(tensors.keys() - found.keys())
    if other:
        raise InputError(f"{shown_path(path)}: {shown(other[0])} is no dense tensor with values of its own.")
    entries = {name: Entry(name, tuple(t.shape), _dtype(t)) for name, t in found.items()}
    if loaded is not _weights(torch, loaded):
        slots = {f"optimizer/{name}": tensor for name, tensor in _tensors(torch, _optimizer(loaded))}
        entries.update({n: Entry(n, tuple(t.shape), _dtype(t), Kind.SLOT) for n, t in slots.items()})
        found.update(slots)
    deep = [name for name, entry in entries.items() if len(entry.shape) > MAX_DIMENSIONS]
    if deep:
        raise InputError(f"{shown_path(path)}: {shown(deep[0])} has more than {MAX_DIMENSIONS} dimensions.")
    return Checkpoint(path, entries, lambda name: _array(torch, found[name]), moving_averages=moving_averages)


def _told(path: Path, error: Exception) -> str:
    """Says what is wrong with a file, without PyTorch's advice to load it all the same."""
    if foreign := _FOREIGN.search(said(error)):
        return (
            f"{shown_path(path)} holds Python objects other than tensors ({foreign[1]}), which are never unpickled; "
            "save model.state_dict()."
        )
    reason = brief(error, 120) if not isinstance(error, pickle.UnpicklingError) else "its pickle is malformed"
    return f"{shown_path(path)} is no file of torch.save, or is damaged: {reason}."


def _loaded(torch: Any, path: Path) -> Any:
    try:
        return torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        return torch.load(str(path), map_location="cpu", weights_only=True)  # written before PyTorch 1.6


def _weights(torch: Any, loaded: Any) -> Any:
    """Returns what of a file is a model's: a dict of tensors under one of the usual names, or all of it."""
    if isinstance(loaded, Mapping) and not any(isinstance(value, torch.Tensor) for value in loaded.values()):
        for name in _NESTED:
            if isinstance(loaded.get(name), Mapping):
                return loaded[name]
    return loaded


def _optimizer(loaded: Any) -> Any:
    return next((loaded[name] for name in ("optimizer", "optimizer_state_dict") if name in loaded), {})


def _tensors(torch: Any, value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(value, torch.Tensor):
        yield name or "tensor", value
    elif depth < _DEEPEST and isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors(torch, inner, f"{name}.{key}".lstrip("."), depth + 1)
    elif depth < _DEEPEST and isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _tensors(torch, inner, f"{name}.{number}".lstrip("."), depth + 1)


def _is_plain(torch: Any, tensor: Any) -> bool:
    return tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_quantized


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _array(torch: Any, tensor: Any) -> np.ndarray:
    tensor = tensor.detach().contiguous()
    name = _dtype(tensor)
    if name == "bfloat16" or name.startswith("float8"):  # NumPy has none of its own
        plain = tensor.view(torch.int16 if name == "bfloat16" else torch.int8)
        return np.asarray(plain.numpy()).view(numpy_dtype(name))
    return np.asarray(tensor.numpy())
