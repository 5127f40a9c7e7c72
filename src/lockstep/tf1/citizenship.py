"""What makes a Keras layer with TF1-style methods a citizen of Keras 3: saving, loading, building, frozen losses.

Keras asks a layer's *class* for these, so they are put on the class in whose body the decorator stands, each
only where nobody but Keras defines it: an override of the user's own is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from lockstep.common.errors import LockstepError
from lockstep.tf1 import call_records, private, weight_files
from lockstep.tf1.ownership import AdoptedVariable
from lockstep.tf1.raw_variables import STORE


class StatelessCallError(LockstepError, NotImplementedError):
    """A layer with TF1-style methods was called with values to be used in place of its variables."""


class TrackedMethod:
    """Stands for a decorated method in the body of a class, and gives way to the plain function when it is done.

    Python tells it the class that it is in, before any object of that class exists.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(self, name, getattr(function, name))

    def __set_name__(self, owner: type, name: str) -> None:
        setattr(owner, name, self.__wrapped__)
        make_citizen(owner)

    def __get__(self, instance: Any, owner: type) -> Any:
        # Only where the method was assigned to a class already made.
        make_citizen(owner)
        return self.__wrapped__ if instance is None else self.__wrapped__.__get__(instance, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the method, for decorators that stand above this one."""
        return self.__wrapped__(*args, **kwargs)


def make_citizen(cls: type) -> None:
    """Puts by-name saving and the rest on a Keras layer class, once; on other classes nothing."""
    if not issubclass(cls, keras.layers.Layer):
        return
    for name, make in _HOOKS.items():
        before = getattr(cls, name, None)
        if before is not None and private.is_kerass_own(before):
            setattr(cls, name, make(before))


def check_call(owner: Any) -> None:
    """Raises if `owner` is being called by Keras's `stateless_call`.

    Raises:
        StatelessCallError: It is; TF1-style code would go on with the variables themselves.
    """
    if not isinstance(owner, keras.layers.Layer):
        return
    if private.replaced_by_a_stateless_scope(private.own_variables(owner)):
        raise StatelessCallError(
            f"stateless_call was used on layer {owner.name!r}, or on a model that holds it. TF1-style code gets its "
            "variables from get_variable and would ignore the values given for them. Assign the values instead "
            "(`variable.assign(value)`, or `layer.set_weights`), then call the layer as usual."
        )


def _saving(before: Callable[..., Any]) -> Callable[..., Any]:
    def save_own_variables(self: Any, store: Any) -> None:
        weight_files.save(self, store, before)

    return save_own_variables


def _loading(before: Callable[..., Any]) -> Callable[..., Any]:
    def load_own_variables(self: Any, store: Any) -> None:
        weight_files.load(self, store, before)

    return load_own_variables


def _describing(before: Callable[..., Any]) -> Callable[..., Any]:
    def get_build_config(self: Any) -> dict[str, Any] | None:
        return call_records.describe(self, before(self))

    return get_build_config


def _building(before: Callable[..., Any]) -> Callable[..., Any]:
    def build_from_config(self: Any, config: dict[str, Any]) -> None:
        call_records.build(self, config, before)

    return build_from_config


def _own_losses(before: Callable[..., Any]) -> Callable[..., Any]:
    def own_losses(self: Any) -> list[Any]:
        # Keras looks for regularizers among trainable variables only. TF1 computes a regularization loss for every
        # variable that was given a regularizer, whoever trains it.
        frozen = (v for v in private.own_variables(self) if isinstance(v, AdoptedVariable) and not v.trainable)
        store = vars(self).get(STORE)
        collected = store.hand_losses.present() if store is not None else []
        return [*before(self), *collected, *(v.regularizer(v) for v in frozen if v.regularizer is not None)]

    return own_losses


def _clearing(before: Callable[..., Any]) -> Callable[..., Any]:
    def clear_losses(self: Any) -> None:
        store = vars(self).get(STORE)
        if store is not None:
            store.hand_losses.clear()
        before(self)

    return clear_losses


_HOOKS = {
    "save_own_variables": _saving,
    "load_own_variables": _loading,
    "get_build_config": _describing,
    "build_from_config": _building,
    private.OWN_LOSSES: _own_losses,
    private.CLEAR_LOSSES: _clearing,
}
