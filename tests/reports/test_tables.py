from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from records import LABELS, entry, record, write_predictions

from nasctl.errors import UsageError
from nasctl.reports.compare import compare_table, scatters
from nasctl.reports.render import FORMATS
from nasctl.reports.results import Result
from nasctl.reports.tables import TABLES, build_tables, runs_table, studies_table, table_1
from nasctl.tracking.memory import MemoryTracker
from nasctl.tracking.records import TrialEntry, flat_metrics
from nasctl.tracking.totals import add_up

WIDE = {
    "weight_decay": 0.0312345,
    "grad_norm": 4.5678,
    "hidden_2": 300,
    "dropout_1": 0.25,
    "dropout_2": 0.5,
    "variational_dropout_1": 0.3333333,
    "variational_dropout_2": 0.4,
}


def study(tracker: MemoryTracker, name: str, trials: int, dev: float, test: float | None, **labels: str) -> None:
    """A study of `trials` trials; without a test score it goes on."""
    tags = {**LABELS, **{f"nasctl.{key}": text for key, text in labels.items()}}
    metric = tags.pop("nasctl.metric", "pearson")
    id_ = tracker.begin_study(name, tags, "")
    for number in range(trials):
        plain = entry(number, dev - number / 1000, metric=metric)
        tracker.log_trial(id_, name, TrialEntry(number, {**plain.params, **WIDE}, plain.record, {**plain.tags, **tags}))
    if test is not None:
        totals = add_up(tracker.runs("trial", {"nasctl.study": name})).metrics()
        metrics = flat_metrics(record(dev, test=test, metric=metric, role="final")) | totals
        tracker.end_study(id_, "finished", metrics, {"nasctl.best_trial": "0"}, [])


@pytest.fixture
def store() -> MemoryTracker:
    tracker = MemoryTracker()
    study(tracker, "sick-glove-blm-L", 12, 0.8612, 0.8451)
    study(tracker, "sick-glove-blm-L-paper", 24, 0.8598, 0.8402, sweep="paper")
    study(tracker, "stsb-glove-blm-L", 3, 0.79, 0.701, dataset="stsb", vectors="glove.100d.top10k-quantised.txt")
    study(tracker, "mrpc-glove-esim-LL", 2, 0.78, None, dataset="mrpc", model="esim", layers="LL", metric="accuracy")
    study(tracker, "sick-glove-esim-EL", 2, 0.88, 0.857, model="esim", cell="searched", layers="CL")
    mine = {"dataset": "my_data", "embedding": "svd", "vectors": "svd of the training text", "metric": "accuracy"}
    study(tracker, "my_data-svd-bow", 2, 0.61, 0.58, **mine, model="bow", layers="", cell="")
    tracker.log_run("sick-bow", entry(0, 0.7, test=0.66, role="final"), ())
    return tracker


@pytest.mark.parametrize(
    ("name", "form"),
    [("1", "markdown"), ("1", "latex"), ("1", "csv"), ("5", "markdown"), ("5", "csv"), ("studies", "markdown")],
)
def test_golden(store: MemoryTracker, checkout: Path, name: str, form: str) -> None:
    (table,) = build_tables([name], store)
    path = checkout / "tests" / "golden" / "reports" / f"table-{name}{FORMATS[form].ending}"
    assert FORMATS[form].render(table) == path.read_text("utf-8")


def test_table_1_fits_a_terminal(store: MemoryTracker) -> None:
    (table,) = build_tables(["1"], store)
    lines = [line for line in FORMATS["markdown"].render(table).splitlines() if line.startswith("|")]
    assert max(map(len, lines)) <= 80


def test_an_empty_store_gives_the_papers_lstm_rows() -> None:
    table_one, table_five, studies, compare = build_tables(["1", "5", "studies", "compare"], MemoryTracker())
    assert len(table_one.rows) == len(table_five.rows) == 12
    assert {row[3] for row in table_one.rows} == {"L", "LL"}
    assert (studies.rows, studies.notes) == ((), ("There are no studies in the store yet.",))
    assert compare.rows == ()
    for table in (table_one, table_five, studies, compare):
        assert all(each.render(table) for each in FORMATS.values())


def test_other_letters_come_by_themselves(store: MemoryTracker) -> None:
    (table,) = build_tables(["1"], store)
    assert [row[:4] for row in table.rows if row[3] == "EL" and row[1] == "glove"] == [
        ("sick", "glove", "esim", "EL"),
        ("mrpc", "glove", "esim", "EL"),
        ("stsb", "glove", "esim", "EL"),
    ]


def test_the_study_with_the_most_trials_is_shown_not_the_one_with_the_best_test(store: MemoryTracker) -> None:
    (table,) = build_tables(["1"], store)
    (row,) = [row for row in table.rows if row[:4] == ("sick", "glove", "blm", "L")]
    assert row[4:8] == (24, pytest.approx(85.98), 86.3, pytest.approx(84.02))
    assert "sick-glove-blm-L-paper is shown since it has the most trials; left out: sick-glove-blm-L." in table.notes


def test_single_runs_have_their_own_table(store: MemoryTracker) -> None:
    (table,) = build_tables(["runs"], store)
    assert [row[0] for row in table.rows] == ["sick-bow"]
    (studies,) = build_tables(["studies"], store)
    assert "sick-bow" not in [row[0] for row in studies.rows]


def test_a_table_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no table 'study'") as raised:
        build_tables(["1", "study"], MemoryTracker())
    assert "studies" in raised.value.hint
    assert set(TABLES) == {"1", "5", "studies", "runs", "compare"}


def test_tables_load_no_torch() -> None:
    program = (
        "import sys, nasctl.reports.tables; print(sorted({'torch', 'mlflow', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- with predictions -------------------------------------------------------------------------------------------------


def result(name: str, predictions: Path, test: float, **changes: object) -> Result:
    plain = Result(
        kind="study",
        name=name,
        dataset="sick",
        embedding="glove",
        model="blm",
        rnn="L",
        vectors="glove.6B.300d.txt",
        state="finished",
        metric="pearson",
        trials=12,
        dev=0.9,
        test=test,
        seconds=100.0,
        parameters=1000,
        hyperparameters={},
        predictions=predictions,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture
def systems(tmp_path: Path) -> list[Result]:
    """Two systems that are alike and one that is clearly worse, on the same 300 rows."""
    draw = np.random.default_rng(0)
    gold = draw.normal(3, 1, 300).round(1)
    found = []
    for name, noise in (("a", 0.40), ("b", 0.41), ("c", 1.5)):
        made = gold + draw.normal(0, noise, 300)
        path = write_predictions(tmp_path / name / "predictions.jsonl", gold.tolist(), made.tolist())
        found.append(result(name, path, float(np.corrcoef(gold, made)[0, 1])))
    return found


def test_pairs_are_compared_on_their_common_rows(systems: list[Result]) -> None:
    table = compare_table(systems, scatters(systems, resamples=1000))
    assert [(row[1], row[2], row[7]) for row in table.rows] == [
        ("a", "b", "not distinguishable"),
        ("a", "c", "better"),
        ("b", "c", "better"),
    ]
    for row in table.rows:
        difference, bounds = row[5], row[6]
        assert isinstance(difference, float)
        assert isinstance(bounds, tuple)
        assert difference == pytest.approx(row[3] - row[4])  # type: ignore[operator]
        assert bounds[0] <= difference <= bounds[1]
    assert "3 comparisons: of pairs that are alike, about one in twenty would seem different." in table.notes
    turned = compare_table(systems[::-1], scatters(systems, resamples=1000))
    assert [row[7] for row in turned.rows] == ["worse", "worse", "not distinguishable"]


def test_what_answered_other_questions_is_not_compared(systems: list[Result], tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "d" / "predictions.jsonl", [1.0, 2.0, 3.0], [1.0, 2.5, 3.0])
    other = result("d", path, 0.9)
    elsewhere = result("e", path, 0.9, dataset="stsb")
    everything = [systems[0], other, elsewhere]
    table = compare_table(everything, scatters(everything, resamples=50))
    assert table.rows == ()
    assert table.notes[-1] == "Not compared, since their test rows differ: a and d."


def test_studies_have_the_interval_of_their_test_score(systems: list[Result]) -> None:
    known = scatters(systems, resamples=1000)
    table = studies_table([*systems, replace(systems[0], name="lost", predictions=None)], known)
    for row in table.rows[:3]:
        bounds = row[9]
        assert isinstance(bounds, tuple)
        assert bounds[0] < row[8] < bounds[1]  # type: ignore[operator]
    assert table.rows[3][9] is None
    assert not any("another test score" in note for note in table.notes)
    assert runs_table(systems, known).rows == ()


def test_predictions_that_do_not_give_the_logged_score_are_told(systems: list[Result]) -> None:
    wrong = replace(systems[0], test=0.5)
    table = studies_table([wrong], scatters([wrong], resamples=50))
    assert "a: its predictions give another test score than the one that was logged." in table.notes


def test_a_study_without_a_test_score_has_no_interval(systems: list[Result]) -> None:
    unfinished = replace(systems[0], test=None, state="running")
    assert scatters([unfinished]) == {}
    table = table_1([unfinished], {})
    assert "Not at their end: a (running)." in table.notes
