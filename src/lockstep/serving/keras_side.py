"""A Keras side in an environment of its own, from within: builds and runs it as it is asked on standard input.

Each line names the file of a request, as JSON. Its answer is written beside it, whole or not at all: what was asked
for, or what went wrong. Tensors go through trace folders.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.common.arrays import Arrays, numpy_dtype
from lockstep.common.errors import LockstepError, ProgramError, SubjectError, refused
from lockstep.common.tracebacks import users_traceback
from lockstep.config.entries import subject_from_table
from lockstep.elsewhere import live_recording
from lockstep.elsewhere.isolated_keras import ANSWER
from lockstep.ground.folder import TraceReader, TraceWriter
from lockstep.ground.records import ONLY_INPUT, ForwardDraw
from lockstep.recorder.worker import PROGRESS
from lockstep.subjects import Ask, Execution, Instance, Mode, Setting, Subject


def serve() -> None:
    """Answers until standard input ends."""
    served = _Served()
    for line in iter(sys.stdin.readline, ""):
        request = Path(json.loads(line))
        answer = _answer(served, json.loads(request.read_text(encoding="utf-8")))
        partial = request.with_name(request.name + ".partial")
        partial.write_text(json.dumps(answer), encoding="utf-8")
        partial.replace(request.with_name(request.name + ANSWER))
        _say("answered")  # whoever waits looks for the answer at each line


def _answer(served: _Served, asked: Mapping[str, Any]) -> dict[str, Any]:
    todo: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
        "import": served.imports,
        "build": served.builds,
        "run": served.runs,
        "program": served.follows,
        "close": served.closes,
    }
    try:
        return {"done": todo[asked["do"]](asked)}
    except SubjectError as error:
        cause = error.__cause__
        shown = users_traceback(cause) if cause is not None else error.traceback_text
        return {"subject": str(error), "doing": error.doing, "traceback": shown}
    except ProgramError as error:
        return {"unfollowed": str(error), "operation": error.operation}
    except LockstepError as error:
        return {"refused": str(error)}


class _Served:
    """The subject and what has been built of it."""

    def __init__(self) -> None:
        self._subject: Subject | None = None
        self._built: dict[int, tuple[Mode, Instance, bool]] = {}

    def imports(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        _say("importing TensorFlow and Keras")
        table = {"runtime": "keras", "entry": asked["entry"]}
        self._subject = subject_from_table(table, Path(asked["folder"]), asked["side"])
        from lockstep.frameworks.tensorflow import grappler

        return {"environment": dict(self._subject.environment()), "passes": grappler.passes()}

    def builds(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        assert self._subject is not None
        single = bool(asked["single_input"])
        mode = Mode(**asked["mode"])
        instance = self._subject.build(mode, _inputs(asked["inputs"], single=single))
        self._built[asked["number"]] = mode, instance, single
        return {}

    def runs(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        mode, instance, single = self._built[asked["number"]]
        inputs = None if asked["inputs"] is None else _inputs(asked["inputs"], single=single)
        setting = Setting(asked["kind"], _read(asked["values"], "values"), asked["names"], inputs)
        how = Execution(asked["compiler"], tuple(asked["off"]))
        assert instance.stirred is not None  # a Keras model, which alone is built here
        instance.stirred.stir(asked["stir"])
        draws = None if asked["draws"] is None else tuple(map(ForwardDraw.of, asked["draws"]))
        trace = instance.run(setting, Ask(repeats=asked["repeats"], draws=draws, execution=how))

        def write() -> None:
            with TraceWriter(asked["target"]) as writer:
                build = live_recording.described(writer, mode, trace.variables, [(setting, trace)])
                writer.finish({"builds": [build]})

        refused(write)
        return {}

    def follows(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        _, instance, single = self._built[asked["number"]]
        from lockstep.frameworks.tensorflow import carrying

        inputs = None if asked["inputs"] is None else _inputs(asked["inputs"], single=single)
        draws = None if asked["draws"] is None else tuple(map(ForwardDraw.of, asked["draws"]))
        assert instance.followed is not None  # a Keras model of this process
        program, arrays = carrying.packed(
            instance.followed.program(_read(asked["values"], "values"), draws, inputs=inputs)
        )

        def write() -> None:
            with TraceWriter(asked["target"]) as writer:
                writer.finish({"program": program, "arrays": writer.add(arrays)})

        refused(write)
        return {}

    def closes(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        _, instance, _ = self._built.pop(asked["number"])
        instance.close()
        return {}


def _inputs(folder: str, *, single: bool) -> Arrays:
    given = _read(folder, "inputs")
    return given[ONLY_INPUT] if single else given


def _read(folder: str, group: str) -> dict[str, np.ndarray]:
    reader = refused(lambda: TraceReader(folder, numpy_dtype))
    return refused(lambda: {name: np.array(reader.tensor(entry)) for name, entry in reader.body[group].items()})


def _say(text: str) -> None:
    print(f"{PROGRESS}{text}", flush=True)
