"""Records one subject in the environment it was made for; started by `bootstrap.py` with a request in a file.

The request is JSON: what to run, where the inputs lie, where the trace is to go. What went wrong is written beside
it, as JSON too; the exit status is 0, or 1 where something is written there.
"""

import gc
import hashlib
import importlib
import json
import os
import sys
import traceback
from typing import Any, Callable, Dict, List

from .failures import RecordingError
from .folder import TraceReader

PROGRESS = "\x1elockstep: "
"""What a line begins with that tells what the recorder is doing; all other lines are the user's or TensorFlow's."""
ANSWERED = ".answered"
"""What is added to a request's name for the file that tells that it has been carried out, well or not."""


class SubjectError(Exception):
    """The user's code failed; `__cause__` is what it raised."""


def main(request_file: str) -> int:
    """Carries out a request; returns the exit status."""
    with open(request_file, encoding="utf-8") as file:
        request = json.load(file)
    try:
        _record(request)
    except SubjectError as failure:
        cause = failure.__cause__
        told = {"kind": "subject", "doing": str(failure), "message": "%s: %s" % (type(cause).__name__, cause),
                "traceback": _users_traceback(cause)}  # fmt: skip
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
        except Exception as error:  # TensorFlow's, say, about a graph that calls Python; the next may be a better one
            _tell(request_file, {"kind": "recording", "message": "%s: %s" % (type(error).__name__, error)})
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
    from . import recording

    if "graph" in request:
        recording.rerun(request, say)
        return
    _enable_legacy_code()
    inputs = TraceReader(request["inputs"], recording.numpy_dtype)
    arrays = {name: inputs.tensor(entry) for name, entry in inputs.body["inputs"].items()}
    say("importing %s" % request["entry"])
    functions = {
        key: imported(request["folder"], request[key]) for key in ("entry", "loss", "optimizer") if request.get(key)
    }
    recording.record(functions, arrays, request, say, lambda: files_below(request["folder"]))


def _enable_legacy_code() -> None:
    """Puts the names back that Keras 3 took from TF1 code, where Lockstep is installed beside such a TensorFlow."""
    import tensorflow as tf

    if [int(part) for part in tf.__version__.split(".")[:2]] < [2, 16]:
        return
    try:
        importlib.import_module("lockstep.tf1").enable()
    except ImportError:
        return  # code that needs none of these names runs all the same; the rest says what it misses


def imported(folder: str, entry: str) -> Callable[..., Any]:
    """Imports `module.py:function`, with its folder first on the import path."""
    path, _, name = entry.rpartition(":")
    file = os.path.abspath(os.path.join(folder, path))
    sys.path.insert(0, os.path.abspath(folder))
    if os.path.dirname(file) != os.path.abspath(folder):
        sys.path.insert(1, os.path.dirname(file))
    if not os.path.isfile(file):
        raise RecordingError("there is no file %s." % file)
    try:
        module = importlib.import_module(os.path.splitext(os.path.basename(file))[0])
    except Exception as error:
        raise SubjectError("importing %s" % path) from error
    if not os.path.samefile(getattr(module, "__file__", None) or os.devnull, file):
        raise RecordingError(
            "importing %s gave another module (%s); a module of that name comes first. Rename the file."
            % (path, getattr(module, "__file__", "built in"))
        )
    function: Any = getattr(module, name, None)
    if not callable(function):
        raise RecordingError("%s has no function %s." % (path, name))
    found: Callable[..., Any] = function
    return found


def files_below(folder: str) -> Dict[str, str]:
    """Returns the files below a folder that modules have been imported from: relative path -> SHA-256."""
    root = os.path.join(os.path.abspath(folder), "")
    found = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__dict__", {}).get("__file__")
        path = os.path.abspath(file) if isinstance(file, str) else ""
        if path.startswith(root) and "site-packages" not in path and os.path.isfile(path):
            with open(path, "rb") as source:
                found[path[len(root) :].replace(os.sep, "/")] = hashlib.sha256(source.read()).hexdigest()
    return dict(sorted(found.items()))


def _users_traceback(error: Any) -> str:
    """Formats an exception without the recorder's own frames."""
    here = os.path.dirname(os.path.abspath(__file__))
    lines: List[str] = []
    frames = traceback.extract_tb(error.__traceback__)
    kept = [frame for frame in frames if not frame.filename.startswith((here, "<frozen importlib"))]
    if kept:
        lines.append("Traceback (most recent call last):\n")
        lines.extend(traceback.format_list(kept))
    lines.extend(traceback.format_exception_only(type(error), error))
    return "".join(lines).rstrip()
