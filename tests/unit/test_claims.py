"""Folders for what is not finished: whose they are, and that they go with their owner or with the next run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lockstep.common import workspace
from lockstep.common.errors import InputError
from lockstep.elsewhere import trace_cache
from lockstep.environments import store
from lockstep.files.checkpoints.formats import Staging
from lockstep.ground import claims, locks
from lockstep.ground.folder import TraceReader, TraceWriter

OWNER = """
import os, sys, time
from lockstep.ground import claims
claim = claims.beside(sys.argv[1]) if len(sys.argv) > 1 else claims.temporary()
open(claim.path("half"), "w").write("half")
os.mkdir(claim.path("folder"))
print(claim.name, flush=True)
time.sleep(600)
"""


@pytest.fixture
def owner(tmp_path):
    """Starts a process that makes a folder beside a target, and tells which."""
    started = []

    def start(*arguments):
        argv = [sys.executable, "-c", OWNER, *map(str, arguments)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
        started.append(process)
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_stays_while_its_owner_lives_and_goes_with_the_next_one_after_it(owner, tmp_path):
    process, folder = owner(tmp_path / "target")
    assert folder.name.startswith(f".target.partial-{process.pid}-")
    for _ in range(2):
        with claims.beside(str(tmp_path / "another")) as claim:
            assert names_in(tmp_path) == sorted([folder.name, Path(claim.name).name])
    process.kill()
    process.wait()
    with claims.beside(str(tmp_path / "another")):
        assert not folder.exists()
    assert names_in(tmp_path) == []


def test_a_temporary_folder_likewise(owner, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    process, folder = owner()
    assert claims.TEMPORARY.match(folder.name)
    workspace.temporary().remove()
    assert folder.exists()
    process.kill()
    process.wait()
    workspace.temporary().remove()
    assert names_in(tmp_path) == []


def test_it_goes_with_its_last_use(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    claim = workspace.temporary()
    assert len(names_in(tmp_path)) == 1
    del claim
    assert names_in(tmp_path) == []


def test_the_number_of_a_living_process_protects_nothing(tmp_path):
    # Numbers are used again: the one in the name may be anybody's by now.
    left = tmp_path / f".t.partial-{os.getpid()}-00000000"
    left.mkdir()
    (left / claims.OWNER).write_text("{}")
    (left / "half").touch()
    claims.reclaim(str(tmp_path), claims.PARTIAL)
    assert not left.exists()


def test_what_was_killed_before_it_said_whose_it_is_goes_too(tmp_path):
    (tmp_path / ".t.partial-1-00000000").mkdir()
    claims.reclaim(str(tmp_path), claims.PARTIAL)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("name", [".t.partial-x", "t.partial-1-00000000", "lockstep-notes", ".git"])
def test_what_has_another_name_is_nobodys_leftover(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").touch()
    for kind in (claims.PARTIAL, claims.TEMPORARY):
        claims.reclaim(str(tmp_path), kind)
    assert names_in(tmp_path) == [name]


def test_a_link_is_not_followed(tmp_path):
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / claims.OWNER).touch()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "lockstep-1-00000000").symlink_to(place)
    claims.reclaim(str(tmp_path / "here"), claims.TEMPORARY)
    assert (place / claims.OWNER).exists()


def test_earlier_versions_left_folders_without_a_lock_which_go_if_no_process_has_their_number(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    for pid in (child.pid, os.getpid()):
        (tmp_path / f".t.partial-{pid}").mkdir()
        (tmp_path / f".t.partial-{pid}" / "tensors").touch()
    claims.reclaim(str(tmp_path), claims.PARTIAL)
    assert names_in(tmp_path) == [f".t.partial-{os.getpid()}"]


def test_where_the_file_system_has_no_locks_nothing_is_taken_for_abandoned(owner, tmp_path, monkeypatch):
    process, folder = owner(tmp_path / "t")
    process.kill()
    process.wait()

    def none(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks, "take", none)
    with claims.beside(str(tmp_path / "t")) as claim:
        assert Path(claim.name).exists()
        assert folder.exists()


@pytest.mark.parametrize("ends", ["os._exit(0)", "time.sleep(600)"])
def test_a_fork_neither_removes_the_folder_nor_keeps_its_lock(tmp_path, ends):
    program = OWNER.replace(
        "time.sleep(600)", f"child = os.fork()\nif child:\n  print(child, flush=True)\nelse:\n  {ends}"
    )
    program += "\ntime.sleep(600)\n"
    argv = [sys.executable, "-c", program, str(tmp_path / "t")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        folder, child = Path(process.stdout.readline().strip()), int(process.stdout.readline())
        try:
            time.sleep(0.2)
            claims.reclaim(str(tmp_path), claims.PARTIAL)
            assert folder.exists()
            process.kill()
            process.wait()
            claims.reclaim(str(tmp_path), claims.PARTIAL)
            assert not folder.exists()
        finally:
            process.kill()
            if "sleep" in ends:
                os.kill(child, signal.SIGKILL)


def test_what_was_being_replaced_gets_its_name_back(tmp_path):
    def write(value):
        with TraceWriter(str(tmp_path / "trace"), replace=True) as writer:
            writer.finish({"value": value})

    write("old")
    # Killed between the two renames.
    left = tmp_path / ".trace.partial-1-00000000"
    left.mkdir()
    (left / claims.OWNER).write_text(json.dumps({"pid": 1, "target": "trace"}))
    (left / "trace").mkdir()
    (tmp_path / "trace").rename(left / claims.REPLACED)
    with claims.beside(str(tmp_path / "other")):
        pass
    assert names_in(tmp_path) == ["trace"]
    assert TraceReader(str(tmp_path / "trace")).body["value"] == "old"
    write("new")
    assert TraceReader(str(tmp_path / "trace")).body["value"] == "new"


def test_a_name_as_long_as_names_may_be_has_a_folder_too(tmp_path):
    with workspace.beside(tmp_path / ("ä" * 127)) as place:
        assert place.is_dir()


def test_no_temporary_folder_is_a_sentence(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(InputError, match=r"a temporary folder cannot be made: No such file.*TMPDIR"):
        workspace.temporary()


def test_a_checkpoint_that_is_half_replaced_is_none(tmp_path, monkeypatch):
    for end in ("data-00000-of-00001", "index"):
        (tmp_path / f"m.ckpt.{end}").write_text("old")
    moved, move = [], Path.replace

    def killed(self, target):
        if moved:
            raise KeyboardInterrupt
        moved.append(target)
        return move(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with Staging(tmp_path / "m.ckpt", replace=True) as staging:
        for end in ("data-00000-of-00001", "index"):
            staging.file.with_name(f"m.ckpt.{end}").write_text("new")
        with pytest.raises(KeyboardInterrupt):
            staging.publish()
    # Tensors of the one and an index of the other could be taken for a checkpoint.
    assert names_in(tmp_path) == ["m.ckpt.data-00000-of-00001"]


def kept(folder, name, size=1000):
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with TraceWriter(str(place)) as writer:
        writer.finish({"filling": "x" * size})
    return place


READER = """
import sys
from pathlib import Path
from lockstep.elsewhere import trace_cache
held = trace_cache._taken(Path(sys.argv[1]), shared=True)
print("reading", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCKSTEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCKSTEP_TRACE_CACHE_GB", "1e-9")
    return tmp_path / "cache" / "traces"


def test_a_trace_that_another_process_reads_is_not_removed(cache):
    used, free = kept(cache, "used-1"), kept(cache, "free-1")
    argv = [sys.executable, "-c", READER, str(used)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "reading\n"
        trace_cache.make_room()
        assert (used.exists(), free.exists()) == (True, False)
        reader.communicate("\n")
    trace_cache.make_room()
    assert names_in(cache) == []


def test_nor_one_that_this_process_reads(cache):
    place = kept(cache, "used-1")
    held = trace_cache._taken(place, shared=True)
    assert trace_cache._taken(place, shared=True) is not None
    trace_cache.make_room()
    assert place.exists()
    held.release()
    trace_cache.make_room()
    assert not place.exists()


def test_a_trace_that_is_being_removed_is_not_found(cache):
    place = kept(cache, "key-1")
    held = trace_cache._taken(place, shared=False)
    assert trace_cache._taken(place, shared=True) is None
    assert trace_cache.find("key", cache) is None
    held.release()


def test_a_removal_that_was_killed_leaves_no_half_trace(cache):
    place = kept(cache, "key-1")
    program = (
        "import os, shutil, sys\n"
        "from lockstep.elsewhere import trace_cache\n"
        "shutil.rmtree = lambda *a, **o: os._exit(9)\n"
        "trace_cache.make_room()\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert not place.exists()
    assert len(names_in(cache)) == 1
    trace_cache.reclaim()
    assert names_in(cache) == []


def test_no_home_is_a_sentence_for_what_needs_one_and_nothing_for_the_rest(monkeypatch, caplog):
    monkeypatch.delenv("LOCKSTEP_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    trace_cache._say_unkept.cache_clear()
    with pytest.raises(InputError, match=r"no home folder.*LOCKSTEP_CACHE"):
        store.environments_folder()
    assert trace_cache.find("key", Path()) is None
    assert trace_cache.listed() == []
    trace_cache.make_room()
    store.reclaim()
    for _ in range(2):
        assert trace_cache.shelf() is None
    (record,) = caplog.records
    assert record.getMessage() == (
        "the trace is not kept for the next check: there is no home folder, and so no place for the cache; name a "
        "folder in LOCKSTEP_CACHE."
    )


def test_a_file_in_the_place_of_the_cache_is_told_and_no_obstacle(cache, caplog):
    trace_cache._say_unkept.cache_clear()
    cache.parent.touch()
    assert trace_cache.find("key", Path()) is None
    assert trace_cache.shelf() is None
    assert "cannot be made (Not a directory)" in caplog.text


def test_a_cache_that_may_only_be_read_is_read(cache, monkeypatch, caplog):
    trace_cache._say_unkept.cache_clear()
    place = kept(cache, "key-1")
    opened = os.open

    def read_only(path, flags, *more, **options):
        if str(path).startswith(str(cache)) and flags & (os.O_CREAT | os.O_RDWR):
            raise OSError(30, "Read-only file system")
        return opened(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(os, "access", lambda *_: False)
    held = trace_cache._taken(place, shared=True)
    assert held is not None
    assert trace_cache.shelf() is None
    assert "cannot be written to" in caplog.text
