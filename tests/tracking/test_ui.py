from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from records import LABELS, entry

from nasctl.errors import UsageError
from nasctl.tracking.store import MlflowTracker
from nasctl.tracking.ui import experiment_tags, ui_command, ui_link


def test_the_command_shows_no_address_and_takes_no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    monkeypatch.setenv("PATH", "/bin")
    uri = "postgresql://nas:secret@db/studies"
    argv, env = ui_command(uri, Path("/runs/artifacts"), 5001)
    assert argv[1:] == ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", "5001", "--workers", "1"]
    assert "secret" not in " ".join(argv)
    assert {name: value for name, value in env.items() if name.startswith("MLFLOW_")} == {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": "/runs/artifacts",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    assert env["PATH"] == "/bin"


def test_a_server_has_its_own_interface() -> None:
    with pytest.raises(UsageError, match="its own user interface") as raised:
        ui_command("https://me:secret@mlflow.example.org", "artifacts", 5001)
    assert raised.value.hint == "open https://me:***@mlflow.example.org in a browser"


def test_an_experiment_carries_its_views_and_keeps_what_somebody_wrote(tmp_path: Path, mlflow_database: Path) -> None:
    shutil.copyfile(mlflow_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = MlflowTracker(uri, tmp_path, "mine")
    tags = tracker._client.get_experiment(tracker.experiment_id).tags
    assert experiment_tags().items() <= tags.items()
    assert (
        json.loads(tags["mlflow.sharedViewState.trials"])["groupBy"]["groupByKeys"][0]["groupByData"] == "nasctl.study"
    )
    tracker._client.set_experiment_tag(tracker.experiment_id, "mlflow.note.content", "my own words")
    again = MlflowTracker(uri, tmp_path, "mine")
    assert again.experiment_id == tracker.experiment_id
    assert again._client.get_experiment(again.experiment_id).tags["mlflow.note.content"] == "my own words"
    assert ui_link("7", 5001, "trials") == "http://127.0.0.1:5001/#/experiments/7/runs?viewStateShareKey=trials"


def _answer(url: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return bytes(response.read())


@pytest.mark.services
def test_the_server_starts_and_finds_studies_while_one_is_written(tmp_path: Path, mlflow_database: Path) -> None:
    shutil.copyfile(mlflow_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = MlflowTracker(uri, tmp_path / "artifacts", "nasctl")
    study = tracker.begin_study("sick-glove-blm-L", LABELS, "trials: 12\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    argv, env = ui_command(uri, tmp_path / "artifacts", port)
    log = tmp_path / "ui.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(argv, env=env, stdout=stream, stderr=stream, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                _answer(f"http://127.0.0.1:{port}/health")
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        for number in range(3):
            tracker.log_trial(study, "sick-glove-blm-L", entry(number))
        query = {
            "experiment_ids": [tracker.experiment_id],
            "filter": "tags.`nasctl.kind` = 'trial' and tags.`nasctl.dataset` = 'sick'",
        }
        found = json.loads(_answer(f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/search", query))["runs"]
        assert sorted(run["info"]["run_name"][-5:] for run in found) == ["t0000", "t0001", "t0002"]
        artifact = f"http://127.0.0.1:{port}/get-artifact?path=config.yaml&run_uuid={study}"
        assert _answer(artifact) == b"trials: 12\n"

        # The same server, spoken to as a store: the tracker's other way.
        remote = MlflowTracker(f"http://127.0.0.1:{port}", "unused", "nasctl")
        assert remote.begin_study("sick-glove-blm-L", LABELS, "") == study
        assert sorted(remote.trials(study)) == [0, 1, 2]
        remote.log_trial(study, "sick-glove-blm-L", entry(3))
        assert sorted(run.trial for run in tracker.runs("trial")) == [0, 1, 2, 3]

        foreign = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(foreign, timeout=30)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
