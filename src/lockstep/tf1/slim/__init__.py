"""Makes tf_slim 1.1.0 work on today's TensorFlow, in graphs and in eager execution.

tf_slim looks for names where TensorFlow 1 had them, and for layer classes that Keras 3 no longer has. `enable` puts
stand-ins into tf_slim's own modules and nowhere else: TensorFlow itself stays untouched, and `disable` puts back
every attribute as it was.

    from lockstep.tf1 import slim as slim_support

    slim_support.enable()
    import tf_slim as slim  # before or after, as you like
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import threading
from types import FunctionType, ModuleType

from lockstep.common.errors import UnsupportedVersionError

SUPPORTED_VERSION = "1.1.0"

_lock = threading.RLock()
_ABSENT = object()
_undo: list[tuple[ModuleType | FunctionType, str, object]] = []
"""What `enable` replaced: (its owner, attribute, original value or `_ABSENT`), in the order of replacement."""


def slim_installed() -> bool:
    """Returns whether tf_slim can be imported; it is not imported to find out."""
    return importlib.util.find_spec("tf_slim") is not None


def enabled() -> bool:
    """Returns whether tf_slim works through Lockstep now."""
    return bool(_undo)


def enable() -> None:
    """Makes tf_slim work; does nothing where it already does or where tf_slim is not installed.

    Raises:
        UnsupportedVersionError: another tf_slim than 1.1.0 is installed.
    """
    with _lock:
        if _undo or not slim_installed():
            return
        _check_version()
        # Only now: these modules import TensorFlow and tf_slim, which whoever has neither must not pay for.
        from lockstep.tf1.slim.replacements import replacements

        try:
            for owner, attribute, value in replacements():
                _undo.append((owner, attribute, vars(owner).get(attribute, _ABSENT)))
                setattr(owner, attribute, value)
        except BaseException:
            disable()
            raise


def disable() -> None:
    """Puts back every attribute that `enable` replaced."""
    with _lock:
        while _undo:
            owner, attribute, original = _undo.pop()
            if original is _ABSENT:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, original)


def _check_version() -> None:
    try:
        version = importlib.metadata.version("tf_slim")
    except importlib.metadata.PackageNotFoundError:
        version = "of an unknown version (it has no package metadata)"
    if version != SUPPORTED_VERSION:
        raise UnsupportedVersionError(
            f"The installed tf_slim is {version}, and Lockstep supports {SUPPORTED_VERSION} alone, "
            f"because it replaces parts inside it; run: pip install tf-slim=={SUPPORTED_VERSION}"
        )
