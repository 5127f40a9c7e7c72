"""Which three placeholders a script's `tf.sparse_placeholder` made: what it returns is no tensor that has a name."""

import contextlib
import importlib
import sys
from typing import Any, Callable, Dict, Iterator, List

import tensorflow as tf

from ..ground import sparse
from ..ground.failures import RecordingError
from . import named_tensors

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)

_KINDS = ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault")
_PLACES = (
    ("tensorflow", "sparse_placeholder"),
    ("tensorflow.compat.v1", "sparse_placeholder"),
    ("tensorflow._api.v2.compat.v1", "sparse_placeholder"),
    ("tensorflow.sparse", "placeholder"),
    ("tensorflow._api.v1.sparse", "placeholder"),
    ("tensorflow.compat.v1.sparse", "placeholder"),
    ("tensorflow._api.v2.compat.v1.sparse", "placeholder"),
)


class Noted:
    """The sparse placeholders that a script makes, in their order."""

    def __init__(self) -> None:
        self.made = []  # type: List[Any]

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Notes those that are made inside."""
        with contextlib.suppress(ImportError):  # TensorFlow 1.12 has no such module
            # `tf.compat.v1` becomes another object once it is imported under its name, as a script does.
            importlib.import_module("tensorflow.compat.v1")
        modules = [(sys.modules.get(module), name) for module, name in _PLACES]
        modules += [(v1, "sparse_placeholder"), (tf, "sparse_placeholder"), (v1.sparse, "placeholder")]
        with contextlib.ExitStack() as stack:
            for module, name in modules:
                before = None if module is None else getattr(module, name, None)
                if before is not None and not isinstance(before, _Noting):
                    setattr(module, name, _Noting(before, self.made))
                    stack.callback(setattr, module, name, before)
            yield


class _Noting:
    """A function that makes sparse placeholders, and keeps them."""

    def __init__(self, original: Callable[..., Any], made: List[Any]) -> None:
        self._original, self._made = original, made

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        made = self._original(*arguments, **options)
        self._made.append(made)
        return made


def of_input(name: str, fed: Any, noted: Noted) -> Dict[str, Any]:
    """Returns the names of a sparse input's arrays -> the placeholders that they feed.

    Args:
        name: The input.
        fed: A sparse placeholder, or a name: the one that it was given, or that of any of its three placeholders.
        noted: Those that the script made.

    Raises:
        RecordingError: There is no such sparse placeholder.
    """
    made = _named(name, fed, noted) if isinstance(fed, str) else fed
    if not isinstance(made, tf.SparseTensor):
        raise RecordingError(
            "feeds: the input %s is sparse, and %s is no sparse placeholder.%s"
            % (name, _described(fed), _listed(noted))
        )
    parts = {
        name + sparse.INDICES: made.indices,
        name + sparse.VALUES: made.values,
        name + sparse.SHAPE: made.dense_shape,
    }
    # A shape that the script gives is a constant of its own.
    return {key: tensor for key, tensor in parts.items() if tensor.op.type in _KINDS}


def _named(name: str, fed: str, noted: Noted) -> Any:
    found = [one for one in noted.made if fed in _names(one)]
    if len(found) != 1:
        raise RecordingError(
            "feeds: the input %s is sparse, and %s names no sparse placeholder of the script.%s"
            % (name, fed, _listed(noted))
        )
    return found[0]


def _names(made: Any) -> List[str]:
    tensors = [tensor.name for tensor in (made.indices, made.values, made.dense_shape)]
    plain = [name.rpartition(":")[0] for name in tensors]
    return tensors + plain + ([_whole(made)] if _whole(made) else [])


def _whole(made: Any) -> str:
    """Returns the name that a sparse placeholder was given; empty without one."""
    name, _, part = made.values.op.name.rpartition("/")
    return name if part == "values" else ""


def _listed(noted: Noted) -> str:
    if not noted.made:
        return " The script makes none by tf.sparse_placeholder."
    return " Its sparse placeholders are %s." % ", ".join(_whole(made) or made.values.op.name for made in noted.made)


def _described(fed: Any) -> str:
    return named_tensors.described(fed) if isinstance(fed, tf.Tensor) else "a %s" % type(fed).__name__
