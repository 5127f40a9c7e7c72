"""Frames, rounds and dead branches, without a framework."""

import operator

import pytest

from lockstep.frameworks.tensorflow.dataflow import Dataflow, Node

FUNCTIONS = {"Add": operator.add, "Less": operator.lt, "Neg": operator.neg, "Even": lambda n: n % 2 == 0}


class Numbers:
    """Nodes that compute with plain numbers; `ran` is what was computed, in order."""

    def __init__(self, nodes, constants):
        self.nodes, self.constants, self.ran = nodes, constants, []

    def compute(self, node, inputs):
        self.ran.append(node)
        kind = self.nodes[node].type
        return [self.constants[node]] if kind == "Const" else [FUNCTIONS[kind](*inputs)]

    def truth(self, value):
        return bool(value)

    def count(self, number):
        return number


def node(kind, *inputs, controls=(), **more):
    outputs = 2 if kind in {"Switch", "Merge"} else 1
    return Node(kind, tuple(one if isinstance(one, tuple) else (one, 0) for one in inputs), controls, outputs, **more)


def run(nodes, constants, *wanted):
    steps = Numbers(nodes, constants)
    found = Dataflow(nodes).run(steps, [(one, 0) for one in wanted])
    return [found.get((one, 0)) for one in wanted], steps.ran


def counting(start, first, limit, step, frame="loop"):
    """A loop that adds `step` to `first` until `limit` is reached; what enters late is made after its readers."""
    names = ("enter", "merge", "less", "cond", "switch", "body", "add", "next", "exit", "limit", "step")
    make = {name: start + place for place, name in enumerate(names)}
    nodes = {
        make["enter"]: node("Enter", first, frame=frame),
        make["merge"]: node("Merge", make["enter"], make["next"]),
        make["less"]: node("Less", make["merge"], make["limit"]),
        make["cond"]: node("LoopCond", make["less"]),
        make["switch"]: node("Switch", make["merge"], make["cond"]),
        make["body"]: node("Neg", make["step"]),
        make["add"]: node("Add", (make["switch"], 1), make["step"]),
        make["next"]: node("NextIteration", make["add"]),
        make["exit"]: node("Exit", make["switch"]),
        make["limit"]: node("Enter", limit, frame=frame, invariant=True),
        make["step"]: node("Enter", step, frame=frame, invariant=True),
    }
    return nodes, make


@pytest.mark.parametrize(("first", "result", "rounds"), [(0, 10, 5), (9, 11, 1), (10, 10, 0)])
def test_a_loop_runs_as_often_as_its_condition_says(first, result, rounds):
    loop, make = counting(3, 0, 1, 2)
    nodes = {**{n: node("Const") for n in range(3)}, **loop, 20: node("Neg", make["exit"])}
    found, ran = run(nodes, {0: first, 1: 10, 2: 2}, 20)
    assert found == [-result]
    assert ran.count(make["add"]) == rounds
    assert ran.count(make["less"]) == rounds + 1


def test_nodes_run_in_the_order_of_the_program_round_by_round():
    loop, make = counting(3, 0, 1, 2)
    nodes = {**{n: node("Const") for n in range(3)}, **loop}
    _, ran = run(nodes, {0: 0, 1: 4, 2: 2}, make["exit"])
    body, less, add = make["body"], make["less"], make["add"]
    assert ran == [0, 1, 2, less, body, add, less, body, add, less, body]


@pytest.mark.parametrize(("value", "result"), [(4, -4), (3, 13)])
def test_a_loop_on_a_branch_that_is_not_taken_gives_nothing(value, result):
    loop, make = counting(5, (4, 0), 1, 2)
    nodes = {
        **{n: node("Const") for n in range(3)},
        3: node("Even", 0),
        4: node("Switch", 0, 3),
        **loop,
        20: node("Neg", (4, 1)),
        21: node("Merge", make["exit"], 20),
        22: node("Add", 21, (21, 1)),  # 0 if the loop's value came, 1 if the other branch's
    }
    found, ran = run(nodes, {0: value, 1: 12, 2: 2}, 21, 22, make["exit"])
    assert found[0] == result
    assert found[1] == result + (value == 4)
    assert (make["add"] in ran) == (value == 3)
    assert found[2] == (13 if value == 3 else None)


def test_a_node_that_waits_for_a_dead_one_does_not_run():
    nodes = {
        0: node("Const"),
        1: node("Switch", 0, 0),
        2: node("Neg", (1, 0)),  # not taken, as 0 gives a true value
        3: node("Neg", (1, 1)),
        4: node("Const", controls=(2,)),
        5: node("Const", controls=(3,)),
    }
    found, ran = run(nodes, {0: 1, 4: 7, 5: 8}, 2, 3, 4, 5)
    assert found == [None, -1, None, 8]
    assert ran == [0, 3, 5]


def test_an_inner_loop_begins_anew_in_each_round_of_the_outer():
    # for outer in 0, 2, 4: for inner from outer while below 5, step 2
    outer, out = counting(3, 0, 1, 2, frame="outer")
    inner, make = counting(20, (out["switch"], 1), 40, 41, frame="inner")
    nodes = {
        **{n: node("Const") for n in range(3)},
        **outer,
        **inner,
        40: node("Enter", 1, frame="outer", invariant=True),
        41: node("Enter", 2, frame="outer", invariant=True),
    }
    found, ran = run(nodes, {0: 0, 1: 5, 2: 2}, out["exit"], make["exit"])
    assert found == [6, 6]
    assert ran.count(out["add"]) == 3
    assert ran.count(make["add"]) == 3 + 2 + 1


def test_what_runs_exactly_once_is_told_from_what_may_not():
    loop, make = counting(3, 0, 1, 2)
    nodes = {
        **{n: node("Const") for n in range(3)},
        **loop,
        20: node("Switch", make["exit"], 0),
        21: node("Neg", (20, 1)),
        22: node("Merge", (20, 0), 21),
        23: node("Neg", 22),
    }
    inside = {number for name, number in make.items() if name != "exit"}
    assert Dataflow(nodes).conditional() == inside | {20, 21}
