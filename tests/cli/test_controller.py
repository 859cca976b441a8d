"""`nasctl report controller` over searches with made-up samples."""

from __future__ import annotations

import csv
import io
import shutil
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from records import LABELS, record
from searches import drawn, keep, three

from nasctl.errors import MachineError, StateMismatchError, UsageError
from nasctl.reports.controller import controller_tables
from nasctl.reports.examined import examined
from nasctl.reports.plots import controller_pictures
from nasctl.reports.render import FORMATS
from nasctl.search.samples import SampledCell
from nasctl.tracking.memory import MemoryTracker
from nasctl.tracking.records import FoundCell, TrialEntry

TABLES = ["correlations", "states", "scores", "gains", "ranks"]
CODES = ("tanh-0-relu", "relu-0-relu", "tanh-0-tanh", "relu-0-tanh")


def rows_of(table):
    names = [column.key or column.title for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in table.rows]


@pytest.fixture
def ranked(tmp_path):
    """A search of two nodes whose four cells were trained alone in two studies, and one more in another study."""
    cells = tuple(FoundCell(code, code, f"d{i}", -2.0, 0.7 + i / 100) for i, code in enumerate(CODES))
    keep(tmp_path, "found", {"trained": drawn(2, 5, memory=0.2, certainty=0.5)}, nodes=2, found=cells)
    tracker = MemoryTracker()
    searched = {"nasctl.cell": "searched", "nasctl.layers": "C"}
    values = [(0, 0.80), (0, 0.70), (1, 0.78), (2, 0.83), (3, 0.85)]
    for study, told, tags in (
        ("one", values, searched),
        ("drawn", [(1, 0.99)], searched | {"nasctl.cell": "random"}),
        ("elsewhere", [(1, 0.99)], searched | {"nasctl.dataset": "mrpc"}),
    ):
        id_ = tracker.begin_study(study, {**LABELS, **tags}, "")
        for number, (cell, value) in enumerate(told):
            made = record(value, cells=({"code": CODES[cell], "digest": f"d{cell}"},))
            params = {"architecture": CODES[cell]}
            tracker.log_trial(id_, study, TrialEntry(number, params, made, {**LABELS, **tags}))
    return examined(tmp_path), tracker


def test_shared_weights_rank_cells(ranked):
    searches, tracker = ranked
    table = controller_tables(searches, tracker, permutations=9, resamples=200)[-1]
    assert any("one that was tried more often had more chances" in note for note in table.notes)
    (row,) = table.rows
    # Alone: 0.80, 0.78, 0.83, 0.85 (the best trial of each); shared: ascending. One pair of six is the wrong way round.
    assert row[:3] == ("found", "4 of 4", pytest.approx(0.8))
    assert row[4] == pytest.approx(4 / 6)
    assert all(-1 <= low <= high <= 1 for low, high in (row[3], row[5]))
    (row,) = controller_tables(searches, MemoryTracker(), permutations=9, resamples=200)[-1].rows
    assert row == ("found", "0 of 4", None, None, None, None)


def test_two_codes_of_one_graph_are_one_cell(tmp_path):
    scores = (0.70, 0.74, 0.71, 0.73)
    cells = tuple(FoundCell(code, code, f"d{i // 2}", -2.0, scores[i]) for i, code in enumerate(CODES))
    keep(tmp_path, "found", {"trained": drawn(2, 5, memory=0.2, certainty=0.5)}, nodes=2, found=cells)
    tags = {**LABELS, "nasctl.cell": "searched", "nasctl.layers": "C"}
    tracker = MemoryTracker()
    id_ = tracker.begin_study("one", tags, "")
    for number, value in enumerate((0.8, 0.9)):
        made = record(value, cells=({"code": CODES[2 * number], "digest": f"d{number}"},))
        tracker.log_trial(id_, "one", TrialEntry(number, {"architecture": CODES[2 * number]}, made, tags))
    (row,) = controller_tables(examined(tmp_path), tracker, permutations=9, resamples=20)[-1].rows
    assert row == ("found", "2 of 2", None, None, None, None)


def test_cells_in_one_order_have_no_interval(ranked):
    searches, _ = ranked
    tags = {**LABELS, "nasctl.cell": "searched", "nasctl.layers": "C"}
    tracker = MemoryTracker()
    same = searches[0].record.result_version
    for version, values in ((same, (0.80, 0.81, 0.83, 0.85)), (same + 1, (0.99, 0.2, 0.98, 0.1))):
        id_ = tracker.begin_study(f"v{version}", tags, "")
        for number, value in enumerate(values):
            cells = ({"code": CODES[number], "digest": f"d{number}"},)
            made = record(value, cells=cells, result_version=version)
            tracker.log_trial(id_, f"v{version}", TrialEntry(number, {"architecture": CODES[number]}, made, tags))
    (row,) = controller_tables(searches, tracker, permutations=9, resamples=200)[-1].rows
    assert row == ("found", "4 of 4", pytest.approx(1.0), None, pytest.approx(1.0), None)


@pytest.mark.parametrize("form", ["markdown", "latex"])  # CSV has all digits, and the last ones are the machine's
def test_golden(tmp_path, checkout, form):
    three(tmp_path, 3, 12)
    tables = controller_tables(examined(tmp_path), MemoryTracker(), permutations=99, resamples=500)
    assert [table.name for table in tables] == [f"controller-{name}" for name in TABLES]
    told = "\n".join(FORMATS[form].render(table) for table in tables)
    path = checkout / "tests" / "golden" / "reports" / f"controller{FORMATS[form].ending}"
    assert told == path.read_text("utf-8")


@pytest.mark.parametrize("nodes", [6, 12])
def test_the_supervised_controller_ends_differently(tmp_path, nodes):
    three(tmp_path, nodes, 20)
    tables = controller_tables(examined(tmp_path), MemoryTracker(), permutations=99, resamples=500)
    spreads = {row["controller"]: row["spread"] for row in rows_of(tables[1])}
    assert spreads["supervised"] > 3 * spreads["plain"] > 6 * spreads["untrained"]
    exact = next(note for note in tables[0].notes if note.startswith("Graph edit"))
    assert exact.startswith(
        "Graph edit distances: 950 exact, 0 upper" if nodes == 6 else "Graph edit distances: 0 exact, 950"
    )
    assert {row["than uniform"] for row in rows_of(tables[3]) if row["drawn by"] == "plain"} == {"better"}
    for table in tables:
        lines = [line for line in FORMATS["markdown"].render(table).splitlines() if line.startswith("|")]
        assert max(map(len, lines)) <= 80


def test_the_command_writes_tables_and_figures(nasctl, store, tmp_path, monkeypatch):
    three(store, 4, 10)
    told = nasctl("report", "controller", "plain-4", "supervised-4", "--out", str(tmp_path / "out")).stdout.splitlines()
    names = [f"table-controller-{name}.md" for name in TABLES]
    names += [f"figure-controller-{name}.{end}" for name in ("certainty", "scores", "states") for end in ("svg", "png")]
    assert [line.rpartition("/")[2] for line in told] == names
    assert all((tmp_path / "out" / name).stat().st_size > 500 for name in names)
    rows = list(csv.DictReader(io.StringIO(nasctl("report", "controller", "random-4", "--format", "csv").stdout)))
    assert {row["search"] for row in rows[:4]} == {"random-4"}


def test_what_cannot_be_reported_is_told(nasctl, store):
    assert "has examined its samples yet" in nasctl("report", "controller").stderr
    keep(store, "plain", {"trained": drawn(3, 2, memory=0.1, certainty=0.5)}, nodes=3)
    wrong = nasctl("report", "controller", "plane")
    assert wrong.exit_code == 2
    assert "did you mean plain" in wrong.stderr
    behind = nasctl("report", "1", "controller")
    assert behind.exit_code == 2
    assert "it comes first" in behind.stderr


def test_a_search_without_samples_is_left_out_or_told(tmp_path):
    keep(tmp_path, "old", {}, nodes=3)
    (tmp_path / "searches" / "old" / "samples.json").unlink()
    with pytest.raises(MachineError, match="no search"):
        examined(tmp_path)
    with pytest.raises(UsageError, match="the search old examined no samples"):
        examined(tmp_path, ["old"])
    keep(tmp_path, "new", {}, nodes=3)
    assert [each.name for each in examined(tmp_path)] == ["new"]
    (tmp_path / "searches" / "new" / "record.json").write_text("{}")
    with pytest.raises(StateMismatchError, match="is no record"):
        examined(tmp_path)


def test_a_search_that_ended_with_nothing(tmp_path):
    """No policy, then one sample without a score: tables say so, and no figure is drawn of nothing."""
    keep(tmp_path, "none", {}, nodes=3)
    tables = controller_tables(examined(tmp_path), MemoryTracker())
    assert [len(table.rows) for table in tables] == [0, 0, 0, 0, 1]
    assert list(controller_pictures(examined(tmp_path))) == []
    keep(tmp_path, "one", {"trained": (SampledCell("tanh-0-relu-0-relu", hidden=(0.0, 0.0)),)}, nodes=3)
    tables = controller_tables(examined(tmp_path), MemoryTracker())
    assert [row[4:6] for row in tables[0].rows] == [(None, None)] * 4
    assert "No sample has a score." in tables[2].notes
    assert [each.name for each in controller_pictures(examined(tmp_path))] == ["controller-states"]
    assert all(form.render(table) for form in FORMATS.values() for table in tables)


@pytest.mark.parametrize(("samples", "rows"), [(9, 0), (10, 1)])
def test_few_scores_have_no_interval(tmp_path, samples, rows):
    drawn_ = {policy: drawn(3, samples, memory=0.1, certainty=0.5) for policy in ("uniform", "trained")}
    keep(tmp_path, "few", drawn_, nodes=3)
    table = controller_tables(examined(tmp_path), MemoryTracker(), permutations=9, resamples=50)[3]
    assert len(table.rows) == rows


def test_one_score_has_no_interval(tmp_path):
    one = (SampledCell("tanh-0-relu-0-relu", score=0.5),)
    keep(tmp_path, "one", {"trained": one, "uniform": one}, nodes=3)
    assert controller_tables(examined(tmp_path), MemoryTracker())[3].rows == ()


def test_figures_are_whole_and_the_same_each_time(tmp_path):
    keep(tmp_path, "one", {"trained": drawn(3, 3, memory=0.2, certainty=0.5)}, nodes=3)
    first, again = (list(controller_pictures(examined(tmp_path))) for _ in range(2))
    assert first == again
    for picture in first:
        assert ET.fromstring(picture.svg).tag.endswith("svg")
        assert picture.png.startswith(b"\x89PNG")


def test_a_name_is_text_in_every_form(tmp_path):
    """A folder may be called anything: no formula runs in a spreadsheet, no cell of a table ends early."""
    keep(tmp_path, "=cmd|x$", {"trained": drawn(3, 4, memory=0.2, certainty=0.5)}, nodes=3)
    tables = controller_tables(examined(tmp_path), MemoryTracker(), permutations=9)
    assert "\n'=cmd|x$," in FORMATS["csv"].render(tables[0])
    assert "=cmd\\|x$ |" in FORMATS["markdown"].render(tables[0])
    assert next(controller_pictures(examined(tmp_path))).name == "controller-certainty"


def test_correlations_are_shown_in_full_in_csv(tmp_path):
    three(tmp_path, 3, 12)
    table = controller_tables(examined(tmp_path), MemoryTracker(), permutations=9, resamples=200)[0]
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"].render(table))))
    shown = [float(row["rho"]) for row in rows if row["rho"]]
    assert np.allclose(shown, [row[4] for row in table.rows if row[4] is not None], rtol=1e-12)


def test_matplotlib_is_there_for_figures_only(nasctl, store, monkeypatch):
    import sys

    three(store, 3, 4)
    monkeypatch.setitem(sys.modules, "nasctl.reports.plots", None)
    assert nasctl("report", "controller", "plain-3").exit_code == 0
    shutil.rmtree(store / "searches")
