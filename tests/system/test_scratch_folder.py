"""Hidden folders of unfinished files: those of living owners stay, those of dead ones go."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hrnet_deploy.system import scratch_folder as module
from hrnet_deploy.system.scratch_folder import PREFIX, scratch_folder, sweep

OWNER = """
import sys
from pathlib import Path
from hrnet_deploy.system.scratch_folder import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "part").write_bytes(b"half")
    print(flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner(tmp_path):
    """Another process with a scratch folder in `tmp_path`, killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"\n"
        yield process
        process.kill()


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_folder_is_empty_hidden_and_gone_at_the_end(tmp_path):
    with scratch_folder(tmp_path) as folder:
        assert (list(folder.iterdir()), folder.parent.parent) == ([], tmp_path)
        assert [name.startswith(PREFIX) for name in names(tmp_path)] == [True]
        (folder / "part").write_bytes(b"half")
    assert names(tmp_path) == []


def test_a_living_owner_keeps_its_folder_and_a_killed_one_does_not(tmp_path, owner):
    sweep(tmp_path)
    (kept,) = names(tmp_path)
    assert (tmp_path / kept / "new/part").read_bytes() == b"half"
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert names(tmp_path) == [kept]
    with scratch_folder(tmp_path):
        assert kept not in names(tmp_path)
    assert names(tmp_path) == []


def test_the_first_write_of_a_process_sweeps_and_others_do_not_list_the_folder(tmp_path):
    with scratch_folder(tmp_path):
        pass
    (tmp_path / f"{module._own_prefix()}dead").mkdir()
    with scratch_folder(tmp_path):
        assert len(names(tmp_path)) == 2
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_threads_of_one_process_leave_each_other_alone(tmp_path):
    def work(number):
        for _ in range(20):
            with scratch_folder(tmp_path) as folder:
                (folder / "part").write_bytes(bytes([number]))
                sweep(tmp_path)
                assert (folder / "part").read_bytes() == bytes([number])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert names(tmp_path) == []


@pytest.mark.parametrize(("age_s", "stays"), [(0, True), (3600, True), (25 * 3600, False)])
def test_what_another_host_left_stays_for_a_day_after_its_last_change(tmp_path, age_s, stays):
    folder = tmp_path / f"{PREFIX}elsewhere-abc"
    (folder / "new").mkdir(parents=True)
    (folder / "new/part").write_bytes(b"half")
    old = time.time() - 48 * 3600
    os.utime(folder, (old, old))
    os.utime(folder / "new", (old, old))
    os.utime(folder / "new/part", (time.time() - age_s,) * 2)
    sweep(tmp_path)
    assert folder.exists() == stays
    sweep(tmp_path, foreign_age_s=0)
    assert not folder.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs owners of files")
def test_names_of_other_users_files_and_links_stay(tmp_path, monkeypatch):
    theirs, link, file = (tmp_path / f"{module._own_prefix()}{name}" for name in ("theirs", "link", "file"))
    (tmp_path / "target").mkdir()
    (tmp_path / "target/mine").touch()
    link.symlink_to(tmp_path / "target")
    file.touch()
    sweep(tmp_path)
    assert (tmp_path / "target/mine").exists()
    theirs.mkdir()
    uid = os.geteuid()
    monkeypatch.setattr(module.os, "geteuid", lambda: uid + 1)
    sweep(tmp_path)
    assert all(os.path.lexists(each) for each in (theirs, link, file))


def test_a_lock_that_is_a_link_locks_and_creates_nothing(tmp_path):
    folder = tmp_path / f"{module._own_prefix()}trap"
    folder.mkdir()
    (folder / "lock").symlink_to(tmp_path / "created")
    sweep(tmp_path)
    assert not (tmp_path / "created").exists()


def test_a_file_system_without_locks_is_written_to_all_the_same(tmp_path, monkeypatch):
    def refused(_path):
        raise OSError(module.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module, "try_lock", refused)
    with scratch_folder(tmp_path) as folder:
        sweep(tmp_path)
        assert folder.exists()
    assert names(tmp_path) == []


def test_a_folder_swept_before_it_is_locked_is_created_again(tmp_path, monkeypatch):
    real, seen = module.try_lock, []

    def stolen(path):
        seen.append(path)
        if len(seen) == 1:
            path.parent.rmdir()
        return None if len(seen) == 2 else real(path)

    monkeypatch.setattr(module, "try_lock", stolen)
    with scratch_folder(tmp_path) as folder:
        assert folder.exists()
    assert len(seen) == 3
