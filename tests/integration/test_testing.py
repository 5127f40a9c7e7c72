"""What `lockstep.testing` takes for a side and for inputs: what can mean one thing alone; the rest is refused."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep.common.errors import DivergedError, InputError, SubjectError, UndecidedError
from lockstep.testing import assert_equivalent, assert_golden
from lockstep.testing.inputs import arrays_of
from lockstep.testing.observing import observer
from lockstep.testing.sides import side_of


def forward(inputs, training):
    return {"y": inputs["x"] * tf.compat.v1.get_variable("scale", [])}


def with_default(inputs, training=False):
    return forward(inputs, training)


def build():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="out")], name="net")


class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = keras.layers.Dense(2, name="out")

    def call(self, x):
        return self.out(x)


def kind(given):
    return type(side_of(given, "candidate")).__name__


@pytest.mark.parametrize("given", [forward, with_default, functools.partial(forward), lambda x, training: x])
def test_what_takes_inputs_and_training_is_tf1_style_code(given):
    assert kind(given) == "TF1Graph"


@pytest.mark.parametrize("given", [build, Model, lambda: build(), functools.partial(build)])
def test_what_needs_no_argument_makes_a_model(given):
    assert kind(given) == "KerasEager"


def test_a_subject_is_itself():
    subject = lockstep.keras(build)
    assert side_of(subject, "reference") is subject


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda x: x, r"takes 'x', so it may be TF1-style code, or make a model; wrap it"),
        (lambda x, y: x, r"takes 'x', 'y', so it may be"),
        (keras.layers.Dense, r"the class Dense needs 'units' to be made; give a function that makes it"),
        (3, r"the candidate is a int; wrap it"),
        ("no/such/folder", r"'no/such/folder', which is no folder"),
        (max, r"takes|cannot be seen"),
    ],
)
def test_what_may_mean_several_things_is_refused(given, told):
    with pytest.raises(InputError, match=told):
        side_of(given, "candidate")


class TestAModelThatIsThere:
    def test_copies_of_it_have_its_weights(self):
        model = build()
        report = assert_equivalent(model, model, (3, 4))
        assert report.verdict == "equivalent"
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), model.get_weights(), strict=True))

    def test_other_weights_are_no_pass(self):
        with pytest.raises(UndecidedError, match="values of its own"):
            assert_equivalent(build(), build(), (3, 4))

    def test_one_that_cannot_be_copied_is_refused(self):
        model = Model()
        model(np.ones((1, 4)))
        with pytest.raises(InputError, match="give the function or class that makes it instead"):
            side_of(model, "reference")

    def test_one_without_weights_is_refused(self):
        with pytest.raises(InputError, match="has no weights yet"):
            side_of(keras.Sequential([keras.layers.Dense(2)]), "reference")


class TestInputs:
    def test_a_shape_is_filled_as_a_configuration_fills_it(self, tmp_path):
        from lockstep import config

        (tmp_path / "lockstep.toml").write_text(
            '[reference]\nruntime = "tf1"\nentry = "a.py:f"\n[candidate]\nruntime = "keras"\nentry = "a.py:g"\n'
            "[inputs.x]\nshape = [3, 4]\n"
        )
        there = config.make_inputs(config.read(tmp_path / "lockstep.toml"))
        assert np.array_equal(arrays_of({"x": (3, 4)})["x"], there["x"])

    def test_arrays_are_taken_as_they_are(self):
        batch = np.arange(6.0).reshape(2, 3)
        assert arrays_of(batch) is batch
        assert arrays_of({"x": batch})["x"] is batch
        assert arrays_of({"x": tf.constant([1.0, 2.0])})["x"].tolist() == [1.0, 2.0]

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ((None, 4), "a shape includes the batch size"),
            ([[1.0, 2.0]], "must be a shape"),
            ({"x": (0, 4)}, "is empty"),
            ({"x": {"shap": [3]}}, "unknown key 'shap'; did you mean 'shape'"),
            ({}, "no inputs were given"),
        ],
    )
    def test_anything_else_is_refused(self, given, told):
        with pytest.raises(InputError, match=told):
            arrays_of(given)


def test_what_the_users_code_raises_is_the_cause_and_no_frame_of_ours_is_shown():
    def bad():
        raise RuntimeError("mine")

    with pytest.raises(SubjectError) as caught:
        assert_equivalent(build, bad, (3, 4))
    assert isinstance(caught.value.__cause__, RuntimeError)
    names = [entry.frame.code.path.name for entry in caught.traceback]
    assert names == ["test_testing.py", "observing.py"]


def test_reports_are_told_to_the_observer_whether_they_pass_or_not():
    told = []
    with observer(told.append):
        assert_equivalent(build, build, (3, 4))
        with pytest.raises(DivergedError):
            assert_equivalent(build, lambda: keras.Sequential([build(), keras.layers.ReLU()]), (3, 4))
    assert_equivalent(build, build, (3, 4))
    assert [str(report.verdict) for report in told] == ["equivalent", "diverged"]


def test_a_golden_from_outside_of_pytest(tmp_path):
    with pytest.raises(InputError, match="there is no golden"):
        assert_golden(build, (3, 4), tmp_path / "golden")
    assert_golden(build, (3, 4), tmp_path / "golden", update=True)
    report = assert_golden(build, (3, 4), tmp_path / "golden")
    assert {step.name for step in report.steps if step.verdict == "equivalent"} >= {
        "inference-fixed",
        "training-random",
    }
    with pytest.raises(InputError, match="recorded on another input"):
        assert_golden(build, (2, 4), tmp_path / "golden")


def test_a_golden_of_tf1_code(tmp_path):
    assert_golden(forward, {"x": (3, 4)}, tmp_path / "golden", update=True)
    with pytest.raises(DivergedError):
        assert_golden(
            lambda inputs, training: {"y": -forward(inputs, training)["y"]}, {"x": (3, 4)}, tmp_path / "golden"
        )
