from __future__ import annotations

import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from records import LABELS, entry, record

from nasctl.errors import MachineError, UsageError
from nasctl.tracking.records import EpochRecord
from nasctl.tracking.store import MlflowTracker

STUDY = "sick-glove-blm-L"


@pytest.fixture
def store(tmp_path: Path, mlflow_database: Path) -> Path:
    folder = tmp_path / "a store" / "größe #1 100%"
    folder.mkdir(parents=True)
    shutil.copyfile(mlflow_database, folder / "mlflow.db")
    return folder


def opened(store: Path, experiment: str = "nasctl") -> MlflowTracker:
    return MlflowTracker(f"sqlite:///{store / 'mlflow.db'}", store / "artifacts", experiment)


def rows(store: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        return connection.execute(query).fetchall()


def test_it_is_written_ahead(store: Path) -> None:
    opened(store)
    assert rows(store, "PRAGMA journal_mode") == [("wal",)]
    for durability, synchronous in (("full", 2), ("normal", 1)):
        again = store.parent / durability
        shutil.copytree(store, again)
        tracker = MlflowTracker(f"sqlite:///{again}/mlflow.db", again, "nasctl", durability=durability)
        with tracker._client._tracking_client.store.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == synchronous


def test_ending_a_study_twice_leaves_one_point(store: Path) -> None:
    tracker = opened(store)
    study = tracker.begin_study(STUDY, LABELS, "")
    for _ in range(2):
        tracker.end_study(study, "finished", {"test/pearson": 0.8}, {}, [])
        time.sleep(0.01)
    tracker.end_study(study, "finished", {"test/pearson": 0.7}, {}, [])
    assert rows(store, "SELECT value FROM metrics ORDER BY timestamp") == [(0.8,), (0.7,)]
    assert rows(store, "SELECT value FROM latest_metrics") == [(0.7,)]


def test_names_parents_and_status_are_mlflows_own(store: Path) -> None:
    tracker = opened(store)
    study = tracker.begin_study(STUDY, LABELS, "")
    tracker.log_trial(study, STUDY, entry(42))
    tracker.log_trial(study, STUDY, entry(43, state="failed"))
    tracker.log_trial(study, STUDY, entry(44, -1.0, state="diverged"))
    assert rows(store, "SELECT name, status FROM runs ORDER BY name") == [
        (STUDY, "RUNNING"),
        (f"{STUDY}/t0042", "FINISHED"),
        (f"{STUDY}/t0043", "FAILED"),
        (f"{STUDY}/t0044", "FINISHED"),
    ]
    assert rows(store, "SELECT DISTINCT value FROM tags WHERE key = 'mlflow.parentRunId'") == [(study,)]
    tracker.end_study(study, "interrupted", {}, {}, [])
    assert rows(store, f"SELECT status FROM runs WHERE run_uuid = '{study}'") == [("KILLED",)]


def test_epochs_are_steps_in_time(store: Path) -> None:
    tracker = opened(store)
    tracker.log_trial(tracker.begin_study(STUDY, LABELS, ""), STUDY, entry(0, epochs=3))
    points = rows(store, "SELECT step, value, timestamp FROM metrics WHERE key = 'epoch/loss' ORDER BY step")
    assert [(step, value) for step, value, _ in points] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    begun, ended = rows(store, "SELECT start_time, end_time FROM runs WHERE name LIKE '%/t0000'")[0]
    assert [at - begun for _, _, at in points] == [4000, 8000, 12000]
    assert ended - begun == 10_000  # the busy seconds of the record


def test_files_are_kept_and_found_also_after_a_move(store: Path, tmp_path: Path) -> None:
    tracker = opened(store)
    weights = tmp_path / "best.safetensors"
    weights.write_bytes(b"weights")
    study = tracker.begin_study(STUDY, LABELS, "trials: 12\n")
    tracker.end_study(study, "finished", {}, {}, [weights])
    tracker.log_run("sick", entry(0), [weights])
    for found in tracker.runs():
        assert found.artifacts is not None
        assert (found.artifacts / "best.safetensors").read_bytes() == b"weights"
    moved = tmp_path / "moved"
    shutil.move(store, moved)
    (found,) = opened(moved).runs("study")
    assert found.artifacts == moved / "artifacts" / study / "artifacts"
    assert (found.artifacts / "config.yaml").read_text() == "trials: 12\n"


def test_another_process_knows_what_is_there(store: Path) -> None:
    first = opened(store)
    study = first.begin_study(STUDY, LABELS, "")
    ids = {number: first.log_trial(study, STUDY, entry(number)) for number in (0, 7)}
    second = opened(store)
    assert second.begin_study(STUDY, LABELS, "") == study
    assert second.trials(study) == ids
    assert second.log_trial(study, STUDY, entry(7)) == ids[7]
    assert len(rows(store, "SELECT 1 FROM runs")) == 3


@pytest.mark.parametrize("call", ["log_batch", "set_terminated"])
def test_a_trial_cut_short_is_completed(store: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between two of the three writes: the next start ends what was begun, and leaves one point per step."""
    tracker = opened(store)
    study = tracker.begin_study(STUDY, LABELS, "")

    def killed(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tracker._client, call, killed)
    with pytest.raises(KeyboardInterrupt):
        tracker.log_trial(study, STUDY, entry(5))
    again = opened(store)
    assert again.trials(study) == {}
    time.sleep(0.01)  # another millisecond must not make another point
    trial = again.log_trial(study, STUDY, entry(5))
    assert again.trials(study) == {5: trial}
    assert rows(store, "SELECT name, status FROM runs WHERE name LIKE '%/t%'") == [(f"{STUDY}/t0005", "FINISHED")]
    assert rows(store, "SELECT key, step, count(*) FROM metrics GROUP BY key, step HAVING count(*) > 1") == []
    assert len(rows(store, "SELECT 1 FROM params")) == 5


def test_a_trial_whose_making_got_no_answer_is_made_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = opened(store)
    study = tracker.begin_study(STUDY, LABELS, "")
    make = tracker._client.create_run

    def unheard(*arguments: object, **named: object) -> None:
        make(*arguments, **named)
        raise ConnectionError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(tracker._client, "create_run", unheard)
        with pytest.raises(MachineError, match="no answer"):
            tracker.log_trial(study, STUDY, entry(5))
    tracker.log_trial(study, STUDY, entry(5))
    assert rows(store, "SELECT name, status FROM runs WHERE name LIKE '%/t%'") == [(f"{STUDY}/t0005", "FINISHED")]


def test_a_trial_is_three_calls_that_write(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = opened(store)
    study = tracker.begin_study(STUDY, LABELS, "")
    calls: list[str] = []
    client = tracker._client

    class Counting:
        def __getattr__(self, name: str) -> object:
            calls.append(name)
            return getattr(client, name)

    monkeypatch.setattr(tracker, "_client", Counting())
    tracker.log_trial(study, STUDY, entry(0))
    tracker.log_trial(study, STUDY, entry(0))
    assert calls == ["create_run", "log_batch", "set_terminated"]


def test_a_long_trial_is_more_than_one_batch(store: Path) -> None:
    metrics = {f"m{i}": 0.5 for i in range(15)}
    history = tuple(EpochRecord(n, 0.5, metrics, float(n)) for n in range(1, 76))
    tracker = opened(store)
    tracker.log_trial(tracker.begin_study(STUDY, LABELS, ""), STUDY, entry(0, history=history))
    assert rows(store, "SELECT count(*) FROM metrics WHERE key LIKE 'epoch/%'") == [(75 * 16,)]


def test_every_page_is_read(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasctl.tracking.store.PAGE", 2)
    tracker = opened(store)
    study = tracker.begin_study(STUDY, LABELS, "")
    for number in range(5):
        tracker.log_trial(study, STUDY, entry(number))
    assert sorted(run.trial for run in tracker.runs("trial")) == [0, 1, 2, 3, 4]
    assert sorted(opened(store).trials(study)) == [0, 1, 2, 3, 4]


def test_runs_of_others_in_the_experiment_are_not_ours(store: Path) -> None:
    tracker = opened(store)
    tracker._client.create_run(tracker.experiment_id, run_name="somebody's")
    tracker.begin_study(STUDY, LABELS, "")
    assert [run.kind for run in tracker.runs()] == ["study"]


def test_a_deleted_experiment_is_named(store: Path) -> None:
    tracker = opened(store)
    tracker._client.delete_experiment(tracker.experiment_id)
    with pytest.raises(UsageError, match="experiment nasctl was deleted"):
        opened(store)
    opened(store, "another")


@pytest.mark.faults
def test_two_that_start_at_once_make_one_database(tmp_path: Path) -> None:
    program = (
        "import sys; from nasctl.tracking.store import MlflowTracker\n"
        "MlflowTracker(f'sqlite:///{sys.argv[1]}/mlflow.db', sys.argv[1], 'nasctl')"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    assert outputs == ["", ""]  # and neither says anything
    assert rows(tmp_path, "SELECT name FROM experiments ORDER BY name") == [("Default",), ("nasctl",)]


def test_a_reader_never_waits_for_a_writer(store: Path) -> None:
    tracker = opened(store)
    tracker.begin_study(STUDY, LABELS, "")
    with closing(sqlite3.connect(store / "mlflow.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert len(list(tracker.runs())) == 1
        assert time.monotonic() - began < 5
        writer.execute("ROLLBACK")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("file:///data/mlruns", "MLflow's store cannot be 'file:///data/mlruns'"),
        ("./mlruns", "MLflow's store cannot be './mlruns'"),
        ("postgres://u:secret@host/db", r"postgres://u:\*\*\*@host/db"),
    ],
)
def test_an_address_of_an_unknown_kind_is_refused(uri: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        MlflowTracker(uri, "artifacts", "nasctl")
    assert "postgresql" in raised.value.hint


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"file/mlflow\.db cannot be used"):
        MlflowTracker(f"sqlite:///{tmp_path}/file/mlflow.db", tmp_path, "nasctl")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(MachineError, match="file is not a database"):
        MlflowTracker(f"sqlite:///{tmp_path}/mlflow.db", tmp_path, "nasctl")


def test_a_store_that_breaks_under_way_costs_one_line(store: Path) -> None:
    tracker = opened(store)
    study = tracker.begin_study(STUDY, LABELS, "")
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        connection.execute("DROP TABLE latest_metrics")
    with pytest.raises(MachineError, match=r"could not log trial 0 of sick-glove-blm-L: .*no such table") as raised:
        tracker.log_trial(study, STUDY, entry(0))
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.fixture
def silent_server() -> Iterator[str]:
    """An address where something listens and answers every request with what MLflow does not say."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"gibberish\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{port}"
        listener.shutdown(socket.SHUT_RDWR)


def test_a_server_that_is_away_is_told_at_once_and_without_its_password(silent_server: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for uri in (f"http://user:secret@127.0.0.1:{port}", silent_server):
        began = time.monotonic()
        with pytest.raises(MachineError, match="no MLflow server answers") as raised:
            MlflowTracker(uri, "artifacts", "nasctl")
        assert time.monotonic() - began < 5
        assert "secret" not in str(raised.value) + raised.value.hint
        assert raised.value.__cause__ is None


def test_the_tracker_is_light_until_it_is_made() -> None:
    program = "import sys, nasctl.tracking.store; print(sorted({'mlflow', 'sqlalchemy', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_telemetry_is_off_and_the_loggers_are_quiet(store: Path) -> None:
    opened(store)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert not logging.getLogger("mlflow").isEnabledFor(logging.ERROR)
    assert not logging.getLogger("alembic").isEnabledFor(logging.ERROR)


def test_a_very_long_reason_is_cut(store: Path) -> None:
    tracker = opened(store)
    tracker.log_trial(tracker.begin_study(STUDY, LABELS, ""), STUDY, entry(0, state="failed", reason="x" * 100_000))
    (found,) = tracker.runs("trial")
    assert len(found.tags["nasctl.reason"]) == 2000


def test_a_record_survives(store: Path) -> None:
    """What tables need of a record comes back from MLflow as it was."""
    from nasctl.tracking.records import flat_metrics

    tracker = opened(store)
    final = record(0.861, test=0.84512345678901234, role="final")
    study = tracker.begin_study(STUDY, LABELS, "")
    tracker.end_study(study, "finished", flat_metrics(final), {"nasctl.best_trial": "3"}, [])
    (found,) = opened(store).runs("study")
    assert found.metrics == flat_metrics(final)
