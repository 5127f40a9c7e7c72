"""Which of Grappler's passes a difference comes from: they are switched off, one by one and then together.

A pass is blamed only where the difference vanishes bit for bit without it; a difference that merely shrinks may come
from several places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lockstep.report.switches import Distance
from lockstep.results.model import Verdict
from lockstep.subjects import Way

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
        if self.budget is None:
            return str(self.distance)
        by_tolerance = self.verdict is Verdict.EQUIVALENT and self.distance.outputs > self.budget
        within = ", but within the tolerance" if by_tolerance else ""
        return f"{self.distance} (noise budget {self.budget:.2g}{within})"


def of_grappler(side: Side, seen: Seen, found: Attribution) -> str:
    """Says what a difference between a rewritten function, or session, and the same code as written comes from.

    Args:
        side: Whose it is.
        seen: The difference.
        found: What makes it vanish.
    """
    if seen.distance.bit_equal:
        return f"{side.rewritten} computes bit for bit what it computes {side.as_written}."
    begin = f"{side.rewritten} differs by {seen.size} from itself {side.as_written}."
    if found.found:
        return f"{begin} {_of_passes(found, side.code)}{_elsewhere_too(seen)}{_beyond(seen)}"
    if seen.elsewhere:
        return (
            f"{begin} No pass of Grappler makes it vanish; with {_listed(seen.elsewhere, 'or ')}, in a process of its "
            f"own, it is bit for bit equal: the difference is {_of_processes(seen.elsewhere)}, not {side.code}."
            f"{_beyond(seen)}"
        )
    nor = f", nor {_listed(seen.unmoved_elsewhere, 'or ')}" if seen.unmoved_elsewhere else ""
    tried = f"no pass of Grappler makes it vanish, nor all of them{nor}"
    if seen.verdict is Verdict.DIVERGED:
        return (
            f"{begin} No switch changes that ({tried}): it is {side.code}. Python code is executed once, while "
            "tf.function traces the model; what it decides or computes then (a flag, a counter, NumPy) stays as it is."
        )
    return f"{begin} No switch explains it ({tried})."


@dataclass(frozen=True)
class Side:
    """How sentences call a side.

    Attributes:
        rewritten: What Grappler has rewritten.
        as_written: How it runs otherwise.
        code: Whose code it is.
    """

    rewritten: str
    as_written: str
    code: str


CANDIDATE = Side("in tf.function the candidate", "run eagerly", "your code")
REFERENCE = Side("in a session that rewrites its graph, as sessions come, the reference", "without", "its code")


def _of_passes(found: Attribution, code: str) -> str:
    if found.whole:
        return (
            "No single pass makes it vanish, nor do all that can be named; with Grappler off as a whole it is bit for "
            f"bit equal: the difference is Grappler's, not {code}."
        )
    if found.together:
        return (
            f"No single switch makes it vanish; with {_listed(found.together, 'and ')} off together it is bit for bit "
            f"equal: the difference is Grappler's, not {code}."
        )
    if len(found.alone) == 1:
        name = found.alone[0]
        return f"With {name} off it is bit for bit equal: the difference is Grappler's {name}, not {code}."
    off = _listed([f"{name} off" for name in found.alone], "or with ")
    return (
        f"With {off} it is bit for bit equal: the difference is what Grappler's {_listed(found.alone, 'and ')} do "
        f"together, not {code}."
    )


def _elsewhere_too(seen: Seen) -> str:
    return f" It vanishes with {_listed(seen.elsewhere, 'or ')} too." if seen.elsewhere else ""


def _beyond(seen: Seen) -> str:
    return " It is more than rounding explains, all the same." if seen.verdict is Verdict.DIVERGED else ""


_PROCESSES = {"one thread": "the order in which threads sum", "determinism on": "kernels that are not deterministic"}


def _of_processes(settings: Sequence[str]) -> str:
    causes = [
        next((cause for key, cause in _PROCESSES.items() if name.startswith(key)), "oneDNN's kernels")
        for name in settings
    ]
    return _listed(list(dict.fromkeys(causes)), "and ")


def of_xla(seen: Seen, function: Verdict) -> str:
    """Says what a difference between a function compiled by XLA and the code as written is.

    Args:
        seen: The difference.
        function: The verdict of the same function without XLA.
    """
    begin = "in tf.function(jit_compile=True) the candidate"
    if seen.distance.bit_equal:
        return f"{begin} computes bit for bit what it computes run eagerly."
    begin = f"{begin} differs by {seen.size} from itself run eagerly"
    if seen.verdict is Verdict.EQUIVALENT:
        return f"{begin}: XLA fuses operations, which rounds otherwise, and stays within what is allowed."
    if seen.verdict is Verdict.UNDECIDED:
        return f"{begin}, which XLA's fused operations may do by rounding alone; that hides any answer."
    if function is Verdict.DIVERGED:
        return f"{begin}; so it does in tf.function without XLA."
    return f"{begin}, which is more than rounding explains; without XLA it does not: it is XLA, not your code."


@dataclass(frozen=True)
class SeenWay:
    """What was seen of one way that a framework has.

    Attributes:
        seen: How far it is from the run as written.
        from_float64: How far it is from the same in float64; None where that did not run.
        written: How far the run as written is from that.
        note: Why it is not judged, or diverged in its second call; empty otherwise.
    """

    seen: Seen
    from_float64: float | None
    written: float | None
    note: str = ""


def of_way(way: Way, found: SeenWay, before: Verdict | None) -> str:
    """Says what a difference between the code as written and another way of running it is.

    Args:
        way: The way.
        found: The difference.
        before: The verdict of the way that does a part of what this one does; None without one.
    """
    begin, seen = f"with {way.name} the candidate", found.seen
    if seen.distance.bit_equal and seen.verdict is Verdict.EQUIVALENT:
        return f"{begin} computes bit for bit what it computes run eagerly."
    exact = ""
    if found.from_float64 is not None and found.written is not None:
        exact = f" From its float64 result it is {found.from_float64:.2g}, run eagerly {found.written:.2g}."
    if seen.distance.bit_equal:
        return f"{begin} is in its first call what it is run eagerly, but {found.note}: its Python code does it."
    begin = f"{begin} differs by {seen.size} from itself run eagerly"
    if seen.verdict is Verdict.EQUIVALENT:
        return f"{begin}: {way.does}, which rounds otherwise.{exact}"
    if seen.verdict is Verdict.UNDECIDED:
        return f"{begin}, which cannot be judged{f' ({found.note})' if found.note else ''}.{exact}"
    if before is Verdict.DIVERGED:
        return f"{begin}; so it does with {way.behind}.{exact}"
    without = f"; with {way.behind} it does not" if way.behind else ""
    return f"{begin}, which is more than rounding explains{without}: {way.blames}.{exact}"


def of_float64(candidate: float, reference: float, budget: float | None) -> str:
    """Says how far both sides are from what the candidate's code computes in float64: which share is whose.

    Args:
        candidate: How far the candidate run eagerly is from it: the runtime's share.
        reference: How far the reference is: the code's share, and the reference's own rounding.
        budget: How far rounding may move a side; None where it was not measured.
    """
    begin = (
        f"in float64 the candidate's code gives a result from which its eager run is {candidate:.2g} (PyTorch's "
        f"rounding) and the reference {reference:.2g}"
    )
    if budget is None:
        return f"{begin}."
    if reference <= budget:
        return f"{begin}: both only round, within {budget:.2g}."
    return f"{begin}, more than rounding explains ({budget:.2g}): that share is the code's, not the runtime's."


def of_second_call(distance: Distance, eager: Distance) -> str:
    """Says what it means that a function's second call differs from the code's second call, though the first did not.

    Args:
        distance: Between the second calls.
        eager: Between the first and the second call of the code as written.
    """
    changing = "" if eager.bit_equal else f" (run eagerly, its second call differs by {eager} from its first)"
    return (
        f"in tf.function the candidate differs by {distance} from itself run eagerly from the second call on, from the "
        f"same values of all variables{changing}. No switch changes that: it is your code. What Python does anew in "
        "each call (a counter, an attribute, NumPy's random numbers) a tf.function does once, when it is traced."
    )


def of_repeated_calls(distance: Distance, steady: Sequence[str]) -> str:
    """Says that code run as written differs from call to call.

    Args:
        distance: Between two calls from the same values.
        steady: Settings of a process under which two calls are equal.
    """
    begin = (
        f"the candidate run eagerly differs by {distance} from one call to the next, from the same values of all "
        "variables"
    )
    if steady:
        return f"{begin}; not with {_listed(steady, 'or ')}: {_of_processes(steady)}, not your code."
    return f"{begin}: its Python code does something else in each call, or a kernel is not deterministic."


def of_moved_process(setting: str, moved: Distance, reference: Distance) -> str:
    """Says what it means that a setting of a process moves the candidate further than its noise lets one judge.

    Args:
        setting: The setting.
        moved: How far it moves the candidate.
        reference: How far the candidate is from the reference there.
    """
    begin = f"with {setting} the candidate moves by {moved}"
    if reference.bit_equal:
        return f"{begin}, and so does the reference: there they are bit for bit equal."
    return f"{begin}, which rounding alone may do, and is {reference} from the reference there; that hides any answer."


def of_reference(seen: Seen, runtimes: str) -> str:
    """Says what a difference between the candidate run eagerly and the reference comes from.

    Args:
        seen: The difference to the reference; to its graph on the candidate's TensorFlow where it ran in another one.
        runtimes: The two versions, in that case; else empty.
    """
    begin = "the candidate run eagerly"
    if seen.distance.bit_equal and runtimes:
        return f"{begin} is bit for bit what the reference's own graph computes there; what is left is {runtimes}."
    if seen.distance.bit_equal:
        return f"{begin} is bit for bit the reference."
    begin = f"{begin} differs by {seen.size} from {'the reference run there' if runtimes else 'the reference'}"
    if seen.elsewhere:
        return (
            f"{begin}. With {_listed(seen.elsewhere, 'or ')} on both sides they are bit for bit equal: the difference "
            f"is {_of_processes(seen.elsewhere)}, not your code.{_beyond(seen)}"
        )
    tried = f"; it does not vanish with {_listed(seen.unmoved_elsewhere, 'or ')}" if seen.unmoved_elsewhere else ""
    if seen.verdict is Verdict.DIVERGED:
        return f"{begin}{tried}: no switch is to blame, and `lockstep check` names the operation."
    return f"{begin}{tried}: the operations are written otherwise."


def _listed(names: Sequence[str], last: str) -> str:
    """`a, b or c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last}{names[-1]}"
