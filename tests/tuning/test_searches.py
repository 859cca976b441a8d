"""What a scheduler does with searches, over the pool in its own process, with no-op jobs."""

import json
from dataclasses import replace

import pytest
from studies import broken, children, drive, finals, order, scheduler, search_order, search_spec, study, without_time

from nasctl.errors import FailedTrialsError, StateMismatchError
from nasctl.files import file_sha256
from nasctl.specs import SEARCH, search_digest
from nasctl.tracking.found import found
from nasctl.tracking.late import LateTracker
from nasctl.tracking.memory import MemoryTracker
from nasctl.tuning.driven_search import pinned, search_parameters
from nasctl.tuning.events import EpochEnded, JobRepeated, JobStarted, SearchEnded, SearchStarted, StudyEnded, Warned
from nasctl.tuning.folders import DrivenFolder
from nasctl.tuning.searches import searches
from nasctl.tuning.writer import TrackerWriter
from nasctl.workers import noop


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def test_a_search_is_one_job_whose_result_is_kept_and_tracked(tmp_path):
    tracker = MemoryTracker()
    events = drive(tmp_path, [search_order()], tracker=tracker)
    assert events[0] == SearchStarted("f", 3, again=False)
    (started,) = of(JobStarted, events)
    assert (started.study, started.purpose, started.attempt) == ("f", "search", 1)
    assert [event.epoch.epoch for event in of(EpochEnded, events)] == [1, 2, 3]
    ended = events[-1]
    assert isinstance(ended, SearchEnded)
    folder = tmp_path / "searches" / "f"
    (kept,) = found(tmp_path)
    assert (kept.name, kept.entry.record) == ("f", ended.record)
    assert len({cell.code for cell in kept.entry.record.found}) == 5
    assert {path.name for path in kept.files} == {
        *("config.yaml", "pool.json", "samples.json", "best.safetensors", "record.json")
    }
    assert [cell["code"] for cell in json.loads((folder / "pool.json").read_text())] == [
        cell.code for cell in ended.record.found
    ]
    assert (folder / "best.safetensors").read_text() == noop.checkpoint(search_spec())
    assert json.loads((folder / "best.json").read_text())["sha256"] == file_sha256(folder / "best.safetensors")
    assert SEARCH.validate_json((folder / "identity.json").read_text()) == search_spec()
    assert pinned(tmp_path, "f") == (search_spec(), "")
    assert list((folder / "scratch").iterdir()) == []
    assert not (folder / "owner.json").exists()
    (run,) = tracker.runs()
    assert (run.kind, run.state, run.tags["nasctl.name"]) == ("search", "finished", "f")
    assert run.tags["nasctl.search"] == "random_ws"
    assert run.tags["nasctl.digest"] == search_digest(search_spec())
    assert (run.params["strategy.controller.hidden"], run.params["space.nodes"], run.params["hidden_1"]) == (
        *("8", "4", "8"),
    )
    assert (run.metrics["value"], run.metrics["epoch/reward"], run.metrics["epoch/dev/pearson"]) == (0.5, 0.5, 0.5)
    assert tracker.files[run.id] == kept.files
    assert broken(tmp_path, tracker) == []


def test_another_search_of_the_same_name_in_another_store_is_left_in_peace(tmp_path):
    tracker, specs = MemoryTracker(), {"hers": search_spec(), "mine": search_spec(child_steps=200)}
    for store, spec in specs.items():
        drive(tmp_path / store, [search_order(spec=spec)], tracker=tracker)
    assert {run.tags["nasctl.digest"] for run in tracker.runs()} == set(map(search_digest, specs.values()))
    assert [broken(tmp_path / store, tracker) for store in specs] == [[], []]
    found(tmp_path / "mine")[0].forget(tracker)
    assert [bool(broken(tmp_path / store, tracker)) for store in specs] == [False, True]


def test_parameters_are_flat_and_of_one_kind_each():
    values = search_parameters(search_spec())
    assert values["strategy.controller.grad_norm"] == values["child_steps"] == "null"
    assert search_parameters(search_spec(child_steps=200))["child_steps"] == 200
    assert {type(value) for value in values.values()} <= {str, int, float}


def test_a_search_that_is_over_is_not_run_again_and_fills_an_empty_tracker(tmp_path):
    (first,) = of(SearchEnded, drive(tmp_path, [search_order()]))
    config = tmp_path / "searches" / "f" / "config.yaml"
    before = config.stat().st_mtime_ns
    tracker = MemoryTracker()
    for _ in range(2):
        (again,) = drive(tmp_path, [search_order()], tracker=tracker)
        assert again == SearchEnded("f", first.record, None)
    assert len(list(tracker.runs("search"))) == 1
    assert config.stat().st_mtime_ns == before


def test_another_search_of_the_same_name_is_refused_with_the_differences(tmp_path):
    drive(tmp_path, [search_order()])
    tracker = MemoryTracker()
    other = search_order(spec=search_spec(judged=9, epochs=7))
    with pytest.raises(StateMismatchError, match=r"training\.epochs: 3 -> 7, judged: 2 -> 9") as raised:
        drive(tmp_path, [order(study()), other], tracker=tracker)
    assert "search.name=OTHER to start another search" in raised.value.hint
    assert list(tracker.runs()) == []
    (tmp_path / "searches" / "f" / "identity.json").unlink()
    with pytest.raises(StateMismatchError, match="what f found is of the search"):
        drive(tmp_path, [other])


def test_a_damaged_record_or_identity_is_told(tmp_path):
    drive(tmp_path, [search_order()])
    folder = tmp_path / "searches" / "f"
    (folder / "record.json").write_text("{}")
    with pytest.raises(StateMismatchError, match=r"record\.json is no record"):
        found(tmp_path)
    (folder / "identity.json").write_text("{")
    with pytest.raises(StateMismatchError, match=r"identity\.json is damaged"):
        drive(tmp_path, [search_order()])
    (folder / "identity.json").write_text("{}")
    with pytest.raises(StateMismatchError, match="begun by another nasctl"):
        pinned(tmp_path, "f")
    assert pinned(tmp_path, "g") is None


@pytest.mark.parametrize(("first", "second"), [("study", "search"), ("search", "study")])
def test_a_name_is_given_once(tmp_path, first, second):
    orders = {"study": order(study("x", 1)), "search": search_order("x")}
    drive(tmp_path, [orders[first]])
    with pytest.raises(StateMismatchError, match=f"there is a {first} x in this store") as raised:
        drive(tmp_path, [orders[second]])
    assert raised.value.hint == f"{second}.name=OTHER starts another {second}"


def test_a_failed_attempt_goes_on_and_the_last_one_ends_everything(tmp_path):
    whole = of(SearchEnded, drive(tmp_path / "whole", [search_order()]))[0].record
    faults = {"f/search": {"kind": "raise", "attempts": 2}}
    events = drive(tmp_path, [search_order(faults=faults)])
    assert [(event.attempt, event.reason) for event in of(JobRepeated, events)] == [(1, "exception"), (2, "exception")]
    assert without_time(of(SearchEnded, events)[0].record) == without_time(whole)
    with pytest.raises(FailedTrialsError, match="the search g failed: exception: RuntimeError"):
        drive(tmp_path, [search_order("g", retries=0, faults={"g/search": {"kind": "raise"}})])
    (resumed, *_, ended) = drive(tmp_path, [search_order("g", retries=0)])
    assert resumed == SearchStarted("g", 3, again=True)
    assert without_time(ended.record) == without_time(whole)


def test_a_search_that_is_left_goes_on_after_its_last_epoch(tmp_path):
    whole = of(SearchEnded, drive(tmp_path / "whole", [search_order()]))[0].record
    with scheduler(tmp_path, [search_order()]) as driver:
        events = driver.run()
        while not isinstance(next(events), EpochEnded):
            pass
        events.close()
    (begun,) = searches(tmp_path)
    assert (begun.state, begun.found) == ("stopped", None)
    (tmp_path / "searches" / "f" / "scratch" / "left").mkdir()
    events = drive(tmp_path, [search_order()])
    assert [event.epoch.epoch for event in of(EpochEnded, events)] == [2, 3]
    record = of(SearchEnded, events)[0].record
    assert record.counts == {"resumed": 1}
    assert without_time(record) == without_time(whole)
    assert list((tmp_path / "searches" / "f" / "scratch").iterdir()) == []


def test_a_search_whose_weights_are_lost_is_taken_up_again(tmp_path, monkeypatch):
    calls = []

    def full(spec):
        calls.append(spec)
        if len(calls) == 1:
            raise ValueError("not this time")
        return "weights"

    monkeypatch.setattr(noop, "checkpoint", full)
    events = drive(tmp_path, [search_order()])
    assert [event.reason for event in of(JobRepeated, events)] == ["exception"]
    assert (tmp_path / "searches" / "f" / "best.safetensors").read_text() == "weights"


def test_a_score_that_is_not_finite_is_kept_as_the_worst(tmp_path):
    drive(tmp_path, [search_order(value=float("nan"))])
    (kept,) = found(tmp_path)
    assert (kept.entry.record.state, kept.entry.record.value) == ("diverged", -1.0)
    assert kept.entry.record.history[0].dev == {}


def test_a_study_and_a_search_share_the_workers(tmp_path):
    tracker = MemoryTracker()
    events = drive(tmp_path, [order(study(trials=4)), search_order("f"), search_order("g")], tracker=tracker)
    assert {event.search for event in of(SearchEnded, events)} == {"f", "g"}
    turns = [event.study for event in of(JobStarted, events)]
    assert turns == ["s", "f", "g", "s", "s", "s", "s"]
    alone = finals(drive(tmp_path / "alone", [order(study(trials=4))]))["s"]
    (ended,) = of(StudyEnded, events)
    assert (ended.finished, ended.best, ended.final.value) == (4, alone.best, alone.final.value)
    assert children(tracker) == dict.fromkeys(range(4), "finished")
    assert len(list(tracker.runs("search"))) == 2
    assert broken(tmp_path, tracker) == []


def test_a_tracker_that_is_away_costs_nothing_and_gets_it_later(tmp_path, monkeypatch):
    def away():
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(TrackerWriter.__init__, "__defaults__", (0.2,))
    events = drive(tmp_path, [search_order()], tracker=LateTracker(away))
    assert of(SearchEnded, events)
    assert "the tracker lacks some of it; nasctl sync completes it" in [event.message for event in of(Warned, events)]
    tracker = MemoryTracker()
    (lacking,) = broken(tmp_path, tracker)
    assert (lacking.promise, lacking.where, lacking.mend) == ("tracked", "the search", "nasctl sync f")
    for kept in found(tmp_path):
        kept.log(tracker)
        kept.log(tracker)
    assert broken(tmp_path, tracker) == []
    kept.forget(tracker)
    assert list(tracker.runs()) == []
    other = replace(kept, entry=replace(kept.entry, record=replace(kept.entry.record, value=0.1), params={}))
    other.log(tracker)
    assert {each.what for each in broken(tmp_path, tracker)} == {
        *("MLflow has the value 0.1, it is 0.5", "MLflow has other parameters")
    }


def test_a_search_that_somebody_drives_is_refused(tmp_path):
    folder = DrivenFolder(tmp_path, "f", "search")
    folder.acquire()
    assert [search.state for search in searches(tmp_path)] == []
    folder.describe({}, "")
    assert [search.state for search in searches(tmp_path)] == ["running"]
    with pytest.raises(StateMismatchError, match="the search f is driven by another scheduler"):
        drive(tmp_path, [search_order()])
    folder.release()
