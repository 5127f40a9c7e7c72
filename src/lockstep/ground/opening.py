"""Opens a file that somebody else may have put there: a regular one, of a size that was looked at, or none.

What is no regular file may block for ever (a FIFO), never end (a device), or be somebody else's (a link).
"""

import errno
import os
import stat
from typing import BinaryIO

from .failures import RecordingError

_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_SMALL = 1 << 28
_FEWEST = 1000
"""A file larger than `_SMALL` of which not even this part is on the disk is one made to be read for hours.

Files with large parts of zeros are no rarity, and some file systems keep none of these; but nothing that a recorder
writes consists of them alone.
"""


def open_regular(path: str, largest: int) -> BinaryIO:
    """Opens a regular file for reading.

    Args:
        path: The file; its folder is trusted not to change meanwhile.
        largest: How many bytes it may hold.

    Raises:
        RecordingError: It is no regular file, larger, or consists of holes.
        OSError: It cannot be opened.
    """
    _refuse_other(path, os.lstat(path), largest)  # a device may do something when it is opened
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno == errno.ELOOP:  # since it was looked at
            raise RecordingError("%s is a link; a trace holds plain files only." % path)
        raise
    file = os.fdopen(descriptor, "rb")
    try:
        _refuse_other(path, os.fstat(descriptor), largest)
    except RecordingError:
        file.close()
        raise
    return file


def _refuse_other(path: str, found: os.stat_result, largest: int) -> None:
    for is_kind, kind in _KINDS:
        if is_kind(found.st_mode):
            raise RecordingError("%s is %s; a trace holds plain files only." % (path, kind))
    if found.st_size > largest:
        raise RecordingError("%s holds %d bytes, more than the %d that may be there." % (path, found.st_size, largest))
    blocks = getattr(found, "st_blocks", None)
    if blocks is not None and found.st_size > _SMALL and blocks * 512 < found.st_size // _FEWEST:
        raise RecordingError(
            "%s speaks of %d bytes, and %d of them are on the disk: it is no file that was written."
            % (path, found.st_size, blocks * 512)
        )


def shortened(text: str, longest: int = 100) -> str:
    """Returns a text from elsewhere, cut so that a sentence can hold it.

    >>> shortened("abc"), shortened("abcdef", 3)
    ('abc', 'abc...')
    """
    return text if len(text) <= longest else text[:longest] + "..."
