"""What the dialect says of a family of operations holds of the real kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from lockstep.frameworks.tensorflow import kernels
from lockstep.program import dialect
from lockstep.program.dialect import FAMILIES, Trait, having

RANDOM = np.random.default_rng(7)
Sample = tuple[list[Any], dict[str, Any], int]
"""Inputs, attributes, number of outputs."""


def sample(*inputs: Any, outputs: int = 1, **attributes: Any) -> Sample:
    return [np.asarray(value) for value in inputs], attributes, outputs


def numbers(*shape: int) -> np.ndarray:
    """Positive, distinct, none near a whole number."""
    size = int(np.prod(shape))
    values = (RANDOM.permutation(size) + 0.3) / size * 0.8 + 0.1
    return values.reshape(shape).astype(np.float32)


def whole(*shape: int) -> np.ndarray:
    return RANDOM.permutation(int(np.prod(shape))).reshape(shape).astype(np.int32) + 1


def truths(*shape: int) -> np.ndarray:
    return RANDOM.random(shape) < 0.5


X, Y = numbers(3, 4), numbers(3, 4)
IMAGE = numbers(1, 4, 4, 4)
SAMPLES: dict[str, Sample] = {
    **{name: sample(X, Y) for name in having(Trait.COMBINES, Trait.COMPARES) - {"Select"}},
    **{
        name: sample(X)
        for name in (having(Trait.ELEMENTWISE, Trait.ACTIVATION, Trait.HANDS_ON, Trait.SHAPE_ONLY) | {"LogSoftmax"})
        - having(Trait.COMBINES, Trait.COMPARES)
    },
    **{name: sample(X, np.int32([1])) for name in having(Trait.REDUCES)},
    **{name: sample(truths(3, 4), truths(3, 4)) for name in ("LogicalAnd", "LogicalOr")},
    **{name: sample(whole(3, 4), whole(3, 4)) for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")},
    **{name: sample(whole(3, 4), whole(3, 4)) for name in ("FloorDiv", "FloorMod", "TruncateDiv", "TruncateMod")},
    **{name: sample(truths(3, 4), np.int32([1])) for name in ("All", "Any")},
    "Acosh": sample(X + 1),
    "AddN": sample(X, Y, N=2),
    "ArgMax": sample(X, np.int32(1)),
    "ArgMin": sample(X, np.int32(1)),
    "Atan2": sample(X, Y),
    "AvgPool": sample(IMAGE, ksize=[1, 4, 4, 1], strides=[1, 4, 4, 1], padding="VALID"),
    "AvgPool3D": sample(IMAGE[..., None], ksize=[1, 4, 4, 4, 1], strides=[1, 4, 4, 4, 1], padding="VALID"),
    # Eighths: their products and sums are exact, in whichever order a processor's kernels add them up.
    "BatchMatMul": sample(np.round(numbers(2, 3, 4) * 8) / 8, np.round(numbers(2, 4, 5) * 8) / 8),
    "BroadcastTo": sample(X, np.int32([3, 4])),
    "Cast": sample(X, SrcT=tf.float32, DstT=tf.float64),
    "CheckNumerics": sample(X, message=""),
    "ClipByValue": sample(X, np.float32(0.3), np.float32(0.6)),
    "ConcatV2": sample(X, numbers(3, 2), np.int32(1), N=2),
    "Cumsum": sample(X, np.int32(1)),
    "DepthToSpace": sample(IMAGE, block_size=2),
    "Einsum": sample(X, numbers(4, 5), equation="ab,bc->ac", N=2),
    "EnsureShape": sample(X, shape=[3, 4]),
    "ExpandDims": sample(X, np.int32(1)),
    "FusedBatchNorm": sample(IMAGE, *(numbers(4) for _ in range(4)), outputs=5, is_training=False),
    "GatherV2": sample(X, np.int32([2, 0]), np.int32(0)),
    "Invert": sample(whole(3, 4)),
    "LogicalNot": sample(truths(3, 4)),
    "MatMul": sample(X, numbers(4, 5)),
    "MatrixDiag": sample(X),
    "MaxPool": sample(IMAGE, ksize=[1, 4, 4, 1], strides=[1, 4, 4, 1], padding="VALID"),
    "MaxPool3D": sample(IMAGE[..., None], ksize=[1, 4, 4, 4, 1], strides=[1, 4, 4, 4, 1], padding="VALID"),
    "MirrorPad": sample(X, np.zeros((2, 2), np.int32), mode="REFLECT"),
    "Pack": sample(X, Y, N=2, axis=0),
    "Pad": sample(X, np.zeros((2, 2), np.int32)),
    "PadV2": sample(X, np.zeros((2, 2), np.int32), np.float32(1)),
    "PlaceholderWithDefault": sample(X, shape=[3, 4]),
    "Pow": sample(X, Y),
    "Reshape": sample(X, np.int32([2, 6])),
    "ReverseSequence": sample(X, np.int32([2, 3, 1]), seq_dim=1, batch_dim=0),
    "ReverseV2": sample(X, np.int32([1])),
    "Roll": sample(X, np.int32([1]), np.int32([0])),
    "Select": sample(truths(3, 4), X, Y),
    "ShapeN": sample(X, Y, N=2, outputs=2),
    "Slice": sample(X, np.int32([0, 0]), np.int32([3, 4])),
    "SpaceToDepth": sample(IMAGE, block_size=2),
    "Split": sample(np.int32(1), X, outputs=2, num_split=2),
    "SplitV": sample(X, np.int32([1, 3]), np.int32(1), outputs=2, num_split=2),
    "SquaredDifference": sample(X, Y),
    "Squeeze": sample(numbers(3, 1, 4), squeeze_dims=[1]),
    "StridedSlice": sample(X, np.int32([0, 0]), np.int32([3, 4]), np.int32([1, 1])),
    "Tile": sample(X, np.int32([1, 1])),
    "Transpose": sample(X, np.int32([1, 0])),
    "Unpack": sample(X, outputs=3, num=3, axis=0),
}
NAMES = sorted(FAMILIES)


def run(kind: str, inputs: list[Any], attributes: dict[str, Any], outputs: int = 1) -> list[np.ndarray]:
    given = [tf.convert_to_tensor(value) for value in inputs]
    made = kernels.TensorFlowKernels().execute(kernels.call(kind, attributes, given, outputs), given)
    return [np.asarray(value) for value in made]


def of(name: str, *inputs: Any) -> list[np.ndarray]:
    """What the sample of a family gives, of its own inputs or of others."""
    given, attributes, outputs = SAMPLES[name]
    return run(name, list(inputs) or given, attributes, outputs)


def data(name: str) -> list[np.ndarray]:
    return SAMPLES[name][0]


def elements(*values: np.ndarray) -> np.ndarray:
    return np.sort(np.concatenate([value.reshape(-1) for value in values]))


def hands_on(name: str) -> None:
    np.testing.assert_array_equal(of(name)[0], data(name)[0])


def shape_only(name: str) -> None:
    for one, other in zip(of(name), of(name, *(value + 1 for value in data(name))), strict=True):
        np.testing.assert_array_equal(one, other)


def view(name: str) -> None:
    np.testing.assert_array_equal(of(name)[0].reshape(-1), data(name)[0].reshape(-1))


def same_if_same_shape(name: str) -> None:
    given = data(name)
    inputs = [given[0], given[0][:, :0], *given[2:]] if name == "ConcatV2" else given
    made = of(name, *inputs)[0]
    assert made.shape == given[0].shape
    np.testing.assert_array_equal(made, given[0])


def reorders(name: str) -> None:
    np.testing.assert_array_equal(elements(of(name)[0]), elements(data(name)[0]))


def picks(name: str) -> None:
    place = FAMILIES[name].whole
    assert place is not None
    assert set(elements(*of(name))) <= set(elements(data(name)[place]))


def splits(name: str) -> None:
    place = FAMILIES[name].whole
    assert place is not None
    assert len(of(name)) > 1
    np.testing.assert_array_equal(elements(*of(name)), elements(data(name)[place]))


def joins(name: str) -> None:
    np.testing.assert_array_equal(elements(*of(name)), elements(*data(name)[:2]))


def elementwise(name: str) -> None:
    inputs = data(name)
    order = RANDOM.permutation(12)

    def moved(value: np.ndarray) -> np.ndarray:
        return value.reshape(-1)[order].reshape(value.shape) if value.size == 12 else value

    # A vectorised kernel rounds the last elements, which fill no vector, otherwise: one unit in the last place.
    got, wanted = of(name, *map(moved, inputs))[0], moved(of(name)[0])
    if got.dtype.kind == "f":
        np.testing.assert_allclose(got, wanted, rtol=2.0**-22)
    else:
        np.testing.assert_array_equal(got, wanted)


def combines(name: str) -> None:
    *mask, x, y = data(name)
    kind = "SelectV2" if name == "Select" else name  # the first version broadcasts rows alone
    made = run(kind, [*mask, x, y[0]], {})[0]
    np.testing.assert_array_equal(made, run(kind, [*mask, x, np.broadcast_to(y[0], x.shape)], {})[0])


def commutative(name: str) -> None:
    first, second, *rest = data(name)
    np.testing.assert_array_equal(of(name)[0], of(name, second, first, *rest)[0])


def compares(name: str) -> None:
    x, y = data(name)
    assert of(name)[0].dtype == bool
    # Nothing but how they compare counts: the same order of the elements, the same answer.
    np.testing.assert_array_equal(of(name, 3 * x, 3 * y)[0], of(name)[0])


def activation(name: str) -> None:
    made, twice = of(name)[0], of(name, -3 * data(name)[0])[0]
    assert made.shape == data(name)[0].shape
    assert not np.allclose(twice, -3 * made)


def reduces(name: str) -> None:
    x, axes = data(name)
    made = of(name)[0]
    assert made.shape == (3,)
    np.testing.assert_allclose(of(name, x[:, ::-1], axes)[0], made, rtol=1e-6)


def pools(name: str) -> None:
    x = data(name)[0]
    made = of(name)[0]
    assert made.size < x.size
    np.testing.assert_allclose(of(name, x[:, ::-1])[0], made, rtol=1e-6)


def multiplies(name: str) -> None:
    x, y = data(name)
    for one, other, both in ((x, y, [x + x, y]), (x, y, [x, y + y])):
        np.testing.assert_allclose(of(name, *both)[0], 2 * of(name, one, other)[0], rtol=1e-6)


def constant_in_pieces(name: str) -> None:
    x = data(name)[0]
    np.testing.assert_array_equal(of(name, x * 1.001)[0], of(name)[0])


def keeps_sign(name: str) -> None:
    assert all((value > 0).all() for value in data(name) if value.dtype == np.float32)
    assert all((value > 0).all() for value in of(name))


CHECKS: dict[Trait, Callable[[str], None]] = {
    Trait.HANDS_ON: hands_on,
    Trait.SHAPE_ONLY: shape_only,
    Trait.VIEW: view,
    Trait.SAME_IF_SAME_SHAPE: same_if_same_shape,
    Trait.LAYOUT: reorders,
    Trait.REORDERS: reorders,
    Trait.PICKS: picks,
    Trait.SPLITS: splits,
    Trait.JOINS: joins,
    Trait.ELEMENTWISE: elementwise,
    Trait.COMBINES: combines,
    Trait.COMMUTATIVE: commutative,
    Trait.COMPARES: compares,
    Trait.ACTIVATION: activation,
    Trait.REDUCES: reduces,
    Trait.POOLS: pools,
    Trait.MULTIPLIES: multiplies,
    Trait.CONSTANT_IN_PIECES: constant_in_pieces,
    Trait.KEEPS_SIGN: keeps_sign,
}
STATED = [(name, trait) for name in NAMES for trait in Trait if trait in FAMILIES[name].traits]


@pytest.mark.parametrize(("name", "trait"), STATED, ids=[f"{name}-{trait.name.lower()}" for name, trait in STATED])
def test_a_trait_holds_of_the_kernel(name: str, trait: Trait) -> None:
    CHECKS[trait](name)


@pytest.mark.parametrize(
    ("name", "trait"),
    [("Sub", Trait.COMMUTATIVE), ("Softmax", Trait.ELEMENTWISE), ("Tanh", Trait.CONSTANT_IN_PIECES),
     ("Sub", Trait.KEEPS_SIGN), ("Square", Trait.VIEW), ("Neg", Trait.HANDS_ON), ("Roll", Trait.VIEW),
     ("Relu", Trait.SHAPE_ONLY), ("Neg", Trait.ACTIVATION), ("SquaredDifference", Trait.MULTIPLIES),
     ("Cumsum", Trait.REDUCES), ("Slice", Trait.SPLITS), ("Sub", Trait.COMPARES)],
)  # fmt: skip
def test_a_trait_that_does_not_hold_is_seen(name: str, trait: Trait) -> None:
    assert trait not in FAMILIES[name].traits
    with pytest.raises((AssertionError, IndexError)):
        CHECKS[trait](name)


@pytest.mark.parametrize("name", [name for name in NAMES if FAMILIES[name].positive is not None])
def test_what_has_to_be_positive_gives_no_finite_number_where_it_is_not(name: str) -> None:
    place = FAMILIES[name].positive
    assert place is not None
    inputs = list(data(name))
    assert np.isfinite(of(name)[0]).all()
    inputs[place] = -inputs[place]
    assert not np.isfinite(of(name, *inputs)[0]).all()


@pytest.mark.parametrize("name", [name for name in NAMES if FAMILIES[name].axes is not None])
def test_axes_are_read_where_the_dialect_says(name: str) -> None:
    place = FAMILIES[name].axes
    assert place is not None
    inputs = list(data(name))
    inputs[place] = inputs[place] - 2  # of two axes: the same, counted from behind
    for one, other in zip(of(name), of(name, *inputs), strict=True):
        np.testing.assert_array_equal(one, other)


OTHERS: dict[str, Sample] = {
    "BatchMatMulV3": (data("BatchMatMul"), {"Tout": tf.float32}, 1),
    "BiasAdd": sample(X, Y[0]),
    "Concat": sample(np.int32(1), X, data("ConcatV2")[1], N=2),
    "Gather": sample(X, np.int32([2, 0])),
    "MatrixDiagV3": sample(X, np.int32(0), np.int32(-1), np.int32(-1), np.float32(0)),
    "MaxPoolV2": sample(IMAGE, np.int32([1, 4, 4, 1]), np.int32([1, 4, 4, 1]), padding="VALID"),
    "FusedBatchNormV3": (*SAMPLES["FusedBatchNorm"][:2], 6),
}
"""Types that are given what they read otherwise than their family's sample is."""


@pytest.mark.parametrize("kind", [kind for name in NAMES for kind in FAMILIES[name].also])
def test_types_of_one_family_compute_the_same(kind: str) -> None:
    name = dialect.family(kind)
    inputs, attributes, outputs = OTHERS.get(kind, SAMPLES[name])
    if kind == "ResourceGather":
        table = tf.Variable(X)
        made = tf.raw_ops.ResourceGather(resource=table.handle, indices=inputs[1], dtype=tf.float32)
        np.testing.assert_array_equal(np.asarray(made), of(name)[0])
        return
    wanted = run("AddV2", [X, np.broadcast_to(Y[0], X.shape)], {}) if kind == "BiasAdd" else of(name)
    np.testing.assert_array_equal(run(kind, inputs, attributes, outputs)[0], wanted[0])


def test_every_family_has_a_sample_and_every_trait_a_check() -> None:
    assert set(SAMPLES) == set(FAMILIES)
    assert set(CHECKS) == set(Trait)


def test_of_an_unknown_family_nothing_is_known() -> None:
    assert dialect.known("Conv2D").traits == frozenset()
    assert dialect.family("Conv2D") == "Conv2D"
