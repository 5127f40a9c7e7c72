"""Goldens: what a model computed once, in a trace folder that is committed and checked after each upgrade."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lockstep.check.verification import verify
from lockstep.common import workspace
from lockstep.common.arrays import Arrays
from lockstep.common.errors import InputError, VerdictError
from lockstep.elsewhere import live_recording
from lockstep.elsewhere.recorded import RecordedSubject
from lockstep.results.model import Report
from lockstep.subjects import Subject
from lockstep.testing.inputs import Given, arrays_of
from lockstep.testing.observing import at_the_callers_line, observed
from lockstep.testing.sides import side_of


@at_the_callers_line
def assert_golden(
    model: Any, inputs: Given, folder: str | os.PathLike[str], *, update: bool = False, **options: Any
) -> Report:
    """Checks that a model still computes what its golden, a trace in `folder`, says that it computed.

    Args:
        model: The model, as `assert_equivalent` takes a side: TF1-style code, or what makes a Keras layer or model.
        inputs: What it runs on, as of `assert_equivalent`.
        folder: The golden: a trace folder, to be committed.
        update: Whether a golden that is not there, or differs, is written anew. One that agrees is left as it is.
        **options: Those of `lockstep.verify`: `tolerance` and the rest.

    Returns:
        The report; its reference is the golden, its candidate the model.

    Raises:
        DivergedError: The model computes something else than when the golden was written.
        UndecidedError: It could not be judged.
        InputError: There is no golden and none is to be written, or it cannot be used.
        SubjectError: The model's code failed.
    """
    golden = Path(folder)
    subject, arrays = side_of(model, "candidate"), arrays_of(inputs)

    def compared() -> Report:
        return verify(RecordedSubject(golden), subject, arrays, gradients=False, **options)

    if not golden.is_dir() and not update:
        raise InputError(
            f"there is no golden {golden}; `pytest --lockstep-update` writes it, or assert_golden(..., "
            "update=True). Look at it with `lockstep show`, then commit it."
        )
    if update and not _agrees(golden, compared):
        _write(subject, arrays, golden)
    report = observed(compared())
    report.raise_if_diverged()
    return report


def _write(subject: Subject, arrays: Arrays, golden: Path) -> None:
    golden.parent.mkdir(parents=True, exist_ok=True)
    with workspace.temporary() as place:
        # A model that draws in another order one day is judged from the golden's own values: a run of these is needed.
        first = Path(place.path("first"))
        live_recording.record(subject, arrays, first)
        live_recording.record(subject, arrays, golden, reference=RecordedSubject(first), replace=True)


def _agrees(golden: Path, compared: Any) -> bool:
    """Tells whether a golden is there and says what the model computes; a damaged one, or of other inputs, does not."""
    if not golden.is_dir():
        return False
    try:
        compared().raise_if_diverged()
    except (InputError, VerdictError):
        return False
    return True
