"""What a check was about: its tolerance, and digests of its inputs and of both sides' code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from lockstep.common.arrays import Arrays, named
from lockstep.compare.tolerance import FixedTolerance
from lockstep.results.model import Provenance
from lockstep.subjects import Subject


def provenance_of(subjects: Mapping[str, Subject], inputs: Arrays, tolerance: FixedTolerance) -> Provenance:
    """Returns what a check of these subjects is about, once they have been built: then their code is imported.

    Args:
        subjects: Side -> subject.
        inputs: What both ran on.
        tolerance: What judged.
    """
    return Provenance(
        tolerance={
            "rtol": tolerance.rtol,
            "atol": tolerance.atol,
            "rule": "fixed" if tolerance.alone else "noise budget",
        },
        inputs={name: _described(np.asarray(array)) for name, array in named(inputs).items()},
        code={side: dict(subject.code()) for side, subject in subjects.items()},
    )


def digest_of(array: np.ndarray) -> str:
    """Returns the SHA-256 of an array's dtype, shape and values; strings count as their text.

    Args:
        array: Of numbers or strings, of any shape.

    Example:
        >>> digest_of(np.zeros(2, np.float32)) == digest_of(np.zeros((2, 1), np.float32))
        False
    """
    text = array.dtype.kind in "OSU"
    found = hashlib.sha256(f"{'text' if text else array.dtype.name} {array.shape}\0".encode())
    if text:
        for item in array.flat:
            content = item if isinstance(item, bytes) else str(item).encode("utf-8", "surrogatepass")
            found.update(f"{len(content)}:".encode() + content)
    else:
        found.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return found.hexdigest()


def _described(array: np.ndarray) -> dict[str, object]:
    return {"shape": list(array.shape), "dtype": array.dtype.name, "sha256": digest_of(array)}
