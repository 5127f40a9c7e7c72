"""Known traps of old releases: what they do not say about versions of others that came later, and would break them.

A constraint is no requirement: it holds only if the package comes in anyway. One is added where the requirement cannot
mean a release that is free of the trap, and where the user says nothing about the package; and it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lockstep.environments.requirements import Requirement

TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tensorflow-macos", "intel-tensorflow")
"""The packages that are TensorFlow."""
KERAS_3_SINCE = (2, 16)
"""The first TensorFlow whose `tf.keras` is Keras 3."""


@dataclass(frozen=True)
class Constraint:
    """A bound on a package that an old release lacks.

    Attributes:
        requirement: What is asked of the other package, as in `"protobuf<3.21"`.
        below: The first release, `(major, minor)`, that does not need it.
        since: The first release that needs it.
        reason: What happens without.
        source: How that is known.
    """

    requirement: str
    below: tuple[int, int]
    since: tuple[int, int]
    reason: str
    source: str

    @property
    def package(self) -> str:
        """The name of the bounded package."""
        return self.requirement.partition("<")[0]


KNOWN = (
    Constraint(
        "protobuf<3.21",
        (2, 12),
        (0, 0),
        "from protobuf 4 on, `import tensorflow` ends with 'Descriptors cannot be created directly'",
        "measured: 1.14.0, 2.2.0, 2.4.1, 2.6.0, 2.7.0 with what they resolve to; 2.12 is the first to allow protobuf 4",
    ),
    Constraint(
        "numpy<1.24",
        (2, 12),
        (0, 0),
        "NumPy 1.24 has no `np.object` and `np.bool`, which these releases use",
        "measured: `import tensorflow` of 2.2.0 fails with 1.24.4, of 2.9.3 and 2.11.0 with 2.2; 2.11 has few left",
    ),
    Constraint(
        "numpy<2",
        (2, 18),
        (2, 13),
        "these releases were compiled for NumPy 1",
        "measured: `import tensorflow` of 2.14.0 fails with 2.2; 2.18 is the first for NumPy 2 (its release notes)",
    ),
    Constraint(
        "gast<0.3",
        (2, 2),
        (0, 0),
        "AutoGraph of these releases cannot read the trees of later versions",
        "measured: a `tf.function` with an `if` fails in 1.14.0 with 0.7.0; 1.15 to 2.1 require 0.2.2",
    ),
    Constraint(
        "h5py<3",
        (2, 4),
        (0, 0),
        "h5py 3 reads attributes as str, which these releases' Keras decodes again when it loads weights",
        "measured: load_weights of 1.14.0 fails with 3.8.0; 2.2 to 2.4 require 2.10",
    ),
    Constraint(
        "keras<2.7",
        (2, 7),
        (2, 6),
        "2.6.0 accepts any later Keras 2, which does not run on it",
        "measured: `import tensorflow` of 2.6.0 fails with 2.15.0; 2.6.5 has the bound",
    ),
    Constraint(
        "tensorflow-estimator<2.7",
        (2, 7),
        (2, 6),
        "2.6.0 accepts any later Estimator, made for later releases",
        "2.6.0 resolves to 2.15.0; 2.6.5 has the bound",
    ),
)


def constraints_for(requirements: Sequence[Requirement]) -> tuple[Constraint, ...]:
    """Returns the constraints that a list of requirements needs, beside what it says itself.

    >>> from lockstep.environments.requirements import parse
    >>> [constraint.requirement for constraint in constraints_for([parse("tensorflow==1.15.5")])]
    ['protobuf<3.21', 'numpy<1.24', 'gast<0.3', 'h5py<3']
    >>> constraints_for([parse("tensorflow>=2.18")])
    ()
    """
    named = {requirement.name for requirement in requirements}
    wanted = []
    for requirement in requirements:
        if requirement.name not in TENSORFLOW:
            continue
        most = highest(requirement)
        wanted += [
            constraint
            for constraint in KNOWN
            if most is not None and constraint.since <= most < constraint.below and constraint.package not in named
        ]
    return tuple(dict.fromkeys(wanted))


def highest(requirement: Requirement) -> tuple[int, int] | None:
    """Returns the highest `(major, minor)` that a requirement can mean, or None where nothing bounds it.

    >>> from lockstep.environments.requirements import parse
    >>> highest(parse("tensorflow<2.16")), highest(parse("tensorflow==1.15.5")), highest(parse("tensorflow"))
    ((2, 15), (1, 15), None)
    """
    bounds = [bound for operator, version in requirement.clauses if (bound := _bound(operator, version)) is not None]
    return min(bounds, default=None)


def _bound(operator: str, version: str) -> tuple[int, int] | None:
    parts = [int(part) if part.isdecimal() else 0 for part in version.split(".")[:3]]
    wildcard = version.endswith(".*")
    if operator in ("==", "===", "<="):
        # `==1.*` means any release of 1: none has reached minor version 99.
        return (parts[0], 99 if wildcard and version.count(".") == 1 else ([*parts, 0])[1])
    if operator == "~=":
        return (parts[0], 99) if version.count(".") == 1 else (parts[0], parts[1])
    if operator == "<":
        major, minor, patch = ([*parts, 0, 0])[:3]
        if patch:
            return major, minor
        return (major, minor - 1) if minor else (major - 1, 99)
    return None
