"""Both sides of a check, and the rules by which their variables are pairs: built in a mode, run from initial values."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockstep.check.judging import Traces
from lockstep.check.steps import checkpoint as from_checkpoint
from lockstep.common.arrays import Arrays
from lockstep.common.errors import DamagedError, InputError, SubjectError
from lockstep.compare.align import Alignment, Rename, TransformRule, align, renamer
from lockstep.compare.outputs import OutputPaths, OutputRules, again, by_paths, matched
from lockstep.files.checkpoints.entries import Checkpoint
from lockstep.files.checkpoints.settings import CheckpointSettings
from lockstep.subjects import INITIAL, Ask, Instance, Mode, Setting, Subject, Wanted
from lockstep.subjects.built import Built, Here, Sided, on_side
from lockstep.subjects.variable_parts import PartRule, cut_again, in_parts


@dataclass(frozen=True)
class Rules:
    """What is known of both sides' variables: how they are called, how they are made, where their values lie."""

    rename: tuple[Rename, ...] = ()
    transforms: tuple[TransformRule, ...] = ()
    checkpoint: CheckpointSettings | None = None
    ignore: tuple[str, ...] = ()


class Sides:
    """Reference and candidate of one check.

    Args:
        reference: The reference.
        candidate: The candidate.
        inputs: What both run on.
        rules: How their variables are pairs, as far as it is known before.
        say: Told what is being done.

    Attributes:
        subjects: Side -> subject.
        inputs: What both run on.
        rules: The rules, with those that were found meanwhile.
        output_paths: Which output of the candidate is which, once they are matched.
    """

    def __init__(
        self, reference: Subject, candidate: Subject, inputs: Arrays, rules: Rules, say: Callable[[str], None]
    ) -> None:
        self.subjects = {"reference": reference, "candidate": candidate}
        self.inputs, self.rules, self._say = inputs, rules, say
        self._wanted = dict.fromkeys(self.subjects, Wanted(ignore=rules.ignore))
        self.output_paths = OutputPaths()
        self._checkpoint: Checkpoint | None = None

    # ---- what has to be known before they are built

    def want_training(self, *, gradients: bool, steps: int) -> None:
        """Says what a side that is recorded in another process has to record of training."""
        for side, wanted in self._wanted.items():
            self._wanted[side] = dataclasses.replace(wanted, gradients=gradients, steps=steps)

    def want_checkpoint(self, opened: Checkpoint) -> None:
        """Says what such a side finds in a checkpoint under its names."""
        self._checkpoint = opened
        for side, wanted in self._wanted.items():
            values = from_checkpoint.values_for(opened, self.rules.rename if side == "candidate" else ())
            self._wanted[side] = dataclasses.replace(wanted, given=values)

    def go_on_with(self, rename: Sequence[Rename], transforms: Sequence[TransformRule]) -> None:
        """Puts rules that were found in front of those that were given."""
        self.rules = dataclasses.replace(
            self.rules, rename=(*rename, *self.rules.rename), transforms=(*transforms, *self.rules.transforms)
        )
        if self._checkpoint is not None:
            self.want_checkpoint(self._checkpoint)

    @property
    def without_training(self) -> str:
        """Why neither side is asked what it does in training mode; empty where both have one."""
        told = [f"the {side} {why}" for side, one in self.subjects.items() if (why := one.offers.no_training)]
        return f"not offered: {told[0]}" if told else ""

    @property
    def given(self) -> tuple[str, ...]:
        """The sides whose initial values are given, a file's, and no draws of initializers."""
        return tuple(side for side, subject in self.subjects.items() if not subject.offers.initializers)

    # ---- what they are built and run as

    def build(self, stack: ExitStack, mode: Mode) -> Built:
        """Builds both in a mode, and the reference's graph on the candidate's runtime; they last as long as the stack.

        Raises:
            SubjectError: The code of one side failed.
        """
        built: dict[str, Sided] = {}
        for side, subject in self.subjects.items():
            self._say(f"{side}: building {'training' if mode.training else 'inference'} mode, {mode.randomness}")
            if side == "candidate":
                renamed = renamer(self.rules.rename)
                names = {renamed(record.key): record.key for record in built["reference"].variables}
                self._wanted[side] = dataclasses.replace(self._wanted[side], fill_names=names)
            instance = on_side(side, functools.partial(subject.build, mode, self.inputs, self._wanted[side]))
            stack.callback(instance.close)
            built[side] = Sided(side, instance)
        here = self._here(mode)
        stack.callback(here.close)
        recorded = self._recorded(mode, here, built["reference"])
        if recorded is not None:
            stack.callback(recorded.close)
        return Built(built["reference"], built["candidate"], here, recorded)

    def build_again(self, side: str, mode: Mode) -> Instance | None:
        """Builds one side as if for the first time; None where nothing is built."""
        self._say(f"{side}: building it again")
        return self.subjects[side].build_again(mode, self.inputs, self._wanted[side])

    def initial(self, built: Built, *, repeats: int = 0) -> Traces:
        """Runs both from their initial values, and the candidate `repeats` times more."""
        self._say("reference: running from its initial values")
        reference = built.reference.run(INITIAL)
        if reference.repeated_draws and built.recorded is not None:
            try:
                followed = built.recorded.run(Setting("given", reference.before))
            except SubjectError as error:
                built.here.note = f"whose difference it is cannot be told: {error}"
            else:
                drawn, unknown = followed.forward_draws, followed.repeated_draws
                reference = dataclasses.replace(reference, forward_draws=drawn, repeated_draws=unknown)
        here = built.here.run(Setting("given", reference.before))
        self._say("candidate: running from its initial values")
        return Traces(reference, built.candidate.run(INITIAL, Ask(repeats=repeats)), here)

    def align(self, both: Traces) -> Alignment:
        """Pairs their variables."""
        rules = self.rules
        return align(both.reference.variables, both.candidate.variables, rules.rename, rules.transforms, rules.ignore)

    # ---- what is found out once they are built

    def leave_out_constants(self, built: Built, first: Traces) -> tuple[str, ...]:
        """Has what a side's code makes itself, and the other keeps in no variable, stay as it is made.

        A port that keeps its mask as a buffer has a variable that the original, which computes it, has not. Where the
        other side has one without a partner that is as large, the two may be pairs.

        Returns:
            The names of the variables that are left out, which only one side has.
        """
        alignment = self.align(first)
        alone = ([record for record, _ in alignment.missing], [record for record, _ in alignment.extra])
        left: list[str] = []
        for (ours, others), side in zip((alone, alone[::-1]), (built.reference, built.candidate), strict=True):
            sizes = {math.prod(record.shape) for record in others}
            made = side.constants if ours else frozenset()
            left += [r.name for r in ours if r.key in made and math.prod(r.shape) not in sizes]
        ignore = (*self.rules.ignore, *(f"^{re.escape(name)}$" for name in left))
        self.rules = dataclasses.replace(self.rules, ignore=ignore)
        return tuple(left)

    def match_outputs(self, built: Built, first: Traces, rules: OutputRules) -> tuple[Built, Traces, str]:
        """Has the candidate's outputs seen under the reference's paths, in this mode and in those that follow.

        Returns:
            What was built and run, seen so, and what is to be told of it.
        """
        paths = matched(first.base.outputs, first.candidate.outputs, rules)
        self.output_paths = paths
        if paths.changes_nothing:
            return built, first, ""
        subject = self.subjects["candidate"]
        self.subjects["candidate"] = by_paths(subject, paths)
        instance, trace = again(built.candidate.unwrapped, first.candidate, paths, here=subject.offers.rules)
        built = dataclasses.replace(built, candidate=Sided("candidate", instance))
        return built, dataclasses.replace(first, candidate=trace), paths.note

    def cut(self, built: Built, first: Traces, parts: Sequence[PartRule]) -> tuple[Built, Traces]:
        """Cuts the candidate's variables by rules that were found since it was built."""
        self.subjects["candidate"] = in_parts(self.subjects["candidate"], parts)
        instance, trace = cut_again(built.candidate.unwrapped, first.candidate, parts)
        built = dataclasses.replace(built, candidate=Sided("candidate", instance))
        return built, dataclasses.replace(first, candidate=trace)

    def environments(self) -> dict[str, dict[str, str]]:
        """Returns what both ran on."""
        return {side: dict(subject.environment()) for side, subject in self.subjects.items()}

    def runtimes(self) -> str:
        """Names the versions that a difference between runtimes is between."""
        told = [subject.environment() for subject in self.subjects.values()]
        products = [("PyTorch" if "torch" in one else "TensorFlow") for one in told]
        versions = [one.get("torch") or one.get("tensorflow", "?") for one in told]
        if products[0] == products[1]:
            return f"{products[0]} {' against '.join(versions)}"
        return " against ".join(f"{product} {version}" for product, version in zip(products, versions, strict=True))

    def _recorded(self, mode: Mode, here: Here, reference: Sided) -> Instance | None:
        """Returns the graph of a reference that was recorded on this process's TensorFlow; None of any other."""
        if reference.free or here.instance is not None or here.note:
            return None
        try:
            return self.subjects["reference"].graph_here(mode, self.inputs)
        except DamagedError:
            raise
        except (InputError, SubjectError) as error:
            here.note = f"whose difference it is cannot be told: {error}"
            return None

    def _here(self, mode: Mode) -> Here:
        """Builds the reference's graph on the candidate's runtime."""
        if elsewhere := self._elsewhere():
            return Here(None, note=elsewhere)
        if self.subjects["reference"].recording is not None:
            self._say("the reference's graph: importing it into this TensorFlow")
        try:
            return Here(self.subjects["reference"].on_this_runtime(mode, self.inputs))
        except DamagedError:
            raise
        except (InputError, SubjectError) as error:
            return Here(None, note=f"whose difference it is cannot be told: {error}")

    def _elsewhere(self) -> str:
        """Tells why no graph can be run on the candidate's TensorFlow: it is another one than this process's."""
        reference, candidate = (subject.environment().get("tensorflow") for subject in self.subjects.values())
        ours = sys.modules.get("tensorflow")
        if candidate in (None, reference) or ours is None or candidate == ours.__version__:
            return ""
        return (
            f"whose difference it is cannot be told: the candidate ran on TensorFlow {candidate}, and Lockstep could "
            f"run the reference's graph on its own {ours.__version__} alone"
        )


def subject_of(given: Subject | Mapping[str, Any], side: str) -> Subject:
    """Returns a subject as it is, and that of a table of the configuration.

    Raises:
        InputError: It is neither.
    """
    if isinstance(given, Mapping):
        from lockstep.config import subject_from_table

        return subject_from_table(dict(given), folder=Path.cwd(), side=side)
    if not isinstance(given, Subject):
        raise InputError(
            f"the {side} is a {type(given).__name__}; wrap it first: lockstep.tf1_graph(forward) for TF1-style code, "
            "lockstep.keras(build) for a function that makes a Keras layer or model, lockstep.torch(build) for one "
            "that makes a PyTorch module."
        )
    return given
