"""A real environment of Python 3.7, made by the real uv from the package index."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lockstep.common.errors import InputError, UnavailableEnvironmentError
from lockstep.environments import EnvironmentSpec, find_interpreter, inherited_variables, listed, provide, run_child
from lockstep.environments.uv import find_uv

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python37() -> Path:
    try:
        return find_interpreter("3.7").path
    except UnavailableEnvironmentError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCKSTEP_CACHE", str(folder))
        yield folder


SPEC = EnvironmentSpec("3.7", ("six==1.16.0",))


@pytest.fixture(scope="module")
def environment(python37, cache):
    return provide(SPEC, say=print)


def test_its_packages_are_compiled_before_anything_imports_them(python37, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCKSTEP_CACHE", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    found = provide(SPEC, say=print)
    assert list(found.python.parents[1].glob("lib/*/site-packages/__pycache__/six.*.pyc"))


def test_it_has_the_python_and_the_packages_and_nothing_of_ours(environment, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))
    program = "import six, sys; print(sys.version_info[:2], six.__version__); import click"
    completed = run_child(
        [environment.python, "-c", program],
        environment_variables=inherited_variables(),
        folder=tmp_path,
        timeout_s=60,
    )
    assert completed.returncode == 1
    assert completed.output.splitlines()[0] == "(3, 7) 1.16.0"
    assert "No module named 'click'" in completed.output
    assert environment.packages == ("six==1.16.0",)
    assert environment.python_version.startswith("3.7.")


def test_the_second_time_it_is_there_in_no_time(environment):
    begin = time.monotonic()
    again = provide(SPEC, say=pytest.fail)
    assert again.from_cache
    assert again.python == environment.python
    assert time.monotonic() - begin < 10  # without load 0.1 s
    assert [one.digest for one in listed()] == [SPEC.digest]


def test_it_can_be_named_as_an_interpreter(environment):
    found = provide(EnvironmentSpec(interpreter=environment.python), say=pytest.fail)
    assert (found.python_version, found.packages) == (environment.python_version, ("six==1.16.0",))


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        ("six==1.16.7", "cannot be met together, or name a version that does not exist"),
        ("tensorflow==2.16.2", "there is no wheel of this release for this Python version"),
    ],
)
def test_what_cannot_be_installed_is_told_in_uv_s_words(environment, requirement, words):
    with pytest.raises(InputError) as raised:
        provide(EnvironmentSpec("3.7", (requirement,)), say=lambda line: None)
    assert words in str(raised.value)
    assert "  uv: " in str(raised.value)
    assert [one.digest for one in listed()] == [SPEC.digest]


@pytest.mark.parametrize(
    "broken",
    [
        {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple"},  # a closed port
        {"UV_DEFAULT_INDEX": "http://index.invalid/simple"},  # a name that no server knows
        dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9"),
        {"UV_OFFLINE": "1"},
    ],
    ids=["port", "name", "proxy", "offline"],
)
def test_no_network_is_told(python37, cache, tmp_path, monkeypatch, broken):
    monkeypatch.setenv("LOCKSTEP_CACHE", str(tmp_path))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    for name, value in broken.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="cannot be reached: check the network"):
        provide(SPEC, say=lambda line: None)


def test_a_wheel_of_one_s_own_is_installed(environment, tmp_path):
    (tmp_path / "mine.py").write_text("VALUE = 3")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "1.0"')
    subprocess.run(
        [find_uv(), "build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", tmp_path, tmp_path],
        check=True,
        timeout=300,
    )
    (wheel,) = tmp_path.glob("*.whl")
    found = provide(EnvironmentSpec("3.7", (str(wheel),)), say=print)
    assert found.packages == ("mine==1.0",)
