"""What earlier processes left that were killed: temporary folders, half a trace, half an environment."""

from __future__ import annotations

import contextlib
import tempfile

from lockstep.common.cache import traces_folder
from lockstep.common.errors import InputError
from lockstep.environments import store
from lockstep.ground import claims


def reclaim() -> None:
    """Removes it where Lockstep alone writes; beside a trace or a report, the next one that is written there does.

    What a living process owns is locked and stays.
    """
    with contextlib.suppress(OSError):  # there is no temporary folder, which is told when one is needed
        claims.reclaim(tempfile.gettempdir(), claims.TEMPORARY)
    with contextlib.suppress(InputError):  # there is no cache
        claims.reclaim(str(traces_folder()), claims.PARTIAL)
    store.reclaim()
