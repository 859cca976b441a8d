"""Failed trials are asked for again under new numbers, and the study still wants as many as before."""

from dataclasses import replace

import pytest
from studies import broken, database, drive, finals, order, scheduler, study

from nasctl.errors import FailedTrialsError
from nasctl.tracking.memory import MemoryTracker
from nasctl.tuning.driven import StudyOrder
from nasctl.tuning.events import JobStarted, TrialEnded
from nasctl.tuning.look import look_at
from nasctl.tuning.study import StudyStore

FAULTS = {"s/1": {"kind": "raise", "attempts": 9}, "s/2": {"kind": "raise", "attempts": 9}}


def again(spec, **options):
    return StudyOrder(spec, "study: s\n", "noop", options, retry=True)


def stored(root):
    store = StudyStore(database(root))
    try:
        return look_at(store, "s")
    finally:
        store.close()


@pytest.fixture
def failed(tmp_path):
    """A study of six that gave up at its second failed trial."""
    with pytest.raises(FailedTrialsError):
        drive(tmp_path, [order(study(trials=6, retries=0, in_flight=1), faults=FAULTS)], max_failed=1)
    return stored(tmp_path)


def test_what_failed_comes_first_under_new_numbers(tmp_path, failed):
    assert [number for number, trial in failed.trials.items() if trial.state == "failed"] == [1, 2]
    tracker = MemoryTracker()
    events = drive(tmp_path, [again(study(trials=6, retries=0, in_flight=1))], tracker=tracker)
    assert finals(events)["s"].finished == 6
    after = stored(tmp_path)
    assert list(after.trials) == list(range(8))
    assert [after.trials[number].state for number in (1, 2)] == ["failed", "failed"]
    assert after.ended[1].record.reason.startswith("exception: ")
    retried = {trial.attributes["retry_of"]: trial for trial in after.trials.values() if "retry_of" in trial.attributes}
    assert sorted(retried) == [1, 2]
    for number, trial in retried.items():
        assert trial.params == after.trials[number].params
        assert trial.state == "finished"
    first = [event.number for event in events if isinstance(event, JobStarted)][:3]
    assert first == [3, *sorted(trial.number for trial in retried.values())]  # 3 had been handed out already
    assert broken(tmp_path, tracker) == []


def test_a_trial_is_not_asked_for_again_twice(tmp_path, failed):
    with scheduler(tmp_path, [again(study(trials=6, retries=0, in_flight=1))]) as driver:
        events = driver.run()
        for event in events:
            if isinstance(event, TrialEnded):
                break
        events.close()
    drive(tmp_path, [again(study(trials=6, retries=0, in_flight=1))])
    marks = [trial.attributes.get("retry_of") for trial in stored(tmp_path).trials.values()]
    assert sorted(mark for mark in marks if mark is not None) == [1, 2]
    assert stored(tmp_path).count("finished") == 6


def test_settings_that_were_enqueued_are_all_tried(tmp_path):
    hidden = (10, 20, 30, 40, 50)
    spec = replace(study(trials=6, retries=0, in_flight=1), enqueued=tuple({"hidden_1": each} for each in hidden))
    faults = {f"s/{number}": {"kind": "raise", "attempts": 9} for number in (0, 1)}
    with pytest.raises(FailedTrialsError):
        drive(tmp_path, [order(spec, faults=faults)], max_failed=1)
    with scheduler(tmp_path, [again(spec)]) as driver:
        for event in driver.run():
            if isinstance(event, TrialEnded) and event.number == 4:
                break
    drive(tmp_path, [order(spec)])  # once more from the store: what was retried is counted there, too
    tried = [(trial.params["hidden_1"], trial.attributes.get("retry_of")) for trial in stored(tmp_path).trials.values()]
    assert tried[2:5] == [(30, None), (10, 0), (20, 1)]
    assert [value for value, retry_of in tried if retry_of is None][:5] == list(hidden)


def test_no_more_are_asked_for_than_are_wanted(tmp_path, failed):
    drive(tmp_path, [again(study(trials=3, retries=0, in_flight=1))])  # one has finished, one is open, one is wanted
    after = stored(tmp_path)
    assert [trial.attributes.get("retry_of") for trial in after.trials.values()] == [None, None, None, None, 1]
    drive(tmp_path, [again(study(trials=3, retries=0))])
    assert sorted(stored(tmp_path).trials) == [0, 1, 2, 3, 4]
