from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from records import LABELS, entry, record, write_predictions

from nasctl.reports.cells import ChosenCell
from nasctl.reports.results import Result, best_trial, read_results, scores_by_cell
from nasctl.tracking.memory import MemoryTracker
from nasctl.tracking.records import flat_metrics
from nasctl.tracking.store import MlflowTracker
from nasctl.tracking.totals import add_up
from nasctl.tuning.outcomes import study_ended
from nasctl.tuning.trials import Best

STUDY = "sick-glove-blm-L"


def read(tags: dict[str, str], **changes: object) -> Result:
    tracker = MemoryTracker()
    tracker.log_run("r", entry(0, 0.7, {**tags}, **changes), ())
    (result,) = read_results(tracker)
    return result


@pytest.fixture
def mlflow(tmp_path: Path, mlflow_database: Path) -> MlflowTracker:
    shutil.copyfile(mlflow_database, tmp_path / "mlflow.db")
    return MlflowTracker(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts", "nasctl")


@pytest.mark.parametrize(
    ("tags", "letters", "found_on"),
    [
        ({"nasctl.cell": "lstm", "nasctl.layers": "LL"}, "LL", ""),  # as before letters were written down
        ({"nasctl.cell": "random", "nasctl.layers": "CL"}, "RL", "random"),
        ({"nasctl.cell": "searched", "nasctl.layers": "LC", "nasctl.letters": "LE"}, "LE", "sick"),
        ({"nasctl.cell": "transferred", "nasctl.layers": "C", "nasctl.source": "mrpc"}, "T", "mrpc"),
        ({"nasctl.cell": "named", "nasctl.layers": "C"}, "C", ""),
        ({"nasctl.cell": "named", "nasctl.layers": "CL", "nasctl.letters": "RL"}, "RL", "random"),  # train --paper
        ({"nasctl.cell": "", "nasctl.layers": ""}, "", ""),
    ],
)
def test_the_papers_letters(tags: dict[str, str], letters: str, found_on: str) -> None:
    result = read(tags)
    assert (result.rnn, result.found_on) == (letters, found_on)


def test_the_number_of_classes_is_that_of_the_record() -> None:
    assert read({}, test=0.7, metric="f1", counts={"classes": 3}).classes == 3
    assert read({}, test=0.7, metric="f1").classes == 0  # as before it was written down


def test_the_version_of_a_result_is_that_of_the_record() -> None:
    assert read({}, result_version=3).result_version == "3"


def test_the_cell_is_that_of_the_layer_with_the_c() -> None:
    lstm, found = {"code": "lstm", "digest": "lstm"}, {"code": "enas-8", "digest": "4d3e1b29b093"}
    result = read({"nasctl.cell": "random", "nasctl.layers": "LC"}, cells=(lstm, found))
    assert result.cell == ChosenCell("enas-8", "4d3e1b29b093")
    assert result.cell_label == "8"
    lstms = read({"nasctl.layers": "LL"}, cells=(lstm, lstm))
    assert (lstms.cell, lstms.cell_label) == (None, "lstm")
    assert read({"nasctl.model": "bow", "nasctl.layers": "", "nasctl.cell": ""}, cells=()).cell_label is None
    assert read({"nasctl.cell": "random", "nasctl.layers": "C"}, cells=()).cell_label is None  # nobody wrote it down


def test_a_study_that_goes_on_is_told_by_its_trials() -> None:
    tracker = MemoryTracker()
    study = tracker.begin_study(STUDY, LABELS, "")
    (result,) = read_results(tracker)
    assert (result.name, result.state, result.trials, result.dev, result.test) == (STUDY, "running", 0, None, None)
    for number, value in enumerate((0.7, 0.9, 0.9, 0.8)):
        tracker.log_trial(study, STUDY, entry(number, value))
    tracker.log_trial(study, STUDY, entry(4, 0.99, state="failed"))
    tracker.log_trial(study, STUDY, entry(5, -1.0, state="diverged"))
    (result,) = read_results(tracker)
    assert (result.name, result.dataset, result.embedding, result.model, result.rnn) == (
        STUDY,
        "sick",
        "glove",
        "blm",
        "L",
    )
    assert (result.state, result.trials, result.dev, result.test, result.seconds) == ("running", 5, 0.9, None, 60.0)
    assert result.hyperparameters["seed"] == "1"  # of equal trials the earlier
    assert (result.metric, result.parameters, result.shown(result.dev)) == ("pearson", 12_345, 90.0)


def test_no_trial_that_failed_is_the_best() -> None:
    tracker = MemoryTracker()
    study = tracker.begin_study(STUDY, LABELS, "")
    tracker.log_trial(study, STUDY, entry(0, 0.9, state="failed"))
    assert best_trial(list(tracker.runs("trial"))) is None
    (result,) = read_results(tracker)
    assert (result.trials, result.dev, result.hyperparameters) == (0, None, {})


def test_an_ended_study_is_told_by_what_was_logged_with_it() -> None:
    tracker = MemoryTracker()
    study = tracker.begin_study(STUDY, LABELS, "")
    for number in range(3):
        tracker.log_trial(study, STUDY, entry(number, 0.8))
    metrics = {**flat_metrics(record(0.8, test=0.77, role="final")), **add_up(tracker.runs("trial")).metrics()}
    tracker.end_study(study, "finished", metrics, {"nasctl.best_trial": "2", "nasctl.metric": "pearson"}, [])
    (result,) = read_results(tracker)
    assert (result.state, result.trials, result.dev, result.test, result.seconds) == ("finished", 3, 0.8, 0.77, 30.0)
    assert result.hyperparameters["seed"] == "2"
    # When it goes on, the old end says nothing any more.
    tracker.begin_study(STUDY, LABELS, "")
    tracker.log_trial(study, STUDY, entry(3, 0.85))
    (result,) = read_results(tracker)
    assert (result.state, result.trials, result.dev, result.test) == ("running", 4, 0.85, None)


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_a_study_that_was_extended_and_stopped_is_told_by_its_trials(state: str) -> None:
    tracker, anew = MemoryTracker(), MemoryTracker()
    study = tracker.begin_study(STUDY, LABELS, "")
    tracker.log_trial(study, STUDY, entry(0, 0.8))
    first = record(0.8, test=0.77, role="final")
    tracker.end_study(study, "finished", *study_ended(add_up(tracker.runs("trial")), Best(0, 0.8), first), [])
    tracker.begin_study(STUDY, LABELS, "")
    tracker.log_trial(study, STUDY, entry(1, 0.9))
    tracker.end_study(study, state, add_up(tracker.runs("trial")).metrics(), {}, [])
    (result,) = read_results(tracker)
    assert (result.state, result.trials, result.dev, result.test) == (state, 2, 0.9, None)
    assert result.hyperparameters["seed"] == "1"

    study = anew.begin_study(STUDY, LABELS, "")  # as `sync --rebuild` logs it
    for number, value in enumerate((0.8, 0.9)):
        anew.log_trial(study, STUDY, entry(number, value))
    anew.end_study(study, state, *study_ended(add_up(anew.runs("trial")), Best(1, 0.9), None), [])
    assert read_results(anew) == (result,)


def test_what_the_store_has_begun_to_write_is_not_there_yet(
    mlflow: MlflowTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is made in its last state, and has its numbers a moment later, if nobody is killed in between."""
    monkeypatch.setattr(mlflow, "_log", lambda *_: None)
    mlflow.log_run("r", entry(0, 0.8, test=0.7), ())
    searched = {**LABELS, "nasctl.cell": "searched", "nasctl.layers": "C"}
    study = mlflow.begin_study(STUDY, searched, "")
    cell = {"code": "enas-24", "digest": "4d0ebb24fed4"}
    mlflow.log_trial(study, STUDY, entry(0, 0.8, searched, cells=(cell,)))
    assert [run.state for run in mlflow.runs("run")] == [run.state for run in mlflow.runs("trial")] == ["finished"]
    (result,) = read_results(mlflow)
    assert (result.kind, result.dev, result.cell_label) == ("study", None, None)
    assert scores_by_cell(mlflow, LABELS, "pearson") == {}


@pytest.mark.parametrize(
    ("asked", "best"),
    [({"nasctl.basis": "b1"}, 0.8), ({"nasctl.basis": "b2"}, 0.9), ({}, 0.9)],  # {}: as before it was written down
)
def test_a_cell_alone_is_compared_on_the_basis_of_its_search(asked: dict[str, str], best: float) -> None:
    tracker = MemoryTracker()
    cell = {"code": "enas-24", "digest": "4d0ebb24fed4"}
    for number, (basis, value) in enumerate((("b1", 0.7), ("b1", 0.8), ("b2", 0.9))):
        tags = {**LABELS, "nasctl.cell": "searched", "nasctl.layers": "C", "nasctl.basis": basis}
        study = tracker.begin_study(basis, tags, "")
        tracker.log_trial(study, basis, entry(number, value, tags, cells=(cell,)))
    (score,) = scores_by_cell(tracker, {**LABELS, **asked}, "pearson").values()
    assert score == best


def test_of_a_single_run_the_newest_that_ended_well_counts() -> None:
    tracker = MemoryTracker()
    tracker.log_run("sick", entry(0, 0.7, seconds={"train": 50.0}, test=0.6), ())
    tracker.log_run("sick", entry(0, 0.8, seconds={"train": 10.0}, test=0.7, role="final"), ())
    tracker.log_run("sick", entry(0, 0.9, seconds={"train": 1.0}, state="failed"), ())
    (result,) = read_results(tracker)
    assert (result.kind, result.name, result.trials, result.dev, result.test) == ("run", "sick", 1, 0.8, 0.7)
    assert read_results(tracker, kinds=("study",)) == ()


def test_single_runs_that_share_a_name_are_told_by_their_digests() -> None:
    tracker = MemoryTracker()
    for digest, value in (("aaaa", 0.7), ("bbbb", 0.8)):
        tracker.log_run("sick", entry(0, value, digest=digest), ())
    tracker.log_run("mrpc", entry(0, 0.6, digest="aaaa"), ())
    assert {result.name: result.dev for result in read_results(tracker)} == {
        "mrpc": 0.6,
        "sick-aaaa": 0.7,
        "sick-bbbb": 0.8,
    }


def test_predictions_come_back_through_mlflow(tmp_path: Path, mlflow: MlflowTracker) -> None:
    written = write_predictions(tmp_path / "predictions.jsonl", [1.0, 2.0], [1.5, 2.0])
    study = mlflow.begin_study(STUDY, LABELS, "")
    mlflow.log_trial(study, STUDY, entry(0, 0.9))
    (running,) = read_results(mlflow)
    assert running.predictions is None
    mlflow.end_study(study, "finished", flat_metrics(record(0.9, test=0.8)), {"nasctl.best_trial": "0"}, [written])
    (result,) = read_results(mlflow)
    assert result.test == 0.8
    assert result.predictions is not None
    assert result.predictions.read_text() == written.read_text()


def test_predictions_that_the_tracker_cannot_reach_lie_in_the_stores_folder(tmp_path: Path) -> None:
    tracker = MemoryTracker()  # as a server that keeps the files
    study = tracker.begin_study(STUDY, LABELS, "")
    tracker.log_trial(study, STUDY, entry(0, 0.9))
    tracker.end_study(study, "finished", flat_metrics(record(0.9, test=0.8)), {"nasctl.best_trial": "0"}, [])
    tracker.log_run("sick", entry(0, 0.8, digest="aaaa", test=0.7), ())
    assert [result.predictions for result in read_results(tracker, root=tmp_path)] == [None, None]
    folders = [tmp_path / "studies" / STUDY, tmp_path / "trained" / "sick-aaaa"]
    written = [write_predictions(folder / "predictions.jsonl", [1.0], [1.5]) for folder in folders]
    assert [result.predictions for result in read_results(tracker, root=tmp_path)] == written
    assert [result.predictions for result in read_results(tracker)] == [None, None]


def test_a_study_of_a_pool_knows_what_finding_it_took() -> None:
    tracker = MemoryTracker()
    tracker.log_run("found", entry(0, role="search", seconds={"search": 40.0, "judge": 2.0}), ())
    for name, found_by in (("mine", "found"), ("other", "lost")):
        id_ = tracker.begin_study(name, {**LABELS, "nasctl.found_by": found_by}, "")
        tracker.log_trial(id_, name, entry(0, 0.7))
    assert {result.name: result.search_seconds for result in read_results(tracker)} == {"mine": 42.0, "other": None}
    tracker.log_run("found", entry(0, role="search", digest="other", seconds={"search": 9.0}), ())  # another store's
    assert {result.search_seconds for result in read_results(tracker)} == {None}
