"""The user's regular expressions: compiled and matched within a time limit.

Python's engine tries one way to match after the other. Some patterns have so many ways, as in `(a+)+b`, that a name of
40 letters takes years. A linear-time engine (RE2) has no look-around and no back reference, which rules rely on, and an
interpreter that records an original has no such package: one pattern would mean two things on the two sides. So
Python's engine is kept and stopped by an alarm of the processor's time, which it heeds while it matches and while it
compiles. An alarm exists in the main thread of a process on a POSIX system; elsewhere nothing is limited.
"""

import contextlib
import functools
import gc
import re
import signal
import sys
import threading
import time
import warnings
from typing import Any, Callable, Iterator, Optional

from .failures import RecordingError

LIMIT_S = 1.0
"""Seconds of the processor for one match: a usual one takes microseconds, and a busy machine refuses nothing."""
TOTAL_S = 4.0
"""Seconds for all matches of a pattern, where they take more than `MEAN_S` on average."""
MEAN_S = 0.001
MAX_LENGTH = 4096
"""Characters of a name that a rule makes: comparing names takes the product of their lengths."""
_QUICK_LENGTH = 1000
_TICK_S = 0.02
"""An alarm of the processor's time may be early by a tick of the kernel's, 10 ms at most."""
_computed_s = time.thread_time if sys.version_info >= (3, 7) else time.process_time
"""Seconds of the processor that this thread has taken (Python 3.6: all threads)."""


class PatternError(RecordingError):
    """A pattern is no regular expression, or takes too long; its text is the end of a sentence without a full stop."""


class TooLongError(Exception):
    """The time limit of `limited` was reached."""


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keeps Python's garbage collector out: in a large process it takes a second, which is no pattern's."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises `TooLongError` within the block when it has computed for so long; the module says where not.

    Python's garbage collector waits until the block has ended: what is raised while it runs may be lost in it.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGVTALRM)
    if before is None:  # a handler of C code's own, which could not be put back
        yield
        return
    begin, begin_here = time.process_time(), _computed_s()

    def ring(number: int, frame: Any) -> None:
        del number, frame
        missing = seconds - (_computed_s() - begin_here)
        if missing > _TICK_S:  # the alarm counts what all threads compute: a framework's compile on
            signal.setitimer(signal.ITIMER_VIRTUAL, missing)
            return
        raise TooLongError()

    signal.signal(signal.SIGVTALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        try:
            with _uncollected():
                yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)
        if left:  # somebody else's alarm, a test's time limit say: it rings when it would have, or now
            signal.setitimer(signal.ITIMER_VIRTUAL, max(left - (time.process_time() - begin), 1e-6), interval)


class Pattern:
    """One compiled pattern, and how long it has taken so far.

    Attributes:
        text: As the user wrote it.
    """

    def __init__(self, text: str) -> None:
        """Compiles it.

        Raises:
            PatternError: It is no regular expression.
        """
        self.text = text
        self._compiled = self._run(lambda: re.compile(text), "")
        # With one repetition and no alternative a match takes the square of the name's length at most.
        self._quick = sum(text.count(sign) for sign in "*+?{") <= 1 and "|" not in text
        self._spent_s, self._times = 0.0, 0

    def search(self, name: str) -> Any:
        """Returns the first match in a name, or None.

        Raises:
            PatternError: It takes too long.
        """
        return self._timed(lambda: self._compiled.search(name), name)

    def subn(self, replacement: str, name: str) -> Any:
        """Returns `(new name, how many replacements)`.

        Raises:
            PatternError: The replacement names a group that there is not, or it, or the new name, is too long.
        """
        renamed = self._timed(lambda: self._compiled.subn(replacement, name), name)
        if len(renamed[0]) > max(MAX_LENGTH, len(name)):
            said = "it makes a name of %d characters, and a name has %d at most"
            raise PatternError(said % (len(renamed[0]), MAX_LENGTH))
        return renamed

    def _timed(self, call: Callable[[], Any], name: str) -> Any:
        if self._quick and len(name) <= _QUICK_LENGTH:
            try:
                return call()
            except (re.error, IndexError) as error:
                raise PatternError(str(error)) from None
        begin = _computed_s()
        found = self._run(call, name)
        self._spent_s += _computed_s() - begin
        self._times += 1
        if self._spent_s > TOTAL_S and self._spent_s > MEAN_S * self._times:
            raise PatternError(_too_long(name))
        return found

    def _run(self, call: Callable[[], Any], name: str) -> Any:
        try:
            with limited(LIMIT_S), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of constructs that may mean something else one day
                return call()
        except TooLongError:
            raise PatternError(_too_long(name)) from None
        except (RecursionError, MemoryError):
            raise PatternError("it is nested too deeply, or too large") from None
        except (re.error, IndexError, OverflowError, ValueError) as error:
            raise PatternError(str(error)) from None


def _too_long(name: str) -> str:
    at = "" if not name else " on %r" % (name if len(name) <= 80 else name[:77] + "...")
    return "it takes too long%s; write it without a repetition within another one, as in (a+)+ or (.*)*" % at


@functools.lru_cache(maxsize=4096)
def compiled(text: str) -> Pattern:
    """Returns a pattern; each text is compiled once.

    Raises:
        PatternError: It is no regular expression.
    """
    return Pattern(text)


def finder(text: str) -> Callable[[str], bool]:
    """Returns a function that tells whether a pattern is found in a name; what is wrong with it is a sentence."""

    def found(name: str) -> bool:
        try:
            return compiled(text).search(name) is not None
        except PatternError as error:
            raise PatternError("the pattern %r cannot be used: %s." % (text[:80], error)) from None

    return found


def check(text: str, replacement: Optional[str] = None) -> None:
    """Refuses what is no regular expression, or no replacement for it.

    Raises:
        PatternError: It is none.
    """
    if replacement is not None and len(replacement) > MAX_LENGTH:
        said = "its replacement has %d characters, and a name has %d at most"
        raise PatternError(said % (len(replacement), MAX_LENGTH))
    # Substituting in an empty text is enough to have the replacement parsed, group numbers included.
    compiled(text).subn(replacement or "", "")
