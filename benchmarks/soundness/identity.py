"""The identity corpus: TF1 programs as reference and, through the shim, as candidate; nothing differs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from benchmarks.soundness.case import Case
from benchmarks.soundness.lazily import lockstep
from benchmarks.soundness.migrated import migrated
from benchmarks.soundness.programs import tables
from benchmarks.soundness.programs.program import Group, Program

TOPICS = (
    "control_flow",
    "variables",
    "states",
    "normalization",
    "random_draws",
    "sequences",
    "rearranging",
    "mathematics",
    "images",
    "losses",
    "networks",
)
"""The modules of `programs` that probe constructs of TF1, each with its `PROGRAMS`."""


def cases() -> list[Case]:
    """Returns all cases; no framework is imported before one of their makers is called."""
    return [*tables.all_tables(), *_probes()]


def _probes() -> Iterator[Case]:
    for topic in TOPICS:
        group: Group = importlib.import_module(f"benchmarks.soundness.programs.{topic}").PROGRAMS
        for program in group:
            yield _case(group, program)


def _case(group: Group, program: Program) -> Case:
    return Case(
        name=f"{group.title}/{program.name}",
        reference=lambda: lockstep.tf1_graph(program.forward, label=program.name),
        candidate=lambda: migrated(program.forward),
        inputs=lambda: program.inputs,
        kind=group.title,
        reason=program.reason,
    )
