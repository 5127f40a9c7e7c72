"""One check from the command line: read, run with progress on standard error, print on standard output."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol

import click

from lockstep.cli import saying
from lockstep.common import workspace
from lockstep.common.errors import InputError
from lockstep.results.model import Report, Verdict, merged

if TYPE_CHECKING:
    from rich.console import Console

    from lockstep.check.reporting import Event
    from lockstep.common.arrays import Arrays
    from lockstep.config import Configuration
    from lockstep.subjects import Subject


class Telling(Protocol):
    """Where it is shown what is being done: `Progress`, or one check's part of it."""

    def __call__(self, event: Event) -> None:
        """Shows an event of `lockstep.verify`."""

    def say(self, text: str) -> None:
        """Shows what is being done now."""


EXIT_STATUS = {Verdict.EQUIVALENT: 0, Verdict.DIVERGED: 1, Verdict.UNDECIDED: 2, Verdict.NOT_ASKED: 2}
_PIPED_WIDTH = 120


def run(  # noqa: PLR0913 - what the command was given
    what: Path | Configuration,
    *,
    fresh: bool = False,
    max_memory: int | None = None,
    search_time: float | None = None,
    steps: tuple[str, ...] = (),
    quiet: bool = False,
    evidence: bool = False,
) -> Report:
    """Runs the check that a configuration, or the file of one, describes; `fresh` leaves kept traces alone.

    `max_memory` is how many bytes of the reference's values are held in memory; None for Lockstep's default.
    `search_time` is how many seconds causes are looked for in each mode; without it what the configuration says, or the
    default. `steps` are those that are taken; without them those that the configuration names, or all. `quiet` shows no
    progress; `evidence` keeps what a page shows besides verdicts.

    What the user's code prints meanwhile goes to standard error: standard output is for the results.
    """
    from lockstep import config
    from lockstep.cli.progress import Progress
    from lockstep.cli.startup import import_tensorflow
    from lockstep.elsewhere.trace_cache import limit_bytes

    configuration = config.read(what) if isinstance(what, Path) else what
    if any(configuration.environments.values()):
        limit_bytes()  # told at once, not when a trace is to be kept
    batches = config.make_batches(configuration)
    sides = {"reference": configuration.reference, "candidate": configuration.candidate}
    for side, table in sides.items():
        for key in config.functions_in(table):
            config.entry_file(table, configuration.folder, side, key)  # told at once, not after TensorFlow's import
    with Progress(quiet=quiet) as progress, contextlib.redirect_stdout(sys.stderr):
        progress.say("importing TensorFlow")
        import_tensorflow()
        return merged(
            [
                checked(
                    configuration,
                    inputs,
                    progress,
                    fresh=fresh,
                    max_memory=max_memory,
                    search_time=configuration.search_time_s if search_time is None else search_time,
                    steps=steps or configuration.steps,
                    evidence=evidence,
                )
                for inputs in batches
            ]
        )


def checked(  # noqa: PLR0913 - what the command was given
    configuration: Configuration,
    inputs: Arrays,
    progress: Telling,
    *,
    fresh: bool = False,
    max_memory: int | None = None,
    search_time: float | None = None,
    evidence: bool = False,
    steps: tuple[str, ...] = (),
    operations: bool = False,
) -> Report:
    """Runs the check of one batch; for `operations` see `isolated_keras.by_operations`."""
    from lockstep import config, verify
    from lockstep.elsewhere.isolated_keras import by_operations

    subjects = {}
    for side, table in (("reference", configuration.reference), ("candidate", configuration.candidate)):
        progress.say(f"{side}: importing {config.named_by(table)}")
        subjects[side] = config.subject_from_configuration(
            configuration, side, say=functools.partial(say, progress, side), fresh=fresh
        )
        if operations:
            subjects[side] = by_operations(subjects[side])
    return verify(
        subjects["reference"],
        subjects["candidate"],
        inputs,
        rename=configuration.rename,
        transforms=configuration.transforms,
        ignore=configuration.ignore,
        checkpoint=configuration.checkpoint,
        tolerance=configuration.tolerance,
        progress=progress,
        loss=_functions(configuration, "loss", subjects),
        gradients=configuration.gradients,
        optimizers=_functions(configuration, "optimizer", subjects),
        trajectory=configuration.trajectory,
        max_memory=max_memory,
        search_time=search_time,
        also_generic=configuration.also_generic,
        evidence=[configuration.folder] if evidence else False,
        steps=steps,
        outputs=configuration.outputs,
        metrics=_metrics(configuration, subjects),
    )


def _metrics(configuration: Configuration, subjects: Mapping[str, Subject]) -> dict[str, Any]:
    """The functions of streaming metrics, and what they are about."""
    reference, candidate = _functions(configuration, "metrics", subjects)
    return {"reference": reference, "candidate": candidate, **dataclasses.asdict(configuration.metric_roles)}


def _functions(
    configuration: Configuration, key: str, subjects: Mapping[str, Subject]
) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
    """The functions of both sides that a key names; None where a side has none, or its recorder imports it."""
    from lockstep import config

    def of(side: str, table: Mapping[str, Any]) -> Callable[..., Any] | None:
        isolated = configuration.environments[side] is not None
        return config.training_function(
            table, configuration.folder, side, key, isolated=isolated, subject=subjects[side]
        )

    return of("reference", configuration.reference), of("candidate", configuration.candidate)


def say(progress: Telling, side: str, text: str) -> None:
    """Shows what is being done for one side."""
    progress.say(f"{side}: {text}")


def console() -> Console:
    """Where results are printed: as wide as the terminal; in a pipe as `COLUMNS` says or 120 columns.

    Coloured on a terminal, and where `FORCE_COLOR` asks for it; `NO_COLOR` takes colours away.
    """
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False, markup=False, emoji=False)
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and len(columns) <= 5 and int(columns) >= 40 else _PIPED_WIDTH
    forced = bool(os.environ.get("FORCE_COLOR")) and not os.environ.get("NO_COLOR")
    system: Literal["auto"] | None = "auto" if forced else None
    return Console(file=sys.stdout, width=width, color_system=system, highlight=False, markup=False, emoji=False)


def check_destination(file: str | None, html_file: str | None = None) -> None:
    """Refuses, before anything runs, files (`--json`, `--html`) that could not be written afterwards."""
    if html_file == "-":
        raise InputError("--html -: a page is written to a file; name one, as in --html report.html.")
    for option, name in (("--json", file), ("--html", html_file)):
        if name is None or name == "-":
            continue
        path = Path(name)
        if path.is_dir():
            raise InputError(f"{option} {name}: this is a folder; name a file in it.")
        if not path.absolute().parent.is_dir():
            raise InputError(f"{option} {name}: there is no folder {path.absolute().parent}.")
    if file is not None and html_file is not None and Path(file).absolute() == Path(html_file).absolute():
        raise InputError(f"--json and --html both name {file}; name two files.")


def deliver(
    report: Report, json_file: str | None, html_file: str | None = None, *, title: str, quiet: bool = False
) -> None:
    """Prints the report, or its JSON if `json_file` is `-`; writes the JSON to any other file, and the page.

    With `quiet` the first sentence alone is printed: the verdict and the reason.

    In a GitHub action the lines at fault are annotated too, on standard error, and the job's summary has the report.
    """
    from lockstep.report import github, json, text
    from lockstep.report.headline import headline

    if github.wanted():
        github.add_step_summary(github.step_summary(report, title=title))
        for line in github.error_lines(report, title=title):
            saying.say(line, err=True)

    if html_file is not None:
        write_whole(Path(html_file), report.to_html(title=title))
    if json_file == "-":
        saying.say(json.to_json(report), nl=False)
        return
    if json_file is not None:
        write_whole(Path(json_file), json.to_json(report))
    if quiet:
        saying.say(headline(report))
        return
    text.show(report, console(), title=title, written_to=written(json_file, html_file))
    sys.stdout.flush()


def written(*files: str | None) -> str | None:
    """Names the files that were written; None where there are none."""
    return ", ".join(file for file in files if file is not None) or None


def write_rules(report: Report, path: Path) -> None:
    """Puts the rules that running confirmed into the configuration, and says so; others are for a person to read."""
    from lockstep.report import rules
    from lockstep.report.writing import with_rules

    path = path / "lockstep.toml" if path.is_dir() else path
    if (table := rules.confirmed(report)) is None:
        proposed = any(rules.proposed(report))
        why = (
            "running did not confirm the proposed rules; paste those that are right" if proposed else "none are needed"
        )
        saying.say(f"no rules were written: {why}", err=True)
        return
    write_whole(path, with_rules(path.read_text(encoding="utf-8-sig"), table))
    saying.say(f"wrote the rules into {path}", err=True)


def write_graphs(report: Report, folder: Path) -> None:
    """Writes what Model Explorer reads into a folder, which is made if it is not there, and says how it is opened."""
    from lockstep.report import model_explorer

    made = model_explorer.files(report)
    if not made:
        saying.say(
            f"nothing was written into {folder}: no program was compared operation by operation; the steps say why",
            err=True,
        )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--model-explorer {folder}: it cannot be made: {error.strerror}.") from error
    for name, content in made.items():
        write_whole(folder / name, content)
    graph, errors = (shlex.quote(str(folder / name)) for name in ("candidate.json", "candidate_errors.json"))
    saying.say(f"see the candidate: model-explorer {graph} --node_data_paths={errors}", err=True)


def write_whole(path: Path, content: str) -> None:
    """Writes a file so that it is never seen half written: beside it first, then renamed.

    What exists and is no regular file (`/dev/stderr`, a named pipe) is written to directly.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            target.write_text(content, encoding="utf-8")
        else:
            _replace(target, content)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error


def _replace(target: Path, content: str) -> None:
    with workspace.beside(target) as place:
        whole = place / "content"
        with whole.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        whole.replace(target)


def leave(verdict: Verdict) -> NoReturn:
    """Ends the command with the exit status of a verdict."""
    raise click.exceptions.Exit(EXIT_STATUS[verdict])
