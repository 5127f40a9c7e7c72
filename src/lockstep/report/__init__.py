"""What a check found, as data (`model`), and its renderings (`text`, `json`)."""

from lockstep.report.model import Culprit, Report, StepReport, Verdict

__all__ = ["Culprit", "Report", "StepReport", "Verdict"]
