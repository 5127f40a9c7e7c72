"""Finds the user's function that an entry such as `legacy_model.py:forward` names, and wraps it as a subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lockstep.common.errors import InputError, SubjectError
from lockstep.common.hints import hint
from lockstep.common.values import quoted, said, shown
from lockstep.config import files, originals
from lockstep.config.isolation import KEYS, Isolation, read_isolation
from lockstep.config.tables import Table, guess, leaves, refuse_no_file
from lockstep.files.originals import OriginalFile, keras_files, refuse_missing
from lockstep.frameworks import runtimes
from lockstep.ground.failures import RecordingError, UsersImportError
from lockstep.recorder.modules import Sources
from lockstep.subjects import Described, Subject
from lockstep.subjects.users_functions import ImportedFunction, ImportedScript

TRAINING = ("loss", "optimizer", "metrics")
"""The keys of a side's table that name functions of its training and evaluation."""
EXAMPLES = {
    "entry": "forward",
    "loss": "loss",
    "optimizer": "optimizer",
    "train_step": "train_step",
    "metrics": "metrics",
    "reference": "metrics",
    "candidate": "metrics",
}


def check_entry(table: Table, folder: Path) -> dict[str, Any]:
    """Checks the table of one side; the file itself is not looked at yet.

    Returns:
        `runtime` and `entry`, or what names a file (`config.files`); `loss` and `optimizer` where they are given, and
        what only its runtime has.
    """
    only = originals.ALL_KEYS
    table.refuse_unknown(("runtime", "entry", *TRAINING, *only, *KEYS, *files.ALL_KEYS))
    if files.kind_in(table.values) is not None:
        return files.check_file(table, folder)
    for key in files.ALL_KEYS:
        if key in table.values and key not in only:
            raise InputError(f"{table.place} has {key}, which goes with a file, as in saved_model, and not with entry.")
    runtime = table.choice("runtime", runtimes.RUNTIMES, None)
    if table.text("entry") is None:
        raise InputError(
            f'{table.place} has no entry; it names a file and a function, as in "model.py:forward". A model without '
            "code is named by saved_model, frozen_graph, meta_graph or keras_file."
        )
    more = originals.check_keys(table, runtime)
    named = {"entry": check_function(table, "entry", folder, whole=runtime == "script")}
    loss = table.text("loss")
    if loss is not None and originals.names_tensor(runtime, loss):
        named["loss"] = loss
    named.update({key: check_function(table, key, folder) for key in TRAINING if key not in named})
    if table.text("train_step") not in (None, *originals.LOOPS):
        check_function(table, "train_step", folder)
    return {"runtime": runtime, **{key: entry for key, entry in named.items() if entry is not None}, **more}


def check_function(table: Table, key: str, folder: Path, *, whole: bool = False) -> str | None:
    """Checks what a key names: `file.py:function`, with the file in the configuration's folder.

    Args:
        table: The table.
        key: The key.
        folder: The configuration's folder.
        whole: Whether a file without a function will do.

    Returns:
        The text; None where the key is missing. The file itself is not looked at yet.
    """
    entry = table.text(key)
    if entry is None:
        return None
    file, colon, function = entry.rpartition(":")
    if whole and not colon:
        file, colon, function = entry, ":", EXAMPLES[key]
    if not colon or not file.endswith(".py") or not function.isidentifier():
        raise InputError(f'{table.place}: {key} is {quoted(entry)}; it must look like "model.py:{EXAMPLES[key]}".')
    if Path(file).is_absolute() or leaves(file, folder):
        raise InputError(
            f"{table.place}: {key} {quoted(entry)} leads out of the folder of the configuration; put lockstep.toml "
            "into a folder that holds both sides."
        )
    return entry


def entry_file(table: Mapping[str, Any], folder: Path, side: str, key: str = "entry") -> Path:
    """Returns the path of the file that a checked table's entry, loss or optimizer names, or of a model that is a file.

    Raises:
        InputError: There is no such file; the nearest name in its folder is told.
    """
    kind = files.kind_in(table)
    if key == "entry" and kind is not None:
        refuse_missing(f"[{side}]", kind, folder / table[kind])
        return Path(folder / table[kind])
    file, colon, function = table[key].rpartition(":")
    path: Path = folder / (file if colon else function)
    refuse_no_file(f"[{side}]", path)
    return path


def subject_from_table(  # noqa: PLR0913 - all that a configuration says of a side
    table: Mapping[str, Any],
    folder: Path,
    side: str,
    *,
    isolation: Isolation | None = None,
    say: Callable[[str], None] | None = None,
    fresh: bool = False,
    inputs_as: Mapping[str, str] | None = None,
) -> Subject:
    """Makes the subject that a table describes.

    The folder comes first on the import path. What is imported from it is this subject's own: neither the other side,
    nor another check, nor the process itself meets these modules or changes them, whatever they are called.

    Args:
        table: `runtime` and `entry`, as in the configuration.
        folder: What the entry's path is relative to.
        side: `"reference"` or `"candidate"`.
        isolation: How the side is run; by default as its table says.
        say: Told what is being done where the side runs in an environment of its own.
        fresh: Whether such a side is run again though its trace has been kept.
        inputs_as: Input -> how a Keras model is given it, where that is not to be found out.

    Raises:
        InputError: The table is wrong, or the file or the function does not exist.
        SubjectError: The file failed while it was imported; the cause is the original exception.
    """
    place = f"[{side}]"
    folder = folder.absolute()
    checked = check_entry(Table(place, table), folder)
    isolation = isolation or read_isolation(Table(place, table), folder)
    if files.kind_in(checked) is not None:
        return _of_a_file(checked, folder, side, isolation, say=say, fresh=fresh)
    for key in functions_in(checked):
        if key != "entry":
            entry_file(checked, folder, side, key)
    if isolation.environment is not None:
        _refuse_what_runs_here_alone(checked, place, inputs_as)
        entry_file(checked, folder, side)
        return _isolated(checked, folder, side, isolation, say=say, fresh=fresh)
    return _in_this_process(checked, folder, side, inputs_as or {})


def _of_a_file(
    checked: Mapping[str, Any],
    folder: Path,
    side: str,
    isolation: Isolation,
    *,
    say: Callable[[str], None] | None,
    fresh: bool,
) -> Subject:
    entry_file(checked, folder, side)
    original = files.original_from(checked, folder)
    if isolation.environment is None:
        return runtimes.original(original)
    if side == "candidate":
        raise InputError(
            f"[{side}]: a file in an environment of its own runs from its own values alone, so it is the reference; "
            "exchange the sides, or take python, requirements and interpreter out."
        )
    return _isolated_file(original, checked, folder, isolation, say=say, fresh=fresh)


def _refuse_what_runs_here_alone(checked: Mapping[str, Any], place: str, inputs_as: Mapping[str, str] | None) -> None:
    of_keras = checked["runtime"] == "keras"
    if of_keras and (beside := [key for key in ("train_step", "labels") if key in checked]):
        raise InputError(
            f"{place}: a training loop of its own ({beside[0]}) runs in this process; take python, requirements "
            f"and interpreter out of the table, or {beside[0]}."
        )
    if checked["runtime"] == "torch":
        raise InputError(
            f"{place}: a PyTorch module runs in this process; take python, requirements and interpreter out of the "
            "table."
        )
    if of_keras and inputs_as:
        raise InputError(
            f"{place}: how inputs are given (as) is said for models that run in this process; take as out of the "
            "inputs, or python, requirements and interpreter out of the table."
        )


def _in_this_process(checked: Mapping[str, Any], folder: Path, side: str, inputs_as: Mapping[str, str]) -> Subject:
    sources = Sources(str(folder))
    runtimes.prepare(checked["runtime"])
    function = _script_or_function(checked, folder, side, sources)

    def apart(variables: Mapping[str, str]) -> Subject:
        from lockstep.elsewhere.isolated_keras import in_another_process

        return in_another_process(function, variables)

    original = originals.of_table(checked, folder)
    step: str | ImportedFunction | None = checked.get("train_step")
    if "train_step" in functions_in(checked):
        step = _function(checked, folder, side, "train_step", sources)
    labels = tuple(checked.get("labels", ())) if checked["runtime"] == "keras" else ()
    return runtimes.subject(
        Described(checked["runtime"], function, checked["entry"], apart, inputs_as, original, step, labels)
    )


def functions_in(table: Mapping[str, Any]) -> list[str]:
    """Returns the keys of a checked table that name files with functions: a loss may be a tensor's name instead."""
    found = [key for key in ("entry", *TRAINING) if key in table or (key == "entry" and files.kind_in(table))]
    if "loss" in found and originals.names_tensor(table["runtime"], table["loss"]):
        found.remove("loss")
    return [*found, *(["train_step"] if table.get("train_step", "fit") not in originals.LOOPS else [])]


def named_by(table: Mapping[str, Any]) -> str:
    """Returns what a checked table names as its model: an entry, or a file."""
    return str(table[files.kind_in(table) or "entry"])


def training_function(
    table: Mapping[str, Any], folder: Path, side: str, key: str, *, isolated: bool, subject: Subject | None = None
) -> Callable[..., Any] | None:
    """Returns the `loss` or `optimizer` of a side that runs in this process.

    Args:
        table: A side's checked table.
        folder: What its paths are relative to.
        side: `"reference"` or `"candidate"`.
        key: `"loss"` or `"optimizer"`.
        isolated: Whether the side runs in an environment of its own, whose recorder imports the function itself.
        subject: The subject of that side, whose modules the function shares.

    Returns:
        The function; None where the table names none, or the side is isolated.

    Raises:
        InputError: The file or the function does not exist.
        SubjectError: The file failed while it was imported.
    """
    if key not in functions_in(table) or isolated:
        return None
    sources = (subject and subject.sources) or Sources(str(folder.absolute()))
    return _function(table, folder.absolute(), side, key, sources)


def _script_or_function(checked: Mapping[str, Any], folder: Path, side: str, sources: Sources) -> ImportedFunction:
    if originals.is_whole_script(checked):
        path = entry_file(checked, folder, side)
        return ImportedScript(sources, path, main=bool(checked.get("as_main")))
    return _function(checked, folder, side, "entry", sources)


def _function(table: Mapping[str, Any], folder: Path, side: str, key: str, sources: Sources) -> ImportedFunction:
    place = f"[{side}]"
    file, _, name = table[key].rpartition(":")
    path = entry_file(table, folder, side, key)
    module = _module(path, folder, side, sources)
    if not hasattr(module, name):
        functions = [known for known, value in vars(module).items() if callable(value) and not known.startswith("__")]
        raise InputError(f"{place}: {file} has no function {shown(name)}{guess(name, functions)}")
    function = getattr(module, name)
    if not callable(function):
        raise InputError(f"{place}: {name!r} in {file} is a {type(function).__name__}; it must be a function.")
    return ImportedFunction(sources, path, name)


def _isolated(
    checked: Mapping[str, Any],
    folder: Path,
    side: str,
    isolation: Isolation,
    *,
    say: Callable[[str], None] | None,
    fresh: bool,
) -> Subject:
    from lockstep.elsewhere.isolated import TIMEOUT_S, IsolatedSubject

    assert isolation.environment is not None
    if checked["runtime"] == "keras":
        from lockstep.elsewhere.isolated_keras import IsolatedKeras

        return IsolatedKeras(
            folder,
            checked["entry"],
            isolation.environment,
            side=side,
            timeout_s=isolation.timeout_s or TIMEOUT_S,
            say=say or (lambda _: None),
        )
    return IsolatedSubject(
        folder,
        checked["entry"],
        isolation.environment,
        timeout_s=isolation.timeout_s or TIMEOUT_S,
        environment_variables=isolation.environment_variables,
        data_files=isolation.files,
        loss=checked["loss"] if "loss" in functions_in(checked) else "",
        optimizer=checked.get("optimizer", ""),
        metrics=checked.get("metrics", ""),
        runtime=checked["runtime"],
        fresh=fresh,
        say=say or (lambda _: None),
        original=originals.of_table(checked, folder),
    )


def _isolated_file(
    original: OriginalFile,
    checked: Mapping[str, Any],
    folder: Path,
    isolation: Isolation,
    *,
    say: Callable[[str], None] | None,
    fresh: bool,
) -> Subject:
    from lockstep.elsewhere.isolated import TIMEOUT_S, IsolatedKerasFile

    assert isolation.environment is not None
    if not keras_files.read(original).is_keras_2:
        raise InputError(
            f"{original.label} was written by Keras 3, which loads it in this process; take python, requirements and "
            "interpreter out of its table."
        )
    return IsolatedKerasFile(
        folder,
        original.label,
        isolation.environment,
        timeout_s=isolation.timeout_s or TIMEOUT_S,
        environment_variables=isolation.environment_variables,
        data_files=isolation.files,
        loss=checked.get("loss", ""),
        optimizer=checked.get("optimizer", ""),
        fresh=fresh,
        say=say or (lambda _: None),
        file=original.path,
    )


def _module(path: Path, folder: Path, side: str, sources: Sources) -> Any:
    try:
        return sources.module(str(path))
    except RecordingError as error:
        raise InputError(str(error)) from error
    except UsersImportError as failure:
        cause = failure.__cause__
        entry, kind = path.relative_to(folder).as_posix(), type(cause).__name__
        message = said(cause)
        first_line = (message.strip().splitlines() or ["(no message)"])[0]
        raise SubjectError(
            f"the {side} {entry} failed while it was imported: {kind}: {first_line}{hint(message, kind)}",
            side=side,
            doing="importing it",
        ) from cause
