"""What is written for Google's Model Explorer: its forms, and what stands in them."""

import json
import math

import pytest

from lockstep.report import model_explorer
from lockstep.results.evidence import Computed, Evidence, ProgramPair, Row
from lockstep.results.model import Report, Verdict

GRAPH_NODE = {"id", "label", "namespace", "attrs", "incomingEdges"}
"""Fields of `GraphNode` in ai-edge-model-explorer's graph_builder that are written."""


def computed(name, index, reads=()):
    return Computed(name, name.rpartition("/")[0], "Mul", "model.py:3", (2, 3), "float32", index, reads)


ROWS = (
    Row(computed("net/in", 0), computed("model/in", 1), "identical", 0.0, None, 0.0),
    Row(computed("net/mul", 1, (0,)), computed("model/mul", 2, (0, 1)), "beyond", 0.1, 2e-7, math.inf),
    Row(computed("net/mul", 2, (1, 0)), None, "inside"),
    Row(None, computed("model/cast", 0), "inside"),
)


def report(*programs):
    environments = {"reference": {"subject": "old.py:f"}, "candidate": {"subject": "new.py:build"}}
    return Report(Verdict.DIVERGED, (), (), environments, 1.0, evidence=Evidence(programs))


def trees(*programs):
    return {name: json.loads(text) for name, text in model_explorer.files(report(*programs)).items()}


def test_each_side_is_a_graph_for_each_mode():
    made = trees(ProgramPair("inference", ROWS), ProgramPair("training", ROWS[:1]))
    assert set(made) == {"reference.json", "reference_errors.json", "candidate.json", "candidate_errors.json"}
    graphs = made["reference.json"]["graphs"]
    assert made["reference.json"]["label"] == "reference old.py:f"
    assert [graph["id"] for graph in graphs] == ["inference", "training"] == list(made["reference_errors.json"])
    assert [len(graph["nodes"]) for graph in graphs] == [3, 1]
    assert all(set(node) == GRAPH_NODE for graph in graphs for node in graph["nodes"])


def test_edges_lead_from_what_is_read():
    nodes = {node["id"]: node for node in trees(ProgramPair("inference", ROWS))["reference.json"]["graphs"][0]["nodes"]}
    assert list(nodes) == ["net/in", "net/mul", "net/mul #2"]
    edges = [(edge["sourceNodeId"], edge["targetNodeInputId"]) for edge in nodes["net/mul #2"]["incomingEdges"]]
    assert edges == [("net/mul", "0"), ("net/in", "1")]
    assert nodes["net/mul"]["namespace"] == "net"
    assert {"key": "candidate", "value": "model/mul"} in nodes["net/mul"]["attrs"]


def test_errors_are_of_nodes_that_are_there_and_what_was_not_compared_has_none():
    made = trees(ProgramPair("inference", ROWS))
    for side in ("reference", "candidate"):
        nodes = {node["id"] for node in made[f"{side}.json"]["graphs"][0]["nodes"]}
        results = made[f"{side}_errors.json"]["inference"]["results"]
        assert len(results) == 2
        assert set(results) < nodes
    assert results["model/mul"] == {
        "value": model_explorer.LARGEST,
        "bgColor": model_explorer.COLOURS["beyond"],
        "textColor": "#000000",
    }
    assert results["model/in"]["value"] == 0


@pytest.mark.parametrize("names", [("a", "a #2", "a"), ("a", "a", "a"), ("a #2", "a", "a", "a #2")])
def test_no_two_nodes_have_one_name(names):
    rows = tuple(Row(computed(name, index), None, "inside") for index, name in enumerate(names))
    nodes = trees(ProgramPair("inference", rows))["reference.json"]["graphs"][0]["nodes"]
    assert len({node["id"] for node in nodes}) == len(names)


def test_without_programs_there_are_no_files():
    assert model_explorer.files(report()) == {}
