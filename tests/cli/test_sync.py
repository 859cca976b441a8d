"""`nasctl sync`: a lost mlflow.db, a server that is away, studies that somebody drives."""

from __future__ import annotations

import json
import shutil
import socket

import pytest

from nasctl.cli import driving
from nasctl.cli import studies as module
from nasctl.errors import MachineError
from nasctl.tracking.store import MlflowTracker
from nasctl.tuning.folders import DrivenFolder

pytestmark = pytest.mark.timeout(900)  # whoever comes first imports torch and MLflow

MODEL = ("model=bow", "dataset.pairs=60", "embedding.width=8", "training.epochs=1")
TINY = ("sweep=demo", *MODEL, "trials=2", "sampler=random", "study.space.batch_size=null", "training.batch_size=8")
STUDY = "demo-sick-svd-bow"


@pytest.fixture
def in_process(monkeypatch):
    """Workers cost seconds to start; one inside this process does the same work."""
    from nasctl.workers.inprocess import InProcessPool

    monkeypatch.setattr(driving, "_pool", lambda _, stores, *__: InProcessPool(cache=stores.cache))
    monkeypatch.setattr(module, "slots", lambda *_: 1)


@pytest.fixture
def nobody():
    """An address at which nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_an_empty_place_has_nothing_to_log(nasctl, tmp_path):
    result = nasctl("sync")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing to log in" in result.stderr
    unknown = nasctl("sync", STUDY)
    assert unknown.exit_code == 2
    assert f"there is no study or search '{STUDY}'; there are none in" in unknown.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("in_process")
def test_a_lost_mlflow_database_costs_nothing(nasctl, store, mlflow_database, nobody, monkeypatch):
    assert nasctl("baseline", *TINY).exit_code == 0
    assert nasctl("train", *MODEL, "-m", "seed=0,1").exit_code == 0
    tables = {form: nasctl("report", "--format", form).stdout for form in ("md", "csv")}
    assert "demo-sick-svd-bow-s1" in tables["csv"]
    assert nasctl("sync").stdout.splitlines()[1:] == [f"{STUDY}     0       2  finished", "2 single runs, 0 sent"]

    shutil.copyfile(mlflow_database, store / "fresh.db")  # MLflow keeps the old one open in this process
    monkeypatch.setenv("NASCTL_STORE_TRACKING", f"sqlite:///{store / 'fresh.db'}")
    (store / "mlflow.db").unlink()
    shutil.rmtree(store / "artifacts")
    told = [json.loads(line) for line in nasctl("sync", "--rebuild", "--json").stdout.splitlines()]
    assert told == [{"name": STUDY, "sent": 2, "trials": 2, "state": "finished"}, {"runs": 2, "sent": 2}]
    assert {form: nasctl("report", "--format", form).stdout for form in ("md", "csv")} == tables
    assert nasctl("status", "--verify").exit_code == 0

    near = nasctl("sync", "demo-sick-svd-bov")
    assert near.exit_code == 2
    assert f"did you mean {STUDY}?" in near.stderr
    folder = DrivenFolder(store, STUDY)
    folder.acquire()
    named, every = nasctl("sync", STUDY), nasctl("sync")
    folder.release()
    assert named.exit_code == 3
    assert "is driven by another scheduler" in named.stderr
    assert every.exit_code == 0
    assert f"{STUDY} is driven by process" in every.stderr
    monkeypatch.setenv("NASCTL_STORE_TRACKING", nobody)
    away = nasctl("sync")
    assert away.exit_code == 4
    assert away.stderr.startswith(f"nasctl: no MLflow server answers at {nobody}")

    # A study and a run go on without a server, and are completed.
    alone = nasctl("baseline", *TINY, "study.name=alone")
    monkeypatch.setenv("NASCTL_STORE_TRACKING", f"sqlite:///{store / 'fresh.db'}")
    assert alone.exit_code == 0, alone.stderr
    assert "the study goes on without it; nasctl sync completes it later" in alone.stderr
    with monkeypatch.context() as patched:
        patched.setattr(MlflowTracker, "log_run", fail)
        run = nasctl("train", *MODEL, "seed=2")
    assert run.exit_code == 0
    assert "demo-sick-svd-bow-s2 is kept, but not in MLflow (the server is away); nasctl sync logs it" in run.stderr
    assert "not in MLflow yet" in run.stdout
    synced = [json.loads(line) for line in nasctl("sync", "--json").stdout.splitlines()]
    assert [(each.get("name"), each["sent"]) for each in synced] == [(STUDY, 0), ("alone", 2), (None, 1)]
    report = nasctl("report", "--format", "csv").stdout
    assert "alone" in report
    assert "demo-sick-svd-bow-s2" in report


def fail(*_):
    raise MachineError("the server is away")
