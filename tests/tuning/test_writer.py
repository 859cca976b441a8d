import threading
import time

import pytest
from records import entry

from nasctl.errors import MachineError
from nasctl.tracking.memory import MemoryTracker
from nasctl.tracking.tags import STATE
from nasctl.tuning import writer as module
from nasctl.tuning.writer import StudyLog, TrackerWriter


class Weak(MemoryTracker):
    """Fails as long as it is `away`; `gate` holds up every trial."""

    def __init__(self):
        super().__init__()
        self.away = False
        self.gate = threading.Event()
        self.gate.set()
        self.calls = 0
        self.refused = frozenset()

    def _check(self):
        self.calls += 1
        if self.away:
            raise ConnectionError("http://user:secret@host is away")

    def begin_study(self, study, tags, config):
        self._check()
        return super().begin_study(study, tags, config)

    def log_trial(self, study_id, study, entry):
        self.gate.wait(10)
        self._check()
        if entry.number in self.refused:
            raise ValueError("not this one")
        return super().log_trial(study_id, study, entry)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.02)


def log(told=(), reads=None):
    def read(number):
        if reads is not None:
            reads.append(number)
        return entry(number)

    return StudyLog("s", {"nasctl.dataset": "sick"}, "study: s\n", read, told)


def finish(writer):
    writer.close()
    deadline = time.monotonic() + 20
    while writer.busy:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def logged(tracker):
    (parent,) = tracker.runs("study")
    return sorted(tracker.trials(parent.id)), parent


def test_trials_are_logged_below_their_study(quick):
    tracker = Weak()
    writer = TrackerWriter(tracker)
    study = log()
    writer.begin(study)
    for number in range(3):
        writer.trial(study, entry(number))
    writer.end(study, "finished", {"study/trials": 3.0}, {}, [])
    finish(writer)
    numbers, parent = logged(tracker)
    assert numbers == [0, 1, 2]
    assert (parent.tags[STATE], parent.metrics["study/trials"]) == ("finished", 3.0)
    assert tracker.configs[parent.id] == "study: s\n"
    assert not writer.lags
    assert writer.warnings() == []


def test_what_an_earlier_process_did_not_log_is_logged_now(quick):
    tracker, reads = Weak(), []
    first = TrackerWriter(tracker)
    study = log()
    first.begin(study)
    first.trial(study, entry(1))
    finish(first)
    second = TrackerWriter(tracker)
    second.begin(log(told=(0, 1, 2), reads=reads))
    finish(second)
    assert logged(tracker)[0] == [0, 1, 2]
    assert reads == [0, 2]


def test_beyond_the_bound_only_numbers_are_kept(quick, monkeypatch):
    monkeypatch.setattr(module, "QUEUE_LENGTH", 3)
    tracker, reads = Weak(), []
    tracker.gate.clear()
    writer = TrackerWriter(tracker)
    study = log(reads=reads)
    writer.begin(study)
    began = time.monotonic()
    for number in range(10):
        writer.trial(study, entry(number))
    assert time.monotonic() - began < 1.0  # nobody waited for the tracker
    writer.end(study, "finished", {}, {}, [])
    assert len(study.behind) == 7
    tracker.gate.set()
    finish(writer)
    assert logged(tracker)[0] == list(range(10))
    assert sorted(reads) == list(range(3, 10))


def test_a_tracker_that_comes_back_misses_nothing(quick):
    tracker = Weak()
    tracker.away = True
    writer = TrackerWriter(tracker)
    study = log()
    writer.begin(study)
    for number in range(3):
        writer.trial(study, entry(number))
    while tracker.calls < 5:
        time.sleep(0.01)
    tracker.away = False
    finish(writer)
    assert logged(tracker)[0] == [0, 1, 2]
    assert not writer.lags
    (warning,) = writer.warnings()  # one in ten seconds, however often it failed
    assert "the work goes on: ConnectionError" in warning


def test_a_tracker_that_stays_away_is_left_behind(quick):
    tracker = Weak()
    tracker.away = True
    writer = TrackerWriter(tracker, patience=0.2)
    study = log()
    writer.begin(study)
    for number in range(50):
        writer.trial(study, entry(number))
    began = time.monotonic()
    finish(writer)
    assert time.monotonic() - began < 5.0
    assert writer.lags


def test_who_has_given_up_writes_nothing_more(quick):
    """Or two would log the same trials: this one, and whoever completes the tracker afterwards."""
    tracker = Weak()
    writer = TrackerWriter(tracker, patience=0.2)
    study = log()
    writer.begin(study)
    writer.trial(study, entry(0))
    while not logged_so_far(tracker):
        time.sleep(0.01)
    tracker.away = True
    for number in range(1, 50):
        writer.trial(study, entry(number))
    finish(writer)
    writer.give_up()
    calls, tracker.away = tracker.calls, False
    time.sleep(0.3)
    assert tracker.calls == calls
    assert logged(tracker)[0] == [0]
    assert writer.lags


def logged_so_far(tracker):
    return [run for run in tracker.runs("trial") if run.state == "finished"]


def test_a_tracker_that_hangs_is_left_behind(quick):
    tracker = Weak()
    tracker.gate.clear()
    writer = TrackerWriter(tracker, patience=0.1)
    study = log()
    writer.begin(study)
    writer.trial(study, entry(0))
    finish(writer)
    assert writer.lags
    tracker.gate.set()


def test_at_the_end_one_entry_that_is_refused_holds_up_no_other(quick):
    tracker = Weak()
    tracker.refused = frozenset({1})
    writer = TrackerWriter(tracker, patience=0.2)
    study = log()
    writer.begin(study)
    for number in range(4):
        writer.trial(study, entry(number))
    finish(writer)
    assert logged(tracker)[0] == [0, 2, 3]
    assert writer.lags


def test_our_own_errors_are_warned_of_in_their_own_words(quick):
    tracker = Weak()
    tracker.log_trial = lambda *_: (_ for _ in ()).throw(MachineError("the tracking store is full"))
    writer = TrackerWriter(tracker, patience=0.05)
    study = log()
    writer.begin(study)
    writer.trial(study, entry(0))
    finish(writer)
    assert writer.warnings() == ["the tracker cannot be written, the work goes on: the tracking store is full"]


def test_of_a_study_that_is_refused_nothing_is_logged_and_the_others_wait_no_longer(quick):
    tracker = Weak()
    MemoryTracker.begin_study(tracker, "s", {"nasctl.uid": "hers"}, "")
    tracker.away = True
    writer = TrackerWriter(tracker, patience=0.3)
    refused, other = log(), log()
    other.study = "t"
    writer.begin(other)
    writer.begin(refused)
    while tracker.calls < 3:
        time.sleep(0.01)
    tracker.away = False
    while not (refused.refused and other.id):
        time.sleep(0.01)
    tracker.away = True
    for number in range(4):
        writer.trial(refused, entry(number))
        writer.trial(other, entry(number))
    began = time.monotonic()
    finish(writer)
    assert time.monotonic() - began < 1.5  # patience, once
    assert writer.lags  # of the other
    assert [run.tags.get("nasctl.uid") for run in tracker.runs() if run.study == "s"] == ["hers"]
    warnings = writer.warnings()
    assert len(warnings) == 2  # the refusal is told beside the one that it was away
    assert "has another study s" in warnings[1]
