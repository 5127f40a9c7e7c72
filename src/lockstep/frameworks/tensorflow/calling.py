"""How a model wants its inputs: found out from its own inputs or the signature of its `call`, and else by trying."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType, MappingProxyType
from typing import Any

import keras

from lockstep.common.errors import InputError

_NO_INPUTS = frozenset({"self", "training", "mask"})


@dataclass(frozen=True)
class Form:
    """A way of calling a model.

    Attributes:
        told: What a person calls it.
        arguments: The inputs -> positional and keyword arguments.
    """

    told: str
    arguments: Callable[[Any], tuple[tuple[Any, ...], dict[str, Any]]]

    def call(self, model: Callable[..., Any], inputs: Any, options: Mapping[str, Any]) -> Any:
        """Calls a model so."""
        positional, named = self.arguments(inputs)
        return model(*positional, **named, **options)


AS_GIVEN = Form("the inputs as they are given", lambda inputs: ((inputs,), {}))
_DICT = Form("a dict of tensors by their names", AS_GIVEN.arguments)
_TENSOR = Form("one tensor", lambda inputs: (tuple(inputs.values()), {}))
_KEYWORDS = Form("keyword arguments", lambda inputs: ((), dict(inputs)))


def without_labels(inputs: Any, labels: Sequence[str]) -> Any:
    """Returns the inputs that a model is given: those that are no labels."""
    if not labels:
        return inputs
    return {name: value for name, value in inputs.items() if name not in labels}


def without(labels: Sequence[str], form: Form) -> Form:
    """Returns a form whose model is not given the labels."""
    if not labels:
        return form
    return Form(form.told, lambda inputs: form.arguments(without_labels(inputs, labels)))


def forms(
    model: Any, inputs: Any, told: Mapping[str, str] = MappingProxyType({}), labels: Sequence[str] = ()
) -> tuple[Form, ...]:
    """Returns the ways in which a model may want its inputs, the likeliest first.

    Args:
        model: A Keras layer or model, or something else that can be called.
        inputs: Input name -> tensor; or one tensor, which is handed over as it is.
        told: Input name -> how the user says it is given: a position (`"0"`) or a name; empty: that is found out.
        labels: The inputs that it is not given.

    Raises:
        InputError: The model says what it takes, and it is something else; or a label is no input.
    """
    if labels:
        if not isinstance(inputs, Mapping) or (unknown := [name for name in labels if name not in inputs]):
            named = ", ".join(inputs) if isinstance(inputs, Mapping) else "one array without a name"
            raise InputError(
                f"labels names {', '.join(labels if not isinstance(inputs, Mapping) else unknown)}, and "
                f"the inputs are {named}."
            )
        found = forms(model, without_labels(inputs, labels), {n: v for n, v in told.items() if n not in labels})
        return tuple(without(labels, form) for form in found)
    if not isinstance(inputs, Mapping) or not inputs:  # without any the model is looked at, not called
        return (AS_GIVEN,)
    declared = _declared(model)
    if told:
        return (_as_told(model, declared, inputs, told),)
    if declared is not None:
        return (_of_declared(declared, inputs),)
    if isinstance(model, keras.Sequential):
        return (_TENSOR,) if len(inputs) == 1 else (_DICT,)
    return _of_signature(model, inputs)


def _as_told(model: Any, declared: Any, inputs: Mapping[str, Any], told: Mapping[str, str]) -> Form:
    """Returns the form that the user says.

    Raises:
        InputError: The model does not take the inputs so.
    """
    if set(told) != set(inputs):
        without = ", ".join(sorted(set(inputs) - set(told)))
        raise InputError(f"as is said of {', '.join(told)} and not of {without}; say it of every input, or of none.")
    if len(set(told.values())) < len(told):
        raise InputError(f"as gives two inputs the same place: {_listed(told)}.")
    placed = {int(place): name for name, place in told.items() if place.isdecimal()}
    if sorted(placed) != list(range(len(placed))):
        raise InputError(f"as leaves a position out: {_listed(told)}; positions begin with 0 and go on by one.")
    named = {place: name for name, place in told.items() if not place.isdecimal()}
    if declared is not None and named and not placed:
        form = _of_declared(declared, {place: inputs[name] for place, name in named.items()})
        return Form(form.told, lambda given: form.arguments({place: given[name] for place, name in named.items()}))
    known = _parameters(model)
    if known is not None and (unknown := [place for place in named if place not in known]):
        raise InputError(f"as names {', '.join(unknown)}, and the model's call takes {', '.join(known)}.")
    return Form(
        f"as its configuration says ({_listed(told)})",
        lambda given: (
            tuple(given[placed[place]] for place in sorted(placed)),
            {place: given[name] for place, name in named.items()},
        ),
    )


def _listed(told: Mapping[str, str]) -> str:
    return ", ".join(f"{name} as {place}" for name, place in told.items())


def _parameters(model: Any) -> list[str] | None:
    """Returns the names of what a model's call takes; None where it takes any keyword."""
    call = model.call if isinstance(model, keras.layers.Layer) else model.__call__
    parameters = inspect.signature(call).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return [name for name in parameters if name not in ("self", "training")]


def furthest(model: Any, failures: Sequence[BaseException]) -> int:
    """Returns the index of the failure that came furthest in the model's own `call`: in that form it was most at home.

    Args:
        model: What was called.
        failures: What the calls raised.
    """
    call = inspect.unwrap(model.call if isinstance(model, keras.layers.Layer) else model.__call__)
    code = getattr(call, "__code__", None)

    reached = [max((i for frame, i in _frames(failure) if frame.f_code == code), default=-1) for failure in failures]
    return reached.index(max(reached))


def _frames(failure: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yields the frames that an error came through, and the instruction that each was at."""
    place = failure.__traceback__
    while place is not None:
        yield place.tb_frame, place.tb_lasti
        place = place.tb_next


def declared_inputs(model: Any) -> dict[str, tuple[tuple[int | None, ...], str]]:
    """Returns what a model says of its inputs: name -> shape, with None for any size, and dtype; empty of most."""
    declared = _declared(model)
    if declared is None:
        return {}
    if isinstance(declared, Mapping):
        named = dict(declared)
    else:
        named = {tensor.name: tensor for tensor in (declared if isinstance(declared, Sequence) else [declared])}
    return {
        str(name): (tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype))
        for name, tensor in named.items()
    }


def _declared(model: Any) -> Any:
    """The structure of `keras.Input`s that a functional or a built sequential model was made of; None of others."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        return None
    return getattr(model, "input", None)


def _of_declared(declared: Any, inputs: Mapping[str, Any]) -> Form:
    if isinstance(declared, Mapping):
        names = _matched(inputs, declared)
        return Form(
            f"a dict of tensors ({', '.join(declared)})", lambda given: (({k: given[n] for k, n in names.items()},), {})
        )
    tensors = list(declared) if isinstance(declared, Sequence) else [declared]
    by_name = _matched(inputs, {tensor.name: tensor for tensor in tensors})
    order = [by_name[tensor.name] for tensor in tensors]
    if not isinstance(declared, Sequence):
        return _TENSOR
    return Form(f"a list of tensors ({', '.join(order)})", lambda given: (([given[name] for name in order],), {}))


def _matched(inputs: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, str]:
    """Returns name in the model -> name of the input: the same, or the only one of that shape and dtype.

    Raises:
        InputError: That is not one to one.
    """
    if set(inputs) == set(declared):
        return {name: name for name in declared}
    fitting = {
        theirs: [name for name, tensor in inputs.items() if _fits(tensor, spec)] for theirs, spec in declared.items()
    }
    orders = (
        [
            dict(zip(declared, order, strict=True))
            for order in itertools.permutations(inputs)
            if len(order) == len(declared)
            and all(name in fitting[theirs] for theirs, name in zip(declared, order, strict=True))
        ]
        if len(inputs) == len(declared) <= 6
        else []
    )
    if len(orders) == 1:
        return orders[0]
    told = ", ".join(f"{name} {tuple(spec.shape)} {spec.dtype}" for name, spec in declared.items())
    given = ", ".join(f"{name} {tuple(tensor.shape)} {tensor.dtype.name}" for name, tensor in inputs.items())
    way_out = (
        "Several of them fit: give them under the model's names."
        if orders
        else "Give inputs of these shapes and dtypes, under the model's names."
    )
    if set(declared) < set(inputs):
        others = ", ".join(f'"{name}"' for name in inputs if name not in declared)
        way_out = f"What only the other side, or a loss, is given is named by labels = [{others}]."
    raise InputError(f"the model's inputs are {told}; the inputs given are {given}. {way_out}")


def _fits(tensor: Any, spec: Any) -> bool:
    shape = tuple(spec.shape)
    alike = len(shape) == len(tensor.shape) and all(
        size in (None, given) for size, given in zip(shape, tensor.shape, strict=True)
    )
    return alike and tensor.dtype.name == keras.backend.standardize_dtype(spec.dtype)


def _of_signature(model: Any, inputs: Mapping[str, Any]) -> tuple[Form, ...]:
    call = model.call if isinstance(model, keras.layers.Layer) else model.__call__
    parameters = [
        parameter
        for name, parameter in inspect.signature(call).parameters.items()
        if name not in _NO_INPUTS and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    names = [parameter.name for parameter in parameters]
    if len(required) > 1:
        if set(required) <= set(inputs) <= set(names):
            return (_KEYWORDS,)
        if len(required) <= len(inputs) <= len(names):
            order = ", ".join(f"{name} = {theirs}" for theirs, name in zip(inputs, names, strict=False))
            return (Form(f"positional arguments ({order})", _TENSOR.arguments),)
        raise InputError(
            f"the model's call takes {', '.join(names)}; the inputs given are {', '.join(inputs)}. Give inputs of "
            "these names."
        )
    found = [_DICT]
    if len(inputs) == 1:
        found.append(_TENSOR)
    else:
        if set(required) <= set(inputs) <= set(names):
            found.append(_KEYWORDS)
        order = ", ".join(inputs)
        found.append(Form(f"a list of tensors ({order})", lambda given: ((list(given.values()),), {})))
        found.append(Form(f"a tuple of tensors ({order})", lambda given: ((tuple(given.values()),), {})))
    return tuple(found)
