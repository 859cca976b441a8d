"""F5: a database server that goes away while a study runs is waited for, whatever it had already heard."""

import contextlib
import logging

import pytest
import sqlalchemy
from studies import database, noop_record, study

from nasctl.errors import MachineError, StateMismatchError
from nasctl.tuning.study import StudyStore, TrialStore
from nasctl.tuning.study import store as module
from nasctl.tuning.trials import Ended

GONE = sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception("server closed the connection unexpectedly"))
GONE.__cause__ = GONE.orig  # as drivers have it


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store that takes its file for a server's database."""
    opened = StudyStore(database(tmp_path), patience=60.0)
    opened.path = None
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.0)
    yield opened
    opened.close()


@pytest.fixture
def away(store, monkeypatch):
    """Makes the next transactions fail: before they begin, or once they are committed."""

    def leave(times, *, behind_the_commit=False):
        begin, left = store.rdb.engine.begin, iter(range(times))

        @contextlib.contextmanager
        def broken():
            fails = next(left, None) is not None
            if fails and not behind_the_commit:
                raise GONE
            with begin() as connection:
                yield connection
            if fails:
                raise GONE

        monkeypatch.setattr(store.rdb.engine, "begin", broken)

    return leave


@pytest.mark.parametrize("behind_the_commit", [False, True])
def test_a_trial_is_entered_once_and_ended_once(store, away, behind_the_commit):
    trials = TrialStore(store, study())
    away(1, behind_the_commit=behind_the_commit)
    asked = trials.ask()
    away(1, behind_the_commit=behind_the_commit)
    trials.tell(Ended(asked, noop_record(asked.run), None))
    (ended,) = trials.commit()
    again = TrialStore(store, study())
    assert again.ended_numbers() == (0,)
    assert again.unfinished == ()
    assert again.ended(0).record == ended.record
    assert [trials.ask().number, trials.ask().number] == [1, 2]


def test_it_is_waited_for_with_few_words(store, away, monkeypatch, caplog):
    clock = iter(range(10_000))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    trials = TrialStore(store, study())
    away(25)
    with caplog.at_level(logging.WARNING):
        trials.ask()
    assert len(caplog.messages) == 3  # after 1, 11 and 21 of 25 seconds
    assert "server closed the connection unexpectedly" in caplog.messages[0]
    assert caplog.messages[1].endswith("waiting for it since 11 s")


def test_it_is_not_waited_for_longer_than_asked(store, away, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    trials = TrialStore(store, study())
    away(1000)
    with pytest.raises(MachineError, match="failed: server closed the connection unexpectedly"):
        trials.ask()
    assert next(clock) < 70


def test_whoever_stops_waits_no_longer(store, away):
    trials = TrialStore(store, study())
    store.gives_up = lambda: True
    away(1000)
    with pytest.raises(MachineError, match="failed: server closed"):
        trials.ask()


def test_a_file_is_not_waited_for(tmp_path, store, away):
    trials = TrialStore(store, study())
    store.path = tmp_path / "studies.db"
    away(1000)
    with pytest.raises(MachineError, match="failed: server closed"):
        trials.ask()


def test_nothing_is_written_of_a_study_that_another_scheduler_has_claimed_meanwhile(store, monkeypatch):
    trials = TrialStore(store, study())
    asked = trials.ask()
    trials.tell(Ended(asked, noop_record(asked.run), None))

    def lost():
        raise StateMismatchError("the study s is driven by another scheduler")

    monkeypatch.setattr(store._claims, "hold", lost)
    writes = {
        "a new trial": trials.ask,
        "an end": trials.commit,
        "an attempt": lambda: trials.note_failure(asked, {"reason": "lost", "detail": ""}),
        "a score": lambda: store.note_score(1, 1, 0.5, {}),
        "the evaluation": lambda: trials.set_final(0, noop_record(asked.run)),
        "how it stands": lambda: trials.set_left("finished"),
    }
    for write in writes.values():
        with pytest.raises(StateMismatchError, match="driven by another scheduler"):
            write()
    again = TrialStore(store, study())
    assert [(each.number, each.failures) for each in again.unfinished] == [(0, ())]
    assert again.final is None


def test_a_claim_is_made_sure_of_once_the_server_is_back(store, monkeypatch):
    trials, claims = TrialStore(store, study()), []

    def hold():
        claims.append(len(claims))
        if len(claims) < 3:
            raise GONE

    monkeypatch.setattr(store._claims, "hold", hold)
    assert trials.ask().number == 0
    assert claims == [0, 1, 2]


def test_other_trouble_than_a_server_away_is_told_at_once(store, monkeypatch):
    trials = TrialStore(store, study())

    def refuse(*_):
        raise sqlalchemy.exc.ProgrammingError("SELECT 1", {}, Exception("permission denied"))

    monkeypatch.setattr(store, "_insert_running", lambda *_, **__: refuse())
    with pytest.raises(MachineError, match="permission denied"):
        trials.ask()
