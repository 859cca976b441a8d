"""`nasctl search search=random`: cells trained alone, from the command to a study over the pool and the report."""

from __future__ import annotations

import json

import pytest

from nasctl.tracking.found import found
from nasctl.tracking.store import MlflowTracker

DATA = ("pool=inprocess", "dataset=demo-sick", "dataset.pairs=60", "embedding=svd", "embedding.width=8", "model=blm")
SMALL = ("search.start=training", "training.epochs=2", "training.hidden=[4]", "search.space.nodes=4")
RANDOM = (*DATA, *SMALL, "search=random", "search.strategy.trials=4", "search.found.count=2")
NAME = "demo-sick-svd-blm-random"


def test_a_search_trains_each_cell_alone_and_a_study_takes_the_best(nasctl, store):
    result = nasctl("search", *RANDOM)
    assert result.exit_code == 0, result.stderr
    assert f"{NAME}: finished, the best of 4 cells is number" in result.stdout
    assert "These scores are those of each cell, trained alone" in result.stderr
    assert "cell=searched cell.nodes=4 cell.search=random" in result.stderr
    assert "2 cells found, the best with pearson" in result.stderr
    (kept,) = found(store)
    record = kept.entry.record
    assert (record.epochs, len(record.found), record.test, record.backend) == (4, 2, {}, "planned")
    assert record.parameters > 0
    folder = store / "searches" / NAME
    assert not (folder / "samples.json").exists()
    assert not (folder / "predictions.jsonl").exists()

    told = json.loads(nasctl("search", *RANDOM, "--json").stdout)  # nothing is left to do
    assert [cell["code"] for cell in told["cells"]] == [cell.code for cell in record.found]
    status = nasctl("status").stdout
    assert f"{NAME}  finished       4      2" in status
    assert "STUDY" not in status
    assert nasctl("status", "--verify").exit_code == 0
    assert nasctl("sync").stdout == "1 search, 0 sent\n"
    assert nasctl("logs", NAME, "3").exit_code == 0
    assert f"{NAME} has no trial '4'" in nasctl("logs", NAME, "4").stderr

    pool = ("cell=searched", "cell.search=random", "cell.nodes=4", "sweep=demo", "trials=1", "sampler=random")
    tuned = nasctl("tune", *DATA, *pool, "training.epochs=1", "study.space.hidden.choices=[3]")
    assert tuned.exit_code == 0, tuned.stderr
    assert any(cell.cell in tuned.stdout for cell in record.found)
    report = nasctl("report")
    assert report.exit_code == 0
    assert NAME not in report.stdout  # a search is no study
    assert nasctl("status", "--verify").exit_code == 0


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("search.judged=3", "search.judged=3: search=random trains each cell alone", "leave search.judged= away"),
        ("search.found.max_draws=9", "search.found.max_draws=9", "leave search.found.max_draws= away"),
        ("search.found.count=5", "search.found.count=5 cells of search.strategy.trials=4", "search.found.count=4"),
        ("search.space.nodes=1", "trials=5, and the space enas with 1 nodes has 4 cells", "search.strategy.trials=4"),
    ],
)
def test_mistakes_cost_a_line(nasctl, store, override, message, hint):
    more = ("search.strategy.trials=5",) if "nodes" in override else ()
    result = nasctl("search", *RANDOM, *more, override)
    assert result.exit_code == 2
    assert message in result.stderr
    assert hint in result.stderr


def test_a_plan_counts_the_trials(nasctl, store):
    plan = json.loads(nasctl("search", *RANDOM, "--dry-run", "--json").stdout)
    assert (plan["trials"], plan["epochs"], plan["workers"]) == (4, 2, 1)


def test_hyperparameters_are_all_the_best_lstms(nasctl, store):
    nasctl("baseline", *DATA, "sweep=demo", "trials=1", "training.epochs=2", "study.space.hidden.choices=[3]")
    whole = json.loads(nasctl("search", *DATA, "search=random", "--cfg", "--json").stdout)
    tracker = MlflowTracker(f"sqlite:///{store / 'mlflow.db'}", store / "artifacts", "nasctl")
    (trial,) = tracker.runs("trial")
    assert whole["training"]["learning_rate"] == float(trial.params["learning_rate"])
    assert (whole["training"]["hidden"], whole["training"]["epochs"]) == ([3], 2)
    typed = json.loads(nasctl("search", *DATA, "search=random", "search.training.epochs=7", "--cfg", "--json").stdout)
    assert (typed["training"]["hidden"], typed["training"]["epochs"]) == ([3], 7)
