"""Reads a sparse matrix that `scipy.sparse.save_npz` wrote; SciPy itself is not needed."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lockstep.common.errors import InputError
from lockstep.common.values import brief, shown
from lockstep.config.array_files import read_array
from lockstep.config.tables import kind_of
from lockstep.files.numpy_arrays import BAD_ARCHIVE

_MEMBERS = {"coo": ("row", "col"), "csr": ("indices", "indptr"), "csc": ("indices", "indptr")}
_MAX = 1 << 53  # places are counted in one whole number


def is_one(place: str, path: Path) -> bool:
    """Tells whether a file is such a matrix: an archive of a format, a shape and data.

    Args:
        place: Where the input is described, for messages.
        path: The file.
    """
    if path.suffix != ".npz" or kind_of(place, path) != "file":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {"format.npy", "shape.npy", "data.npy"} <= set(archive.namelist())
    except (OSError, *BAD_ARCHIVE):
        return False  # the reader of arrays says what is wrong with it


def read(place: str, path: Path, key: str | None) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Returns the places of a matrix's values, row by row, the values, and its shape; what has one place is added up.

    Args:
        place: Where the input is described, for messages.
        path: The file.
        key: What the configuration says of an array in the file.

    Returns:
        (values, 2) int64, (values,) of the file's dtype, and rows and columns.

    Raises:
        InputError: The matrix is damaged, of another format, or has a place outside of itself.
    """
    if key is not None:
        raise InputError(f"{place} has key, but {path.name} holds one sparse matrix.")
    kind = read_array(place, "format", "format", path).reshape(-1)
    name = kind[0] if kind.size else ""
    told = name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)
    if told not in _MEMBERS:
        raise InputError(
            f"{place}: {path.name} holds a sparse matrix of the format {shown(told)}, and coo, csr and csc are read; "
            "convert it by its method tocoo()."
        )
    held = {name: read_array(place, name, name, path) for name in ("shape", "data", *_MEMBERS[told])}
    try:
        return _row_by_row(told, held)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise InputError(f"{place}: {path.name} holds no whole {told} matrix: {brief(error)}.") from error


def _row_by_row(kind: str, held: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    rows, columns = (int(size) for size in held["shape"])
    if kind == "coo":
        row, column = held["row"], held["col"]
    else:
        starts = np.asarray(held["indptr"], np.int64)
        counts = np.diff(starts)
        if len(counts) != (rows if kind == "csr" else columns) or starts[0] or np.any(counts < 0):
            raise ValueError("indptr does not count its values")
        along = np.repeat(np.arange(len(counts)), counts)
        row, column = (along, held["indices"]) if kind == "csr" else (held["indices"], along)
    row, column, values = np.asarray(row, np.int64), np.asarray(column, np.int64), held["data"]
    if not row.shape == column.shape == values.shape or row.ndim != 1 or not row.size:
        raise ValueError(f"{row.shape} rows, {column.shape} columns and {values.shape} values")
    if not 0 < rows * columns < _MAX:
        raise ValueError(f"a shape of {rows} x {columns}")
    if row.min() < 0 or row.max() >= rows or column.min() < 0 or column.max() >= columns:
        raise ValueError(f"a value lies outside of {rows} x {columns}")
    places, which = np.unique(row * columns + column, return_inverse=True)
    summed = np.zeros(len(places), values.dtype)
    np.add.at(summed, which.reshape(-1), values)
    return np.stack([places // columns, places % columns], 1), summed, (rows, columns)
