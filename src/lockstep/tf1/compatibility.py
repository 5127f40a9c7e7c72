"""Which TensorFlow and Keras `lockstep.tf1` runs on, asked when it is imported.

Two questions: are the versions among the supported ones, and is every private name there on which `private` rests?
A version that is too old is refused. A newer one than was checked is taken if it has all the names, with a warning.
"""

from __future__ import annotations

import dis
import importlib
import inspect
import platform
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lockstep.common.errors import UncheckedVersionWarning, UnsupportedVersionError

OLDEST_TENSORFLOW, OLDEST_KERAS = (2, 16), (3, 3)
CHECKED_PAIRS = (("2.16.2", "3.3.3"), ("2.18.0", "3.6.0"), ("2.21.0", "3.15.1"))
"""(TensorFlow, Keras): what `make matrix` runs the tests on."""

NEWEST_PYTHON = "3.13"
"""The newest Python that these were run on."""

CHECKED = ", ".join(f"TensorFlow {tensorflow} with Keras {keras}" for tensorflow, keras in CHECKED_PAIRS)
REMEDY = "pip install 'tensorflow>=2.16,<2.22' 'keras>=3.3,<3.16'"


@dataclass(frozen=True)
class PrivateName:
    """A private name of TensorFlow or Keras.

    Attributes:
        holder: the module or class that has it, in dots.
        name: the attribute; of a class also one that only its instances have.
        purpose: what it is for, as the rest of a sentence that begins with "it".
        checked: on which versions it was found.
        overridden_in: the module of Lockstep, as a path below `lockstep`, that overrides it instead of using it.
        optional: whether a supported version may lack it; then it is not asked for at import.
    """

    holder: str
    name: str
    purpose: str
    checked: str = CHECKED
    overridden_in: str = ""
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.holder}.{self.name}"

    def present(self) -> bool:
        """Tells whether the installed versions have it."""
        try:
            holder = resolve(self.holder)
        except (ImportError, AttributeError):
            return False
        return hasattr(holder, self.name) or _set_by_a_method(holder, self.name)


def resolve(path: str) -> Any:
    """Returns what a path in dots leads to.

    A part is looked up as a module first, because `tensorflow` hides its own `python`, and as an attribute then.

    Raises:
        ImportError: its first part cannot be imported.
        AttributeError: it leads nowhere.
    """
    first, *others = path.split(".")
    found, place = importlib.import_module(first), first
    for part in others:
        place = f"{place}.{part}"
        try:
            found = importlib.import_module(place)
        except ImportError:
            found = getattr(found, part)
    return found


def check(names: Iterable[PrivateName]) -> None:
    """Raises unless the installed TensorFlow and Keras are supported and have all of `names`.

    Raises:
        UnsupportedVersionError: one is missing or too old, Keras computes with something else than TensorFlow, or a
            name is missing; the text says which, what was found and what is supported.
    """
    tensorflow, keras = _import("tensorflow"), _import("keras")
    _check_version("TensorFlow", tensorflow.__version__, OLDEST_TENSORFLOW)
    _check_version("Keras", keras.__version__, OLDEST_KERAS)
    if keras.backend.backend() != "tensorflow":
        raise UnsupportedVersionError(
            f"lockstep.tf1 runs TensorFlow code, and Keras computes with {keras.backend.backend()!r} here. Set "
            "KERAS_BACKEND=tensorflow in the environment, before Keras is imported."
        )
    missing = [name for name in names if not name.optional and not name.present()]
    if missing:
        raise UnsupportedVersionError(missing_sentence(missing))
    _warn_of_unchecked(
        ("TensorFlow", tensorflow.__version__, CHECKED_PAIRS[-1][0]),
        ("Keras", keras.__version__, CHECKED_PAIRS[-1][1]),
        ("Python", platform.python_version(), NEWEST_PYTHON),
    )


def missing_sentence(missing: Iterable[PrivateName]) -> str:
    """Says which names are missing, what is installed, what is supported and what to do."""
    tensorflow, keras = _import("tensorflow"), _import("keras")
    listed = "; ".join(f"{name}, by which it {name.purpose}" for name in missing)
    return (
        f"TensorFlow {tensorflow.__version__} with Keras {keras.__version__} lacks what lockstep.tf1 rests on: "
        f"{listed}. It was checked on {CHECKED}. Install versions in this range ({REMEDY}), or report the missing name."
    )


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UnsupportedVersionError(
            f"lockstep.tf1 runs TensorFlow code, and {name} is not installed. It was checked on {CHECKED}; "
            f"run: {REMEDY}"
        ) from error


def _check_version(framework: str, found: str, oldest: tuple[int, int]) -> None:
    if () < _numbers(found) < oldest:
        raise UnsupportedVersionError(
            f"{framework} {found} is too old for lockstep.tf1, which supports {framework} {oldest[0]}.{oldest[1]} and "
            f"later; it was checked on {CHECKED}. Run: {REMEDY}"
        )


def _warn_of_unchecked(*products: tuple[str, str, str]) -> None:
    """Warns of each product, given with its version and the newest that was checked, that is newer than that."""
    newer = [f"{name} {found}" for name, found, checked in products if _numbers(found) > _numbers(checked)]
    if newer:
        warnings.warn(
            f"lockstep.tf1 was not checked on {' and '.join(newer)}. All private names that it rests on are there, so "
            f"it is used; it was checked on {CHECKED}, up to Python {NEWEST_PYTHON}.",
            UncheckedVersionWarning,
            stacklevel=3,
        )


def _numbers(version: str) -> tuple[int, ...]:
    """Returns a version's first two numbers, which tell releases apart; none of what is no version.

    >>> _numbers("2.22.0-rc1"), _numbers("unknown")
    ((2, 22), ())
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else ()


def _set_by_a_method(holder: Any, name: str) -> bool:
    """Tells whether a class's methods set an attribute, which its instances have then.

    No instance is made to find out: a variable would start TensorFlow's devices, which the program that imports us may
    still want to configure.
    """
    if not isinstance(holder, type):
        return False
    members = [inspect.unwrap(member) for base in holder.__mro__ for member in vars(base).values() if callable(member)]
    codes = [member.__code__ for member in members if hasattr(member, "__code__") and name in member.__code__.co_names]
    return any(
        step.opname == "STORE_ATTR" and step.argval == name for code in codes for step in dis.get_instructions(code)
    )
