"""One model under two releases of a package, as the configuration of a check."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lockstep.common.errors import InputError
from lockstep.compare.outputs import OutputRules
from lockstep.config import Configuration
from lockstep.config.files import kind_in
from lockstep.config.isolation import Isolation
from lockstep.environments import EnvironmentSpec
from lockstep.environments.constraints import KERAS_3_SINCE, TENSORFLOW, highest
from lockstep.environments.releases import python_for
from lockstep.environments.requirements import parse

PACKAGES = ("tensorflow", "tensorflow-cpu", "keras")
"""Whose releases a Keras 3 model can be run under."""


@dataclass(frozen=True)
class Environments:
    """What the environments of all releases have in common.

    Attributes:
        package: Whose releases are tried.
        requirements: What they hold besides.
        python: The Python of all; None: what each takes.
    """

    package: str
    requirements: tuple[str, ...]
    python: str | None = None

    def of(self, release: str) -> EnvironmentSpec:
        """Returns the environment of a release.

        Raises:
            InputError: It has Keras 2.
        """
        numbers = highest(parse(f"{self.package}=={release}"))
        since = KERAS_3_SINCE if self.package in TENSORFLOW else (3, 0)
        if numbers is not None and numbers < since:
            raise InputError(
                f"{self.package} {release} has Keras 2, and bisect runs Keras 3 models; begin with "
                f"{'.'.join(map(str, since))}, or write a check whose reference is a model of Keras 2 (docs/keras2.md)."
            )
        return EnvironmentSpec(self.python or self._python(release), (f"{self.package}=={release}", *self.requirements))

    def _python(self, release: str) -> str:
        pinned = [(self.package, release)]
        for text in self.requirements:
            requirement = parse(text)
            pinned += [
                (str(requirement.name), version) for operator, version in requirement.clauses if operator == "=="
            ]
        known = [python_for("tensorflow", version) for name, version in pinned if name in TENSORFLOW]
        return known[0] if known else python_for(self.package, release)


def chosen(
    configuration: Configuration,
    package: str | None,
    requirements: Sequence[str],
    python: str | None,
    *,
    tensorflow_here: str | None,
) -> Environments:
    """Returns what the environments have in common, as the options and the candidate's table say.

    Args:
        configuration: Whose candidate is run.
        package: Of `--package`; None: the TensorFlow among its requirements, or `tensorflow`.
        requirements: Of `--requirement`; none: the candidate's own.
        python: Of `--python`; None: the candidate's own.
        tensorflow_here: The TensorFlow of this process as a requirement, which goes with releases of Keras where no
            other is named.

    Raises:
        InputError: The package is none of those, it is pinned too, or an environment that is there already is named.
    """
    own = configuration.isolation.get("candidate", Isolation()).environment
    if own is not None and own.interpreter is not None:
        raise InputError(
            "[candidate] names an interpreter, which has one release and no other; take it out, or name requirements."
        )
    given = tuple(requirements) or (own.requirements if own is not None else ())
    parsed = [(text, parse(text).name) for text in given]
    if package is None:
        package = next((str(name) for _, name in parsed if name in TENSORFLOW), "tensorflow")
    if package not in PACKAGES:
        why = (
            "PyTorch modules run in Lockstep's own process, so under no other release"
            if package == "torch"
            else "it tells what a release of TensorFlow or Keras changes"
        )
        raise InputError(f"--package {package}: {why}; it must be one of {', '.join(PACKAGES)}.")
    if requirements and (twice := next((text for text, name in parsed if name == package), None)):
        raise InputError(f"--requirement {twice}: --versions says which releases of {package} there are; take it out.")
    rest = tuple(text for text, name in parsed if name != package)
    if package == "keras" and not any(name in TENSORFLOW for _, name in parsed):
        if tensorflow_here is None:
            raise InputError("Keras needs TensorFlow; say which one: --requirement tensorflow==2.19.1.")
        rest = (*rest, tensorflow_here)
    return Environments(package, rest, python or (own.python if own is not None else None))


def refuse_other_models(configuration: Configuration) -> None:
    """Refuses a candidate that is no Keras 3 model of an entry.

    Raises:
        InputError: It is a file, or of another runtime.
    """
    table = configuration.candidate
    kind = kind_in(table)
    runtime = table.get("runtime", "")
    if kind is None and runtime == "keras":
        return
    what = f"a file ({kind})" if kind is not None else f'runtime = "{runtime}"'
    advice = (
        "PyTorch modules run in Lockstep's own process, so under no other release."
        if runtime == "torch"
        else "For a step between two releases write a check, whose reference has python and requirements."
    )
    raise InputError(
        f"the model is {what}, and bisect runs Keras 3 models: a function build() that makes one. {advice}"
    )


def between(configuration: Configuration, environments: Environments, reference: str, candidate: str) -> Configuration:
    """Returns the check of the candidate's code under two releases.

    What relates the reference of a migration to its candidate (rules for names and values, a checkpoint) relates
    nothing here, and training goes by no loss: a model in an environment of its own takes no gradients.
    """
    table = {key: configuration.candidate[key] for key in ("runtime", "entry")}
    before = configuration.isolation.get("candidate", Isolation())

    def isolated(release: str) -> Isolation:
        return dataclasses.replace(before, environment=environments.of(release))

    return dataclasses.replace(
        configuration,
        reference=table,
        candidate=table,
        isolation={"reference": isolated(reference), "candidate": isolated(candidate)},
        rename=(),
        transforms=(),
        parts=(),
        checkpoint=None,
        gradients=None,
        trajectory=None,
        outputs=OutputRules(ignore=configuration.outputs.ignore),
    )


def entry_of(configuration: Configuration) -> Path:
    """Returns the file of the model."""
    return Path(configuration.folder / str(configuration.candidate["entry"]).rpartition(":")[0])
