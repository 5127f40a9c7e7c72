"""`make kills`, for a handful of moments of what takes seconds; the rest takes an hour."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lockstep.ground import claims

ROOT = Path(__file__).parents[2]
KILLS = [sys.executable, str(ROOT / "tools/kills.py")]

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")


def run(*arguments):
    done = subprocess.run([*KILLS, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_handful_of_kills_leaves_nothing():
    status, told = run("--count", "8", "--seed", "5", "--only", "environment", "--only", "eviction")
    assert status == 0, told
    assert told.splitlines()[-1] == "8 and 0 leftovers"


@pytest.fixture
def kills(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import kills

    return kills


def test_a_process_and_a_folder_that_are_left_are_found_and_removed(kills, tmp_path, monkeypatch):
    monkeypatch.setattr(kills, "_GONE_WITHIN_S", 0.1)
    left = subprocess.Popen(["sleep", "600"], env={kills._TOKEN: "mine"})
    try:
        assert kills._left("other") == []
        assert kills._left("mine") == ["sleep 600 "]
        assert left.wait(timeout=10) == -signal.SIGKILL
    finally:
        left.kill()
        left.wait()
    bench = kills.Bench(tmp_path, kills.random.Random(1))
    unfinished = ["tmp/lockstep-1-00000000", "out/.trace.partial-1", "cache/traces/.k.partial-1-00000000"]
    for name in (*unfinished, "cache/environments/locks", "cache/environments/abc/venv-1"):
        (tmp_path / name).mkdir(parents=True)
    assert sorted(bench._files_left()) == sorted([*unfinished, "cache/environments/abc"])
    assert list(bench._files_left()) == []


def test_what_is_wrong_with_an_end_is_told(kills):
    def conduct(status, output=""):
        return [fault.split(":")[0] for fault in kills._conduct(status, signal.SIGTERM, output, early=False)]

    assert conduct(143) == conduct(0) == conduct(-signal.SIGTERM) == []
    assert conduct(None) == ["still running 60 s after SIGTERM"]
    assert conduct(1) == ["status 1 after SIGTERM"]
    assert conduct(143, "Traceback (most recent call last)") == ["a traceback after SIGTERM"]


@pytest.mark.release
def test_it_can_fail(tmp_path, monkeypatch):
    # Without the mend: nobody removes what was killed.
    program = (
        f"import sys, runpy; sys.path.insert(0, {str(ROOT / 'tools')!r}); sys.argv = ['kills.py', *sys.argv[1:]]\n"
        f"runpy.run_path({str(ROOT / 'tools/kills.py')!r}, run_name='__main__')"
    )
    broken = tmp_path / "sitecustomize.py"
    broken.write_text(
        "import lockstep.ground.claims as claims, lockstep.environments.store as store\n"
        "claims.reclaim = lambda *_: None\nstore.reclaim = lambda: None\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(claims.__file__).parents[2]}")
    done = subprocess.run(
        [sys.executable, "-c", program, "--count", "12", "--seed", "5", "--only", "environment"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "left: cache/environments/" in done.stdout
