"""Child processes that are asked again and again: real ones, that answer, crash, hang, and lose their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lockstep.common.errors import InputError
from lockstep.environments import KeptChild, inherited_variables

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and process groups are tested here")

# Answers each line by its own number in a file of that name, or does what the line says.
PROGRAM = """
import os, sys, time
for line in iter(sys.stdin.readline, ""):
    print("asked for", line.strip(), flush=True)
    if line.startswith("die"):
        os._exit(3)
    if line.startswith("hang"):
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(600)
    with open(line.strip() + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(line.strip() + ".new", line.strip())
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def wait_for(condition, limit_s=20.0) -> bool:
    end = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


@pytest.fixture
def child(tmp_path):
    argv = [sys.executable, "-c", PROGRAM, tmp_path / "hanging"]
    kept = KeptChild(argv, environment_variables=inherited_variables(), folder=tmp_path)
    yield kept
    kept.end()


def ask(child, file, **options):
    return child.ask(str(file), answered=file.exists, timeout_s=options.pop("timeout_s", 60), **options)


def test_it_answers_again_and_again_and_is_one_process(child, tmp_path):
    said = []
    for name in ("a", "b", "c"):
        assert ask(child, tmp_path / name, say=said.append) is None
    assert len({(tmp_path / name).read_text() for name in "abc"}) == 1
    assert said[0] == f"asked for {tmp_path / 'a'}"
    assert child.lives
    child.end()
    assert not child.lives
    assert not is_alive(int((tmp_path / "a").read_text()))


def test_what_it_wrote_before_an_answer_belongs_to_what_was_asked(tmp_path):
    argv = [sys.executable, "-u", "-c", PROGRAM, tmp_path / "hanging"]  # -u: a line is written in pieces
    child = KeptChild(argv, environment_variables=inherited_variables(), folder=tmp_path)
    try:
        for number in range(100):
            said = []
            assert ask(child, tmp_path / str(number), say=said.append) is None
            assert said == [f"asked for {tmp_path / str(number)}"]
    finally:
        child.end()


def test_one_that_dies_is_told_with_what_it_wrote_since_it_was_asked(child, tmp_path):
    assert ask(child, tmp_path / "a") is None
    ended = child.ask("die", answered=lambda: False, timeout_s=60)
    assert (ended.returncode, ended.timed_out) == (3, False)
    assert ended.output == "asked for die\n"
    assert not child.lives
    again = child.ask("b", answered=lambda: False, timeout_s=60)
    assert again.returncode == 3, "who is asked after its end answers nothing, and nobody waits"


def test_one_that_takes_too_long_is_ended(child, tmp_path):
    ended = child.ask("hang", answered=lambda: False, timeout_s=1)
    assert ended.timed_out
    assert "time limit" in ended.ending
    assert not is_alive(int((tmp_path / "hanging").read_text()))


def test_it_is_ended_when_what_is_told_raises(child, tmp_path):
    with pytest.raises(ZeroDivisionError):
        child.ask("hang", answered=lambda: False, timeout_s=60, say=lambda line: 1 / 0)
    assert not child.lives


def test_one_that_cannot_be_started_is_told():
    with pytest.raises(InputError, match="could not be started"):
        KeptChild(["/nowhere/python"], environment_variables={}, folder=Path())


OUTER = """
import os, signal, sys
from pathlib import Path
from lockstep.environments import KeptChild
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has SIGINT ignored in what it starts with &
folder = Path(sys.argv[2])
child = KeptChild([sys.executable, "-c", sys.argv[1], folder / "hanging"], environment_variables=os.environ,
                  folder=folder)
child.ask(str(folder / "a"), answered=(folder / "a").exists, timeout_s=60)
print("idle", flush=True)
sys.stdin.readline()
try:
    child.ask("hang", answered=lambda: False, timeout_s=600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise SystemExit(130)
"""


@pytest.fixture
def outer(tmp_path):
    """A process with a child that has been asked once and is idle."""
    argv = [sys.executable, "-c", OUTER, PROGRAM, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "idle\n"
        yield process
        process.kill()


def test_ctrl_c_while_it_is_asked_ends_it(outer, tmp_path):
    outer.stdin.write("go on\n")
    outer.stdin.flush()
    pid = tmp_path / "hanging"
    assert wait_for(lambda: pid.exists() and pid.read_text())
    assert is_alive(int(pid.read_text()))
    outer.send_signal(signal.SIGINT)
    assert outer.stdout.readline() == "interrupted\n"
    assert outer.wait(timeout=30) == 130
    assert not is_alive(int(pid.read_text()))


def test_one_whose_parent_is_killed_ends_by_itself(outer, tmp_path):
    pid = int((tmp_path / "a").read_text())
    assert is_alive(pid)
    outer.kill()
    assert wait_for(lambda: not is_alive(pid))


def test_a_fork_lets_go_of_it_and_the_parent_keeps_it(child, tmp_path):
    assert ask(child, tmp_path / "a") is None
    forked = os.fork()
    if not forked:
        child.leave_to_parent()
        os._exit(1 if child.lives else 0)
    assert os.waitpid(forked, 0)[1] == 0
    assert ask(child, tmp_path / "b") is None
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


def test_another_thread_than_the_main_one_may_ask(child, tmp_path):
    thread = threading.Thread(target=ask, args=(child, tmp_path / "a"))
    thread.start()
    thread.join(60)
    assert (tmp_path / "a").exists()
