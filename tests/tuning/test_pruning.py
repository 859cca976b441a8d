"""Pruning: what it is, what it costs, and that neither a kill nor a reload makes it forget."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from studies import TPE, children, database, drive, finals, noop_record, order, process_pool, study, typed

from nasctl.cli.verify import _shown
from nasctl.errors import StateMismatchError
from nasctl.experiments.run import Workplace, train
from nasctl.samplers import HyperbandPruner, MedianPruner, NoPruner
from nasctl.tracking.memory import MemoryTracker
from nasctl.tuning.events import TrialEnded, Warned
from nasctl.tuning.promises import verify
from nasctl.tuning.study import StudyStore, TrialStore
from nasctl.tuning.trials import Ended

MEDIAN = MedianPruner("median", 2, 1, 1, 1)
HALVING = HyperbandPruner("hyperband", 1, 9, 3)


def pruned_study(trials=12, pruner=MEDIAN, **more):
    return replace(study(trials=trials, sampler=TPE, **more), pruner=pruner)


def ended(events):
    return {event.number: event.record for event in events if isinstance(event, TrialEnded)}


@pytest.mark.parametrize("pruner", [MEDIAN, HALVING], ids=lambda pruner: pruner.name)
def test_a_study_prunes_counts_and_tests_the_best_of_the_others(tmp_path, pruner):
    tracker = MemoryTracker()
    spec = pruned_study(pruner=pruner)
    records = ended(events := drive(tmp_path, [order(spec, epochs=9)], tracker=tracker))
    assert sorted(records) == list(range(12))
    early = {number: record for number, record in records.items() if record.state == "pruned"}
    assert 0 < len(early) < 12
    for record in early.values():
        assert len(record.history) == record.epochs < 9
        assert record.reason == f"given up after epoch {record.epochs}"
    end = finals(events)["s"]
    assert (end.finished, end.failed) == (12, 0)
    assert records[end.best].state == "finished"
    assert end.final.value == max(record.value for record in records.values() if record.state == "finished")
    assert children(tracker) == {number: record.state for number, record in records.items()}
    (parent,) = tracker.runs("study")
    assert (parent.metrics["study/trials"], parent.metrics["study/pruned"]) == (12, len(early))


def test_without_a_pruner_every_trial_has_all_epochs(tmp_path):
    records = ended(drive(tmp_path, [order(pruned_study(pruner=NoPruner("none")), epochs=9)]))
    assert {record.epochs for record in records.values()} == {9}


def test_real_workers_end_early(tmp_path):
    spec = pruned_study(6, in_flight=1)
    records = ended(drive(tmp_path, [order(spec, epochs=40, seconds=1.0)], process_pool(tmp_path, 1)))
    early = [record for record in records.values() if record.state == "pruned"]
    assert early
    assert all(record.epochs < 40 for record in early)


@pytest.mark.parametrize("resumed", [1, 4], ids=["from the start", "from a checkpoint"])
@pytest.mark.parametrize("pruner", [MEDIAN, HALVING], ids=lambda pruner: pruner.name)
def test_a_trial_that_was_left_is_pruned_as_one_that_was_not(tmp_path, pruner, resumed):
    """Left after its third epoch, the last good one, and gone on with behind it or from the first."""

    def play(folder, *, left):
        folder.mkdir()
        store = StudyStore(database(folder))
        trials = TrialStore(store, pruned_study(pruner=pruner))
        for number in range(6):
            asked = trials.ask()
            for epoch in range(1, 10):
                trials.prunes(number, epoch, (number + 1) * epoch / 60)
            trials.tell(Ended(asked, noop_record(asked.run, epochs=9, value=(number + 1) * 9 / 60), None))
            trials.commit()
        scores, epoch, pruned = [0.9] * 3 + [0.1] * 6, 0, False
        trials.ask()
        while epoch < 9 and not pruned:
            epoch += 1
            pruned = trials.prunes(6, epoch, scores[epoch - 1])
            if left and epoch == 3:
                left, epoch = False, resumed - 1
                store.close()
                store = StudyStore(database(folder))
                trials = TrialStore(store, pruned_study(pruner=pruner))
        stored = store.rdb.get_all_trials(trials._id)[6]
        store.close()
        return epoch, pruned, stored.intermediate_values

    assert play(tmp_path / "left", left=True) == play(tmp_path / "whole", left=False)


@pytest.mark.parametrize("pruner", [MEDIAN, HALVING], ids=lambda pruner: pruner.name)
def test_a_reloaded_study_prunes_as_one_that_was_never_left(tmp_path, pruner):
    def play(folder, reloads):
        folder.mkdir()
        store, decisions = StudyStore(database(folder)), []
        trials = TrialStore(store, pruned_study(pruner=pruner))
        for number in range(12):
            asked, epoch = trials.ask(), 0
            scores = [((number * 7) % 12) / 12 * epoch / 9 for epoch in range(1, 10)]
            pruned = False
            while epoch < 9 and not pruned:
                epoch += 1
                pruned = trials.prunes(number, epoch, scores[epoch - 1])
            decisions.append(epoch)
            record = noop_record(asked.run, epochs=epoch, value=scores[epoch - 1])
            trials.tell(Ended(asked, replace(record, state="pruned" if pruned else "finished", reason="r"), None))
            trials.commit()
            if number in reloads:
                store.close()
                store = StudyStore(database(folder))
                trials = TrialStore(store, pruned_study(pruner=pruner))
        store.close()
        return decisions

    whole = play(tmp_path / "whole", ())
    assert len(set(whole)) > 1
    assert play(tmp_path / "torn", (2, 3, 7)) == whole


def test_optuna_reads_what_is_written_of_a_pruned_trial(tmp_path):
    records = ended(drive(tmp_path, [order(pruned_study(), epochs=9)]))
    trials = optuna.load_study(study_name="s", storage=database(tmp_path)).trials
    for trial, record in zip(trials, (records[number] for number in range(12)), strict=True):
        assert trial.state.name == {"pruned": "PRUNED", "finished": "COMPLETE"}[record.state]
        assert trial.intermediate_values == {epoch.epoch: epoch.dev["pearson"] for epoch in record.history}


def test_every_promise_holds_and_a_pruned_run_is_no_known_result(tmp_path):
    tracker = MemoryTracker()
    records = ended(drive(tmp_path, [order(pruned_study(), epochs=9)], tracker=tracker))
    store = StudyStore(database(tmp_path))
    try:
        (found,) = verify(store, tmp_path, tracker, _shown, typed)
        assert found.broken == ()
        pruned = {record.digest for record in records.values() if record.state == "pruned"}
        assert not pruned & store.finished_digests().keys()
        (progress,) = store.progress()
        assert progress.finished == 12
    finally:
        store.close()


def test_a_pruner_is_part_of_the_identity(tmp_path):
    drive(tmp_path, [order(study(trials=1))])
    with pytest.raises(StateMismatchError, match="pruner: None -> "):
        drive(tmp_path, [order(replace(study(trials=1), pruner=MEDIAN))])


def test_a_study_of_pruned_trials_alone_ends_with_a_word(tmp_path):
    spec = pruned_study(2)
    store = StudyStore(database(tmp_path))
    trials = TrialStore(store, spec)
    for _ in range(2):
        asked = trials.ask()
        trials.tell(Ended(asked, replace(noop_record(asked.run), state="pruned", reason="r"), None))
    trials.commit()
    store.close()
    events = drive(tmp_path, [order(spec)])
    assert any(isinstance(event, Warned) and "pruned" in event.message for event in events)
    assert finals(events)["s"].final is None


def test_a_training_that_is_told_to_end_ends_after_its_epoch(tmp_path):
    from tiny import run_spec  # the others need no torch

    work = train(run_spec(tmp_path, "blm", epochs=6), Workplace(tmp_path, "cpu", 1), "trial")
    try:
        next(work)
        work.send(None)
        work.send(True)
        pytest.fail("it goes on")
    except StopIteration as end:
        record, weights = end.value.record, end.value.weights
    assert (record.state, record.reason, record.epochs) == ("pruned", "given up after epoch 2", 2)
    assert weights == {}
    assert record.value == max(epoch.dev[record.metric] for epoch in record.history)
