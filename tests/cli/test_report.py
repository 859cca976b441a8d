"""`nasctl report` on a store that holds studies of LSTMs and of drawn cells."""

from __future__ import annotations

import shutil
import types
from pathlib import Path

import pytest
from records import LABELS, entry, record, write_predictions

from nasctl.cells import draw
from nasctl.tracking.records import TrialEntry, flat_metrics
from nasctl.tracking.store import MlflowTracker
from nasctl.tracking.totals import add_up

LSTM, FOUND = {"code": "lstm", "digest": "lstm"}, {"code": "enas-24", "digest": "4d0ebb24fed4"}


@pytest.fixture
def studies(store: Path) -> None:
    """An LSTM study and one of drawn cells, on the same test pairs."""
    tracker = MlflowTracker(f"sqlite:///{store}/mlflow.db", store / "artifacts", "nasctl")
    gold = [float(number % 5) for number in range(40)]
    for letter, cell, noise in (("L", LSTM, 2.0), ("R", FOUND, 0.5)):
        name = f"sick-glove-blm-{letter}"
        source = {"nasctl.cell": "random", "nasctl.layers": "C", "nasctl.letters": "R"} if letter == "R" else {}
        id_ = tracker.begin_study(name, {**LABELS, **source}, "")
        plain = entry(0, 0.8, source, cells=(cell,))
        params = plain.params | ({"architecture": cell["code"]} if letter == "R" else {})
        tracker.log_trial(id_, name, TrialEntry(0, params, plain.record, plain.tags))
        metrics = flat_metrics(record(0.8, test=0.79)) | add_up(tracker.runs("trial", {"nasctl.study": name})).metrics()
        made = [score + noise * (number % 3) for number, score in enumerate(gold)]
        files = [write_predictions(store / letter / "predictions.jsonl", gold, made)]
        tracker.end_study(id_, "finished", metrics, {"nasctl.best_trial": "0", "nasctl.metric": "pearson"}, files)


def test_a_study_of_drawn_cells_is_reported(nasctl, studies, tmp_path, monkeypatch):
    told = nasctl("report").stdout
    titles = [line for line in told.splitlines() if line.startswith("### ")]
    assert [title[4:10] for title in titles] == ["All st", "Differ", "LSTMs ", "Cells ", "Hyperp", "Cells:"]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in told.splitlines() if line.startswith("|")]
    assert ["sick", "glove", "blm", "R", "1", "80.0", "87.6", "79.0", "84.7", "10 s"] in rows
    assert "24, the cell of the best trial of sick-glove-blm-R" in told
    assert told.count("```mermaid") == 1

    compared = [line.split("|") for line in nasctl("report", "compare").stdout.splitlines()]
    (row,) = [[cell.strip() for cell in line[1:-1]] for line in compared if "sick-glove-blm-R" in "|".join(line)]
    assert row[1:5] == ["sick-glove-blm-L", "lstm", "sick-glove-blm-R", "24"]
    assert row[-1] == "worse"

    monkeypatch.setattr(shutil, "which", lambda _: "/bin/dot")
    monkeypatch.setattr(draw, "to_picture", lambda graph, kind, title: f"<svg>{kind}: {title}</svg>")
    paths = nasctl("report", "6", "--out", str(tmp_path / "out")).stdout.splitlines()
    assert [Path(path).name for path in paths] == ["table-6.md", "cell-4d0ebb24fed4.svg"]
    assert "<svg>svg: 24, the cell of" in Path(paths[1]).read_text()
    monkeypatch.setattr(shutil, "which", lambda _: None)
    shutil.rmtree(tmp_path / "out")
    assert len(nasctl("report", "6", "--out", str(tmp_path / "out")).stdout.splitlines()) == 1

    # A person at a terminal reads the cell itself.
    monkeypatch.setattr(
        "nasctl.cli.report.sys", types.SimpleNamespace(stdout=types.SimpleNamespace(isatty=lambda: True))
    )
    read = nasctl("report", "6").stdout
    assert "mermaid" not in read
    assert "    v6 = blend(sigmoid(linear(x, h1, +)), sigmoid(linear(x, h1, +)), h1)" in read.splitlines()


def test_predictions_that_a_server_keeps_are_read_from_the_store(nasctl, store, studies):
    told = nasctl("report", "compare").stdout
    shutil.rmtree(store / "artifacts")
    for letter in "LR":
        (store / "studies").mkdir(exist_ok=True)
        (store / letter).rename(store / "studies" / f"sick-glove-blm-{letter}")
    assert nasctl("report", "compare").stdout == told
