"""The JSON Schemas say what the reader of lockstep.toml accepts and what reports hold, neither more nor less."""

import copy
import dataclasses
import json
import re
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from lockstep import config
from lockstep.check.provenance import digest_of, provenance_of
from lockstep.common import step_names
from lockstep.common.errors import InputError
from lockstep.compare.tolerance import FixedTolerance
from lockstep.config import arrays, files, originals, reading
from lockstep.config.tables import Table
from lockstep.frameworks import runtimes
from lockstep.report import bisection
from lockstep.report import json as rendering
from lockstep.results.bisection import Bisection, Release
from lockstep.results.model import Culprit, Provenance, Report, StepReport, Verdict, merged

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "docs" / "schemas"
CONFIGURATION = json.loads((SCHEMAS / "configuration.schema.json").read_text())
REPORT = json.loads((SCHEMAS / "report.schema.json").read_text())
BISECTION = json.loads((SCHEMAS / "bisection.schema.json").read_text())
SIDE = {"runtime": "tf1", "entry": "model.py:forward"}
LEAST = {
    "reference": SIDE,
    "candidate": {"runtime": "keras", "entry": "model.py:build"},
    "inputs": {"x": {"shape": [2, 3]}},
}
TABLES = {
    (): CONFIGURATION,
    ("reference",): CONFIGURATION["$defs"]["side"],
    ("candidate",): CONFIGURATION["$defs"]["side"],
    ("inputs", "x"): CONFIGURATION["$defs"]["input"],
    **{
        (name,): CONFIGURATION["properties"][name]
        for name in ("variables", "outputs", "tolerance", "checkpoint", "metrics")
    },
}
"""Path of a table -> its schema."""
ALONG = {
    "python": {"requirements": ["tensorflow"]},
    "timeout_s": {"requirements": ["tensorflow"]},
    "key": {"path": "b.npz"},
    **{key: {"runtime": runtime} for runtime, keys in originals.KEYS.items() for key in keys},
}
"""What a key does not go without."""
FREE = {"params", "feeds", "fetches", "training_feeds", "inference_feeds"}
"""Tables whose keys are the user's own."""
INSTEAD = {"path": ("shape",), "key": ("shape",)}
OF_FILES = {
    **{key: {} for key in ("saved_model", "frozen_graph", "meta_graph", "keras_file")},
    **{key: {"saved_model": "exported"} for key in ("signature", "tags")},
    **{key: {"frozen_graph": "model.pb"} for key in ("inputs", "outputs", "weights")},
}
"""Key of a side that is a file -> what it does not go without, in place of an entry."""


def toml(tree) -> str:
    """A tree as TOML; JSON's strings, numbers, arrays and booleans are TOML's."""

    def inline(value):
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(key)} = {inline(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(inline, value)) + "]"
        return json.dumps(value)

    text = "".join(f"{key} = {inline(value)}\n" for key, value in tree.items())
    assert tomllib.loads(text) == tree
    return text


@pytest.fixture
def read(tmp_path):
    """Reads a tree as the command does; returns the error, or None."""
    (tmp_path / "vocabulary.txt").touch()

    def read(tree):
        (tmp_path / "lockstep.toml").write_text(toml(tree))
        try:
            config.read(tmp_path / "lockstep.toml")
        except InputError as error:
            return str(error)
        return None

    return read


def valid(tree, schema=CONFIGURATION):
    return jsonschema.Draft202012Validator(schema).is_valid(tree)


def with_key(path, key, value):
    tree = copy.deepcopy(LEAST)
    if path == ("checkpoint",):
        tree["checkpoint"] = {"path": "model.ckpt"}
    table = tree
    for name in path:
        table = table.setdefault(name, {})
    if path and path[0] == "inputs":
        for gone in INSTEAD.get(key, ()):
            table.pop(gone, None)
    if path and path[0] in ("reference", "candidate") and key in OF_FILES:
        table.clear()
        table.update(OF_FILES[key])
    table.update(ALONG.get(key, {}) if path and path != ("metrics",) else {})
    table[key] = value
    return tree


KEYS = [(path, key) for path, schema in TABLES.items() for key in schema["properties"]]
PLAIN = [(path, key) for path, key in KEYS if (key,) not in TABLES and key != "inputs"]
"""Keys that hold a value and no table, whose keys are cases of their own."""


def test_the_schemas_are_schemas():
    for schema in (CONFIGURATION, REPORT, BISECTION):
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_key_that_the_reader_knows_is_in_the_schema_and_no_other(read, monkeypatch):
    known = {}

    def noted(self, keys):
        known.setdefault(self.place, set()).update(keys)

    monkeypatch.setattr(Table, "refuse_unknown", noted)
    assert (
        read({**LEAST, "variables": {}, "outputs": {}, "tolerance": {}, "checkpoint": {"path": "model.ckpt"}}) is None
    )
    found = {place.partition(": ")[2].strip("[]"): keys for place, keys in known.items()}
    assert found == {".".join(path): set(schema["properties"]) for path, schema in TABLES.items()}


@pytest.mark.parametrize(("path", "key"), PLAIN, ids=lambda part: part if isinstance(part, str) else ".".join(part))
def test_the_example_of_every_key_is_accepted_by_both(read, path, key):
    schema = TABLES[path]["properties"][key]
    for value in [*schema.get("examples", []), *schema.get("enum", [])] or pytest.fail("no example"):
        if path == ("reference",) and key == "runtime":
            value = "tf1"
        tree = with_key(path, key, value)
        if key == "dtype" and value not in (
            "float16",
            "bfloat16",
            "float32",
            "float64",
            "complex64",
            "complex128",
            "bool",
        ):
            tree["inputs"]["x"]["high"] = 2
        assert read(tree) is None
        assert valid(tree)


@pytest.mark.parametrize(("path", "key"), KEYS, ids=lambda part: part if isinstance(part, str) else ".".join(part))
def test_a_value_of_the_wrong_type_is_refused_by_both(read, path, key):
    takes_a_table = key in ("reference", "candidate", "inputs") or (path and key == "outputs")
    wrong = (3 if key in FREE else {"no": "such"}, [[[]]], "")
    for value in ("", 3) if takes_a_table else wrong:
        tree = with_key(path, key, value)
        if value == {"no": "such"} and path == () and key in ("variables", "outputs", "tolerance", "checkpoint"):
            assert "unknown key" in read(tree) or "no path" in read(tree)
        assert read(tree) is not None, (path, key, value)
        assert not valid(tree), (path, key, value)


def test_words_and_bounds_are_the_readers():
    side, given = CONFIGURATION["$defs"]["side"]["properties"], CONFIGURATION["$defs"]["input"]["properties"]
    assert side["runtime"]["enum"] == list(runtimes.RUNTIMES)
    assert given["dtype"]["enum"] == list(arrays._DTYPES)
    assert given["fill"]["enum"] == list(arrays._FILLS)
    assert CONFIGURATION["properties"]["batches"]["maximum"] == arrays.MAX_BATCHES
    assert CONFIGURATION["properties"]["trajectory"]["maximum"] == reading._MAX_STEPS
    assert CONFIGURATION["properties"]["search_time"]["maximum"] == reading.MOST_S
    assert CONFIGURATION["properties"]["steps"]["items"]["enum"] == list(step_names.NAMES)


def test_the_keys_of_files_are_the_readers():
    assert {*OF_FILES, "inference_feeds"} == set(files.ALL_KEYS)


@pytest.mark.parametrize(
    ("side", "told"),
    [
        ({"saved_model": "d", "entry": "m.py:f"}, "both saved_model and entry"),
        ({"saved_model": "d", "frozen_graph": "m.pb"}, "both saved_model and frozen_graph"),
        ({"saved_model": "d", "runtime": "keras"}, 'runtime "tf1"'),
        ({"keras_file": "m.h5", "runtime": "tf1"}, 'runtime "keras"'),
        ({"saved_model": "d", "outputs": {"y": "y:0"}}, "does not go with it"),
        ({"frozen_graph": "m.pb", "loss": "t.py:loss"}, "is not trained"),
        ({"frozen_graph": "m.pb", "requirements": ["tensorflow"]}, "Take requirements out"),
        ({"runtime": "tf1", "entry": "m.py:f", "tags": ["serve"]}, "goes with a file"),
    ],
)
def test_what_does_not_go_with_a_file_is_refused_by_both(read, side, told):
    tree = {**LEAST, "reference": side}
    assert told in read(tree)
    assert not valid(tree)


@pytest.mark.parametrize("path", TABLES, ids=".".join)
def test_an_unknown_key_is_refused_by_both(read, path):
    tree = with_key(path, "no_such_key", 1)
    assert "unknown key 'no_such_key'" in read(tree)
    assert not valid(tree)


@pytest.mark.parametrize(
    "gone",
    [("reference",), ("reference", "entry"), ("candidate", "runtime"), ("inputs", "x"), ("inputs", "x", "shape")],
)
def test_what_is_required_is_required_by_both(read, gone):
    tree = copy.deepcopy(LEAST)
    table = tree
    for name in gone[:-1]:
        table = table[name]
    del table[gone[-1]]
    assert read(tree) is not None
    assert not valid(tree)


@pytest.mark.parametrize(
    "file", sorted(ROOT.glob("examples/*/*.toml")), ids=lambda file: f"{file.parent.name}-{file.stem}"
)
def test_every_configuration_here_is_valid(file):
    tree = tomllib.loads(file.read_text())
    if "reference" in tree:
        jsonschema.validate(tree, CONFIGURATION)


def test_the_template_of_init_is_valid():
    template = ROOT / "src" / "lockstep" / "cli" / "first_migration" / "lockstep.toml.txt"
    jsonschema.validate(tomllib.loads(template.read_text()), CONFIGURATION)


# --- the report


def a_report(**changes) -> Report:
    step = StepReport(
        "inference-fixed", Verdict.DIVERGED, "1 of 2", {"largest": float("inf"), "n": np.int64(3)}, "exact", ("a",)
    )
    culprit = Culprit("a", None, "operation", "it is off", float("nan"), 1e-6, "m.py:3", "o.py:4", "epsilon", "fix it")
    provenance = Provenance(
        {"rtol": 1e-6, "atol": 1e-5, "rule": "fixed"},
        {"x": {"shape": [2, 3], "dtype": "float32", "sha256": "0" * 64}},
        {"reference": {"a.py": "1" * 64}, "candidate": {}},
    )
    environments = {"reference": {"subject": "a"}, "candidate": {"subject": "b"}}
    return dataclasses.replace(Report(Verdict.DIVERGED, (step,), (culprit,), environments, 2.0, provenance), **changes)


@pytest.mark.parametrize("changes", [{}, {"provenance": None}, {"culprits": (), "verdict": Verdict.EQUIVALENT}])
def test_a_report_is_as_its_schema_says_and_comes_back_whole(changes):
    text = rendering.to_json(a_report(**changes))
    jsonschema.validate(json.loads(text), REPORT)
    again = rendering.to_json(rendering.from_json(text))
    assert again == text


def test_the_schema_names_every_key_of_a_report():
    tree = json.loads(rendering.to_json(a_report()))
    assert set(tree) == set(REPORT["properties"]) == set(REPORT["required"])
    for part, name in (("steps", "step"), ("culprits", "culprit")):
        schema = REPORT["$defs"][name]
        assert set(tree[part][0]) == set(schema["properties"]) == set(schema["required"])
    assert tree["schema_version"] == REPORT["properties"]["schema_version"]["const"] == rendering.SCHEMA_VERSION
    assert REPORT["$defs"]["step"]["properties"]["name"]["enum"] == list(step_names.NAMES)
    assert REPORT["$defs"]["step"]["properties"]["verdict"]["enum"] == [str(verdict) for verdict in Verdict]


def test_the_schema_names_every_key_of_a_bisection():
    rows = (Release("1", Verdict.EQUIVALENT, 0.0, 1.0), Release("2", Verdict.DIVERGED, float("inf"), 1.0, "differs"))
    found = Bisection("m.py:build", "keras", ("1", "2"), rows, "2", "1", (), a_report(), "", 2.0)
    tree = json.loads(bisection.to_json(found))
    jsonschema.validate(tree, BISECTION)
    jsonschema.validate(tree["neighbours"], REPORT)
    assert set(tree) == set(BISECTION["properties"]) == set(BISECTION["required"])
    row = BISECTION["properties"]["releases"]["items"]
    assert set(tree["releases"][0]) == set(row["properties"]) == set(row["required"])
    assert tree["schema_version"] == BISECTION["properties"]["schema_version"]["const"] == bisection.SCHEMA_VERSION


@pytest.mark.parametrize("key", REPORT["required"])
def test_a_report_without_a_key_is_not_as_the_schema_says(key):
    tree = json.loads(rendering.to_json(a_report()))
    del tree[key]
    assert not valid(tree, REPORT)


def test_an_older_report_without_these_keys_is_read():
    tree = json.loads(rendering.to_json(a_report()))
    for key in ("schema_version", "lockstep", "reason", "tolerance", "inputs", "code"):
        del tree[key]
    assert rendering.from_json(json.dumps(tree)).provenance is None


class TestProvenance:
    def test_another_value_shape_or_dtype_is_another_digest(self):
        base = np.arange(6, dtype=np.float32)
        others = [base.reshape(2, 3), base.astype(np.float64), base + 1, base.astype(str), np.array([b"1", b"23"])]
        assert len({digest_of(array) for array in (base, *others)}) == 6
        assert digest_of(base[::-1][::-1]) == digest_of(base.astype(">f4")) == digest_of(base)
        assert digest_of(np.array(["ab", "c"], object)) != digest_of(np.array(["a", "bc"], object))

    def test_batches_keep_the_digests_of_all(self):
        one = a_report()
        both = merged([one, one])
        assert set(both.provenance.inputs) == {"x", "x#2"}

    def test_the_code_of_a_function_is_that_of_its_file(self, tmp_path):
        from tests.unit import test_schemas

        from lockstep import tf1_graph

        subject = tf1_graph(toml)
        told = provenance_of({"reference": subject, "candidate": subject}, np.ones(3), FixedTolerance(alone=True))
        (name,) = told.code["reference"]
        assert name == Path(test_schemas.__file__).name
        assert re.fullmatch("[0-9a-f]{64}", told.code["reference"][name])
        assert told.tolerance["rule"] == "fixed"


@pytest.mark.parametrize(("key", "takes"), [("inference_feeds", True), ("feeds", False), ("train_op", False)])
def test_a_graph_in_a_file_is_fed_in_inference_alone(read, key, takes):
    tree = copy.deepcopy(LEAST)
    value = "train/Adam" if key == "train_op" else {"keep_prob:0": 1.0} if takes else {"x": "x:0"}
    tree["reference"] = {"frozen_graph": "model.pb", key: value}
    assert (read(tree) is None) is takes
    assert valid(tree) is takes
