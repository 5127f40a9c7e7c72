"""Imports TensorFlow without the lines that its C++ code writes to standard error while it starts."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator

from lockstep.common.errors import UnsupportedVersionError

_STDERR = 2


def import_tensorflow() -> None:
    """Imports TensorFlow quietly; does nothing where it is imported already.

    Raises:
        UnsupportedVersionError: It is not installed, or its import failed; then what it wrote is printed.
    """
    if "tensorflow" in sys.modules:
        return
    # Level 3 keeps fatal errors alone. A user who has set another level keeps it, and sees what they asked for.
    quiet = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "3"
    try:
        with held_back_stderr() if quiet else contextlib.nullcontext():
            importlib.import_module("tensorflow")
        if quiet:
            # Legacy code calls deprecated functions by the dozen; that they still work is not the question here.
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
    except ModuleNotFoundError as error:
        if error.name == "tensorflow":
            raise UnsupportedVersionError(
                "TensorFlow is not installed in this environment; `pip install 'lockstep-verify[tensorflow]'` installs "
                "it."
            ) from error
        raise UnsupportedVersionError(f"TensorFlow could not be imported: {error}.") from error
    except Exception as error:
        raise UnsupportedVersionError(f"TensorFlow could not be imported: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def held_back_stderr() -> Iterator[None]:
    """Keeps what any code, C++ included, writes to standard error; shows it only if the block fails."""
    sys.stderr.flush()
    original = os.dup(_STDERR)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        except Exception:
            _restore(original)
            held.seek(0)
            os.write(_STDERR, held.read())
            raise
        except BaseException:  # an interruption: what was held back does not explain it
            _restore(original)
            raise
        else:
            _restore(original)


def _restore(original: int) -> None:
    sys.stderr.flush()
    os.dup2(original, _STDERR)
    os.close(original)
