"""Finds the user's own source line in a stack that is mostly a framework's."""

from __future__ import annotations

import importlib.util
import linecache
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType


@dataclass(frozen=True)
class SourceLine:
    """One line of a program: file, line number (from 1), the function it is in and its text."""

    file: str
    line: int
    function: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, in {self.function}" + (f": {self.text}" if self.text else "")


def frames(innermost: FrameType | None) -> Iterator[FrameType]:
    """Yields `innermost` and the frames that called it, one after the other."""
    while innermost is not None:
        yield innermost
        innermost = innermost.f_back


def is_users(frame: FrameType) -> bool:
    """Tells whether a frame runs code that belongs neither to a framework, nor to Lockstep, nor to Python itself."""
    return is_users_file(frame.f_code.co_filename)


def is_users_file(name: str) -> bool:
    """Tells whether a file belongs neither to a framework, nor to Lockstep, nor to Python itself."""
    if name.startswith("<"):  # "<stdin>" and "<ipython-input-...>" are the user's; "<frozen ...>" is Python's
        return not name.startswith("<frozen")
    frameworks, installed, python = _roots()
    if name.startswith(frameworks):
        return "/lockstep/examples/" in name
    # The standard library's folder holds site-packages, where the user's own package may well be installed.
    return name.startswith(installed) or not name.startswith(python)


def source_line(frame: FrameType) -> SourceLine:
    """Describes the line that `frame` is at."""
    code = frame.f_code
    text = linecache.getline(code.co_filename, frame.f_lineno).strip()
    return SourceLine(code.co_filename, frame.f_lineno, code.co_name, text)


@cache
def _roots() -> tuple[tuple[str, ...], str, str]:
    frameworks = [f"{Path(__file__).parents[1]}/"]
    for package in ("tensorflow", "keras", "tf_keras", "tf_slim", "numpy", "absl"):
        spec = importlib.util.find_spec(package)
        if spec is not None:
            frameworks.extend(f"{folder}/" for folder in spec.submodule_search_locations or [])
    paths = sysconfig.get_paths()
    return tuple(frameworks), f"{paths['purelib']}/", f"{paths['stdlib']}/"
