"""Importing Lockstep must cost nothing: no framework comes with it."""

import subprocess
import sys

import pytest

FRAMEWORKS = ("tensorflow", "keras", "tf_slim")
CORE = (
    "align",
    "switching.attribution",
    "checkpoints.mapping",
    "checkpoints.formats",
    "compare",
    "distributions",
    "recorder.fill",
    "recorder.folder",
    "metrics",
    "report.model",
    "steps.checkpoint",
    "steps.numbers",
    "tolerance",
    "trace",
    "transforms",
)


def _loaded_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*[m for m in {FRAMEWORKS!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    ["import lockstep", "import lockstep.verification", "import lockstep.subjects", "import lockstep.switching.asking"],
)
def test_importing_lockstep_imports_no_framework(statement):
    assert _loaded_after(statement) == set()


def test_importing_the_core_imports_no_framework():
    assert _loaded_after("; ".join(f"import lockstep.{name}" for name in CORE)) == set()


def test_this_check_can_fail():
    assert "tensorflow" in _loaded_after("import lockstep; lockstep.tf1")


def test_every_public_name_resolves():
    import lockstep

    for name in lockstep.__all__:
        assert getattr(lockstep, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'verfy'"):
        lockstep.verfy  # noqa: B018
