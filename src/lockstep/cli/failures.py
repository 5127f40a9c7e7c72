"""What a person sees when something cannot be judged: one sentence, and the user's own traceback where it is theirs."""

from __future__ import annotations

import traceback

from lockstep.cli import saying
from lockstep.errors import LockstepError, SubjectError
from lockstep.tracebacks import users_traceback


def show(error: LockstepError) -> None:
    """Prints an error on standard error; that of a subject with the traceback of the user's code."""
    if isinstance(error, SubjectError):
        if error.traceback_text:
            saying.say(error.traceback_text, err=True)
        elif error.__cause__ is not None:
            saying.say(users_traceback(error.__cause__), err=True)
    saying.say(f"lockstep: {error}", err=True)


def show_own_mistake() -> None:
    """Prints the traceback of an exception that Lockstep did not foresee."""
    saying.say(traceback.format_exc(), err=True)
    saying.say("lockstep: this is a mistake in Lockstep itself, not in your model; please report it.", err=True)
