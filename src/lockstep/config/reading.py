"""Reads `lockstep.toml` and refuses, before anything runs, what could not be meant."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockstep.common import patterns, step_names
from lockstep.common.errors import InputError
from lockstep.common.search_time import MOST_S
from lockstep.common.values import bare, brief, quoted, shown
from lockstep.compare.align import TransformRule, checked_ignore
from lockstep.compare.outputs import OutputRules
from lockstep.compare.tolerance import FixedTolerance
from lockstep.config.arrays import MAX_BATCHES, InputSpec, read_input
from lockstep.config.entries import check_entry, check_function
from lockstep.config.isolation import Isolation, read_isolation
from lockstep.config.tables import Table, kind_of, leaves, missing_file, refuse_no_file, type_name
from lockstep.environments.spec import EnvironmentSpec
from lockstep.files.checkpoints.settings import CheckpointSettings
from lockstep.ground.patterns import TooLongError, limited
from lockstep.subjects.streaming import Roles
from lockstep.subjects.variable_parts import PartRule

_MAX_BYTES = 8 << 20
_METRIC_ROLES = ("predictions", "labels", "weights")
_PARSING_S = 20.0  # eight megabytes of rules take some seconds; some texts take the square of their length
_MAX_STEPS = 100_000
_MAX_PARTS = 32
# A string is no key of several parts, and its end is found without going back. Where this disagrees with a parser, the
# text is no TOML, and the parser stops there.
_STRING_OR_COMMENT = re.compile(
    r'"{3}(?:[^"\\]|\\.|"(?!""))*"{3}'
    r"|'{3}(?:[^']|'(?!''))*'{3}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*",
    re.DOTALL,
)
_BETWEEN_KEYS = re.compile(r"[\n=\[\]{},]")
_TABLES = (
    "batches",
    "loss",
    "gradients",
    "trajectory",
    "steps",
    "search_time",
    "reference",
    "candidate",
    "inputs",
    "outputs",
    "variables",
    "tolerance",
    "checkpoint",
    "metrics",
)


@dataclass(frozen=True)
class Configuration:
    """One migration.

    Attributes:
        folder: Where the file lies; all its paths are relative to it.
        reference: The table of the reference: `runtime` and `entry`, or what names a file.
        candidate: The table of the candidate, likewise.
        inputs: Input name -> what its array is made of.
        rename: `(pattern, replacement)` pairs, from the reference's variable names to the candidate's.
        tolerance: The tolerance for floating tensors.
        isolation: Side -> how it is run.
        batches: How many batches of inputs the check is made on.
        transforms: How variables of the candidate are made from the reference's, where they are not equal.
        parts: How variables of the candidate that hold several of the reference's are cut.
        ignore: Patterns of the names of variables that are neither compared nor filled.
        checkpoint: The checkpoint that both sides are run from; None where there is none.
        gradients: Whether gradients are compared; None: as Lockstep chooses.
        trajectory: How many training steps are compared where there are a loss and optimizers; None: as Lockstep
            chooses.
        also_generic: Whether both sides are run on a second, generic input too.
        outputs: Which output of the candidate is which of the reference, and which are not compared.
        steps: The names of the steps that are taken; all if there are none.
        search_time_s: Seconds that the causes of what differs are looked for in each mode; None: as Lockstep chooses.
        metric_roles: Which output and which inputs streaming metrics are about.
    """

    folder: Path
    reference: Mapping[str, Any]
    candidate: Mapping[str, Any]
    inputs: Mapping[str, InputSpec]
    rename: tuple[tuple[str, str], ...] = ()
    tolerance: FixedTolerance = field(default_factory=FixedTolerance)
    isolation: Mapping[str, Isolation] = field(default_factory=dict)
    batches: int = 1
    transforms: tuple[TransformRule, ...] = ()
    parts: tuple[PartRule, ...] = ()
    ignore: tuple[str, ...] = ()
    checkpoint: CheckpointSettings | None = None
    gradients: bool | None = None
    trajectory: int | None = None
    also_generic: bool = True
    outputs: OutputRules = field(default_factory=OutputRules)
    steps: tuple[str, ...] = ()
    search_time_s: float | None = None
    metric_roles: Roles = field(default_factory=Roles)

    @property
    def inputs_as(self) -> dict[str, str]:
        """Input -> how a Keras model is given it, where the configuration says it."""
        return {name: spec.given_as for name, spec in self.inputs.items() if spec.given_as is not None}

    @property
    def environments(self) -> dict[str, EnvironmentSpec | None]:
        """Side -> the environment of its own that it runs in; None: this process."""
        return {side: self.isolation.get(side, Isolation()).environment for side in ("reference", "candidate")}


def read(path: Path) -> Configuration:
    """Reads and checks a configuration; given a folder, the `lockstep.toml` in it.

    Raises:
        InputError: The file is missing, is no TOML, or holds something that Lockstep does not know.
    """
    if kind_of("configuration", path) == "folder":
        path = path / "lockstep.toml"
    if kind_of("configuration", path) == "missing":
        raise InputError(f"{missing_file('configuration', path)} `lockstep init` writes one to start from.")
    return described(parsed(path), path.absolute().parent, path.name)


def described(tree: dict[str, Any], folder: Path, place: str) -> Configuration:
    """Checks what a configuration says, wherever that is from.

    Args:
        tree: What it says, as a parser of TOML gives it.
        folder: What its paths are relative to.
        place: What messages call it.

    Raises:
        InputError: It holds something that Lockstep does not know.
    """
    top = Table(place, tree)
    top.refuse_unknown(_TABLES)
    return Configuration(
        folder=folder,
        reference=_side(top, "reference", folder),
        candidate=_side(top, "candidate", folder),
        inputs=_inputs(top, folder),
        rename=_rename(top.table("variables")),
        tolerance=_tolerance(top.table("tolerance")),
        isolation={side: read_isolation(top.table(side), folder) for side in ("reference", "candidate")},
        batches=_batches(top),
        transforms=_transforms(top.table("variables")),
        parts=_parts(top.table("variables")),
        ignore=_ignore(top.table("variables")),
        checkpoint=_checkpoint(top, folder),
        gradients=_flag(top, "gradients"),
        trajectory=_trajectory(top),
        also_generic=_also_generic(top.table("inputs")),
        outputs=_outputs(top.table("outputs")),
        steps=_steps(top),
        search_time_s=_search_time(top),
        metric_roles=_metric_roles(_metrics(top)),
    )


def parsed(path: Path) -> dict[str, Any]:
    """Returns a TOML file as it stands.

    Raises:
        InputError: The file is missing, cannot be read, is no TOML, or takes too long to read.
    """
    refuse_no_file("configuration", path)
    if sys.version_info >= (3, 11):
        import tomllib
    else:  # imported here: an environment of a side's own need not have it
        import tomli as tomllib
    try:
        text = _text(path)
        with limited(_PARSING_S):
            tree: dict[str, Any] = tomllib.loads(text)
    except InputError:
        raise
    except FileNotFoundError:
        raise missing_file("configuration", path) from None
    except (RecursionError, MemoryError):
        raise InputError(f"{path} is nested too deeply to be read.") from None
    except TooLongError:
        raise InputError(f"{path} takes more than {_PARSING_S:.0f} s to read; no configuration is like that.") from None
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError, and what Python says of a number of 5,000 digits
        raise InputError(f"{path} is not valid TOML: {brief(error)}.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    return tree


def _text(path: Path) -> str:
    """Returns a configuration's text, where the parser can be expected to get through it."""
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise InputError(f"{path} has {size:,} bytes; a configuration has {_MAX_BYTES:,} at most.")
    text = path.read_text(encoding="utf-8-sig")
    # Of the parts of a key Python's parser (3.11 to 3.13) takes the square in memory.
    bare = _STRING_OR_COMMENT.sub("", text)
    if any(part.count(".") > _MAX_PARTS for part in _BETWEEN_KEYS.split(bare)):
        raise InputError(f"{path} has a key of more than {_MAX_PARTS} parts; no configuration has one.")
    return text


def _batches(top: Table) -> int:
    count = top.values.get("batches", 1)
    if type(count) is not int or count < 1:
        raise InputError(
            f"{top.place}: batches is {shown(count)}; it must be a positive integer, and stand above all tables."
        )
    if count > MAX_BATCHES:
        raise InputError(f"{top.place}: batches is {shown(count)}; there can be {MAX_BATCHES:,} at most.")
    return count


def _flag(top: Table, key: str) -> bool | None:
    value = top.values.get(key)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{top.place}: {key} is {shown(value)}; it must be true or false, and stand above all tables.")
    return value


def _trajectory(top: Table) -> int | None:
    count = top.values.get("trajectory")
    if count is not None and (type(count) is not int or not 0 <= count <= _MAX_STEPS):
        raise InputError(
            f"{top.place}: trajectory is {shown(count)}; it must be a number of training steps (0: none, "
            f"{_MAX_STEPS:,} at most), and stand above all tables."
        )
    return count


def _search_time(top: Table) -> float | None:
    seconds = top.values.get("search_time")
    if seconds is None:
        return None
    if type(seconds) not in (int, float) or not 0 <= seconds <= MOST_S:
        raise InputError(
            f"{top.place}: search_time is {shown(seconds)}; it must be a number of seconds (0: no cause is looked for, "
            f"{MOST_S:,} at most), and stand above all tables."
        )
    return float(seconds)


def _steps(top: Table) -> tuple[str, ...]:
    names = top.values.get("steps")
    if names is None:
        return ()
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise InputError(
            f"{top.place}: steps is {shown(names)}; it must be an array of names of steps, as in "
            '["variables-match", "inference-fixed"], and stand above all tables.'
        )
    try:
        return step_names.checked(names)
    except InputError as error:
        raise InputError(f"{top.place}: steps: {error}") from None


def _side(top: Table, side: str, folder: Path) -> dict[str, Any]:
    if side not in top.values:
        raise InputError(f"{top.place} has no table [{side}]; it names the {side}'s runtime and entry.")
    checked = check_entry(top.table(side), folder)
    loss = check_function(top, "loss", folder)
    # What a model_fn states itself is not what was said for both sides.
    checked = checked if loss is None or checked["runtime"] == "estimator" else {"loss": loss, **checked}
    metrics = _metrics(top)
    function = None if metrics.values.get(side) is None else check_function(metrics, side, folder)
    return checked if function is None else {**checked, "metrics": function}


def _metrics(top: Table) -> Table:
    table = top.table("metrics")
    table.refuse_unknown(("reference", "candidate", *_METRIC_ROLES))
    return table


def _metric_roles(metrics: Table) -> Roles:
    return Roles(*(metrics.text(key) for key in _METRIC_ROLES))


def _also_generic(inputs: Table) -> bool:
    # An input may bear that name; it is a table then.
    value = inputs.values.get("also_generic", True)
    return value if isinstance(value, bool) else True


def _inputs(top: Table, folder: Path) -> dict[str, InputSpec]:
    inputs = top.table("inputs")
    described = {n: v for n, v in inputs.values.items() if n != "also_generic" or not isinstance(v, bool)}
    if not described:
        raise InputError(
            f"{top.place} describes no input; add a table such as [inputs.image] with shape = [2, 299, 299, 3]."
        )
    for name, value in described.items():
        if not isinstance(value, Mapping):
            raise InputError(
                f"{inputs.place}: {bare(name)} is {type_name(value)}; each input is a table of its own, as in "
                "[inputs.image]."
            )
    return {name: read_input(inputs.table(name), folder) for name in described}


def _outputs(outputs: Table) -> OutputRules:
    outputs.refuse_unknown(("rename", "ignore"))
    return OutputRules(_renames(outputs), _ignore(outputs))


def _rename(variables: Table) -> tuple[tuple[str, str], ...]:
    variables.refuse_unknown(("rename", "transform", "parts", "ignore"))
    return _renames(variables)


def _renames(variables: Table) -> tuple[tuple[str, str], ...]:
    rules = variables.values.get("rename", [])
    form = 'it must be an array of [pattern, replacement] pairs, as in [["^old/(.*)$", "new/\\\\1"]]'
    if not isinstance(rules, list):
        raise InputError(f"{variables.place}: rename is {type_name(rules)}; {form}.")
    for rule in rules:
        if not (isinstance(rule, list) and len(rule) == 2 and all(isinstance(part, str) for part in rule)):
            raise InputError(f"{variables.place}: rename holds {shown(rule)}; {form}.")
        patterns.check(rule[0], rule[1], what=f"{variables.place}: rename holds {shown(rule)}")
    return tuple((pattern, replacement) for pattern, replacement in rules)


def _transforms(variables: Table) -> tuple[TransformRule, ...]:
    rules = variables.values.get("transform", [])
    form = (
        'it must be an array of [pattern of the candidate\'s names, transform] pairs, as in [["/kernel$", '
        '"transpose(1,0)"]]; a third string names the variable of the reference that it is made from'
    )
    if not isinstance(rules, list):
        raise InputError(f"{variables.place}: transform is {type_name(rules)}; {form}.")
    return tuple(_transform(variables, rule, form) for rule in rules)


def _transform(variables: Table, rule: Any, form: str) -> TransformRule:
    if not (isinstance(rule, list) and len(rule) in (2, 3) and all(isinstance(part, str) for part in rule)):
        raise InputError(f"{variables.place}: transform holds {shown(rule)}; {form}.")
    try:
        return TransformRule.of(rule)
    except InputError as error:
        raise InputError(f"{variables.place}: {error}") from None


def _ignore(variables: Table) -> tuple[str, ...]:
    ignored = variables.values.get("ignore", [])
    if not (isinstance(ignored, list) and all(isinstance(pattern, str) for pattern in ignored)):
        raise InputError(
            f"{variables.place}: ignore is {shown(ignored)}; it must be an array of regular expressions, as in "
            '["/Adam(_1)?$", "^global_step$"].'
        )
    try:
        return checked_ignore(ignored)
    except InputError as error:
        raise InputError(f"{variables.place}: {error}") from None


def _parts(variables: Table) -> tuple[PartRule, ...]:
    rules = variables.values.get("parts", [])
    if not isinstance(rules, list) or not all(isinstance(rule, list) for rule in rules):
        raise InputError(
            f"{variables.place}: parts is {type_name(rules)}; it must be an array of [pattern of the candidate's "
            'names, axis, sizes], as in [["^gru/kernel$", 1, [16, 8]]].'
        )
    try:
        return tuple(PartRule.of(rule) for rule in rules)
    except InputError as error:
        raise InputError(f"{variables.place}: {error}") from None


def _checkpoint(top: Table, folder: Path) -> CheckpointSettings | None:
    if "checkpoint" not in top.values:
        return None
    table = top.table("checkpoint")
    table.refuse_unknown(("path", "candidate", "loaded", "moving_averages", "allow_missing"))
    averages = table.values.get("moving_averages", False)
    paths = {key: _weights_path(table, key, folder) for key in ("path", "candidate")}
    if not any(paths.values()):
        raise InputError(f'{table.place} has no path; it names a checkpoint, as in path = "model.ckpt".')
    if not isinstance(averages, bool):
        raise InputError(f"{table.place}: moving_averages is {type_name(averages)}; it must be true or false.")
    allowed = table.values.get("allow_missing", [])
    form = 'it must be an array of regular expressions, as in ["/global_step$"]'
    if not isinstance(allowed, list) or not all(isinstance(pattern, str) for pattern in allowed):
        raise InputError(f"{table.place}: allow_missing is {type_name(allowed)}; {form}.")
    for pattern in allowed:
        patterns.check(pattern, what=f"{table.place}: allow_missing holds {shown(pattern)}")
    return CheckpointSettings(paths["path"], averages, tuple(allowed), paths["candidate"], _loaded(table))


def _loaded(table: Table) -> tuple[str, ...] | None:
    loaded, sides = table.values.get("loaded"), ("reference", "candidate")
    if loaded is None:
        return None
    if not isinstance(loaded, list) or any(side not in sides for side in loaded):
        raise InputError(f'{table.place}: loaded is {shown(loaded)}; it must be an array of "reference", "candidate".')
    return tuple(loaded)


def _weights_path(table: Table, key: str, folder: Path) -> Path | None:
    path = table.text(key)
    if path is None:
        return None
    if not Path(path).is_absolute() and leaves(path, folder):
        raise InputError(
            f"{table.place}: {key} {quoted(path)} leaves the folder of the configuration; copy the checkpoint."
        )
    return folder / path


def _tolerance(table: Table) -> FixedTolerance:
    table.refuse_unknown(("rtol", "atol", "rule"))
    alone = table.choice("rule", ("fixed", "noise budget"), "noise budget") == "fixed"
    given = {key: table.number(key) for key in ("rtol", "atol")}
    for key, value in given.items():
        if value is not None and value < 0:
            raise InputError(f"{table.place}: {key} is {shown(value)}; it cannot be negative.")
    return FixedTolerance(**{key: float(value) for key, value in given.items() if value is not None}, alone=alone)
