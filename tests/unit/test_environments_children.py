"""Child processes: real ones, with grandchildren, that are interrupted, hang, crash and talk too much."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lockstep.common.errors import InputError
from lockstep.environments import Completed, KeptChild, children, inherited_variables, run_child
from lockstep.environments.output import TAIL_BYTES, Reading
from lockstep.environments.processes import Group

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and process groups are tested here")

# Starts a grandchild in the way of the test, tells its number, and then waits for ever.
PARENT = """
import subprocess, sys, time
grandchild = subprocess.Popen(["sleep", "600"], start_new_session={new_session})
open(sys.argv[1], "w").write(str(grandchild.pid))
print("started", flush=True)
time.sleep({wait_s})
"""


def run(program: str, *arguments, timeout_s=60.0, say=None, folder=Path()) -> Completed:
    argv = [sys.executable, "-c", program, *map(str, arguments)]
    return run_child(argv, environment_variables=inherited_variables(), folder=folder, timeout_s=timeout_s, say=say)


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc").is_dir():
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def wait_for(condition, limit_s=20.0) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


@pytest.fixture
def grandchild(tmp_path):
    """The file that the grandchild's number is written to; it is ended afterwards even if the test fails."""
    file = tmp_path / "pid"
    yield file
    if file.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


def test_both_streams_are_captured_in_the_order_of_writing(tmp_path):
    lines: list[str] = []
    program = "import os; os.write(1, b'one\\n'); os.write(2, b'two\\n'); os.write(1, b'\\xff three')"
    completed = run(program, say=lines.append)
    assert (completed.returncode, completed.output) == (0, "one\ntwo\n\ufffd three")
    assert lines == ["one", "two", "\ufffd three"]
    assert completed.succeeded


def test_a_failure_is_data(tmp_path):
    completed = run("import os; print(os.getcwd()); raise SystemExit(3)", folder=tmp_path)
    assert (completed.returncode, completed.signal, completed.succeeded) == (3, None, False)
    assert completed.output.strip() == str(tmp_path.resolve())
    assert completed.ending == "ended with status 3"


def test_only_the_end_of_a_long_output_is_kept():
    completed = run("import os\nfor i in range(2000): os.write(1, b'%06d ' % i + b'x' * 992 + b'\\n')")
    first, _, rest = completed.output.partition("\n")
    assert first == f"... ({2_000_000 - TAIL_BYTES:,} bytes before this are left out)"
    assert len(rest) == TAIL_BYTES
    assert rest.endswith("x\n")
    assert "001999 " in rest


def test_the_memory_for_output_is_bounded_though_nobody_takes_it_quickly():
    reading_end, writing_end = os.pipe()
    written = [0]

    def write():
        with contextlib.suppress(OSError):
            while written[0] < 16 * 2**20:
                written[0] += os.write(writing_end, b"x" * 65536)

    reading = Reading(os.fdopen(reading_end, "rb", buffering=0))
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    time.sleep(0.5)
    assert 0 < written[0] < 4 * 2**20  # the writer waits
    while writer.is_alive():
        reading.take(None, 0.01)
    os.close(writing_end)
    reading.close()
    assert written[0] >= 16 * 2**20
    assert len(reading.text) < TAIL_BYTES + 100


def test_a_signal_is_told_by_name():
    completed = run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (completed.signal, completed.ending) == ("SIGSEGV", "was ended by SIGSEGV")


@pytest.mark.parametrize("program", ["import os; os.kill(os.getpid(), 9)", "raise SystemExit(137)"])
def test_a_kill_is_explained_by_memory(program):
    assert "memory" in run(program).ending


def test_a_program_that_is_not_there():
    with pytest.raises(InputError, match=r"nowhere/python could not be started in .*: No such file"):
        run_child(["/nowhere/python"], environment_variables={}, folder=Path(), timeout_s=1)


def test_standard_input_is_empty():
    assert run("import sys; print(repr(sys.stdin.read()))").output == "''\n"


def test_a_child_that_closes_its_streams_is_still_waited_for():
    completed = run("import os, time\nfor i in (0, 1, 2): os.close(i)\ntime.sleep(0.4); os._exit(5)")
    assert completed.returncode == 5
    assert completed.duration_s >= 0.4


@pytest.mark.parametrize("new_session", [False, True])
def test_a_time_limit_ends_grandchildren_too(grandchild, new_session):
    if new_session and not Path("/proc").is_dir():
        pytest.skip("without /proc a session of its own cannot be found")
    begin = time.monotonic()
    completed = run(PARENT.format(new_session=new_session, wait_s=600), grandchild, timeout_s=1.0)
    assert time.monotonic() - begin < 20
    assert completed.timed_out
    assert not completed.succeeded
    assert completed.ending.startswith("was still running after its time limit of 1 s")
    assert completed.output == "started\n"
    assert not is_alive(int(grandchild.read_text()))


def test_what_a_child_leaves_behind_is_ended_and_does_not_hold_the_call_up(grandchild):
    begin = time.monotonic()
    completed = run(PARENT.format(new_session=False, wait_s=0), grandchild)
    assert time.monotonic() - begin < 10
    assert (completed.returncode, completed.output) == (0, "started\n")
    assert not is_alive(int(grandchild.read_text()))


def test_the_check_of_life_can_tell_the_living(grandchild):
    alone = subprocess.Popen(["sleep", "600"])
    assert is_alive(alone.pid)
    alone.kill()
    alone.wait()
    assert not is_alive(alone.pid)


def test_one_that_ignores_the_request_is_killed(monkeypatch):
    monkeypatch.setattr(children, "GRACE_S", 0.3)
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(600)"
    )
    completed = run(program, timeout_s=1.0)
    assert completed.timed_out
    assert completed.returncode == -signal.SIGKILL


def test_an_exception_of_say_ends_the_child(grandchild):
    def say(line: str) -> None:
        raise RuntimeError(line)

    with pytest.raises(RuntimeError, match="started"):
        run(PARENT.format(new_session=False, wait_s=600), grandchild, say=say)
    assert not is_alive(int(grandchild.read_text()))


def test_no_zombie_is_left_and_the_number_stays_taken_until_the_end(monkeypatch):
    seen: list[tuple[int, bool]] = []
    end = Group.end

    def noting_end(self, *arguments, **options):
        # The state of the leader when its group is about to be signalled: ended, but not yet waited for.
        seen.append((self._leader.pid, self._leader.returncode is None and self.has_ended()))
        end(self, *arguments, **options)

    monkeypatch.setattr(Group, "end", noting_end)
    assert run("print(1)").succeeded
    ((pid, waits),) = seen
    assert waits or not hasattr(os, "waitid")
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_it_works_where_the_system_waits_for_children_itself():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert run("print(1)").output == "1\n"
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_it_works_in_another_thread_and_leaves_signals_alone():
    found: list[Completed] = []
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: found.append(run("print(1)")))
    thread.start()
    thread.join(60)
    assert found[0].output == "1\n"
    run("print(2)")
    assert signal.getsignal(signal.SIGTERM) is before


OUTER = """
import os, signal, sys
from pathlib import Path
from lockstep.environments import children, run_child
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has SIGINT ignored in what it starts with &
signal.signal(signal.SIGHUP, signal.SIG_DFL)
children.GRACE_S = float(sys.argv[3])
try:
    run_child([sys.executable, "-c", sys.argv[2], sys.argv[1]], environment_variables=os.environ, folder=Path("."),
              timeout_s=600, say=lambda line: print(line, flush=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise SystemExit(130)
"""


@pytest.fixture
def start_outer(grandchild):
    """Starts a process that runs a child which has a grandchild; it is ended afterwards even if the test fails."""
    started = []

    def start(ignore: str = "", grace_s: float = 3.0) -> subprocess.Popen:
        inner = ignore + PARENT.format(new_session=False, wait_s=600)
        argv = [sys.executable, "-c", OUTER, str(grandchild), inner, str(grace_s)]
        outer = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(outer)
        assert outer.stdout.readline() == "started\n"
        return outer

    yield start
    for outer in started:
        if outer.poll() is None:
            outer.terminate()
        with outer:
            pass


@pytest.mark.parametrize(
    ("number", "status", "output"),
    [
        (signal.SIGINT, 130, "interrupted\n"),
        (signal.SIGTERM, -signal.SIGTERM, ""),
        (signal.SIGHUP, -signal.SIGHUP, ""),
    ],
)
def test_a_signal_to_the_parent_ends_all_and_then_does_what_it_always_does(
    grandchild, start_outer, number, status, output
):
    outer = start_outer()
    pid = int(grandchild.read_text())
    assert is_alive(pid)
    outer.send_signal(number)
    told, errors = outer.communicate(timeout=30)
    assert (outer.returncode, told) == (status, output), errors
    assert not is_alive(pid)


def test_a_second_interruption_does_not_wait_for_the_grace(grandchild, start_outer):
    outer = start_outer("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n", grace_s=120)
    begin = time.monotonic()
    outer.send_signal(signal.SIGINT)
    time.sleep(0.5)
    outer.send_signal(signal.SIGINT)
    outer.communicate(timeout=30)
    assert time.monotonic() - begin < 30
    assert outer.returncode == 130
    assert not is_alive(int(grandchild.read_text()))


# Hangs as the worst of programs do: a regular expression holds Python's lock for ever, SIGTERM is ignored.
HANGING = """
import os, re, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen(["sleep", "600"], start_new_session=True)
open(sys.argv[1] + ".new", "w").write(f"{os.getpid()} {grandchild.pid}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
re.match("(a|aa)+$", "a" * 200 + "b")
"""
PARENTS = {
    "plain": "import os, sys\n{run}",
    # The line to the child must not be held by a fork that lives on.
    "with a fork": "import os, sys, time\n"
    "import threading\n"
    "def fork():\n"
    "    while not os.path.exists(sys.argv[2]): time.sleep(0.02)\n"
    "    pid = os.fork()\n"
    "    if not pid: time.sleep(60); os._exit(0)\n"
    "    open(sys.argv[2] + '.fork', 'w').write(str(pid))\n"
    "threading.Thread(target=fork).start()\n{run}",
    # The parent-death signal would end the child with the thread that started it.
    "from a thread": "import os, sys, threading\ndef go():\n    {run}\nthreading.Thread(target=go).start()",
}
RUN = (
    "from pathlib import Path; from lockstep.environments import run_child; "
    "run_child([sys.executable, '-c', sys.argv[1], sys.argv[2]], environment_variables=os.environ, "
    "folder=Path('.'), timeout_s=600)"
)


@pytest.mark.parametrize("kind", PARENTS)
def test_a_hanging_child_ends_with_a_parent_that_is_killed(tmp_path, kind):
    file = tmp_path / "pids"
    argv = [sys.executable, "-c", PARENTS[kind].format(run=RUN), HANGING, str(file)]
    with subprocess.Popen(argv) as parent:
        assert wait_for(file.exists)
        pids = [int(pid) for pid in file.read_text().split()]
        forked = Path(f"{file}.fork")
        if kind == "with a fork":
            assert wait_for(lambda: forked.exists() and forked.read_text())
        try:
            assert all(map(is_alive, pids))
            parent.kill()
            parent.wait()
            assert wait_for(lambda: not any(map(is_alive, pids)), 10)
        finally:
            for pid in [*pids, *([int(forked.read_text())] if forked.exists() else [])]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_what_a_child_leaves_behind_ends_with_it_though_the_parent_is_stopped(tmp_path):
    # Nobody else may be there to end it: the parent can be killed before it has seen the end of the child.
    file = tmp_path / "pid"
    program = PARENT.format(new_session=False, wait_s=0.5)
    argv = [sys.executable, "-c", f"import os, sys\n{RUN}", program, str(file)]
    with subprocess.Popen(argv) as parent:
        assert wait_for(lambda: file.exists() and file.read_text())
        parent.send_signal(signal.SIGSTOP)
        try:
            assert wait_for(lambda: not is_alive(int(file.read_text())))
        finally:
            parent.kill()


def test_a_child_that_was_started_in_a_thread_outlives_the_thread(tmp_path):
    started: list[KeptChild] = []
    program = "import sys\nfor line in sys.stdin: open(line.strip(), 'w').close()"

    def start():
        argv = [sys.executable, "-c", program]
        started.append(KeptChild(argv, environment_variables=inherited_variables(), folder=tmp_path))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    time.sleep(0.3)
    answer = tmp_path / "answer"
    assert started[0].ask(str(answer), answered=answer.exists, timeout_s=20) is None
    started[0].end()


def test_the_program_gets_the_variables_and_signals_that_it_would_get_alone(monkeypatch):
    program = (
        "import json, os, signal; names = ('SIGPIPE', 'SIGXFSZ', 'SIGINT', 'SIGTERM', 'SIGCHLD')\n"
        "print(json.dumps([sorted(os.environ), [str(signal.getsignal(getattr(signal, n))) for n in names],"
        " [fd for fd in os.listdir('/proc/self/fd') if int(fd) > 3], sorted(signal.pthread_sigmask(0, []))]))"
    )
    argv = [sys.executable, "-I", "-c", program]
    variables = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    found = run_child(argv, environment_variables=variables, folder=Path(), timeout_s=60)
    alone = subprocess.run(argv, env=variables, capture_output=True, text=True, check=True)
    assert json.loads(found.output) == json.loads(alone.stdout)
    assert json.loads(found.output)[2] == []
    del variables["LC_ALL"]  # Python sets LC_CTYPE then, for itself and whatever it starts; a shell does not
    found = run_child(["/usr/bin/env"], environment_variables=variables, folder=Path(), timeout_s=60)
    assert found.output == f"PATH={os.defpath}\n"


def test_what_would_lead_another_python_to_our_packages_is_not_inherited():
    said: list[str] = []
    base = {
        "PYTHONHOME": "/a",
        "PYTHONPATH": "/b",
        "VIRTUAL_ENV": "/c",
        "__PYVENV_LAUNCHER__": "/d",
        "PYTHONSTARTUP": "/e",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    found = inherited_variables({"PYTHONHASHSEED": "0"}, base=base, say=said.append)
    assert found == {
        "PYTHONDONTWRITEBYTECODE": "1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "PYTHONNOUSERSITE": "1",
        "PYTHONHASHSEED": "0",
    }
    assert len(said) == 1
    assert said[0].startswith("PYTHONPATH is not passed on")
    assert inherited_variables({"PYTHONPATH": "/mine"}, base=base, say=said.append)["PYTHONPATH"] == "/mine"
    assert len(said) == 1
