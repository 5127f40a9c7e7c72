"""A configuration without a file: two entries and some options, as the tree that a `lockstep.toml` would hold."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lockstep.common.errors import InputError
from lockstep.common.values import quoted, shown
from lockstep.config.guessing import framework_of
from lockstep.config.tables import guess, refuse_no_file
from lockstep.environments.constraints import KERAS_3_SINCE, TENSORFLOW, highest
from lockstep.environments.requirements import parse
from lockstep.files.originals import kind_at

_ENTRY = re.compile(r"(?P<file>.+\.py):(?P<name>[^:/]+)")
_INPUT = re.compile(r"(?P<name>[^=]+)=(?P<what>.+)")
_SHAPED = re.compile(r"(?P<shape>[0-9]+(,[0-9]+)*|\(\))(:(?P<dtype>[a-z0-9]+)(:(?P<high>[0-9]+))?)?")
_LEGACY_SWITCH = "TF_USE_LEGACY_KERAS"
"""The environment variable that makes `tf.keras` tf_keras; whoever names it in their code switches it."""
_FORM = "NAME=SHAPE, as in image=1,299,299,3, or tokens=2,16:int32:1000 with the bound of integers"


def is_entry(text: str) -> bool:
    """Tells whether an argument is meant as one side: an entry, `model.py:build`, or a model that is a file."""
    return _ENTRY.fullmatch(text) is not None or kind_at(Path(text)) is not None


def tree_of(
    entries: tuple[str, str], inputs: Sequence[str], *, folder: Path, python: str | None, requirements: Sequence[str]
) -> dict[str, Any]:
    """Returns what a configuration would say.

    Args:
        entries: Of the reference and of the candidate, with paths relative to the current folder.
        inputs: Each `NAME=SHAPE[:DTYPE[:HIGH]]`, or `NAME=FILE` with a `.npy` or `.npz` file.
        folder: Which folder the configuration is for; both entries lie in it.
        python: The Python of the reference's own environment; None for this process.
        requirements: What is installed in it.

    Raises:
        InputError: An entry or an input is written wrongly, a file or a function does not exist, or a file lies outside
            of the folder.
    """
    tree: dict[str, Any] = {}
    for side, entry in zip(("reference", "candidate"), entries, strict=True):
        tree[side] = _side(side, entry, folder, requirements if side == "reference" else ())
    if python is not None:
        tree["reference"]["python"] = python
    if requirements:
        tree["reference"]["requirements"] = list(requirements)
    if inputs:
        tree["inputs"] = dict(_input(text, folder) for text in inputs)
    return tree


def folder_of(entries: tuple[str, str]) -> Path:
    """Returns the folder that paths are relative to: the current one, or what both files have in common.

    >>> folder_of(("a.py:f", "b.py:g")) == Path.cwd()
    True
    """
    files = [_file(entry).absolute() for entry in entries]
    if all(file.is_relative_to(Path.cwd()) for file in files):
        return Path.cwd()
    return Path(os.path.commonpath([file.parent for file in files]))


def _file(entry: str) -> Path:
    return Path(entry.rpartition(":")[0]) if _ENTRY.fullmatch(entry) else Path(entry)


def _side(side: str, entry: str, folder: Path, requirements: Sequence[str]) -> dict[str, Any]:
    found = _ENTRY.fullmatch(entry)
    if found is None:
        return _of_file(side, entry, folder, elsewhere=bool(requirements))
    path = Path(found["file"]).absolute()
    refuse_no_file(f"the {side}", Path(found["file"]))
    if not path.is_relative_to(folder):
        raise InputError(
            f"the {side} {found['file']} lies outside of {folder}; save the configuration above both files."
        )
    runtime = _runtime(side, path, found["name"], requirements)
    return {"runtime": runtime, "entry": f"{path.relative_to(folder).as_posix()}:{found['name']}"}


def _of_file(side: str, entry: str, folder: Path, *, elsewhere: bool) -> dict[str, Any]:
    """Returns the table of a side that is a file, its kind found out from what lies there."""
    path = Path(entry).absolute()
    kind = kind_at(path)
    if kind is None:
        raise InputError(
            f'the {side} is {quoted(entry)}; it must name a file and a function, as in "model.py:build", or be a '
            "SavedModel's folder, a frozen graph (.pb), a MetaGraph's checkpoint or a file of Keras (.h5, .keras)."
        )
    if elsewhere:
        raise InputError(f"the {side} is a file, which this process's TensorFlow imports; take --requirement out.")
    inside = path.is_relative_to(folder)
    return {kind: path.relative_to(folder).as_posix() if inside else str(path)}


def _runtime(side: str, path: Path, name: str, requirements: Sequence[str]) -> str:
    """Tells a TF1 function, which takes its inputs, from what makes a model of Keras 2 or 3, or a PyTorch module.

    The file is read, not run: it may be for another Python than this one.

    Raises:
        InputError: The file has no such name.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):  # of a Python that this one cannot read; its own environment will say
        return "tf1"
    defined = {bound: node for node in tree.body for bound in _bound(node)}
    node = defined.get(name)
    starred = any(isinstance(one, ast.ImportFrom) and one.names[0].name == "*" for one in tree.body)
    if node is None and not starred:
        functions = [bound for bound, of in defined.items() if isinstance(of, ast.FunctionDef | ast.ClassDef)]
        raise InputError(f"the {side}: {path.name} has no function {shown(name)}{guess(name, functions)}")
    if isinstance(node, ast.FunctionDef):
        is_tf1 = len(node.args.posonlyargs) + len(node.args.args) > len(node.args.defaults)
    else:
        is_tf1 = bool(requirements) and not isinstance(node, ast.ClassDef)
    if is_tf1:
        return "tf1"
    if framework_of(path, name) == "torch":
        return "torch"
    return "keras2" if _is_keras_2(tree, requirements, path.parent) else "keras"


def _is_keras_2(tree: ast.Module, requirements: Sequence[str], folder: Path) -> bool:
    """Tells whether the Keras of a file is Keras 2: tf_keras, by its name or its switch, or that of an old TensorFlow.

    Raises:
        InputError: A requirement is written wrongly.
    """
    for node in ast.walk(tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
        if any(module.partition(".")[0] == "tf_keras" for module in modules):
            return True
        if isinstance(node, ast.Constant) and node.value == _LEGACY_SWITCH:
            return True
    parsed = [parse(text, folder) for text in requirements]
    bounds = [highest(requirement) for requirement in parsed if requirement.name in TENSORFLOW]
    return any(bound is not None and bound < KERAS_3_SINCE for bound in bounds)


def _bound(node: ast.stmt) -> list[str]:
    """Returns the names that a statement at the top of a file makes."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    if isinstance(node, ast.If | ast.Try | ast.With):
        return [name for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.stmt) for name in _bound(inner)]
    return []


def _input(text: str, folder: Path) -> tuple[str, dict[str, Any]]:
    found = _INPUT.fullmatch(text)
    if found is None:
        raise InputError(f"--input {shown(text)}: it must be {_FORM}, or NAME=FILE.npy.")
    name, what = found["name"], found["what"]
    if what.endswith((".npy", ".npz")):
        path = Path(what)
        refuse_no_file(f"--input {name}", path)
        inside = path.absolute().is_relative_to(folder)
        return name, {"path": str(path.absolute().relative_to(folder) if inside else path.absolute())}
    shaped = _SHAPED.fullmatch(what)
    if shaped is None:
        raise InputError(f"--input {shown(text)}: it must be {_FORM}, or NAME=FILE.npy.")
    shape = [] if shaped["shape"] == "()" else [int(size) for size in shaped["shape"].split(",")]
    table: dict[str, Any] = {"shape": shape}
    if shaped["dtype"]:
        table["dtype"] = shaped["dtype"]
    if shaped["high"]:
        table["high"] = int(shaped["high"])
    return name, table


def inputs_of(declared: Mapping[str, tuple[tuple[int | None, ...], str]], side: str) -> dict[str, dict[str, Any]]:
    """Returns the tables of inputs as a model declares them; a batch of any size is one of 2.

    Args:
        declared: Name -> shape, with None for any size, and dtype.
        side: Whose model says it.

    Raises:
        InputError: A size but the first is open, or integers have no known bound.

    >>> inputs_of({"image": ((None, 8, 8, 3), "float32")}, "candidate")
    {'image': {'shape': [2, 8, 8, 3]}}
    """
    tables: dict[str, dict[str, Any]] = {}
    for name, (shape, dtype) in declared.items():
        sizes = [2 if size is None and place == 0 else size for place, size in enumerate(shape)]
        told = ",".join("?" if size is None else str(size) for size in sizes)
        if None in sizes:
            raise InputError(f"the {side} takes {name} of any size ({told}); say which: --input {name}={told}.")
        if dtype.startswith(("int", "uint")):
            raise InputError(
                f"the {side} takes {name} of {dtype}, and how large its numbers may be is not known; say it: "
                f"--input {name}={told}:{dtype}:HIGH, where HIGH is the first number that does not occur."
            )
        tables[name] = {"shape": sizes} if dtype == "float32" else {"shape": sizes, "dtype": dtype}
    return tables
