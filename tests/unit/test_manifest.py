"""What a manifest says of an optimizer and of training steps is enough to go through them, or it is told."""

import json

import numpy as np
import pytest

from lockstep.common.forms import MisstatedError
from lockstep.optimizers.rules import CHOICES, KINDS, NEEDED, NUMBERS, replay
from lockstep.traces import manifest

TENSOR = {"dtype": "float32", "shape": [2], "checksum": "0", "file": "f", "key": "0"}
ONE = {**TENSOR, "shape": []}
VARIABLES = [["w", "w", [2], "float32", True, False]]
RUN = {
    "setting": "initial", "fill_names": {}, "filled": [], "before": {"w": TENSOR}, "outputs": {}, "losses": [],
    "total_loss": None, "after": {}, "taps": {}, "tap_aliases": {}, "untapped": [], "differing_between_blocks": [],
    "duration_s": 0.5, "gradients": {"w": TENSOR}, "training_loss": ONE,
}  # fmt: skip
STEP = {"run": RUN, "update": {"w": TENSOR}, "step": 1}


def body(**change):
    build = {
        "training": True, "randomness": "num_random_ops", "variables": VARIABLES, "draws": [], "seeds_taken": [],
        "inputs": {}, "outputs": {}, "runs": [RUN], "trajectory": {"steps": [STEP, STEP], "own_drift": [0.0, 0.1]},
    }  # fmt: skip
    whole = {
        "subject": {"label": "m"}, "single_input": True, "inputs": {}, "environment": {}, "files": {},
        "builds": [build],
    }  # fmt: skip
    return json.loads(json.dumps({**whole, **change}))  # nothing is there twice


def optimizer(kind, arguments):
    update = {"variables": {}, "slots": {}, "step": 1}
    description = {"framework": "v1", "name": "X", "kind": kind, "arguments": arguments}
    return {"description": description, "rates": [], "updates": [update] * 5}


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_is_replayed_by_what_it_needs_and_by_nothing_less(kind):
    needed = dict.fromkeys(NEEDED[kind], 0.5)
    before = gradients = [{"w": np.ones(2)}] * 2
    with np.errstate(all="ignore"):
        assert len(replay(kind, needed, [0.1, 0.1], before, gradients).variables) == 2
        for name in needed:
            with pytest.raises(KeyError):
                replay(kind, {k: v for k, v in needed.items() if k != name}, [0.1, 0.1], before, gradients)
            with pytest.raises(MisstatedError, match=f"has no '{name}', which {kind} needs"):
                manifest.check(body(optimizer=optimizer(kind, {k: v for k, v in needed.items() if k != name})))
    manifest.check(body(optimizer=optimizer(kind, needed)))


@pytest.mark.parametrize("value", [None, "x", [1], {}, 1e999])
def test_an_argument_that_is_no_number_is_told(value):
    for name in sorted(NUMBERS):
        with pytest.raises(MisstatedError, match="not a number"):
            manifest.check(body(optimizer=optimizer("sgd", {name: value})))


def test_words_are_among_those_that_are_known_and_names_too():
    for name, choices in CHOICES.items():
        for word in choices:
            manifest.check(body(optimizer=optimizer("sgd", {name: word, "clip_at": 1.0})))
        with pytest.raises(MisstatedError, match="not one of"):
            manifest.check(body(optimizer=optimizer("sgd", {name: "other"})))
    with pytest.raises(MisstatedError, match="'clip_at'"):
        manifest.check(body(optimizer=optimizer("sgd", {"clip": "norm"})))
    with pytest.raises(MisstatedError, match="no argument that is known"):
        manifest.check(body(optimizer=optimizer("sgd", {"rates": 1.0})))


def test_a_rule_that_nobody_knows_may_have_any_arguments():
    manifest.check(body(optimizer=optimizer("", {"x": [None]})))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t["steps"].clear(), "has 0 steps"),
        (lambda t: t["own_drift"].pop(), "has 2 steps, and the drift of 1"),
        (lambda t: t["steps"][1]["update"].clear(), "trains other variables"),
        (lambda t: t["steps"][1]["run"]["gradients"].clear(), "trains other variables"),
        (lambda t: t["steps"][1]["update"]["w"].update(shape=[3]), "trains other variables"),
        (lambda t: t["steps"][1]["run"].update(training_loss=None), "no 'training_loss'"),
        (lambda t: t["steps"][1]["run"].update(training_loss=TENSOR), "not one real number"),
        (lambda t: t["steps"][1]["run"]["training_loss"].update(dtype="string"), "not one real number"),
    ],
)
def test_training_steps_that_do_not_go_together_are_told(change, told):
    whole = body()
    manifest.check(whole)
    change(whole["builds"][0]["trajectory"])
    with pytest.raises(MisstatedError, match=told):
        manifest.check(whole)
