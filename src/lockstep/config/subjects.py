"""A configuration -> the subject of a side, as its table, its environment and its parts rules say."""

from __future__ import annotations

from collections.abc import Callable

from lockstep.config.entries import subject_from_table
from lockstep.config.reading import Configuration
from lockstep.subjects import Subject
from lockstep.subjects.variable_parts import in_parts


def subject_from_configuration(
    configuration: Configuration, side: str, *, say: Callable[[str], None] | None = None, fresh: bool = False
) -> Subject:
    """Makes the subject of a side.

    Args:
        configuration: What describes it.
        side: `"reference"` or `"candidate"`.
        say: Told what is being done where the side runs in an environment of its own.
        fresh: Whether such a side is run again though its trace has been kept.

    Raises:
        InputError: Its table is wrong, the file or the function does not exist, or parts are asked of a candidate in
            an environment of its own.
        SubjectError: The file failed while it was imported; the cause is the original exception.
    """
    subject = subject_from_table(
        getattr(configuration, side),
        configuration.folder,
        side,
        isolation=configuration.isolation.get(side),
        say=say,
        fresh=fresh,
        inputs_as=configuration.inputs_as,
    )
    return in_parts(subject, configuration.parts) if side == "candidate" else subject
