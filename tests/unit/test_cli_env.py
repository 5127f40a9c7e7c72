"""`lockstep env list` and `lockstep env clean`, over environments that are files in a temporary cache."""

import json
import os
import time

import pytest
from click.testing import CliRunner

from lockstep.cli import env, main
from lockstep.environments import Record
from lockstep.environments.store import environments_folder, write_record

DAY_S = 24 * 3600


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCKSTEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def an_environment(digit: str, requirement: str, days: float) -> str:
    digest = digit * 24
    home = environments_folder() / digest
    (home / "venv-1-a").mkdir(parents=True)
    (home / "venv-1-a" / "file").write_bytes(b"x" * 100_000)
    write_record(home, Record("venv-1-a", "3.7", "3.7.16", (requirement,), ("numpy<2",), ("six==1.16.0",), 1.0, 2.0))
    used = time.time() - days * DAY_S
    os.utime(home / "environment.json", (used, used))
    return digest


def run(*arguments):
    return CliRunner().invoke(main, ["env", *arguments])


def test_an_empty_cache(cache):
    assert run("list").output == f"no environments in {cache / 'environments'}\n"
    assert run("clean").output == "nothing to remove\n"


def test_they_are_listed_the_one_used_last_first(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")  # however long the path of the temporary folder is, the last line is one
    an_environment("a", "tensorflow==1.15.5", 3)
    an_environment("b", "six==1.16.0", 0)
    (environments_folder() / ("c" * 24) / "venv-9-z").mkdir(parents=True)
    result = run("list")
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[0] == ["digest", "Python", "requirements", "on", "disk", "last", "used"]
    rows = {line[0]: line[1:] for line in lines[2:]}
    assert rows["aaaaaaaaaaaa"][:2] == ["3.7.16", "tensorflow==1.15.5"]
    assert rows["aaaaaaaaaaaa"][-3:] == ["3", "days", "ago"]
    assert rows["bbbbbbbbbbbb"][-2:] == ["just", "now"]
    assert rows["cccccccccccc"][:3] == ["-", "not", "finished"]
    assert lines[-1][0] == "3"
    assert list(rows)[-2] == "aaaaaaaaaaaa"


def test_as_json_they_have_all_that_is_known(tmp_path):
    digest = an_environment("a", "six", 1)
    told = json.loads(run("list", "--json").output)
    (one,) = told["environments"]
    assert (one["digest"], one["whole"], one["asked"]) == (digest, True, ["six"])
    assert one["constraints"] == ["numpy<2"]
    assert one["packages"] == ["six==1.16.0"]
    assert one["bytes_on_disk"] >= 100_000
    assert run("list", "--json", str(tmp_path / "out.json")).output.startswith("digest")
    assert json.loads((tmp_path / "out.json").read_text()) == told


def test_old_ones_are_removed():
    an_environment("a", "six==1", 3)
    an_environment("b", "six==2", 1)
    result = run("clean", "--older-than", "2")
    assert result.exit_code == 0
    assert result.output.split()[:2] == ["removed", "aaaaaaaaaaaa"]
    assert {path.name for path in environments_folder().iterdir()} == {"locks", "b" * 24}


def test_chosen_ones_are_removed():
    for digit in "ab":
        an_environment(digit, "six", 1)
    told = json.loads(run("clean", "bbb", "--json", "-").output)
    assert [one["digest"] for one in told["removed"]] == ["b" * 24]
    assert run("clean").output.split()[1] == "aaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["clean", "zz"], "there is no environment 'zz'"),
        (["clean", ""], "there is no environment ''"),
        (["clean", "--older-than", "-1"], "cannot be negative"),
        (["clean", "--older-than", "nan"], "cannot be negative or infinite"),
        (["list", "--json", "/nowhere/x.json"], "no folder /nowhere"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_removed(arguments, words):
    an_environment("a", "six", 1)
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert (environments_folder() / ("a" * 24) / "environment.json").exists()


def test_a_digest_that_fits_several_is_refused():
    for digest in ("a1" + "0" * 22, "a2" + "0" * 22):
        (environments_folder() / digest).mkdir(parents=True)
    assert "2 environments begin with 'a'" in run("clean", "a").stderr


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "just now"), (59, "just now"), (60, "1 minute ago"), (7199, "1 hour ago"), (49 * 3600, "2 days ago")],
)
def test_an_age_in_words(seconds, expected):
    assert env._age(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 bytes"), (999, "999 bytes"), (147_456, "147 kB"), (1_023_229_952, "1.0 GB")]
)
def test_a_size_in_words(count, expected):
    assert env._size(count) == expected
