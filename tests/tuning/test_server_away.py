"""A real MLflow server that is not there yet, comes, goes and comes back, while studies are driven."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

import pytest
from studies import broken, database, finals, order, scheduler, study

from nasctl.cli.verify import _shown
from nasctl.tracking.late import LateTracker
from nasctl.tracking.memory import MemoryTracker
from nasctl.tracking.store import MlflowTracker
from nasctl.tracking.ui import ui_command
from nasctl.tuning import writer
from nasctl.tuning.events import TrialEnded, Warned
from nasctl.tuning.study import StudyStore
from nasctl.tuning.syncing import sync_study

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]


class Server:
    """MLflow's, on a port of its own; started and stopped at will."""

    def __init__(self, root):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = ui_command(f"sqlite:///{root}/mlflow.db", root / "artifacts", self.port)
        self._process = None

    def start(self):
        argv, env = self._command
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(argv, env=env, stdout=quiet, stderr=quiet, start_new_session=True)
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.2)

    def stop(self):
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def server(tmp_path, mlflow_database):
    shutil.copyfile(mlflow_database, tmp_path / "mlflow.db")
    server = Server(tmp_path)
    yield server
    server.stop()


def drive(root, tracker, name, at_trial_one):
    events = []
    with scheduler(root, [order(study(name, trials=6), seconds=0.05)], tracker=tracker) as driver:
        for event in driver.run():
            events.append(event)
            if isinstance(event, TrialEnded) and event.number == 1:
                at_trial_one()
    assert finals(events)[name].finished == 6
    return [event.message for event in events if isinstance(event, Warned)]


def test_studies_go_on_and_nothing_is_missing_afterwards(tmp_path, server, monkeypatch):
    monkeypatch.setattr(writer, "LONGEST_PAUSE_SECONDS", 1.0)
    late = LateTracker(lambda: MlflowTracker(server.url, "unused", "nasctl"))
    warnings = drive(tmp_path, late, "s", server.start)  # it comes in the middle
    assert "no MLflow server answers" in warnings[0]
    assert broken(tmp_path, late) == []

    tracker = MlflowTracker(server.url, "unused", "nasctl")
    warnings = drive(tmp_path, tracker, "t", server.stop)  # it goes in the middle, and does not come back
    assert warnings[-1] == "the tracker lacks some of it; nasctl sync completes it"

    server.start()
    tracker = MlflowTracker(server.url, "unused", "nasctl")
    assert {each.promise for each in broken(tmp_path, tracker)} == {"tracked"}
    store = StudyStore(database(tmp_path))
    synced = sync_study(store, tmp_path, tracker, "t")
    whole = MemoryTracker()
    for name in ("s", "t"):
        sync_study(store, tmp_path, whole, name)
    store.close()
    assert synced.sent >= 4
    assert broken(tmp_path, tracker) == []
    shown = _shown(tracker)
    assert shown == _shown(whole)
    sync_again = StudyStore(database(tmp_path))
    sync_study(sync_again, tmp_path, tracker, "t", rebuild=True)
    sync_again.close()
    assert broken(tmp_path, tracker) == []
    assert _shown(tracker) == shown
