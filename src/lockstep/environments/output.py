"""What a child process writes, read while it runs: the tail is kept, lines are handed on."""

from __future__ import annotations

import codecs
import os
import queue
import select
import threading
import time
from collections.abc import Callable
from typing import IO

TAIL_BYTES = 64 * 1024
"""How much of a child's output is kept: its end."""
POLL_S = 0.05
"""How long anybody waits for output before looking at what else may have happened."""
DRAIN_S = 0.5
"""What was written before the end is read within this, though a grandchild holds the pipe open."""
_LONGEST_LINE = 8 * 1024


class Reading:
    """A child's output: a thread reads it, so that a full pipe never stops the child; the caller takes it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._chunks: queue.Queue[bytes | None] = queue.Queue(maxsize=16)  # 1 MB at most
        self._tail = bytearray()
        self._left_out = 0
        self._line = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._closing = threading.Event()
        self._ended = False
        self._moving = False
        self._thread = threading.Thread(target=self._read, daemon=True, name="lockstep child output")
        self._thread.start()

    def _read(self) -> None:
        chunk: bytes | None = b""
        while chunk is not None:
            try:
                _readable(self._pipe, None)
                self._moving = True
                chunk = os.read(self._pipe.fileno(), 64 * 1024) or None
            except (OSError, ValueError):  # closed by `close`
                chunk = None
            while not self._closing.is_set():
                try:
                    self._chunks.put(chunk, timeout=POLL_S)
                    break
                except queue.Full:
                    continue
            self._moving = False
            if self._closing.is_set():
                return

    def take(self, say: Callable[[str], None] | None, wait_s: float) -> bool:
        """Takes one chunk, waiting for it at most `wait_s`; tells whether there was one."""
        if self._ended:
            time.sleep(wait_s)  # it has closed its output and goes on
            return False
        try:
            chunk = self._chunks.get(timeout=wait_s)
        except queue.Empty:
            return False
        if chunk is None:
            self._ended = True
            return False
        self._keep(chunk)
        if say is not None:
            self._line += self._decoder.decode(chunk).replace("\r\n", "\n").replace("\r", "\n")
            *lines, self._line = self._line.split("\n")
            if len(self._line) > _LONGEST_LINE:
                lines, self._line = [*lines, self._line], ""
            for line in lines:
                say(line)
        return True

    def restart(self) -> None:
        """Forgets what was read before."""
        self._tail.clear()
        self._left_out, self._line = 0, ""
        self._decoder.reset()

    def settle(self, say: Callable[[str], None] | None) -> None:
        """Takes all that the child has written until now."""
        # In the order in which a chunk goes: whatever has left the pipe is moving or in the queue.
        while not self._ended and (_readable(self._pipe, 0) or self._moving or not self._chunks.empty()):
            self.take(say, POLL_S)

    def drain(self, say: Callable[[str], None] | None, wait_s: float) -> None:
        """Takes what a child that has ended wrote before."""
        end = time.monotonic() + wait_s
        while not self._ended and time.monotonic() < end:
            self.take(say, POLL_S)

    def flush(self, say: Callable[[str], None] | None) -> None:
        """Hands over a last line without a line end."""
        if say is not None and self._line:
            say(self._line)

    def close(self) -> None:
        """Keeps what has been read, without saying it, and gives the pipe back."""
        while not self._ended:
            try:
                chunk = self._chunks.get(timeout=POLL_S)
            except queue.Empty:
                break
            self._ended = chunk is None
            self._keep(chunk or b"")
        self._closing.set()
        # A process that got away from its session may hold the other end: the thread then ends with it, not before.
        self._thread.join(timeout=POLL_S * 4)
        if not self._thread.is_alive():
            self._pipe.close()

    def _keep(self, chunk: bytes) -> None:
        self._tail += chunk
        if len(self._tail) > 2 * TAIL_BYTES:
            self._left_out += len(self._tail) - TAIL_BYTES
            del self._tail[:-TAIL_BYTES]

    @property
    def text(self) -> str:
        """The tail; its first line says how much is missing before it."""
        beyond = max(len(self._tail) - TAIL_BYTES, 0)
        text = self._tail[beyond:].decode("utf-8", "replace").replace("\r\n", "\n")
        left_out = self._left_out + beyond
        return f"... ({left_out:,} bytes before this are left out)\n{text}" if left_out else text


def _readable(pipe: IO[bytes], wait_s: float | None) -> bool:
    """Waits until there is something in a pipe, or its other end is closed; where that cannot be told, says no."""
    if not hasattr(select, "poll"):
        return False
    waiting = select.poll()
    waiting.register(pipe.fileno(), select.POLLIN)
    return bool(waiting.poll(None if wait_s is None else wait_s * 1000))
