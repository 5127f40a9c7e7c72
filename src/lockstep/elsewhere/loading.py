"""Opens a trace folder as a subject."""

from __future__ import annotations

import os
from pathlib import Path

from lockstep.subjects import Subject


def load(folder: str | os.PathLike[str]) -> Subject:
    """Opens a trace folder, as `lockstep record` wrote it, as a subject: it answers what was recorded.

    Raises:
        InputError: The folder holds no trace, a damaged one, or one of a newer version.
    """
    from lockstep.elsewhere.recorded import RecordedSubject

    return RecordedSubject(Path(folder))
