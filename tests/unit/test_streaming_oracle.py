"""The oracle of well-known metrics: NumPy in float64, against numbers that are computed by hand."""

import numpy as np
import pytest

from lockstep.causes.streaming_oracle import Data, area, known
from lockstep.ground.streaming import Batch, Course, Seen, packed, packed_seen, rebuilt, unpacked, unpacked_seen


def named(data):
    return {one.told: one.value(data) for one in known(data)}


def test_binary_rates_are_quotients_of_weighted_counts():
    data = Data(np.array([1.0, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1]), np.array([1.0, 2, 3, 4]))
    found = named(data)
    assert found["the accuracy of predictions > 0.5"] == pytest.approx((1 + 2 + 4) / 10)
    assert found["the accuracy of predictions >= 0.5"] == pytest.approx((1 + 3 + 4) / 10)
    assert found["the precision of predictions >= 0.5"] == pytest.approx(4 / 6)
    assert found["the recall of predictions > 0.5"] == pytest.approx(1 / 4)


def test_a_quotient_of_nothing_is_zero():
    none = Data(np.zeros(2), np.array([0.1, 0.2]), np.ones(2))
    assert named(none)["the precision of predictions > 0.5"] == 0.0


def test_means_over_classes_count_each_class_once():
    scores = np.eye(3)[[0, 0, 0, 1]]
    found = named(Data(np.array([0.0, 0, 0, 2]), scores, np.ones(4)))
    assert found["the accuracy of the largest prediction"] == pytest.approx(3 / 4)
    assert found["the mean over classes that occur in the labels of each one's recall (accuracy)"] == pytest.approx(0.5)
    assert found["the mean over classes of each one's recall (accuracy)"] == pytest.approx(1 / 3)
    assert found["the accuracy of the 2 largest predictions"] == pytest.approx(1.0)  # a tie counts


def test_errors_are_means_of_examples():
    found = named(Data(np.array([1.0, 3.0]), np.array([2.0, 5.0]), np.array([1.0, 3.0])))
    assert found["the mean squared error"] == pytest.approx((1 + 3 * 4) / 4)
    assert found["the mean absolute error"] == pytest.approx((1 + 3 * 2) / 4)


@pytest.mark.parametrize("curve", ["ROC", "PR"])
@pytest.mark.parametrize("count", [10, 200])
def test_areas_are_those_of_keras(curve, count):
    keras = pytest.importorskip("keras")
    random = np.random.default_rng(3)
    labels, scores, weights = random.integers(0, 2, 50), random.uniform(size=50), random.uniform(size=50)
    metric = keras.metrics.AUC(num_thresholds=count, curve=curve)
    metric.update_state(labels, scores, weights)
    data = Data(labels.astype(float), scores, weights)
    assert area(data, curve, count, curve == "PR") == pytest.approx(float(metric.result()), abs=1e-5)


def test_what_is_packed_comes_back():
    course = Course("given", [Batch({"": np.ones(2)}, {"x": np.arange(2), "y": np.zeros(2)})])
    told, arrays = packed([course])
    (back,) = unpacked(told, arrays)
    assert back.name == "given"
    assert back.batches[0].inputs["x"].tolist() == [0, 1]
    seen = Seen([{"a": np.float32(1)}], [{"a: total": np.float32(2)}], [{"a": np.float32(3)}])
    (again,) = unpacked_seen(*packed_seen([seen]))
    assert (again.after, again.states, again.alone) == ([{"a": 1.0}], [{"a: total": 2.0}], [{"a": 3.0}])


def test_structures_are_rebuilt_from_paths():
    assert rebuilt({"0": 1, "1/b": 2}) == (1, {"b": 2})
    assert rebuilt({"1": 1, "2": 2}) == {"1": 1, "2": 2}  # no tuple: it does not begin at 0
