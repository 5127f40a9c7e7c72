"""What a person sees when something cannot be judged: one sentence, and the user's own traceback where it is theirs."""

from __future__ import annotations

import errno
import traceback

from lockstep.cli import saying
from lockstep.common.errors import LockstepError, SubjectError
from lockstep.common.tracebacks import users_traceback
from lockstep.common.values import shown_path

# What the machine lacks or forbids: no code could do better.
_SYSTEMS = {
    getattr(errno, name)
    for name in (
        "EACCES",
        "EDQUOT",
        "EFBIG",
        "EIO",
        "ELOOP",
        "EMFILE",
        "ENAMETOOLONG",
        "ENFILE",
        "ENOMEM",
        "ENOSPC",
        "ENOTDIR",
        "EPERM",
        "EROFS",
        "ESTALE",
        "ETXTBSY",
    )
    if hasattr(errno, name)
}


def show(error: LockstepError) -> None:
    """Prints an error on standard error; that of a subject with the traceback of the user's code."""
    if isinstance(error, SubjectError):
        if error.traceback_text:
            saying.say(error.traceback_text, err=True)
        elif error.__cause__ is not None:
            saying.say(users_traceback(error.__cause__), err=True)
        if error.also:
            saying.say(error.also, err=True)
    saying.say(f"lockstep: {error}", err=True)


def show_systems(error: OSError | MemoryError) -> bool:
    """Prints what the system refused; returns whether it is the system's doing and not a mistake of Lockstep's.

    No such file is not among it: whoever opens a file looks whether it is there.
    """
    if isinstance(error, MemoryError):
        saying.say("lockstep: there is not enough memory; use a smaller batch, or smaller models.", err=True)
        return True
    if error.errno not in _SYSTEMS:
        return False
    where = f"{shown_path(str(error.filename))}: " if error.filename is not None else ""
    saying.say(f"lockstep: {where}{error.strerror}.", err=True)
    return True


def show_own_mistake() -> None:
    """Prints the traceback of an exception that Lockstep did not foresee."""
    saying.say(traceback.format_exc(), err=True)
    saying.say("lockstep: this is a mistake in Lockstep itself, not in your model; please report it.", err=True)
