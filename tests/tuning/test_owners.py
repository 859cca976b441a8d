"""Who drives a study."""

import datetime as dt
import json
import os
import socket
import subprocess
import sys
import threading

import filelock
import psutil
import pytest

from nasctl.tuning import owners
from nasctl.tuning.folders import DrivenFolder
from nasctl.tuning.owners import driver, lock_holders


@pytest.fixture
def folder(tmp_path):
    folder = DrivenFolder(tmp_path, "s")
    folder.path.mkdir(parents=True)
    return folder


def recorded(folder, host, pid, created=None):
    start = dt.datetime.now(dt.UTC).isoformat()
    known = {"host": host, "pid": pid, "start": start, "created": created}
    (folder.path / "owner.json").write_text(json.dumps(known), "utf-8")
    return folder


def test_the_owner_of_a_study_is_a_living_process(folder):
    here, began = socket.gethostname(), psutil.Process().create_time()
    assert driver(folder) == ""
    assert driver(recorded(folder, here, os.getpid(), began)) == f"process {os.getpid()}"
    for another in (began - 3600, began + 3600, None):  # the number was given to another since
        assert driver(recorded(folder, here, os.getpid(), another)) == ""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert driver(recorded(folder, here, ended.pid, began)) == ""
    assert driver(recorded(folder, here, -1, began)) == ""


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_was_set_makes_no_other_process(folder, monkeypatch, hours, seen):
    if not seen:  # as where there is no /proc
        monkeypatch.setattr(owners, "PROCESSES", folder.root / "nothing")
    folder.acquire()
    owner = folder.owner()
    recorded(folder, owner.host, owner.pid, owner.created + 3600 * hours)
    assert driver(folder) == f"process {os.getpid()}"
    recorded(folder, owner.host, os.getppid(), 0.0)  # another one has the lock
    assert driver(folder) == ("" if seen else f"process {os.getppid()}")
    folder.release()
    recorded(folder, owner.host, owner.pid, owner.created + 3600 * hours)
    assert driver(folder) == ""


def test_on_another_machine_or_in_a_container_that_is_gone_the_lock_tells(folder):
    recorded(folder, "elsewhere", os.getpid())
    assert driver(folder) == ""
    other = DrivenFolder(folder.root, "s")
    other.acquire()
    recorded(folder, "elsewhere", 3)
    assert driver(folder) == "process 3 on elsewhere"
    (folder.path / "lock").unlink()
    (folder.path / "lock").mkdir()  # a lock that cannot be looked at
    assert driver(folder) == "process 3 on elsewhere"


def test_whoever_looks_at_a_lock_does_not_keep_a_scheduler_from_it(folder):
    look = filelock.FileLock(folder.path / "lock", thread_local=False)
    look.acquire()
    threading.Timer(0.1, look.release).start()
    folder.acquire()
    assert folder.locked()
    folder.release()
    assert not folder.locked()


def test_who_holds_a_lock_is_seen_even_once_its_file_is_gone(tmp_path, folder):
    assert lock_holders(tmp_path) == {}
    folder.acquire()
    assert lock_holders(tmp_path) == {"s": {os.getpid()}}
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert lock_holders(link) == {"s": {os.getpid()}}
    (folder.path / "lock").unlink()
    assert lock_holders(tmp_path) == {"s": {os.getpid()}}
    folder.release()
    assert lock_holders(tmp_path) == {}
