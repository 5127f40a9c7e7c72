"""What a file of Keras (`.h5`, `.keras`) says of its model, read without Keras and judged before Keras sees it.

A file of Keras is a description from which Keras builds layers by their names, and weights. Some names run what the
file says: a `Lambda` its bytecode, a registered class whatever is registered, a function whatever bears its name. So a
description is taken only if everything that it names is a part of Keras that computes.
"""

from __future__ import annotations

import builtins
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lockstep.common.errors import InputError
from lockstep.common.values import shown, shown_path
from lockstep.files.originals.described import OriginalFile
from lockstep.ground.machine import memory_bytes
from lockstep.ground.opening import shortened

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_MOST_TEXT = 64 << 20
_MODULES = frozenset(
    {
        "keras",
        "builtins",
        *(
            f"keras.{name}"
            for name in (
                "layers",
                "models",
                "initializers",
                "regularizers",
                "constraints",
                "activations",
                "ops",
                "dtype_policies",
            )
        ),
    }
)
_SOURCES = tuple(
    f"{keras}.src.{name}"
    for keras in ("keras", "tf_keras")
    for name in ("layers.", "models.", "ops.", "engine.", "activations")
)
_RUNNING = frozenset(
    {
        "Lambda",
        "__lambda__",
        "TFSMLayer",
        "TorchModuleWrapper",
        "JaxLayer",
        "FlaxLayer",
        "TextVectorization",
        "StringLookup",
        "IntegerLookup",
        "Pipeline",
    }
)
"""Classes that run what a file says, or read other files."""
_COMPUTING = ("math.", "nn.", "linalg.", "__operators__.", "keras.activations.", "keras.backend.")
_COMPUTING_ALONE = frozenset(
    {"reshape", "concat", "stack", "unstack", "split", "transpose", "expand_dims", "squeeze", "cast", "shape",
     "identity",
     "gather", "tile", "pad", "slice", "strided_slice", "where", "clip_by_value", "zeros_like", "ones_like", "one_hot",
     "stop_gradient", "broadcast_to", "reverse", "convert_to_tensor", "image.resize", "compat.v1.shape", "abs", "add",
     "sqrt", "square", "exp", "multiply", "subtract", "maximum", "minimum", "reduce_sum", "reduce_mean", "reduce_max",
     "tanh", "sigmoid", "matmul", "compat.v1.transpose", "compat.v1.squeeze", "compat.v1.gather"}
)  # fmt: skip


@dataclass(frozen=True)
class KerasFile:
    """What a file of Keras says.

    Attributes:
        version: The Keras that wrote it: `"2.11.0"`; empty where it does not say.
        config: The model's description.
    """

    version: str
    config: Mapping[str, Any]

    @property
    def is_keras_2(self) -> bool:
        """Whether Keras 2 wrote it, which reads it in its own way."""
        return not self.version or self.version.startswith(("1.", "2."))


def read(original: OriginalFile) -> KerasFile:
    """Reads and judges the description in a file; no weight is read.

    Raises:
        InputError: It is no file of Keras, holds weights alone, is damaged, or names something that does not only
            compute.
    """
    path = original.path
    with path.open("rb") as file:
        head = file.read(8)
    try:
        if head.startswith(b"PK"):
            found = _of_archive(original)
        elif head == b"\x89HDF\r\n\x1a\n":
            found = _of_hdf5(original)
        else:
            raise InputError(f"{original.label} is no file of Keras: it is neither HDF5 nor a zip archive.")
        _refuse_running(original, found.config)
    except (OSError, KeyError, RuntimeError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{original.label} is no file of Keras, or is damaged or cut short: {shortened(said)}."
        ) from error
    return found


def _of_archive(original: OriginalFile) -> KerasFile:
    with zipfile.ZipFile(original.path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        if len(sizes) != len(archive.infolist()):
            raise InputError(f"{original.label} is damaged: it holds two files of one name.")
        strange = sorted(sizes.keys() - {_CONFIG, _METADATA, _WEIGHTS})
        if strange:
            raise InputError(
                f"{original.label} holds {shown(shortened(strange[0]))} beside a model's description and weights; "
                "layers that read files of their own cannot be checked."
            )
        _refuse_beyond_memory(original, sizes.get(_WEIGHTS, 0))
        metadata = _parsed(original, archive.read(_METADATA), sizes[_METADATA])
        config = _parsed(original, archive.read(_CONFIG), sizes[_CONFIG])
        with archive.open(_WEIGHTS) as weights:
            _refuse_links(original, io.BytesIO(weights.read()))
    return KerasFile(str(metadata.get("keras_version", "")), config)


def _of_hdf5(original: OriginalFile) -> KerasFile:
    import h5py

    _refuse_beyond_memory(original, original.path.stat().st_size)
    with original.path.open("rb") as opened:
        _refuse_links(original, opened)
    with h5py.File(original.path, "r") as file:
        if "model_config" not in file.attrs:
            raise InputError(
                f"{original.label} holds weights alone, and no model; name a function that builds the model as entry."
            )
        config, version = (file.attrs.get(name, "") for name in ("model_config", "keras_version"))
    text = config if isinstance(config, bytes) else str(config).encode()
    version = version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version)
    return KerasFile(version, _parsed(original, text, len(text)))


def _refuse_beyond_memory(original: OriginalFile, size: int) -> None:
    limit = memory_bytes()
    if size > limit:
        raise InputError(
            f"{original.label} holds weights of {size:,} bytes, and this machine has a memory of {limit:,}."
        )


def _parsed(original: OriginalFile, text: bytes, size: int) -> Mapping[str, Any]:
    if size > _MOST_TEXT:
        raise InputError(f"{original.label} has a description of {size:,} bytes; a model has {_MOST_TEXT:,} at most.")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise InputError(f"{original.label} is damaged: its description is no object.")
    return found


def _refuse_links(original: OriginalFile, opened: Any) -> None:
    """Refuses an HDF5 file that takes its numbers from other files."""
    import h5py

    with h5py.File(opened, "r") as file:
        waiting: list[Any] = [file]
        seen: set[Any] = set()
        while waiting:
            group = waiting.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise InputError(
                        f"{shown_path(original.path)}: {shown(shortened(name))} is a link to somewhere else; "
                        "weights lie in the file itself."
                    )
                member = group[name]
                if isinstance(member, h5py.Dataset):
                    if member.external or member.is_virtual:
                        raise InputError(f"{shown_path(original.path)}: {shown(shortened(name))} lies in another file.")
                elif member.id not in seen:
                    seen.add(member.id)
                    waiting.append(member)


def _refuse_running(original: OriginalFile, config: Mapping[str, Any]) -> None:
    for described in _described(config):
        name, module = str(described["class_name"]), described.get("module")
        if name in _RUNNING:
            why = "runs code that is in the file" if "ambda" in name else "runs or reads what is outside of Keras"
            raise InputError(
                f"{original.label} has a {name} layer{_called(described)}, which {why}; it is not loaded. Name a "
                "function that builds the model as entry."
            )
        of_python = module == "builtins" and (name != "function" or str(described.get("config")) in vars(builtins))
        known = module is None or module in _MODULES or str(module).startswith(_SOURCES)
        if of_python or not known:
            raise InputError(
                f"{original.label} names {shown(shortened(f'{module}.{name}'))}, which is no part of Keras; it is not "
                "loaded. Name a function that builds the model as entry."
            )
        if name in ("TFOpLambda", "SlicingOpLambda"):
            function = str((described.get("config") or {}).get("function", ""))
            if not function.startswith(_COMPUTING) and function not in _COMPUTING_ALONE:
                raise InputError(
                    f"{original.label} calls {shown(shortened(f'tf.{function}'))}, which is not on the list "
                    "of functions that only compute; it is not loaded. Name a function that builds the model as entry."
                )


def _called(described: Mapping[str, Any]) -> str:
    config = described.get("config")
    name = config.get("name") if isinstance(config, Mapping) else None
    return f" {shown(shortened(str(name)))}" if name else ""


def _described(config: Any) -> Iterator[Mapping[str, Any]]:
    """Yields every object in a description that names a class, compiled losses and optimizers apart: none is loaded."""
    waiting = [config]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            if "class_name" in one:
                yield one
            waiting.extend(value for key, value in one.items() if key not in ("compile_config", "build_config"))
        elif isinstance(one, list):
            waiting.extend(one)
