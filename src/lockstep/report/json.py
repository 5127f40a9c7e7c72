"""The report as strict JSON: the keys that tools may rely on, and more."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Mapping
from typing import Any

import lockstep
from lockstep.common.shown import shown_in_json
from lockstep.report.headline import headline
from lockstep.results.model import Culprit, Provenance, Report, StepReport, Verdict

SCHEMA_VERSION = 1
"""Of `docs/schemas/report.schema.json`: another one where a key is gone or means something else; new keys keep it."""
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_json(report: Report) -> str:
    """Returns the report as strict JSON; what is not finite becomes `"NaN"`, `"Infinity"`, `"-Infinity"`."""
    return shown_in_json(json.dumps(_to_tree(report), indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def from_json(text: str) -> Report:
    """Returns the report that `to_json` wrote; keys it does not know are left aside.

    Raises:
        KeyError: A key of the contract is missing.
        ValueError: The text is no JSON, or a verdict is unknown.
    """
    tree = json.loads(text)
    return Report(
        verdict=Verdict(tree["verdict"]),
        steps=tuple(_step(step) for step in tree["steps"]),
        culprits=tuple(_culprit(culprit) for culprit in tree["culprits"]),
        environments=tree["environments"],
        duration_s=_restored(tree["duration_s"]),
        provenance=_provenance(tree),
    )


def _to_tree(report: Report) -> dict[str, Any]:
    steps = [
        {
            "name": step.name,
            "verdict": str(step.verdict),
            "summary": step.summary,
            "figures": _plain(step.figures),
            "judged_by": step.judged_by,
            "details": list(step.details),
            "duration_s": _plain(step.duration_s),
        }
        for step in report.steps
    ]
    culprits = [
        {
            "reference": culprit.reference,
            "candidate": culprit.candidate,
            "kind": culprit.kind,
            "error": _plain(culprit.error),
            "noise_budget": _plain(culprit.noise_budget),
            "ratio": _plain(culprit.ratio),
            "largest_ratio": _plain(culprit.largest_ratio),
            "source": culprit.source,
            "cause": culprit.cause,
            "reference_source": culprit.reference_source,
            "pitfall": culprit.pitfall,
            "fix": culprit.fix,
            "operations": {"reference": list(culprit.operations[0]), "candidate": list(culprit.operations[1])},
            "attributes": list(culprit.attributes),
            "variables": list(culprit.variables),
            "scopes": {"reference": culprit.scopes[0], "candidate": culprit.scopes[1]},
            "consequences": culprit.consequences,
        }
        for culprit in report.culprits
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "lockstep": lockstep.__version__,
        "verdict": str(report.verdict),
        "reason": headline(report),
        "steps": steps,
        "culprits": culprits,
        "environments": {side: dict(environment) for side, environment in report.environments.items()},
        "duration_s": _plain(report.duration_s),
        **_told(report.provenance),
    }


def _told(provenance: Provenance | None) -> dict[str, Any]:
    if provenance is None:
        return {"tolerance": None, "inputs": None, "code": None}
    return {
        "tolerance": _plain(provenance.tolerance),
        "inputs": _plain(provenance.inputs),
        "code": {side: {"sha256": _digest_of(files), "files": dict(files)} for side, files in provenance.code.items()},
    }


def _digest_of(files: Mapping[str, str]) -> str | None:
    """Returns one SHA-256 for all files of a side; None where none are known."""
    if not files:
        return None
    return hashlib.sha256("".join(f"{name}\0{digest}\n" for name, digest in sorted(files.items())).encode()).hexdigest()


def _provenance(tree: Mapping[str, Any]) -> Provenance | None:
    if tree.get("tolerance") is None:
        return None
    code = {side: dict(told["files"]) for side, told in tree["code"].items()}
    return Provenance(_restored(tree["tolerance"]), tree["inputs"], code)


def _step(tree: Mapping[str, Any]) -> StepReport:
    return StepReport(
        name=tree["name"],
        verdict=Verdict(tree["verdict"]),
        summary=tree["summary"],
        figures=_restored(tree["figures"]),
        judged_by=tree["judged_by"],
        details=tuple(tree["details"]),
        duration_s=_restored(tree["duration_s"]),
    )


def _culprit(tree: Mapping[str, Any]) -> Culprit:
    operations, scopes = tree.get("operations", {}), tree.get("scopes", {})
    return Culprit(
        reference=tree["reference"],
        candidate=tree["candidate"],
        kind=tree["kind"],
        cause=tree["cause"],
        error=_restored(tree["error"]),
        noise_budget=_restored(tree["noise_budget"]),
        source=tree["source"],
        reference_source=tree.get("reference_source"),
        pitfall=tree.get("pitfall", ""),
        fix=tree.get("fix", ""),
        operations=(tuple(operations.get("reference", ())), tuple(operations.get("candidate", ()))),
        attributes=tuple(tree.get("attributes", ())),
        variables=tuple(tree.get("variables", ())),
        scopes=(scopes.get("reference"), scopes.get("candidate")),
        largest_ratio=_restored(tree.get("largest_ratio")),
        consequences=tree.get("consequences", 0),
    )


def _plain(value: Any) -> Any:
    """Turns a figure into what strict JSON can hold."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):  # NumPy's integers are among these, and its floats among the next
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        if math.isfinite(number):
            return number
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    raise TypeError(f"a figure of a report is a {type(value).__name__}; JSON has no such type")


def _restored(value: Any) -> Any:
    if isinstance(value, str):
        return _NOT_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return value
