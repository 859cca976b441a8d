"""What every Tracker promises, run over each of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import LABELS, entry

from nasctl.tracking.memory import MemoryTracker
from nasctl.tracking.records import EpochRecord, Tracker, TrialEntry
from nasctl.tracking.store import MlflowTracker
from nasctl.tracking.totals import StudyTotals, add_up, read_back

STUDY = "sick-glove-blm-L"


@pytest.fixture(params=["memory", "mlflow"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Tracker:
    if request.param == "memory":
        return MemoryTracker()
    store = tmp_path / "mlflow.db"
    shutil.copyfile(request.getfixturevalue("mlflow_database"), store)
    return MlflowTracker(f"sqlite:///{store}", tmp_path / "artifacts", "nasctl")


def test_a_study_is_begun_once(tracker: Tracker) -> None:
    first = tracker.begin_study(STUDY, LABELS, "trials: 12\n")
    assert tracker.begin_study(STUDY, LABELS, "trials: 24\n") == first
    assert tracker.begin_study("other", LABELS, "") != first
    studies = {run.study: run for run in tracker.runs("study")}
    assert set(studies) == {STUDY, "other"}
    assert studies[STUDY].id == first
    assert studies[STUDY].state == "running"
    assert studies[STUDY].trial is None


def test_studies_of_one_name_are_told_apart(tracker: Tracker) -> None:
    hers, mine = (tracker.begin_study(STUDY, {**LABELS, "nasctl.uid": uid}, "") for uid in ("hers", "mine"))
    assert tracker.begin_study(STUDY, {**LABELS, "nasctl.uid": "hers"}, "") == hers
    for study, value in ((hers, 0.7), (mine, 0.8)):
        tracker.log_trial(study, STUDY, entry(0, value))
    assert {tracker.trials(study)[0] for study in (hers, mine)} == {run.id for run in tracker.runs("trial")}
    assert {run.id: run.tags["nasctl.uid"] for run in tracker.runs("study")} == {hers: "hers", mine: "mine"}


def test_a_trial_is_logged_once_whole(tracker: Tracker) -> None:
    study = tracker.begin_study(STUDY, LABELS, "")
    trial = tracker.log_trial(study, STUDY, entry(3, 0.7, tags={"nasctl.attempts": "2"}))
    assert tracker.log_trial(study, STUDY, entry(3, 0.7)) == trial
    assert tracker.trials(study) == {3: trial}
    (stored,) = tracker.runs("trial")
    assert (stored.id, stored.study, stored.trial, stored.kind, stored.state) == (trial, STUDY, 3, "trial", "finished")
    assert stored.params == {
        "batch_size": "32",
        "learning_rate": "0.0012",
        "loss": "mse",
        "hidden_1": "150",
        "seed": "3",
    }
    assert stored.metrics["dev/pearson"] == stored.metrics["value"] == 0.7
    assert stored.metrics["seconds"] == 10.0
    assert stored.metrics["seconds/train"] == 8.0
    assert stored.metrics["epoch/dev/pearson"] == 0.7
    assert stored.metrics["epoch/loss"] == 0.5
    expected = {
        **LABELS,
        "nasctl.kind": "trial",
        "nasctl.study": STUDY,
        "nasctl.trial": "3",
        "nasctl.attempts": "2",
        "nasctl.state": "finished",
        "nasctl.role": "trial",
        "nasctl.digest": "0123456789abcdef",
        "nasctl.metric": "pearson",
        "nasctl.device": "cpu",
        "nasctl.threads": "1",
        "nasctl.backend": "torch",
        "nasctl.result_version": "1",
        "nasctl.version": "0.1.0",
        "nasctl.torch": "2.13.0",
        "nasctl.code_1": "lstm",
        "nasctl.digest_1": "lstm",
    }
    assert stored.tags == expected


def test_what_is_forgotten_is_gone_and_can_be_logged_anew(tracker: Tracker) -> None:
    ids = {}
    for name in ("one", "two"):
        ids[name] = tracker.begin_study(name, LABELS, "")
        for number in range(2):
            tracker.log_trial(ids[name], name, entry(number))
    assert tracker.forget({}) == 0
    assert tracker.forget({"nasctl.study": "one"}) == 3
    assert tracker.forget({"nasctl.study": "one"}) == 0
    assert {run.study for run in tracker.runs()} == {"two"}
    anew = tracker.begin_study("one", LABELS, "")
    assert anew != ids["one"]
    assert tracker.trials(anew) == {}
    at = entry(0, seconds={"train": 50.0})
    tracker.log_trial(anew, "one", TrialEntry(at.number, at.params, at.record, at.tags, 1_500_000_050.0))
    (trial,) = tracker.runs("trial", {"nasctl.study": "one"})
    assert trial.started == pytest.approx(1_500_000_000.0)


def test_runs_are_found_by_kind_and_tags(tracker: Tracker) -> None:
    for name in ("one", "two"):
        study = tracker.begin_study(name, LABELS, "")
        for number in range(3):
            tracker.log_trial(study, name, entry(number))
    assert len(list(tracker.runs())) == 8
    assert len(list(tracker.runs("trial"))) == 6
    found = tracker.runs("trial", {"nasctl.study": "two", "nasctl.trial": "1"})
    assert [(run.study, run.trial) for run in found] == [("two", 1)]
    assert list(tracker.runs("trial", {"nasctl.study": "three"})) == []
    assert list(tracker.runs("run")) == []


def test_a_value_with_quotes_is_found(tracker: Tracker) -> None:
    tags = {**LABELS, "nasctl.dataset": """it's "mine" %_"""}
    tracker.begin_study(STUDY, tags, "")
    (found,) = tracker.runs("study", {"nasctl.dataset": tags["nasctl.dataset"]})
    assert found.tags["nasctl.dataset"] == tags["nasctl.dataset"]
    assert list(tracker.runs("study", {"nasctl.dataset": "it's not"})) == []


def test_the_newest_comes_first(tracker: Tracker) -> None:
    for number, seconds in enumerate((30.0, 10.0, 20.0)):
        tracker.log_run(f"run-{number}", entry(0, seconds={"train": seconds}), ())
    assert [run.tags["nasctl.name"] for run in tracker.runs("run")] == ["run-1", "run-2", "run-0"]


def test_numbers_that_are_none_are_skipped_and_the_state_says_why(tracker: Tracker) -> None:
    study = tracker.begin_study(STUDY, LABELS, "")
    infinite = {"pearson": float("nan"), "spearman": float("inf"), "rho": 0.25}
    history = (EpochRecord(1, 1.0, {"pearson": 0.1}, 4.0), EpochRecord(2, None, infinite, 8.0))
    broken = entry(0, -1.0, state="diverged", reason="the loss was NaN in epoch 2", dev=infinite, history=history)
    tracker.log_trial(study, STUDY, broken)
    (stored,) = tracker.runs("trial")
    assert stored.state == "diverged"
    assert stored.tags["nasctl.reason"] == "the loss was NaN in epoch 2"
    assert stored.metrics["value"] == -1.0
    assert stored.metrics["dev/rho"] == stored.metrics["epoch/dev/rho"] == 0.25
    assert not {"dev/pearson", "dev/spearman", "epoch/dev/spearman"} & set(stored.metrics)
    assert stored.metrics["epoch/loss"] == 1.0  # of the last epoch that had one


def test_a_study_ends_and_goes_on(tracker: Tracker, tmp_path: Path) -> None:
    best = tmp_path / "best.safetensors"
    best.write_bytes(b"weights")
    study = tracker.begin_study(STUDY, LABELS, "")
    tracker.log_trial(study, STUDY, entry(0))
    for _ in range(2):
        metrics = {"test/pearson": 0.81, "dev/pearson": 0.8, "bad": float("nan")}
        tracker.end_study(study, "interrupted", metrics, {"nasctl.best_trial": "0"}, [best])
    (ended,) = tracker.runs("study")
    assert ended.state == "interrupted"
    assert ended.metrics == {"test/pearson": 0.81, "dev/pearson": 0.8}
    assert ended.tags["nasctl.best_trial"] == "0"
    assert tracker.begin_study(STUDY, LABELS, "") == study
    (again,) = tracker.runs("study")
    assert again.state == "running"
    tracker.log_trial(study, STUDY, entry(1))
    tracker.end_study(study, "finished", {"test/pearson": 0.9}, {"nasctl.best_trial": "1"}, [])
    (finished,) = tracker.runs("study")
    assert (finished.state, finished.metrics["test/pearson"]) == ("finished", 0.9)
    assert sorted(tracker.trials(study)) == [0, 1]


def test_a_single_run_is_logged_once_and_a_second_try_is_another(tracker: Tracker) -> None:
    failed = tracker.log_run("sick", entry(0, state="failed", reason="out of memory"), ())
    good = tracker.log_run("sick", entry(0, test=0.7, role="final"), ())
    assert tracker.log_run("sick", entry(0, test=0.7, role="final"), ()) == good != failed
    (found,) = tracker.runs("run", {"nasctl.state": "finished"})
    assert (found.id, found.study, found.trial, found.metrics["test/pearson"]) == (good, "", None, 0.7)


def test_totals_count_a_reused_result_once(tracker: Tracker) -> None:
    study = tracker.begin_study(STUDY, LABELS, "")
    tracker.log_trial(study, STUDY, entry(0))
    tracker.log_trial(study, STUDY, entry(1, tags={"nasctl.duplicate_of": "0"}))
    tracker.log_trial(study, STUDY, entry(2, -1.0, state="diverged"))
    tracker.log_trial(study, STUDY, entry(3, state="failed"))
    totals = add_up(tracker.runs("trial"))
    assert totals == StudyTotals(trials=3, diverged=1, failed=1, seconds=30.0, seconds_alone=40.0)
    (running,) = tracker.runs("study")
    assert read_back(running) is None
    tracker.end_study(study, "finished", totals.metrics(), {}, [])
    (ended,) = tracker.runs("study")
    assert read_back(ended) == totals


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations([0, 1, 2, 3, 1, 3]))
def test_any_order_and_repetition_leaves_one_child_per_trial(tracker: Tracker, order: list[int]) -> None:
    name = "order-" + "".join(map(str, order))
    study = tracker.begin_study(name, LABELS, "")
    ids = {number: tracker.log_trial(study, name, entry(number)) for number in order}
    assert tracker.trials(study) == ids
    assert sorted(run.trial or 0 for run in tracker.runs("trial", {"nasctl.study": name})) == [0, 1, 2, 3]


def test_a_search_is_logged_once_whole_however_many_epochs_it_took(tracker: Tracker, tmp_path: Path) -> None:
    pool = tmp_path / "pool.json"
    pool.write_text("[]")
    history = tuple(
        EpochRecord(n, 1.0 / n, {"pearson": 0.5}, float(n), {"reward": n / 300, "entropy": 1.0, "new": 0.5}, "tanh")
        for n in range(1, 301)
    )
    done = entry(0, role="search", seconds={"train": 300.0}, cells=(), history=history)
    search = tracker.log_run("sick-enas", done, [pool])
    assert tracker.log_run("sick-enas", done, [pool]) == search
    assert tracker.log_run("sick-enas", entry(0, role="final"), ()) != search
    (stored,) = tracker.runs("search")
    assert (stored.id, stored.kind, stored.study, stored.trial) == (search, "search", "", None)
    assert stored.tags["nasctl.name"] == "sick-enas"
    names = ("loss", "dev/pearson", "reward", "entropy", "new")
    assert [stored.metrics[f"epoch/{name}"] for name in names] == [1.0 / 300, 0.5, 1.0, 1.0, 0.5]
    assert tracker.forget({"nasctl.kind": "search", "nasctl.name": "sick-enas"}) == 1
    assert [run.kind for run in tracker.runs()] == ["run"]
