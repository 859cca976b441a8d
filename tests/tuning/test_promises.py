"""Promises: a whole study keeps them all, and each kind of damage breaks the one that it should."""

import dataclasses
import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from studies import database, drive, order, scheduler, study, typed

from nasctl.cli.verify import _shown
from nasctl.errors import UsageError
from nasctl.tracking.memory import MemoryTracker
from nasctl.tuning.events import TrialEnded
from nasctl.tuning.folders import DrivenFolder
from nasctl.tuning.promises import PROMISES, verify
from nasctl.tuning.study import StudyStore

FAULTS = {"s/1": {"kind": "raise", "attempts": 9}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study of five finished trials, a sixth that has failed for good, and what the tracker has of it."""
    root, tracker = tmp_path_factory.mktemp("whole"), MemoryTracker()
    drive(root, [order(study(trials=5, retries=1), faults=FAULTS)], tracker=tracker)
    return root, tracker


class Store:
    """A copy of the whole study, to be damaged."""

    def __init__(self, whole, root):
        original, tracker = whole
        shutil.copytree(original, root)
        self.root, self.tracker = root, MemoryTracker()
        self.tracker._runs, self.tracker._parents = dict(tracker._runs), dict(tracker._parents)
        self.folder = DrivenFolder(root, "s")

    def sql(self, text, *values):
        with closing(sqlite3.connect(self.root / "studies.db")) as connection:
            assert connection.execute(text, values).rowcount > 0
            connection.commit()

    def attribute(self, number, key, change):
        """Change a trial's user attribute."""
        where = "key = ? AND trial_id = (SELECT trial_id FROM trials WHERE number = ?)"
        with closing(sqlite3.connect(self.root / "studies.db")) as connection:
            query = f"SELECT value_json FROM trial_user_attributes WHERE {where}"
            (text,) = connection.execute(query, (key, number)).fetchone()
        value = json.loads(text)
        changed = change(value)
        self.sql(
            f"UPDATE trial_user_attributes SET value_json = ? WHERE {where}",
            json.dumps(value if changed is None else changed),
            key,
            number,
        )

    def run(self, trial=None, **changes):
        """Change what the tracker has of a trial, or of the study itself."""
        (found,) = [run for run in self.tracker._runs.values() if run.trial == trial]
        self.tracker._runs[found.id] = dataclasses.replace(found, **changes)
        return found

    def final(self, change):
        with closing(sqlite3.connect(self.root / "studies.db")) as connection:
            (text,) = connection.execute("SELECT value_json FROM study_user_attributes WHERE key = 'final'").fetchone()
        value = json.loads(text)
        change(value)
        self.sql("UPDATE study_user_attributes SET value_json = ? WHERE key = 'final'", json.dumps(value))

    def broken(self):
        store = StudyStore(database(self.root))
        try:
            (verified,) = verify(store, self.root, self.tracker, _shown, typed, names=["s"])
        finally:
            store.close()
        return verified.broken

    def best(self):
        return int(self.run().tags["nasctl.best_trial"])


@pytest.fixture
def store(whole, tmp_path):
    return Store(whole, tmp_path / "copy")


def test_a_whole_study_keeps_every_promise(store):
    assert store.broken() == ()


def test_a_study_that_is_not_there_is_told(store):
    opened = StudyStore(database(store.root))
    with pytest.raises(UsageError, match="there is no study or search 't'"):
        list(verify(opened, store.root, store.tracker, _shown, typed, names=["t"]))
    opened.close()


def test_a_study_of_another_nasctl_is_not_called_damaged(store):
    with closing(sqlite3.connect(store.root / "studies.db")) as connection:
        (text,) = connection.execute("SELECT value_json FROM study_user_attributes WHERE key = 'spec'").fetchone()
    spec = json.loads(text)
    del spec["run"]["model"]["masks"]  # as before there was the key
    store.sql("UPDATE study_user_attributes SET value_json = ? WHERE key = 'spec'", json.dumps(spec))
    (broken,) = store.broken()
    assert broken.what.startswith("its settings are none that this nasctl knows (run.model.blm.masks: ")
    assert broken.mend.startswith("the version that began it reads them")


def forget(store, number):
    """A trial's row and all that hangs on it."""
    id_ = f"(SELECT trial_id FROM trials WHERE number = {number})"
    store.sql(f"DELETE FROM trial_user_attributes WHERE trial_id = {id_}")
    store.sql("DELETE FROM trials WHERE number = ?", number)


DAMAGE = {
    "a lost trial": (lambda s: forget(s, 0), {"numbered", "counted", "tracked"}),
    "a number twice": (lambda s: s.sql("UPDATE trials SET number = 1 WHERE number = 0"), {"numbered", "tracked"}),
    "another value": (lambda s: s.sql("UPDATE trial_values SET value = 0.5 WHERE trial_id = 1"), {"counted"}),
    "another run": (lambda s: s.attribute(0, "digest", lambda _: "f" * 16), {"counted"}),
    "told by nobody": (
        lambda s: s.sql("INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, 'duplicate_of', ?)",
                        '"t/7"'),
        {"counted"},
    ),
    "told something else": (
        lambda s: s.sql("INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, 'duplicate_of', ?)",
                        '"s/2"'),
        {"counted"},
    ),
    "back to running": (lambda s: s.sql("UPDATE trials SET state = 'RUNNING' WHERE number = 0"), {"counted"}),
    "no reason": (lambda s: s.attribute(1, "record", lambda r: r.update(reason="")), {"ended"}),
    "no reason of an attempt": (lambda s: s.attribute(1, "failures", lambda f: f[0].update(reason="")), {"ended"}),
    "a record that is none": (lambda s: s.attribute(0, "record", lambda _: {"value": 1}), {"ended", "tracked"}),
    "no record": (
        lambda s: s.sql("DELETE FROM trial_user_attributes WHERE trial_id = 1 AND key = 'record'"),
        {"ended", "tracked"},
    ),
    "no time": (lambda s: s.sql("UPDATE trials SET datetime_complete = NULL WHERE number = 0"), {"ended"}),
    "another state": (lambda s: s.sql("UPDATE trials SET state = 'WAITING' WHERE number = 0"), {"ended", "counted"}),
    "MLflow lacks one": (lambda s: s.tracker._parents.pop(s.tracker._runs.pop(s.run(2).id).id), {"tracked"}),
    "MLflow has one twice": (
        lambda s: s.tracker._runs.update(twin=dataclasses.replace(s.run(2), id="twin")),
        {"tracked"},
    ),
    "MLflow has one too many": (
        lambda s: s.tracker._runs.update(more=dataclasses.replace(s.run(2), id="more", trial=17)),
        {"tracked"},
    ),
    "MLflow has another state": (lambda s: s.run(2, state="failed"), {"tracked"}),
    "MLflow has another value": (lambda s: s.run(2, metrics={**s.run(2).metrics, "value": 0.1}), {"tracked"}),
    "MLflow has other parameters": (lambda s: s.run(2, params={**s.run(2).params, "loss": "no"}), {"tracked"}),
    "MLflow believes it runs": (lambda s: s.run(state="running"), {"tracked"}),
    "MLflow's test score": (lambda s: s.run(metrics={**s.run().metrics, "test/pearson": 0.99}), {"tables"}),
    "MLflow's best trial": (lambda s: s.run(tags={**s.run().tags, "nasctl.best_trial": "1"}), {"tables"}),
    "no checkpoint": (lambda s: s.folder.checkpoint.unlink(), {"checkpoint"}),
    "other weights": (lambda s: s.folder.checkpoint.write_text("weights"), {"checkpoint"}),
    "nobody's weights": (lambda s: (s.folder.path / "best.json").unlink(), {"checkpoint"}),
    "another run's weights": (
        lambda s: s.folder.path.joinpath("best.json").write_text(
            json.dumps({**dataclasses.asdict(s.folder.kept()), "digest": "f" * 16})
        ),
        {"checkpoint"},
    ),
    "another trial tested": (lambda s: s.final(lambda f: f.update(trial=1)), {"tested"}),
    "no test score": (lambda s: s.final(lambda f: f["record"]["test"].clear()), {"tested", "tables"}),
    "another dev score": (lambda s: s.final(lambda f: f["record"]["dev"].update(pearson=0.1)), {"tested", "tables"}),
    "no predictions": (lambda s: s.folder.predictions.unlink(), {"tested"}),
    "half the predictions": (
        lambda s: s.folder.predictions.write_text(s.folder.predictions.read_text().splitlines()[0]),
        {"tested"},
    ),
    "predictions twice": (
        lambda s: s.folder.predictions.write_text(s.folder.predictions.read_text() * 2),
        {"tested"},
    ),
    "scores that do not follow": (
        lambda s: s.final(lambda f: f["record"].update(backend="torch")),
        {"tested"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_breaks_its_promise(store, damage):
    change, promises = DAMAGE[damage]
    change(store)
    broken = store.broken()
    assert {each.promise for each in broken} == promises, broken
    assert all(each.what and each.mend for each in broken)


def test_two_schedulers_of_one_study_are_seen(store, monkeypatch):
    holders = {"s": frozenset({3, 4})}
    monkeypatch.setattr("nasctl.tuning.promises.lock_holders", lambda _: holders)
    (broken,) = store.broken()
    assert (broken.promise, broken.what) == ("owned", "processes 3, 4 hold its lock")


def test_every_kind_of_promise_was_broken_here():
    assert set().union(*(promises for _, promises in DAMAGE.values())) | {"owned"} == set(PROMISES)


def test_a_study_that_goes_on_breaks_nothing(tmp_path):
    tracker, seen = MemoryTracker(), []
    with scheduler(tmp_path, [order(study(trials=4))], tracker=tracker) as driver:
        for event in driver.run():
            if isinstance(event, TrialEnded):
                store = StudyStore(database(tmp_path))
                seen += verify(store, tmp_path, tracker, _shown, typed)
                store.close()
    assert [each.broken for each in seen] == [()] * 4
    assert all(each.owner.startswith("process ") for each in seen)


def test_fewer_trials_than_were_begun_break_nothing(tmp_path):
    tracker = MemoryTracker()
    with scheduler(tmp_path, [order(study(trials=6))], tracker=tracker) as driver:
        for event in driver.run():
            if isinstance(event, TrialEnded):
                break  # others are in flight, and stay open
    drive(tmp_path, [order(study(trials=1))], tracker=tracker)
    store = StudyStore(database(tmp_path))
    (found,) = verify(store, tmp_path, tracker, _shown, typed)
    (progress,) = store.progress()
    store.close()
    assert (progress.finished, progress.unfinished > 0) == (1, True)
    assert found.broken == ()


def test_reused_results_and_diverged_trials_break_nothing(tmp_path):
    tracker = MemoryTracker()
    drive(tmp_path, [order(study(trials=3))], tracker=tracker)
    drive(tmp_path, [order(study("t", trials=3))], tracker=tracker)  # told what s knows
    drive(tmp_path, [order(study("u", trials=2, run=dataclasses.replace(study().run, data="f" * 16)), value="nan")],
          tracker=tracker)  # fmt: skip
    store = StudyStore(database(tmp_path))
    found = {each.study: each.broken for each in verify(store, tmp_path, tracker, _shown, typed)}
    store.close()
    assert found == {"s": (), "t": (), "u": ()}
