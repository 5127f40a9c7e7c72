"""The right pairs that mutants are made of: the zoo's, the examples', small networks, layers and cells."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from benchmarks.zoo import catalogue

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
SEED = 5

_ZOO = {
    "perceptron": {},
    "decoder": {},
    "transformer": {},
    "recurrent": {"words": (4, 4), "length": (4,)},
    "residual": {"image": (2, 8, 8, 3)},
    "convolutional": {"image": (2, 8, 8, 3)},
    "separable": {"image": (2, 8, 8, 3)},
}
"""The zoo's families, and the sizes of inputs where the zoo's own are larger than mutants need."""

_LAYERS = (
    "dense_named_relu_without_bias", "dense_regularized", "dense_default_names_count_up",
    "dense_activation_with_variable", "conv1d_causal_dilated",
    "conv2d_same_strided_relu", "conv2d_dilated", "separable_conv2d_everything",
    "conv2d_transpose_same", "batch_norm_fused", "batch_norm_rank_2", "batch_norm_not_fused_first_axis",
    "batch_norm_renorm_clipped", "dropout_between_dense", "max_pooling2d_gaps", "average_pooling2d_same",
    "own_layer_of_several_inputs", "whole_net",
)  # fmt: skip
_CELLS = ("gru", "lstm_everything", "dynamic_lengths", "static_bidirectional_lengths", "residual_function", "raw")
_SLIM = (
    "arg_scopes_and_the_usual_layers", "batch_norm_rank_2_not_fused", "gdn", "group_norm", "instance_norm",
    "layer_norm", "losses", "unit_norm",
)  # fmt: skip
_PROGRAMS: dict[str, dict[str, tuple[int, ...]]] = {
    "bounds": {"x": (6, 4)},
    "critic": {"state": (5, 3), "next": (5, 3)},
    "noisy": {"x": (6, 4)},
    "masked": {"words": (3, 5)},
    "normalised": {"image": (2, 6, 6, 3)},
}

Inputs = Mapping[str, npt.NDArray[Any]] | npt.NDArray[Any]


@dataclass(frozen=True)
class Pair:
    """A reference and a right candidate.

    Attributes:
        name: Unique.
        forward: Returns the reference's `forward(inputs, training)`.
        build: Returns the candidate's `build()`, which makes a Keras layer.
        inputs: Makes the inputs.
        options: Keyword arguments of `lockstep.verify`.
        share: How many of its mutants are checked by default.
    """

    name: str
    forward: Callable[[], Callable[..., Any]]
    build: Callable[[], Callable[[], Any]]
    inputs: Callable[[], Inputs]
    options: Mapping[str, Any] = field(default_factory=dict)
    share: int = 40


def pairs() -> dict[str, Pair]:
    """Returns all pairs by name."""
    found = [*_of_zoo(), *_of_programs(), *_of_examples(), *_of_layers(), *_of_cells(), *_of_slim()]
    return {pair.name: pair for pair in found}


def behind_shim(forward: Callable[..., Any]) -> Callable[[], Any]:
    """Returns `build()` of the right migration: the same code in a Keras layer."""

    def build() -> Any:
        import keras

        from lockstep import tf1

        class Behind(keras.layers.Layer):
            @tf1.track_tf1_style_variables
            def call(self, inputs: Any, training: Any = None) -> Any:
                return forward(inputs, bool(training))

        return Behind()

    return build


def _of_zoo() -> Iterator[Pair]:
    zoo = catalogue.load()
    for family, sizes in _ZOO.items():
        exhibit = zoo[family]
        for migration in catalogue.MIGRATIONS:
            yield Pair(
                f"zoo-{family}-{migration}",
                exhibit.forward,
                lambda exhibit=exhibit, migration=migration: exhibit.build(migration),  # type: ignore[misc]
                lambda exhibit=exhibit, sizes=sizes: _cut(exhibit.arrays(), sizes),  # type: ignore[misc]
                {"rename": exhibit.rename(migration)},
                share=20 if sizes else 60,
            )


def _cut(arrays: dict[str, npt.NDArray[Any]], sizes: dict[str, tuple[int, ...]]) -> dict[str, npt.NDArray[Any]]:
    """Cuts inputs to smaller sizes; what gives the length of sequences is cut with them."""
    cut = {name: array[tuple(map(slice, sizes.get(name, array.shape)))] for name, array in arrays.items()}
    if "length" in cut and "words" in cut:
        cut["length"] = np.minimum(cut["length"], cut["words"].shape[1] - np.arange(len(cut["length"])) % 2).astype(
            "int32"
        )
    return cut


def _of_programs() -> Iterator[Pair]:
    def forward(name: str) -> Callable[..., Any]:
        from benchmarks.soundness import small_programs

        found: Callable[..., Any] = getattr(small_programs, name)
        return found

    for name, shapes in _PROGRAMS.items():
        yield Pair(
            f"program-{name}",
            lambda name=name: forward(name),  # type: ignore[misc]
            lambda name=name: behind_shim(forward(name)),  # type: ignore[misc]
            lambda shapes=shapes: _filled(shapes),  # type: ignore[misc]
            share=80,
        )


def _filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, npt.NDArray[Any]]:
    random = np.random.default_rng(SEED)
    return {
        name: random.integers(0, 11, shape).astype("int32")
        if name == "words"
        else random.normal(size=shape).astype("float32")
        for name, shape in shapes.items()
    }


def _of_examples() -> Iterator[Pair]:
    small: dict[str, dict[str, tuple[int, ...]]] = {
        "quickstart": {"image": (4, 9)},
        "mlp": {"features": (4, 24), "branch": (4,)},
        "lstm_text": {"words": (2, 3), "length": (2,)},
    }
    for name, shapes in small.items():
        yield Pair(
            f"example-{name}",
            lambda name=name: _function(f"examples/{name}/legacy_model.py", "forward"),  # type: ignore[misc]
            lambda name=name: behind_shim(_function(f"examples/{name}/legacy_model.py", "forward")),  # type: ignore[misc]
            lambda name=name, shapes=shapes: _of_example(name, shapes),  # type: ignore[misc]
        )
    folder = ROOT / "examples/from_shim_to_keras"
    for stage in (1, 2, 3):
        yield Pair(
            f"example-from_shim_to_keras-{stage}",
            lambda: _function("examples/from_shim_to_keras/legacy_model.py", "forward"),
            lambda stage=stage: _beside(folder, f"stage_{stage}").build,  # type: ignore[misc]
            lambda: {"image": np.random.default_rng(SEED).uniform(size=(2, 6, 6, 3)).astype("float32")},
            {"rename": _rules(folder / f"lockstep-stage-{stage}.toml")},
        )


def _of_example(name: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, npt.NDArray[Any]]:
    table = tomllib.loads((ROOT / f"examples/{name}/lockstep.toml").read_text(encoding="utf-8"))["inputs"]
    random = np.random.default_rng(SEED)
    made = {}
    for key, shape in shapes.items():
        low, high = table[key].get("low", 0), table[key].get("high", 1)
        if key == "length":
            made[key] = np.array([3, 2], "int32")
        elif "dtype" in table[key]:
            made[key] = random.integers(low, high, shape).astype(table[key]["dtype"])
        else:
            made[key] = random.normal(size=shape).astype("float32")
    return made


def _rules(file: Path) -> tuple[tuple[str, str], ...]:
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    return tuple((old, new) for old, new in table.get("variables", {}).get("rename", ()))


def _function(file: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(catalogue.module(ROOT / file), name)
    return found


def _beside(folder: Path, name: str) -> Any:
    """Imports a module that imports others from its own folder."""
    with _first_on_path(folder):
        for other in ("legacy_model", "keras_layers", name):
            sys.modules.pop(other, None)
        return importlib.import_module(name)


@contextlib.contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _of_layers() -> Iterator[Pair]:
    for name in _LAYERS:

        def forward(name: str = name) -> Callable[..., Any]:
            case = next(one for one in _table("layer_cases").CASES if one.name == name)

            def run(inputs: Any, training: bool) -> Any:
                import tensorflow.compat.v1 as tf

                from lockstep.tf1 import layers

                return _tensors_of(tf, case.body(tf, layers, inputs["x"], training))

            return run

        def inputs(name: str = name) -> dict[str, npt.NDArray[Any]]:
            table = _table("layer_cases")
            return {"x": table.input_of(next(one for one in table.CASES if one.name == name))}

        yield Pair(f"layer-{name}", forward, lambda forward=forward: behind_shim(forward()), inputs)  # type: ignore[misc]


def _of_cells() -> Iterator[Pair]:
    for name in _CELLS:

        def forward(name: str = name) -> Callable[..., Any]:
            case = next(one for one in _table("rnn_cases").CASES if one.name == name)

            def run(inputs: Any, training: bool) -> Any:
                import tensorflow.compat.v1 as tf

                del training
                return _tensors_of(tf, case.body(tf, inputs["x"]))

            return run

        def inputs() -> dict[str, npt.NDArray[Any]]:
            return {"x": np.random.RandomState(11).uniform(-1, 1, (3, 5, 4)).astype("float32")}

        yield Pair(f"cell-{name}", forward, lambda forward=forward: behind_shim(forward()), inputs)  # type: ignore[misc]


def _of_slim() -> Iterator[Pair]:
    def table() -> Any:
        return catalogue.module(ROOT / "tests/integration/slim_cases.py")

    for name in _SLIM:

        def forward(name: str = name) -> Callable[..., Any]:
            def run(inputs: Any, training: bool) -> Any:
                import tf_slim as slim

                with slim.arg_scope([slim.batch_norm], is_training=training):
                    return table().CASES[name][1](inputs["x"])

            return run

        yield Pair(
            f"slim-{name}",
            forward,
            lambda forward=forward: behind_shim(forward()),  # type: ignore[misc]
            lambda name=name: {"x": table().input_of(name)},  # type: ignore[misc]
        )


def _table(name: str) -> Any:
    return catalogue.module(ROOT / f"tests/data/{name}.py")


def _tensors_of(tf: Any, structure: Any) -> dict[str, Any]:
    """Returns the tensors among what a case returns, by number; its plain facts are left out."""
    flat = [one for one in tf.nest.flatten(structure) if tf.is_tensor(one)]
    return {f"out_{number}": tensor for number, tensor in enumerate(flat)}
