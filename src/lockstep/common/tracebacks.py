"""The traceback of an exception as the user should see it: from their own code inwards, without Lockstep's frames."""

from __future__ import annotations

import traceback
from types import TracebackType

from lockstep.common.source_lines import is_users


def users_traceback(error: BaseException) -> str:
    """Formats an exception without Lockstep's frames: from the first frame of the user's code inwards.

    Frames of a framework that lie between or below the user's stay, as they tell what the user's code called.
    """
    formatted = traceback.TracebackException.from_exception(error)
    _strip(formatted, error, set())
    return "".join(formatted.format()).rstrip()


def _strip(formatted: traceback.TracebackException, error: BaseException, seen: set[int]) -> None:
    seen.add(id(error))
    kept = _kept(error.__traceback__)
    formatted.stack[:] = [frame for frame, keep in zip(formatted.stack, kept, strict=True) if keep]
    for nested, original in ((formatted.__cause__, error.__cause__), (formatted.__context__, error.__context__)):
        if nested is not None and original is not None and id(original) not in seen:
            _strip(nested, original, seen)


def _kept(trace: TracebackType | None) -> list[bool]:
    frames = [frame for frame, _ in traceback.walk_tb(trace)]
    users = [is_users(frame) for frame in frames]
    first = users.index(True) if True in users else 0
    ours = [frame.f_globals.get("__name__", "").partition(".")[0] == "lockstep" for frame in frames]
    return [
        position >= first and (theirs or not our)
        for position, (theirs, our) in enumerate(zip(users, ours, strict=True))
    ]
