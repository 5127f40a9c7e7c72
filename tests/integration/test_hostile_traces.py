"""A trace that was damaged or forged: a sentence, soon, and every promise of SECURITY.md."""

import ast
import copy
import hashlib
import io
import json
import os
import re
import shutil
import signal
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from tools.fuzz import _baseline

import lockstep
from lockstep.cli import main
from lockstep.common.errors import DamagedError, InputError, SubjectError
from lockstep.common.forms import MisstatedError
from lockstep.elsewhere import trace_cache
from lockstep.elsewhere.recorded import RecordedSubject
from lockstep.frameworks.tensorflow import foreign_graphs
from lockstep.ground import folder as folders
from lockstep.ground.folder import MANIFEST
from lockstep.subjects import INITIAL, Mode
from lockstep.traces import manifest

INFERENCE = Mode(training=False, randomness="num_random_ops")
TRAINING = Mode(training=True, randomness="num_random_ops")
ESCAPES = "\x1b]0;title\x07\x1b[2Jlabel\x9b1m\u202e\ud800"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return _baseline.record(tmp_path_factory.mktemp("whole"), "trace", "2.0")


@pytest.fixture
def trace(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "trace"))


@pytest.fixture(autouse=True)
def _within_a_minute():
    """A test that waits for a pipe fails, and does not wait."""

    def late(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def files_of(trace):
    return sorted(file.name for file in trace.iterdir())


def forge(trace, change, text=None):
    """Changes a manifest as somebody would who knows how it is signed."""
    body = json.loads((trace / MANIFEST).read_text())
    del body["sha256"]
    change(body)
    written = json.dumps(body) if text is None else json.dumps(body).replace('"FORGED"', text)
    try:
        digest = folders._digest(json.loads(written))
    except (ValueError, RecursionError):  # 1e999 has no digest
        digest = "0" * 64
    (trace / MANIFEST).write_text(f'{{"sha256": "{digest}", {written[1:]}')


def refusal(trace):
    """What is said of a trace that is opened, and then checked."""
    with pytest.raises(InputError) as refused:
        RecordedSubject(trace).verify()
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert len(sentence) < 1000
    return sentence


# --- show --verify


def test_verifying_reads_every_file_and_every_tensor_that_the_manifest_speaks_of(whole):
    found = RecordedSubject(whole).verify()
    assert found.files == len(files_of(whole)) - 1
    body = json.loads((whole / MANIFEST).read_text())
    assert found.tensors == json.dumps(body).count('"checksum"')
    assert "trajectory" in json.dumps(body)


def test_a_flipped_bit_anywhere_but_in_the_manifests_form_is_seen(whole, trace):
    """In each file: its length, its header, its first, middle and last numbers."""
    for name in files_of(whole):
        content = (whole / name).read_bytes()
        places = {0, 7, 9, 60, len(content) // 2, len(content) - 8, len(content) - 1}
        for place in sorted(places):
            flipped = bytearray(content)
            flipped[place] ^= 4
            (trace / name).write_bytes(flipped)
            refusal(trace)
        (trace / name).write_bytes(content)
    RecordedSubject(trace).verify()


def test_a_file_that_is_missing_is_told(whole, trace):
    for name in set(files_of(whole)) - {MANIFEST}:
        (trace / name).unlink()
        assert f"is not whole: it lacks {name}" in refusal(trace)
        shutil.copy(whole / name, trace / name)


@pytest.mark.parametrize("name", ["tensors-0099.safetensors", ".hidden", "graph-2.pb", "a folder"])
def test_a_file_that_is_surplus_is_told(trace, name):
    (trace / name).mkdir() if name == "a folder" else (trace / name).write_bytes(b"x")
    assert f"holds what is not of it: {name}" in refusal(trace)


def test_what_the_cache_puts_beside_a_trace_is_not_surplus(trace):
    assert trace_cache._USED in folders.BESIDE
    (trace / trace_cache._USED).touch()
    RecordedSubject(trace).verify()


def test_a_tensor_that_nobody_speaks_of_is_told(trace):
    file = next(trace.glob("*.safetensors"))
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    end = len(content) - 8 - length
    header["secret"] = {"dtype": "U8", "shape": [3], "data_offsets": [end, end + 3]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :] + b"abc")
    assert "holds a tensor 'secret' that its manifest does not speak of" in refusal(trace)


def test_a_header_in_another_form_is_told(trace):
    file = next(trace.glob("*.safetensors"))
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    text = content[8 : 8 + length].replace(b'","', b'" ,"', 1)
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    assert "is not what was written" in refusal(trace)


def test_the_command_says_what_it_read(whole):
    shown = CliRunner().invoke(main, ["show", str(whole), "--verify"])
    assert shown.exit_code == 0
    found = RecordedSubject(whole).verify()
    assert f"{found.tensors} tensors in {found.files} files are what was written" in shown.output


# --- files of other kinds and sizes


def _pipe(file):
    os.mkfifo(file)


def _endless(file):
    file.symlink_to("/dev/zero")


def _elsewhere(file):
    aside = file.parent.parent / "aside"
    aside.write_bytes(b"{}")
    file.symlink_to(aside)


KINDS = {"a named pipe": _pipe, "a folder": Path.mkdir, "a link": _endless, "a link ": _elsewhere}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [MANIFEST, "tensors-0001.safetensors", "graph-1.pb"])
def test_what_is_no_regular_file_is_not_opened(trace, name, kind):
    (trace / name).unlink()
    KINDS[kind](trace / name)
    assert f"{name} is {kind.strip()}; a trace holds plain files only" in refusal(trace)


@pytest.mark.parametrize("name", [MANIFEST, "tensors-0001.safetensors", "graph-1.pb"])
@pytest.mark.parametrize("size", [1 << 31, 1 << 43])
def test_a_file_of_holes_is_not_read(trace, name, size):
    os.truncate(trace / name, size)
    assert re.search(r"holds \d+ bytes|it is no file that was written", refusal(trace))


def test_a_tensor_of_holes_that_is_described_rightly_is_not_read(trace):
    """A thousand gigabytes of zeros, which take no room on the disk, and hours to read."""
    file = trace / "vast.safetensors"
    header = {"0": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(file, 8 + len(text) + (1 << 40))

    def change(body):
        body["inputs"]["x"] = {**body["inputs"]["x"], "file": file.name, "key": "0", "shape": [1 << 38]}

    forge(trace, change)
    with pytest.raises(InputError, match="it is no file that was written"):
        RecordedSubject(trace).inputs["x"]


def test_the_size_of_a_tensor_is_looked_at_before_its_bytes(trace, monkeypatch):
    forge(trace, lambda body: body["inputs"]["x"].update(shape=[1 << 40]))
    monkeypatch.setattr(folders, "checksum", lambda _: pytest.fail("it was read"))
    with pytest.raises(InputError, match=r"described as float32 \(1099511627776,\) and stored as float32 \(3, 4\)"):
        RecordedSubject(trace).inputs["x"]


# --- manifests that misstate


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "9" * 400, "1" * 5000, "[" * 100_000])
@pytest.mark.parametrize("place", ["duration_s", "seed", "step"])
def test_a_number_beyond_64_bits_is_refused(trace, number, place):
    def change(body):
        if place == "duration_s":
            body["builds"][0]["runs"][0]["duration_s"] = "FORGED"
        elif place == "seed":
            body["builds"][1]["seeds_taken"] = ["FORGED"]
        else:
            body["builds"][1]["trajectory"]["steps"][0]["step"] = "FORGED"

    forge(trace, change, number)
    assert "is no JSON, or holds a number beyond 64 bits" in refusal(trace)


def _run(body, **change):
    body["builds"][0]["runs"][0].update(change)


def _variable(body, place, value):
    body["builds"][0]["variables"][0][place] = value


MISSTATED = {
    "no builds": (lambda b: b.pop("builds"), r"the whole has no 'builds'"),
    "a variable of 100 TB": (lambda b: _variable(b, 2, [1 << 45, 1]), "variables take 140,737,488,355,328 bytes"),
    "sizes whose product overflows": (lambda b: _variable(b, 2, [1 << 62, 4]), "this machine has a memory of"),
    "a variable of 65 dimensions": (lambda b: _variable(b, 2, [1] * 65), "at most 64 dimensions"),
    "a negative size": (lambda b: _variable(b, 2, [-7]), "not a size"),
    "a dtype that is none": (lambda b: _variable(b, 3, "float31"), "not a dtype"),
    "a name that is none": (lambda b: _variable(b, 0, 7), "not a text"),
    "a flag that is none": (lambda b: _variable(b, 4, 1), "not true or false"),
    "a variable without a start": (lambda b: b["builds"][0]["runs"][0]["before"].clear(), "does not say from what"),
    "a filling for nobody": (lambda b: _run(b, filled=["nobody"]), "speaks of variable 'nobody'"),
    "a gradient of nobody": (lambda b: _run(b, unconnected=["nobody"]), "speaks of variable 'nobody'"),
    "a run without an end": (lambda b: _run(b, duration_s=-1.0), "not a duration"),
    "two runs of one setting": (lambda b: _run(b, setting=b["builds"][0]["runs"][1]["setting"]), "two of one setting"),
    "too few updates": (lambda b: b["optimizer"]["updates"].pop(), "updates are 4, and a trial has 5"),
    "an optimizer that is none": (lambda b: b["optimizer"].update(description=[]), "not an object"),
    "a tap that is another's": (lambda b: _run(b, tap_aliases={"a": "b"}), "for a tap that is not there"),
    "another mode": (lambda b: b["builds"][0].update(randomness="dice"), "'constant' or 'num_random_ops'"),
    "a start of another shape": (
        lambda b: next(iter(b["builds"][0]["runs"][0]["before"].values())).update(shape=[9, 9]),
        "for variable",
    ),
    "draws beyond memory": (
        lambda b: _run(b, live={**LIVE, "forward_draws": [[1, "RandomUniform", "float32", 1, True, [1 << 60]]]}),
        "this machine could not hold them",
    ),
    "a very long word": (lambda b: b.update(single_input="x" * 100_000), r"xxx\.\.\., which is not true"),
}  # fmt: skip
LIVE = {
    "created": [], "calls": 1, "draws": 0, "forward_draws": None, "native_initializers": False, "native_draws": False,
    "unaligned_draws": False, "notes": [],
}  # fmt: skip


@pytest.mark.parametrize("case", MISSTATED)
def test_what_a_manifest_misstates_is_told_by_where_it_stands(trace, case):
    change, told = MISSTATED[case]
    forge(trace, change)
    sentence = refusal(trace)
    assert re.search(told, sentence), sentence
    assert "in its manifest" in sentence


def test_every_place_of_a_manifest_may_hold_something_else(whole):
    """Whatever stands where something else belongs, the check of the form says so, or it does no harm."""
    body = TraceBody(whole)
    for path in body.paths():
        for other in (None, -1, "x", [], {}, [[1] * 70], True, 1e300):
            changed = body.with_other(path, other)
            try:
                manifest.check(changed)
            except MisstatedError as error:
                assert len(str(error)) < 500  # noqa: PT017 - what does no harm raises nothing


class TraceBody:
    """A manifest, and what stands where."""

    def __init__(self, trace):
        self._body = json.loads((trace / MANIFEST).read_text())
        for build in self._body["builds"]:
            del build["operations"][3:]

    def paths(self):
        seen, found = set(), []
        for path in self._below(self._body, ()):
            kind = tuple("#" if isinstance(step, int) else step for step in path[-3:]), len(path)
            if kind not in seen:
                seen.add(kind)
                found.append(path)
        return found

    def _below(self, value, path):
        if path:
            yield path
        steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for step, inner in steps:
            yield from self._below(inner, (*path, step))

    def with_other(self, path, other):
        changed = copy.deepcopy(self._body)
        holder = changed
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = other
        return changed


# --- what is printed


def printed(*arguments):
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code in (0, 2), done.output
    assert "mistake in Lockstep" not in done.output
    obeyed = [c for c in done.output if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 or c == "\u202e"]
    assert obeyed == []
    return done.output


def test_control_characters_in_a_label_are_shown_and_not_sent(trace):
    forge(trace, lambda body: body["subject"].update(label=f"{ESCAPES}\nverdict  equivalent"))
    output = printed("show", trace)
    assert r"\x1b]0;title" in output
    assert r"\x9b1m\u202e\ud800\nverdict  equivalent" in output.replace("\n", "")


@pytest.mark.parametrize("part", ["--variables", "--operations", "--draws", "--taps"])
def test_control_characters_in_names_are_shown_and_not_sent(trace, part):
    def change(body):
        build = body["builds"][1]
        build["variables"][0][0] = ESCAPES
        build["operations"][0][0] = ESCAPES
        build["draws"][0][0] = ESCAPES
        build["runs"][0]["taps"] = {ESCAPES: next(iter(build["runs"][0]["taps"].values()))}
        build["runs"][0]["tap_aliases"] = {}

    forge(trace, change)
    # The variables are shown by their keys, which are other ones.
    assert (r"\x1b[2Jlabel" in printed("show", trace, part)) == (part != "--variables")


def test_control_characters_in_a_refusal_are_shown_and_not_sent(trace):
    forge(trace, lambda body: body.update(single_input=ESCAPES))
    assert r"\x1b" in printed("show", trace)


def test_a_report_shows_control_characters_in_colours_in_text_and_in_json(trace, whole):
    from rich.console import Console

    from lockstep.report import json as reports
    from lockstep.report import text

    def change(body):
        for build in body["builds"]:
            build["variables"][0][0] = build["variables"][0][0] + ESCAPES

    forge(trace, change)
    report = lockstep.verify(RecordedSubject(trace), RecordedSubject(whole), _baseline.INPUTS, gradients=False)
    report = report.__class__(**{**vars(report), "environments": {"reference": {"subject": ESCAPES}}})
    plain = text.as_text(report)
    assert "\x1b" not in plain
    assert r"\x1b[2Jlabel" in plain
    written = reports.to_json(report)
    assert not any(c in written for c in "\x1b\x9b\u202e\ud800")
    assert json.loads(written)["environments"]["reference"]["subject"] == ESCAPES
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=120)
    with console.capture() as captured:
        text.show(report, console)
    ours = re.sub(r"\x1b\[[0-9;]*m", "", captured.get())
    assert "\x1b" not in ours
    assert r"\x1b[2Jlabel" in ours


def test_the_command_line_prints_in_one_place():
    """Nothing but `saying` echoes, so that nothing is forgotten."""
    folder = Path(lockstep.__file__).parent / "cli"
    echoing = [
        file.name
        for file in sorted(folder.glob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if getattr(node, "attr", "") in ("echo", "secho") or getattr(node, "id", "") == "print"
    ]
    assert echoing == ["saying.py"]


# --- graphs


def with_graph(trace, change, number=1):
    """Puts another graph into a trace, rightly signed."""

    def change_body(body):
        entry = body["builds"][number]["graph"]
        meta_graph = tf.compat.v1.MetaGraphDef.FromString((trace / entry["file"]).read_bytes())
        change(meta_graph)
        content = meta_graph.SerializeToString()
        (trace / entry["file"]).write_bytes(content)
        entry.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

    forge(trace, change_body)
    return RecordedSubject(trace)


def test_a_whole_trace_from_elsewhere_runs_here(whole):
    for mode in (INFERENCE, TRAINING):
        recorded = RecordedSubject(whole)
        instance = recorded.graph_here(mode, _baseline.INPUTS)
        got = instance.run(INITIAL)
        expected = recorded.builds[mode].trace("initial")
        for path, value in expected.outputs.items():
            if mode == INFERENCE or path == "y":
                assert got.outputs[path].shape == value.shape
        program = instance.program(dict(expected.before))
        assert program.operations


def _reaching(meta_graph):
    meta_graph.graph_def.node.add(name="n", op="WriteFile")


def test_a_comparison_goes_on_without_a_graph_that_is_refused_and_says_so(trace, whole):
    subject = with_graph(trace, _reaching)
    with pytest.raises(InputError, match=r"reaches beyond itself \(WriteFile\)"):
        subject.graph_here(TRAINING, _baseline.INPUTS)
    report = lockstep.verify(subject, RecordedSubject(whole), _baseline.INPUTS)
    assert report.verdict == "equivalent"
    assert any("reaches beyond itself (WriteFile)" in step.summary for step in report.steps)


@pytest.mark.parametrize("version", ["this one", "2.99.0"])
def test_a_graph_that_is_damaged_without_a_new_signature_ends_the_comparison(trace, whole, monkeypatch, version):
    """Without its graph the verdict might be another one."""
    if version != "this one":
        monkeypatch.setattr(tf, "__version__", version)
    file = trace / json.loads((trace / MANIFEST).read_text())["builds"][0]["graph"]["file"]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedError, match="is not what was written"):
        lockstep.verify(RecordedSubject(trace), RecordedSubject(whole), _baseline.INPUTS)


def _endless_loop(meta_graph):
    for function in meta_graph.graph_def.library.function:
        for node in function.node_def:
            if node.op == "Less":
                node.op = "LessEqual"
                node.input[1] = node.input[0]
    for node in meta_graph.graph_def.node:
        if node.op == "Less":
            node.op = "LessEqual"
            node.input[1] = node.input[0]


def test_a_loop_that_never_ends_is_ended(trace, monkeypatch):
    monkeypatch.setattr(foreign_graphs, "SHORTEST_S", 1.0)
    monkeypatch.setattr(foreign_graphs, "LONGEST_S", 1.0)
    instance = with_graph(trace, _endless_loop).graph_here(TRAINING, _baseline.INPUTS)
    with pytest.raises(SubjectError, match="DeadlineExceeded") as ended:
        instance.run(INITIAL)
    assert ended.value.__cause__ is None


def test_the_time_that_a_run_gets_is_bounded_whatever_a_trace_says():
    assert [foreign_graphs.limit_s(s) for s in (0.0, 30.0, 1e11)] == [60.0, 600.0, 3600.0]


def test_a_graph_that_does_not_import_is_a_sentence_without_a_traceback(trace):
    def change(meta_graph):
        meta_graph.graph_def.node[5].input.append("nowhere")

    with pytest.raises(SubjectError, match="importing its graph") as refused:
        with_graph(trace, change).graph_here(TRAINING, _baseline.INPUTS)
    assert refused.value.__cause__ is None


def test_a_line_that_a_trace_names_does_not_become_code_in_a_script(trace):
    from lockstep.localise.budget import Part
    from lockstep.slicing import reproduction

    def change(body):
        for build in body["builds"]:
            for operation in build["operations"]:
                operation[5] = "model.py:1\nimport os"

    forge(trace, change)
    recorded = RecordedSubject(trace)
    before = dict(recorded.builds[TRAINING].trace("initial").before)
    program = recorded.graph_here(TRAINING, _baseline.INPUTS).program(before)
    named = next(operation for operation in program.operations if operation.place.source)
    assert "\n" in named.place.source
    start = {tensor: np.zeros(2, np.float32) for tensor in named.inputs}
    lines = list(reproduction._lines(Part(program, (named,), start, named.outputs[0], {}), reproduction._Data()))
    assert any(r"\nimport os" in line for line in lines)
    assert not any("\n" in line for line in lines)
