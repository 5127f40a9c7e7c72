"""A file that holds a model -> its subject, by the kind of file."""

from __future__ import annotations

from lockstep.files.originals import OriginalFile, refuse_missing
from lockstep.subjects import Subject


def of_file(original: OriginalFile) -> Subject:
    """Makes the subject of a file.

    Raises:
        InputError: There is no such file.
    """
    refuse_missing(original.label, original.kind, original.path)
    if original.kind == "keras_file":
        from lockstep.frameworks.tensorflow.originals.keras_file import subject

        return subject(original)
    from lockstep.frameworks.tensorflow.originals.subject import FileGraph

    return FileGraph(original)


def declared_inputs(original: OriginalFile) -> dict[str, tuple[tuple[int | None, ...], str]]:
    """Returns what the model says that it takes: name -> shape, with None for any size, and dtype."""
    refuse_missing(original.label, original.kind, original.path)
    if original.kind == "keras_file":
        from lockstep.frameworks.tensorflow.originals import keras_file

        return keras_file.declared_inputs(original)
    from lockstep.frameworks.tensorflow.originals import opening

    return opening.declared_inputs(original)
