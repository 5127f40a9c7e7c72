"""Importing Lockstep must cost nothing: no framework comes with it."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import lockstep

FRAMEWORKS = ("tensorflow", "keras", "tf_slim", "torch")
ROOT = Path(lockstep.__file__).parent
CORE = (
    "bisecting",
    "causes",
    "check",
    "common",
    "compare",
    "config",
    "files",
    "ground",
    "localise",
    "optimizers",
    "program",
    "report",
    "results",
    "subjects",
    "switching",
    "traces",
)


def _modules(package):
    yield f"lockstep.{package}"
    for found in pkgutil.walk_packages([str(ROOT / package)], f"lockstep.{package}."):
        yield found.name


def _loaded_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*[m for m in {FRAMEWORKS!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import lockstep",
        "import lockstep.check.verification",
        "import lockstep.subjects.declared",
        "import lockstep.switching.asking",
        "import lockstep; lockstep.torch",
    ],
)
def test_importing_lockstep_imports_no_framework(statement):
    assert _loaded_after(statement) == set()


def test_importing_the_core_imports_no_framework():
    named = [name for package in CORE for name in _modules(package)]
    assert len(named) > 100
    assert _loaded_after("; ".join(f"import {name}" for name in named)) == set()


def test_the_top_level_holds_packages_alone():
    files = {path.name for path in ROOT.iterdir() if path.is_file()}
    assert files == {"__init__.py", "__main__.py", "py.typed"}


def test_every_package_is_in_a_layer():
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 has no tomllib; the newest one runs this")
    import tomllib

    contracts = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = [
        name.strip() for contract in contracts for layer in contract.get("layers", ()) for name in layer.split("|")
    ]
    packages = [path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()]
    assert sorted(layers) == sorted(packages)


def test_this_check_can_fail():
    assert "tensorflow" in _loaded_after("import lockstep; lockstep.tf1")


def test_every_public_name_resolves():
    for name in lockstep.__all__:
        assert getattr(lockstep, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'verfy'"):
        lockstep.verfy  # noqa: B018
