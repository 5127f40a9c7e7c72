"""One assertion: the candidate computes what the reference computes."""

from __future__ import annotations

from typing import Any

from lockstep.check.verification import verify
from lockstep.results.model import Report
from lockstep.testing.inputs import Given, arrays_of
from lockstep.testing.observing import at_the_callers_line, observed
from lockstep.testing.sides import side_of


@at_the_callers_line
def assert_equivalent(reference: Any, candidate: Any, inputs: Given, **options: Any) -> Report:
    """Checks that the candidate computes what the reference computes, and fails with the report if not.

    Args:
        reference: The original: TF1-style code `forward(inputs, training)`, a function or class that makes a Keras
            layer or model, a functional or `Sequential` model, a trace folder, or any subject of Lockstep.
        candidate: The migrated model, likewise.
        inputs: Input name -> array, shape (batch size included), or table as in `lockstep.toml`; or one array or
            shape, which is handed over as one tensor.
        **options: Those of `lockstep.verify`: `rename`, `tolerance`, `loss` and the rest.

    Returns:
        The report, whose verdict is `equivalent`.

    Raises:
        DivergedError: The two do not compute the same; its text is the report: the verdict and the reason, the
            operation, both source lines, the cause and the fix.
        UndecidedError: It could not be judged, which is no pass.
        InputError: A side, an input or an option cannot be used.
        SubjectError: The code of one side failed; its cause is the original exception.

    Example:
        ```python
        def test_the_rewrite_computes_what_the_original_did():
            assert_equivalent(forward, build, {"image": (1, 28, 28, 1)})
        ```
    """
    sides = side_of(reference, "reference"), side_of(candidate, "candidate")
    report = observed(verify(*sides, arrays_of(inputs), **options))
    report.raise_if_diverged()
    return report
