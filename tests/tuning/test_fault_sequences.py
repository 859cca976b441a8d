"""Faults drawn at random, one after the other, upon one study; then every promise is verified.

Each test prints its seed; NASCTL_TEST_SEED=SEED repeats it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress

import pytest
from studies import Driven, database, drive, order, study, typed

from nasctl.cli.verify import _shown
from nasctl.tracking.store import MlflowTracker
from nasctl.tuning.promises import verify
from nasctl.tuning.study import StudyStore, stored_study

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

TRIALS = 10
FAULTS_EACH = 5
WORKER_KILLS = 2
"""At most, so that no trial's attempts can be used up."""
ENDS = {0, 130, 143, -signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL}
"""How a scheduler may end; a signal that finds it past its last commit ends the process as it does any other."""


def signalled(*numbers: int) -> Callable[[Driven, object, random.Random], None]:
    def act(driven, _root, _draw):
        for number in numbers:
            driven.process.send_signal(number)
            time.sleep(0.1)

    return act


def kill_a_worker(driven, _root, draw):
    if workers := [worker for worker in driven.workers() if worker.is_running()]:
        with suppress(Exception):  # it may end by itself at this very moment
            draw.choice(workers).kill()


def lock_the_database(driven, root, _draw):
    with closing(sqlite3.connect(root / "studies.db", isolation_level=None, timeout=30)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(1.0)
        connection.execute("ROLLBACK")


def suspend(driven, _root, draw):
    driven.process.send_signal(signal.SIGSTOP)
    time.sleep(draw.uniform(0.5, 2.0))
    driven.process.send_signal(signal.SIGCONT)


FAULTS = {
    "kill -9": signalled(signal.SIGKILL),
    "Ctrl-C": signalled(signal.SIGINT),
    "Ctrl-C twice": signalled(signal.SIGINT, signal.SIGINT),
    "SIGTERM": signalled(signal.SIGTERM),
    "a worker's kill -9": kill_a_worker,
    "a locked database": lock_the_database,
    "a suspended machine": suspend,
}


def play(root, draw: random.Random) -> list[str]:
    """Drive the study through a sequence of faults to its end; what was done to it."""
    options = {"trials": TRIALS, "workers": 2, "seconds": 0.2, "epochs": 4, "tracker": "mlflow"}
    sequence, done = [draw.choice(sorted(FAULTS)) for _ in range(FAULTS_EACH)], []
    for _ in range(2 * FAULTS_EACH):
        with Driven(root, **options) as driven:
            while sequence and driven.until("JobStarted", draw.randrange(1, 4)):
                name = sequence.pop()
                if name == "a worker's kill -9" and done.count(name) == WORKER_KILLS:
                    continue
                done.append(name)
                time.sleep(draw.uniform(0.0, 0.3))
                FAULTS[name](driven, root, draw)
                if driven.process.poll() is not None:
                    break
            code, said = driven.end()
            assert code in ENDS, said
            if code == 0:
                return done
    raise AssertionError(f"it never ends: {done}")


def everything(root):
    with closing(StudyStore(database(root))) as store:
        trials = stored_study(store, "s").trials
    return {trial.number: (trial.params, trial.state, trial.values) for trial in trials}


@pytest.fixture
def root(tmp_path, mlflow_database, checkout, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    folder = tmp_path / "torn"
    folder.mkdir()
    shutil.copyfile(mlflow_database, folder / "mlflow.db")
    return folder


@pytest.mark.parametrize("attempt", range(3))
def test_whatever_happens_every_promise_holds(tmp_path, root, capsys, attempt):
    seed = int(os.environ.get("NASCTL_TEST_SEED", random.SystemRandom().randrange(10**6)))
    done = play(root, random.Random(seed))
    with capsys.disabled():
        print(f"\nNASCTL_TEST_SEED={seed}: {', '.join(done)}")  # noqa: T201 - whoever wants to see it again
    with closing(StudyStore(database(root))) as store:
        tracker = MlflowTracker(f"sqlite:///{root}/mlflow.db", root / "artifacts", "nasctl")
        (found,) = verify(store, root, tracker, _shown, typed)
    assert found.broken == ()
    drive(tmp_path / "whole", [order(study(trials=TRIALS))])
    assert everything(root) == everything(tmp_path / "whole")
