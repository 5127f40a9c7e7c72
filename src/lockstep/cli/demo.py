"""`lockstep demo`: an example, by default the guide's network, with the guide's figures beside the measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockstep.cli import saying, session
from lockstep.common.errors import InputError, nearest
from lockstep.results.model import Report, Verdict, overall

if TYPE_CHECKING:
    from rich.table import Table

_GUIDE = "inception_resnet_v2"

# The guide's own call of np.testing.assert_allclose ("validate correctness", step 3): rtol=1e-6, atol=1e-5.
_GUIDE_RTOL, _GUIDE_ATOL = 1e-6, 1e-5
# By that atol alone a loss of 0.001 would agree with one of 0.00101, so a figure must also be as near as a float32
# sum of 59 million squares comes to exact arithmetic: 3.9e-6 was measured on TensorFlow 1.15.5.
_RELATIVE = 1e-5


@dataclass(frozen=True)
class GuideFigure:
    """One number that the guide prints.

    Attributes:
        name: What it is.
        step: The step of the report that measures it.
        reference: The key of the reference's number among the step's figures.
        candidate: The same for the candidate.
        value: The guide's number.
        digits: How many significant digits the guide prints.
    """

    name: str
    step: str
    reference: str
    candidate: str
    value: float
    digits: int

    def agrees(self, measured: float) -> bool:
        """Tells whether a measured number is the guide's, within what rounding explains."""
        error = abs(measured - self.value)
        return error <= _GUIDE_ATOL + _GUIDE_RTOL * abs(self.value) and error <= _RELATIVE * abs(self.value)


@dataclass(frozen=True)
class MeasuredFigure:
    """A number of the guide and what both sides gave; None where a step did not report it."""

    guide: GuideFigure
    reference: float | None
    candidate: float | None

    @property
    def verdict(self) -> Verdict:
        """`undecided` where a side gave no number."""
        if self.reference is None or self.candidate is None:
            return Verdict.UNDECIDED
        agree = self.guide.agrees(self.reference) and self.guide.agrees(self.candidate)
        return Verdict.EQUIVALENT if agree else Verdict.DIVERGED


@click.command()
@click.option("--example", default=_GUIDE, show_default=True, metavar="NAME", help="The example to run.")
@click.option("--json", "json_file", metavar="FILE", help="Also write the whole report to FILE; - prints it instead.")
@click.option("--html", "html_file", metavar="FILE", help="Also write the report to FILE, as a page to look at.")
def demo(example: str, json_file: str | None, html_file: str | None) -> None:
    """Run an example: by default the guide's own network, validated against its migration.

    Exit status: 0 equivalent and every figure of the guide met, 1 diverged or a figure missed, 2 could not judge.
    """
    session.check_destination(json_file, html_file)
    configuration = _configuration(example)
    expected = guide_figures(configuration.parent / "guide_figures.toml")
    saying.say(_intention(example, configuration, bool(expected)), err=True)
    report = session.run(configuration, evidence=html_file is not None)
    session.deliver(report, json_file, html_file, title=f"lockstep demo {example}")
    measured = measure(report, expected)
    if measured and json_file != "-":
        from lockstep.report.text import show_stripped

        show_stripped(session.console(), ["", _table(measured)])
    session.leave(_overall(report.verdict, measured))


def examples_folder() -> Path:
    """Returns where the examples lie: in the installed package, or beside `src/` in a checkout.

    Raises:
        InputError: There are none.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "examples", package.parents[1] / "examples"):
        if folder.is_dir():
            return folder
    raise InputError(
        "this installation of Lockstep came without its examples; install it from a wheel, or use a checkout."
    )


def guide_figures(path: Path) -> tuple[GuideFigure, ...]:
    """Reads the guide's figures of an example; none where the example has no such file."""
    if not path.exists():
        return ()
    from lockstep.config.reading import parsed

    return tuple(GuideFigure(**entry) for entry in parsed(path)["figure"])


def measure(report: Report, expected: Sequence[GuideFigure]) -> tuple[MeasuredFigure, ...]:
    """Looks the guide's figures up in a report."""
    figures = {step.name: step.figures for step in report.steps}

    def number(step: str, key: str) -> float | None:
        value = figures.get(step, {}).get(key)
        return value if isinstance(value, (int, float)) else None

    return tuple(
        MeasuredFigure(guide, number(guide.step, guide.reference), number(guide.step, guide.candidate))
        for guide in expected
    )


def _configuration(example: str) -> Path:
    folder = examples_folder()
    known = sorted(path.parent.name for path in folder.glob("*/lockstep.toml"))
    if example not in known:
        hint = nearest(example, known) or f"; there are {', '.join(known)}."
        raise InputError(f"there is no example {example!r}{hint}")
    return folder / example / "lockstep.toml"


def _intention(example: str, configuration: Path, has_figures: bool) -> str:
    if example != _GUIDE:
        return f"Runs {configuration}."
    lines = [
        "Validates Inception-ResNet-v2, the network of TensorFlow's guide, as TF1 code in a graph and a Session",
        "against its migration, a Keras 3 layer called eagerly:",
        "  1  variables are created once     2  both sides have the same variables",
        "  3  fixed values, inference        4  aligned random values, inference and training",
    ]
    if has_figures:
        lines.append(
            "and sets the figures that the guide prints beside those measured here. This takes a minute or two."
        )
    return "\n".join(lines)


def _overall(verdict: Verdict, measured: Sequence[MeasuredFigure]) -> Verdict:
    return overall([verdict, *(figure.verdict for figure in measured)])


def _table(measured: Sequence[MeasuredFigure]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("figure", overflow="fold")
    for side in ("guide", "reference", "candidate"):
        table.add_column(side, justify="right", no_wrap=True)
    table.add_column("agrees", no_wrap=True)
    agrees = {
        Verdict.EQUIVALENT: Text("yes", "green"),
        Verdict.DIVERGED: Text("no", "bold red"),
        Verdict.UNDECIDED: Text("not measured", "yellow"),
    }
    for figure in measured:
        digits = figure.guide.digits
        sides = ["-" if value is None else f"{value:.{digits}g}" for value in (figure.reference, figure.candidate)]
        table.add_row(Text(figure.guide.name), f"{figure.guide.value:.{digits}g}", *sides, agrees[figure.verdict])
    return table
