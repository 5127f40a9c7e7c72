"""How a Keras 2 model wants its inputs: as its `Input`s say, or as the signature of its `call` lets one think."""

import inspect
import itertools
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from ..ground.failures import RecordingError

_NO_INPUTS = frozenset({"self", "training", "mask"})
_MOST_INPUTS = 6
"""Up to here all orders are gone through, where names do not tell which input is which."""

MOST_FORMS = 4
"""How many ways of calling a model there are at most."""

Form = NamedTuple("Form", [("told", str), ("arguments", Callable[[Any], Tuple[Tuple[Any, ...], Dict[str, Any]]])])
"""A way of calling a model: what a person calls it; the inputs -> positional and keyword arguments."""

_AS_GIVEN = Form("the inputs as they are given", lambda inputs: ((inputs,), {}))
_DICT = Form("a dict of tensors by their names", _AS_GIVEN.arguments)
_TENSOR = Form("one tensor", lambda inputs: (tuple(inputs.values()), {}))
_KEYWORDS = Form("keyword arguments", lambda inputs: ((), dict(inputs)))


def forms(model: Any, inputs: Any) -> Tuple[Form, ...]:
    """Returns the ways in which a model may want its inputs, the likeliest first.

    Args:
        model: A Keras 2 model or layer.
        inputs: Input name -> tensor; or one tensor, which is handed over as it is.

    Raises:
        RecordingError: The model says what it takes, and it is something else.
    """
    if not isinstance(inputs, Mapping):
        return (_AS_GIVEN,)
    declared = _declared(model)
    if declared:
        order = _matched(declared, inputs)
        if len(order) == 1:
            return (_TENSOR,)
        # A list in the order of the model's inputs is taken by one that was made of a dict of them, too.
        told = "a list of tensors (%s)" % ", ".join(order)
        return (Form(told, lambda given: (([given[name] for name in order],), {})),)
    return _of_signature(model, inputs)


def takes_training(model: Any) -> bool:
    """Tells whether a model's `call` can be told if it is trained."""
    parameters = inspect.signature(model.call).parameters
    return "training" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _declared(model: Any) -> List[Tuple[str, Any]]:
    """Returns name and symbolic tensor of what a functional or a built sequential model was made of; none of others."""
    tensors, names = getattr(model, "inputs", None), getattr(model, "input_names", None)
    if not tensors or not names or len(tensors) != len(names):
        return []
    return list(zip(names, tensors))


def _matched(declared: Sequence[Tuple[str, Any]], inputs: Mapping[str, Any]) -> List[str]:
    """Returns the names of the inputs in the model's order: its own names, or the only order that fits.

    Raises:
        RecordingError: That is not one to one.
    """
    names = [name for name, _ in declared]
    if set(names) == set(inputs):
        return names
    orders = []
    if len(inputs) == len(declared) <= _MOST_INPUTS:
        orders = [
            list(order)
            for order in itertools.permutations(inputs)
            if all(_fits(inputs[name], tensor) for name, (_, tensor) in zip(order, declared))
        ]
    if len(orders) == 1:
        return orders[0]
    told = ", ".join("%s %s %s" % (name, tensor.shape, _dtype(tensor)) for name, tensor in declared)
    given = ", ".join("%s %s %s" % (name, tensor.shape, _dtype(tensor)) for name, tensor in inputs.items())
    way_out = (
        "Several of them fit: give them under the model's names."
        if orders
        else "Give inputs of these shapes and dtypes, under the model's names."
    )
    raise RecordingError("the model's inputs are %s; the inputs given are %s. %s" % (told, given, way_out))


def _fits(tensor: Any, wanted: Any) -> bool:
    return bool(wanted.shape.is_compatible_with(tensor.shape)) and _dtype(tensor) == _dtype(wanted)


def _dtype(tensor: Any) -> str:
    return str(getattr(tensor.dtype, "name", tensor.dtype))


def _of_signature(model: Any, inputs: Mapping[str, Any]) -> Tuple[Form, ...]:
    parameters = [
        parameter
        for name, parameter in inspect.signature(model.call).parameters.items()
        if name not in _NO_INPUTS and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    names = [parameter.name for parameter in parameters]
    as_keywords = set(required) <= set(inputs) <= set(names)
    if len(required) > 1:
        if as_keywords and required[0] in inputs:
            # Keras 2 wants the first one by its place.
            return (_first_by_place(required[0]),)
        if len(required) <= len(inputs) <= len(names):
            order = ", ".join("%s = %s" % (theirs, name) for theirs, name in zip(names, inputs))
            return (Form("positional arguments (%s)" % order, _TENSOR.arguments),)
        raise RecordingError(
            "the model's call takes %s; the inputs given are %s. Give inputs of these names."
            % (", ".join(names), ", ".join(inputs))
        )
    if len(inputs) == 1:
        return (_TENSOR, _DICT)
    found = [_DICT]
    if as_keywords:
        found.append(_first_by_place(names[0]) if names[0] in inputs else _KEYWORDS)
    order = ", ".join(inputs)
    found.append(Form("a list of tensors (%s)" % order, lambda given: ((list(given.values()),), {})))
    found.append(Form("a tuple of tensors (%s)" % order, lambda given: ((tuple(given.values()),), {})))
    return tuple(found)


def _first_by_place(first: str) -> Form:
    def arguments(given: Any) -> Tuple[Tuple[Any, ...], Dict[str, Any]]:
        return (given[first],), {name: tensor for name, tensor in given.items() if name != first}

    return Form("keyword arguments", arguments)
