"""The configuration of one migration: `lockstep.toml`, the arrays that it describes, the code that it names."""

from lockstep.config.arrays import InputSpec, make_batches, make_inputs
from lockstep.config.entries import entry_file, functions_in, named_by, subject_from_table, training_function
from lockstep.config.files import kind_in
from lockstep.config.isolation import Isolation
from lockstep.config.reading import Configuration, described, read
from lockstep.config.subjects import subject_from_configuration

__all__ = [
    "Configuration",
    "InputSpec",
    "Isolation",
    "described",
    "entry_file",
    "functions_in",
    "kind_in",
    "make_batches",
    "make_inputs",
    "named_by",
    "read",
    "subject_from_configuration",
    "subject_from_table",
    "training_function",
]
