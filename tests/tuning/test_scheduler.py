"""What a scheduler does with its studies, over the pool in its own process: no faults but those of jobs."""

import json
import signal
from dataclasses import asdict, replace

import pytest
from studies import (
    RUN_SPEC,
    SMALL_SPACE,
    TPE,
    children,
    database,
    drive,
    finals,
    noop_record,
    order,
    scheduler,
    study,
)

from nasctl.errors import FailedTrialsError, MachineError, StateMismatchError, StoppedError, UsageError
from nasctl.files import write_atomically
from nasctl.specs import Choice, FloatRange
from nasctl.tracking.memory import MemoryTracker
from nasctl.tracking.tags import ATTEMPTS, BEST_TRIAL, DIGEST, DUPLICATE_OF, STATE
from nasctl.tuning import driven
from nasctl.tuning.driven import StudyOrder
from nasctl.tuning.events import (
    BestChanged,
    JobRepeated,
    JobStarted,
    StudyEnded,
    StudyStarted,
    TrialEnded,
    Warned,
    WorkerStarted,
)
from nasctl.tuning.folders import Command, DrivenFolder
from nasctl.tuning.study import StudyStore, TrialStore
from nasctl.workers import noop


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def ended(events):
    return {event.number: event for event in of(TrialEnded, events)}


def test_a_study_has_exactly_as_many_trials_as_wanted_and_one_final_evaluation(tmp_path):
    tracker = MemoryTracker()
    events = drive(tmp_path, [order(study(trials=6))], tracker=tracker)
    assert events[0] == StudyStarted("s", 6, 0, 0, 0, None)
    assert sorted(ended(events)) == list(range(6))
    assert [event.purpose for event in of(JobStarted, events)] == ["trial"] * 6 + ["final"]
    assert len(of(WorkerStarted, events)) == 1
    final = events[-1]
    assert isinstance(final, StudyEnded)
    assert (final.finished, final.failed) == (6, 0)
    values = {number: event.record.value for number, event in ended(events).items()}
    assert values[final.best] == max(values.values())
    assert final.final.role == "final"
    assert final.final.test == {"pearson": values[final.best]}
    assert all(not event.record.test for event in ended(events).values())
    assert of(BestChanged, events)[-1].number == final.best
    folder = DrivenFolder(tmp_path, "s")
    assert folder.checkpoint.read_text() == noop.checkpoint(best_run(tmp_path, final.best))
    assert json.loads(folder.predictions.read_text().splitlines()[1])["split"] == "test"
    assert (folder.path / "config.yaml").read_text() == "study: s\n"
    assert list(json.loads((folder.path / "identity.json").read_text())) == ["run", "space", "order", "sampler"]
    assert list((folder.path / "scratch").iterdir()) == []
    assert not (folder.path / "owner.json").exists()
    assert children(tracker) == dict.fromkeys(range(6), "finished")
    (parent,) = tracker.runs("study")
    assert (parent.tags[STATE], parent.tags[BEST_TRIAL]) == ("finished", str(final.best))
    assert parent.metrics["test/pearson"] == values[final.best]
    assert parent.metrics["study/trials"] == 6
    assert tracker.files[parent.id] == (folder.checkpoint, folder.predictions)
    assert tracker.configs[parent.id] == "study: s\n"


def best_run(root, number, name="s"):
    store = StudyStore(database(root))
    run = store.ended(name, number).asked.run
    store.close()
    return run


def test_a_finished_study_does_nothing_and_returns_the_same_again(tmp_path):
    first = finals(drive(tmp_path, [order(study())]))["s"]
    checkpoint = DrivenFolder(tmp_path, "s").checkpoint.stat().st_mtime_ns
    tracker = MemoryTracker()
    events = drive(tmp_path, [order(study())], tracker=tracker)
    assert [type(event) for event in events] == [StudyStarted, StudyEnded]
    assert events[-1] == first
    assert DrivenFolder(tmp_path, "s").checkpoint.stat().st_mtime_ns == checkpoint
    assert children(tracker) == dict.fromkeys(range(6), "finished")  # an empty tracker is filled again
    assert next(tracker.runs("study")).tags[STATE] == "finished"


def test_more_trials_go_on_with_the_same_study(tmp_path):
    first = drive(tmp_path, [order(study(trials=4))])
    more = drive(tmp_path, [order(study(trials=9))])
    assert sorted(ended(first)) == [0, 1, 2, 3]
    assert sorted(ended(more)) == [4, 5, 6, 7, 8]
    whole = drive(tmp_path / "whole", [order(study(trials=9))])
    assert finals(more)["s"].best == finals(whole)["s"].best
    again = [event.purpose for event in of(JobStarted, more)].count("final")
    assert again == (finals(more)["s"].best != finals(first)["s"].best)
    assert bool(again) == any("test data is used once more" in event.message for event in of(Warned, more))


def test_fewer_trials_than_there_are_change_nothing(tmp_path):
    first = drive(tmp_path, [order(study(trials=5))])
    assert drive(tmp_path, [order(study(trials=3))])[-1] == first[-1]


def test_a_known_result_is_told_without_a_worker(tmp_path):
    tracker = MemoryTracker()
    events = drive(tmp_path, [order(study(trials=12, space=SMALL_SPACE))], tracker=tracker)
    trials = ended(events)
    assert sorted(trials) == list(range(12))
    jobs = [event.number for event in of(JobStarted, events) if event.purpose == "trial"]
    assert len(jobs) == 3  # as many as there are different runs
    for number, event in trials.items():
        assert (event.slot is None) == (event.duplicate_of is not None) == (number not in jobs)
        if event.duplicate_of is not None:
            original = trials[int(event.duplicate_of.removeprefix("s/"))]
            assert event.record == original.record
            assert original.number < number
    runs = {run.trial: run for run in tracker.runs("trial")}
    assert {number for number, run in runs.items() if DUPLICATE_OF in run.tags} == set(range(12)) - set(jobs)
    assert {run.tags[ATTEMPTS] for run in runs.values() if DUPLICATE_OF in run.tags} == {"0"}
    metrics = next(tracker.runs("study")).metrics
    assert metrics["study/trials"] == 12
    assert metrics["study/seconds"] < metrics["study/seconds_alone"]


def test_a_result_of_another_study_of_the_store_is_known_too(tmp_path):
    drive(tmp_path, [order(study("a", 6, space=SMALL_SPACE))])
    events = drive(tmp_path, [order(study("b", 4, space=SMALL_SPACE))])
    assert {event.duplicate_of.split("/")[0] for event in ended(events).values()} == {"a"}
    assert [event.purpose for event in of(JobStarted, events)] == ["final"]
    assert finals(events)["b"].final.test


def told_by_a(root, name, value):
    """What happens in a study whose runs are those of the study `a`, where their values would be these."""
    return drive(root, [order(study(name, trials=3), value=value)])


def test_the_weights_of_another_study_s_result_come_from_there(tmp_path):
    told_by_a(tmp_path, "a", 0.5)
    elsewhere = 0.5000001  # on another device runs have other bits
    events = told_by_a(tmp_path, "b", elsewhere)
    assert [event.purpose for event in of(JobStarted, events)] == ["final"]
    assert not of(Warned, events)
    a, b = DrivenFolder(tmp_path, "a"), DrivenFolder(tmp_path, "b")
    assert b.checkpoint.read_bytes() == a.checkpoint.read_bytes()
    assert (b.kept().digest, b.kept().sha256) == (a.kept().digest, a.kept().sha256)
    assert not list((b.path / "scratch").iterdir())
    events = told_by_a(tmp_path, "c", elsewhere)
    assert {event.duplicate_of for event in ended(events).values()} == {"a/0", "a/1", "a/2"}
    assert DrivenFolder(tmp_path, "c").checkpoint.read_bytes() == a.checkpoint.read_bytes()


LOST = {
    "gone": lambda folder: folder.checkpoint.unlink(),
    "spoilt": lambda folder: folder.checkpoint.write_text("something else"),
    "another run's": lambda folder: write_atomically(
        folder.path / "best.json", json.dumps({**asdict(folder.kept()), "digest": "f" * 16})
    ),
    "nobody's": lambda folder: (folder.path / "best.json").unlink(),
}


@pytest.mark.parametrize("lost", LOST)
def test_where_they_are_lost_the_run_is_trained_again_and_must_have_the_same_score(tmp_path, lost):
    told_by_a(tmp_path, "a", 0.5)
    LOST[lost](DrivenFolder(tmp_path, "a"))
    events = told_by_a(tmp_path, "b", 0.5)
    assert [event.purpose for event in of(JobStarted, events)] == ["again", "final"]
    LOST[lost](DrivenFolder(tmp_path, "b"))
    with pytest.raises(StateMismatchError) as raised:
        told_by_a(tmp_path, "c", 0.5000001)
    assert str(raised.value) == (
        "trial 0 of c was told the result of a/0, whose weights are not kept; trained here, it has another dev "
        "pearson: 0.5000001 instead of 0.5"
    )
    assert raised.value.hint.endswith("store.root=OTHER starts anew")


def test_a_trial_that_was_told_a_result_told_by_another_is_a_duplicate_of_the_one_that_was_trained(tmp_path):
    with scheduler(tmp_path, [order(study("b", trials=1))]) as driver:
        for event in driver.run():
            if isinstance(event, JobStarted):
                break  # it has been asked for, and comes first in the store
    drive(tmp_path, [order(study("a", trials=1))])
    for name in ("b", "c"):
        events = drive(tmp_path, [order(study(name, trials=1))])
        assert [event.duplicate_of for event in ended(events).values()] == ["a/0"]
        assert [event.purpose for event in of(JobStarted, events)] == ["final"]


def test_a_run_in_flight_is_waited_for_by_every_study(tmp_path):
    orders = [order(study(name, 6, space=SMALL_SPACE, in_flight=4), epochs=3) for name in ("a", "b")]
    events = drive(tmp_path, orders)
    jobs = [event for event in of(JobStarted, events) if event.purpose == "trial"]
    assert len(jobs) == len({event.params["batch_size"] for event in jobs})
    assert {(event.study, event.number) for event in of(TrialEnded, events)} == {
        (name, number) for name in ("a", "b") for number in range(6)
    }


def test_a_digest_that_two_runs_share_is_no_known_result(tmp_path, monkeypatch):
    from nasctl.tuning import trials

    monkeypatch.setattr(trials, "run_digest", lambda run: "c" * 16)
    events = drive(tmp_path, [order(study(trials=4, in_flight=1))])
    assert all(event.duplicate_of is None for event in ended(events).values())


@pytest.mark.parametrize("in_flight", [1, 8])
def test_of_equal_scores_the_first_trial_is_the_best(tmp_path, in_flight):
    events = drive(tmp_path, [order(study(trials=5, in_flight=in_flight), value=0.5)])
    assert finals(events)["s"].best == 0
    assert [event.number for event in of(BestChanged, events)] == [0]


def test_a_diverged_run_is_finished_and_counted_with_the_worst_value(tmp_path):
    tracker = MemoryTracker()
    events = drive(tmp_path, [order(study(trials=3), value=float("nan"))], tracker=tracker)
    records = [event.record for event in ended(events).values()]
    assert [(record.state, record.value) for record in records] == [("diverged", -1.0)] * 3
    assert finals(events)["s"] == StudyEnded("s", 3, 0, 0, None)
    assert any("every trial of s diverged" in event.message for event in of(Warned, events))
    assert children(tracker) == dict.fromkeys(range(3), "diverged")
    assert drive(tmp_path, [order(study(trials=3))])[-1] == events[-1]


def test_a_failed_attempt_is_repeated_with_the_same_number(tmp_path):
    tracker = MemoryTracker()
    faults = {"s/1": {"kind": "raise", "attempts": 2}, "s/3": {"kind": "memory"}}
    events = drive(tmp_path, [order(study(trials=5), faults=faults)], tracker=tracker)
    assert sorted(ended(events)) == list(range(5))
    repeats = [(event.number, event.attempt, event.reason) for event in of(JobRepeated, events)]
    assert repeats == [(1, 1, "exception"), (1, 2, "exception"), (3, 1, "memory")]
    params = {}
    for event in of(JobStarted, events):
        assert params.setdefault(event.number, event.params) == event.params
    assert {run.trial: run.tags[ATTEMPTS] for run in tracker.runs("trial")} == {
        0: "1",
        1: "3",
        2: "1",
        3: "2",
        4: "1",
    }


def test_a_trial_whose_attempts_are_used_up_has_failed_and_is_replaced(tmp_path):
    tracker = MemoryTracker()
    faults = {"s/1": {"kind": "raise", "attempts": 3}}
    events = drive(tmp_path, [order(study(trials=4, retries=2), faults=faults)], tracker=tracker)
    assert sorted(ended(events)) == list(range(5))
    failed = ended(events)[1]
    assert failed.record.state == "failed"
    assert "exception: RuntimeError: a fault was asked for" in failed.record.reason
    final = finals(events)["s"]
    assert (final.finished, final.failed) == (4, 1)
    assert children(tracker) == {0: "finished", 1: "failed", 2: "finished", 3: "finished", 4: "finished"}
    assert next(run for run in tracker.runs("trial") if run.trial == 1).tags[ATTEMPTS] == "3"
    store = StudyStore(database(tmp_path))
    assert TrialStore(store, study(trials=4, retries=2)).totals.failed == 1
    store.close()


def test_too_many_failed_trials_end_the_study(tmp_path):
    faults = {f"s/{number}": {"kind": "raise", "attempts": 9} for number in range(1, 9)}
    tracker = MemoryTracker()
    with pytest.raises(FailedTrialsError, match="3 trials of s failed, 2 may; the last one: exception: RuntimeError"):
        drive(tmp_path, [order(study(trials=4, retries=0), faults=faults)], tracker=tracker, max_failed=2)
    assert next(tracker.runs("study")).tags[STATE] == "failed"
    events = drive(
        tmp_path, [order(study(trials=4, retries=0))], tracker=tracker, max_failed=2
    )  # the mistake is mended
    assert finals(events)["s"].finished == 4
    assert finals(events)["s"].failed == 3
    assert next(tracker.runs("study")).tags[STATE] == "finished"


@pytest.mark.parametrize(
    ("job", "words"), [("bad/0", "1 trials of bad failed, 0 may"), ("bad/final", "the final run of bad")]
)
def test_studies_beside_one_that_has_failed_are_interrupted(tmp_path, job, words):
    tracker, faults = MemoryTracker(), {job: {"kind": "raise", "attempts": 9}}
    orders = [
        order(study(name, trials, retries=0, space=space), faults=faults)
        for (name, space), trials in zip(BESIDE.items(), (9, 1), strict=True)
    ]
    with pytest.raises(FailedTrialsError, match=words):
        drive(tmp_path, orders, tracker=tracker, max_failed=0)
    assert {run.study: run.tags[STATE] for run in tracker.runs("study")} == {"good": "interrupted", "bad": "failed"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UsageError("labels do not fit", "another loss"), UsageError),
        (MachineError("the corpus is cut short", "delete it"), MachineError),
        (OSError(28, "No space left on device"), MachineError),
    ],
)
def test_what_no_repetition_mends_ends_the_study_at_once(tmp_path, monkeypatch, error, kind):
    def fail(*_):
        raise error

    monkeypatch.setattr(noop, "perform", fail)
    tracker = MemoryTracker()
    with pytest.raises(kind, match="job s/0: ") as raised:
        drive(tmp_path, [order(study())], tracker=tracker)
    assert raised.value.hint == getattr(error, "hint", "")
    assert next(tracker.runs("study")).tags[STATE] == "interrupted"


def test_a_lost_checkpoint_is_made_again_and_must_have_the_same_score(tmp_path):
    first = finals(drive(tmp_path, [order(study(trials=4))]))["s"]
    forget_final(tmp_path)
    DrivenFolder(tmp_path, "s").checkpoint.write_text("something else")
    events = drive(tmp_path, [order(study(trials=4))])
    assert [(event.purpose, event.number) for event in of(JobStarted, events)] == [
        ("again", first.best),
        ("final", first.best),
    ]
    assert any("are not here: it is trained again" in event.message for event in of(Warned, events))
    assert finals(events)["s"].final.test == first.final.test
    forget_final(tmp_path)
    DrivenFolder(tmp_path, "s").checkpoint.unlink()
    with pytest.raises(StateMismatchError, match="trained again, because its checkpoint is lost"):
        drive(tmp_path, [order(study(trials=4), value=0.123)])


def forget_final(root):
    """As if the scheduler had been killed before the final evaluation."""
    import sqlite3

    with sqlite3.connect(root / "studies.db") as connection:
        connection.execute("DELETE FROM study_user_attributes WHERE key = 'final'")
    connection.close()


def test_a_final_evaluation_is_repeated_and_given_up_in_the_end(tmp_path):
    faults = {"s/final": {"kind": "raise", "attempts": 1}}
    events = drive(tmp_path, [order(study(trials=2), faults=faults)])
    assert [(event.purpose, event.attempt) for event in of(JobStarted, events)][-2:] == [("final", 1), ("final", 2)]
    faults = {"t/final": {"kind": "raise", "attempts": 9}}
    with pytest.raises(FailedTrialsError, match=r"the final run of t .* failed: exception: RuntimeError"):
        drive(tmp_path, [order(study("t", 2, retries=1), faults=faults)])
    assert finals(drive(tmp_path, [order(study("t", 2))]))["t"].final is not None


def test_several_studies_share_the_pool_fairly(tmp_path):
    orders = [order(study(name, 5, space=space)) for name, space in SPACES.items()]
    tracker = MemoryTracker()
    events = drive(tmp_path, orders, tracker=tracker)
    assert set(finals(events)) == set(SPACES)
    turns = [event.study for event in of(JobStarted, events) if event.purpose == "trial"]
    assert turns == ["a", "b", "c"] * 5
    alone = drive(tmp_path / "alone", [orders[1]])
    assert [event.params for event in of(JobStarted, alone)][:5] == [
        event.params for event in of(JobStarted, events) if event.study == "b"
    ][:5]
    for name in SPACES:
        assert children(tracker, name) == dict.fromkeys(range(5), "finished")


BESIDE = {
    name: (("learning_rate", FloatRange("float", 1e-4, 1e-2, log=True)), ("seed", Choice("choice", (seed,))))
    for seed, name in enumerate(("good", "bad"))
}
SPACES = {
    name: (("learning_rate", FloatRange("float", 1e-4, 1e-2, log=True)), ("seed", Choice("choice", (seed,))))
    for seed, name in enumerate("abc")
}


def test_never_more_than_the_wanted_number_are_in_flight(tmp_path):
    orders = [order(study("a", 4, in_flight=1)), order(study("b", 4, in_flight=2, sampler=TPE))]
    with scheduler(tmp_path, orders) as driver:
        for event in driver.run():
            for each in driver._driven:
                assert each.busy + each._waiting <= each.spec.in_flight
            assert isinstance(event, object)


def test_whoever_is_said_to_drive_a_study_can_be_asked_to_stop(tmp_path, monkeypatch):
    acquire = DrivenFolder.acquire

    def acquired_and_asked(folder):
        acquire(folder)
        signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setattr(DrivenFolder, "acquire", acquired_and_asked)
    with pytest.raises(StoppedError, match="s has 0 of 6 trials") as raised:
        drive(tmp_path, [order(study())])
    assert raised.value.exit_code == 130


def test_studies_with_one_name_are_no_two_studies(tmp_path):
    with pytest.raises(StateMismatchError, match="another scheduler"):
        drive(tmp_path, [order(study()), order(study())])


def test_a_second_scheduler_is_refused_before_it_touches_anything(tmp_path):
    with scheduler(tmp_path, [order(study())]) as first:
        events = first.run()
        next(events)
        with pytest.raises(StateMismatchError, match="driven by another scheduler"):
            drive(tmp_path, [order(study())])
        assert finals(list(events))["s"].finished == 6


def test_a_changed_study_is_refused_and_let_go_of(tmp_path):
    drive(tmp_path, [order(study(trials=2))])
    changed = study(run=replace(RUN_SPEC, metric="spearman"))
    tracker = MemoryTracker()
    with pytest.raises(StateMismatchError, match=r"run\.metric: pearson -> spearman"):
        drive(tmp_path, [order(changed)], tracker=tracker)
    assert list(tracker.runs()) == []
    drive(tmp_path, [order(study(trials=2))])


def test_a_full_disk_is_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(driven, "trial_bytes", lambda _: 10**18)
    with pytest.raises(MachineError, match="MB are needed"):
        drive(tmp_path, [order(study())])
    assert not (tmp_path / "studies").exists()


def test_a_listener_that_leaves_ends_everything(tmp_path):
    tracker = MemoryTracker()
    with scheduler(tmp_path, [order(study())], tracker=tracker) as driver:
        events = driver.run()
        while not isinstance(next(events), TrialEnded):
            pass
        events.close()
    assert next(tracker.runs("study")).tags[STATE] == "interrupted"
    events = drive(tmp_path, [order(study())], tracker=tracker)
    assert sorted(children(tracker)) == list(range(6))


def test_the_digest_of_a_trial_is_that_of_its_run(tmp_path):
    tracker = MemoryTracker()
    drive(tmp_path, [order(study(trials=3))], tracker=tracker)
    for run in tracker.runs("trial"):
        assert run.tags[DIGEST] == noop_record(best_run(tmp_path, run.trial)).digest
        assert run.tags["nasctl.dataset"] == "none"


def test_a_checkpoint_with_another_score_is_warned_of(tmp_path, monkeypatch):
    before = noop.perform

    def worse(job, spec, threads):
        record = yield from before(job, spec, threads)
        return replace(record, dev={"pearson": 0.1}) if job.role == "final" else record

    monkeypatch.setattr(noop, "perform", worse)
    events = drive(tmp_path, [order(study(trials=2), value=0.5)])
    assert any("its checkpoint has 0.1" in event.message for event in of(Warned, events))


def test_a_training_study_asks_for_runs_and_an_evaluation(tmp_path):
    whole = StudyOrder(study(trials=1), "")
    from nasctl.tuning.driven import DrivenStudy
    from nasctl.tuning.known import KnownRuns
    from nasctl.tuning.work import Task
    from nasctl.workers.jobs import spec_of

    store = StudyStore(database(tmp_path))
    trials = TrialStore(store, whole.spec)
    driven = DrivenStudy(whole, trials, DrivenFolder(tmp_path, "s"), KnownRuns(store), None)
    list(driven.begin())
    task = driven.next_task()
    job = driven.job(task)
    assert (job.kind, job.role, job.job, job.attempt, job.weights) == ("run", "trial", "s/0", 1, None)
    assert job.scratch == str(tmp_path / "studies" / "s" / "scratch" / "0")
    record = noop_record(spec_of(job))
    keep = driven.answer(task, job, record, weights=True)
    assert keep.path == str(driven._folder.trial_checkpoint(0))
    write_atomically(driven._folder.trial_checkpoint(0), "weights")
    from nasctl.files import file_sha256

    list(driven.complete(task, record, 0, file_sha256(driven._folder.trial_checkpoint(0))))
    list(driven.settle())
    final = driven.next_task()
    job = driven.job(final)
    assert final == Task("final", 0, task.params, 1, whole=False)
    assert (job.kind, job.role, job.job, job.record) == ("evaluate", "final", "s/final", record)
    assert job.weights == str(driven._folder.checkpoint)
    store.close()


def standing(root):
    store = StudyStore(database(root))
    try:
        (progress,) = store.progress()
        return progress.finished, progress.ended
    finally:
        store.close()


def test_a_study_of_diverged_trials_alone_is_over(tmp_path):
    drive(tmp_path, [order(study(trials=2), value="nan")])
    assert standing(tmp_path) == (2, True)


def test_a_study_that_wants_more_trials_than_before_is_not_over(tmp_path):
    drive(tmp_path, [order(study(trials=2))])
    assert standing(tmp_path) == (2, True)
    with scheduler(tmp_path, [order(study(trials=6))]) as driver:
        for event in driver.run():
            if isinstance(event, TrialEnded):
                break
    finished, ended = standing(tmp_path)
    assert 2 < finished < 6
    assert not ended


@pytest.mark.parametrize("folder", ["", "here", "there"])  # of neither, of the first or of the second command
def test_a_study_in_a_shared_database_is_driven_from_one_folder_at_a_time(tmp_path, folder):
    shared, here, there = database(tmp_path / folder), tmp_path / "here", tmp_path / "there"
    with scheduler(here, [order(study(trials=3))], url=shared) as first:
        events = first.run()
        next(events)
        with pytest.raises(StateMismatchError, match="driven by another scheduler, from another folder"):
            drive(there, [order(study(trials=3))], url=shared)
        list(events)
    (end,) = finals(drive(there, [order(study(trials=4))], url=shared)).values()
    assert end.finished == 4


def test_one_that_is_refused_leaves_those_beside_it_as_they_can_be_resumed(tmp_path):
    drive(tmp_path, [order(study("t", trials=1))])
    command = Command("baseline", ("study.name=s",), (), str(tmp_path))
    both = [replace(order(study("s", trials=1)), command=command), order(study("t", trials=1, space=SMALL_SPACE))]
    with pytest.raises(StateMismatchError, match="space"):
        drive(tmp_path, both)
    left = DrivenFolder(tmp_path, "s")
    assert (left.command(), left.identity() is not None) == (command, True)
