"""What an environment is asked to be, and the key of its content."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from lockstep.common.errors import InputError
from lockstep.environments.constraints import Constraint, constraints_for
from lockstep.environments.requirements import Requirement, parse

_LAYOUT = 1  # raised when environments of an earlier Lockstep must not be taken for this one's
_VERSION = re.compile(r"3\.\d{1,2}(?:\.\d{1,2})?")


@dataclass(frozen=True)
class EnvironmentSpec:
    """An environment: either a Python version with requirements, or an interpreter that is used as it is.

    Attributes:
        python: The version, `"3.7"` or `"3.7.16"`; None: that of the Python which runs Lockstep.
        requirements: As in a requirements file; a relative path is relative to the current folder.
        interpreter: The executable of an environment that is there already, or None.

    Raises:
        InputError: Both or neither are given, the version is no version, or a requirement cannot be used.

    >>> EnvironmentSpec("3.7", ("six==1.16.0", "TF_Slim == 1.1.0")).normalised
    ('six==1.16.0', 'tf-slim==1.1.0')
    """

    python: str | None = None
    requirements: tuple[str, ...] = ()
    interpreter: Path | None = None

    def __post_init__(self) -> None:
        if self.interpreter is not None and (self.python is not None or self.requirements):
            raise InputError(
                "an interpreter is used as it is, so it goes with neither python nor requirements; name one or the "
                "other."
            )
        if self.interpreter is None and not self.requirements:
            version = f" (python is {self.python!r})" if self.python else ""
            raise InputError(
                f"an environment needs requirements{version}: a Python without the model's framework cannot run it; "
                'add requirements = ["tensorflow==1.15.5"] or the like.'
            )
        if self.python is not None:
            check_version(self.python)
        self.parsed()

    @property
    def wanted_python(self) -> str:
        """The version asked for; this Python's `X.Y` where none is."""
        return self.python or f"{sys.version_info.major}.{sys.version_info.minor}"

    @property
    def normalised(self) -> tuple[str, ...]:
        """The requirements in one form and order, each once."""
        return tuple(sorted({requirement.text for requirement in self.parsed()}))

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """What Lockstep adds to them, since old releases do not say it."""
        return constraints_for(self.parsed())

    def parsed(self) -> tuple[Requirement, ...]:
        """The requirements taken apart, in the order given."""
        return tuple(parse(text) for text in self.requirements)

    @property
    def digest(self) -> str:
        """The key of its content, 24 hexadecimal digits.

        Order and spelling of the requirements do not matter; the content of a local file does, and so do the system
        and the processor.
        """
        content = {
            "layout": _LAYOUT,
            "system": [sys.platform, platform.machine()],
            "interpreter": None if self.interpreter is None else str(self.interpreter.absolute()),
            "python": None if self.interpreter is not None else self.wanted_python,
            "requirements": sorted({requirement.key for requirement in self.parsed()}),
            "constraints": sorted(constraint.requirement for constraint in self.constraints),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def check_version(text: str) -> None:
    """Refuses what is no plain version of Python 3.

    >>> check_version("3.7.16")
    >>> check_version(">=3.7")
    Traceback (most recent call last):
    lockstep.InputError: python is '>=3.7'; it must be one version, such as "3.7" or "3.7.16".
    """
    if not _VERSION.fullmatch(text):
        raise InputError(f'python is {text!r}; it must be one version, such as "3.7" or "3.7.16".')
