from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from records import LABELS, entry, record

from nasctl import reference
from nasctl.cells import spelling
from nasctl.errors import UsageError
from nasctl.reports.render import FORMATS
from nasctl.reports.tables import TABLES, build_tables
from nasctl.spaces.named import cell_called
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

PAPER = "paper/blm-glove-lstm"

ENAS_24 = {"code": "enas-24", "digest": "4d0ebb24fed4"}
CODE = "tanh-0-relu-1-sigmoid-0-tanh-2-identity-4-relu"
DRAWN = {"code": CODE, "digest": spelling.digest_of(spelling.spelled(cell_called(CODE).graph))}
LSTM = {"code": "lstm", "digest": "lstm"}
GRU = {"code": "gru", "digest": spelling.digest_of(spelling.spelled(cell_called("gru").graph))}


def study(
    tracker: MemoryTracker,
    name: str,
    trials: int,
    dev: float,
    test: float | None,
    *,
    cells: tuple[dict[str, str], ...] = (LSTM,),
    **labels: str,
) -> None:
    """A study of `trials` trials, all with these cells; without a test score it goes on."""
    tags = {**LABELS, **{f"nasctl.{key}": text for key, text in labels.items()}}
    metric = tags.pop("nasctl.metric", "pearson")
    id_ = tracker.begin_study(name, tags, "")
    for number in range(trials):
        plain = entry(number, dev - number / 1000, metric=metric, cells=cells)
        params = {**plain.params, **WIDE} | ({} if cells[0] == LSTM else {"architecture": cells[0]["code"]})
        tracker.log_trial(id_, name, TrialEntry(number, params, plain.record, {**plain.tags, **tags}))
    if test is not None:
        totals = add_up(tracker.runs("trial", {"nasctl.study": name})).metrics()
        metrics = flat_metrics(record(dev, test=test, metric=metric, role="final")) | totals
        tracker.end_study(id_, "finished", metrics, {"nasctl.best_trial": "0"}, [])


@pytest.fixture
def store() -> MemoryTracker:
    tracker = MemoryTracker()
    study(tracker, "sick-glove-blm-L", 12, 0.8612, 0.8451, sweep=PAPER)
    study(tracker, "sick-glove-blm-L-paper", 24, 0.8598, 0.8402, sweep=PAPER)
    study(tracker, "stsb-glove-blm-L", 3, 0.79, 0.701, dataset="stsb", vectors="glove.100d.top10k-quantised.txt")
    study(tracker, "mrpc-glove-esim-LL", 2, 0.78, None, dataset="mrpc", model="esim", layers="LL", metric="accuracy")
    mixed = {"model": "esim", "layers": "CL"}
    study(tracker, "sick-glove-esim-EL", 2, 0.88, 0.857, cells=(DRAWN, LSTM), cell="searched", **mixed)
    study(tracker, "sick-glove-blm-R", 8, 0.871, 0.8493, cells=(ENAS_24,), cell="random", layers="C")
    study(tracker, "sick-glove-esim-RL", 8, 0.87, None, cells=(DRAWN, LSTM), cell="random", **mixed, vectors="840B.txt")
    moved = {"cell": "transferred", "layers": "C", "source": "mrpc"}
    study(tracker, "sick-glove-blm-T", 2, 0.87, 0.84, cells=(DRAWN,), **moved)
    study(
        tracker,
        "mrpc-glove-blm-C",
        2,
        0.7,
        0.69,
        cells=(GRU,),
        cell="named",
        layers="C",
        dataset="mrpc",
        metric="accuracy",
    )
    mine = {"dataset": "my_data", "embedding": "svd", "vectors": "svd of the training text", "metric": "accuracy"}
    study(tracker, "my_data-svd-bow", 2, 0.61, 0.58, **mine, model="bow", layers="", cell="")
    tracker.log_run("sick-bow", entry(0, 0.7, {**LABELS, "nasctl.model": "bow", "nasctl.layers": ""}, test=0.66), ())
    paper_row = {
        **LABELS,
        "nasctl.cell": "named",
        "nasctl.layers": "C",
        "nasctl.letters": "R",
        "nasctl.vectors": "840B.txt",
    }
    for seed, score in enumerate((0.845, 0.84)):
        tracker.log_run(
            f"sick-glove-blm-R-s{seed}", entry(0, score + 0.02, paper_row, test=score, cells=(ENAS_24,)), ()
        )
    return tracker


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(("1", form) for form in FORMATS),
        ("2", "markdown"),
        ("2", "csv"),
        ("5", "markdown"),
        ("5", "csv"),
        ("6", "csv"),
        ("studies", "markdown"),
    ],
)
def test_golden(store: MemoryTracker, checkout: Path, name: str, form: str) -> None:
    (table,) = build_tables([name], store)
    path = checkout / "tests" / "golden" / "reports" / f"table-{name}{FORMATS[form].ending}"
    assert FORMATS[form].render(table) == path.read_text("utf-8")


@pytest.mark.parametrize("name", ["1", "2"])
def test_the_papers_scores_fit_a_terminal(store: MemoryTracker, name: str) -> None:
    (table,) = build_tables([name], store)
    lines = [line for line in FORMATS["markdown"].render(table).splitlines() if line.startswith("|")]
    assert max(map(len, lines)) <= 80


def test_an_empty_store_gives_the_papers_rows() -> None:
    names = ["1", "2", "5", "6", "studies", "compare"]
    table_one, table_two, table_five, table_six, studies, compare = build_tables(names, MemoryTracker())
    assert len(table_one.rows) == len(table_five.rows) == 12
    assert {row[3] for row in table_one.rows} == {"L", "LL"}
    assert len(table_two.rows) == len(reference.transfer())
    assert [(row[0], row[7], row[9]) for row in table_two.rows[:2]] == [("bert", 89.3, 87.4), ("bert", 87.0, 81.3)]
    assert [row[0] for row in table_six.rows] == [str(number) for number in range(1, 27)]
    assert len({row[1] for row in table_six.rows}) == 26
    assert len({row[2] for row in table_six.rows}) == 24
    assert table_six.drawings == ()
    assert (studies.rows, studies.notes) == ((), ("There are no studies in the store yet.",))
    assert compare.rows == ()
    for table in (table_one, table_two, table_five, table_six, studies, compare):
        assert all(each.render(table) for each in FORMATS.values())


def test_other_letters_come_by_themselves(store: MemoryTracker) -> None:
    (table,) = build_tables(["1"], store)
    (row,) = [row for row in table.rows if row[:4] == ("sick", "glove", "blm", "R")]
    assert row[4:9] == (8, pytest.approx(87.1), 87.6, pytest.approx(84.93), 84.7)  # the paper's: its Table 2
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


def test_another_metric_than_the_papers_stands_beside_none_of_its_numbers(store: MemoryTracker) -> None:
    study(store, "rank", 50, 0.79, 0.78, metric="spearman")
    study(store, "mrpc-f1", 3, 0.84, 0.83, dataset="mrpc", metric="f1")
    study(store, "rank-T", 3, 0.79, 0.78, cell="transferred", layers="C", source="mrpc", metric="spearman")
    one, two, five = build_tables(["1", "2", "5"], store)
    (row,) = [row for row in one.rows if row[:4] == ("sick", "glove", "blm", "L")]
    assert row[4:8] == (24, pytest.approx(85.98), 86.3, pytest.approx(84.02))
    assert ("mrpc", "glove", "blm", "L", None, None, 78.4) in [row[:7] for row in one.rows]
    assert [row[5] for row in two.rows if row[:5] == ("glove", "blm", "T", "mrpc", "sick")] == [2]
    assert [row[:4] for row in five.rows if row[4] == "ours"].count(("blm", "glove", "L", "sick")) == 1
    why = "Only in the tables studies and runs, since the paper's numbers are of another metric"
    assert f"{why}: mrpc-f1 (f1), rank (spearman), rank-T (spearman)." in one.notes
    assert f"{why}: rank-T (spearman)." in two.notes
    assert f"{why}: mrpc-f1 (f1), rank (spearman), rank-T (spearman)." in five.notes


def test_a_single_run_is_the_best_of_those_by_the_same_metric(store: MemoryTracker) -> None:
    tags = {**LABELS, "nasctl.dataset": "mine", "nasctl.cell": "transferred", "nasctl.layers": "C"}
    for name, metric, dev in (("by-f1", "f1", 0.8), ("by-accuracy", "accuracy", 0.9)):
        run = entry(0, dev, {**tags, "nasctl.source": "mrpc"}, test=dev, metric=metric, cells=(ENAS_24,))
        store.log_run(name, run, ())
    (table,) = build_tables(["2"], store)
    assert [row[6] for row in table.rows if row[4] == "mine"] == [pytest.approx(90.0), pytest.approx(80.0)]
    assert "Metrics on other data than the paper's: by-accuracy by accuracy, by-f1 by f1." in table.notes


def test_studies_with_as_many_trials_are_not_said_to_have_fewer(store: MemoryTracker) -> None:
    study(store, "sick-glove-blm-L-again", 24, 0.8, 0.7, sweep=PAPER)
    run = entry(0, 0.865, {**LABELS, "nasctl.letters": "R", "nasctl.vectors": "840B.txt"}, test=0.8, cells=(ENAS_24,))
    store.log_run("another", run, ())
    (table,) = build_tables(["1"], store)
    why = "is shown since none has more trials, and of those with as many its name is the first"
    left_out = "sick-glove-blm-L, sick-glove-blm-L-paper"
    assert f"sick-glove-blm-L-again {why}; left out: {left_out}." in table.notes
    why = "is shown since none of these single runs is better on dev, and of those as good its name is the first"
    assert f"another {why}; left out: sick-glove-blm-R-s0, sick-glove-blm-R-s1." in table.notes


def test_another_encoder_has_rows_of_its_own_beside_the_papers_bert(store: MemoryTracker) -> None:
    for number, vectors in enumerate(("package/model", "package/model, layers 0")):
        labels = {"embedding": "minilm", "encoder": "package/model", "vectors": vectors}
        study(store, f"sick-minilm-blm-L-{number}", 2 + number, 0.86, 0.85, **labels)
    (table,) = build_tables(("1",), store)
    rows = [row for row in table.rows if row[1].startswith("minilm")]
    assert [row[:5] for row in rows] == [("sick", "minilm:c", "blm", "L", 2), ("sick", "minilm:d", "blm", "L", 3)]
    assert {row[6] for row in rows} == {87.4}  # the paper's, with BERT
    names = [row[:4] for row in table.rows]
    assert names.index(rows[0][:4]) == names.index(("stsb", "bert", "blm", "L")) + 1
    note = "minilm:d is package/model, layers 0 instead of the paper's google-bert/bert-base-uncased@86b5e0934494."
    assert note in table.notes


def test_a_single_run_stands_for_its_configuration_and_vectors(store: MemoryTracker) -> None:
    (table,) = build_tables(["1"], store)
    (row,) = [row for row in table.rows if row[4] == "2 runs"]
    assert row[:4] == ("sick", "glove:a", "blm", "R")
    assert row[5:9] == (pytest.approx(86.5), 87.6, pytest.approx(84.5), 84.7)
    assert "glove:a is 840B.txt instead of the paper's glove.6B.300d.txt." in table.notes
    why = "sick-glove-blm-R-s0 is shown since it is the best of these single runs on dev"
    assert f"{why}; left out: sick-glove-blm-R-s1." in table.notes


def test_transferred_cells_stand_where_they_came_from(store: MemoryTracker) -> None:
    (table,) = build_tables(["2"], store)
    rows = {row[:5]: row[5:] for row in table.rows}
    assert rows["glove", "blm", "T", "mrpc", "sick"] == (2, pytest.approx(87.0), 87.3, pytest.approx(84.0), 83.5)
    assert rows["glove", "blm", "T", "sick", "mrpc"] == (None, None, 77.5, None, 71.9)
    assert rows["glove", "blm", "R", "random", "sick"][1:3] == (pytest.approx(87.1), 87.6)
    assert rows["glove", "esim", "EL", "sick", "sick"][2] is None  # not in the paper's Table 2
    assert "my_data" not in {row[4] for row in table.rows}


def test_cells_from_two_data_sets_are_two_rows(store: MemoryTracker) -> None:
    moved = {"cell": "transferred", "layers": "C"}
    for number, source in enumerate(("mrpc", "sick")):
        study(store, f"from-{source}", 2 + number, 0.8, 0.75 - number / 100, dataset="stsb", source=source, **moved)
    study(store, "from-stsb", 9, 0.9, 0.85, source="stsb", **moved)
    one, two, five = build_tables(["1", "2", "5"], store)
    rows = {row[:5]: row[5:] for row in two.rows}
    assert [rows["glove", "blm", "T", source, "stsb"][3] for source in ("mrpc", "sick")] == [75.0, 74.0]
    assert rows["glove", "blm", "T", "stsb", "sick"][:3] == (9, pytest.approx(90.0), None)
    assert rows["glove", "blm", "T", "mrpc", "sick"][:3] == (2, pytest.approx(87.0), 87.3)
    assert {row[3]: row[4:7:2] for row in one.rows if row[0] == "sick" and "T" in row[3]} == {
        "T": (2, 87.3),
        "T:stsb": (9, None),  # the paper's are from mrpc
    }
    assert [row[3] for row in one.rows if row[0] == "stsb" and "T" in row[3]] == ["T:mrpc", "T:sick"]
    assert [row[2] for row in five.rows if row[3:5] == ("stsb", "ours") and "T" in row[2]] == ["T:mrpc", "T:sick"]
    for table in (one, five):
        assert "T:stsb: cells found on stsb, as none of the paper's on these data were." in table.notes


def test_the_papers_row_stays_where_ours_is_from_other_data() -> None:
    tracker = MemoryTracker()
    study(tracker, "from-stsb", 9, 0.9, 0.85, cell="transferred", layers="C", source="stsb")
    (table,) = build_tables(["1"], tracker)
    rows = [(row[3], row[4], row[6]) for row in table.rows if row[0] == "sick" and "T" in str(row[3])]
    assert rows == [("T", None, 87.3), ("T:stsb", 9, None)]


def test_cells_of_another_search_stand_beside_none_of_the_papers_numbers() -> None:
    tracker = MemoryTracker()
    found = {"cells": (DRAWN,), "cell": "searched", "layers": "C"}
    study(tracker, "by-enas", 10, 0.86, 0.83, search="enas", **found)
    study(tracker, "by-random", 10, 0.87, 0.845, search="random", **found)
    study(tracker, "by-short", 12, 0.85, 0.82, search="enas", search_changed="search.strategy.steps=5", **found)
    one, two, five = build_tables(["1", "2", "5"], tracker)
    rows = [row for row in one.rows if row[:3] == ("sick", "glove", "blm") and row[3] in {"E", "E:random"}]
    assert [(row[3], row[4], row[8]) for row in rows] == [("E", 10, 84.1), ("E", 12, 84.1), ("E:random", 10, None)]
    assert [row[2:6] for row in two.rows if row[2] == "E:random"] == [("E:random", "sick", "sick", 10)]
    assert {row[2] for row in five.rows if row[4] == "ours"} == {"E", "E:random"}
    for table in (one, two, five):
        assert "E:random: cells found by search=random, the paper's by ENAS." in table.notes
        why = "With cells of a search of another method than conf/ has: by-short (search.strategy.steps=5)."
        assert why in table.notes
        assert not any("left out" in note for note in table.notes)


def test_what_is_called_alike_but_is_of_other_pairs_has_rows_of_its_own() -> None:
    tracker = MemoryTracker()
    for number, (name, basis) in enumerate((("reviews", "b1"), ("questions", "b2"), ("reviews-again", "b1"))):
        study(tracker, name, 5 - number, 0.8, 0.7, dataset="own", basis=basis)
    (five,) = build_tables(["5"], tracker)
    assert sum(row[3:5] == ("own", "ours") for row in five.rows) == 2
    assert "Called alike, but of other pairs, vectors or readings: questions (4), reviews (5)." in five.notes
    assert "reviews is shown since it has the most trials; left out: reviews-again." in five.notes


def test_another_encoders_transfer_has_the_papers_score_in_both_tables() -> None:
    tracker = MemoryTracker()
    labels = {"embedding": "minilm", "encoder": "package/model", "vectors": "package/model", "model": "esim"}
    moved = {"cell": "transferred", "layers": "CL", "source": "mrpc"}
    study(tracker, "moved", 9, 0.88, 0.86, cells=(DRAWN, LSTM), **labels, **moved)
    one, two = build_tables(["1", "2"], tracker)
    (paper,) = [row[6::2] for row in one.rows if row[1] == "minilm:a" and row[3] == "TL"]
    (other,) = [row[7::2] for row in two.rows if row[0] == "minilm:a"]
    assert paper[:2] == other
    assert None not in other


def test_a_study_that_has_nothing_yet_is_not_passed_over() -> None:
    tracker = MemoryTracker()
    id_ = tracker.begin_study("gone", {**LABELS, "nasctl.dataset": "sick"}, "")
    tracker.log_trial(id_, "gone", entry(0, -1.0, LABELS, state="failed"))
    tracker.end_study(id_, "failed", {}, {}, [])
    studies, one, five = build_tables(["studies", "1", "5"], tracker)
    assert [(row[0], *row[8:13]) for row in studies.rows] == [("gone", 0, None, None, None, None)]
    assert "Not at their end: gone (failed)." in studies.notes
    assert "Without a score, since no trial has ended well: gone." in studies.notes
    assert all(row[4] is None for row in one.rows)
    assert all(row[4] == "paper" for row in five.rows)


def test_a_cell_has_the_papers_number_or_its_code(store: MemoryTracker) -> None:
    five, six = build_tables(["5", "6"], store)
    cells = {row[:5]: row[14] for row in five.rows}
    assert cells["blm", "glove", "R", "sick", "ours"] == cells["blm", "glove", "R", "sick", "paper"] == "24"
    assert cells["esim", "glove", "EL", "sick", "ours"] == CODE
    assert cells["blm", "glove", "C", "mrpc", "ours"] == "gru"
    assert cells["blm", "glove", "L", "sick", "ours"] is None
    below = {row[2]: row[:2] for row in six.rows[26:]}
    assert below[DRAWN["digest"]] == ("ours", CODE)
    assert below[GRU["digest"]][0] == "gru"
    assert len(below) == 2  # 24 stands above already
    assert {drawing.name: drawing.graph for drawing in six.drawings} == {
        f"cell-{cell['digest']}": cell_called(cell["code"]).graph for cell in (ENAS_24, DRAWN, GRU)
    }
    assert "Not at their end: sick-glove-esim-RL (running)." in six.notes


def test_what_the_time_of_a_study_is_made_of_is_said(store: MemoryTracker) -> None:
    (before,) = [row[13] for row in build_tables(["studies"], store)[0].rows if row[0] == "sick-glove-blm-T"]
    id_ = store.begin_study("sick-glove-blm-T", {}, "")
    for number, state in enumerate(("diverged", "pruned", "finished"), 2):
        told = {"nasctl.duplicate_of": "another 0"} if state == "finished" else {}
        store.log_trial(id_, "sick-glove-blm-T", entry(number, -1.0, told, state=state, seconds={"train": 1.0}))
    failed = entry(5, -1.0, state="failed", seconds={})  # as a trial whose attempts came to nothing
    store.log_trial(id_, "sick-glove-blm-T", failed)
    totals = add_up(store.runs("trial", {"nasctl.study": "sick-glove-blm-T"})).metrics()
    store.end_study(id_, "finished", flat_metrics(record(test=0.8, seconds={"evaluate": 99.0})) | totals, {}, [])
    studies, one = build_tables(["studies", "1"], store)
    assert [row[13] for row in studies.rows if row[0] == "sick-glove-blm-T"] == [before + 2.0]
    for table in (studies, one):
        (note,) = [note for note in table.notes if note.startswith("Time: ")]
        assert "its trials (finished, diverged or pruned), over all workers together" in note
    assert not any(note.startswith("Time: ") for note in build_tables(["runs"], store)[0].notes)


def test_another_search_space_has_rows_of_its_own() -> None:
    tracker = MemoryTracker()
    study(tracker, "small-one", 6, 0.8, 0.79)
    study(tracker, "whole", 5, 0.86, 0.84, sweep=PAPER)
    study(tracker, "small-two", 4, 0.79, 0.78, dataset="stsb")
    free = {"sweep": "paper/blm-bert-cells", "embedding": "bert", "cell": "random", "layers": "C"}
    for number, limits in enumerate(("paper", "none")):
        study(tracker, f"limits-{limits}", 2 + number, 0.85, 0.83, cells=(ENAS_24,), limits=limits, **free)
    study(tracker, "narrow", 7, 0.87, 0.85, sweep=PAPER, changed="training.epochs=30")
    one, two, five = build_tables(["1", "2", "5"], tracker)
    assert sorted(row[4] for row in one.rows if row[:4] == ("sick", "glove", "blm", "L")) == [5, 6, 7]
    assert [row[5] for row in two.rows if row[2:5] == ("R", "random", "sick") and row[5]] == [3, 2]
    others = "paper/blm-bert-cells with limits=none in limits-none (3)"
    note = "Another method than the paper's sweeps, with so many trials: "
    narrow = f"{PAPER} with training.epochs=30 in narrow (7)"
    assert f"{note}{others}; {narrow}; small in small-one (6), small-two (4)." in one.notes
    assert f"{note}{others}; {narrow}; small in small-one (6), small-two (4)." in five.notes
    assert f"{note}{others}." in two.notes


def test_single_runs_of_another_reading_have_rows_of_their_own() -> None:
    tracker = MemoryTracker()
    tracker.log_run("usual", entry(0, 0.8, test=0.79), ())
    tracker.log_run("other", entry(0, 0.81, {"nasctl.changed": "model.padding=zeros"}, test=0.78), ())
    one, runs = build_tables(["1", "runs"], tracker)
    for table in (one, runs):
        assert "Of another method than conf/ and sweeps/ have: other (model.padding=zeros)." in table.notes
    assert [row[4:6] for row in one.rows if row[:4] == ("sick", "glove", "blm", "L")] == [("run", 80.0), ("run", 81.0)]


@pytest.mark.parametrize("over", [True, False])
def test_a_study_whose_trials_all_diverged_has_no_score_and_no_winner(*, over: bool) -> None:
    tracker = MemoryTracker()
    labels = {**LABELS, "nasctl.cell": "random", "nasctl.layers": "C", "nasctl.letters": "R"}
    id_ = tracker.begin_study("lost", labels, "")
    for number in range(2):  # its last good epoch had a score
        lost = entry(number, -1.0, labels, state="diverged", dev={"pearson": 0.71}, cells=(ENAS_24,))
        tracker.log_trial(id_, "lost", lost)
    if over:
        tracker.end_study(id_, "finished", add_up(tracker.runs("trial")).metrics(), {}, [])
    one, two, five, six, studies = build_tables(["1", "2", "5", "6", "studies"], tracker)
    assert [row[4:9] for row in one.rows if (row[0], row[3]) == ("sick", "R")] == [(2, None, 87.6, None, 84.7)]
    assert "ours" not in [row[4] for row in five.rows]
    assert (len(six.rows), six.drawings) == (26, ())
    assert [(row[6], *row[8:13]) for row in studies.rows] == [(None, 2, None, None, None, None)]
    for table in (one, two, five, six, studies):
        assert "Without a score, since no trial has ended well: lost." in table.notes


def test_single_runs_have_their_own_table(store: MemoryTracker) -> None:
    (table,) = build_tables(["runs"], store)
    assert [(row[0], row[3], row[6]) for row in table.rows] == [
        ("sick-bow", "glove.6B.300d.txt", None),
        ("sick-glove-blm-R-s0", "840B.txt", "24"),
        ("sick-glove-blm-R-s1", "840B.txt", "24"),
    ]
    (studies,) = build_tables(["studies"], store)
    assert "sick-bow" not in [row[0] for row in studies.rows]


def test_a_table_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no table 'study'") as raised:
        build_tables(["1", "study"], MemoryTracker())
    assert "studies" in raised.value.hint
    assert set(TABLES) == {"1", "2", "5", "6", "studies", "runs", "compare"}


def test_tables_load_no_torch() -> None:
    program = (
        "import sys, nasctl.reports.tables; print(sorted({'torch', 'mlflow', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
