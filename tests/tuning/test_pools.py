"""Studies that choose a cell from a pool, of no-op jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from studies import RUN_SPEC, SMALL_SPACE, database, drive, finals, order, study

from nasctl.cells.library import LIBRARY
from nasctl.cells.spelling import digest_of, spelled
from nasctl.errors import StateMismatchError
from nasctl.specs import Choice, LayerSpec, Pool, PoolCell, StudySpec
from nasctl.tracking.memory import MemoryTracker
from nasctl.tuning.events import TrialEnded
from nasctl.tuning.study import StudyStore, TrialStore


def choosing(*names: str, trials: int = 6, wide: bool = True) -> StudySpec:
    """A study over library cells in the second of two layers."""
    cells = tuple(PoolCell(name, spelled(LIBRARY[name].graph)) for name in names)
    run = replace(RUN_SPEC, layers=(LayerSpec("lstm", 8), LayerSpec(cells[0].cell, 8)))
    space = (*(SMALL_SPACE if wide else ()), ("architecture", Choice("choice", tuple(sorted(names)))))
    return study(trials=trials, run=run, pool=Pool((2,), cells), space=space)


def test_every_trial_is_logged_under_the_name_of_its_cell(tmp_path):
    tracker = MemoryTracker()
    events = drive(tmp_path, [order(choosing("gru", "rnn", "enas-24"))], tracker=tracker)
    runs = list(tracker.runs("trial"))
    assert len({run.params["architecture"] for run in runs}) > 1
    for run in runs:
        name = run.params["architecture"]
        assert run.tags["nasctl.code_2"] == name
        assert run.tags["nasctl.digest_2"] == digest_of(spelled(LIBRARY[name].graph))
        assert run.tags["nasctl.code_1"] == "lstm"
    final = finals(events)["s"]
    (best,) = [run for run in runs if run.trial == final.best]
    assert final.final.cells[1]["code"] == best.params["architecture"]
    assert next(tracker.runs("study")).tags["nasctl.code_2"] == best.params["architecture"]


def test_one_graph_under_two_names_is_computed_once(tmp_path):
    tracker = MemoryTracker()
    events = drive(tmp_path, [order(choosing("enas-8", "enas-10", wide=False))], tracker=tracker)
    ended = [event for event in events if isinstance(event, TrialEnded)]
    assert {event.record.cells[1]["code"] for event in ended} == {"enas-8", "enas-10"}
    assert sum(event.duplicate_of is None for event in ended) == 1
    assert len({run.tags["nasctl.digest"] for run in tracker.runs("trial")}) == 1


def test_another_pool_is_another_study(tmp_path):
    drive(tmp_path, [order(choosing("gru", "rnn", trials=2))])
    with pytest.raises(StateMismatchError, match=r"pool\.cells\.enas-24: None -> [0-9a-f]{12}"):
        drive(tmp_path, [order(choosing("gru", "enas-24", trials=2))])
    with pytest.raises(StateMismatchError, match=r"pool\.cells\.enas-24: None"):
        drive(tmp_path, [order(choosing("gru", "rnn", "enas-24", trials=2))])


def test_the_order_in_which_cells_were_named_is_none(tmp_path):
    first = drive(tmp_path, [order(choosing("gru", "rnn", trials=2))])
    again = drive(tmp_path, [order(choosing("rnn", "gru", trials=4))])
    assert finals(first)["s"].finished == 2
    assert finals(again)["s"].finished == 4


def test_an_unfinished_trial_keeps_its_cell(tmp_path):
    spec = choosing("gru", "rnn", "enas-24")
    store = StudyStore(database(tmp_path))
    asked = TrialStore(store, spec).ask()
    (again,) = TrialStore(store, spec).unfinished
    store.close()
    assert again == asked
    assert again.run.layers[1].cell == spelled(LIBRARY[str(asked.params["architecture"])].graph)
