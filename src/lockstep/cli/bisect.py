"""`lockstep bisect`: which release of TensorFlow or Keras changed what a model computes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockstep.cli import saying, session
from lockstep.common.errors import InputError, SubjectError, UnavailableEnvironmentError
from lockstep.results.model import Report, Verdict

if TYPE_CHECKING:
    from lockstep.bisecting.configuring import Environments
    from lockstep.check.reporting import Event
    from lockstep.cli.progress import Progress
    from lockstep.common.arrays import Arrays
    from lockstep.config import Configuration
    from lockstep.results.bisection import Bisection, Release

_CONNECTION = ("cannot be reached", "certificate that is not trusted", "the disk is full", "uv, which is not installed")
"""Words of failures that are no release's: the next environment would fail by them as well."""


@click.command()
@click.argument("what", metavar="[CONFIGURATION | MODEL]", default="lockstep.toml")
@click.option(
    "--versions",
    required=True,
    metavar="A..B",
    help="The releases: 2.16..2.21, or a list, 2.16.2,2.18.1,2.21.0. The first one is the reference.",
)
@click.option("--package", metavar="NAME", help="Whose releases: tensorflow or keras.  [default: tensorflow]")
@click.option("--patches", is_flag=True, help="All patch releases of a range, and not the newest of each minor alone.")
@click.option("--all", "every", is_flag=True, help="Run every release: a difference can come, go and come again.")
@click.option(
    "--input",
    "inputs",
    metavar="NAME=SHAPE",
    multiple=True,
    help="An input of MODEL: image=1,299,299,3, tokens=2,16:int32:1000 or image=batch.npy. Can be repeated.",
)
@click.option("--python", metavar="VERSION", help="The Python of all environments; without it what each release takes.")
@click.option("--requirement", "requirements", multiple=True, help="What each environment holds. Can be repeated.")
@click.option("--json", "json_file", metavar="FILE", help="Also write the whole answer to FILE; - prints it instead.")
@click.option("--quiet", "-q", is_flag=True, help="Print the answer alone, and no progress.")
def bisect(  # noqa: PLR0913 - a command's options
    what: str,
    versions: str,
    package: str | None,
    *,
    patches: bool,
    every: bool,
    inputs: tuple[str, ...],
    python: str | None,
    requirements: tuple[str, ...],
    json_file: str | None,
    quiet: bool,
) -> None:
    """Find the release of TensorFlow or Keras that changed what a model computes.

    MODEL is an entry, as in model.py:build, a function that makes a Keras 3 model. CONFIGURATION is a lockstep.toml,
    whose candidate is the model. Each release has an environment of its own, which is kept.

    Exit status: 0 all releases that were run are equivalent, 1 some differ, 2 could not judge.
    """
    from lockstep.bisecting import configuring
    from lockstep.environments.releases import parse_range, releases_of

    session.check_destination(json_file)
    begin = time.monotonic()
    wanted = parse_range(versions)
    configuration = _configuration(what, inputs)
    configuring.refuse_other_models(configuration)
    environments = configuring.chosen(configuration, package, requirements, python, tensorflow_here=_tensorflow_here())
    from lockstep import config
    from lockstep.cli.progress import Progress
    from lockstep.cli.startup import import_tensorflow

    batches = config.make_batches(configuration)
    config.entry_file(configuration.candidate, configuration.folder, "candidate")
    with Progress(quiet=quiet) as progress, contextlib.redirect_stdout(sys.stderr):
        releases = releases_of(environments.package, wanted, patches=patches, say=progress.say)
        for release in releases:
            environments.of(release)  # what cannot be meant is told before anything is made
        progress.say("importing TensorFlow")
        import_tensorflow()
        found = _Trials(configuration, environments, releases, batches, progress).found(begin, every=every)
    _deliver(found, json_file, quiet=quiet)
    session.leave(found.verdict)


def _configuration(what: str, inputs: tuple[str, ...]) -> Configuration:
    from lockstep import config
    from lockstep.cli import without_file
    from lockstep.config.describing import is_entry

    if is_entry(what):
        return without_file.configuration((what, what), inputs, save=None, python=None, requirements=())
    if inputs:
        raise InputError("--input goes with a model, as in model.py:build; a configuration says its inputs itself.")
    return config.read(Path(what))


def _tensorflow_here() -> str | None:
    """Returns the TensorFlow that is installed here, as a requirement: its package has several names."""
    from lockstep.environments.constraints import TENSORFLOW

    for name in sorted(TENSORFLOW):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{name}=={importlib.metadata.version(name)}"
    return None


@dataclass
class _Trials:
    """Runs the model under one release after the other."""

    configuration: Configuration
    environments: Environments
    versions: tuple[str, ...]
    batches: Sequence[Arrays]
    progress: Progress
    rows: dict[int, Release] = field(default_factory=dict)
    followed: dict[tuple[int, int], Report] = field(default_factory=dict)

    def found(self, begin: float, *, every: bool) -> Bisection:
        """Searches, and checks the two neighbours of the change."""
        from lockstep.bisecting import search
        from lockstep.results.bisection import Bisection

        self._refuse_unsteady_reference()
        search_found = search(len(self.versions), self._differs, every=every)
        first, last = search_found.first_that_differs, search_found.last_alike
        neighbours, note = (None, "") if first is None else self._neighbours(last, first)
        return Bisection(
            model=str(self.configuration.candidate["entry"]),
            package=self.environments.package,
            versions=self.versions,
            releases=tuple(row for _, row in sorted(self.rows.items())),
            first_that_differs=None if first is None else self.versions[first],
            last_alike=self.versions[last],
            passed_over=tuple(self.versions[place] for place in search_found.passed_over),
            neighbours=neighbours,
            neighbours_note=note,
            duration_s=time.monotonic() - begin,
        )

    def _refuse_unsteady_reference(self) -> None:
        """Runs the reference twice: what differs from itself would differ from every release."""
        from lockstep.results.bisection import Release, largest_difference

        begin = time.monotonic()
        named = f"{self.environments.package} {self.versions[0]}"
        hint = f"{named} is the reference, as the first of --versions; begin with a release under which the model runs."
        try:
            report = self._check(0, 0)
        except SubjectError as error:
            error.also = "\n".join(filter(None, (error.also, hint)))
            raise
        except (InputError, UnavailableEnvironmentError) as error:
            if any(words in str(error) for words in _CONNECTION):
                raise
            raise type(error)(f"{error}\n{hint}") from error
        if report.verdict is not Verdict.EQUIVALENT:
            from lockstep.report.bisection import why

            raise InputError(
                f"the reference, {named}, cannot be compared with itself: {why(report)}. What differs between two "
                "runs of one release tells nothing of another: draw from seeded generators, or leave the output out by "
                "[outputs] ignore."
            )
        ran_on = tuple(report.environments["reference"].items())
        self.rows[0] = Release(
            self.versions[0], report.verdict, largest_difference(report), time.monotonic() - begin, environment=ran_on
        )

    def _differs(self, place: int) -> bool | None:
        """Checks a release against the reference; None where it could not be judged."""
        from lockstep.report.bisection import why
        from lockstep.results.bisection import Release, largest_difference

        begin, version = time.monotonic(), self.versions[place]
        note = ""
        try:
            report = self._check(0, place)
            if report.verdict is Verdict.DIVERGED:
                note = self._rounding(place)
        except (InputError, SubjectError, UnavailableEnvironmentError) as error:
            if any(words in str(error) for words in _CONNECTION):
                raise
            self.rows[place] = Release(
                version, Verdict.UNDECIDED, None, time.monotonic() - begin, _sentence(error), ran=False
            )
            return None
        verdict = Verdict.UNDECIDED if note else report.verdict
        self.rows[place] = Release(
            version,
            verdict,
            largest_difference(report),
            time.monotonic() - begin,
            note or why(report),
            tuple(report.environments["candidate"].items()),
        )
        return {Verdict.DIVERGED: True, Verdict.EQUIVALENT: False}.get(verdict)

    def _rounding(self, place: int) -> str:
        """Looks whether a difference may be rounding alone; returns a sentence then, and else nothing.

        The operations run on the kernels of this process, so that they cannot make a release equivalent whose own
        kernels may be at fault; but what they explain is no difference that a release can be blamed for.
        """
        try:
            report = self._followed(0, place)
        except (InputError, SubjectError):
            return ""
        if report.verdict is not Verdict.EQUIVALENT:
            return ""
        return (
            "the outputs differ, but both releases run the same operations, whose rounding alone becomes as much in "
            "this model; whether a kernel changed besides cannot be told from it."
        )

    def _neighbours(self, last: int, first: int) -> tuple[Report | None, str]:
        try:
            return self._followed(last, first), ""
        except (InputError, SubjectError) as error:
            return None, f"they could not be followed operation by operation: {_sentence(error)}"

    def _followed(self, reference: int, candidate: int) -> Report:
        """Checks two releases operation by operation, once."""
        pair = reference, candidate
        if pair not in self.followed:
            self.followed[pair] = self._check(*pair, operations=True)
        return self.followed[pair]

    def _check(self, reference: int, candidate: int, *, operations: bool = False) -> Report:
        from lockstep.bisecting.configuring import between
        from lockstep.results.model import merged

        releases = self.versions[reference], self.versions[candidate]
        done = f"{len(self.rows)} of at most {len(self.versions)} releases done"
        progress = _Within(self.progress, f"{self.environments.package} {releases[1]} against {releases[0]} ({done})")
        configuration = between(self.configuration, self.environments, *releases)
        return merged(
            [
                session.checked(
                    configuration,
                    inputs,
                    progress,
                    search_time=configuration.search_time_s,
                    steps=configuration.steps,
                    operations=operations,
                )
                for inputs in self.batches
            ]
        )


def _sentence(error: Exception) -> str:
    """Returns what a table says of an error: its own sentence, without what uv or the code wrote around it."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    told = next((line for line in lines if line.rstrip().endswith((".", ";"))), lines[-1] if lines else "")
    return " ".join(told.split())


class _Within:
    """The progress of one check among several: each line says which."""

    def __init__(self, progress: Progress, which: str) -> None:
        self._progress, self._which = progress, which

    def __call__(self, event: Event) -> None:
        self.say(event.text)

    def say(self, text: str) -> None:
        self._progress.say(f"{self._which}: {text}")


def _deliver(found: Bisection, json_file: str | None, *, quiet: bool) -> None:
    from lockstep.report import bisection as rendering

    if json_file == "-":
        saying.say(rendering.to_json(found), nl=False)
        return
    if json_file is not None:
        session.write_whole(Path(json_file), rendering.to_json(found))
    if quiet:
        saying.say(rendering.answer(found))
        return
    rendering.show(found, session.console(), written_to=session.written(json_file))
    sys.stdout.flush()
