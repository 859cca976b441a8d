"""Deterministic studies: what is drawn depends on no worker's speed and on no interruption. And enqueued settings."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from studies import SPACE, TPE, database, drive, noop_record, order, study

from nasctl.config.space import expand_enqueued
from nasctl.errors import StateMismatchError, UsageError
from nasctl.specs import Choice, FloatRange, IntRange, StudySpec
from nasctl.tuning.driven import DrivenStudy
from nasctl.tuning.events import JobStarted
from nasctl.tuning.folders import DrivenFolder
from nasctl.tuning.known import KnownRuns
from nasctl.tuning.study import StudyStore, TrialStore
from nasctl.workers.jobs import spec_of

FEW = (("batch_size", Choice("choice", (16, 32, 64))), ("loss", Choice("choice", ("mae", "mse"))))
"""A space in which runs repeat themselves: some trials wait for others, or are told what is known."""


def deterministic(trials: int, *, space=SPACE) -> StudySpec:
    return replace(study(trials=trials, sampler=TPE, space=space, retries=0), generation=4)


def played(root: Path, spec: StudySpec, *, slots: int, order_of: random.Random, kills=(), failing=()):
    """Each trial's parameters and state, of a study whose jobs end in a random order; `kills`: after so many ends."""
    kills, ends = sorted(kills), 0
    for kill in (*kills, None):
        store = StudyStore(database(root))
        trials = TrialStore(store, replace(spec, in_flight=slots))
        driven = DrivenStudy(order(trials.spec), trials, DrivenFolder(root, spec.name), KnownRuns(store), None)
        list(driven.begin())
        out = []
        while trials.totals.trials < spec.trials and (kill is None or ends < kill):
            while (task := driven.next_task()) is not None:
                out.append(task)
            if out:
                task = out.pop(order_of.randrange(len(out)))
                ends += 1
                if task.number in failing:
                    list(driven.fail(task, {"reason": "exception", "detail": "it fails"}))
                else:
                    list(driven.complete(task, noop_record(spec_of(driven.job(task))), 0, None))
            list(driven.settle())
        found = [trials.ended(number) for number in range(len(trials.outcomes))] if kill is None else []
        store.close()
    return [(trial.asked.params, trial.record.state) for trial in found]


@settings(max_examples=15, phases=[Phase.explicit, Phase.generate])  # an example has two studies: no shrinking
@given(
    st.sampled_from([SPACE, FEW]),
    st.integers(1, 6),
    st.integers(0, 99),
    st.lists(st.integers(1, 12), max_size=2),
    st.sets(st.integers(0, 9), max_size=2),
)
def test_speed_workers_and_interruptions_decide_nothing(space, slots, seed, kills, failing):
    spec = deterministic(13, space=space)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        plain = played(Path(one), spec, slots=1, order_of=random.Random(0), failing=failing)
        torn = played(Path(other), spec, slots=slots, order_of=random.Random(seed), failing=failing, kills=kills)
    assert torn == plain
    assert [state for _, state in plain].count("finished") == 13


def test_without_generations_the_order_of_ends_does_decide(tmp_path):
    spec = replace(deterministic(13), generation=None)
    found = [played(tmp_path / str(seed), spec, slots=4, order_of=random.Random(seed)) for seed in range(2)]
    assert found[0] != found[1]


def test_a_generation_begins_when_the_one_before_has_ended(tmp_path):
    spec, out = deterministic(9), []
    store = StudyStore(database(tmp_path))
    trials = TrialStore(store, spec)
    driven = DrivenStudy(order(spec), trials, DrivenFolder(tmp_path, "s"), KnownRuns(store), None)
    list(driven.begin())
    for expected in (4, 4, 1):
        while (task := driven.next_task()) is not None:
            out.append(task)
        assert len(out) == expected
        while out:
            assert driven.next_task() is None
            task = out.pop()
            list(driven.complete(task, noop_record(spec_of(driven.job(task))), 0, None))
            list(driven.settle())
    store.close()


def test_a_study_cannot_become_deterministic_later(tmp_path):
    drive(tmp_path, [order(study(trials=2, space=FEW))])
    with pytest.raises(StateMismatchError, match="generation: None -> 4"):
        drive(tmp_path, [order(replace(study(trials=2, space=FEW), generation=4))])
    drive(tmp_path / "other", [order(replace(study(trials=2, space=FEW), generation=4))])
    with pytest.raises(StateMismatchError, match="generation: 4 -> None"):
        drive(tmp_path / "other", [order(study(trials=2, space=FEW))])


# --- enqueued settings ------------------------------------------------------------------------------------------------


def test_the_first_trials_take_the_enqueued_settings_and_draw_the_rest(tmp_path):
    whole = {"batch_size": 32, "learning_rate": 1e-3, "hidden_1": 5, "dropout_1": 0.5, "loss": "mse"}
    spec = replace(study(trials=4), enqueued=(whole, {"hidden_1": 7, "loss": "mae"}))
    events = drive(tmp_path, [order(spec)])
    params = {event.number: event.params for event in events if isinstance(event, JobStarted)}
    assert params[0] == whole
    assert (params[1]["hidden_1"], params[1]["loss"]) == (7, "mae")
    free = drive(tmp_path / "free", [order(study(trials=4))])
    drawn = {event.number: event.params for event in free if isinstance(event, JobStarted)}
    assert params[1]["learning_rate"] == drawn[1]["learning_rate"]  # its own stream, whatever was fixed
    assert (params[2], params[3]) == (drawn[2], drawn[3])


def test_enqueued_settings_survive_a_reload(tmp_path):
    spec = replace(study(), enqueued=({"hidden_1": 5}, {"hidden_1": 6}, {"hidden_1": 7}))
    for number in range(4):
        store = StudyStore(database(tmp_path))
        asked = TrialStore(store, spec).ask()
        assert asked.number == number
        assert (asked.params["hidden_1"] == 5 + number) == (number < 3)
        store.close()


def test_they_are_part_of_the_identity(tmp_path):
    drive(tmp_path, [order(study(trials=1))])
    with pytest.raises(StateMismatchError, match="enqueued"):
        drive(tmp_path, [order(replace(study(trials=1), enqueued=({"loss": "mse"},)))])


WIDE = (
    ("hidden_1", Choice("choice", (64, 128))),
    ("hidden_2", Choice("choice", (64, 256))),
    ("learning_rate", FloatRange("float", 1e-4, 1e-2, log=True)),
    ("batch_size", IntRange("int", 8, 64, log=False)),
)


def test_a_stem_stands_for_each_of_its_places_and_a_place_goes_first():
    assert expand_enqueued([{"hidden": 64}, {"hidden_2": 256, "hidden": 64, "learning_rate": 0.01}], WIDE) == (
        {"hidden_1": 64, "hidden_2": 64},
        {"hidden_1": 64, "hidden_2": 256, "learning_rate": 0.01},
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"hiden": 64}, r"study.enqueue\[1\].hiden: the study does not search it"),
        ({"hidden": 128}, r"study.enqueue\[1\].hidden: 128 is none of the choices"),
        ({"hidden_1": "64"}, "64 is none of the choices"),
        ({"learning_rate": 0.1}, "0.1 is not between 0.0001 and 0.01"),
        ({"learning_rate": "fast"}, "fast is not between"),
        ({"batch_size": 16.5}, "16.5 is not between 8 and 64"),
    ],
)
def test_what_cannot_be_enqueued_is_named(asked, message):
    with pytest.raises(UsageError, match=message):
        expand_enqueued([{}, asked], WIDE)


def test_a_whole_number_may_be_written_as_a_real_one():
    (found,) = expand_enqueued([{"batch_size": 16.0}], WIDE)
    assert found == {"batch_size": 16}
    assert isinstance(found["batch_size"], int)
