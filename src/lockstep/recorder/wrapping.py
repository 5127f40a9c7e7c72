"""Replaces methods of other people's classes for a while."""

import contextlib
import threading
from typing import Any, Callable, Dict, Iterator, List, Tuple

_lock = threading.Lock()
_wrappers: Dict[Tuple[Any, str], List[Any]] = {}


@contextlib.contextmanager
def wrapped(holder: Any, name: str, wrap: Callable[[Any], Any]) -> Iterator[None]:
    """Replaces a method of a class; several threads may ask for it, and the last one puts the original back."""
    key = holder, name
    with _lock:
        if key not in _wrappers:
            original = vars(holder)[name]
            _wrappers[key] = [0, original]
            setattr(holder, name, wrap(original))
        _wrappers[key][0] += 1
    try:
        yield
    finally:
        with _lock:
            _wrappers[key][0] -= 1
            if not _wrappers[key][0]:
                setattr(holder, name, _wrappers.pop(key)[1])
