"""Sparse inputs: three arrays under the names that `tf.sparse_placeholder` gives its three placeholders.

Everywhere but where the user's code is called a sparse input `adj` is `adj/indices` (int64, a row for each value),
`adj/values` and `adj/shape` (int64): arrays like all others. The user's code gets one sparse tensor called `adj`.
"""

from typing import Any, Callable, Dict, Iterable, List, Mapping, Tuple

INDICES, VALUES, SHAPE = "/indices", "/values", "/shape"
PARTS = (INDICES, VALUES, SHAPE)


def wholes(names: Iterable[str]) -> Tuple[str, ...]:
    """Returns the names of the sparse inputs among names of arrays, in their order.

    >>> wholes(["x", "adj/indices", "adj/values", "adj/shape", "y/values"])
    ('adj',)
    """
    known = list(names)
    found = [name[: -len(INDICES)] for name in known if name.endswith(INDICES)]
    return tuple(whole for whole in found if whole and all(whole + part in known for part in PARTS))


def is_place(name: str, names: Iterable[str]) -> bool:
    """Tells whether an array says where the values of a sparse input are; their number and order are not free.

    >>> is_place("adj/indices", ["adj/indices", "adj/values", "adj/shape"]), is_place("adj/indices", ["adj/indices"])
    (True, False)
    """
    return any(name in (whole + INDICES, whole + SHAPE) for whole in wholes(names))


def as_given(names: Iterable[str]) -> List[str]:
    """Returns the names of the inputs as code gets them.

    >>> as_given(["adj/indices", "adj/values", "adj/shape", "x"])
    ['adj', 'x']
    """
    return list(composed(dict.fromkeys(names), tuple_of))


def tuple_of(*parts: Any) -> Tuple[Any, ...]:
    """Returns its arguments."""
    return parts


def composed(tensors: Mapping[str, Any], make: Callable[[Any, Any, Any], Any]) -> Dict[str, Any]:
    """Puts the three tensors of each sparse input together, at the place of the first of them.

    Args:
        tensors: Input name -> tensor.
        make: Makes a sparse tensor of its indices, values and shape.

    >>> composed({"adj/indices": 1, "adj/values": 2, "adj/shape": 3, "x": 4}, lambda *parts: parts)
    {'adj': (1, 2, 3), 'x': 4}
    """
    part_of = {whole + part: whole for whole in wholes(tensors) for part in PARTS}
    found = {}  # type: Dict[str, Any]
    for name, tensor in tensors.items():
        whole = part_of.get(name)
        if whole is None:
            found[name] = tensor
        elif whole not in found:
            found[whole] = make(*[tensors[whole + part] for part in PARTS])
    return found
