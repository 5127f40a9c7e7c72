"""The step `metrics` on metrics of NumPy: what is compared, what is a difference, and which cause is named."""

import numpy as np
import pytest

from lockstep.check import metric_courses
from lockstep.check.metric_courses import UncutError
from lockstep.check.steps import metrics
from lockstep.common.errors import SubjectError
from lockstep.compare.tolerance import FixedTolerance
from lockstep.results.model import Verdict, overall
from lockstep.subjects.streaming import Eager, Roles

RANDOM = np.random.default_rng(1)
ROLES = Roles("", "y", "weight")
INPUTS = {
    "y": RANDOM.integers(0, 2, 16).astype(np.float32),
    "weight": np.ones(16, np.float32),
}
SCORES = {"": RANDOM.uniform(0.3, 0.7, 16).astype(np.float32)}


class Mean:
    """The weighted mean of a quantity of each example, over all batches."""

    def __init__(self, of, weighted=True):
        self.of, self.weighted = of, weighted
        self.reset()

    def reset(self):
        self.total = self.count = 0.0

    def update(self, outputs, batch):
        weights = batch["weight"] if self.weighted else np.ones(len(outputs))
        self.total += float(np.sum(self.of(outputs, batch["y"]) * weights))
        self.count += float(np.sum(weights))

    def compute(self):
        return self.total / self.count if self.count else 0.0


class MeanOfMeans(Mean):
    def reset(self):
        self.found = []

    def update(self, outputs, batch):
        self.found.append(float(np.average(self.of(outputs, batch["y"]), weights=batch["weight"])))

    def compute(self):
        return np.mean(self.found)


class Last(MeanOfMeans):
    def compute(self):
        return self.found[-1]


class Sum(MeanOfMeans):
    def compute(self):
        return np.sum(self.found)


class NeverReset(Mean):
    resets = 0

    def reset(self):
        self.resets += 1
        if self.resets == 1:
            super().reset()


class Precision(Mean):
    nothing = 0.0

    def update(self, outputs, batch):
        said = outputs > 0.5
        self.total += float(np.sum(said & (batch["y"] > 0.5)))
        self.count += float(np.sum(said))

    def compute(self):
        return self.total / self.count if self.count else self.nothing


class NanPrecision(Precision):
    nothing = float("nan")


def right(outputs, labels):
    return ((outputs > 0.5) == (labels > 0.5)).astype(float)


def squares(outputs, labels):
    return (outputs - labels) ** 2


def judged(reference, candidate, outputs=SCORES, inputs=INPUTS, roles=ROLES, stated=True):
    courses = metric_courses.courses(outputs, inputs, roles)

    def run(make):
        side = Eager(roles, np.asarray, np.asarray)
        return lambda given: side.run(make, given)

    asked = metrics.Asked(courses, roles, FixedTolerance(), stated, run(candidate))
    return metrics.judge(run(reference)(courses), run(candidate)(courses), asked)


def verdict(findings):
    return overall([finding.verdict for finding in findings])


def causes(findings):
    return [culprit.cause for finding in findings for culprit in finding.culprits]


@pytest.mark.parametrize("of", [right, squares])
def test_equal_metrics_are_equivalent_at_all_places(of):
    (finding,) = judged(lambda: {"m": Mean(of)}, lambda: {"m": Mean(of)})
    assert finding.verdict is Verdict.EQUIVALENT
    assert finding.figures["m_values_compared"] == 2 * (3 + 4 + 4 + 4)
    assert len(finding.figures["m_reference"]) == 3


def test_a_function_is_given_all_batches_since_the_reset():
    def whole(outputs, batch):
        return {"m": np.average(squares(outputs, batch["y"]), weights=batch["weight"])}

    assert verdict(judged(lambda: {"m": Mean(squares)}, whole)) is Verdict.EQUIVALENT


@pytest.mark.parametrize(
    ("candidate", "cause"),
    [
        (lambda: MeanOfMeans(right), "the mean of the batches' values"),
        (lambda: Last(right), "the last batch alone"),
        (lambda: Sum(right), "adds up the batches' values"),
        (lambda: NeverReset(right), "after a reset the candidate still holds"),
        (lambda: Mean(right, weighted=False), "ignores the sample weights weight"),
        (lambda: Mean(lambda o, y: (o >= 0.5) == (y > 0.5)), "prediction > threshold, the candidate prediction >="),
        (lambda: Mean(lambda o, y: (o > 0.3) == (y > 0.5)), "the candidate the accuracy of predictions > 0.3"),
        (lambda: Mean(lambda o, y: 100.0 * right(o, y)), "100 times the reference's"),
    ],
)
def test_a_planted_mistake_is_named(candidate, cause):
    found = judged(lambda: {"m": Mean(right)}, lambda: {"m": candidate()})
    assert verdict(found) is Verdict.DIVERGED
    (told,) = causes(found)
    assert cause in told


def test_a_reference_that_takes_the_mean_of_batches_is_named_as_the_one():
    (told,) = causes(judged(lambda: {"m": MeanOfMeans(right)}, lambda: {"m": Mean(right)}))
    assert told.startswith("the reference reports the mean of the batches' values")


def test_logits_taken_for_probabilities_are_named():
    logits = {"": RANDOM.normal(size=16).astype(np.float32)}

    def sigmoid(outputs):
        return 1.0 / (1.0 + np.exp(-outputs))

    found = judged(
        lambda: {"m": Mean(lambda o, y: squares(sigmoid(o), y))}, lambda: {"m": Mean(squares)}, outputs=logits
    )
    assert "takes logits for probabilities" in causes(found)[0]


def test_labels_that_are_counted_from_another_number_are_named():
    classes = {"": RANDOM.normal(size=(16, 4)).astype(np.float32)}
    inputs = {"y": RANDOM.integers(1, 4, 16), "weight": np.ones(16, np.float32)}

    def top(offset):
        return lambda: {"m": Mean(lambda o, y: (np.argmax(o, axis=1) == y + offset).astype(float))}

    (told,) = causes(judged(top(-1), top(0), classes, inputs))
    assert "moved by -1" in told


def test_a_mean_over_classes_is_named():
    classes = {"": RANDOM.dirichlet(np.ones(3), 16).astype(np.float32)}
    inputs = {"y": RANDOM.integers(0, 3, 16)}
    roles = Roles("", "y")

    def accuracy(outputs, batch):
        return {"m": np.mean(np.argmax(outputs, axis=1) == batch["y"])}

    def by_class(outputs, batch):
        hit = np.argmax(outputs, axis=1) == batch["y"]
        return {"m": np.mean([hit[batch["y"] == one].mean() for one in np.unique(batch["y"])])}

    (told,) = causes(judged(accuracy, by_class, classes, inputs, roles))
    assert "the mean over classes" in told


def test_nothing_divided_by_nothing_is_a_difference_where_one_side_says_nan():
    found = judged(lambda: {"m": Precision(right)}, lambda: {"m": NanPrecision(right)})
    assert verdict(found) is Verdict.DIVERGED
    assert "0 against nan" in found[0].phrase
    assert verdict(judged(*(2 * [lambda: {"m": NanPrecision(right)}]))) is Verdict.EQUIVALENT


class OfNothing(Precision):
    """Says 1 where no label is positive, as `tf.metrics.auc` does."""

    def reset(self):
        super().reset()
        self.seen = []

    def update(self, outputs, batch):
        super().update(outputs, batch)
        self.seen.extend(batch["y"])

    def compute(self):
        return super().compute() if len(set(self.seen)) > 1 else 1.0


def test_labels_of_one_class_are_told_and_not_judged_where_others_are():
    (finding,) = judged(lambda: {"m": Precision(right)}, lambda: {"m": OfNothing(right)})
    assert finding.verdict is Verdict.EQUIVALENT
    assert finding.figures["m_not_judged"] > 0
    assert "not judged" in finding.phrase


def test_labels_of_one_class_alone_prove_nothing():
    zeros = {**INPUTS, "y": np.zeros(16, np.float32)}
    (finding,) = judged(lambda: {"m": Precision(right)}, lambda: {"m": OfNothing(right)}, inputs=zeros)
    assert finding.verdict is Verdict.UNDECIDED


def test_a_metric_of_unknown_kind_differs_without_a_cause():
    def odd(outputs, labels):
        return np.sin(7.0 * outputs) + labels

    (finding,) = judged(lambda: {"m": Mean(right)}, lambda: {"m": Mean(odd)})
    assert finding.verdict is Verdict.DIVERGED


def test_a_guess_that_the_candidate_cannot_take_is_no_cause():
    classes = {"": RANDOM.normal(size=(16, 4)).astype(np.float32)}
    inputs = {"y": np.arange(16) % 4, "weight": np.ones(16, np.float32)}

    def odd(outputs, labels):
        if np.max(labels) > 3:
            raise SubjectError("the label 4 is out of range", side="candidate", doing="computing its metrics")
        return np.sin(outputs[:, 0]) + labels

    (finding,) = judged(
        lambda: {"m": Mean(lambda o, y: np.cos(o[:, 1]) * y)}, lambda: {"m": Mean(odd)}, classes, inputs
    )
    assert finding.verdict is Verdict.DIVERGED
    assert "is not known" in finding.culprits[0].cause


def test_metrics_are_pairs_by_their_names_and_their_ends():
    assert metrics.paired(["accuracy", "auc"], ["p_accuracy", "auc"])[0] == [("auc", "auc"), ("accuracy", "p_accuracy")]
    assert metrics.paired(["a", "b"], ["c", "d"])[0] == []


@pytest.mark.parametrize(("stated", "expected"), [(True, Verdict.UNDECIDED), (False, Verdict.EQUIVALENT)])
def test_a_metric_without_partner_is_undecided_where_functions_were_named(stated, expected):
    found = judged(
        lambda: {"m": Mean(right), "other": Mean(squares), "third": Mean(squares)},
        lambda: {"m": Mean(right)},
        stated=stated,
    )
    assert verdict(found) is expected
    assert "only the reference has other, third" in found[-1].phrase


def test_no_pair_at_all_is_undecided():
    found = judged(lambda: {"a": Mean(right), "b": Mean(right)}, lambda: {"c": Mean(right), "d": Mean(right)})
    assert verdict(found) is Verdict.UNDECIDED


def test_rows_that_do_not_go_together_are_refused():
    with pytest.raises(UncutError, match="the input y has 3 rows, and the predictions have 16"):
        metric_courses.courses(SCORES, {"y": np.zeros(3)}, ROLES)


def test_outputs_of_several_paths_keep_their_rows():
    outputs = {"classes": np.arange(16), "scores": np.arange(16, dtype=np.float32)}
    courses = metric_courses.courses(outputs, INPUTS, Roles("scores", "y"))
    for course in courses:
        for batch in course.batches:
            assert batch.outputs["classes"].tolist() == batch.outputs["scores"].tolist()
