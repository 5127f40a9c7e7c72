"""Which of Grappler's passes a difference comes from: they are switched off, one by one and then together.

A pass is blamed only where the difference vanishes bit for bit without it; a difference that merely shrinks may come
from several places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lockstep.report.model import Verdict
from lockstep.report.switches import Distance

Probe = Callable[[tuple[str, ...]], Distance | None]
"""Runs a function with passes switched off, and returns how far it is from the run as written; None: it did not run."""


@dataclass(frozen=True)
class Attribution:
    """What makes a difference vanish, bit for bit.

    Attributes:
        alone: Passes each of which is enough, if it is switched off.
        together: Passes that do so only together, none of which can be left on; empty where one is enough.
        whole: Whether nothing does short of switching Grappler off as a whole.
    """

    alone: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    whole: bool = False

    @property
    def found(self) -> bool:
        """Whether the difference is Grappler's."""
        return bool(self.alone or self.together or self.whole)


def attribute(passes: Sequence[str], probe: Probe, without_any: Callable[[], Distance | None]) -> Attribution:
    """Looks for the passes that a difference comes from.

    Each is switched off in turn. Where no single one is enough, Grappler is switched off as a whole; if the difference
    then vanishes, passes are left on again one by one for as long as it stays away. What remains is a smallest set in
    the sense that none of it can be left on; there may be others, where one pass does what another would do.

    Args:
        passes: What can be switched off.
        probe: See `Probe`.
        without_any: The same for Grappler as a whole.

    >>> def probe(off):  # each of two passes computes something of its own
    ...     error = 1e-7 * (("remapping" not in off) + ("constant_folding" not in off))
    ...     return Distance(error, None, error == 0)
    >>> names = ["remapping", "loop_optimization", "constant_folding"]
    >>> attribute(names, probe, lambda: probe(names)).together
    ('remapping', 'constant_folding')
    """

    def vanishes(off: Sequence[str]) -> bool:
        found = probe(tuple(off))
        return found is not None and found.bit_equal

    alone = tuple([name for name in passes if vanishes((name,))])
    if alone:
        return Attribution(alone)
    whole = without_any()
    if whole is None or not whole.bit_equal:
        return Attribution()
    if not vanishes(passes):
        return Attribution(whole=True)
    needed = list(passes)
    for name in passes:
        fewer = [other for other in needed if other != name]
        if vanishes(fewer):
            needed = fewer
    return Attribution(together=tuple(needed))


@dataclass(frozen=True)
class Seen:
    """What was seen of one way of running a side.

    Attributes:
        distance: From the run as written.
        verdict: Of that distance, by the tolerance or the noise budget.
        budget: The noise budget, where it was measured.
        elsewhere: Settings of a whole process (`"oneDNN off"`) under which this way and the run as written have the
            same bits.
        unmoved_elsewhere: Those under which they differ.
    """

    distance: Distance
    verdict: Verdict
    budget: float | None = None
    elsewhere: tuple[str, ...] = ()
    unmoved_elsewhere: tuple[str, ...] = ()

    @property
    def size(self) -> str:
        """`1.9e-06 (noise budget 2e-05)`."""
        told = f" (noise budget {self.budget:.2g})" if self.budget is not None else ""
        return f"{self.distance}{told}"


def of_grappler(what: str, seen: Seen, found: Attribution, whose: str) -> str:
    """Says what a difference between a rewritten function and the same code as written comes from.

    Args:
        what: How the sentence begins: `"inference, tf.function"`.
        seen: The difference.
        found: What makes it vanish.
        whose: Whose code it is not: `"your code"`.
    """
    if seen.distance.bit_equal:
        return f"{what}: bit for bit what it computes as written."
    begin = f"{what} differs by {seen.size} from the same code run as written."
    if found.found:
        return f"{begin} {_grapplers(found, whose)}{_elsewhere_too(seen)}{_beyond(seen)}"
    if seen.elsewhere:
        settings = _listed(seen.elsewhere, "or ")
        return (
            f"{begin} No pass of Grappler makes it vanish; with {settings}, in a process of its own, it is bit for bit "
            f"equal: the difference is {_of_processes(seen.elsewhere)}, not {whose}.{_beyond(seen)}"
        )
    tried = "; ".join(["no pass of Grappler makes it vanish, nor all of them", *_unmoved(seen)])
    if seen.verdict is Verdict.DIVERGED:
        return (
            f"{begin} No switch changes that ({tried}): it is {whose}. Python code is executed once, while tf.function "
            "traces the model: what it decides or computes then (a flag, a counter, NumPy) stays as it is."
        )
    return f"{begin} No switch makes it vanish ({tried})."


def _grapplers(found: Attribution, whose: str) -> str:
    if found.whole:
        return (
            "No single pass makes it vanish, nor do all that can be named; with Grappler off as a whole it is bit for "
            f"bit equal: the difference is Grappler's, not {whose}."
        )
    if found.together:
        names = _listed(found.together, "and ")
        return (
            f"No single switch makes it vanish; with {names} off together it is bit for bit equal: the difference is "
            f"Grappler's, not {whose}."
        )
    if len(found.alone) == 1:
        name = found.alone[0]
        return f"With {name} off it is bit for bit equal: the difference is Grappler's {name}, not {whose}."
    off = _listed([f"{name} off" for name in found.alone], "or with ")
    names = _listed(found.alone, "and ")
    return f"With {off}, it is bit for bit equal: the difference is what Grappler's {names} do together, not {whose}."


def _elsewhere_too(seen: Seen) -> str:
    if not seen.elsewhere:
        return ""
    return f" It vanishes with {_listed(seen.elsewhere, 'or ')} too."


def _unmoved(seen: Seen) -> list[str]:
    return [f"nor {_listed(seen.unmoved_elsewhere, 'or ')}"] if seen.unmoved_elsewhere else []


def _beyond(seen: Seen) -> str:
    if seen.verdict is not Verdict.DIVERGED:
        return ""
    return " It is more than rounding explains, all the same."


_PROCESSES = {"one thread": "the order in which threads sum", "determinism on": "kernels that are not deterministic"}


def _of_processes(settings: Sequence[str]) -> str:
    causes = [
        next((c for key, c in _PROCESSES.items() if name.startswith(key)), "oneDNN's kernels") for name in settings
    ]
    return _listed(list(dict.fromkeys(causes)), "and ")


def of_xla(what: str, seen: Seen, function: Verdict) -> str:
    """Says what a difference between a function compiled by XLA and the code as written is.

    Args:
        what: How the sentence begins.
        seen: The difference.
        function: The verdict of the same function without XLA.
    """
    if seen.distance.bit_equal:
        return f"{what}: bit for bit what it computes as written."
    begin = f"{what} differs by {seen.size} from the same code run as written"
    if seen.verdict is Verdict.EQUIVALENT:
        return f"{begin}: XLA fuses operations, which rounds otherwise, and stays within what is allowed."
    if seen.verdict is Verdict.UNDECIDED:
        return f"{begin}, which may be rounding: XLA fuses operations."
    if function is Verdict.DIVERGED:
        return f"{begin}, and so does tf.function without XLA."
    return f"{begin}, which is more than rounding explains; tf.function without XLA does not: it is XLA, not your code."


def of_second_call(what: str, distance: Distance, eager: Distance) -> str:
    """Says what it means that a function's second call differs from the code's second call, though the first did not.

    Args:
        what: How the sentence begins.
        distance: Between the second calls.
        eager: Between the first and the second call of the code as written.
    """
    changing = "" if eager.bit_equal else f" (run as written, the second call differs by {eager} from the first)"
    return (
        f"{what} differs by {distance} from the second call on, from the same values of all variables{changing}. No "
        "switch changes that: it is your code. What Python does from call to call (a counter, an attribute, NumPy's "
        "random numbers) is done once in a tf.function, when it is traced."
    )


def of_repeated_calls(what: str, distance: Distance, steady: Sequence[str]) -> str:
    """Says that code run as written differs from call to call.

    Args:
        what: How the sentence begins.
        distance: Between two calls from the same values.
        steady: Settings of a process under which two calls are equal.
    """
    begin = f"{what} differs by {distance} from one call to the next, from the same values of all variables"
    if steady:
        return f"{begin}; not with {_listed(steady, 'or ')}: kernels that are not deterministic, not your code."
    return f"{begin}: its Python code does something else from call to call, or a kernel is not deterministic."


def of_reference(what: str, seen: Seen, runtime: str) -> str:
    """Says what a difference between the candidate run eagerly and the reference comes from.

    Args:
        what: How the sentence begins.
        seen: The difference to the reference, or to its graph on the candidate's TensorFlow.
        runtime: Where that graph is what the candidate is held against: the two versions; else empty.
    """
    if seen.distance.bit_equal:
        if runtime:
            return f"{what} is bit for bit what the reference's own graph computes there; the rest is {runtime}."
        return f"{what} is bit for bit the reference."
    begin = f"{what} differs by {seen.size} from {'its own graph there' if runtime else 'the reference'}"
    if seen.elsewhere:
        names = _listed(seen.elsewhere, "or ")
        return (
            f"{begin}. With {names} on both sides they are bit for bit equal: the difference is "
            f"{_of_processes(seen.elsewhere)}, not your code.{_beyond(seen)}"
        )
    tried = f"; it does not vanish with {_listed(seen.unmoved_elsewhere, 'or ')}" if seen.unmoved_elsewhere else ""
    if seen.verdict is Verdict.DIVERGED:
        return f"{begin}{tried}: no switch is to blame; `lockstep check` names the operation."
    return f"{begin}{tried}: the operations are written otherwise."


def _listed(names: Sequence[str], last: str) -> str:
    """`a, b or c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last}{names[-1]}"
