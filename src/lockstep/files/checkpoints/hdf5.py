"""Which variables a file of Keras holds (`.h5`, `.weights.h5`, `.keras`): names, shapes, dtypes; no value is read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lockstep.common.errors import InputError
from lockstep.files.checkpoints.entries import Entry

_WEIGHTS = "model.weights.h5"
_MOST_BYTES = 8 << 30
_CONTAINERS = ("vars", "layers", "_layer_checkpoint_dependencies")
SUFFIXES = (".h5", ".hdf5", ".keras")


def entries_of(path: Path) -> list[Entry]:
    """Lists the variables of a file in the file's order.

    Files of Keras 2 name each variable. Those of Keras 3 number the variables of a layer: `dense/0` and `dense/1` are a
    dense layer's kernel and bias, so that shapes and layers tell them apart.

    Raises:
        InputError: There is no such file, or it holds no variables that can be listed.
    """
    import h5py

    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                size = archive.getinfo(_WEIGHTS).file_size
                if size > _MOST_BYTES:
                    raise InputError(f"{path} holds weights of {size:,} bytes; {_MOST_BYTES:,} at most are read.")
                opened: Any = io.BytesIO(archive.read(_WEIGHTS))
        else:
            opened = path.open("rb")
        with opened, h5py.File(opened, "r") as file:
            found = list(_named(file)) or list(_numbered(file, ()))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except (OSError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no weight file of Keras, or is damaged: {error}.") from error
    if not found:
        raise InputError(f"{path} holds no variables that can be listed.")
    return found


def _named(file: Any) -> Iterator[Entry]:
    """Yields what Keras 2 wrote: each layer says how its variables are called."""
    weights = file["model_weights"] if _is_own(file, "model_weights") else file
    for layer in map(_text, weights.attrs.get("layer_names", ())):
        for name in map(_text, weights[layer].attrs.get("weight_names", ()) if _is_own(weights, layer) else ()):
            dataset = weights[layer][name]
            yield Entry(name.removesuffix(":0"), tuple(dataset.shape), dataset.dtype.name)


def _numbered(group: Any, above: tuple[str, ...]) -> Iterator[Entry]:
    """Yields what Keras 3 wrote: layers within layers, the variables of each in a group `vars` by their numbers."""
    import h5py

    for name in group:
        if not _is_own(group, name) or name in ("optimizer", "seed_generator"):
            continue
        inner = group[name]
        if isinstance(inner, h5py.Dataset):
            yield Entry("/".join((*above, name)), tuple(inner.shape), inner.dtype.name)
        else:
            yield from _numbered(inner, above if name in _CONTAINERS else (*above, name))


def _is_own(group: Any, name: str) -> bool:
    """Whether a member lies in this very file: what a link leads to elsewhere is none of its business."""
    import h5py

    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
