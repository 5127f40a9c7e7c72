"""Which framework a file's name is written in, as far as its imports tell; the file is read, not run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

_PACKAGES = {
    "torch": "torch",
    "torchvision": "torch",
    "timm": "torch",
    "keras": "keras",
    "tf_keras": "keras",
    "tensorflow": "keras",
}
_MOST_FILES = 20


def framework_of(path: Path, name: str) -> str | None:
    """Returns `"torch"` or `"keras"`, by what a name at the top of a file leads to; None where nothing tells.

    What the name's code mentions is followed through the file, and into modules beside it.

    Args:
        path: The file.
        name: The name of a function or class in it.
    """
    seen: set[tuple[Path, str]] = set()
    waiting = [(path, name)]
    found: set[str] = set()
    while waiting and len({file for file, _ in seen}) <= _MOST_FILES:
        file, wanted = waiting.pop()
        if (file, wanted) in seen:
            continue
        seen.add((file, wanted))
        for node in _defining(file, wanted):
            if isinstance(node, ast.Import | ast.ImportFrom):
                told = _of_import(node, wanted)
                if told in _PACKAGES:
                    found.add(_PACKAGES[told])
                elif isinstance(node, ast.ImportFrom) and (beside := _beside(file, node)) is not None:
                    waiting.append((beside, wanted))
                continue
            waiting += [(file, used.id) for used in ast.walk(node) if isinstance(used, ast.Name)]
            found |= {_PACKAGES[top] for top in _imported_inside(node) if top in _PACKAGES}
    return found.pop() if len(found) == 1 else None


def _defining(file: Path, name: str) -> Iterator[ast.stmt]:
    """Yields the statements at the top of a file that make a name."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            yield node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any((alias.asname or alias.name.partition(".")[0]) == name for alias in node.names):
                yield node
        elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            yield node


def _of_import(node: ast.Import | ast.ImportFrom, name: str) -> str:
    """Returns the package that an import takes a name from."""
    if isinstance(node, ast.ImportFrom):
        return "" if node.level else (node.module or "").partition(".")[0]
    return next(a.name.partition(".")[0] for a in node.names if (a.asname or a.name.partition(".")[0]) == name)


def _imported_inside(node: ast.stmt) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in inner.names)
        elif isinstance(inner, ast.ImportFrom) and not inner.level:
            yield (inner.module or "").partition(".")[0]


def _beside(file: Path, node: ast.ImportFrom) -> Path | None:
    """Returns the file of a module in the same folder, or in the package that the import is relative to."""
    folder = file.parent
    for _ in range(node.level - 1):
        folder = folder.parent
    path = folder.joinpath(*(node.module or "").split("."))
    return next((found for found in (path.with_suffix(".py"), path / "__init__.py") if found.is_file()), None)
