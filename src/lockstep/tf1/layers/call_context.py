"""What the calls of layers around the present one decided, per thread."""

from __future__ import annotations

import threading
from typing import Any


class CallContext(threading.local):
    """The layer calls that this thread is in.

    Attributes:
        depth: how many calls enclose the present point.
        training: `training` of the innermost call that was given one; a layer within it that is not given
            its own takes it over, as in TF 1.15.
        frozen: whether one of the enclosing layers has `trainable=False`; updates are left out then.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.training: Any = None
        self.frozen = False


CONTEXT = CallContext()
