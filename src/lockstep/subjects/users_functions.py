"""The user's functions: those that Lockstep imports from a configuration's folder, and those that it is handed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockstep.common.errors import InputError
from lockstep.ground.failures import RecordingError
from lockstep.recorder.modules import Modules, Sources


@dataclass(frozen=True)
class Used:
    """A function for one build, with the modules that it came from.

    Attributes:
        function: The function itself.
        modules: Its modules; None of a function that Lockstep was handed, whose modules are the process's own.
        note: Why it is not as fresh as it should be; empty where it is, or where nobody can tell.
    """

    function: Callable[..., Any]
    modules: Modules | None = None
    note: str = ""

    def active(self) -> AbstractContextManager[None]:
        """Puts its modules in place while something of it runs."""
        return contextlib.nullcontext() if self.modules is None else self.modules.active()


NOTHING = Used(lambda: None)


class ImportedFunction:
    """A function of a file in a configuration's folder; called, it runs with the modules of the side's last build.

    Attributes:
        sources: Where it is imported from; the other functions of its side come from the same modules.
    """

    def __init__(self, sources: Sources, path: Path, name: str) -> None:
        self.sources, self._path, self._name = sources, path, name

    @property
    def folder(self) -> Path:
        """The configuration's folder."""
        return Path(self.sources.folder)

    @property
    def entry(self) -> str:
        """What names it in that folder: `model.py:build`."""
        return f"{self._path.relative_to(self.folder).as_posix()}:{self._name}"

    @property
    def in_use(self) -> Callable[..., Any]:
        """The function itself, of the side's last build."""
        return self._of(self.sources.current())

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Calls it."""
        modules = self.sources.current()
        if modules.is_active():
            return self._of(modules)(*arguments, **options)
        with modules.active():
            return self._of(modules)(*arguments, **options)

    def fresh(self) -> Used:
        """Returns the function for another build.

        Raises:
            InputError: A file is no longer what was imported.
        """
        try:
            modules = self.sources.fresh()
        except RecordingError as error:
            raise InputError(str(error)) from error
        return Used(self._of(modules), modules, self.sources.note)

    def _of(self, modules: Modules) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(modules.module(str(self._path)), self._name)
        return found


class ImportedScript(ImportedFunction):
    """A whole file of the folder, which builds a graph when it is imported, anew for each build.

    Args:
        sources: Where it is imported from.
        path: The file.
        main: Whether it is run as `__main__`.
    """

    def __init__(self, sources: Sources, path: Path, *, main: bool = False) -> None:
        super().__init__(sources, path, "")
        self._main = main

    @property
    def entry(self) -> str:
        """What names it in that folder: `train.py`."""
        return self._path.relative_to(self.folder).as_posix()

    def fresh(self) -> Used:
        """Returns what imports it into modules of which nothing is imported yet.

        Raises:
            InputError: A file is no longer what was imported.
        """
        try:
            modules = self.sources.anew()
        except RecordingError as error:
            raise InputError(str(error)) from error
        return Used(self._of(modules), modules)

    def _of(self, modules: Modules) -> Callable[..., Any]:
        return functools.partial(modules.run if self._main else modules.module, str(self._path))


def name_of(function: Callable[..., Any]) -> str:
    """Returns what reports call a function that nobody gave a name: its module and its own.

    >>> name_of(name_of)
    'lockstep.subjects.users_functions.name_of'
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{module}.{name}" if module else name


def sources_of(function: Callable[..., Any]) -> Sources | None:
    """Returns where a function is imported from, where Lockstep imports it."""
    return function.sources if isinstance(function, ImportedFunction) else None


def code_of(function: Callable[..., Any]) -> dict[str, str]:
    """Returns file -> SHA-256 of the code that a function comes from.

    All that was imported for it where Lockstep imports it; otherwise its own file as it is now, by its name. Nothing
    of a function that is in no file.
    """
    if isinstance(function, ImportedFunction):
        return function.sources.current().files()
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
        content = Path(file).read_bytes() if file else None
    except (TypeError, OSError):  # a callable object, or code that was typed
        return {}
    return {} if file is None or content is None else {Path(file).name: hashlib.sha256(content).hexdigest()}


def for_a_build(function: Callable[..., Any]) -> Used:
    """Returns what a build calls: a function of a configuration from fresh modules, any other one as it is."""
    return function.fresh() if isinstance(function, ImportedFunction) else Used(function)
