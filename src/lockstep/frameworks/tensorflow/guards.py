"""Step 1 of the guide: two context managers that catch a model making new variables instead of reusing its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from lockstep.common.errors import LockstepError
from lockstep.common.source_lines import SourceLine, frames, is_users, source_line


@dataclass(frozen=True)
class CreatedVariable:
    """A variable that was made, or was about to be, where none should be.

    Attributes:
        name: Its name, with the scopes around it; "Variable" where the program gave none.
        source: The user's own line that led to it; None if no frame of the stack is the user's.
        reason: `"bare-variable"`, `"keras-layer"`, `"legacy-layer"` or `"get-variable"`.
        explanation: The reason as a sentence.
        fix: What to change, as a sentence.
        variable: The `tf.Variable`, where it was made.
    """

    name: str
    source: SourceLine | None
    reason: str
    explanation: str
    fix: str
    variable: Any = None

    def __str__(self) -> str:
        where = f"\n    at {self.source}" if self.source else ""
        return f"  {self.name}{where}\n    reason: {self.explanation}\n    fix: {self.fix}"


class VariableCreationError(LockstepError, ValueError):
    """New variables were made where existing ones should have been reused.

    Attributes:
        created: What was made: one `CreatedVariable` each.
    """

    __module__ = "lockstep"  # where users have it from, and what a traceback calls it

    def __init__(self, message: str, created: tuple[CreatedVariable, ...] = ()) -> None:
        # Keras makes exceptions that pass through a layer anew, from their text alone; hence the default.
        super().__init__(message)
        self.created = created


def _error(headline: str, created: tuple[CreatedVariable, ...]) -> VariableCreationError:
    return VariableCreationError("\n".join([headline, *map(str, created)]), created)


@contextlib.contextmanager
def assert_no_variable_creations() -> Iterator[None]:
    """Raises at once, at the line that does it, when a variable is created inside.

    It sees `tf.Variable`, `keras.Variable`, `add_weight`, `get_variable` and all that rests on these.

    Raises:
        VariableCreationError: (a `ValueError`) names the variable, the user's line, the reason and the fix.

    Example:
        >>> import tensorflow as tf
        >>> with assert_no_variable_creations():
        ...     tf.Variable(2.0, name="bias")
        Traceback (most recent call last):
        lockstep.VariableCreationError: Attempted to create a new variable instead of reusing an existing one.
          bias
        ...
    """
    refused: list[CreatedVariable] = []

    def refuse(next_creator: Callable[..., Any], **kwargs: Any) -> Any:
        del next_creator
        refused.append(_describe(kwargs, sys._getframe(1)))
        raise _error("Attempted to create a new variable instead of reusing an existing one.", (refused[-1],))

    import tensorflow as tf

    with tf.variable_creator_scope(refuse):
        try:
            yield
        except VariableCreationError as error:
            error.created = error.created or tuple(refused)
            raise


@contextlib.contextmanager
def catch_and_raise_created_variables() -> Iterator[None]:
    """Raises on leaving, with the list of all variables that were created inside, if there are any.

    Raises:
        VariableCreationError: (a `ValueError`) names each variable, the user's line, the reason and the fix.
    """
    created: list[CreatedVariable] = []
    with record_created_variables(created):
        yield
    if created:
        names = [c.name if c.variable is None else c.variable for c in created]
        raise _error(f"Created vars: {names}", tuple(created))


@contextlib.contextmanager
def record_created_variables(created: list[CreatedVariable]) -> Iterator[None]:
    """Appends to `created` every variable that is created inside."""

    def note(next_creator: Callable[..., Any], **kwargs: Any) -> Any:
        variable = next_creator(**kwargs)
        created.append(_describe(kwargs, sys._getframe(1), variable))
        return variable

    import tensorflow as tf

    with tf.variable_creator_scope(note):
        yield


def _describe(arguments: dict[str, Any], innermost: FrameType, variable: Any = None) -> CreatedVariable:
    between: list[FrameType] = []
    user: FrameType | None = None
    for frame in frames(innermost):
        if is_users(frame):
            user = frame
            break
        between.append(frame)
    reason, explanation, fix = _reason(between, user)
    name = variable.name.removesuffix(":0") if variable is not None else _scoped(arguments.get("name") or "Variable")
    return CreatedVariable(name, source_line(user) if user else None, reason, explanation, fix, variable)


def _scoped(name: str) -> str:
    import tensorflow as tf

    scope = tf.get_current_name_scope()
    return f"{scope}/{name}" if scope else name


def _reason(between: list[FrameType], user: FrameType | None) -> tuple[str, str, str]:
    """Tells which of the guide's three reasons the frames between the user's line and the creation show."""
    adding = next((f for f in between if f.f_code.co_name == "add_weight" and _is_keras(f)), None)
    if adding is not None:
        return _keras_reason(adding.f_locals.get("self"), user)
    legacy = next((f.f_locals["self"] for f in reversed(between) if _is_legacy_layer(f)), None)
    if legacy is not None and legacy.automatically_named:
        return (
            "legacy-layer",
            f"the legacy layer {legacy.name!r} has no explicit name, and its automatic name moves on at every call",
            "name it, or put a named variable_scope around it, in a method decorated with track_tf1_style_variables.",
        )
    if legacy is not None or any(f.f_code.co_name == "get_variable" for f in between):
        return (
            "get-variable",
            "get_variable was asked for a name that no variable has yet, or where nothing is reused",
            "use the same names at every call, inside a method decorated with track_tf1_style_variables.",
        )
    return (
        "bare-variable",
        "an explicit tf.Variable or keras.Variable in the forward pass makes a new variable at every call",
        "make it once: keep it in an attribute, and create it only if that is still None.",
    )


def _keras_reason(owner: Any, user: FrameType | None) -> tuple[str, str, str]:
    kind = type(owner).__name__
    if user is not None and user.f_locals.get("self") is owner:
        return (
            "keras-layer",
            f"{kind}.add_weight is called in the forward pass, which adds a weight at every call",
            "move add_weight into build(), which Keras calls once.",
        )
    return (
        "keras-layer",
        f"a Keras layer or model ({kind} {getattr(owner, 'name', '')!r}) is built inside the call, anew every time",
        "make it once, in __init__, or with lockstep.tf1.get_or_create_layer.",
    )


def _is_keras(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] in ("keras", "tf_keras")


def _is_legacy_layer(frame: FrameType) -> bool:
    from lockstep.tf1 import layers

    return isinstance(frame.f_locals.get("self"), layers.Layer)
