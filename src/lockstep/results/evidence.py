"""What a check saw besides its verdicts: the programs, the variables, the settings and the lines of code it went by.

A report holds it only where somebody asked (`lockstep check --html`, `verify(..., evidence=True)`). It is NumPy and
plain Python, of no framework, and no part of the JSON contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["identical", "within", "beyond", "harmless", "inside"]
"""How a pair of operations was judged.

`identical`: computes what the reference computes, by construction. `within`: differs by no more than its noise budget.
`beyond`: by more; it is to blame. `harmless`: by more where it was compared, and yet both programs return the same in
float64: the two sides are written otherwise there. `inside`: was compared as a part of a larger place, likewise.
"""


@dataclass(frozen=True)
class Computed:
    """One operation of a program.

    Attributes:
        name: Its name.
        scope: The scope or layer that it belongs to, `a/b`.
        type: What it computes, `"Conv2D"`.
        source: The user's line that made it, `model.py:22`; empty where it is not known.
        shape: Of its first output.
        dtype: Likewise.
        index: Its position in its program.
        reads: The positions of the operations whose outputs it reads, in the order of its inputs.
    """

    name: str
    scope: str
    type: str
    source: str
    shape: tuple[int, ...]
    dtype: str
    index: int = 0
    reads: tuple[int, ...] = ()


@dataclass(frozen=True)
class Row:
    """An operation of each side that correspond, or one that has no single counterpart. Errors are relative.

    Attributes:
        reference: The reference's; None where it has none there.
        candidate: The candidate's; likewise.
        state: How forced lockstep judged it.
        error: Forced lockstep's largest difference in units of the reference's largest magnitude; None where the place
            was not compared by value.
        budget: What was allowed there, in the same unit.
        ratio: The largest error of one element in units of that element's own budget.
        free: The largest difference in the free run, where errors travel; None where it was not compared.
        rounding: How far the reference's own value is from its value in float64, both from start to end.
        forward: Whether an output depends on it; otherwise it only leads to what the run leaves in a variable.
    """

    reference: Computed | None
    candidate: Computed | None
    state: State
    error: float | None = None
    budget: float | None = None
    ratio: float | None = None
    free: float | None = None
    rounding: float | None = None
    forward: bool = True


@dataclass(frozen=True)
class ProgramPair:
    """Both programs of one mode, operation by operation.

    Attributes:
        mode: `"inference"` or `"training"`.
        rows: In the reference's order.
        notes: What could not be followed or measured, sentence by sentence.
    """

    mode: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class UlpHistogram:
    """How many elements of the outputs are how many units in the last place apart.

    Attributes:
        step: The question that was asked, `"inference-fixed"`.
        counts: Elements at 0 units, at 1, at 2 to 3, at 4 to 7, and so on: entry `n` begins at `2**(n - 1)`.
        others: Elements where a side is not finite and both are not the same.
    """

    step: str
    counts: tuple[int, ...]
    others: int = 0


@dataclass(frozen=True)
class VariablePair:
    """A variable of the reference and its partner, or one that has none.

    Attributes:
        reference: Its key in the reference; None for one that only the candidate has.
        candidate: Its key in the candidate; likewise.
        shapes: Of both, `(reference's, candidate's)`; None for a side that does not have it.
        dtype: The reference's, or the candidate's where there is no other.
        trainable: Likewise.
        rule: The rule that made the names meet, `pattern -> replacement`; empty where they are equal.
        transform: How the value is carried over; empty where it is the same.
        initial: The largest difference of the initial values; None where they were not compared.
        note: For one without a partner: the likely one, and why.
    """

    reference: str | None
    candidate: str | None
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    dtype: str
    trainable: bool
    rule: str = ""
    transform: str = ""
    initial: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Excerpt:
    """Some lines of a source file.

    Attributes:
        lines: Line number, from 1 -> its text.
    """

    lines: Mapping[int, str]


@dataclass(frozen=True)
class Evidence:
    """What a check saw besides its verdicts.

    Attributes:
        programs: Both programs, one entry for each mode in which they were followed.
        ulps: One histogram for each question that compared outputs.
        variables: All variables, in the reference's order; those of the candidate alone come last.
        ignored: How many variables of both sides were left out, as the user wished.
        settings: `"reference"` and `"candidate"` -> setting -> value, versions included.
        inputs: Name -> what went in: `(1, 299, 299, 3) float32`.
        excerpts: Name of a source file, as operations and culprits name it -> the lines that they name, with some
            around them.
    """

    programs: tuple[ProgramPair, ...] = ()
    ulps: tuple[UlpHistogram, ...] = ()
    variables: tuple[VariablePair, ...] = ()
    ignored: tuple[int, int] = (0, 0)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    excerpts: Mapping[str, Excerpt] = field(default_factory=dict)
