"""Originals that are files and no code: what is said of one, where it lies, what it may not be."""

from lockstep.files.originals.described import KEYS, KINDS, OriginalFile
from lockstep.files.originals.places import content, files_of, kind_at, refuse_missing

__all__ = ["KEYS", "KINDS", "OriginalFile", "content", "files_of", "kind_at", "refuse_missing"]
