"""A tracker is completed, or made anew, from the studies' store: whatever it lacks, tables are the same afterwards."""

import json
import sqlite3
import threading
from contextlib import closing

import pytest
from studies import broken, database, drive, finals, order, scheduler, study

from nasctl.cli.verify import _shown
from nasctl.errors import FailedTrialsError, StateMismatchError
from nasctl.tracking.late import LateTracker
from nasctl.tracking.memory import MemoryTracker
from nasctl.tuning import writer
from nasctl.tuning.events import TrialEnded, Warned
from nasctl.tuning.folders import DrivenFolder
from nasctl.tuning.study import StudyStore
from nasctl.tuning.syncing import sync_study

FAULTS = {"s/1": {"kind": "raise", "attempts": 9}}


class Away(MemoryTracker):
    """A tracker that cannot be reached while `away` is set."""

    def __init__(self):
        super().__init__()
        self.away = threading.Event()

    def log_trial(self, study_id, study, entry):
        if self.away.is_set():
            raise ConnectionError("away")
        return super().log_trial(study_id, study, entry)

    def end_study(self, *arguments):
        if self.away.is_set():
            raise ConnectionError("away")
        super().end_study(*arguments)


class Unreachable(Away):
    """It cannot be read then, either."""

    def runs(self, *arguments, **keywords):
        if self.away.is_set():
            raise ConnectionError("away")
        return super().runs(*arguments, **keywords)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(writer, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(writer, "LONGEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(writer.TrackerWriter.__init__, "__defaults__", (0.2,))


def sync(root, tracker, name="s", **options):
    store = StudyStore(database(root))
    try:
        return sync_study(store, root, tracker, name, **options)
    finally:
        store.close()


def stored(root):
    store = StudyStore(database(root))
    try:
        return [each.name for each in store.progress()]
    finally:
        store.close()


def test_a_lost_tracker_is_made_anew_and_tables_are_the_same(tmp_path):
    before = MemoryTracker()
    drive(tmp_path, [order(study(trials=5, retries=1), faults=FAULTS)], tracker=before)
    after = MemoryTracker()
    synced = sync(tmp_path, after, rebuild=True)
    assert (synced.sent, synced.trials, synced.state) == (6, 6, "finished")
    assert _shown(after) == _shown(before)
    assert broken(tmp_path, after) == []
    old, new = ({run.trial: run for run in each.runs()} for each in (before, after))
    assert old.keys() == new.keys()
    for number, run in new.items():
        assert (run.tags, run.metrics, run.params) == (old[number].tags, old[number].metrics, old[number].params)
        assert number is None or run.started == pytest.approx(old[number].started, abs=2.0)
    (parent,) = after.runs("study")
    assert after.configs[parent.id] == "study: s\n"
    assert [path.name for path in after.files[parent.id]] == ["best.safetensors", "predictions.jsonl"]
    assert sync(tmp_path, after).sent == 0


def test_a_study_that_is_driven_from_another_folder_is_logged_from_there(tmp_path):
    here, there, tracker = tmp_path / "here", tmp_path / "there", MemoryTracker()
    store = StudyStore(database(tmp_path))
    with scheduler(here, [order(study(trials=3))], url=store.url) as driver:
        events = driver.run()
        next(events)
        with pytest.raises(StateMismatchError, match="driven by another scheduler, from another folder"):
            sync_study(store, there, tracker, "s")
        assert not list(tracker.runs())
        list(events)
        assert sync_study(store, there, tracker, "s").sent == 3
        assert finals(list(driver.run()))["s"].finished == 3  # whoever syncs lets go of it, too
    store.close()


def test_times_are_those_of_the_trials(tmp_path):
    tracker = MemoryTracker()
    drive(tmp_path, [order(study(trials=1))])
    with closing(sqlite3.connect(tmp_path / "studies.db")) as connection:
        connection.execute("UPDATE trials SET datetime_complete = '2020-01-02 03:04:05.000000'")
        connection.commit()
    sync(tmp_path, tracker)
    (trial,) = tracker.runs("trial")
    assert trial.started + trial.metrics["seconds"] == pytest.approx(1577934245.0, abs=0.01)


def test_a_tracker_that_is_away_stops_no_study_and_is_completed_later(tmp_path, impatient):
    tracker, whole, events = Away(), MemoryTracker(), []
    with scheduler(tmp_path, [order(study(trials=6))], tracker=tracker) as driver:
        for event in driver.run():
            events.append(event)
            if isinstance(event, TrialEnded) and event.number == 1:
                tracker.away.set()
    assert finals(events)["s"].finished == 6
    assert any(isinstance(event, Warned) and "nasctl sync completes it" in event.message for event in events)
    assert any(each.mend == "nasctl sync s" for each in broken(tmp_path, tracker))
    tracker.away.clear()
    synced = sync(tmp_path, tracker)
    assert 4 <= synced.sent <= 6
    assert broken(tmp_path, tracker) == []
    sync(tmp_path, whole)
    assert _shown(tracker) == _shown(whole)


def test_a_tracker_that_is_away_at_the_start_is_opened_when_it_is_there(tmp_path, impatient):
    tracker, tries = MemoryTracker(), iter(range(9))

    def opened():
        if next(tries) < 2:
            raise ConnectionError("not yet")
        return tracker

    drive(tmp_path, [order(study(trials=4))], tracker=LateTracker(opened))
    assert broken(tmp_path, tracker) == []
    assert next(tries) == 3  # opened once


def test_what_was_damaged_is_replaced_by_a_rebuild_only(tmp_path):
    tracker = MemoryTracker()
    drive(tmp_path, [order(study(trials=3)), order(study("t", trials=1, retries=0))], tracker=tracker)
    wanted = _shown(tracker)
    damaged = next(iter(tracker.runs("trial", {"nasctl.study": "s", "nasctl.trial": "2"})))
    damaged.metrics["value"] = 0.1
    (found,) = broken(tmp_path, tracker)
    assert found.mend == "nasctl sync --rebuild s"
    sync(tmp_path, tracker)
    assert broken(tmp_path, tracker) == [found]
    assert sync(tmp_path, tracker, rebuild=True).sent == 3
    assert broken(tmp_path, tracker) == []
    assert _shown(tracker) == wanted
    assert damaged.id not in {run.id for run in tracker.runs()}


def test_how_a_study_was_left_is_known_again(tmp_path):
    before = MemoryTracker()
    with pytest.raises(FailedTrialsError):
        drive(tmp_path, [order(study(trials=4, retries=0), faults=FAULTS)], tracker=before, max_failed=0)
    with scheduler(tmp_path, [order(study("t", trials=4))], tracker=before) as driver:
        for event in (events := driver.run()):
            if isinstance(event, TrialEnded):
                break
        events.close()
    after = MemoryTracker()
    assert sync(tmp_path, after).state == "failed"
    assert sync(tmp_path, after, "t").state == "interrupted"
    states = [sorted((run.study, run.state) for run in each.runs("study")) for each in (before, after)]
    assert states[0] == states[1] == [("s", "failed"), ("t", "interrupted")]
    drive(tmp_path, [order(study(trials=4, retries=0))], tracker=after)
    assert sync(tmp_path, after).state == "finished"


def test_nobody_else_may_be_driving_it(tmp_path):
    drive(tmp_path, [order(study(trials=1))])
    other = DrivenFolder(tmp_path, "s")
    other.acquire()
    with pytest.raises(StateMismatchError, match="is driven by another scheduler"):
        sync(tmp_path, MemoryTracker())
    other.release()


def test_a_study_of_the_same_name_in_another_store_is_left_in_peace(tmp_path, impatient):
    """Two people, two stores, one server: neither loses a trial, and nothing of one is told of the other."""
    tracker = Unreachable()
    drive(tmp_path / "hers", [order(study(trials=3))], tracker=tracker)
    hers = sorted(tracker.runs(), key=lambda run: run.id)
    with pytest.raises(StateMismatchError, match="MLflow has another study s, which was begun in another") as told:
        drive(tmp_path / "mine", [order(study(trials=2))], tracker=tracker)
    assert "store.experiment=OTHER" in told.value.hint
    assert stored(tmp_path / "mine") == []  # nothing is left that nasctl resume would stumble over
    drive(tmp_path / "mine", [order(study("t", trials=1))], tracker=tracker)

    tracker.away.set()  # as a server that cannot be asked before the study begins
    with scheduler(tmp_path / "mine", [order(study(trials=2))], tracker=tracker) as driver:
        events = []
        for event in driver.run():
            events.append(event)
            tracker.away.clear()
    assert finals(events)["s"].finished == 2
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert any("has another study s" in text and "store.experiment=OTHER" in text for text in warned)
    assert not any("nasctl sync completes it" in text for text in warned)
    for rebuild in (False, True):
        with pytest.raises(StateMismatchError, match="has another study s"):
            sync(tmp_path / "mine", tracker, rebuild=rebuild)
    (found,) = broken(tmp_path / "mine", tracker)
    assert (found.promise, "store.experiment=OTHER" in found.mend) == ("tracked", True)
    assert sorted(tracker.runs(tags={"nasctl.study": "s"}), key=lambda run: run.id) == hers
    assert broken(tmp_path / "hers", tracker) == []
    other = MemoryTracker()  # another experiment
    assert sync(tmp_path / "mine", other).sent == 2


def test_a_study_from_before_studies_had_a_uid_stays_the_same(tmp_path):
    tracker = MemoryTracker()
    drive(tmp_path / "old", [order(study(trials=1))], tracker=tracker)
    without_uid(tmp_path / "old")
    (parent,) = tracker.runs("study")
    del parent.tags["nasctl.uid"]
    with pytest.raises(StateMismatchError, match="has another study s"):
        drive(tmp_path / "new", [order(study(trials=1))], tracker=tracker)
    assert sync(tmp_path / "old", tracker).sent == 0
    drive(tmp_path / "old", [order(study(trials=2))], tracker=tracker)
    assert broken(tmp_path / "old", tracker) == []
    assert all("nasctl.uid" not in run.tags for run in tracker.runs())


def test_a_study_from_before_studies_had_a_uid_deletes_no_other(tmp_path):
    tracker = MemoryTracker()
    drive(tmp_path / "old", [order(study(trials=1))])
    without_uid(tmp_path / "old")
    drive(tmp_path / "new", [order(study(trials=2))], tracker=tracker)
    with pytest.raises(StateMismatchError, match="has another study s"):
        sync(tmp_path / "old", tracker, rebuild=True)
    assert broken(tmp_path / "new", tracker) == []


def without_uid(root):
    with closing(sqlite3.connect(root / "studies.db")) as connection:
        connection.execute("DELETE FROM study_user_attributes WHERE key = 'uid'")
        connection.commit()


def test_of_a_damaged_study_nothing_is_deleted(tmp_path):
    tracker = MemoryTracker()
    drive(tmp_path, [order(study(trials=2))], tracker=tracker)
    with closing(sqlite3.connect(tmp_path / "studies.db")) as connection:
        connection.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'record' AND trial_id = 1", [json.dumps({})]
        )
        connection.commit()
    with pytest.raises(StateMismatchError, match=r"damaged at trial 0 of s: it cannot be read"):
        sync(tmp_path, tracker, rebuild=True)
    assert len(list(tracker.runs("trial"))) == 2


def test_a_lost_folder_leaves_what_the_database_knows(tmp_path):
    drive(tmp_path, [order(study(trials=1))])
    DrivenFolder(tmp_path, "s").config.unlink()
    tracker = MemoryTracker()
    sync(tmp_path, tracker)
    (config,) = tracker.configs.values()
    assert json.loads(config)["name"] == "s"
