"""The dialect: the families of operations that Lockstep reasons about, and what holds of each of them.

The names are TensorFlow's; what another framework computes is written in them. What is asked about an operation
elsewhere ("does it compute each element by itself?") is a trait, stated here once, and tested on the real kernel.

>>> from lockstep.program.dialect import Trait, family, having, traits
>>> family("AddV2")
'Add'
>>> Trait.COMMUTATIVE in traits("Add")
True
>>> sorted(having(Trait.POOLS))
['AvgPool', 'AvgPool3D', 'MaxPool', 'MaxPool3D']
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache


class Trait(enum.Enum):
    """What holds of every operation of a family."""

    HANDS_ON = "its result is its first input, unchanged"
    SHAPE_ONLY = "its result depends on the shapes of its inputs alone"
    VIEW = "its result holds the elements of its first input in the same order"
    SAME_IF_SAME_SHAPE = "where its result has the shape of its first input, it may be that input unchanged"
    LAYOUT = "it changes the shape or the order of axes, and nothing else"
    REORDERS = "its result holds the elements of its first input, each once"
    PICKS = "each result holds some of the elements of one input"
    SPLITS = "its results are the pieces of one input"
    JOINS = "its result holds the elements of all its inputs, each once"
    ELEMENTWISE = "each element of its result depends on the elements in the same place, its inputs being broadcast"
    COMBINES = "it makes one tensor of numbers of two, of which one may be a bias, a scale, a mask, a bound"
    COMMUTATIVE = "its first two inputs may change places"
    COMPARES = "its result says how the elements of two inputs compare"
    ACTIVATION = "it is an activation function by itself"
    REDUCES = "it makes one element of all along some axes"
    POOLS = "it makes one element of all in a window"
    MULTIPLIES = "it is linear in each of its two inputs, and sums over what they share"
    CONSTANT_IN_PIECES = "its derivative is zero wherever there is one"
    KEEPS_SIGN = "where its inputs are positive, so is its result"


@dataclass(frozen=True)
class Family:
    """What is known of the operations of one name.

    Attributes:
        traits: What holds of each.
        also: Other types that compute the same from the same inputs, bit for bit, where their attributes agree.
        axes: The number of the input that says along which axes; None where none does.
        whole: The number of the input that it takes a piece of; None where it takes none.
        positive: The number of the input that has to be positive for a finite result; None where none has to.
    """

    traits: frozenset[Trait] = frozenset()
    also: tuple[str, ...] = ()
    axes: int | None = None
    whole: int | None = None
    positive: int | None = None


def _of(*traits: Trait, **known: object) -> Family:
    return Family(frozenset(traits), **known)  # type: ignore[arg-type]


_T = Trait
_EACH = (_T.ELEMENTWISE,)
_BOTH = (_T.ELEMENTWISE, _T.COMBINES)
_EITHER = (_T.ELEMENTWISE, _T.COMMUTATIVE)
_COMPARISON = (_T.ELEMENTWISE, _T.COMPARES)
_FUNCTION = (_T.ELEMENTWISE, _T.ACTIVATION)

FAMILIES: Mapping[str, Family] = {
    # What hands a tensor on.
    "CheckNumerics": _of(_T.HANDS_ON),
    "EnsureShape": _of(_T.HANDS_ON),
    "Identity": _of(_T.HANDS_ON),
    "PlaceholderWithDefault": _of(_T.HANDS_ON),
    "PreventGradient": _of(_T.HANDS_ON),
    "Snapshot": _of(_T.HANDS_ON),
    "StopGradient": _of(_T.HANDS_ON),
    # Shapes.
    "Rank": _of(_T.SHAPE_ONLY),
    "Shape": _of(_T.SHAPE_ONLY),
    "ShapeN": _of(_T.SHAPE_ONLY),
    "Size": _of(_T.SHAPE_ONLY),
    # The same elements, otherwise.
    "DepthToSpace": _of(_T.REORDERS),
    "ExpandDims": _of(_T.VIEW, _T.LAYOUT, _T.REORDERS, _T.KEEPS_SIGN),
    "Reshape": _of(_T.VIEW, _T.LAYOUT, _T.REORDERS, _T.KEEPS_SIGN),
    "ReverseSequence": _of(_T.REORDERS),
    "ReverseV2": _of(_T.REORDERS, axes=1),
    "Roll": _of(_T.REORDERS),
    "SpaceToDepth": _of(_T.REORDERS),
    "Squeeze": _of(_T.VIEW, _T.LAYOUT, _T.REORDERS, _T.KEEPS_SIGN),
    "Transpose": _of(_T.LAYOUT, _T.REORDERS, _T.KEEPS_SIGN),
    # Pieces, and wholes.
    "BroadcastTo": _of(_T.SAME_IF_SAME_SHAPE),
    "ConcatV2": _of(_T.JOINS, _T.SAME_IF_SAME_SHAPE, also=("Concat",), axes=-1),
    "GatherV2": _of(_T.PICKS, _T.KEEPS_SIGN, also=("Gather", "ResourceGather"), axes=2, whole=0),
    "MirrorPad": _of(_T.SAME_IF_SAME_SHAPE),
    "Pack": _of(_T.JOINS),
    "Pad": _of(_T.SAME_IF_SAME_SHAPE),
    "PadV2": _of(_T.SAME_IF_SAME_SHAPE),
    "Slice": _of(_T.PICKS, _T.SAME_IF_SAME_SHAPE, _T.KEEPS_SIGN, whole=0),
    "Split": _of(_T.PICKS, _T.SPLITS, _T.KEEPS_SIGN, axes=0, whole=1),
    "SplitV": _of(_T.PICKS, _T.SPLITS, _T.KEEPS_SIGN, whole=0),
    "StridedSlice": _of(_T.PICKS, _T.SAME_IF_SAME_SHAPE, _T.KEEPS_SIGN, whole=0),
    "Tile": _of(_T.SAME_IF_SAME_SHAPE),
    "Unpack": _of(_T.PICKS, _T.SPLITS, _T.KEEPS_SIGN, whole=0),
    # Element by element, of one tensor.
    "Abs": _of(*_EACH),
    "Acos": _of(*_EACH),
    "Acosh": _of(*_EACH),
    "Asin": _of(*_EACH),
    "Asinh": _of(*_EACH),
    "Atan": _of(*_EACH),
    "Atanh": _of(*_EACH),
    "Cast": _of(*_EACH, _T.KEEPS_SIGN),
    "Ceil": _of(*_EACH, _T.CONSTANT_IN_PIECES),
    "Cos": _of(*_EACH),
    "Cosh": _of(*_EACH),
    "Digamma": _of(*_EACH),
    "Elu": _of(*_FUNCTION),
    "Erf": _of(*_FUNCTION),
    "Erfc": _of(*_EACH),
    "Exp": _of(*_EACH),
    "Expm1": _of(*_EACH),
    "Floor": _of(*_EACH, _T.CONSTANT_IN_PIECES),
    "Invert": _of(*_EACH),
    "IsFinite": _of(*_EACH),
    "IsInf": _of(*_EACH),
    "IsNan": _of(*_EACH),
    "LeakyRelu": _of(*_FUNCTION),
    "Lgamma": _of(*_EACH),
    "Log": _of(*_EACH, positive=0),
    "Log1p": _of(*_EACH),
    "LogicalNot": _of(*_EACH),
    "Neg": _of(*_EACH),
    "Reciprocal": _of(*_EACH),
    "Relu": _of(*_FUNCTION),
    "Relu6": _of(*_FUNCTION),
    "Rint": _of(*_EACH, _T.CONSTANT_IN_PIECES),
    "Round": _of(*_EACH, _T.CONSTANT_IN_PIECES),
    "Rsqrt": _of(*_EACH, positive=0),
    "Selu": _of(*_FUNCTION),
    "Sigmoid": _of(*_FUNCTION),
    "Sign": _of(*_EACH, _T.CONSTANT_IN_PIECES),
    "Sin": _of(*_EACH),
    "Sinh": _of(*_EACH),
    "Softplus": _of(*_FUNCTION),
    "Softsign": _of(*_FUNCTION),
    "Sqrt": _of(*_EACH, positive=0),
    "Square": _of(*_EACH),
    "Tan": _of(*_EACH),
    "Tanh": _of(*_FUNCTION),
    # Element by element, of several.
    "Add": _of(*_BOTH, _T.COMMUTATIVE, _T.KEEPS_SIGN, also=("AddV2", "BiasAdd")),
    "AddN": _of(*_EITHER),
    "Atan2": _of(*_EACH),
    "BitwiseAnd": _of(*_EITHER),
    "BitwiseOr": _of(*_EITHER),
    "BitwiseXor": _of(*_EITHER),
    "ClipByValue": _of(*_EACH),
    "Equal": _of(*_COMPARISON, _T.COMMUTATIVE),
    "FloorDiv": _of(*_EACH),
    "FloorMod": _of(*_EACH),
    "Greater": _of(*_COMPARISON),
    "GreaterEqual": _of(*_COMPARISON),
    "Less": _of(*_COMPARISON),
    "LessEqual": _of(*_COMPARISON),
    "LogicalAnd": _of(*_EITHER),
    "LogicalOr": _of(*_EITHER),
    "Maximum": _of(*_BOTH, _T.COMMUTATIVE, _T.KEEPS_SIGN),
    "Minimum": _of(*_BOTH, _T.COMMUTATIVE),
    "Mul": _of(*_BOTH, _T.COMMUTATIVE, _T.KEEPS_SIGN),
    "NotEqual": _of(*_COMPARISON, _T.COMMUTATIVE),
    "Pow": _of(*_EACH, positive=0),
    "RealDiv": _of(*_BOTH, also=("Div",)),
    "Select": _of(*_BOTH, also=("SelectV2",)),
    "SquaredDifference": _of(*_EITHER),
    "Sub": _of(*_BOTH),
    "TruncateDiv": _of(*_EACH),
    "TruncateMod": _of(*_EACH),
    # Along axes, in windows, products.
    "All": _of(_T.REDUCES, axes=1),
    "Any": _of(_T.REDUCES, axes=1),
    "ArgMax": _of(axes=1),
    "ArgMin": _of(axes=1),
    "AvgPool": _of(_T.POOLS),
    "AvgPool3D": _of(_T.POOLS),
    "BatchMatMul": _of(_T.MULTIPLIES, also=("BatchMatMulV2", "BatchMatMulV3")),
    "Cumsum": _of(axes=1),
    "Einsum": _of(_T.MULTIPLIES),
    "FusedBatchNorm": _of(also=("FusedBatchNormV2", "FusedBatchNormV3"), positive=4),
    "LogSoftmax": _of(_T.ACTIVATION),
    "MatMul": _of(_T.MULTIPLIES),
    "MatrixDiag": _of(also=("MatrixDiagV3",)),
    "Max": _of(_T.REDUCES, axes=1),
    "MaxPool": _of(_T.POOLS, also=("MaxPoolV2",)),
    "MaxPool3D": _of(_T.POOLS),
    "Mean": _of(_T.REDUCES, axes=1),
    "Min": _of(_T.REDUCES, axes=1),
    "Prod": _of(_T.REDUCES, axes=1),
    "Softmax": _of(_T.ACTIVATION),
    "Sum": _of(_T.REDUCES, axes=1),
}
"""Family -> what is known of it; of a family that is not here nothing is."""

LEAST_FUSED_EPSILON = 1.001e-5
"""What `tf.nn.fused_batch_norm` takes for every smaller epsilon ("a requirement by CUDNN", its code says), in
TensorFlow 1.15 as today."""

_FAMILY_OF = {other: name for name, known in FAMILIES.items() for other in known.also}
_UNKNOWN = Family()


def family(kind: str) -> str:
    """Returns the name that types which compute the same have in common.

    Args:
        kind: The framework's name of a type: `"BatchMatMulV2"`.
    """
    return _FAMILY_OF.get(kind, kind)


def known(name: str) -> Family:
    """Returns what is known of a family, by its name; nothing of one that is not in the table."""
    return FAMILIES.get(name, _UNKNOWN)


def traits(kind: str) -> frozenset[Trait]:
    """Returns what holds of every operation of a family, or of a type of it."""
    return known(family(kind)).traits


@cache
def having(*any_of: Trait) -> frozenset[str]:
    """Returns the names of the families of which at least one of some traits holds."""
    return frozenset(name for name, one in FAMILIES.items() if not one.traits.isdisjoint(any_of))
