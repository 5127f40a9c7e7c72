"""What one side imports from its folder: modules of its own, in place while its code runs, and fresh for each build.

Two sides, and two checks in one process, may have modules of the same names; neither gets the other's, nor sees what
the other has done to them. A file is hashed as it is imported.
"""

import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import linecache
import os
import sys
import threading
import types
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

from ..ground.failures import RecordingError, UsersImportError, ending_nothing, said
from . import registries
from .generators import IMPORT_SEED, Generators
from .module_state import state_of

LOCK = threading.RLock()
"""Held while a side's modules are in place: there is one `sys.modules`, and one thread at a time may change it."""

_INSTALLED = ("site-packages", "dist-packages")
_active: List["Modules"] = []


class Modules:
    """One import of a side's modules.

    Between the blocks of `active` none of them is in `sys.modules`. What the process itself has imported from the
    folder is out of sight within them: it may be older than the file.

    Attributes:
        folder: Comes first on the import path.
        hashes: Path of a file -> SHA-256 of what was imported.
    """

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)
        self._roots = tuple({os.path.join(place, "") for place in (self.folder, os.path.realpath(self.folder))})
        self._foreign = tuple(place for place in _library_folders() if place.startswith(self._roots))
        self.hashes: Dict[str, str] = {}
        self._modules: Dict[str, Any] = {}
        self._path = [self.folder]
        self._main = types.ModuleType("__main__")
        self._argv = [""]
        self._registered: registries.Taken = []
        self._states: Dict[str, Optional[str]] = {}
        self._held: List[Any] = []
        self._strangers: Dict[str, Any] = {}
        self._used = False
        self._ran = ""
        importlib.invalidate_caches()  # a file may be younger than the listing of its folder

    def module(self, path: str) -> Any:
        """Imports a file, or finds it imported.

        It is called as the import statement would call it: by its stem, behind the packages that it is in. Where a
        library has that name, the library keeps it.

        Raises:
            UsersImportError: The file raised something.
        """
        used = self._used
        name = _module_name(path, self.folder)
        self._argv = [path]
        with self.active():
            self._also_on_path(path)
            with Generators(IMPORT_SEED).active(), ending_nothing():
                module = self._imported(name, path)
        self._used = used
        if not used:
            self._settle()
        return module

    def run(self, path: str) -> None:
        """Runs a file as `python file.py` does: it is `__main__`.

        Raises:
            UsersImportError: The file raised something.
        """
        self._argv = [path]
        self._ran = path
        with self.active():
            sys.argv[:1] = [self._ran]
            self._also_on_path(path)
            self._main.__file__ = path
            code = _Loader(self, "__main__", path).get_code("__main__")
            try:
                with Generators(IMPORT_SEED).active(), ending_nothing():
                    exec(code, vars(self._main))
            except (KeyboardInterrupt, RecordingError):
                raise
            except BaseException as error:
                raise UsersImportError("running %s" % os.path.relpath(path, self.folder)) from error

    def _imported(self, name: str, path: str) -> Any:
        known = sys.modules.get(name)
        if known is not None and not _is_from(known, path):
            name = "%s (%s)" % (name, os.path.relpath(path, self.folder).replace(os.sep, "/"))
            known = sys.modules.get(name)
        if known is not None:
            return known
        before = set(sys.modules)
        try:
            return self._import(name, path)
        except (KeyboardInterrupt, RecordingError):
            raise
        except BaseException as error:
            # What it imported goes too: half an import must not be what the next attempt finds.
            half = {new for new in set(sys.modules) - before if self._belongs(sys.modules[new])}
            registries.take_out(half.__contains__)
            for new in half:
                del sys.modules[new]
            raise UsersImportError("importing %s" % os.path.relpath(path, self.folder)) from error

    def _import(self, name: str, path: str) -> Any:
        package = name.partition(".")[0]
        in_package = package != name and "(" not in name
        if in_package and (package not in sys.modules or self._belongs(sys.modules[package])):
            found = importlib.import_module(name)
            if _is_from(found, path):
                return found
        specification = importlib.util.spec_from_file_location(name, path, loader=_Loader(self, name, path))
        assert specification is not None and specification.loader is not None  # noqa: PT018 - it has that loader
        module = sys.modules[name] = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Puts the modules in place, and takes them away again; other threads' sides wait meanwhile."""
        with LOCK:
            self._used = True
            if _active and _active[-1] is self:
                yield
                return
            _active.append(self)
            hidden = self._enter()
            try:
                yield
            finally:
                self._leave(*hidden)
                _active.pop()

    def _enter(self) -> Tuple[Any, ...]:
        offered = self._offered()
        hidden = {
            name: module
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] in offered and self._is_no_library(module)
        }
        for other in _active:
            hidden.update(other._present())
        for name in hidden:
            del sys.modules[name]
        others = registries.take_out(lambda module: module in hidden)
        outside = list(sys.path), list(sys.argv), sys.modules.get("__main__")
        sys.modules.update(self._modules)
        # `tf.app.run()` calls the `main` of `__main__`; ours is not the user's, nor are our arguments.
        sys.modules["__main__"] = self._main
        sys.path[:] = self._path + [place for place in outside[0] if place not in self._path]
        sys.argv[:] = self._argv
        finder = _Finder(self)
        sys.meta_path.insert(_place_of_finder(), finder)
        registries.put_back(self._registered)
        return hidden, others, outside, finder

    def _leave(self, hidden: Dict[str, Any], others: Any, outside: Tuple[Any, ...], finder: Any) -> None:
        path, argv, main = outside
        sys.meta_path.remove(finder)
        self._modules = self._present()
        for name, module in self._modules.items():
            self._hash(module)
            del sys.modules[name]
        self._registered = registries.take_out(self._is_ours)
        self._path = [place for place in sys.path if place not in path or place in self._path]
        sys.path[:], sys.argv[:] = path, argv
        sys.modules.pop("__main__", None)
        if main is not None:
            sys.modules["__main__"] = main
        sys.modules.update(hidden)
        registries.put_back(others)

    def is_active(self) -> bool:
        """Tells whether the modules are in place now."""
        return bool(_active) and _active[-1] is self

    def changed(self) -> bool:
        """Tells whether the modules hold other values than when they had been imported, as far as can be seen."""
        return any(
            state is None or state_of(self._modules[name], self._is_ours, []) != state
            for name, state in self._states.items()
            if name in self._modules
        )

    def changed_files(self) -> List[str]:
        """Lists the files that are no longer what was imported."""
        return sorted(path for path, digest in self.hashes.items() if _sha256(path) != digest)

    def files(self) -> Dict[str, str]:
        """Returns the files that have been imported: path relative to the folder -> SHA-256."""
        found = {}
        for path, digest in self.hashes.items():
            root = next(root for root in self._roots if path.startswith(root))
            found[path[len(root) :].replace(os.sep, "/")] = digest
        return dict(sorted(found.items()))

    def loaded(self, module: Any, path: str, content: bytes) -> None:
        """Notes that a file is about to become a module."""
        del module
        digest = hashlib.sha256(content).hexdigest()
        if self.hashes.setdefault(path, digest) != digest:
            raise RecordingError("%s has changed since it was imported for the first time; run it again." % path)
        linecache.checkcache(path)

    def note_state(self, module: Any) -> None:
        """Notes what a module holds that has just been imported."""
        self._states[module.__name__] = state_of(module, self._is_ours, self._held)

    def _settle(self) -> None:
        """Takes what the modules hold now for what they hold when they have been imported."""
        for name, module in self._modules.items():
            self._states[name] = state_of(module, self._is_ours, self._held)

    def _is_ours(self, name: str) -> bool:
        if name and name == self._ran:  # what absl calls the module of flags that `__main__` defines
            return True
        return name in self._modules or (self.is_active() and self._belongs(sys.modules.get(name)))

    def _hash(self, module: Any) -> None:
        """Hashes the file of a module that another loader has loaded: a library in C, say."""
        path = _file(module)
        if path and path not in self.hashes and self.owns(path):
            self.hashes[path] = _sha256(path)

    def _present(self) -> Dict[str, Any]:
        """Returns those of the modules that are in `sys.modules` now."""
        found = {}
        for name, module in list(sys.modules.items()):
            if self._strangers.get(name) is module:
                continue  # asked before: TensorFlow alone has thousands, and each call of the user's code asks
            if self._belongs(module):
                found[name] = module
            elif _file(module):
                self._strangers[name] = module
        return found

    def _belongs(self, module: Any) -> bool:
        if getattr(module, "__name__", "") == "__main__":
            return False
        path = _file(module)
        if path:
            return self.owns(path)
        places = getattr(module, "__dict__", {}).get("__path__", ())  # a folder without __init__.py
        return any(self.owns(os.path.join(place, "")) for place in places if isinstance(place, str))

    def owns(self, path: str) -> bool:
        """Tells whether a file is the user's: below the folder, and neither installed there nor Lockstep itself."""
        if not path.startswith(self._roots) or path.startswith(self._foreign):
            return False
        root = next(root for root in self._roots if path.startswith(root))
        return not any(part in _INSTALLED for part in path[len(root) :].split(os.sep))

    def _offered(self) -> Set[str]:
        """Returns the names that the code's own folders give modules."""
        names: Set[str] = set()
        for place in self._path:
            with contextlib.suppress(OSError):
                names.update(entry.partition(".")[0] for entry in os.listdir(place) if "." not in entry[:-3])
        return names

    def _is_no_library(self, module: Any) -> bool:
        """Tells whether a module is a stranger's script, say another check's: a library keeps its name."""
        path = _file(module)
        if not path or getattr(module, "__name__", "") == "__main__" or path.startswith(_library_folders()):
            return False
        return not any(part in _INSTALLED for part in path.split(os.sep))

    def _also_on_path(self, path: str) -> None:
        """Lets a file in a folder of its own import what lies beside it, as if it were run."""
        beside = os.path.dirname(path)
        if beside != self.folder and beside not in sys.path:
            sys.path.insert(1, beside)


class Sources:
    """Where the code of a side comes from, through all its builds.

    Attributes:
        folder: The folder.
        note: Why the modules are those of an earlier build; empty where they are not.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.note = ""
        self._modules = Modules(folder)
        self._files: List[str] = []

    def current(self) -> Modules:
        """Returns the modules of the last build."""
        return self._modules

    def module(self, path: str) -> Any:
        """Imports a file into the modules of the last build; see `Modules.module`."""
        found = self._modules.module(path)
        if path not in self._files:
            self._files.append(path)
        return found

    def fresh(self) -> Modules:
        """Returns modules for another build, as they are when they have just been imported.

        Those of the last build are such where nothing in them has changed: data that an import loads are loaded once.

        Raises:
            RecordingError: A file is no longer what was imported.
        """
        with LOCK:
            changed = self._modules.changed_files()
            if changed:
                raise RecordingError("%s has changed since it was imported; run it again." % ", ".join(changed))
            if self._modules.changed():
                self._import_anew()
            return self._modules

    def anew(self) -> Modules:
        """Returns modules of which nothing is imported yet: for a script, whose import is what builds its graph.

        Raises:
            RecordingError: A file is no longer what was imported.
        """
        with LOCK:
            changed = self._modules.changed_files()
            if changed:
                raise RecordingError("%s has changed since it was imported; run it again." % ", ".join(changed))
            again = Modules(self.folder)
            again.hashes.update(self._modules.hashes)
            self._modules = again
            return again

    def _import_anew(self) -> None:
        again = Modules(self.folder)
        again.hashes.update(self._modules.hashes)  # the same files, or none
        try:
            for path in self._files:
                again.module(path)
        except UsersImportError as failure:
            cause = failure.__cause__
            self.note = (
                "its modules cannot be imported a second time (%s: %s), so that what they remember stays from build to "
                "build" % (type(cause).__name__, said(cause))
            )
        else:
            self._modules = again


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs the source as it is, past Python's cache of compiled files, which goes by time and size; and hashes it."""

    def __init__(self, modules: Modules, name: str, path: str) -> None:
        super().__init__(name, path)
        self._modules = modules

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        content = self.get_data(path)
        self._modules.loaded(fullname, path, content)
        return self.source_to_code(content, path)

    def exec_module(self, module: Any) -> None:
        super().exec_module(module)
        self._modules.note_state(module)


class _Finder:
    """Finds what Python would find on its path, and has the user's files loaded by `_Loader`."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Finds a module, as `sys.meta_path` asks."""
        found = importlib.machinery.PathFinder.find_spec(name, path, target)
        if found is None or type(found.loader) is not importlib.machinery.SourceFileLoader:
            return None
        if not found.origin or not self._modules.owns(os.path.abspath(found.origin)):
            return None
        found.loader = _Loader(self._modules, found.loader.name, found.loader.path)
        return found


def _place_of_finder() -> int:
    # Before the one that looks through the path, behind those of built-in modules and of tools that come first.
    for place, finder in enumerate(sys.meta_path):
        if finder is importlib.machinery.PathFinder:
            return place
    return len(sys.meta_path)


def _module_name(path: str, folder: str) -> str:
    names = [os.path.splitext(os.path.basename(path))[0]]
    place = os.path.dirname(path)
    while place != folder and os.path.isfile(os.path.join(place, "__init__.py")):
        names.insert(0, os.path.basename(place))
        place = os.path.dirname(place)
    return ".".join(names) if place == folder else names[-1]


def _is_from(module: Any, path: str) -> bool:
    file = _file(module)
    return bool(file) and os.path.exists(file) and os.path.samefile(file, path)


def _file(module: Any) -> str:
    # Some modules make attributes up (six.moves) or fail when asked: only a plain entry counts.
    file = getattr(module, "__dict__", {}).get("__file__")
    return os.path.abspath(file) if isinstance(file, str) else ""


def _sha256(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""


def _library_folders() -> Tuple[str, ...]:
    lockstep = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return tuple(os.path.join(place, "") for place in (os.path.dirname(os.path.abspath(os.__file__)), lockstep))
