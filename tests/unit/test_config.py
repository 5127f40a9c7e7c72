"""The configuration: what is read, what is refused and in which words, and the arrays that it describes."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from lockstep import config
from lockstep.common.errors import InputError, SubjectError
from lockstep.compare.tolerance import FixedTolerance

SIDES = """
[reference]
runtime = "tf1"
entry = "legacy_model.py:forward"

[candidate]
runtime = "keras"
entry = "migrated_model.py:build"
"""
INPUT = """
[inputs.image]
shape = [2, 3]
"""


@pytest.fixture
def folder(tmp_path):
    """A folder whose modules are forgotten afterwards."""
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def read(folder: Path, text: str) -> config.Configuration:
    path = folder / "lockstep.toml"
    path.write_text(text, encoding="utf-8")
    return config.read(path)


def refused(folder: Path, text: str) -> str:
    """The sentence with which a configuration is refused, by reading it or by making its inputs."""
    with pytest.raises(InputError) as raised:
        config.make_inputs(read(folder, text))
    message = str(raised.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message


def arrays(folder: Path, table: str) -> np.ndarray:
    return config.make_inputs(read(folder, SIDES + "[inputs.image]\n" + table))["image"]


def test_a_whole_configuration_is_read(folder):
    text = SIDES + INPUT + '[variables]\nrename = [["^a/(.*)$", "b/\\\\1"]]\n[tolerance]\nrtol = 1e-4\n'
    found = read(folder, text)
    assert found.folder == folder
    assert found.reference == {"runtime": "tf1", "entry": "legacy_model.py:forward"}
    assert found.candidate == {"runtime": "keras", "entry": "migrated_model.py:build"}
    assert found.rename == (("^a/(.*)$", "b/\\1"),)
    assert found.tolerance == FixedTolerance(rtol=1e-4)
    assert found.inputs["image"].shape == (2, 3)


def test_a_folder_stands_for_the_file_in_it(folder):
    read(folder, SIDES + INPUT)
    assert config.read(folder).folder == folder


def test_a_frozen_configuration_cannot_be_changed(folder):
    with pytest.raises(AttributeError):
        read(folder, SIDES + INPUT).folder = Path()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SIDES.replace("[reference]", "[referense]") + INPUT, ["'referense'", "did you mean 'reference'?"]),
        (SIDES.replace("entry", "entri", 1) + INPUT, ["[reference]", "'entri'", "did you mean 'entry'?"]),
        (SIDES + INPUT + "shpe = [1]", ["[inputs.image]", "'shpe'", "did you mean 'shape'?"]),
        (SIDES + INPUT + "[tolerance]\nrtoll = 1.0", ["[tolerance]", "did you mean 'rtol'?"]),
        (SIDES + INPUT + "[variables]\nrenam = []", ["[variables]", "did you mean 'rename'?"]),
        (SIDES + INPUT + "zebra = 1", ["'zebra'", "known are shape, dtype"]),
        (SIDES.partition("[candidate]")[0] + INPUT, ["no table [candidate]"]),
        ('reference = "x"\n' + SIDES.partition("[reference]")[0] + INPUT, ["reference is a string", "a table"]),
        (SIDES.replace('runtime = "tf1"', "") + INPUT, ["[reference]", "no runtime", '"tf1", "keras"']),
        (SIDES.replace('"keras"', '"kera"') + INPUT, ['"kera"', "did you mean 'keras'?"]),
        (SIDES.replace('"tf1"', "1") + INPUT, ["runtime is 1"]),
        (SIDES.replace('entry = "legacy_model.py:forward"', "") + INPUT, ["[reference] has no entry"]),
        (SIDES.replace("legacy_model.py:forward", "legacy_model.forward") + INPUT, ['"model.py:forward"']),
        (SIDES.replace("legacy_model.py:forward", "../legacy_model.py:forward") + INPUT, ["leads out of the folder"]),
        (SIDES.replace("legacy_model.py:forward", "/legacy_model.py:forward") + INPUT, ["leads out of the folder"]),
        (SIDES, ["describes no input", "[inputs.image]"]),
        (SIDES + "[inputs]\n", ["describes no input"]),
        (SIDES + "[inputs]\nimage = 3", ["image is an integer", "a table of its own"]),
        (SIDES + "[inputs.image]\n", ["neither shape nor path"]),
        (SIDES + '[inputs.image]\nshape = "2, 3"', ["shape is '2, 3'"]),
        (SIDES + "[inputs.image]\nshape = [-1, 3]", ["positive integers", "batch size"]),
        (SIDES + "[inputs.image]\nshape = [true, 3]", ["positive integers"]),
        (SIDES + "[inputs.image]\nshape = [2, 0]", ["[2, 0] is empty"]),
        (SIDES + INPUT + 'dtype = "flot32"', ['"flot32"', "did you mean 'float32'?"]),
        (SIDES + INPUT + 'fill = "one"', ['"one"', "did you mean 'ones'?"]),
        (SIDES + INPUT + 'dtype = "int32"', ["integers need high"]),
        (SIDES + INPUT + 'dtype = "int32"\nhigh = 2.5', ["must be integers"]),
        (SIDES + INPUT + 'dtype = "int8"\nhigh = 129', ["must fit int8"]),
        (SIDES + INPUT + 'dtype = "uint8"\nlow = -1\nhigh = 5', ["must fit uint8"]),
        (SIDES + INPUT + 'dtype = "int64"\nhigh = 9223372036854775807', ["2**53"]),
        (SIDES + INPUT + 'dtype = "int32"\nfill = "normal"', ['"normal" does not go with dtype "int32"']),
        (SIDES + INPUT + "low = 3\nhigh = 3", ["low must be the smaller one"]),
        (SIDES + INPUT + 'low = "a"', ["low is a string", "a number"]),
        (SIDES + INPUT + "high = inf", ["finite"]),
        (SIDES + INPUT + 'fill = "ones"\nhigh = 3', ['belong to fill = "uniform"']),
        (SIDES + INPUT + 'dtype = "float16"\nhigh = 1e6', ["the fill holds", "NaN or infinite"]),
        (SIDES + '[inputs.image]\npath = "a.npy"\nfill = "ones"', ["both path and fill"]),
        (SIDES + '[inputs.image]\npath = "../a.npy"', ["leaves the folder"]),
        (SIDES + INPUT + "[variables]\nrename = 3", ["rename is an integer", "[pattern, replacement] pairs"]),
        (SIDES + INPUT + '[variables]\nrename = [["a"]]', ["['a']", "pairs"]),
        (SIDES + INPUT + '[variables]\nrename = [["(a", "b"]]', ["regular expression", "unterminated"]),
        (SIDES + INPUT + '[variables]\nrename = [["a", "\\\\1"]]', ["regular expression", "group"]),
        (SIDES + INPUT + '[variables]\nrename = [["a", "\\\\g<x>"]]', ["regular expression", "group"]),
        (SIDES + INPUT + "[tolerance]\nrtol = -1", ["rtol is -1", "negative"]),
        (SIDES + INPUT + "[tolerance]\natol = nan", ["atol is nan", "finite"]),
        (SIDES + INPUT + "[tolerance]\natol = true", ["atol is a boolean"]),
        ("[reference\n", ["lockstep.toml is not valid TOML", "line 1"]),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(folder, text, words):
    message = refused(folder, text)
    assert [word for word in words if word not in message] == [], message


def test_a_missing_configuration_names_the_nearest_file_and_the_way_to_one(folder):
    (folder / "lockstep.toml").write_text("")
    with pytest.raises(InputError, match=r"did you mean 'lockstep\.toml'\?.*lockstep init"):
        config.read(folder / "locstep.toml")


def test_fills_have_the_shape_dtype_and_range_that_they_state(folder):
    ones = arrays(folder, 'shape = [2, 3]\nfill = "ones"\ndtype = "float64"')
    assert (ones == 1).all()
    assert (ones.shape, ones.dtype) == ((2, 3), np.float64)
    uniform = arrays(folder, "shape = [1000]")
    assert uniform.dtype == np.float32
    assert 0 <= uniform.min() < 0.05
    assert 0.95 < uniform.max() <= 1
    wide = arrays(folder, "shape = [1000]\nlow = -3\nhigh = 5")
    assert -3 <= wide.min() < -2.9
    assert 4.9 < wide.max() <= 5
    normal = arrays(folder, 'shape = [20000]\nfill = "normal"')
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    # Of a normal distribution 95.4 % lie within two standard deviations.
    assert abs(np.mean(np.abs(normal) < 2) - 0.954) < 0.01
    complex_values = arrays(folder, 'shape = [50]\ndtype = "complex64"')
    assert complex_values.dtype == np.complex64
    assert not np.array_equal(complex_values.real, complex_values.imag)
    truth = arrays(folder, 'shape = [1000]\ndtype = "bool"')
    assert truth.dtype == np.bool_
    assert 400 < truth.sum() < 600
    assert arrays(folder, "shape = []").shape == ()


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("int8", -128, 128),
        ("uint8", 0, 256),
        ("int32", 0, 7),
        ("int64", -(2**63), -(2**63) + 5),
        ("uint64", 2**63 - 2, 2**63 + 3),
    ],
)
def test_integers_take_every_value_from_low_up_to_high(folder, dtype, low, high):
    values = arrays(folder, f'shape = [20000]\ndtype = "{dtype}"\nlow = {low}\nhigh = {high}')
    assert values.dtype.name == dtype
    assert sorted({int(v) for v in values}) == list(range(low, high))


def test_inputs_are_bit_identical_everywhere_and_depend_on_their_name(folder):
    text = SIDES + "[inputs.a]\nshape = [4, 5]\n[inputs.b]\nshape = [4, 5]\n[inputs.c]\nshape = [64]\nfill = 'normal'"
    made = config.make_inputs(read(folder, text))
    again = config.make_inputs(read(folder, text))
    assert all(made[name].tobytes() == again[name].tobytes() for name in made)
    assert not np.array_equal(made["a"], made["b"])
    # Recorded on x86-64 with NumPy 2.4.6 and equal with 1.26.4: another value is another input for every user.
    digest = hashlib.sha256(made["a"].tobytes() + made["c"].tobytes()).hexdigest()
    assert digest[:16] == "6e48235084cea7c6"


def test_a_file_is_taken_as_it_is(folder):
    stored = np.arange(6, dtype=">f4").reshape(2, 3)
    np.save(folder / "batch.npy", stored)
    loaded = arrays(folder, 'path = "batch.npy"')
    assert np.array_equal(loaded, stored)
    assert loaded.dtype == np.dtype("=f4")
    np.save(folder / "batch.npy", np.array(["a", "bc"]))
    assert arrays(folder, 'path = "batch.npy"').tolist() == ["a", "bc"]


def test_an_absolute_path_is_allowed_where_the_user_wrote_one(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("data") / "batch.npy"
    np.save(elsewhere, np.ones(3, np.float32))
    assert arrays(folder, f"path = '{elsewhere}'").shape == (3,)


def with_nan() -> np.ndarray:
    array = np.ones((3, 4), np.float32)
    array[1, 2] = np.nan
    array[2, 0] = np.inf
    return array


@pytest.mark.parametrize(
    ("content", "keys", "words"),
    [
        (None, "", ["no file", "batch.npy"]),
        (with_nan(), "", ["batch.npy holds 2 values", "the first at [1, 2]"]),
        (np.ones((2, 3)), 'dtype = "float32"', ["float32", "float64", "batch.npy"]),
        (np.ones((2, 3), np.float32), "shape = [2, 4]", ["[2, 4]", "[2, 3]", "batch.npy"]),
        (np.ones((0, 3), np.float32), "", ["empty", "[0, 3]"]),
        (np.array([{}, None]), "", ["Python objects", "never unpickles"]),
        (np.array(["2020-01-01"], "datetime64[D]"), "", ["no array of numbers"]),
        (b"\x93NUMPY\x01\x00broken", "", ["damaged"]),
        (b"", "", ["neither a .npy nor a .npz"]),
        (np.ones(2), 'key = "image"', ["has key", "batch.npy is a .npy file"]),
        (b"PK\x03\x04", "", ["damaged"]),
        (b"GIF89a", "", ["neither a .npy nor a .npz", "numpy.save"]),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(folder, content, keys, words):
    path = folder / "batch.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    message = refused(folder, f'{SIDES}[inputs.image]\npath = "batch.npy"\n{keys}')
    assert [word for word in words if word not in message] == [], message


def test_an_archive_gives_the_array_of_the_inputs_name_the_only_one_or_the_one_named(folder):
    both = {"image": np.ones((1, 2), np.float32), "other": np.zeros((3, 2), np.float32)}
    np.savez(folder / "batch.npz", **both)
    assert arrays(folder, 'path = "batch.npz"').shape == (1, 2)
    assert arrays(folder, 'path = "batch.npz"\nkey = "other"').shape == (3, 2)
    message = refused(folder, f'{SIDES}[inputs.image]\npath = "batch.npz"\nkey = "othr"')
    assert "no array 'othr'; did you mean 'other'?" in message
    assert "image, other" in message
    np.savez(folder / "batch.npz", whatever=both["other"])
    assert arrays(folder, 'path = "batch.npz"').shape == (3, 2)
    np.savez_compressed(folder / "batch.npz", image=np.array([{}, None]))
    assert "never unpickles" in refused(folder, f'{SIDES}[inputs.image]\npath = "batch.npz"')
    content = bytearray((folder / "batch.npz").read_bytes())
    (folder / "batch.npz").write_bytes(content[: len(content) // 2])
    assert "damaged" in refused(folder, f'{SIDES}[inputs.image]\npath = "batch.npz"')


def test_several_batches_have_other_fills_and_parts_of_a_file(folder):
    np.save(folder / "batch.npy", np.arange(12.0).reshape(6, 2))
    text = f'batches = 3\n{SIDES}[inputs.image]\npath = "batch.npy"\n[inputs.noise]\nshape = [4]'
    (folder / "lockstep.toml").write_text(text)
    batches = config.make_batches(config.read(folder))
    assert [batch["image"][:, 0].tolist() for batch in batches] == [[0, 2], [4, 6], [8, 10]]
    noises = [tuple(batch["noise"]) for batch in batches]
    assert len(set(noises)) == 3
    (folder / "lockstep.toml").write_text(text.replace("batches = 3", ""))
    assert tuple(config.make_inputs(config.read(folder))["noise"]) == noises[0]
    assert "cannot be cut along its first axis into 4 batches" in refused(folder, text.replace("= 3", "= 4"))
    assert "batches is 0" in refused(folder, text.replace("= 3", "= 0"))


def test_names_to_be_ignored_are_patterns(folder):
    assert read(folder, SIDES + INPUT).ignore == ()
    text = SIDES + INPUT + '[variables]\nignore = ["/Adam(_1)?$", "^global_step$"]'
    assert read(folder, text).ignore == ("/Adam(_1)?$", "^global_step$")
    assert "must be an array" in refused(folder, text.replace('["/Adam(_1)?$", "^global_step$"]', '"/Adam$"'))
    assert "not a valid regular expression" in refused(folder, text.replace("(_1)?", "("))


# Entries


@pytest.fixture
def wrapped(monkeypatch):
    """Takes the place of the frameworks, so that no TensorFlow is needed: gives back what was to be wrapped."""
    from lockstep.frameworks import runtimes

    monkeypatch.setattr(runtimes, "subject", lambda told: (told.runtime, told.function, told.label))


def subject(folder, entry="legacy_model.py:forward", runtime="tf1", side="reference"):
    return config.subject_from_table({"runtime": runtime, "entry": entry}, folder, side)


@pytest.mark.usefixtures("wrapped")
def test_a_file_that_both_sides_import_is_imported_by_each_for_itself(folder):
    (folder / "shared.py").write_text("count = []\n")
    (folder / "legacy_model.py").write_text(
        "import shared\nshared.count.append(1)\ndef forward(): return shared.count\n"
    )
    # What the candidate does to the original's module must not be what the reference computes with.
    (folder / "migrated_model.py").write_text(
        "import legacy_model\nlegacy_model.shared.count.append(2)\ndef build(): return legacy_model.forward()\n"
    )
    runtime, forward, label = subject(folder)
    assert (runtime, label) == ("tf1", "legacy_model.py:forward")
    _, build, _ = subject(folder, "migrated_model.py:build", "keras", "candidate")
    assert build() == [1, 2]
    assert forward() == [1]


@pytest.mark.usefixtures("wrapped")
def test_another_folder_gets_its_own_modules(folder):
    for number in (1, 2):
        place = folder / str(number)
        place.mkdir()
        (place / "shared.py").write_text(f"number = {number}\n")
        (place / "legacy_model.py").write_text("import shared\ndef forward(): return shared.number\n")
    first, second = (subject(folder / str(number))[1] for number in (1, 2))
    assert [first(), second(), first()] == [1, 2, 1]
    assert not {"shared", "legacy_model"} & set(sys.modules)
    assert not {str(folder / "1"), str(folder / "2")} & set(sys.path)


@pytest.mark.usefixtures("wrapped")
def test_files_with_the_name_of_another_module_do_not_replace_it(folder):
    import json

    for name in ("json.py", "old/model.py", "new/model.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"def forward(): return {name!r}\n")
    for name in ("json.py", "old/model.py", "new/model.py"):
        assert subject(folder, f"{name}:forward")[1]() == name
    assert sys.modules["json"] is json


@pytest.mark.usefixtures("wrapped")
@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("legacy_modle.py:forward", ["[reference]", "no file", "did you mean 'legacy_model.py'?"]),
        ("sub/legacy_model.py:forward", ["no folder"]),
        ("legacy_model.py:forwrd", ["no function 'forwrd'", "did you mean 'forward'?"]),
        ("legacy_model.py:constant", ["'constant'", "is a int", "must be a function"]),
    ],
)
def test_an_entry_that_does_not_exist_is_refused_with_the_nearest(folder, entry, words):
    (folder / "legacy_model.py").write_text("constant = 3\ndef forward(): pass\n")
    with pytest.raises(InputError) as raised:
        subject(folder, entry)
    assert [word for word in words if word not in str(raised.value)] == [], str(raised.value)


@pytest.mark.usefixtures("wrapped")
@pytest.mark.parametrize(
    ("code", "kind"),
    [("1 / 0\n", ZeroDivisionError), ("def f(:\n", SyntaxError), ("raise SystemExit(3)\n", SystemExit)],
)
def test_a_file_that_fails_at_import_is_the_subjects_error_and_can_be_tried_again(folder, code, kind):
    (folder / "part.py").write_text("value = 1\n")
    (folder / "legacy_model.py").write_text("import part\n" + code)
    with pytest.raises(
        SubjectError, match=f"the reference legacy_model.py failed while it was imported: {kind.__name__}"
    ) as raised:
        subject(folder)
    assert isinstance(raised.value.__cause__, kind)
    assert raised.value.side == "reference"
    assert "part" not in sys.modules
    (folder / "legacy_model.py").write_text("import part\ndef forward(): return part.value + 1  # mended\n")
    assert subject(folder)[1]() == 2


def test_steps_are_read_in_their_order(folder):
    assert read(folder, SIDES + INPUT).steps == ()
    text = 'steps = ["inference-fixed", "variables-match"]\n'
    assert read(folder, text + SIDES + INPUT).steps == ("variables-match", "inference-fixed")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ('["variable-match"]', "there is no step 'variable-match'; did you mean 'variables-match'?"),
        ("[]", "steps is []; it must be an array of names of steps"),
        ('"gradients"', "steps is 'gradients'; it must be an array of names of steps"),
        ("[1]", "steps is [1]; it must be an array of names of steps"),
    ],
)
def test_steps_that_are_none_are_refused(folder, steps, said):
    assert said in refused(folder, f"steps = {steps}\n{SIDES}{INPUT}")
