import datetime as dt
import json
import os
import shutil
import socket
import subprocess
import sys

import pytest

from nasctl.errors import MachineError, StateMismatchError
from nasctl.files import file_sha256
from nasctl.tuning import folders
from nasctl.tuning.folders import DrivenFolder, Kept, check_room


@pytest.fixture
def folder(tmp_path):
    made = DrivenFolder(tmp_path, "s")
    yield made
    made.release()


def test_a_study_has_one_scheduler(tmp_path, folder):
    folder.acquire()
    with pytest.raises(StateMismatchError, match=rf"driven by another scheduler: process {os.getpid()} on .*, since 2"):
        DrivenFolder(tmp_path, "s").acquire()
    DrivenFolder(tmp_path, "other").acquire()
    folder.release()
    again = DrivenFolder(tmp_path, "s")
    again.acquire()
    again.release()


def test_the_lock_of_a_dead_scheduler_is_taken_over(tmp_path, folder):
    script = (
        "import sys, os, signal; from pathlib import Path; from nasctl.tuning.folders import DrivenFolder\n"
        "mine = DrivenFolder(Path(sys.argv[1]), 's'); mine.acquire(); print('mine', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(StateMismatchError, match=f"process {other.pid} on"):
            folder.acquire()
        other.kill()
    folder.acquire()
    assert json.loads((folder.path / "owner.json").read_text())["pid"] == os.getpid()


def test_a_study_says_who_owns_it(folder):
    assert folder.owner() is None
    folder.acquire()
    owner = folder.owner()
    assert (owner.pid, owner.host) == (os.getpid(), socket.gethostname())
    assert dt.timedelta(0) <= dt.datetime.now(dt.UTC) - owner.start < dt.timedelta(minutes=5)
    for damaged in ("{", "[]", "{}", '{"host": "h", "pid": "x", "start": "2026-01-01"}'):
        (folder.path / "owner.json").write_text(damaged)
        assert folder.owner() is None
    folder.release()
    assert folder.owner() is None


def write_trial(folder, number, text):
    path = folder.trial_checkpoint(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Kept(number, f"digest {number}", file_sha256(path))


def test_the_checkpoint_is_that_of_the_run_asked_for_or_none(folder):
    assert folder.kept_checkpoint(0, "digest 0") is None
    folder.place(write_trial(folder, 0, "weights 0"))
    assert folder.kept_checkpoint(0, "digest 0").read_text() == "weights 0"
    assert folder.kept_checkpoint(5, "digest 0").read_text() == "weights 0"  # another trial with the same run
    assert folder.kept_checkpoint(1, "digest 1") is None
    folder.checkpoint.write_text("weights o")
    assert folder.kept_checkpoint(0, "digest 0") is None
    (folder.path / "best.json").write_text("{}")
    assert folder.kept_checkpoint(0, "digest 0") is None


def test_a_checkpoint_that_was_written_and_not_placed_is_placed(folder):
    folder.place(write_trial(folder, 0, "weights 0"))
    write_trial(folder, 3, "weights 3")
    assert folder.kept_checkpoint(3, "digest 3").read_text() == "weights 3"
    assert folder.kept_checkpoint(0, "digest 0") is None


def test_a_kill_between_the_two_steps_of_placing_is_mended(folder, monkeypatch):
    folder.place(write_trial(folder, 0, "weights 0"))
    kept = write_trial(folder, 3, "weights 3")
    with monkeypatch.context() as patch:
        patch.setattr(folders.os, "replace", lambda *paths: None if "best.safetensors" in str(paths) else 0)
        patch.setattr(folders, "write_atomically", lambda path, text: path.write_text(text))
        folder.place(kept)
    assert folder.checkpoint.read_text() == "weights 0"
    assert folder.kept_checkpoint(3, "digest 3").read_text() == "weights 3"


def test_scratch_folders_are_cleared_by_name(folder):
    for number in range(3):
        write_trial(folder, number, "x")
    folder.clear("0")
    folder.clear_all_but(["2"])
    assert [path.name for path in (folder.path / "scratch").iterdir()] == ["2"]
    folder.clear("nothing")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(MachineError, match="cannot be written") as raised:
            check_room(root, 0)
        assert "\n" not in str(raised.value)
        with pytest.raises(MachineError, match="cannot be written"):
            DrivenFolder(root, "s").acquire()


def test_a_disk_without_room_is_refused_before_anything_starts(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: usage._replace(free=250_000_000))
    check_room(tmp_path, 50_000_000)
    with pytest.raises(MachineError, match="250 MB free; 250 MB are needed"):
        check_room(tmp_path, 50_000_001)
    assert list(tmp_path.iterdir()) == []
