"""What a side imports from its folder: its own, fresh for each build, hashed as it was imported."""

import hashlib
import sys
import threading
import types

import pytest

from lockstep.ground.failures import RecordingError, UsersImportError
from lockstep.recorder.modules import Modules, Sources


def write(folder, **files):
    for name, text in files.items():
        path = folder / (name.replace("__in__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def call(sources, file, function, *arguments):
    """Calls a function of a file as a build does: from fresh modules, which are in place meanwhile."""
    path = f"{sources.folder}/{file}"
    sources.module(path)
    modules = sources.fresh()
    with modules.active():
        return getattr(modules.module(path), function)(*arguments)


@pytest.fixture
def twins(tmp_path):
    """Two folders whose modules have the same names, and import each other late as well as early."""
    for name in ("a", "b"):
        write(
            tmp_path / name,
            legacy_model="import nets.model\ndef forward():\n    import late\n    return nets.model.NAME + late.NAME\n",
            migrated="import legacy_model\ndef build(): return legacy_model.forward()\n",
            late=f"NAME = {name!r}\n",
            nets__in__model=f"NAME = {name!r}\n",
        )
    return [Sources(str(tmp_path / name)) for name in ("a", "b")]


def test_two_folders_with_the_same_names_keep_their_modules_whichever_runs_first(twins):
    for sources in twins:
        sources.module(sources.folder + "/migrated.py")
    assert [call(sources, "migrated.py", "build") for sources in (*twins, *reversed(twins))] == ["aa", "bb", "bb", "aa"]


def test_nothing_is_left_in_the_process(twins):
    before = set(sys.modules), list(sys.path), list(sys.argv), sys.modules["__main__"], list(sys.meta_path)
    for sources in twins:
        call(sources, "migrated.py", "build")
    assert before == (set(sys.modules), list(sys.path), list(sys.argv), sys.modules["__main__"], list(sys.meta_path))


def test_packages_of_the_same_name_are_kept_apart(tmp_path):
    sides = []
    for name in ("a", "b"):
        write(tmp_path / name, nets__in____init__="", nets__in__part=f"NAME = {name!r}\n")
        write(tmp_path / name, nets__in__model="from . import part\ndef build(): return part.NAME, __name__\n")
        sides.append(Sources(str(tmp_path / name)))
    for sources, name in zip(sides, ("a", "b"), strict=True):
        assert call(sources, "nets/model.py", "build") == (name, "nets.model")


def test_two_threads_never_see_each_others_modules(twins):
    wrong = []

    def work(sources, name):
        wrong.extend(found for _ in range(30) if (found := call(sources, "migrated.py", "build")) != name * 2)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(twins, ("a", "b"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_the_process_imported_itself_is_neither_used_nor_touched(tmp_path, monkeypatch):
    write(tmp_path, legacy="NAME = 'older'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = __import__("legacy")
    write(tmp_path, legacy="NAME = 'newer'\n", model="import legacy\ndef forward(): return legacy.NAME\n")
    try:
        assert call(Sources(str(tmp_path)), "model.py", "forward") == "newer"
        assert sys.modules["legacy"] is mine
        assert mine.NAME == "older"
    finally:
        del sys.modules["legacy"]


def test_a_module_of_that_name_from_elsewhere_is_not_what_the_code_gets(tmp_path, monkeypatch):
    write(tmp_path / "a", legacy="NAME = 'a'\n")
    write(tmp_path / "b", legacy="NAME = 'b'\n", model="import legacy\ndef forward(): return legacy.NAME\n")
    monkeypatch.syspath_prepend(str(tmp_path / "a"))
    mine = __import__("legacy")
    try:
        assert call(Sources(str(tmp_path / "b")), "model.py", "forward") == "b"
        assert sys.modules["legacy"] is mine
    finally:
        del sys.modules["legacy"]


def test_a_path_that_the_code_adds_holds_for_its_own_side_alone(tmp_path):
    sides = []
    for name in ("a", "b"):
        write(tmp_path / name, lib__in__helpers=f"NAME = {name!r}\n")
        found = "import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), 'lib'))\n"
        write(tmp_path / name, model=found + "def forward():\n    import helpers\n    return helpers.NAME\n")
        sides.append(Sources(str(tmp_path / name)))
    assert [call(sources, "model.py", "forward") for sources in (*sides, *sides)] == ["a", "b", "a", "b"]


COUNTERS = {
    "global": ("N = 0\n", "    global N\n    N += 1\n    return N\n"),
    "dict": ("N = {}\n", "    N['x'] = N.get('x', 0) + 1\n    return N['x']\n"),
    "list": ("N = []\n", "    N.append(1)\n    return len(N)\n"),
    "itertools": ("import itertools\nN = itertools.count(1)\n", "    return next(N)\n"),
    "Counter": ("from collections import Counter\nN = Counter()\n", "    N['x'] += 1\n    return N['x']\n"),
    "defaultdict": ("from collections import defaultdict\nN = defaultdict(int)\n", "    N[1] += 1\n    return N[1]\n"),
    "class attribute": ("class Layer:\n    n = 0\n", "    Layer.n += 1\n    return Layer.n\n"),
    "instance": ("class C:\n    def __init__(s): s.n = 0\nN = C()\n", "    N.n += 1\n    return N.n\n"),
    "slots": ("class C:\n    __slots__ = ['n']\nN = C()\nN.n = 0\n", "    N.n += 1\n    return N.n\n"),
    "function attribute": ("", "    forward.n = getattr(forward, 'n', 0) + 1\n    return forward.n\n"),
    "closure": (
        "def made():\n    n = [0]\n    def up():\n        n[0] += 1\n        return n[0]\n    return up\nup = made()\n",
        "    return up()\n",
    ),
    "default": ("def up(n=[]):\n    n.append(1)\n    return len(n)\n", "    return up()\n"),
    "generator": (
        "def numbers():\n    n = 0\n    while True:\n        n += 1\n        yield n\nN = numbers()\n",
        "    return next(N)\n",
    ),
    "lru_cache": (
        "import functools\nSEEN = set()\n@functools.lru_cache(None)\ndef first(x):\n    return len(SEEN) + 1\n",
        "    found = first(1)\n    SEEN.add('y')\n    return found + first.cache_info().hits\n",
    ),
    "array": ("import numpy as np\nN = np.zeros(3)\n", "    N[1] += 1\n    return int(N[1])\n"),
    "random": ("import random\nN = random.Random(0)\n", "    return N.randint(0, 10**9)\n"),
    "RandomState": ("import numpy as np\nN = np.random.RandomState(0)\n", "    return int(N.randint(10**9))\n"),
    "default_rng": ("import numpy as np\nN = np.random.default_rng(0)\n", "    return int(N.integers(10**9))\n"),
    "namespace": ("import types\nN = types.SimpleNamespace(n=0)\n", "    N.n += 1\n    return N.n\n"),
    "partial": ("import functools\nN = functools.partial(list.append, [])\n", "    N(1)\n    return len(N.args[0])\n"),
}


@pytest.mark.parametrize("kind", COUNTERS)
@pytest.mark.parametrize("where", ["model", "naming"])
def test_each_build_starts_from_modules_as_they_are_imported(tmp_path, kind, where):
    top, body = COUNTERS[kind]
    write(tmp_path, **{where: f"{top}def forward():\n{body}"})
    if where == "naming":
        write(tmp_path, model="import naming\ndef forward(): return naming.forward()\n")
    sources = Sources(str(tmp_path))
    assert len({call(sources, "model.py", "forward") for _ in range(3)}) == 1


def test_what_changes_nothing_is_imported_once(tmp_path):
    write(
        tmp_path, model="print('imported')\nWORDS = ['a'] * 10**6\nclass A: pass\ndef forward(): return A, len(WORDS)\n"
    )
    sources = Sources(str(tmp_path))
    assert call(sources, "model.py", "forward") == call(sources, "model.py", "forward")


def test_a_class_and_what_is_asked_of_it_come_from_one_import(tmp_path):
    write(
        tmp_path,
        types_="class Outputs: pass\nN = []\n",
        model="import types_\ndef forward(): return types_.Outputs()\n",
    )
    write(
        tmp_path,
        training="import types_\ndef loss(o):\n    types_.N.append(1)\n    return isinstance(o, types_.Outputs)\n",
    )
    sources = Sources(str(tmp_path))
    for _ in range(3):
        modules = sources.fresh()
        with modules.active():
            outputs = modules.module(str(tmp_path / "model.py")).forward()
        assert modules.module(str(tmp_path / "training.py")).loss(outputs)


def test_libraries_are_not_imported_again(tmp_path):
    write(
        tmp_path,
        model="import json, lockstep.common.errors\nN = []\ndef forward():\n    N.append(1)\n    return json\n",
    )
    sources = Sources(str(tmp_path))
    import json

    assert {id(call(sources, "model.py", "forward")) for _ in range(2)} == {id(json)}


def test_where_a_second_import_fails_the_first_stays_and_the_report_says_so(tmp_path):
    (tmp_path / "done").mkdir()
    write(tmp_path, model="import os\nos.rmdir('done')\nN = []\ndef forward():\n    N.append(1)\n    return len(N)\n")
    write(tmp_path, model=(tmp_path / "model.py").read_text().replace("'done'", repr(str(tmp_path / "done"))))
    sources = Sources(str(tmp_path))
    assert [call(sources, "model.py", "forward") for _ in range(2)] == [1, 2]
    assert "cannot be imported a second time (FileNotFoundError" in sources.note


def test_a_file_is_hashed_as_it_was_imported(tmp_path):
    write(tmp_path, model="import part\n", part="SIZE = 1\n")
    modules = Modules(str(tmp_path))
    modules.module(str(tmp_path / "model.py"))
    imported = hashlib.sha256(b"SIZE = 1\n").hexdigest()
    (tmp_path / "part.py").write_text("SIZE = 2\n")
    assert modules.files()["part.py"] == imported
    assert modules.changed_files() == [str(tmp_path / "part.py")]


def test_a_build_of_files_that_have_changed_is_refused(tmp_path):
    write(tmp_path, model="def forward(): return 1\n")
    sources = Sources(str(tmp_path))
    assert call(sources, "model.py", "forward") == 1
    write(tmp_path, model="def forward(): return 2\n")
    with pytest.raises(RecordingError, match=r"model.py has changed since it was imported"):
        sources.fresh()
    assert call(Sources(str(tmp_path)), "model.py", "forward") == 2


def test_a_compiled_file_of_the_same_size_and_second_is_not_what_runs(tmp_path):
    import os

    for value in (1, 2):
        write(tmp_path, part=f"SIZE = {value}\n", model="import part\ndef forward(): return part.SIZE\n")
        os.utime(tmp_path / "part.py", (1e9, 1e9))
        assert call(Sources(str(tmp_path)), "model.py", "forward") == value


@pytest.mark.parametrize("raised", ["1 / 0", "raise SystemExit(0)", "raise GeneratorExit", "import os; os._exit(0)"])
def test_a_failing_import_has_its_cause_and_leaves_nothing(tmp_path, raised):
    write(tmp_path, part="", model=f"import part\n{raised}\n")
    before = set(sys.modules)
    with pytest.raises(UsersImportError) as failed:
        Modules(str(tmp_path)).module(str(tmp_path / "model.py"))
    assert failed.value.__cause__ is not None
    assert set(sys.modules) == before


def test_ctrl_c_is_no_failure_of_the_code(tmp_path):
    write(tmp_path, model="raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        Modules(str(tmp_path)).module(str(tmp_path / "model.py"))


def test_flags_of_the_same_name_belong_to_their_side(tmp_path):
    flags = pytest.importorskip("absl.flags")
    sides = []
    for number in (1, 2):
        text = f"from absl import flags\nflags.DEFINE_integer('units_of_a_test', {number}, '')\nN = []\n"
        text += "def forward():\n    N.append(1)\n    return flags.FLAGS['units_of_a_test'].value\n"
        sides.append(Sources(str(write(tmp_path / str(number), model=text))))
    assert [call(sources, "model.py", "forward") for sources in (*sides, *sides)] == [1, 2, 1, 2]
    assert "units_of_a_test" not in flags.FLAGS


def test_a_command_line_is_read_as_if_there_were_no_arguments(tmp_path):
    write(tmp_path, model="import argparse\nprint(argparse.ArgumentParser().parse_args())\ndef forward(): return 1\n")
    assert call(Sources(str(tmp_path)), "model.py", "forward") == 1


def test_a_dict_that_only_says_it_is_one_is_followed():
    from lockstep.recorder.module_state import state_of

    wrapt = pytest.importorskip("wrapt")  # TensorFlow keeps a model's dicts in such proxies
    module = types.ModuleType("users")
    module.table = wrapt.ObjectProxy({"a": [1]})
    held = []
    before = state_of(module, lambda name: True, held)
    module.table["a"].append(2)
    assert state_of(module, lambda name: True, held) != before
