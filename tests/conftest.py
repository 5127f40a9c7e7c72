"""In which order the files of tests are run: those that take longest come first.

A file's tests run in one process (the Makefile says why), so a long file that starts last leaves the other processor
idle until it ends. `python -m tools.times_of_tests` tells what a file takes.
"""

from __future__ import annotations

import pytest

LONGEST_FIRST = (
    "integration/test_tf115.py",
    "integration/test_guide.py",
    "integration/test_zoo.py",
    "integration/test_isolated.py",
    "integration/test_keras2_in_graphs.py",
    "integration/test_checkpoints_tf115.py",
    "integration/test_tf1_layers.py",
    "integration/test_tf1_rnn.py",
    "integration/test_draws.py",
    "integration/test_tf1_keras_citizen.py",
    "integration/test_tf1_slim.py",
    "integration/test_checkpoints.py",
    "integration/test_native_keras.py",
    "integration/test_cli_check.py",
    "integration/test_from_shim_to_keras.py",
)
"""Files below tests/ with more than half a minute of processor time, in `make test` or in `make test-slow`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of the long files first, in the order of the list, and leaves the order within a file."""
    items.sort(key=lambda item: rank(item.location[0]))


def rank(file: str) -> int:
    """Returns a file's place in the list, given its path from the project's folder; the others' are behind it.

    >>> rank("tests/unit/test_suite.py") == len(LONGEST_FIRST)
    True
    """
    name = file.replace("\\", "/").removeprefix("tests/")
    return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)
