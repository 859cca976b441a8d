"""Who drives a study."""

import datetime as dt
import json
import os
import socket
import subprocess
import sys
import threading

import filelock
import pytest

from nasctl.tuning.folders import DrivenFolder
from nasctl.tuning.owners import driver, lock_holders


@pytest.fixture
def folder(tmp_path):
    folder = DrivenFolder(tmp_path, "s")
    folder.path.mkdir(parents=True)
    return folder


def recorded(folder, host, pid, start):
    known = {"host": host, "pid": pid, "start": start.isoformat()}
    (folder.path / "owner.json").write_text(json.dumps(known), "utf-8")
    return folder


def test_the_owner_of_a_study_is_a_living_process(folder):
    now, here = dt.datetime.now(dt.UTC), socket.gethostname()
    assert driver(folder) == ""
    assert driver(recorded(folder, here, os.getpid(), now)) == f"process {os.getpid()}"
    long_ago = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    assert driver(recorded(folder, here, os.getpid(), long_ago)) == ""  # the number was given to another since
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert driver(recorded(folder, here, ended.pid, now)) == ""
    assert driver(recorded(folder, here, -1, now)) == ""


def test_on_another_machine_or_in_a_container_that_is_gone_the_lock_tells(folder):
    recorded(folder, "elsewhere", os.getpid(), dt.datetime.now(dt.UTC))
    assert driver(folder) == ""
    other = DrivenFolder(folder.root, "s")
    other.acquire()
    recorded(folder, "elsewhere", 3, dt.datetime.now(dt.UTC))
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
    (folder.path / "lock").unlink()
    assert lock_holders(tmp_path) == {"s": {os.getpid()}}
    folder.release()
    assert lock_holders(tmp_path) == {}
