"""The rules that a check proposes, as they go into `lockstep.toml`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lockstep.common.shown import shown_in_json
from lockstep.results.model import Report

Table = Mapping[str, Sequence[Sequence[object]]]
"""`[variables]` by its keys: `{"rename": [["^old/", "new/"]]}`."""


@dataclass(frozen=True)
class RuleBlock:
    """One table of rules, ready to be pasted.

    Attributes:
        heading: What they are.
        table: The rules.
    """

    heading: str
    table: Table

    @property
    def lines(self) -> list[str]:
        """The lines of TOML."""
        return as_lines(self.table)


def proposed(report: Report) -> Iterator[RuleBlock]:
    """Yields what a report proposes: the rules that it went on with, or both answers to its question."""
    for step in report.steps:
        if table := step.figures.get("proposed_rules"):
            heading = f"rules for lockstep.toml, {step.figures['proposal']} by running"
            yield RuleBlock(heading, table)  # type: ignore[arg-type]
        answers = step.figures.get("proposed_answers", ())
        for number, answer in enumerate(answers, 1):  # type: ignore[arg-type, var-annotated]
            yield RuleBlock(f"answer {number}, {answer['why']}", answer["rules"])


def confirmed(report: Report) -> Table | None:
    """Returns the rules that running confirmed; None where a report has none, or has others for another batch."""
    found: list[Table] = []
    for step in report.steps:
        batches = step.figures.get("batches") or [step.figures]
        for figures in batches:  # type: ignore[attr-defined]
            if figures.get("proposal") == "confirmed":
                found.append(figures["proposed_rules"])
            elif "proposal" in figures:
                return None
    return found[0] if found and all(table == found[0] for table in found) else None


def as_lines(table: Table) -> list[str]:
    """Writes `[variables]` as lines of TOML.

    >>> as_lines({"rename": [["^old/", "new/"]]})
    ['[variables]', 'rename = [["^old/", "new/"]]']
    """
    lines = ["[variables]"]
    for key, rules in table.items():
        written = [_written(rule) for rule in rules]
        if len(written) == 1:
            lines.append(f"{key} = [{written[0]}]")
        else:
            lines += [f"{key} = [", *(f"  {rule}," for rule in written), "]"]
    return lines


def _written(value: object) -> str:
    if isinstance(value, str):
        # A JSON string is one of TOML too, but for one control character.
        return shown_in_json(json.dumps(value, ensure_ascii=False))
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_written, value))}]"
    return str(value)
