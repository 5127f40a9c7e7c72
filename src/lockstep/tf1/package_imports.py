"""Lets named packages of TF1 code import `tensorflow` as it was, while everybody else imports it as it is.

Python's import statement calls the `__import__` that the importing module's own `__builtins__` hold. Modules of the
named packages are loaded with builtins of their own, whose `__import__` answers `tensorflow` with
`lockstep.tf1.tensorflow_1`. Their source stays as it is, and so does every other module's import.
"""

from __future__ import annotations

import builtins
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from lockstep.common.errors import LockstepError
from lockstep.tf1 import enabling, older_python

_MARK = "__imports_tensorflow_1__"
_lock = threading.Lock()


class AlreadyImportedError(LockstepError, ImportError):
    """A package was imported before `give_tensorflow_1_to` named it."""


def give_tensorflow_1_to(*packages: str) -> None:
    """Lets these packages and modules find TensorFlow 1's names when they say `import tensorflow as tf`.

    `tensorflow` is `tensorflow.compat.v1` for them, with what of `tf.contrib` is in tf_slim or TensorFlow today.
    `tf.disable_v2_behavior()` and its like do nothing there, as they would change the whole process. Everybody
    else's `import tensorflow` stays as it is. They also find names that Python and NumPy took away since
    (`collections.Iterable`, `np.float`). Calls `enable()`.

    Call it before the packages are imported, and name the modules of your own that say `import tensorflow` as well.

    Args:
        *packages: Names of packages or modules, as in an import statement.

    Raises:
        AlreadyImportedError: One of them has been imported before, and got today's TensorFlow.

    Example:
        >>> give_tensorflow_1_to("legacy_model", "bert")
    """
    enabling.enable()
    with _lock:
        for package in packages:
            for name, module in list(sys.modules.items()):
                if _within(name, package) and _MARK not in getattr(module, "__dict__", {}):
                    raise AlreadyImportedError(
                        f"{name} has been imported already, with today's TensorFlow. Call "
                        f"lockstep.tf1.give_tensorflow_1_to({package!r}) before anything imports {name}."
                    )
            _finder.add(package)
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


class _Finder:
    """Finds modules of the named packages as everybody else finds them, and has `_Loader` load them.

    Attributes:
        packages: name -> where packages or modules of that name were found when they were named; another file of the
            same name (another migration's `legacy_model`) keeps today's TensorFlow.
    """

    def __init__(self) -> None:
        self.packages: dict[str, set[str]] = {}

    def add(self, package: str) -> None:
        """Names a package; one that is found nowhere is meant wherever it turns up."""
        spec = self._others(package.partition(".")[0], None, None)
        self.packages.setdefault(package, set()).add("" if spec is None or spec.origin is None else _place(spec))

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        places = [place for package, places in self.packages.items() if _within(name, package) for place in places]
        spec = self._others(name, path, target) if places else None
        if spec is None or not spec.has_location or not str(spec.origin).startswith(tuple(places)):
            return None
        if hasattr(spec.loader, "get_source"):
            spec.loader = _Loader(spec.loader)
        return spec

    def _others(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> Any:
        found = (other.find_spec(name, path, target) for other in sys.meta_path if other is not self)
        return next((spec for spec in found if spec is not None), None)


def _place(spec: Any) -> str:
    """Returns what the files of a package, or the file of a module, begin with."""
    return f"{Path(spec.origin).parent}{os.sep}" if spec.submodule_search_locations else str(spec.origin)


class _Loader:
    """Has another loader load a source file, into a module whose import statements find TensorFlow 1."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import}
        vars(module)[_MARK] = True
        self._loader.exec_module(module)


def _import(
    name: str,
    globals: Any = None,  # noqa: A002 - the names that `__import__` has
    locals: Any = None,  # noqa: A002
    fromlist: Sequence[str] = (),
    level: int = 0,
) -> Any:
    if level == 0 and _within(name, "tensorflow"):
        from lockstep.tf1 import tensorflow_1

        return tensorflow_1.imported(name, leaf=bool(fromlist))
    found = builtins.__import__(name, globals, locals, fromlist, level)
    if level == 0 and found.__name__ in older_python.ADDED:
        from lockstep.tf1.tensorflow_1 import StandIn

        return StandIn(found.__name__, found, older_python.added(found))
    return found


_finder = _Finder()
