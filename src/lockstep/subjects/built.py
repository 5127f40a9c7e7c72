"""Both sides, built in one mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from lockstep.common.errors import InputError, SubjectError
from lockstep.subjects import (
    NOTHING_MORE,
    Ask,
    Convention,
    Followed,
    Instance,
    Perturbed,
    SelfTraining,
    Setting,
    Stirred,
    Switched,
    Trained,
)
from lockstep.subjects.loops import OwnLoop
from lockstep.traces.trace import Trace, VariableRecord

_Result = TypeVar("_Result")


class Here:
    """The reference's graph on the candidate's runtime; where there is none, or it does not run, there is no trace.

    Attributes:
        instance: The graph, or None.
        note: Why it could not be run; empty where it could, or where there is none.
    """

    def __init__(self, instance: Instance | None, note: str = "") -> None:
        self.instance, self.note = instance, note

    def run(self, setting: Setting, ask: Ask = NOTHING_MORE) -> Trace | None:
        """Runs it; None where there is none."""
        if self.instance is None:
            return None
        try:
            return self.instance.run(setting, ask)
        except SubjectError as error:
            # An operation that this framework no longer has, or does otherwise, is no fault of either side.
            self.instance, self.note = None, f"whose difference it is cannot be told: {error}"
            return None

    def close(self) -> None:
        """Lets go of it."""
        if self.instance is not None:
            self.instance.close()


class Sided(Instance):
    """An instance whose failures say which side it is.

    Attributes:
        unwrapped: The instance itself.
    """

    def __init__(self, side: str, instance: Instance) -> None:
        self._side, self.unwrapped = side, instance

    @property
    def variables(self) -> tuple[VariableRecord, ...]:
        """The inventory."""
        return self.unwrapped.variables

    @property
    def free(self) -> bool:
        """As of the instance."""
        return self.unwrapped.free

    @property
    def constants(self) -> frozenset[str]:
        """As of the instance."""
        return self.unwrapped.constants

    @property
    def unordered(self) -> tuple[str, ...]:
        """As of the instance."""
        return self.unwrapped.unordered

    @property
    def conventions(self) -> Mapping[str, Convention]:
        """As of the instance."""
        return self.unwrapped.conventions

    @property
    def followed(self) -> Followed | None:
        """As of the instance."""
        return self.unwrapped.followed

    @property
    def perturbed(self) -> Perturbed | None:
        """As of the instance."""
        return self.unwrapped.perturbed

    @property
    def switched(self) -> Switched | None:
        """As of the instance."""
        return self.unwrapped.switched

    @property
    def trained(self) -> Trained | None:
        """As of the instance."""
        return self.unwrapped.trained

    @property
    def self_training(self) -> SelfTraining | None:
        """As of the instance."""
        return self.unwrapped.self_training

    @property
    def own_loop(self) -> OwnLoop | None:
        """As of the instance."""
        return self.unwrapped.own_loop

    @property
    def stirred(self) -> Stirred | None:
        """As of the instance."""
        return self.unwrapped.stirred

    def run(self, setting: Setting, ask: Ask = NOTHING_MORE) -> Trace:
        """Runs it."""
        return on_side(self._side, lambda: self.unwrapped.run(setting, ask))

    def close(self) -> None:
        """Lets go of it."""
        self.unwrapped.close()


@dataclass(frozen=True)
class Built:
    """Both sides built in one mode, and the reference's graph on the candidate's runtime where that is another one.

    Attributes:
        reference: The reference.
        candidate: The candidate.
        here: The reference's graph on the candidate's runtime.
        recorded: The same where both ran on one TensorFlow, of a reference that was recorded; None elsewhere.
    """

    reference: Sided
    candidate: Sided
    here: Here
    recorded: Instance | None = None

    @property
    def original(self) -> Instance | None:
        """The reference, or its own graph here, as something that runs from any values; None if there is neither."""
        if self.here.instance is not None or self.recorded is not None:
            return self.here.instance or self.recorded
        return self.reference if self.reference.free else None

    @property
    def perturbed(self) -> Perturbed | None:
        """What can be run again with other numbers, to see how far rounding alone moves it."""
        return (self.here.instance or self.reference).perturbed

    @property
    def switched(self) -> Switched | None:
        """The same under other switches."""
        return (self.here.instance or self.reference).switched

    def program_of_reference(self) -> Followed | None:
        """Returns what the reference, or its own graph here, is followed by; None if there is neither."""
        there = (self.here.instance, self.recorded, self.reference)
        return next((one.followed for one in there if one is not None and one.followed is not None), None)


def on_side(side: str, action: Callable[[], _Result]) -> _Result:
    """Does something with one side's code; what it raises says which side that was."""
    try:
        return action()
    except SubjectError as error:
        told = SubjectError(f"the {side} {error}", side=side, doing=error.doing)
        told.traceback_text, told.also = error.traceback_text, error.also
        raise told from error.__cause__
    except InputError as error:
        raise InputError(f"the {side}: {error}") from error
