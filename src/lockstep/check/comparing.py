"""Compares two recordings: their values alone where these answer it, else with the reference's graph too.

The graph needs TensorFlow; the values do not, so that two traces can be compared where no TensorFlow can be installed.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lockstep.check.verification import verify
from lockstep.common.arrays import Arrays
from lockstep.common.errors import InputError
from lockstep.elsewhere.recorded import RecordedSubject
from lockstep.results.model import Report, Verdict
from lockstep.subjects import Instance, Mode, Subject


def compare(
    reference: Path, candidate: Path, *, import_tensorflow: Callable[[], None] = lambda: None, **options: Any
) -> Report:
    """Compares two traces.

    The reference's graph is run where both sides ran on different versions of TensorFlow, to tell the runtime's share
    from the code's, and where the values alone are not equivalent, to learn how far rounding moves them.

    Args:
        reference: The trace folder of the original.
        candidate: That of the migrated model.
        import_tensorflow: Called before TensorFlow is needed, if it is.
        **options: Those of `lockstep.verify`.

    Returns:
        The report.

    Raises:
        InputError: A trace is missing or damaged, or the two are not of the same inputs.
    """
    ours, theirs = RecordedSubject(reference), RecordedSubject(candidate)
    inputs: Arrays = next(iter(ours.inputs.values())) if ours.single_input else dict(ours.inputs)
    has_graph = any(not build.graph_note for build in ours.builds.values())
    installed = importlib.util.find_spec("tensorflow") is not None

    def compared(subject: Subject) -> Report:
        return verify(subject, theirs, inputs, **options)

    versions = {subject.environment().get("tensorflow") for subject in (ours, theirs)}
    if not (has_graph and installed and len(versions) > 1):
        report = compared(_ValuesAlone(reference, missing=has_graph and len(versions) > 1))
        if report.verdict is Verdict.EQUIVALENT or not has_graph:
            return report
        if not installed:
            logging.getLogger(__name__).warning(
                "TensorFlow is not installed here, so the reference's graph was not run: how far rounding alone moves "
                "it is not known, and the fixed tolerance judged alone."
            )
            return report
    import_tensorflow()
    return compared(ours)


class _ValuesAlone(RecordedSubject):
    """A trace whose graph is left alone."""

    def __init__(self, folder: Path, *, missing: bool) -> None:
        """Opens a trace; `missing`: its graph would tell something new, and TensorFlow is not there to run it."""
        super().__init__(folder)
        self._missing = missing

    def on_this_runtime(self, mode: Mode, inputs: Arrays) -> None:
        """Has none.

        Raises:
            InputError: TensorFlow is not there to run it.
        """
        del mode, inputs
        if self._missing:
            raise InputError("the reference's graph needs TensorFlow, which is not installed here")

    def graph_here(self, mode: Mode, inputs: Arrays) -> Instance | None:  # type: ignore[override] # there is none
        """Has none."""
        del mode, inputs
        return None
