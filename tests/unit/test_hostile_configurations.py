"""Configurations and inputs that nobody could mean: each ends in one sentence, within seconds.

The cases here are those that once ended otherwise, one of each kind; `tools/fuzz` has the kinds by the thousand.
"""

import gc
import hashlib
import io
import os
import re
import struct
import sys
import threading
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from lockstep import config
from lockstep.cli import main
from lockstep.cli.sizes import Bytes
from lockstep.common.errors import InputError, SubjectError
from lockstep.compare.align import align, rename
from lockstep.elsewhere.trace_cache import limit_bytes
from lockstep.ground import patterns
from lockstep.ground.failures import said
from lockstep.subjects.variable_parts import PartRule, cut_by
from lockstep.traces.trace import VariableRecord

REFERENCE = '[reference]\nruntime = "tf1"\nentry = "model.py:forward"\n'
CANDIDATE = '[candidate]\nruntime = "keras"\nentry = "model.py:forward"\n'
INPUT = "[inputs.image]\nshape = [2, 3]\n"
WHOLE = REFERENCE + CANDIDATE + INPUT
LONG = "a" * 256
DIGITS = "9" * 400
LIMIT_S = 15
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither pipes nor alarms of this kind")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.py").write_text("def forward(inputs, training=False):\n    return inputs\n")
    return tmp_path


def used(folder, path):
    settings = config.read(path)
    config.make_batches(settings)
    for side in ("reference", "candidate"):
        for key in ("entry", "loss"):
            config.entry_file({"loss": "model.py:f", **getattr(settings, side)}, folder, side, key)


def refused(folder, text):
    """The sentence that a configuration ends in, by reading it, making its inputs or finding its files."""
    path = folder / "lockstep.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    begin = time.monotonic()
    with pytest.raises(InputError) as raised:
        used(folder, path)
    assert time.monotonic() - begin < LIMIT_S
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 1000
    assert message.isprintable()
    assert message.endswith((".", "?"))
    return message


LONG_NAMES = {
    "entry": (REFERENCE.replace("model.py", f"{LONG}.py") + CANDIDATE + INPUT, "File name too long"),
    "entry's folder": (REFERENCE.replace("model.py", f"{LONG}/m.py") + CANDIDATE + INPUT, "File name too long"),
    "loss": (f'loss = "{LONG}.py:f"\n{WHOLE}', "File name too long"),
    "input": (f'{REFERENCE}{CANDIDATE}[inputs.x]\npath = "{LONG}.npy"', "File name too long"),
    "files": (WHOLE.replace("[inputs", f'files = ["{LONG}"]\n[inputs'), "File name too long"),
    "a path of 6,000 characters": (f'{REFERENCE}{CANDIDATE}[inputs.x]\npath = "{"a/" * 3000}"', "File name too long"),
    "an input's name": (f"{REFERENCE}{CANDIDATE}[inputs.{'a' * 5000}]\nfill = 'ones'", "neither shape nor path"),
    "a key": (f"{'a' * 5000} = 1\n{WHOLE}", "unknown key"),
    "a word": (WHOLE + f'fill = "{LONG * 1000}"', "is unknown; known are"),
    "a requirement": (WHOLE.replace("[inputs", f'requirements = ["{LONG}.whl"]\n[inputs'), "File name too long"),
    "NUL in an entry": (REFERENCE.replace("model.py", "a\\u0000.py") + CANDIDATE + INPUT, "NUL"),
    "NUL in a path": (f'{REFERENCE}{CANDIDATE}[inputs.x]\npath = "a\\u0000"', "NUL"),
    "an escape": (f'"\\u001b[31m" = 1\n{WHOLE}', r"unknown key '\x1b[31m'"),
    "an escape in an input's name": (f'{REFERENCE}{CANDIDATE}[inputs."\\u001b[31m"]\n', r"[inputs.\x1b[31m]"),
}


@posix
@pytest.mark.parametrize("case", LONG_NAMES)
def test_names_that_the_system_or_a_reader_cannot_take(folder, case):
    text, words = LONG_NAMES[case]
    assert words in refused(folder, text)


def test_a_long_name_on_the_command_line_is_a_sentence(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "lockstep.toml").write_text(WHOLE)
    for arguments in (
        ["check", LONG],
        ["check", "--json", f"{LONG}/x"],
        ["convert", LONG, "lockstep.toml", "x.keras"],
        ["map", LONG, "lockstep.toml"],
        ["record", LONG, "--to", "x"],
        ["show", LONG],
        ["compare", LONG, LONG],
        ["init", LONG],
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2, arguments
        assert "Traceback" not in result.output, arguments
        assert result.output.splitlines()[-1].startswith(("lockstep: ", "Error: ")), result.output


@pytest.mark.parametrize("pattern", ["", ".", "**x", "a/**b", "[", "nul\\u0000", "..", "*" * 300, LONG + "*"])
def test_patterns_of_files_that_are_none(folder, pattern):
    assert "files" in refused(folder, WHOLE.replace("[inputs", f'files = ["{pattern}"]\n[inputs'))


NUMBERS = {
    "shape": (f"[inputs.x]\nshape = [{DIGITS}]", "elements"),
    "a product": ("[inputs.x]\nshape = [100000, 100000, 100000]", "1000000000000000 elements"),
    "several inputs": ("".join(f"[inputs.i{i}]\nshape = [10000000]\n" for i in range(7)), "70000000 elements"),
    "dimensions": (f"[inputs.x]\nshape = [{'1, ' * 65}]", "65 dimensions"),
    "low": (f"[inputs.x]\nshape = [1]\nlow = -{DIGITS}", "must be a finite number"),
    "high": (f'[inputs.x]\nshape = [1]\ndtype = "int64"\nhigh = {DIGITS}', "must be a finite number"),
    "low and high": ("[inputs.x]\nshape = [1]\nlow = -1e308\nhigh = 1e308", "too far apart"),
    "rtol": (f"{INPUT}[tolerance]\nrtol = {DIGITS}", "must be a finite number"),
    "no number": (f'{INPUT}[checkpoint]\npath = "x"\nmoving_averages = {DIGITS}', "is an integer"),
    "an axis": (f'{INPUT}[variables]\ntransform = [["k", "transpose({DIGITS})"]]', "no axis and no size is that large"),
    "a bias": (f'{INPUT}[variables]\ntransform = [["k", "forget_bias({DIGITS},ijfo)"]]', "cannot be understood"),
    "an infinite bias": (f'{INPUT}[variables]\ntransform = [["k", "forget_bias(1e999,ijfo)"]]', "finite"),
    "sizes": (f'{INPUT}[variables]\nparts = [["k", 0, [{DIGITS}]]]', "two or more sizes"),
    "more digits than Python reads": (f"[inputs.x]\nshape = [{'9' * 5000}]", "no valid TOML|not valid TOML"),
    "hexadecimal digits": (f"[inputs.x]\nshape = [0x{'f' * 50_000}]", "an integer of"),
}  # fmt: skip


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_of_any_size(folder, case):
    text, words = NUMBERS[case]
    assert re.search(words, refused(folder, REFERENCE + CANDIDATE + text))


@pytest.mark.parametrize("value", ["100000000000", DIGITS, "0x" + "f" * 5000, "1001"])
@pytest.mark.parametrize("key", ["batches", "trajectory"])
def test_counts_that_would_never_end(folder, key, value):
    if (key, value) == ("trajectory", "1001"):
        value = "100001"
    assert f"{key} is" in refused(folder, f"{key} = {value}\n{WHOLE}")


@pytest.mark.parametrize("value", [DIGITS, "1e300", "1e9", "nan", "-1"])
def test_a_time_limit_that_no_clock_knows(folder, value):
    text = WHOLE.replace("[inputs", f'interpreter = "python"\ntimeout_s = {value}\n[inputs')
    assert "timeout_s is" in refused(folder, text)


DEEP = {
    "arrays": "a = " + "[" * 50_000,
    "tables": "a = " + "{a = " * 50_000,
    "parts of a key": ".".join("a" * 200_000) + " = 1",
    "quoted parts of a key": ".".join(['"."'] * 20_000) + " = 1",
    "parts of a header": "[" + " . ".join("a" * 200_000) + "]",
    "parts in an inline table": "a = {" + ".".join("a" * 200_000) + " = 1}",
    "megabytes": "#" * (9 << 20),
    "no UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("case", DEEP)
def test_toml_that_no_parser_gets_through(folder, case):
    assert "lockstep.toml" in refused(folder, DEEP[case])


def test_dots_that_are_no_parts_of_a_key_are_taken(folder):
    dots = "." * 500
    rules = f'["^{dots}$", "x"], [\'\'\'{dots}\'\'\', "{dots}\\"{dots}"]'
    text = f'# {dots}\n{WHOLE}[variables]\nrename = [{rules}, ["""\n{dots}""""", \'{dots}"\']]\n'
    (folder / "lockstep.toml").write_text(text)
    assert config.read(folder / "lockstep.toml").rename[0] == (f"^{dots}$", "x")


# Patterns that explode, by what explodes.
SLOW = {
    "nested repetitions": "(a+)+b",
    "an alternative of equals": "(a|a)*b",
    "nested stars": "(.*)*=",
    "many stars": ".*" * 25 + "=",
    "words": r"(\w+\s?)*!",
    "optional letters": "(a?){40}a{40}b",
    "look-ahead": r"(?=(a+)+b)a",
    "a back reference": r"(a+)+\1b",
}
BROKEN = {
    "a count beyond the engine's": "a{99999999999}",
    "many groups": "(" * 5000 + ")" * 5000,
    "nested repetitions by the thousand": "(?:" * 3000 + "a" + ")*" * 3000,
    "no end": "(",
    "flags": "(?L)a",
    "flags within": "a(?i)b",
}
NAMES = tuple(f"net/{'a' * 40}_{i}/w" for i in range(30))


def records(*names):
    return [VariableRecord(name, name, (2, 2), "float32", True) for name in names]


@posix
@pytest.mark.parametrize("case", SLOW)
def test_patterns_that_take_forever_end_within_seconds(case):
    patterns.compiled.cache_clear()
    pattern = SLOW[case]
    for use in (
        lambda: rename(NAMES[0], [(pattern, "x")]),
        lambda: align(records(*NAMES), records(*NAMES), ignore=[pattern]),
        lambda: align(records(*NAMES), records(*NAMES), transforms=[config_rule(pattern)]),
        lambda: cut_by([PartRule(pattern, 0, (1, 1))], records(*NAMES)),
    ):
        begin = time.monotonic()
        with pytest.raises(InputError, match="takes too long"):
            use()
        assert time.monotonic() - begin < LIMIT_S


def config_rule(pattern):
    from lockstep.compare.align import TransformRule

    return TransformRule.of([pattern, "transpose(1,0)"])


@posix
def test_a_pattern_that_is_slow_on_every_name_ends_too(monkeypatch):
    """Each match alone is within its limit; all of them together are not."""
    monkeypatch.setattr(patterns, "TOTAL_S", 0.5)
    patterns.compiled.cache_clear()
    slow = ".*.*.*.*="  # the fourth power of the name's length
    with pytest.raises(InputError, match="takes too long"):
        align(records(*(f"{'a' * 70}{i}" for i in range(200))), [], ignore=[slow])


def test_what_other_threads_compute_is_no_patterns_time():
    """A framework compiles in threads of its own, and releases Python's lock while it does."""
    ended = threading.Event()

    def busy():
        while not ended.is_set():
            hashlib.sha256(bytes(10_000_000))

    others = [threading.Thread(target=busy) for _ in range(2)]
    for other in others:
        other.start()
    try:
        begin = time.process_time()
        with patterns.limited(0.2):
            while time.process_time() - begin < 0.6:
                time.sleep(0.01)
    finally:
        ended.set()
        for other in others:
            other.join()


def test_what_this_thread_computes_is():
    def forever():
        with patterns.limited(0.2):
            while True:
                sum(range(1000))

    with pytest.raises(patterns.TooLongError):
        forever()


def test_the_garbage_collector_is_no_patterns_time(monkeypatch):
    seen = []
    pattern = patterns.Pattern("(a|b)+c")
    monkeypatch.setattr(pattern, "_compiled", SimpleNamespace(search=lambda name: seen.append(gc.isenabled())))
    pattern.search("abc")
    assert seen == [False]
    assert gc.isenabled()


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("key", ["rename", "transform", "parts", "ignore"])
def test_patterns_that_are_none(folder, case, key):
    rule = {"rename": "['{}', 'x']", "transform": "['{}', 'flip(0)']", "parts": "['{}', 0, [1, 1]]", "ignore": "'{}'"}
    text = f"{WHOLE}[variables]\n{key} = [{rule[key].format(BROKEN[case])}]"
    assert "not a valid regular expression" in refused(folder, text)


@posix
def test_the_recorder_names_the_pattern_that_takes_too_long():
    found = patterns.finder("(.*)*=")
    with pytest.raises(patterns.PatternError, match=r"^the pattern '\(\.\*\)\*=' cannot be used: it takes too long on"):
        found(NAMES[0])
    assert patterns.finder("w$")(NAMES[0])


def test_what_rules_rely_on_is_still_understood():
    rules = [(r"^(?!model)(?P<scope>\w+)/(.*)(?<!bias)/w$", r"model/\g<scope>/\2")]
    assert rename("net/a/w", rules) == "model/net/a"
    assert rename("model/a/w", rules) == "model/a/w"
    assert rename("net/x/x", [(r"(\w)/\1$", r"twice/\1")]) == "net/twice/x"


def test_a_rule_that_makes_a_name_of_megabytes_is_refused():
    with pytest.raises(InputError, match="at most"):
        rename("a" * 100, [("a", r"\g<0>" * 500)])


@posix
def test_an_alarm_that_somebody_else_has_set_still_rings():
    import signal

    rung = []
    before = signal.signal(signal.SIGVTALRM, lambda *_: rung.append(True))
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.2)
        with pytest.raises(patterns.TooLongError), patterns.limited(0.4):
            compute(lambda: False)
        compute(lambda: rung)
        assert rung == [True]
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def compute(done):
    """Computes until something is done, for five seconds at most: the time of a process that sleeps stands still."""
    limit = time.process_time() + 5
    while not done() and time.process_time() < limit:
        pass


# Arrays.


def array_file(folder, content):
    (folder / "x.npy").write_bytes(content)
    return refused(folder, REFERENCE + CANDIDATE + '[inputs.x]\npath = "x.npy"\n')


def header(text):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin-1")


def described(shape, descr="'<f4'"):
    return header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n")


HEADERS = {
    "cut short": b"\x93NUMPY\x01",
    "no literal": header("{'descr': ("),
    "unfinished": header("{'descr': '<f4',\n"),
    "deep": header("(" * 9000),
    "a list as a key": header("{[]: 1}\n"),
    "another version": b"\x93NUMPY\x09\x00\x10\x00" + b" " * 16,
    "a hundred terabytes": described("(25000000000000,)") + b"\0" * 16,
    "an overflow": described("(4611686018427387904, 4611686018427387904)"),
    "a negative size": described("(-1,)") + b"\0" * 64,
    "a size of 400 digits": described(f"({DIGITS},)"),
    "65 dimensions": described(f"({'1, ' * 65})") + b"\0" * 4,
    "elements without bytes": described("(1000000000000,)", "'|S0'"),
    "a huge element": described("(1,)", "'|S9999999999'"),
    "objects": described("(1,)", "'|O'") + b"\x80\x04N.",
    "a truth of 2": described("(1,)", "'|b1'") + b"\x02",
    "a character beyond all": described("(1,)", "'<U1'") + b"\xff" * 4,
    "half a character": described("(1,)", "'<U1'") + b"\x00\xd8\x00\x00",
}


@pytest.mark.parametrize("case", HEADERS)
def test_npy_files_that_say_what_cannot_be(folder, case):
    assert "[inputs.x]: x.npy" in array_file(folder, HEADERS[case])


def archive(packing=zipfile.ZIP_STORED, content=None):
    stream, array = io.BytesIO(), io.BytesIO()
    np.save(array, np.zeros(1000, np.float32))
    with zipfile.ZipFile(stream, "w", packing) as opened:
        opened.writestr("x.npy", array.getvalue() if content is None else content)
    return bytearray(stream.getvalue())


def changed(at, value, packing=zipfile.ZIP_DEFLATED):
    """An archive whose directory says something else of its member."""
    content = archive(packing)
    start = content.index(b"PK\x01\x02") + at
    content[start : start + len(value)] = value
    return bytes(content)


ARCHIVES = {
    "encrypted": changed(8, b"\x01"),
    "an unknown packing": changed(10, b"\x63\x00"),
    "LZMA": bytes(archive(zipfile.ZIP_LZMA)),
    "BZIP2": bytes(archive(zipfile.ZIP_BZIP2)),
    "a later version": changed(6, b"\xff"),
    "another checksum": changed(16, b"\0\0\0\0"),
    "another size": changed(24, b"\xff\xff\xff\x7f"),
    "a smaller size": changed(24, b"\x90\0\0\0"),
    "a place outside": changed(42, b"\xff\xff\xff\x7f"),
    "cut short": bytes(archive()[:300]),
    "a text": bytes(archive(content=b"text")),
    "nothing": bytes(archive(content=b"")),
    "objects": bytes(archive(content=HEADERS["objects"])),
    "more than there is": bytes(archive(content=HEADERS["a hundred terabytes"])),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_npz_files_that_are_damaged_or_not_numpys(folder, case):
    assert "[inputs.x]: " in array_file(folder, ARCHIVES[case])


def test_an_archive_that_unpacks_to_more_than_memory_has_is_not_unpacked(folder, monkeypatch):
    """A bomb whose directory, header and data agree: what it would unpack to counts, not what it takes."""
    monkeypatch.setattr("lockstep.config.array_files.MAX_BYTES", 10 << 20)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was opened"))
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as opened:
        monkeypatch.undo()
        stream = io.BytesIO()
        np.save(stream, np.zeros(3 << 20, np.float32))
        opened.writestr("x.npy", stream.getvalue())
    monkeypatch.setattr("lockstep.config.array_files.MAX_BYTES", 10 << 20)
    assert (folder / "bomb.npz").stat().st_size < 100_000
    assert "at most" in array_file(folder, (folder / "bomb.npz").read_bytes())


@posix
@pytest.mark.parametrize("key", ["input", "entry", "files", "configuration"])
def test_what_is_no_regular_file_is_not_read(folder, key):
    os.mkfifo(folder / "pipe.py")
    (folder / "endless.py").symlink_to("/dev/zero")
    for name in ("pipe.py", "endless.py"):
        texts = {
            "input": f'{REFERENCE}{CANDIDATE}[inputs.x]\npath = "{name}"',
            "entry": WHOLE.replace("model.py", name),
            "files": WHOLE.replace("[inputs", f'files = ["{name}"]\n[inputs'),
        }
        if key == "configuration":
            with pytest.raises(InputError, match="is a pipe or a device"):
                config.read(folder / name)
        else:
            assert "is a pipe or a device; a file is needed" in refused(folder, texts[key])


@posix
def test_a_file_of_terabytes_is_not_read(folder):
    (folder / "x.npy").write_bytes(described("(1000000000000,)"))
    os.truncate(folder / "x.npy", 4 * 10**12 + 200)
    assert "an input has" in refused(folder, REFERENCE + CANDIDATE + '[inputs.x]\npath = "x.npy"\n')


# The user's own code, and the environment.

SPEECHLESS = {
    "raises": "raise RuntimeError('no words')",
    "no text": "return 3",
    "ends the process": "raise SystemExit(0)",
    "calls itself": "return str(self)",
}


@pytest.mark.parametrize("way", SPEECHLESS)
def test_an_exception_that_cannot_be_told_is_told_by_its_name(folder, way):
    code = f"class Mute(Exception):\n    def __str__(self):\n        {SPEECHLESS[way]}\n\n\nraise Mute()\n"
    (folder / "mute.py").write_text(code)
    table = {"runtime": "keras", "entry": "model.py:forward", "loss": "mute.py:f"}
    with pytest.raises(SubjectError, match=r"failed while it was imported: Mute: \(its __str__ raised"):
        config.training_function(table, folder, "candidate", "loss", isolated=False)


def test_what_an_exception_says_is_its_text():
    assert said(ValueError("a")) == "a"


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "-1", "1e999", "ten", "1e30", "9" * 400])
def test_a_limit_of_the_cache_that_is_none(monkeypatch, text):
    monkeypatch.setenv("LOCKSTEP_TRACE_CACHE_GB", text)
    with pytest.raises(InputError, match="must be a number of gigabytes"):
        limit_bytes()


@pytest.mark.parametrize("text", ["9" * 400, "0", "1e9", "9999999999999GB", "inf"])
def test_a_size_that_no_memory_has(text):
    with pytest.raises(Exception, match="is no size"):
        Bytes().convert(text, None, None)


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "ENAMETOOLONG", "EROFS", "EACCES"])
def test_what_the_system_refuses_is_a_sentence_wherever_it_happens(folder, monkeypatch, number):
    import errno

    def refuse(*_, **__):
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)), "some/file")

    monkeypatch.setattr("lockstep.cli.session.run", refuse)
    result = CliRunner().invoke(main, ["check", str(folder)])
    assert result.exit_code == 2
    assert result.output == f"lockstep: some/file: {os.strerror(getattr(errno, number))}.\n"


def test_a_width_that_no_terminal_has_is_ignored(folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "9" * 5000)
    (folder / "lockstep.toml").write_text("batches = 0")
    result = CliRunner().invoke(main, ["check", str(folder)])
    assert (result.exit_code, "COLUMNS" in os.environ) == (2, False)
    assert "Traceback" not in result.output


def test_a_limit_of_the_cache_is_told_before_anything_runs(folder, monkeypatch):
    monkeypatch.setenv("LOCKSTEP_TRACE_CACHE_GB", "inf")
    (folder / "lockstep.toml").write_text(
        WHOLE.replace("[candidate]", f'interpreter = "{sys.executable}"\n[candidate]')
    )
    monkeypatch.setattr("lockstep.cli.startup.import_tensorflow", lambda: pytest.fail("TensorFlow was imported"))
    result = CliRunner().invoke(main, ["check", str(folder)])
    assert "LOCKSTEP_TRACE_CACHE_GB is 'inf'" in result.output


def test_a_mistake_of_lockstep_itself_still_shows(folder, monkeypatch):
    for error in (FileNotFoundError(2, "No such file", "x"), OSError("no number"), ValueError("x")):

        def fail(*_, e=error, **__):
            raise e

        monkeypatch.setattr("lockstep.cli.session.run", fail)
        assert "a mistake in Lockstep itself" in CliRunner().invoke(main, ["check", str(folder)]).output


def test_too_little_memory_is_a_sentence(folder, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("lockstep.cli.session.run", fail)
    assert "there is not enough memory" in CliRunner().invoke(main, ["check", str(folder)]).output
