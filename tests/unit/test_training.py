"""Training steps without a framework: a quadratic as model, gradient descent as optimizer."""

from types import SimpleNamespace

import numpy as np
import pytest

from lockstep.check.steps import trajectory
from lockstep.ground import training
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict

START = {"w": np.array([1.0, -2.0], np.float32), "average": np.zeros(2, np.float32), "global_step": np.int64(0)}


def run(values):
    """The loss is half the square of `w`; the run leaves an average behind."""
    after = {"average": (0.9 * values["average"] + 0.1 * values["w"]).astype(np.float32)}
    return SimpleNamespace(
        before=dict(values), after=after, gradients={"w": values["w"]}, training_loss=np.float32(1.0)
    )


class Descent:
    def __init__(self, shapes, rate=0.5):
        assert shapes == {"w": ((2,), np.dtype("float32"))}
        self.rate, self.step, self.closed = rate, 0, False

    def apply(self, variables, gradients):
        self.step += 1
        return SimpleNamespace(
            variables={"w": variables["w"] - np.float32(self.rate) * gradients["w"]}, slots={}, step=self.step
        )

    def close(self):
        self.closed = True


def test_each_step_starts_where_the_last_one_ended_state_and_counter_included():
    made = []

    def make(shapes):
        made.append(Descent(shapes))
        return made[-1]

    steps = training.train(run, make, START, 3)
    assert [step.values["w"].tolist() for step in steps] == [[0.5, -1.0], [0.25, -0.5], [0.125, -0.25]]
    assert [int(step.values["global_step"]) for step in steps] == [1, 2, 3]
    np.testing.assert_allclose(steps[1].values["average"], 0.9 * 0.1 * START["w"] + 0.1 * 0.5 * START["w"], rtol=1e-6)
    assert steps[1].run.before["w"] is steps[0].values["w"]
    assert [one.closed for one in made] == [True]


def test_drift_is_the_relative_distance_of_floating_variables():
    other = {**START, "w": START["w"] + np.float32(0.1), "global_step": np.int64(7)}
    assert training.drift(START, other) == pytest.approx(np.sqrt(0.02 / 5.0), rel=1e-6)
    assert training.drift(START, START) == 0.0


def test_one_unit_in_the_last_place_moves_all_that_is_floating():
    moved = training.moved(START)
    assert np.all(moved["w"] != START["w"])
    np.testing.assert_allclose(moved["w"], START["w"], rtol=2e-7)
    assert moved["global_step"] == 0


def test_as_many_steps_as_memory_holds():
    assert training.affordable(START, 20) == 20
    large = {"w": np.broadcast_to(np.float32(1.0), (50, 1_000_000))}
    assert training.affordable(large, 20) == 1


def update(rate=0.5):
    (step,) = training.train(run, Descent, START, 1)
    state = training.state_after(step.run)
    done = Descent(training.shapes_of(step.run.gradients), rate).apply(state, step.run.gradients)
    return trajectory.update(step, state, done.variables, {"w": "net/w"})


def test_an_update_from_equal_state_is_judged():
    assert update().verdict is Verdict.EQUIVALENT
    wrong = update(0.4)
    assert wrong.verdict is Verdict.DIVERGED
    assert [(c.reference, c.candidate, c.kind) for c in wrong.culprits] == [("w", "net/w", "update")]
    assert wrong.culprits[0].error == pytest.approx(0.2, rel=1e-4)


def test_the_first_step_that_is_not_equivalent_is_told():
    right, wrong = Finding(Verdict.EQUIVALENT, ""), Finding(Verdict.DIVERGED, "it differs", ("by 1",))
    found = trajectory.forced([[right, right], [right, wrong], [wrong, wrong]], 3)
    assert [(f.verdict, f.phrase, f.details) for f in found] == [
        (Verdict.DIVERGED, "step 2: it differs", ("step 2: by 1",))
    ]
    assert found[0].figures == {"first_step_that_differs": 2}
    assert trajectory.forced([[right]], 1)[0].verdict is Verdict.EQUIVALENT
