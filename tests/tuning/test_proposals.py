"""What a scheduler does with searches whose cells are proposed, and what kills leave of them, with no-op jobs."""

import json
from dataclasses import replace

import pytest
from studies import (
    Driven,
    broken,
    database,
    drive,
    order,
    proposals_order,
    proposals_spec,
    scheduler,
    study,
    without_time,
)
from toys import Toy

from nasctl.errors import FailedTrialsError, StateMismatchError, UsageError
from nasctl.search.proposers import PROPOSERS
from nasctl.spaces import SPACES
from nasctl.spaces.base import code_of
from nasctl.spaces.enas import EnasSpace
from nasctl.specs import SEARCH, search_digest
from nasctl.strategies import SpaceSpec
from nasctl.tracking.found import found
from nasctl.tracking.memory import MemoryTracker
from nasctl.tuning.driven_search import pinned
from nasctl.tuning.events import JobRepeated, JobStarted, SearchEnded, StudyEnded, StudyStarted, TrialEnded
from nasctl.tuning.searches import searches
from nasctl.tuning.study import StudyStore

SPACE = EnasSpace(8)


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def record_of(root, name="f"):
    (kept,) = (each for each in found(root) if each.name == name)
    return kept.entry.record


def same(one, other):
    """Whether two searches tried and found the same cells; the cells are part of the history."""
    return without_time(one) == without_time(other)


def leave(root, search, after):
    """Drive it until so many of its trials have ended."""
    with scheduler(root, [search]) as driver:
        events = driver.run()
        while after:
            after -= isinstance(next(events), TrialEnded)
        events.close()


@pytest.fixture
def evolution(monkeypatch):
    """The strategy `random`, replaced by one that learns."""
    monkeypatch.setitem(PROPOSERS, "random", "evolution:Evolution")


def test_it_ends_with_the_best_of_its_cells(tmp_path):
    tracker, spec = MemoryTracker(), proposals_spec(trials=12, count=4)
    events = drive(tmp_path, [proposals_order(spec=spec, levels=4)], tracker=tracker)
    assert events[0] == StudyStarted("f", 12, 0, 0, 0, None)
    assert {event.purpose for event in of(JobStarted, events)} == {"trial"}
    assert of(StudyEnded, events) == []
    record = events[-1].record
    assert isinstance(events[-1], SearchEnded)
    assert record == record_of(tmp_path)
    ended = {event.number: event.record for event in of(TrialEnded, events)}
    assert sorted(ended) == list(range(12))
    codes = [ended[number].cells[0]["code"] for number in range(12)]
    assert len({*codes}) == 12
    ranked = sorted(ended, key=lambda number: (-ended[number].value, number))
    assert len({ended[number].value for number in ended}) < 12  # there are equal ones
    assert [(cell.code, cell.score) for cell in record.found] == [
        (codes[number], ended[number].value) for number in ranked[:4]
    ]
    assert all(SPACE.decode(code_of(cell.code, SPACE)) for cell in record.found)
    assert (record.role, record.state, record.reason, record.test) == ("search", "finished", "", {})
    assert (record.digest, record.value) == (search_digest(spec), record.found[0].score)
    assert (record.epochs, record.best_epoch) == (12, ranked[0] + 1)
    assert [(epoch.cell, epoch.dev["pearson"]) for epoch in record.history] == [
        (code, ended[number].value) for number, code in enumerate(codes)
    ]
    folder = tmp_path / "searches" / "f"
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        *("config.yaml", "identity.json", "labels.json", "lock", "pool.json", "progress.json", "record.json")
    }
    assert list(folder.glob("scratch/*")) == []
    assert SEARCH.validate_json((folder / "identity.json").read_text()) == spec == pinned(tmp_path, "f")[0]
    assert len(json.loads((folder / "pool.json").read_text())) == 4
    assert not (tmp_path / "studies" / "f").exists()
    (run,) = tracker.runs()
    assert (run.kind, run.state, run.params["strategy.trials"]) == ("search", "finished", "12")
    assert broken(tmp_path, tracker) == []


def test_of_cells_that_are_one_graph_one_is_found(tmp_path):
    spec = proposals_spec(trials=40, count=40, space=SpaceSpec("enas", 3))
    record = drive(tmp_path, [proposals_order(spec=spec)])[-1].record
    graphs = record.counts["graphs"]
    assert record.counts["codes"] == 40 > graphs
    alike = replace(spec, found=replace(spec.found, distinct="graph"))
    found_ = drive(tmp_path, [proposals_order("g", spec=alike)])[-1].record
    assert len({cell.digest for cell in found_.found}) == len(found_.found) == graphs
    assert found_.reason == f"{graphs} distinct cells in 40 trials instead of 40"


def test_it_is_no_study_and_its_results_are_known_to_others(tmp_path):
    drive(tmp_path, [order(study("s", 2)), proposals_order()])
    store = StudyStore(database(tmp_path))
    assert [each.name for each in store.progress()] == ["s"]
    store.close()
    assert [(each.name, each.state) for each in searches(tmp_path)] == [("f", "finished")]
    again = drive(tmp_path, [proposals_order("g", proposals_spec(count=5))])
    assert [event.duplicate_of for event in of(TrialEnded, again)] == [f"f/{number}" for number in range(6)]
    assert again[-1].record.seconds == {}
    (event,) = drive(tmp_path, [proposals_order()])
    assert event == SearchEnded("f", record_of(tmp_path), None)
    with pytest.raises(StateMismatchError, match=r"strategy\.trials: 6 -> 7"):
        drive(tmp_path, [proposals_order(spec=proposals_spec(trials=7))])


def test_a_cell_that_fails_for_good_is_replaced_by_another(tmp_path):
    faults = {"f/2": {"kind": "raise", "attempts": 9}, "f/3": {"kind": "raise", "attempts": 1}}
    events = drive(tmp_path, [proposals_order(faults=faults, retries=1)])
    assert [(event.number, event.attempt) for event in of(JobRepeated, events)] == [(2, 1), (3, 1)]
    record = events[-1].record
    assert (record.counts["trials"], record.counts["trials_failed"], record.epochs) == (6, 1, 6)
    tried = [event.record.cells[0]["code"] for event in of(TrialEnded, events)]
    assert len({*tried}) == 7
    other = replace(proposals_spec(), training=replace(proposals_spec().training, seed=1))
    faults = {"g/0": {"kind": "raise", "attempts": 9}}
    with pytest.raises(FailedTrialsError, match="1 trials of g failed, 0 may"):
        drive(tmp_path, [proposals_order("g", other, faults=faults, retries=0)], max_failed=0)


def test_where_every_cell_diverges_nothing_is_found(tmp_path):
    events = drive(tmp_path, [proposals_order(value=float("nan"))])
    record = events[-1].record
    assert (record.state, record.found, record.value) == ("diverged", (), -1.0)
    assert record.reason == "0 distinct cells in 6 trials instead of 3"
    assert record.history[0].dev == {}


@pytest.mark.parametrize("after", [1, 9])
def test_one_that_is_left_makes_the_same_proposals(tmp_path, after):
    spec = proposals_spec(trials=12)
    whole = drive(tmp_path / "whole", [proposals_order(spec=spec, levels=4)])[-1].record
    leave(tmp_path, proposals_order(spec=spec, levels=4), after)
    assert [(each.state, each.epochs, each.at_most) for each in searches(tmp_path)] == [("stopped", after, 12)]
    assert same(drive(tmp_path, [proposals_order(spec=spec, levels=4)])[-1].record, whole)


def test_a_strategy_that_learns_proposes_the_same_in_generations(tmp_path, evolution):
    order_ = proposals_order(spec=proposals_spec(trials=20), levels=50, generation=8)
    whole = drive(tmp_path / "whole", [order_])[-1].record
    plain = drive(tmp_path / "plain", [proposals_order(spec=proposals_spec(trials=20), levels=50)])[-1].record
    assert [epoch.cell for epoch in plain.history] != [epoch.cell for epoch in whole.history]  # it was told one by one
    for after in (3, 13):
        leave(tmp_path / str(after), order_, after)
        assert same(drive(tmp_path / str(after), [order_])[-1].record, whole)


def test_codes_may_differ_in_length_and_the_space_may_run_out(tmp_path, monkeypatch):
    monkeypatch.setitem(SPACES, "toy", lambda nodes: Toy())
    spec = proposals_spec(trials=6, count=6, space=SpaceSpec("toy", 1))
    with scheduler(tmp_path, [proposals_order(spec=spec)]) as driver:
        events = driver.run()
        while not isinstance(next(events), TrialEnded):
            pass
        events.close()
    record = drive(tmp_path, [proposals_order(spec=spec)])[-1].record
    assert {len(cell.code.split("-")) for cell in record.found} == {3, 4}
    assert len(record.found) == 6
    with pytest.raises(UsageError, match="none but the 6 cells that were tried"):
        drive(tmp_path, [proposals_order("g", proposals_spec(trials=7, space=SpaceSpec("toy", 1)))])


# --- killed -----------------------------------------------------------------------------------------------------------


HEAVY = [pytest.param(point, marks=pytest.mark.faults) for point in ("asked:3", "done:5", "search-end")]


@pytest.mark.parametrize("point", ["told:2", "search-files", *HEAVY])
def test_one_that_is_killed_makes_the_same_proposals(tmp_path, point, monkeypatch, checkout):
    spec = proposals_spec(trials=6)
    whole = drive(tmp_path / "whole", [proposals_order(spec=spec, levels=4)])[-1].record
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    monkeypatch.setenv("NASCTL_FAULT", point)
    with Driven(tmp_path, proposals=6, workers=0, levels=4) as driven:
        assert driven.end()[0] == -9
    monkeypatch.delenv("NASCTL_FAULT")
    assert bool(found(tmp_path)) == (point == "search-end")
    assert same(drive(tmp_path, [proposals_order(spec=spec, levels=4)])[-1].record, whole)
    assert list(tmp_path.glob("searches/f/scratch/*")) == []
