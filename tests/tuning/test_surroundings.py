"""What a machine does to a study that has done nothing wrong: locks, clocks, a bare environment."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest
from studies import database, drive, order, process_pool, study

from nasctl import databases
from nasctl.errors import MachineError
from nasctl.specs import Choice
from nasctl.tuning.driven import StudyOrder
from nasctl.tuning.events import JobRepeated, TrialEnded
from nasctl.tuning.study import StudyStore

pytestmark = pytest.mark.faults


@pytest.fixture
def locking():
    """Hold the lock of a database for some seconds, from a thread, as another process would."""
    threads = []

    def lock(path, seconds):
        held = threading.Event()

        def hold():
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                held.set()
                time.sleep(seconds)
                connection.execute("ROLLBACK")

        threads.append(threading.Thread(target=hold))
        threads[-1].start()
        assert held.wait(10)

    yield lock
    for thread in threads:
        thread.join()


def ended(events):
    return sorted(event.number for event in events if isinstance(event, TrialEnded))


def test_a_locked_database_is_waited_for(tmp_path, locking):
    drive(tmp_path, [order(study(trials=2))])
    locking(tmp_path / "studies.db", 3.0)
    began = time.monotonic()
    events = drive(tmp_path, [order(study(trials=6))], process_pool(tmp_path, 2))
    assert time.monotonic() - began >= 2.5
    assert ended(events) == [2, 3, 4, 5]
    assert not [event for event in events if isinstance(event, JobRepeated)]


def test_one_that_stays_locked_is_told_and_the_study_goes_on_later(tmp_path, locking, monkeypatch):
    monkeypatch.setattr(databases, "BUSY_MILLISECONDS", 300)
    drive(tmp_path, [order(study(trials=2))])
    locking(tmp_path / "studies.db", 4.0)
    with pytest.raises(MachineError, match="database is locked") as raised:
        drive(tmp_path, [order(study(trials=6))])
    assert raised.value.exit_code == 4
    time.sleep(4.0)
    assert ended(drive(tmp_path, [order(study(trials=6))])) == [2, 3, 4, 5]


def test_jumping_clocks_cost_no_worker_and_no_second(tmp_path, monkeypatch):
    """The wall clock goes back and forth by an hour at each look; whatever is waited for goes by another one."""
    jumps = itertools.cycle((3600.0, -3600.0, 0.0))
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + next(jumps))
    events = drive(tmp_path, [order(study(trials=8), seconds=0.3, epochs=3)], process_pool(tmp_path, 2))
    assert ended(events) == list(range(8))
    assert not [event for event in events if isinstance(event, JobRepeated)]
    for event in events:
        if isinstance(event, TrialEnded):
            assert all(0.0 <= seconds < 60.0 for seconds in event.record.seconds.values())
    with closing(StudyStore(database(tmp_path))) as store:
        assert store.progress()[0].finished == 8


def test_a_run_for_which_the_host_has_no_memory_fails_alone(tmp_path):
    """Layers of a million units ask for terabytes: torch is refused them, and the study goes on with the others."""
    from tiny import run_spec  # the others need no torch

    spec = study(
        trials=2,
        space=(("hidden_1", Choice("choice", (4, 1_000_000))),),
        run=run_spec(tmp_path / "cache", "blm", epochs=1),
        retries=1,
    )
    events = drive(tmp_path, [StudyOrder(replace(spec, enqueued=({"hidden_1": 1_000_000},)), "")])
    records = {event.number: event.record for event in events if isinstance(event, TrialEnded)}
    assert records[0].state == "failed"
    assert records[0].reason.startswith("memory: ")
    assert [event.reason for event in events if isinstance(event, JobRepeated)][:1] == ["memory"]
    assert [record.state for record in records.values()].count("finished") == 2


def test_a_bare_environment_is_enough(tmp_path, checkout):
    """No HOME, no terminal, LANG=C, and folders with spaces and letters of other alphabets."""
    folder = tmp_path / "a folder of Müller & 名前"
    folder.mkdir()
    environment = {"PATH": os.environ["PATH"], "LANG": "C", "PYTHONPATH": str(checkout)}
    settings = ("sweep=demo", "model=bow", "dataset.pairs=60", "embedding.width=8", "training.epochs=2", "trials=2")
    command = [sys.executable, "-m", "nasctl", "baseline", *settings, "workers=1", "--json"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["trials"] == 2
    assert {path.name for path in folder.iterdir()} == {"runs"}  # nothing is left anywhere else


def test_a_home_that_cannot_be_written_is_not_needed(tmp_path, checkout):
    home = tmp_path / "home"
    home.write_text("a file, where even root makes no folders")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(checkout)}
    settings = ("model=bow", "dataset.pairs=60", "embedding.width=8", "training.epochs=1")
    command = [sys.executable, "-m", "nasctl", "train", *settings, "--json"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["state"] == "finished"
