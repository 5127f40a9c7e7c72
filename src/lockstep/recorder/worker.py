"""Records one subject in the environment it was made for; started by `bootstrap.py` with a request in a file.

The request is JSON: what to run, where the inputs lie, where the trace is to go. What went wrong is written beside
it, as JSON too; the exit status is 0, or 1 where something is written there.
"""

import contextlib
import functools
import gc
import importlib
import json
import os
import sys
import traceback
from typing import Any, Callable, Dict, Iterator, List, Optional

from ..ground.failures import ProcessEnded, RecordingError, UsersImportError, ending_nothing, said
from ..ground.folder import TraceReader
from .modules import Sources

PROGRESS = "\x1elockstep: "
"""What a line begins with that tells what the recorder is doing; all other lines are the user's or TensorFlow's."""
ANSWERED = ".answered"
"""What is added to a request's name for the file that tells that it has been carried out, well or not."""


ENTRIES = ("entry", "loss", "optimizer", "metrics")
"""What a request may name of the user's functions."""


class SubjectError(Exception):
    """The user's code failed; `__cause__` is what it raised."""


def main(request_file: str) -> int:
    """Carries out a request; returns the exit status."""
    with open(request_file, encoding="utf-8") as file:
        request = json.load(file)
    try:
        with ending_nothing():
            _record(request)
    except SubjectError as failure:
        cause = failure.__cause__
        told = {"kind": "subject", "doing": str(failure), "message": "%s: %s" % (type(cause).__name__, said(cause)),
                "traceback": _users_traceback(cause)}  # fmt: skip
    except (
        SystemExit,
        ProcessEnded,
    ) as ending:  # where no build or run was under way: a callback of a framework's, say
        message = "%s: %s" % (type(ending).__name__, said(ending))
        told = {"kind": "subject", "doing": "being recorded", "message": message,
                "traceback": _users_traceback(ending)}  # fmt: skip
    except RecordingError as error:
        told = {"kind": "recording", "message": str(error)}
    else:
        return 0
    _tell(request_file, told)
    return 1


def _tell(request_file: str, failure: Dict[str, Any]) -> None:
    with open(request_file + ".failure", "w", encoding="utf-8") as file:
        json.dump(failure, file)


def serve() -> int:
    """Carries out one request after the other, until standard input ends; each line of it is a file's name as JSON.

    For graphs only: what importing a user's module leaves behind stays for the next request.
    """
    for number, line in enumerate(iter(sys.stdin.readline, "")):
        request_file = json.loads(line)
        try:
            main(request_file)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # TensorFlow's, say, about a graph that calls Python; the next may be better
            _tell(request_file, {"kind": "recording", "message": "%s: %s" % (type(error).__name__, said(error))})
        gc.collect()  # graphs are full of cycles
        if number == 0:
            gc.freeze()  # TensorFlow itself stays: looking through it takes longer than most graphs
        with open(request_file + ANSWERED, "w", encoding="utf-8"):
            pass
        say("answered")
    return 0


def say(text: str) -> None:
    """Tells the parent process what is being done."""
    sys.stdout.write("%s%s\n" % (PROGRESS, text))
    sys.stdout.flush()


def _record(request: Dict[str, Any]) -> None:
    say("importing TensorFlow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        importlib.import_module("tensorflow")
    except Exception as error:
        raise RecordingError("TensorFlow cannot be imported in this environment: %s" % error)
    from . import recording, streaming

    if "graph" in request:
        recording.rerun(request, say)
        return
    _enable_legacy_code()
    inputs = TraceReader(request["inputs"], recording.numpy_dtype)
    arrays = {name: inputs.tensor(entry) for name, entry in inputs.body["inputs"].items()}
    say("importing %s" % request["entry"])
    original = request.get("original") or {}
    if original.get("kind") == "estimator":
        from . import estimator_stand_in

        estimator_stand_in.install()
    file = original["path"] if original.get("kind") == "keras_file" else None
    entries = {key: request[key] for key in ENTRIES if request.get(key)}
    code = UsersCode(request["folder"], entries, request.get("script"), file)
    if "courses" in request:
        streaming.answer(code, arrays, request, say)
        return
    recording.record(code, arrays, request, say)


def _enable_legacy_code() -> None:
    """Puts the names back that Keras 3 took from TF1 code, where Lockstep is installed beside such a TensorFlow."""
    import tensorflow as tf

    if [int(part) for part in tf.__version__.split(".")[:2]] < [2, 16]:
        return
    try:
        importlib.import_module("lockstep.tf1").enable()
    except ImportError:
        return  # code that needs none of these names runs all the same; the rest says what it misses


class UsersCode:
    """The functions that a request names, from its folder.

    Args:
        folder: The folder, which comes first on the import path.
        entries: `"entry"`, `"loss"`, `"optimizer"` -> `module.py:function`.
        script: How the entry is run where it is a whole file: `"import"` or `"main"`; None where it is a function.
        model: The file of Keras that the entry is in place of code; None where it is code.
    """

    def __init__(
        self, folder: str, entries: Dict[str, str], script: Optional[str] = None, model: Optional[str] = None
    ) -> None:
        self._sources = Sources(os.path.abspath(folder))
        self._entries, self._script, self._model = entries, script, model
        for key in entries:
            if key != "entry" or script is None:
                self._function(key)

    @contextlib.contextmanager
    def fresh(self) -> Iterator[Dict[str, Callable[..., Any]]]:
        """Gives the functions for another build, from modules that are as new, which are in place meanwhile."""
        modules = self._sources.fresh() if self._script is None else self._sources.anew()
        with modules.active():
            yield {key: self._function(key) for key in self._entries}

    @property
    def note(self) -> str:
        """Why the modules are those of an earlier build; empty where they are not."""
        return self._sources.note

    def files(self) -> Dict[str, str]:
        """Returns the files below the folder that have been imported: relative path -> SHA-256, as they were then.

        Raises:
            RecordingError: One is no longer what was imported; whatever was recorded is of neither.
        """
        modules = self._sources.current()
        changed = modules.changed_files()
        if changed:
            names = ", ".join(os.path.relpath(path, self._sources.folder) for path in changed)
            raise RecordingError("%s changed while it was being recorded; record it again." % names)
        return modules.files()

    def _function(self, key: str) -> Callable[..., Any]:
        path, _, name = self._entries[key].rpartition(":")
        if key == "entry" and self._model is not None:
            from . import keras2_file

            return functools.partial(keras2_file.load, self._model)
        if key == "entry" and self._script is not None:
            modules, whole = self._sources.current(), os.path.join(self._sources.folder, self._entries[key])
            return functools.partial(modules.run if self._script == "main" else modules.module, os.path.abspath(whole))
        file = os.path.abspath(os.path.join(self._sources.folder, path))
        if not os.path.isfile(file):
            raise RecordingError("there is no file %s." % file)
        try:
            module = self._sources.module(file)
        except UsersImportError as failure:
            raise SubjectError("importing %s" % path) from failure.__cause__
        function: Any = getattr(module, name, None)
        if not callable(function):
            raise RecordingError("%s has no function %s." % (path, name))
        return function  # type: ignore[no-any-return]


def _users_traceback(error: Any) -> str:
    """Formats an exception without the recorder's own frames."""
    here = os.path.dirname(os.path.abspath(__file__))
    ground = os.path.join(os.path.dirname(here), "ground")
    lines: List[str] = []
    frames = traceback.extract_tb(error.__traceback__)
    kept = [frame for frame in frames if not frame.filename.startswith((here, ground, "<frozen importlib"))]
    if kept:
        lines.append("Traceback (most recent call last):\n")
        lines.extend(traceback.format_list(kept))
    lines.extend(traceback.format_exception_only(type(error), error))
    return "".join(lines).rstrip()
