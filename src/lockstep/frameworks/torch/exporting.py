"""Exports a module: its ATen operations in order, each with the submodule and the line it is from."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lockstep.common.errors import SubjectError
from lockstep.common.source_lines import is_users_file
from lockstep.frameworks.torch.lowering.attention import decompositions
from lockstep.frameworks.torch.lowering.private import forget_exports, pytree
from lockstep.program import Place

_TORCH = str(Path(torch.__file__).parent)
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


@dataclass(frozen=True)
class Exported:
    """A module's operations.

    Attributes:
        graph: The graph module of ATen operations; its placeholders are `slots`.
        slots: For each placeholder, what it is and its name: `("variable", "layer.weight")`, `("input", "x")`,
            `("constant", name)`.
        constants: The values of constants, by their names.
        names: Parameters and buffers by their names in the state_dict, tied ones once.
        initial: Their values when the module was exported.
        inputs: The inputs' names, in order.
        example: Their values.
        results: For each output of the graph, where it goes: `("output", path)`, `("variable", name)` or
            `("dropped", why)`.
    """

    graph: torch.fx.GraphModule
    slots: tuple[tuple[str, str], ...]
    constants: Mapping[str, Any]
    names: tuple[str, ...]
    initial: Mapping[str, torch.Tensor]
    inputs: tuple[str, ...]
    example: Mapping[str, torch.Tensor]
    results: tuple[tuple[str, str], ...]


def export(
    module: torch.nn.Module, inputs: Sequence[torch.Tensor] | Mapping[str, torch.Tensor], *, training: bool
) -> Exported:
    """Exports a module for inputs of given shapes and dtypes; the module ends as it was.

    Args:
        module: The module.
        inputs: What it is called with: positional arguments, or keyword arguments by name.
        training: Whether in training mode.

    Raises:
        SubjectError: It cannot be exported; the sentence names the operation and the user's line.
    """
    args, kwargs = ((), dict(inputs)) if isinstance(inputs, Mapping) else (tuple(inputs), {})
    with _in_mode(module, training=training), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says of its own modules
        program = _exported(module, args, kwargs)
    names = tied_once(module)
    first = {id(tensor): name for name, tensor in names.items()}
    every = _every_name(module)
    signature = program.graph_signature
    key_of = {name: first.get(id(tensor), "") for name, tensor in every.items()}
    input_names = _input_names(module, args, kwargs)
    paths = _output_paths(program, signature)
    slots, constants = _slots(program, input_names, key_of)
    results = tuple(_result(place, spec, key_of, paths) for place, spec in enumerate(signature.output_specs))
    return Exported(
        graph=program.graph_module,
        slots=slots,
        constants=constants,
        names=tuple(names),
        initial={name: tensor.detach().clone() for name, tensor in names.items()},
        inputs=input_names,
        example=dict(zip(input_names, [*args, *kwargs.values()], strict=True)),
        results=results,
    )


def tied_once(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Returns a module's parameters and buffers by their names in its state_dict, each once under its first name.

    >>> tied = torch.nn.Linear(2, 2, bias=False)
    >>> list(tied_once(torch.nn.Sequential(tied, tied)))
    ['0.weight']
    """
    found: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if isinstance(tensor, torch.Tensor):
            found.setdefault(id(tensor), (name, tensor))
    return dict(found.values())


def named_outputs(returned: Any) -> dict[str, Any]:
    """Returns the tensors of what a module returns, by their paths: `""` for a single one, `"0/hidden"` in a structure.

    Dicts, sequences, named tuples, dataclasses, and what is registered as a pytree (the outputs and caches of
    transformers) are gone into; a None, and what is no tensor, is left out.

    >>> list(named_outputs({"a": torch.ones(1), "b": (torch.ones(1), None)}))
    ['a', 'b/0']
    """
    leaves, _ = pytree.tree_flatten_with_path(returned, is_leaf=_is_plain_dataclass)
    found: dict[str, Any] = {}
    for path, leaf in leaves:
        prefix = "/".join(_part(key) for key in path)
        if _is_plain_dataclass(leaf):
            fields = {field.name: getattr(leaf, field.name) for field in dataclasses.fields(leaf)}
            found.update({f"{prefix}/{name}".strip("/"): value for name, value in named_outputs(fields).items()})
        elif isinstance(leaf, torch.Tensor):
            found[prefix] = leaf
    return found


def place_of(node: torch.fx.Node) -> Place:
    """Returns where a node is from: the scope of its submodule, and the innermost line that is the user's."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()), ("",))[0] if stack else ""
    scope = re.sub(r"\.+", "/", path.removeprefix("L['self']").strip("."))
    return Place(scope, scope, users_line(node.meta.get("stack_trace") or ""))


def users_line(stack_trace: str) -> str:
    """Returns the innermost line of a printed stack that is the user's: `"folder/model.py:22"`, or nothing."""
    for found in reversed(list(_FRAME.finditer(stack_trace))):
        name = found["file"]
        if not name.startswith(_TORCH) and is_users_file(name):
            return f"{name}:{found['line']}"
    return ""


@contextlib.contextmanager
def _in_mode(module: torch.nn.Module, *, training: bool) -> Iterator[None]:
    before = {part: part.training for part in module.modules()}
    module.train(training)
    try:
        yield
    finally:
        for part, mode in before.items():
            part.training = mode


def _exported(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Exports strictly, and where that fails without; then in operations of Core ATen.

    Decomposing belongs to the attempt: what strict export traced may be refused there (PyTorch 2.13 on GPT-2: a view of
    an attention's transposed output).
    """
    failures = []
    for strict in (True, False):
        try:
            return torch.export.export(module, args, kwargs, strict=strict).run_decompositions(decompositions())
        except Exception as error:  # torch raises anything, the user's own exceptions among it
            failures.append(error)
            forget_exports()
    raise _unexportable(module, failures) from failures[-1]


def _unexportable(module: torch.nn.Module, failures: Sequence[Exception]) -> SubjectError:
    """Says what could not be exported, and in which line of the user's."""
    text = str(failures[-1]).strip()
    lines = (users_line(str(failure)) or _raised_at(failure) for failure in failures[::-1])
    line = next((line for line in lines if line), "")
    told = next((part.strip() for part in text.splitlines() if part.strip()), "it says nothing")
    where = f" at {line}" if line else ""
    return SubjectError(
        f"{type(module).__name__} cannot be exported{where}: {type(failures[-1]).__name__}: {told[:300]} (what depends "
        "on values in Python, as an `if` on a tensor, `.item()` or a loop over one, has to be written with tensors).",
        side=type(module).__name__,
        doing="exporting it",
    )


def _raised_at(error: BaseException) -> str:
    line, place = "", error.__traceback__
    while place is not None:
        name = place.tb_frame.f_code.co_filename
        if not name.startswith(_TORCH) and is_users_file(name):
            line = f"{name}:{place.tb_lineno}"
        place = place.tb_next
    return line


def _every_name(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def _input_names(module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """Names the inputs: positional ones as `forward` calls them."""
    names: list[str] = []
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{place}" for place in range(len(args) - len(names))]
        elif parameter.kind is not parameter.VAR_KEYWORD:
            names.append(parameter.name)
    return (*names[: len(args)], *kwargs)


def _slots(
    program: Any, input_names: Sequence[str], key_of: Mapping[str, str]
) -> tuple[tuple[tuple[str, str], ...], dict[str, Any]]:
    """Returns what each placeholder is, and the constants among them."""
    kinds = torch.export.graph_signature.InputKind
    order = iter(_in_order(program, input_names))
    slots, constants = [], {}
    for spec in program.graph_signature.input_specs:
        key = key_of.get(spec.target or "", "")
        if spec.kind is kinds.USER_INPUT:
            slots.append(("input", next(order)))
        elif spec.kind in (kinds.PARAMETER, kinds.BUFFER) and key:
            slots.append(("variable", key))
        else:
            found = program.constants.get(spec.target)
            constants[spec.target] = program.state_dict.get(spec.target) if found is None else found
            slots.append(("constant", spec.target))
    return tuple(slots), constants


def _in_order(program: Any, input_names: Sequence[str]) -> list[str]:
    """Returns the inputs' names in the order of the placeholders: keywords may have been sorted."""
    positional, named = program.call_spec.in_spec.children()
    count = positional.num_children
    return [*input_names[:count], *(str(name) for name in (named.context or ()))]


def _output_paths(program: Any, signature: Any) -> dict[int, str]:
    """Returns the paths of what the user is given, by its place among the graph's outputs."""
    kind = torch.export.graph_signature.OutputKind.USER_OUTPUT
    places = [place for place, spec in enumerate(signature.output_specs) if spec.kind is kind]
    # Each leaf stands in for itself by a number that is its place, so that the structure's own code builds it.
    leaves = [torch.tensor(place) for place in places]
    nested = pytree.tree_unflatten(leaves, program.call_spec.out_spec)
    return {int(leaf): path for path, leaf in named_outputs(nested).items()}


def _result(place: int, spec: Any, key_of: Mapping[str, str], paths: Mapping[int, str]) -> tuple[str, str]:
    kinds = torch.export.graph_signature.OutputKind
    if spec.kind is kinds.USER_OUTPUT:
        return ("output", paths[place]) if place in paths else ("dropped", "it is no tensor")
    if spec.kind is kinds.BUFFER_MUTATION:
        key = key_of.get(spec.target or "", "")
        return ("variable", key) if key else ("dropped", f"the buffer {spec.target} is not in the state_dict")
    return "dropped", f"it is a {spec.kind.name.lower().replace('_', ' ')}"


def _part(key: Any) -> str:
    for attribute in ("idx", "key", "name"):
        found = getattr(key, attribute, None)
        if found is not None:
            return str(found)
    return str(key)


def _is_plain_dataclass(value: Any) -> bool:
    known = type(value) in pytree.SUPPORTED_NODES
    return dataclasses.is_dataclass(value) and not isinstance(value, type) and not known
