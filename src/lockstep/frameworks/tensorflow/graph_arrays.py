"""Tensor arrays, tensor lists and stacks: what is put in comes out again, so a program needs none of them."""

# ruff: noqa: ARG001 - all handlers take the same, whether they need it or not
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.frameworks.tensorflow import kernels
from lockstep.frameworks.tensorflow.graph_values import Array, Handler, Held, Items, Known, Site, Stack


def _number(known: Known) -> int:
    return int(known.value.numpy())


def _numbers(known: Known) -> list[int]:
    return [int(number) for number in np.asarray(known.value).reshape(-1)]


def _flow(site: Site) -> Known:
    """The number that orders operations on a tensor array and means nothing else."""
    return site.recorder.constant(np.float32(0))


def _nothing(site: Site, given: list[Any]) -> Sequence[Held]:
    return []


def _unpacked(site: Site, whole: Known) -> list[Known]:
    count = int(whole.value.shape[0])
    if not count:
        return []
    call = kernels.call("Unpack", {"axis": 0, "num": count}, [whole.value], count)
    return site.recorder.run_call(call, [whole], site.place)


def _known_shape(shape: Any) -> list[int] | None:
    shape = tf.TensorShape(shape)
    return shape.as_list() if shape.is_fully_defined() else None


def _zeros(site: Site, dtype: Any, shape: Any, others: Sequence[Known | None]) -> Known:
    """What an item is that nobody wrote."""
    sizes = _known_shape(shape)
    if sizes is None:
        like = next((item for item in others if item is not None), None)
        if like is None:
            raise site.refused("it reads an item that nobody wrote, and nothing tells its shape")
        sizes = list(like.value.shape)
    return site.recorder.constant(tf.zeros(sizes, dtype))


def _packed(site: Site, items: Sequence[Known | None], dtype: Any, shape: Any) -> Known:
    if not items:
        sizes = [size or 0 for size in tf.TensorShape(shape).as_list()] if tf.TensorShape(shape).rank else []
        return site.recorder.constant(tf.zeros([0, *sizes], dtype))
    whole = [_zeros(site, dtype, shape, items) if item is None else item for item in items]
    return site.run("Pack", whole, axis=0, N=len(whole))


def _gathered(site: Site, items: Sequence[Known | None], indices: Known, dtype: Any, shape: Any) -> Known:
    places = _numbers(indices)
    if places == list(range(len(places))) or any(item is None for item in items):
        return _packed(site, [items[place] for place in places], dtype, shape)
    axis = site.recorder.constant(np.asarray(0, np.int32))
    return site.run("GatherV2", [_packed(site, items, dtype, shape), indices, axis], batch_dims=0)


def _joined(site: Site, items: Sequence[Known | None], dtype: Any, shape: Any) -> tuple[Known, Known]:
    """All items end to end along their first axis, and how long each is."""
    given = [item for item in items if item is not None]
    lengths = site.recorder.constant(np.asarray([item.value.shape[0] for item in given], np.int64))
    if not given:
        return _packed(site, [], dtype, shape), lengths
    if len(given) == 1:
        return given[0], lengths
    axis = site.recorder.constant(np.asarray(0, np.int32))
    return site.run("ConcatV2", [*given, axis], N=len(given)), lengths


def _split(site: Site, whole: Known, lengths: Known) -> list[Known]:
    count = len(_numbers(lengths))
    if not count:
        return []
    axis = site.recorder.constant(np.asarray(0, np.int32))
    call = kernels.call("SplitV", {"num_split": count}, [whole.value, lengths.value, axis.value], count)
    return site.recorder.run_call(call, [whole, lengths, axis], site.place)


# --- tensor arrays: operations change the one that a handle leads to


def _array(site: Site, given: list[Any]) -> Sequence[Held]:
    made = Array(site.attribute("dtype"), site.attribute("element_shape"), [None] * _number(given[0]))
    return [made, _flow(site)]


def _array_gradient(site: Site, given: list[Any]) -> Sequence[Held]:
    array: Array = given[0]
    made = array.gradients.get(source := site.attribute("source"))
    if made is None:
        made = Array(array.dtype, array.shape, [None] * len(array.items), gradient=True)
        made.alike = array.items
        array.gradients[source] = made
    return [made, _flow(site)]


def _put(site: Site, array: Array, place: int, item: Known) -> None:
    if place >= len(array.items):
        array.items.extend([None] * (place + 1 - len(array.items)))
    before = array.items[place]
    if before is not None and array.gradient:  # gradients of one item that was read several times add up
        item = site.run("AddV2", [before, item])
    array.items[place] = item


def _array_write(site: Site, given: list[Any]) -> Sequence[Held]:
    _put(site, given[0], _number(given[1]), given[2])
    return [_flow(site)]


def _array_scatter(site: Site, given: list[Any]) -> Sequence[Held]:
    for place, item in zip(_numbers(given[1]), _unpacked(site, given[2]), strict=True):
        _put(site, given[0], place, item)
    return [_flow(site)]


def _array_split(site: Site, given: list[Any]) -> Sequence[Held]:
    for place, item in enumerate(_split(site, given[1], given[2])):
        _put(site, given[0], place, item)
    return [_flow(site)]


def _array_read(site: Site, given: list[Any]) -> Sequence[Held]:
    array, place = given[0], _number(given[1])
    item = array.items[place]
    if item is None:
        alike = array.alike[place : place + 1] if array.gradient else array.items
        item = _zeros(site, array.dtype, array.shape, alike)
    return [item]


def _array_gather(site: Site, given: list[Any]) -> Sequence[Held]:
    array = given[0]
    items = array.items
    if array.gradient:
        alike = enumerate(array.alike)
        zeros = {place: _zeros(site, array.dtype, array.shape, [like]) for place, like in alike if items[place] is None}
        items = [zeros.get(place, item) for place, item in enumerate(items)]
    return [_gathered(site, items, given[1], array.dtype, array.shape)]


def _array_concat(site: Site, given: list[Any]) -> Sequence[Held]:
    return list(_joined(site, given[0].items, given[0].dtype, given[0].shape))


def _array_size(site: Site, given: list[Any]) -> Sequence[Held]:
    return [site.recorder.constant(np.asarray(len(given[0].items), np.int32))]


# --- tensor lists: operations give new ones


def _list(site: Site, given: list[Any]) -> Sequence[Held]:
    count = _number(given[1]) if site.op.type == "TensorListReserve" else 0
    return [Items(site.attribute("element_dtype"), (None,) * count, _list_shape(given[0]))]


def _list_of_tensor(site: Site, given: list[Any]) -> Sequence[Held]:
    return [Items(site.attribute("element_dtype"), tuple(_unpacked(site, given[0])), _list_shape(given[1]))]


def _list_shape(shape: Known) -> Any:
    sizes = np.asarray(shape.value)
    return tf.TensorShape(None) if sizes.ndim == 0 else tf.TensorShape([None if n < 0 else int(n) for n in sizes])


def _list_stack(site: Site, given: list[Any]) -> Sequence[Held]:
    return [_packed(site, given[0].items, given[0].dtype, _list_shape(given[1]))]


def _list_gather(site: Site, given: list[Any]) -> Sequence[Held]:
    items, indices, shape = given
    return [_gathered(site, items.items, indices, items.dtype, _list_shape(shape))]


def _list_get(site: Site, given: list[Any]) -> Sequence[Held]:
    items, place, shape = given
    item = items.items[_number(place)]
    return [_zeros(site, items.dtype, _list_shape(shape), items.items) if item is None else item]


def _list_set(site: Site, given: list[Any]) -> Sequence[Held]:
    held, place = list(given[0].items), _number(given[1])
    held.extend([None] * (place + 1 - len(held)))
    held[place] = given[2]
    return [dataclasses.replace(given[0], items=tuple(held))]


def _list_push(site: Site, given: list[Any]) -> Sequence[Held]:
    return [dataclasses.replace(given[0], items=(*given[0].items, given[1]))]


def _list_pop(site: Site, given: list[Any]) -> Sequence[Held]:
    items, shape = given
    last = items.items[-1]
    item = _zeros(site, items.dtype, _list_shape(shape), items.items) if last is None else last
    return [dataclasses.replace(items, items=items.items[:-1]), item]


def _list_scatter(site: Site, given: list[Any]) -> Sequence[Held]:
    if site.op.type == "TensorListScatterIntoExistingList":
        before, whole, indices = given
        held = list(before.items)
    else:
        whole, indices = given[:2]
        count = _number(given[3]) if len(given) > 3 else -1
        before = Items(site.attribute("element_dtype"), (), _list_shape(given[2]))
        held = [None] * max(count, 0)
    for place, item in zip(_numbers(indices), _unpacked(site, whole), strict=True):
        held.extend([None] * (place + 1 - len(held)))
        held[place] = item
    return [dataclasses.replace(before, items=tuple(held))]


def _list_concat(site: Site, given: list[Any]) -> Sequence[Held]:
    shape = _list_shape(given[1]) if len(given) > 1 else site.attribute("element_shape")
    return list(_joined(site, given[0].items, given[0].dtype, tf.TensorShape(shape)[1:]))


def _list_split(site: Site, given: list[Any]) -> Sequence[Held]:
    return [Items(site.attribute("element_dtype"), tuple(_split(site, given[0], given[2])), _list_shape(given[1]))]


def _list_length(site: Site, given: list[Any]) -> Sequence[Held]:
    return [site.recorder.constant(np.asarray(len(given[0].items), np.int32))]


def _list_resize(site: Site, given: list[Any]) -> Sequence[Held]:
    count = _number(given[1])
    return [dataclasses.replace(given[0], items=(*given[0].items, *[None] * count)[:count])]


def _list_element_shape(site: Site, given: list[Any]) -> Sequence[Held]:
    shape, dtype = given[0].shape, site.attribute("shape_type").as_numpy_dtype
    sizes = -1 if shape.rank is None else [-1 if size is None else size for size in shape.as_list()]
    return [site.recorder.constant(np.asarray(sizes, dtype))]


# --- gradients of lists are lists: what adds tensors up, or makes zeros of their shape, does so item by item


def _zeros_like(site: Site, given: list[Any]) -> Sequence[Held]:
    like = given[0]
    zeros = [item if item is None else site.recorder.constant(tf.zeros_like(item.value)) for item in like.items]
    return [dataclasses.replace(like, items=tuple(zeros))]


def _sum(site: Site, given: list[Any]) -> Sequence[Held]:
    sums: list[Known | None] = []
    for alike in zip(*(items.items for items in given), strict=True):
        known = [item for item in alike if item is not None]
        sums.append(site.run("AddN", known, N=len(known)) if len(known) > 1 else next(iter(known), None))
    return [dataclasses.replace(given[0], items=tuple(sums))]


OF_LISTS: dict[str, Handler] = {"ZerosLike": _zeros_like, "AddN": _sum}
"""What operations on tensors do with lists."""


# --- stacks: what the gradients of loops remember


def _stack(site: Site, given: list[Any]) -> Sequence[Held]:
    return [Stack([])]


def _stack_push(site: Site, given: list[Any]) -> Sequence[Held]:
    given[0].items.append(given[1])
    return [given[1]]


def _stack_pop(site: Site, given: list[Any]) -> Sequence[Held]:
    return [given[0].items.pop()]


HANDLERS: dict[str, Handler] = {
    "TensorArrayV3": _array,
    "TensorArrayGradV3": _array_gradient,
    "TensorArrayWriteV3": _array_write,
    "TensorArrayReadV3": _array_read,
    "TensorArrayScatterV3": _array_scatter,
    "TensorArrayGatherV3": _array_gather,
    "TensorArraySplitV3": _array_split,
    "TensorArrayConcatV3": _array_concat,
    "TensorArraySizeV3": _array_size,
    "TensorArrayCloseV3": _nothing,
    "EmptyTensorList": _list,
    "TensorListReserve": _list,
    "TensorListFromTensor": _list_of_tensor,
    "TensorListStack": _list_stack,
    "TensorListGather": _list_gather,
    "TensorListGetItem": _list_get,
    "TensorListSetItem": _list_set,
    "TensorListPushBack": _list_push,
    "TensorListPopBack": _list_pop,
    "TensorListScatter": _list_scatter,
    "TensorListScatterV2": _list_scatter,
    "TensorListScatterIntoExistingList": _list_scatter,
    "TensorListConcat": _list_concat,
    "TensorListConcatV2": _list_concat,
    "TensorListSplit": _list_split,
    "TensorListLength": _list_length,
    "TensorListResize": _list_resize,
    "TensorListElementShape": _list_element_shape,
    "StackV2": _stack,
    "StackPushV2": _stack_push,
    "StackPopV2": _stack_pop,
    "StackCloseV2": _nothing,
}
