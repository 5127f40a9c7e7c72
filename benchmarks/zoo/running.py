"""Checks of the zoo's migrations, right ones under every setting and the planted bugs under the default one."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.zoo.catalogue import MIGRATIONS, Bug, Exhibit
from benchmarks.zoo.scoring import Named, Outcome

from lockstep.compare.tolerance import FixedTolerance

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "default": "as TensorFlow comes",
    "ones": "inputs of ones, as in the guide",
    "one-thread": "one thread for each operation, and one operation at a time",
    "no-onednn": "TF_ENABLE_ONEDNN_OPTS=0",
}
"""What right migrations are checked under. The last two hold for a whole process, and get one each."""
_OWN_PROCESS = ("one-thread", "no-onednn")

Progress = Callable[[str], None]


@dataclass
class Runner:
    """Checks migrations against one kind of reference.

    Attributes:
        reference: `"graph"`: in this process; `"tf115"`: in an environment with TensorFlow 1.15, recorded once.
        fixed: Whether the fixed tolerance judges alone, which is faster than noise budgets.
    """

    reference: str = "graph"
    fixed: bool = False
    _references: dict[tuple[str, bool], Any] = field(default_factory=dict)

    def check(self, exhibit: Exhibit, migration: str, bug: Bug | None = None, setting: str = "default") -> Outcome:
        """Checks one migration; whatever fails is the outcome `"error"`, because the others shall go on."""
        import lockstep

        start = time.perf_counter()
        faults = [fault.name for fault in bug.faults] if bug else []
        try:
            report = lockstep.verify(
                self._subject(exhibit, ones=setting == "ones"),
                lockstep.keras(exhibit.build(migration, *faults)),
                exhibit.arrays(ones=setting == "ones"),
                rename=exhibit.rename(migration),
                tolerance=FixedTolerance(alone=True) if self.fixed else None,
                # On inputs of ones rounding moves gradients by more than any tolerance that says something.
                gradients=False if self.fixed else None,
            )
        except Exception as error:
            note = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            verdict, named = "error", ()
        else:
            verdict = str(report.verdict)
            named = tuple(dict.fromkeys(Named.of(culprit) for culprit in report.culprits))
            note = next((f"{s.name}: {s.summary}" for s in report.steps if str(s.verdict) == verdict), "")
        return Outcome(
            exhibit.name, migration, setting, verdict, named, time.perf_counter() - start, bug=bug, note=note
        )

    def _subject(self, exhibit: Exhibit, *, ones: bool) -> Any:
        import lockstep

        key = exhibit.name, ones
        if key not in self._references:
            if self.reference == "graph":
                self._references[key] = lockstep.tf1_graph(exhibit.forward(), label=exhibit.name)
            else:
                self._references[key] = _recorded(exhibit)
        return self._references[key]


def _recorded(exhibit: Exhibit) -> Any:
    from lockstep.config import subject_from_table

    file, _, function = exhibit.family.reference.rpartition(":")
    path = (exhibit.folder / file).resolve()
    table = {
        "runtime": "tf1",
        "entry": f"{path.name}:{function}",
        "python": "3.7",
        "requirements": list(exhibit.family.requirements),
    }
    return subject_from_table(table, folder=path.parent, side="reference")


@dataclass(frozen=True)
class Plan:
    """What is to be checked.

    Attributes:
        exhibits: The families.
        migrations: Which migrations of each.
        settings: The settings for the right migrations.
        bugs: Whether the planted bugs are checked.
        wanted: Which of the bugs, by `family/migration/name`.
        zoo: The folder that the families are in, for processes of their own.
        unseen: Whether bugs are checked that nobody looks at while rules are made.
    """

    exhibits: Sequence[Exhibit]
    migrations: Sequence[str] = MIGRATIONS
    settings: Sequence[str] = tuple(SETTINGS)
    bugs: bool = True
    wanted: Callable[[str], bool] = lambda _: True
    zoo: Path | None = None
    unseen: bool = True

    def pairs(self) -> list[tuple[Exhibit, str]]:
        """Returns every family with every migration that there is of it."""
        return [(e, m) for e in self.exhibits for m in self.migrations if (e.folder / f"{m}.py").is_file()]

    def planted(self) -> list[tuple[Exhibit, str, Bug]]:
        """Returns the bugs to be checked."""
        if not self.bugs:
            return []
        planted = [(e, m, bug) for e, m in self.pairs() for bug in e.bugs(m) if self.wanted(str(bug))]
        return [(e, m, bug) for e, m, bug in planted if self.unseen or not bug.unseen]


def run(plan: Plan, runner: Runner, say: Progress) -> Iterator[Outcome]:
    """Checks everything in the plan, the right migrations first."""
    for setting in plan.settings:
        if setting in _OWN_PROCESS:
            say(f"right migrations, {setting}, in another process")
            yield from _in_another_process(plan, runner, setting)
        else:
            yield from run_here(dataclasses.replace(plan, settings=(setting,), bugs=False), runner, say)
    planted = plan.planted()
    for number, (exhibit, migration, bug) in enumerate(planted, 1):
        say(f"bug {number} of {len(planted)}  {bug}")
        yield runner.check(exhibit, migration, bug)


def run_here(plan: Plan, runner: Runner, say: Progress) -> Iterator[Outcome]:
    """Checks the right migrations in this process, in which the settings hold already."""
    for setting in plan.settings:
        for exhibit, migration in plan.pairs():
            say(f"{exhibit.name}/{migration}, right, {setting}")
            yield runner.check(exhibit, migration, setting=setting)


def _in_another_process(plan: Plan, runner: Runner, setting: str) -> list[Outcome]:
    """Checks the right migrations in a process in which the setting holds from its start."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
    if setting == "no-onednn":
        environment["TF_ENABLE_ONEDNN_OPTS"] = "0"
    with tempfile.TemporaryDirectory(prefix="lockstep-zoo-") as folder:
        file = Path(folder) / "outcomes.json"
        command = [sys.executable, "-m", "benchmarks.zoo", "--no-bugs", "--process-setting", setting]
        command += ["--json", str(file), "--reference", runner.reference]
        command += [f"--family={exhibit.name}" for exhibit in plan.exhibits]
        command += [f"--migration={migration}" for migration in plan.migrations]
        command += ["--fixed-tolerance"] if runner.fixed else []
        command += ["--zoo", str(plan.zoo)] if plan.zoo else []
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if not file.is_file():
            last = (done.stderr.strip().splitlines() or ["(nothing)"])[-1]
            note = f"the process ended with {done.returncode}: {last}"
            return [Outcome(e.name, m, setting, "error", (), 0.0, note=note) for e, m in plan.pairs()]
        records = json.loads(file.read_text(encoding="utf-8"))["checks"]
    return [
        Outcome(
            record["family"],
            record["migration"],
            setting,
            record["verdict"],
            tuple(Named(**named) for named in record["named"]),
            record["duration_s"],
            note=record["note"],
        )
        for record in records
    ]


def use_one_thread() -> None:
    """Makes this process's TensorFlow run on one thread; must come before it does anything."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
