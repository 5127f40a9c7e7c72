"""Which release changed it: the search, whatever runs a release."""

from lockstep.bisecting.searching import Search, search

__all__ = ["Search", "search"]
