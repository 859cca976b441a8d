"""Who drives a study."""

import datetime as dt
import os
import socket
import subprocess
import sys

from nasctl.tuning.folders import DrivenFolder, Owner
from nasctl.tuning.owners import living, lock_holders


def test_the_owner_of_a_study_is_a_living_process():
    now, here = dt.datetime.now(dt.UTC), socket.gethostname()
    assert living(None) == ""
    assert living(Owner(here, os.getpid(), now)) == f"process {os.getpid()}"
    long_ago = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    assert living(Owner(here, os.getpid(), long_ago)) == ""  # the number was given to another since
    assert living(Owner("elsewhere", 3, now)) == "process 3 on elsewhere"
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert living(Owner(here, ended.pid, now)) == ""
    assert living(Owner(here, -1, now)) == ""


def test_who_holds_a_lock_is_seen_even_once_its_file_is_gone(tmp_path):
    folder = DrivenFolder(tmp_path, "s")
    assert lock_holders(tmp_path) == {}
    folder.acquire()
    assert lock_holders(tmp_path) == {"s": {os.getpid()}}
    (folder.path / "lock").unlink()
    assert lock_holders(tmp_path) == {"s": {os.getpid()}}
    folder.release()
    assert lock_holders(tmp_path) == {}
