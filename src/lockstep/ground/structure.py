"""Nested structures as flat ones, and values before and after as what changed."""

from collections.abc import Mapping
from typing import Any, Dict, Iterable, Iterator, List, Tuple
from typing import Mapping as MappingOf

import numpy as np

Arrays = MappingOf[str, np.ndarray]


def _of_ragged(tensor: Any) -> Dict[str, Any]:
    splits = tensor.nested_row_splits
    named = {"row_splits" if len(splits) == 1 else "row_splits_%d" % n: each for n, each in enumerate(splits)}
    return dict(named, values=tensor.flat_values)


def _of_sparse(tensor: Any) -> Dict[str, Any]:
    return {"indices": tensor.indices, "values": tensor.values, "dense_shape": tensor.dense_shape}


_PARTS = {"RaggedTensor": _of_ragged, "SparseTensor": _of_sparse}
"""Class of TensorFlow -> the tensors that one of its objects is made of."""


def unique_keys(names: Iterable[str]) -> List[str]:
    """Returns the names with `#2`, `#3`, ... behind those that occurred before, so that none is lost in a dict.

    >>> unique_keys(["a", "b", "a"])
    ['a', 'b', 'a#2']
    """
    seen: Dict[str, int] = {}
    keys = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        keys.append(name if seen[name] == 1 else "%s#%d" % (name, seen[name]))
    return keys


def flatten(structure: Any, path: str = "") -> Iterator[Tuple[str, Any]]:
    """Yields `(path, leaf)` for a nested structure of dicts, lists, tuples and named tuples; a None is no leaf.

    TensorFlow's ragged and sparse tensors come as the tensors that they are made of: `values`, `row_splits`, `indices`.

    >>> list(flatten(({"b": 1, "a": 2}, [3])))
    [('0/b', 1), ('0/a', 2), ('1/0', 3)]
    """
    if structure is None:
        return
    prefix = path + "/" if path else ""
    parts = _PARTS.get(type(structure).__name__)
    if parts is not None and type(structure).__module__.partition(".")[0].startswith("tensorflow"):
        structure = parts(structure)
    if isinstance(structure, Mapping):
        for key, value in structure.items():
            yield from flatten(value, "%s%s" % (prefix, key))
    elif isinstance(structure, tuple) and hasattr(structure, "_fields"):
        for key, value in zip(structure._fields, structure):
            yield from flatten(value, "%s%s" % (prefix, key))
    elif isinstance(structure, (list, tuple)):
        for index, value in enumerate(structure):
            yield from flatten(value, "%s%d" % (prefix, index))
    else:
        yield path, structure


def changed(before: Arrays, after: Arrays) -> Dict[str, np.ndarray]:
    """Returns the entries of `after` whose bits are not those of `before`."""
    return {key: value for key, value in after.items() if not same_bits(before[key], value)}


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Tells whether two arrays have one dtype and shape and hold the same bits; of strings, the same text."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.hasobject:
        return bool(np.array_equal(a, b))
    return bool(np.array_equal(np.ascontiguousarray(a).view(np.uint8), np.ascontiguousarray(b).view(np.uint8)))
