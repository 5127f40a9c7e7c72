"""Isolated environments: what is asked for, how an interpreter is found, what is made, and what goes wrong.

Interpreters and uv are small shell scripts here; `tests/integration/test_environments.py` makes a real one.
"""

import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep import environments
from lockstep.common.cache import cache_folder
from lockstep.common.errors import InputError, UnavailableEnvironmentError
from lockstep.environments import EnvironmentSpec, clean, find_interpreter, inspection, interpreters, listed, provide
from lockstep.environments import uv as uv_module
from lockstep.environments.constraints import KNOWN, constraints_for
from lockstep.environments.locking import locked
from lockstep.environments.requirements import parse
from lockstep.environments.store import reclaim

posix = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def fake_python(path: Path, version: str, **facts) -> Path:
    told = {"version": version, "final": True, "implementation": "cpython", "free_threaded": False, "packages": []}
    return script(path, f"echo chatter\necho '{inspection._MARK}{json.dumps({**told, **facts})}'")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with nothing on it: no uv, no pyenv, an empty PATH, a home and a cache of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOCKSTEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{tmp_path / 'bin2'}")
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(uv_module, "_of_package", lambda: None)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))
    return tmp_path


class TestCacheFolder:
    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({"LOCKSTEP_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a")),
            ({"LOCKSTEP_CACHE": "", "XDG_CACHE_HOME": "/b"}, Path("/b/lockstep")),
            ({"LOCKSTEP_CACHE": "~/c"}, Path.home() / "c"),
            ({"LOCKSTEP_CACHE": "d"}, Path.cwd() / "d"),
        ],
    )
    def test_variables_decide(self, variables, expected):
        assert cache_folder(variables) == expected

    @pytest.mark.parametrize(
        ("system", "expected"),
        [
            ("linux", Path.home() / ".cache/lockstep"),
            ("darwin", Path.home() / "Library/Caches/lockstep"),
            ("win32", Path.home() / "AppData/Local/lockstep/cache"),
        ],
    )
    def test_without_them_the_system_does(self, monkeypatch, system, expected):
        monkeypatch.setattr(sys, "platform", system)
        assert cache_folder({}) == expected
        assert cache_folder({"XDG_CACHE_HOME": "relative"}) == expected


versions = st.lists(st.integers(0, 30), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
names = st.from_regex(r"[a-z][a-z0-9]{0,5}([-_.][a-z0-9]{1,3})?", fullmatch=True)
clauses = st.tuples(st.sampled_from(["==", "<", ">=", "~=", "!=", "<=", ">"]), versions).filter(
    lambda clause: clause[0] != "~=" or "." in clause[1]  # `~=1` is no specifier (PEP 440)
)
blanks = st.sampled_from(["", " ", "  "])


@st.composite
def spellings(draw):
    """One requirement, spelt in two ways."""
    name, extras = draw(names), draw(st.lists(names, max_size=2, unique=True))
    bounds = draw(st.lists(clauses, max_size=3, unique=True))

    def spell(parts, label, joints):
        blank = draw(blanks)
        extra = f"[{','.join(joints)}]" if joints else ""
        return f"{label}{extra}{blank}" + f"{blank},{blank}".join(f"{a}{blank}{b}" for a, b in parts)

    other = re.sub("[-_.]", draw(st.sampled_from(["-", "_", ".", "__"])), name).upper()
    return spell(bounds, name, extras), spell(draw(st.permutations(bounds)), other, draw(st.permutations(extras)))


class TestRequirements:
    @settings(max_examples=50)
    @given(spellings())
    def test_the_way_it_is_spelt_does_not_matter(self, pair):
        assert parse(pair[0]).text == parse(pair[1]).text
        assert parse(parse(pair[0]).text).text == parse(pair[0]).text

    @settings(max_examples=30)
    @given(st.lists(spellings(), min_size=1, max_size=3), st.randoms())
    def test_nor_does_the_order_for_the_digest(self, pairs, random):
        first, second = [list(side) for side in zip(*pairs, strict=True)]
        random.shuffle(second)
        one, other = EnvironmentSpec("3.7", tuple(first)), EnvironmentSpec("3.7", tuple(second + second[:1]))
        assert one.digest == other.digest
        assert one.normalised == other.normalised

    @given(versions, versions)
    def test_a_version_does(self, one, other):
        equal = EnvironmentSpec("3.7", (f"a=={one}",)).digest == EnvironmentSpec("3.7", (f"a=={other}",)).digest
        assert equal == (one == other)

    @given(st.text(max_size=30))
    def test_any_text_is_read_or_refused_in_a_sentence(self, text):
        refusal = None
        try:
            parsed = parse(text)
        except InputError as error:
            refusal = str(error)
        assert refusal is None or refusal.endswith(".")
        assert refusal is not None or not parsed.text.startswith("-")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "is empty"),
            ("-e .", "an option of pip"),
            ("--index-url=https://x", "an option of pip"),
            ("-r more.txt", "an option of pip"),
            (".", "is a folder, whose content may change unseen"),
            ("./missing.whl", "names no file"),
            ("./setup.py", "neither a wheel nor a source archive"),
            ("file:///missing.whl", "names no file"),
            ("https://host/a-1.whl", "a bare URL"),
            ("git+https://host/a", "a bare URL"),
            ("a @ https://host/a-1.whl", "may change unseen"),
            ("a @ git+https://host/a@main", "may change unseen"),
            ("tensorflow=1.15", "is no requirement"),
            ("tensorflow 1.15", "is no requirement"),
            ("a==1.0 b==2.0", "is no requirement"),
            ("a==", "is no requirement"),
            ("[a]", "is no requirement"),
            ("a; " + "(" * 5000 + "python_version < '3'" + ")" * 5000, "too long"),
            ("a; " + "(" * 1500 + "python_version < '3'" + ")" * 1500, "nested too deeply"),
            ("a==" + "9" * 5000, "too long"),
            ("a\0", "is no requirement"),
            ("a==1.0 \\ --hash=sha256:0", "is no requirement"),
            ("x" * 300 + ".whl", "File name too long"),
            ("./" + "x/" * 1500 + "a.whl", "names no file"),
        ],
    )
    def test_what_cannot_be_kept_by_content_is_refused(self, text, words, tmp_path):
        with pytest.raises(InputError) as raised:
            parse(text, tmp_path)
        assert words in str(raised.value)

    @pytest.mark.parametrize("fragment", ["", "#sha256=" + "0" * 64, "#egg=a", "#subdirectory=a&sha256=" + "0" * 64])
    @pytest.mark.parametrize(
        "url",
        [
            "file://{}", "FILE://{}", "file://localhost{}", "file:{}", "{}", "./below", "below", "file://{}/", "file://{}/below",
            "file://{}/.", "file://{}/below/..", "file://{}?x=1", "file://{}/bel%6fw", "file://{}/linked",
        ],
    )  # fmt: skip
    def test_a_folder_is_refused_however_it_is_written(self, url, fragment, tmp_path):
        (tmp_path / "below").mkdir()
        (tmp_path / "linked").symlink_to("below")
        for marker in ("", " ; python_version >= '3'"):
            with pytest.raises(InputError, match=r"is a folder|no file"):
                parse(f"a @ {url.format(tmp_path)}{fragment}{marker}", tmp_path)

    @pytest.mark.parametrize(
        "url",
        [
            "git+https://host/a#sha256=" + "0" * 64,  # of a repository's content a checksum says nothing
            "git+https://host/a@main#" + "@" + "0" * 40,
            "git+https://host/@" + "0" * 40 + "/a",
            "git+https://host/a?ref=@" + "0" * 40,
            "git+file:///a@main",
            "https://host/a-1.whl?sha256=" + "0" * 64,
            "https://host/a-1.whl#xsha256=" + "0" * 64,
            "https://host/a-1.whl#sha256=" + "0" * 63,
            "https://host/a-1.whl@" + "0" * 40,
            "hg+https://host/a@" + "0" * 40,
            "ftp://host/a-1.whl#sha256=" + "0" * 64,
            "file://host/a-1.whl#sha256=" + "0" * 64,
            "https://[host/a-1.whl#sha256=" + "0" * 64,
            "nonsense:a#sha256=" + "0" * 64,
        ],
    )
    def test_a_url_whose_content_may_change_is_refused_whatever_its_fragment_says(self, url):
        with pytest.raises(InputError, match=r"may change unseen|no file of this machine|no URL that can be read"):
            parse(f"a @ {url}")

    def test_a_file_behind_a_name_counts_by_its_content(self, tmp_path):
        wheel = tmp_path / "a b-1-py3-none-any.whl"
        wheel.write_bytes(b"one")
        requirement = parse(f"A[x] @ {wheel.as_uri()}#sha256={'0' * 64} ; python_version >= '3'")
        assert requirement.file == wheel
        assert requirement.text == f'a[x] @ {wheel.as_uri()} ; python_version >= "3"'
        assert parse(requirement.text).text == requirement.text
        key = requirement.key
        assert key.startswith("a[x] @ a b-1-py3-none-any.whl sha256=")
        assert key.endswith(' ; python_version >= "3"')
        wheel.write_bytes(b"two")
        assert requirement.key != key
        wheel.write_bytes(b"one")
        assert parse(f"b @ {wheel.as_uri()}").key != key

    def test_what_names_its_content_is_taken(self):
        commit, checksum = "a" * 40, "b" * 64
        assert parse(f"A @ git+https://host/a@{commit}").text == f"a @ git+https://host/a@{commit}"
        assert parse(f"a@ https://host/a-1.whl#sha256={checksum}").text.startswith("a @ https://")

    def test_a_file_counts_by_its_content(self, tmp_path):
        wheel = tmp_path / "a-1-py3-none-any.whl"
        wheel.write_bytes(b"one")
        first = EnvironmentSpec("3.7", (str(wheel),))
        digest = first.digest
        assert first.digest == digest
        wheel.write_bytes(b"two")
        assert first.digest != digest
        (tmp_path / "moved").mkdir()
        moved = wheel.rename(tmp_path / "moved" / wheel.name)
        moved.write_bytes(b"one")
        assert EnvironmentSpec("3.7", (str(moved),)).digest == digest

    def test_a_file_that_has_gone_meanwhile_is_told(self, tmp_path):
        wheel = tmp_path / "a-1-py3-none-any.whl"
        wheel.write_bytes(b"one")
        requirement = parse("./" + wheel.name, tmp_path)
        wheel.unlink()
        with pytest.raises(InputError, match="cannot be read: No such file"):
            requirement.key  # noqa: B018


class TestSpec:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("3.7",), "needs requirements (python is '3.7')"),
            ((), "needs requirements"),
            (("3.7", (), Path("p")), "goes with neither"),
            ((None, ("six",), Path("p")), "goes with neither"),
            ((">=3.7", ("six",)), "must be one version"),
            (("2.7", ("six",)), "must be one version"),
            (("3", ("six",)), "must be one version"),
            (("3.7.1rc1", ("six",)), "must be one version"),
            (("3.7", ("-e .",)), "option of pip"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, arguments, words):
        with pytest.raises(InputError) as raised:
            EnvironmentSpec(*arguments)
        assert words in str(raised.value)

    def test_the_digest_knows_the_python_the_machine_and_the_constraints(self, monkeypatch):
        spec = EnvironmentSpec("3.7", ("tensorflow==1.15.5",))
        digests = {spec.digest, EnvironmentSpec("3.8", spec.requirements).digest}
        digests.add(EnvironmentSpec("3.7.16", spec.requirements).digest)
        with monkeypatch.context() as patch:
            patch.setattr("platform.machine", lambda: "riscv64")
            digests.add(spec.digest)
        with monkeypatch.context() as patch:
            patch.setattr("lockstep.environments.spec.constraints_for", lambda requirements: ())
            digests.add(spec.digest)
        digests.add(EnvironmentSpec(interpreter=Path("/a/python")).digest)
        digests.add(EnvironmentSpec(interpreter=Path("/b/python")).digest)
        assert len(digests) == 7
        assert all(re.fullmatch("[0-9a-f]{24}", digest) for digest in digests)

    def test_without_a_python_it_is_this_one(self):
        here = ".".join(map(str, sys.version_info[:2]))
        assert EnvironmentSpec(None, ("six",)).digest == EnvironmentSpec(here, ("six",)).digest


class TestConstraints:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("tensorflow==1.15.5", {"protobuf<3.21", "numpy<1.24", "gast<0.3", "h5py<3"}),
            ("tensorflow-cpu==1.15.*", {"protobuf<3.21", "numpy<1.24", "gast<0.3", "h5py<3"}),
            ("TensorFlow_GPU ~=1.15.0", {"protobuf<3.21", "numpy<1.24", "gast<0.3", "h5py<3"}),
            ("tensorflow<2", {"protobuf<3.21", "numpy<1.24", "gast<0.3", "h5py<3"}),
            ("tensorflow>=1.14,<2.4", {"protobuf<3.21", "numpy<1.24", "h5py<3"}),
            ("tensorflow<=2.6.0", {"protobuf<3.21", "numpy<1.24", "keras<2.7", "tensorflow-estimator<2.7"}),
            ("tensorflow==2.9.3", {"protobuf<3.21", "numpy<1.24"}),
            ("tensorflow==2.12", set()),
            ("tensorflow==2.14.0", {"numpy<2"}),
            ("tensorflow<2.18", {"numpy<2"}),
            ("tensorflow<2.18.1", set()),
            ("tensorflow==2.*", set()),
            ("tensorflow~=2.4", set()),
            ("tensorflow>=2.9", set()),
            ("tensorflow", set()),
            ("tensorflow==2.18.0", set()),
            ("tensorflow-probability==0.8", set()),
        ],
    )
    def test_they_belong_to_the_releases_that_need_them(self, text, expected):
        assert {constraint.requirement for constraint in constraints_for([parse(text)])} == expected

    def test_the_user_decides(self):
        found = constraints_for([parse("tensorflow==1.15.5"), parse("Protobuf==3.8"), parse("h5py")])
        assert {constraint.package for constraint in found} == {"numpy", "gast"}

    def test_each_says_why_and_how_that_is_known(self):
        assert all(constraint.reason and constraint.source for constraint in KNOWN)


@posix
class TestFindInterpreter:
    def test_a_broken_shim_and_one_that_hangs_do_not_stop_the_search(self, machine, monkeypatch):
        monkeypatch.setattr(interpreters, "PROBE_S", 0.5)
        script(machine / "bin" / "python3.7", "echo 'pyenv: python3.7: command not found' >&2; exit 127")
        script(machine / "bin2" / "python3.7", "sleep 600")
        (machine / "bin2" / "python3.8").write_text("not executable")
        python = fake_python(machine / "home/.pyenv/versions/3.7.16/bin/python3", "3.7.16")
        begin = time.monotonic()
        found = find_interpreter("3.7")
        assert (found.path, found.version) == (python, "3.7.16")
        assert time.monotonic() - begin < 10

    def test_uv_s_come_first_then_path_then_pyenv(self, machine, monkeypatch):
        monkeypatch.setenv("PYENV_ROOT", str(machine / "pyenv"))
        places = [
            machine / "home/.local/share/uv/python/cpython-3.7.9-linux/bin/python3",
            machine / "bin/python3.7",
            machine / "pyenv/versions/3.7.16/bin/python3",
            machine / "home/.pyenv/versions/3.7.17/bin/python3",
            machine / "bin2/python3",
        ]
        for path in places:
            fake_python(path, "3.7.9")
        for path in places:
            assert find_interpreter("3.7").path == path
            path.unlink()

    def test_uv_is_asked_where_its_own_are(self, machine):
        script(machine / "bin" / "uv", f"echo warning: old; test \"$1 $2\" = 'python dir' && echo {machine / 'kept'}")
        python = fake_python(machine / "kept/cpython-3.7.9-linux/bin/python3", "3.7.9")
        assert find_interpreter("3.7").path == python

    def test_a_uv_that_does_not_know_the_command_is_no_obstacle(self, machine):
        script(machine / "bin" / "uv", "echo error: unrecognized subcommand >&2; exit 2")
        python = fake_python(machine / "home/.local/share/uv/python/cpython-3.7.9-linux/bin/python3", "3.7.9")
        assert find_interpreter("3.7").path == python

    def test_an_exact_version_is_exact(self, machine):
        for patch in (9, 16, 2):
            fake_python(machine / f"home/.pyenv/versions/3.7.{patch}/bin/python3", f"3.7.{patch}")
        assert find_interpreter("3.7.2").version == "3.7.2"
        assert find_interpreter("3.7").version == "3.7.16"
        with pytest.raises(UnavailableEnvironmentError, match=r"no Python 3\.7\.1 "):
            find_interpreter("3.7.1")

    def test_the_name_proves_nothing(self, machine):
        fake_python(machine / "bin/python3.7", "3.8.1")
        fake_python(machine / "bin/python3", "3.7.3")
        assert find_interpreter("3.7").path == machine / "bin/python3"

    @pytest.mark.parametrize("facts", [{"final": False}, {"implementation": "pypy"}, {"free_threaded": True}])
    def test_only_a_released_cpython_with_its_lock_is_taken(self, machine, facts):
        fake_python(machine / "bin/python3.13", "3.13.0", **facts)
        with pytest.raises(UnavailableEnvironmentError, match="but no released CPython"):
            find_interpreter("3.13")

    def test_without_one_it_tells_where_it_looked_what_is_there_and_what_to_do(self, machine):
        script(machine / "bin/python3.7", "echo broken shim; exit 127")
        fake_python(machine / "bin/python3.11", "3.11.7")
        fake_python(machine / "home/.pyenv/versions/3.6.15/bin/python3", "3.6.15")
        with pytest.raises(UnavailableEnvironmentError) as raised:
            find_interpreter("3.7")
        lines = str(raised.value).splitlines()
        assert lines == [
            "there is no Python 3.7 on this machine:",
            f"  uv's interpreters ({machine}/home/.local/share/uv/python): none",
            "  PATH: 3.11.7",
            f"    {machine}/bin/python3.7 ended with status 127 (broken shim)",
            f"  pyenv ({machine}/home/.pyenv/versions): 3.6.15",
            '`uv python install 3.7` installs one; or name one that you have: interpreter = "path/to/python".',
        ]

    @pytest.mark.parametrize("version", [">=3.7", "3", "python3.7", "2.7.18"])
    def test_only_a_plain_version_is_looked_for(self, version):
        with pytest.raises(InputError, match="must be one version"):
            find_interpreter(version)


FAKE_UV = """
echo "$@" >> {log}
case "$1" in
  python) exit 2 ;;
  venv) mkdir -p "$4/bin" && cp {python} "$4/bin/python" ;;
  pip) {install} ;;
esac
"""


@posix
class TestProvide:
    @pytest.fixture
    def uv(self, machine, monkeypatch):
        """Makes a stand-in for uv, given what it does to install; returns the file that its calls are noted in."""
        python = fake_python(machine / "bin/python3.7", "3.7.16", packages=["six==1.16.0"])
        monkeypatch.setenv("PATH", f"{machine / 'bin'}:{os.defpath}")

        def make(install: str = "echo Installed") -> Path:
            log = machine / "uv.log"
            script(machine / "bin/uv", FAKE_UV.format(log=log, python=python, install=install))
            return log

        return make

    SPEC = EnvironmentSpec("3.7", ("six==1.16.0",))

    def test_it_is_made_once_and_then_found(self, uv, machine):
        log, said = uv(), []
        first = provide(self.SPEC, say=said.append)
        assert (first.from_cache, first.python_version, first.packages) == (False, "3.7.16", ("six==1.16.0",))
        calls = log.read_text()
        assert "Installed" in said
        second = provide(self.SPEC, say=said.append)
        assert second.from_cache
        assert (second.python, second.created_s) == (first.python, first.created_s)
        assert log.read_text() == calls
        assert str(first.python).startswith(str(machine / "cache/environments" / self.SPEC.digest))

    def test_known_constraints_are_handed_over_and_shown(self, uv, machine):
        log, said = uv('cat "$6"'), []
        spec = EnvironmentSpec("3.7", ("tensorflow==1.15.5", "tf-slim==1.1.0"))
        provide(spec, say=said.append)
        assert any(line.startswith("adds protobuf<3.21: from protobuf 4 on") for line in said)
        assert "protobuf<3.21" in said  # what uv was given
        assert log.read_text().splitlines()[-1].endswith("-- tensorflow==1.15.5 tf-slim==1.1.0")
        assert "protobuf<3.21" in listed()[0].record.constraints

    def test_no_uv_is_told(self, machine):
        fake_python(machine / "bin/python3.7", "3.7.16")
        with pytest.raises(UnavailableEnvironmentError, match=r"pip install 'lockstep-verify\[environments\]'"):
            provide(self.SPEC, say=print)

    def test_one_that_is_there_needs_no_uv(self, uv, machine):
        uv()
        provide(self.SPEC, say=print)
        (machine / "bin/uv").unlink()
        assert provide(self.SPEC, say=print).from_cache

    @pytest.mark.parametrize(
        ("output", "words"),
        [
            ("error: Request failed\n  Caused by: error sending request for url (https://x)", "check the network"),
            ("error: error sending request for url (https://x)\n  cause: invalid peer certificate", "SSL_CERT_FILE"),
            ("No solution found: six was not found in the cache\nhint: the network was disabled", "check the network"),
            ("Because tensorflow==2.16.2 has no wheels with a matching Python implementation tag", "no wheel of this"),
            ("Because sixx was not found in the package registry and you require sixx", "check its spelling"),
            ("No solution found when resolving: there is no version of six==99", "cannot be met together"),
            ("error: Failed to write: No space left on device (os error 28)", "the disk is full"),
            ("error: Failed to build `h5py==2.9`", "built from source"),
            ("something new", "uv ended with status 2"),
        ],
    )
    def test_a_failure_shows_uv_s_words_and_the_way_out(self, uv, output, words):
        uv(f"cat <<'END' >&2\n{output}\nEND\nexit 2")
        with pytest.raises(UnavailableEnvironmentError) as raised:
            provide(self.SPEC, say=lambda line: None)
        sentence, *shown = str(raised.value).splitlines()
        assert sentence.startswith("installing six==1.16.0 for Python 3.7 failed: ")
        assert words in sentence
        assert [line.removeprefix("  uv: ") for line in shown] == output.splitlines()
        assert listed() == ()

    def test_a_failed_one_is_made_by_the_next_call(self, uv):
        uv("exit 1")
        with pytest.raises(UnavailableEnvironmentError):
            provide(self.SPEC, say=print)
        uv()
        assert not provide(self.SPEC, say=print).from_cache

    def test_one_that_does_not_run_any_more_is_made_anew(self, uv):
        uv()
        first, said = provide(self.SPEC, say=print), []
        script(first.python, "exit 1")
        assert not provide(self.SPEC, say=said.append).from_cache
        assert "anew" in said[0]
        assert not first.python.exists()

    def test_one_that_was_changed_is_made_anew(self, uv):
        uv()
        first, said = provide(self.SPEC, say=print), []
        fake_python(first.python, "3.7.16", packages=["six==1.17.0"])
        assert not provide(self.SPEC, say=said.append).from_cache
        assert "it was changed (six==1.16.0, six==1.17.0)" in said[0]

    @pytest.mark.parametrize("content", ["", "[]", '{"format": 1}'])
    def test_a_damaged_record_is_no_environment(self, uv, content):
        uv()
        first = provide(self.SPEC, say=print)
        record = first.python.parents[2] / "environment.json"
        whole = record.read_text()
        record.write_text(content)
        assert not provide(self.SPEC, say=print).from_cache
        outside = json.loads(whole) | {"folder": "../elsewhere"}
        record.write_text(json.dumps(outside))
        assert not provide(self.SPEC, say=print).from_cache

    def test_an_attempt_that_was_killed_is_never_taken_for_whole_and_goes_with_the_next(self, uv, machine, start):
        pid = machine / "installing"
        uv(f"echo $$ > {pid}; exec sleep 600")
        child = start(self.SPEC)
        assert wait_for(lambda: pid.exists() and pid.read_text())
        child.kill()
        child.communicate()
        assert [one.record for one in listed()] == [None]
        assert wait_for(lambda: not is_alive(int(pid.read_text()))), "uv ends with the process that started it"
        uv()
        made = provide(self.SPEC, say=print)
        assert not made.from_cache
        assert [path.name for path in made.python.parents[2].glob("venv-*")] == [made.python.parents[1].name]

    def test_what_was_killed_is_removed_though_nobody_asks_for_the_same_again(self, uv, machine, start):
        pid = machine / "installing"
        uv(f"echo $$ > {pid}; exec sleep 600")
        child = start(EnvironmentSpec("3.7", ("six==1.15.0",)))
        assert wait_for(lambda: pid.exists() and pid.read_text())
        reclaim()
        assert len(listed()) == 1, "its owner lives"
        child.kill()
        child.communicate()
        assert wait_for(lambda: not is_alive(int(pid.read_text())))
        uv()
        kept = provide(self.SPEC, say=print)
        stray = kept.python.parents[2] / "venv-1-ab"
        stray.mkdir()
        reclaim()
        assert [one.digest for one in listed()] == [self.SPEC.digest]
        assert not stray.exists()
        assert provide(self.SPEC, say=print).from_cache

    def test_an_environment_of_a_later_version_is_left_alone(self, uv, machine):
        uv()
        made = provide(self.SPEC, say=print)
        home = made.python.parents[2]
        told = json.loads((home / "environment.json").read_text())
        (home / "environment.json").write_text(json.dumps({**told, "format": 2}))
        reclaim()
        assert made.python.exists()

    def test_ctrl_c_leaves_nothing_behind(self, uv, machine, start):
        uv(f"echo $$ > {machine / 'installing'}; exec sleep 600")
        child = start(self.SPEC)
        assert wait_for(lambda: (machine / "installing").exists() and (machine / "installing").read_text())
        child.send_signal(2)
        child.communicate(timeout=30)
        assert listed() == ()
        assert not is_alive(int((machine / "installing").read_text()))

    def test_several_processes_make_it_once(self, uv, machine, start):
        log = uv("sleep 1; echo Installed")
        children = [start(self.SPEC) for _ in range(3)]
        told = [child.communicate(timeout=60)[0] for child in children]
        assert [child.returncode for child in children] == [0, 0, 0], told
        assert log.read_text().count("pip install") == 1
        assert sum("from_cache=False" in text for text in told) == 1
        assert len({re.search(r"python=\S+", text)[0] for text in told}) == 1

    def test_an_interpreter_is_used_as_it_is(self, machine):
        python = fake_python(machine / "mine/bin/python", "3.9.1", packages=["six==1.0"])
        found = provide(EnvironmentSpec(interpreter=python), say=print)
        assert (found.python, found.python_version, found.packages) == (python, "3.9.1", ("six==1.0",))
        assert not (machine / "cache").exists()

    @pytest.mark.parametrize(
        ("body", "words"), [(None, "there is no such file"), ("echo Bad magic; exit 1", r"ended with status 1 \(Bad")]
    )
    def test_an_interpreter_that_does_not_run_is_told(self, machine, body, words):
        python = machine / "mine/bin/python"
        if body is not None:
            script(python, body)
        with pytest.raises(InputError, match=words):
            provide(EnvironmentSpec(interpreter=python), say=print)

    def test_a_cache_that_cannot_be_written_to_is_told(self, uv, machine, monkeypatch):
        uv()
        (machine / "file").touch()
        monkeypatch.setenv("LOCKSTEP_CACHE", str(machine / "file"))
        with pytest.raises(UnavailableEnvironmentError, match=r"cannot be made in .*LOCKSTEP_CACHE"):
            provide(self.SPEC, say=print)

    def test_listing_and_cleaning(self, uv, machine):
        uv()
        first = provide(self.SPEC, say=print)
        other = EnvironmentSpec("3.7", ("six==1.15.0",))
        provide(other, say=print)
        os.utime(first.python.parents[2] / "environment.json", (1, 1))
        assert [one.digest for one in listed()] == [other.digest, self.SPEC.digest]
        assert all(one.bytes_on_disk > 0 for one in listed())
        with pytest.raises(InputError, match="no environment 'zz'"):
            clean(["zz"], say=print)
        assert [one.digest for one in clean(older_than_s=3600, say=print)] == [self.SPEC.digest]
        assert clean([self.SPEC.digest[:6], other.digest][1:], older_than_s=3600, say=print) == ()
        assert [one.digest for one in clean([other.digest[:8]], say=print)] == [other.digest]
        assert listed() == ()

    def test_a_use_counts(self, uv):
        uv()
        first = provide(self.SPEC, say=print)
        os.utime(first.python.parents[2] / "environment.json", (1, 1))
        provide(self.SPEC, say=print)
        assert clean(older_than_s=3600, say=print) == ()

    def test_one_that_is_being_made_stays(self, uv, machine):
        uv()
        provide(self.SPEC, say=print)
        said: list[str] = []
        with locked(machine / "cache/environments/locks" / self.SPEC.digest, say=print):
            assert clean(say=said.append) == ()
        assert "another process is making it" in said[0]
        assert len(clean(say=print)) == 1

    def test_what_is_no_environment_is_left_alone(self, uv, machine):
        uv()
        provide(self.SPEC, say=print)
        kept = machine / "cache/environments/notes.txt"
        kept.touch()
        clean(say=print)
        assert kept.exists()


@pytest.fixture
def start(machine):
    """Provides an environment in another process, on the same pretended machine; it is ended afterwards."""
    started = []

    def start(spec: EnvironmentSpec) -> subprocess.Popen:
        program = (
            "import signal, sys; from lockstep.environments import uv, EnvironmentSpec, provide\n"
            # A shell has SIGINT ignored in what it starts with &.
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            f"uv._of_package = lambda: None; sys.executable = {sys.executable!r}\n"
            f"print(provide(EnvironmentSpec({spec.python!r}, {spec.requirements!r}), say=print))"
        )
        argv = [REAL_PYTHON, "-c", program]
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return started[-1]

    yield start
    for child in started:
        if child.poll() is None:
            child.terminate()
        with child:
            pass


REAL_PYTHON = sys.executable


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # a zombie waits for whoever is to know of its end
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def wait_for(condition, limit_s=30.0) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end and not condition():
        time.sleep(0.02)
    return bool(condition())


class TestLock:
    def test_it_is_held_by_one_at_a_time_and_freed_by_death(self, tmp_path):
        program = (
            "import sys, time; from pathlib import Path; from lockstep.environments.locking import locked\n"
            "with locked(Path(sys.argv[1]), say=print):\n print('held', flush=True); time.sleep(600)"
        )
        path, said = tmp_path / "lock", []
        owner = subprocess.Popen([REAL_PYTHON, "-c", program, path], stdout=subprocess.PIPE, text=True)
        assert owner.stdout.readline() == "held\n"
        with locked(path, say=print, wait=False) as held:
            assert not held

        def say(text):
            said.append(text)
            owner.kill()

        with locked(path, say=say) as held:
            assert held
        owner.communicate()
        assert said == [f"waiting for process {owner.pid}, which is making the same environment"]


def test_every_public_name_resolves():
    assert all(getattr(environments, name) is not None for name in environments.__all__)
