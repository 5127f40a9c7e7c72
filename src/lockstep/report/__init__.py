"""What a check found, as data (`model`), and its renderings (`text`, `json`)."""

from lockstep.results.model import Culprit, Report, StepReport, Verdict

__all__ = ["Culprit", "Report", "StepReport", "Verdict"]
