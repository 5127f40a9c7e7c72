"""Both programs and their errors as Google's Model Explorer reads them: a graph of each side, and data to lay over it.

The forms are those of `GraphCollection` and `ModelNodeData` of ai-edge-model-explorer 0.1.34. A node is called as its
operation is, so the errors of a TF1 graph also fit Model Explorer's own picture of that graph.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from lockstep.common.shown import shown_in_json
from lockstep.results.evidence import Computed, ProgramPair, Row, State
from lockstep.results.model import Report

Side = Literal["reference", "candidate"]

SIDES: tuple[Side, ...] = ("reference", "candidate")
COLOURS: Mapping[State, str] = {
    "identical": "#ccd6de",
    "within": "#3f93c6",
    "harmless": "#d9c25e",
    "beyond": "#ee9a5e",
    "inside": "#ffffff",
}
"""The page's light colours; black can be read on each."""
LARGEST = 1e30
"""What stands for an error without bound: JSON knows no infinity."""


def files(report: Report) -> dict[str, str]:
    """Returns the files by name: of each side its graph, and the errors to be laid over it.

    Args:
        report: A report whose check kept its evidence.

    Returns:
        `"reference.json"`, `"reference_errors.json"` and the candidate's, as JSON. A graph for each mode,
        `"inference"` and `"training"`. An operation's value is its error in units of its noise budget. Nothing where
        the programs were not compared operation by operation.
    """
    programs = report.evidence.programs if report.evidence is not None else ()
    if not programs:
        return {}
    made: dict[str, Any] = {}
    for side in SIDES:
        label = report.environments.get(side, {}).get("subject", side)
        graphs = [_Graph(side, program) for program in programs]
        made[f"{side}.json"] = {"label": f"{side} {label}", "graphs": [graph.drawn() for graph in graphs]}
        made[f"{side}_errors.json"] = {graph.mode: graph.errors() for graph in graphs}
    return {
        name: shown_in_json(json.dumps(tree, ensure_ascii=False, allow_nan=False)) + "\n" for name, tree in made.items()
    }


class _Graph:
    """One side's program in one mode."""

    def __init__(self, side: Side, program: ProgramPair) -> None:
        self.mode = program.mode
        self._side = side
        self._rows = {computed.index: row for row in program.rows if (computed := _of(row, side)) is not None}
        self._names = _unique({index: self._of(row).name for index, row in self._rows.items()})

    def drawn(self) -> dict[str, Any]:
        """The graph: its operations by scope, each with the edges from those that it reads."""
        return {"id": self.mode, "nodes": [self._node(index, row) for index, row in sorted(self._rows.items())]}

    def errors(self) -> dict[str, Any]:
        """What is laid over it."""
        results = {
            self._names[index]: {"value": _finite(row.ratio), "bgColor": COLOURS[row.state], "textColor": "#000000"}
            for index, row in sorted(self._rows.items())
            if row.ratio is not None
        }
        return {"name": "error / noise budget", "results": results}

    def _node(self, index: int, row: Row) -> dict[str, Any]:
        computed = self._of(row)
        return {
            "id": self._names[index],
            "label": computed.type,
            "namespace": computed.scope,
            "attrs": [{"key": key, "value": value} for key, value in self._facts(row)],
            "incomingEdges": [
                {"sourceNodeId": self._names[read], "sourceNodeOutputId": "0", "targetNodeInputId": str(number)}
                for number, read in enumerate(computed.reads)
                if read in self._names
            ],
        }

    def _facts(self, row: Row) -> Iterable[tuple[str, str]]:
        computed = self._of(row)
        other = row.candidate if self._side == "reference" else row.reference
        yield "name", computed.name
        yield "output", f"{computed.shape} {computed.dtype}"
        if computed.source:
            yield "line", computed.source
        yield "judged", row.state
        if row.error is not None:
            yield "error", f"{row.error:.3g}"
        if row.budget is not None:
            yield "noise budget", f"{row.budget:.3g}"
        if other is not None:
            yield SIDES[self._side == "reference"], other.name

    def _of(self, row: Row) -> Computed:
        computed = _of(row, self._side)
        assert computed is not None
        return computed


def _of(row: Row, side: Side) -> Computed | None:
    return row.reference if side == "reference" else row.candidate


def _unique(names: Mapping[int, str]) -> dict[int, str]:
    """Returns names of which none stands twice: the second `add` is `add #2`, as a loop runs an operation again."""
    seen: Counter[str] = Counter()
    taken = set(names.values())
    unique = {}
    for index, name in sorted(names.items()):
        seen[name] += 1
        chosen = name
        while seen[name] > 1 and chosen in taken:
            chosen = f"{name} #{seen[name]}"
            seen[name] += chosen in taken
        taken.add(chosen)
        unique[index] = chosen
    return unique


def _finite(ratio: float) -> float:
    return min(ratio, LARGEST) if not math.isnan(ratio) else LARGEST
