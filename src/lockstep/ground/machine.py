"""What this machine can hold."""

import os

_WITHOUT_AN_ANSWER = 1 << 40
"""Where the system does not tell its memory (Windows): more than nearly all have."""


def memory_bytes() -> int:
    """Returns how many bytes of memory the machine has; a terabyte where it does not tell.

    >>> memory_bytes() > 1 << 20
    True
    """
    try:
        return max(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), 1)
    except (AttributeError, ValueError, OSError):
        return _WITHOUT_AN_ANSWER
