"""A scheduler that is killed at each of the twelve fault points of a study, and goes on as if nothing had happened.

Each scheduler is a process that really dies, with Optuna and MLflow on SQLite; no-op jobs, on a worker of their own
where the point is about workers. MLflow takes seconds to import, so one process does that, and forks for each kill.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest
import studies
from studies import database, order, scheduler, study, typed

from nasctl import faults
from nasctl.cli.verify import _shown
from nasctl.tracking.store import MlflowTracker
from nasctl.tuning.events import JobStarted, StudyEnded, StudyStarted
from nasctl.tuning.promises import verify
from nasctl.tuning.study import StudyStore, stored_study

pytestmark = pytest.mark.faults

TRIALS = 5
AT = {
    "asking": "asking:3",
    "asked": "asked:3",
    "handed-out": "handed-out:3",
    "first-event": "first-event:1",
    "done": "done:2",
    "keep": "keep:1",
    "told": "told:3",
    "mlflow-created": "mlflow-created:2",
    "mlflow-logged": "mlflow-logged:2",
    "mlflow-ended": "mlflow-ended:2",
    "final": "final",
    "study-end": "study-end",
}
"""In the middle of the study where there is a middle."""

OF_WORKERS = ("handed-out", "first-event", "done", "keep")

RECOVERY_SECONDS = 5.0


@pytest.fixture(autouse=True)
def this_checkout(checkout, monkeypatch):
    """Processes of their own import what this one does, whatever else is installed."""
    monkeypatch.setenv("PYTHONPATH", str(checkout))


@pytest.fixture
def root(tmp_path, mlflow_database):
    shutil.copyfile(mlflow_database, tmp_path / "mlflow.db")
    return tmp_path


FORKING = """
import json, os, sys
from pathlib import Path
import mlflow, optuna, studies
print("ready", flush=True)
for line in sys.stdin:
    root, fault, options = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ["NASCTL_FAULT"] = fault
        sys.stdout = open(os.devnull, "w")
        os._exit(studies.main(Path(root), options))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def killed_at(checkout):
    """Drive the study in a process that is told to kill itself at a point; whether it did."""
    path = f"{checkout}:{checkout / 'tests'}"
    with subprocess.Popen(
        [sys.executable, "-c", FORKING],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"

        def drive(root, point, trials=TRIALS, **options):
            asked = [str(root), point, {"trials": trials, "workers": 0, **options}]
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            code = int(process.stdout.readline())
            assert code in {0, -signal.SIGKILL}
            return code == -signal.SIGKILL

        yield drive


def tracker_of(root):
    return MlflowTracker(f"sqlite:///{root}/mlflow.db", root / "artifacts", "nasctl")


def resume(root, trials=TRIALS, tracker=None):
    """Go on to the end; the events, and the seconds until the scheduler was back at work."""
    events, began, recovered = [], time.monotonic(), None
    tracker = tracker or tracker_of(root)
    with scheduler(root, [order(study(trials=trials))], tracker=tracker) as driver:
        for event in driver.run():
            events.append(event)
            if recovered is None and isinstance(event, StudyStarted):
                recovered = time.monotonic() - began
    return events, recovered


def everything(root):
    """Number -> (parameters, state, value) of every trial."""
    with closing(StudyStore(database(root))) as store:
        trials = stored_study(store, "s").trials
    return {trial.number: (trial.params, trial.state, trial.values) for trial in trials}


def broken(root):
    with closing(StudyStore(database(root))) as store:
        (found,) = verify(store, root, tracker_of(root), _shown, typed)
    return found.broken


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, mlflow_database, checkout):
    root = tmp_path_factory.mktemp("uninterrupted")
    shutil.copyfile(mlflow_database, root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(checkout))
        resume(root)
    assert broken(root) == ()
    return everything(root)


SEARCH_POINTS = ("search-files", "search-end")
"""Those of a search: `test_killed_searches.py` has them."""


def test_every_point_is_hit_here():
    assert {*AT, *SEARCH_POINTS} == set(faults.POINTS)
    assert all(text.partition(":")[0] == point for point, text in AT.items())


@pytest.mark.parametrize("point", AT)
def test_killed_there_the_study_ends_as_if_it_had_not_been(root, uninterrupted, killed_at, point, capsys):
    assert killed_at(root, AT[point], tracker="mlflow", workers=point in OF_WORKERS)
    before = {number: trial for number, trial in everything(root).items() if trial[1] != "unfinished"}
    assert {each.promise for each in broken(root)} <= {"tracked"}  # the tracker may be behind: nothing else
    events, recovered = resume(root)
    assert everything(root) == uninterrupted
    assert before.items() <= uninterrupted.items()
    assert broken(root) == ()
    rerun = {event.number for event in events if isinstance(event, JobStarted) and event.purpose == "trial"}
    assert not rerun & set(before)
    (end,) = [event for event in events if isinstance(event, StudyEnded)]
    assert (end.finished, end.failed) == (TRIALS, 0)
    assert not list((root / "studies" / "s" / "scratch").iterdir())
    assert recovered < RECOVERY_SECONDS
    with capsys.disabled():
        print(f"\n{AT[point]}: back at work after {recovered:.2f} s")  # noqa: T201 - a measurement


def test_a_thousand_trials_are_taken_up_in_seconds(tmp_path, killed_at, capsys):
    """Of the 1,000 trials the last ones are missing: only they are run."""
    trials = 1_000
    assert killed_at(tmp_path, f"told:{trials - 4}", trials)
    events, recovered = resume(tmp_path, trials, studies.FileTracker(tmp_path / "tracker"))
    (started,) = [event for event in events if isinstance(event, StudyStarted)]
    assert started.finished >= trials - 12
    found = everything(tmp_path)
    assert sorted(found) == list(range(trials))
    assert {state for _, state, _ in found.values()} == {"finished"}
    assert recovered < RECOVERY_SECONDS
    with capsys.disabled():
        print(f"\n{started.finished} trials: back at work after {recovered:.2f} s")  # noqa: T201 - a measurement
