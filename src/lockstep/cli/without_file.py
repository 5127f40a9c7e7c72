"""The configuration that two entries and the options of `lockstep check` stand for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lockstep.cli import saying, session
from lockstep.common.errors import InputError
from lockstep.config.describing import folder_of, inputs_of, tree_of

if TYPE_CHECKING:
    from lockstep.config import Configuration


def configuration(
    entries: tuple[str, str],
    inputs: Sequence[str],
    *,
    save: Path | None,
    python: str | None,
    requirements: Sequence[str],
) -> Configuration:
    """Makes a configuration, and writes it where that is asked for.

    Args:
        entries: Of the reference and of the candidate.
        inputs: As `--input` has them; where there are none, the models are asked.
        save: Where to write it.
        python: The Python of the reference's own environment.
        requirements: What is installed in it.

    Raises:
        InputError: Something is written wrongly or does not exist, the inputs are not known, or there is such a file.
        SubjectError: A model that is asked for its inputs failed.
    """
    from lockstep import config

    if save is not None and save.exists():
        raise InputError(f"{save} exists already, and nothing is overwritten; name another, or check it as it is.")
    if python is not None and not requirements:
        raise InputError("--python goes with --requirement, as in --requirement tensorflow==1.15.5.")
    folder = folder_of(entries) if save is None else save.absolute().parent
    tree = tree_of(entries, inputs, folder=folder, python=python, requirements=requirements)
    if not inputs:
        tree["inputs"] = _asked(tree, folder)
    found = config.described(tree, folder, "the command line")
    if save is not None:
        import tomlkit

        session.write_whole(save, tomlkit.dumps(tree))
        saying.say(f"wrote  {save}", err=True)
    return found


def _asked(tree: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """Asks the models of this process what they take, the candidate first."""
    from lockstep import config
    from lockstep.cli.progress import Progress
    from lockstep.cli.startup import import_tensorflow
    from lockstep.subjects import INFERENCE

    for side in ("candidate", "reference"):
        table = tree[side]
        if config.kind_in(table):
            if declared := _of_file(table, folder, side):
                return inputs_of(declared, side)
            continue
        if table["runtime"] != "keras" or "requirements" in table:
            continue
        with Progress() as progress, contextlib.redirect_stdout(sys.stderr):
            progress.say("importing TensorFlow")
            import_tensorflow()
            progress.say(f"{side}: asking what it takes")
            from lockstep.frameworks.tensorflow.calling import declared_inputs

            instance = config.subject_from_table(table, folder, side).build(INFERENCE, {})
            try:
                declared = declared_inputs(instance.layer)  # type: ignore[attr-defined]
            finally:
                instance.close()
        if declared:
            return inputs_of(declared, side)
    raise InputError(
        "no input is given, and neither side says what it takes; give each as --input NAME=SHAPE, as in "
        "--input image=1,299,299,3."
    )


def _of_file(table: dict[str, Any], folder: Path, side: str) -> dict[str, tuple[tuple[int | None, ...], str]]:
    """Asks a model that is a file."""
    from lockstep.cli.progress import Progress
    from lockstep.cli.startup import import_tensorflow
    from lockstep.config.files import original_from
    from lockstep.frameworks import runtimes

    with Progress() as progress, contextlib.redirect_stdout(sys.stderr):
        progress.say("importing TensorFlow")
        import_tensorflow()
        progress.say(f"{side}: asking what it takes")
        return runtimes.declared_inputs(original_from(table, folder))
