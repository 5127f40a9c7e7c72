"""What a side's modules have registered with TensorFlow, Keras and absl: there while their code runs, and only then.

Two imports of one file register the same names; a second gradient, flag or Keras class of a name is an error in some
versions, and the first one's in others.
"""

import sys
from typing import Any, Callable, Dict, Iterator, List, Tuple

Taken = List[Tuple[Callable[..., None], Tuple[Any, ...]]]


def take_out(is_users: Callable[[str], bool]) -> Taken:
    """Takes out what the modules registered whose names `is_users` knows; returns what `put_back` puts back."""
    taken: Taken = []
    answers: Dict[str, bool] = {}  # hundreds of gradients come from a few modules
    for entries in _tables():
        for name, entry in list(entries.items()):
            module = _module_of(entry)
            if module not in answers:
                answers[module] = is_users(module)
            if answers[module]:
                taken.append((entries.__setitem__, (name, entries.pop(name))))
    for flags, module in _flags(is_users):
        for flag in list(flags.flags_by_module_dict().get(module, ())):  # taking one out shortens it
            identity = flags.find_module_id_defining_flag(flag.name)
            taken.append((_define, (flags, module, identity, flag)))
            if flag.name in flags:
                delattr(flags, flag.name)
    return taken


def put_back(taken: Taken) -> None:
    """Puts back what `take_out` took."""
    for put, arguments in taken:
        put(*arguments)


def _tables() -> Iterator[Dict[str, Any]]:
    # Keras's own `register_keras_serializable` writes into this dictionary, which is public in every version.
    seen: List[Any] = []
    for name in ("keras", "tf_keras", "tensorflow.python.keras"):
        utils = getattr(sys.modules.get(name), "utils", None)
        get = getattr(utils, "get_custom_objects", None)
        if get is None and name == "tensorflow.python.keras":
            get = getattr(sys.modules.get(name + ".utils.generic_utils"), "get_custom_objects", None)
        entries = get() if callable(get) else None
        if isinstance(entries, dict) and not any(entries is other for other in seen):
            seen.append(entries)
            yield entries
    # TensorFlow 1.12 to 2.21 keep gradients so; there is no public way to forget one.
    operations = sys.modules.get("tensorflow.python.framework.ops")
    for attribute in ("_gradient_registry", "_shape_registry"):
        entries = getattr(getattr(operations, attribute, None), "_registry", None)
        if isinstance(entries, dict):
            yield entries


def _module_of(entry: Any) -> str:
    if isinstance(entry, dict):  # of TensorFlow's registries: the function, and where it was registered
        entry = entry.get("type")
    return getattr(entry, "__module__", None) or ""


def _flags(is_users: Callable[[str], bool]) -> Iterator[Tuple[Any, str]]:
    flags = getattr(sys.modules.get("absl.flags"), "FLAGS", None)
    if flags is not None:
        for module in list(flags.flags_by_module_dict()):
            if is_users(module):
                yield flags, module


def _define(flags: Any, module: str, identity: int, flag: Any) -> None:
    flags[flag.name] = flag
    flags.register_flag_by_module(module, flag)
    flags.register_flag_by_module_id(identity, flag)
