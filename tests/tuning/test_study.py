import json
import sqlite3
import time
from dataclasses import replace

import optuna
import pytest
from studies import RANDOM, RUN_SPEC, SMALL_SPACE, SPACE, TPE, TPE_PAPER, TRAINING, database, noop_record, study

from nasctl.errors import MachineError, StateMismatchError, UsageError
from nasctl.specs import RESULT_VERSION, Choice, FloatRange
from nasctl.tuning.outcomes import failed_record
from nasctl.tuning.study import StudyStore, TrialStore, asking
from nasctl.tuning.trials import Best, Ended, StudyProgress, differences


@pytest.fixture
def store(tmp_path):
    opened = StudyStore(database(tmp_path))
    yield opened
    opened.close()


def ended(asked, value=None, state="finished", duplicate_of=None, **changes):
    record = replace(noop_record(asked.run), state=state, **changes)
    return Ended(asked, record if value is None else replace(record, value=value), duplicate_of)


def play(trials, rounds, in_flight=3):
    """Ask and tell with so many trials in flight; the parameters that were asked for."""
    waiting, params = list(trials.unfinished), []
    for _ in range(rounds):
        waiting.append(trials.ask())
        params.append(waiting[-1].params)
        if len(waiting) >= in_flight:
            trials.tell(ended(waiting.pop(0)))
            trials.commit()
    return params


@pytest.mark.parametrize("sampler", [RANDOM, TPE, TPE_PAPER], ids=lambda sampler: sampler.name)
def test_a_reloaded_study_goes_on_as_if_nothing_had_happened(tmp_path, store, sampler):
    whole = play(TrialStore(store, study("whole", sampler=sampler)), 24)
    spec = study("torn", sampler=sampler)
    torn = []
    for _ in range(4):  # each time a new process would see nothing but the store
        torn += play(TrialStore(store, spec), 6)
    assert torn == whole
    assert len({json.dumps(params) for params in whole}) == 24


def test_knowing_the_space_changes_no_draw(store, monkeypatch):
    space = (*SPACE, ("seed", Choice("choice", (7,))))  # one that is no choice at all
    known = play(TrialStore(store, study("known", space=space, sampler=TPE)), 20)
    monkeypatch.setattr(asking, "_KnownSpaceSampler", optuna.samplers.TPESampler)
    assert play(TrialStore(store, study("found", space=space, sampler=TPE)), 20) == known


def test_samplers_and_seeds_differ(store):
    play_one = {
        name: play(TrialStore(store, study(name, sampler=sampler)), 12)
        for name, sampler in {"a": RANDOM, "b": replace(RANDOM, seed=1), "c": TPE, "d": TPE_PAPER}.items()
    }
    assert len({json.dumps(params) for params in play_one.values()}) == 4


def test_tpe_gets_better_than_chance(store):
    def best(sampler):
        trials = TrialStore(store, study(f"best-{sampler.name}", sampler=sampler))
        play(trials, 40, in_flight=1)
        late = [trials.ended(number).record.value for number in range(25, 40)]
        return sum(late) / len(late)

    assert best(TPE) > best(RANDOM)


def test_parameters_lie_in_their_domains_and_make_the_run(store):
    trials = TrialStore(store, study())
    for _ in range(20):
        asked = trials.ask()
        assert asked.params["batch_size"] in {16, 32, 64}
        assert 1e-4 <= asked.params["learning_rate"] <= 1e-2
        assert 4 <= asked.params["hidden_1"] <= 64
        assert isinstance(asked.params["hidden_1"], int)
        assert asked.run.layers[0].hidden == asked.params["hidden_1"]
        assert asked.run.training.dropout == (asked.params["dropout_1"], TRAINING.dropout[1])
        assert asked.run.data == RUN_SPEC.data


def test_optuna_reads_what_is_written_here_as_its_own(tmp_path, store):
    trials = TrialStore(store, study())
    asked = [trials.ask() for _ in range(4)]
    trials.tell(ended(asked[0], 0.25))
    trials.tell(ended(asked[1], 0.75, duplicate_of="other/3"))
    failed = trials.note_failure(asked[2], {"reason": "crashed", "detail": "exit code 3"})
    trials.tell(Ended(failed, failed_record(failed), None))
    assert [trial.asked.number for trial in trials.commit()] == [0, 1, 2]
    assert trials.commit() == []
    theirs = optuna.load_study(study_name="s", storage=database(tmp_path))
    state = optuna.trial.TrialState
    assert [trial.state for trial in theirs.trials] == [state.COMPLETE, state.COMPLETE, state.FAIL, state.RUNNING]
    assert [trial.number for trial in theirs.trials] == [0, 1, 2, 3]
    assert [trial.params for trial in theirs.trials] == [each.params for each in asked]
    assert theirs.direction == optuna.study.StudyDirection.MAXIMIZE
    assert (theirs.best_trial.number, theirs.best_value) == (1, 0.75)
    assert theirs.trials[1].user_attrs["duplicate_of"] == "other/3"
    assert theirs.trials[2].user_attrs["failures"] == [{"reason": "crashed", "detail": "exit code 3"}]
    assert all(trial.datetime_start is not None for trial in theirs.trials)
    durations = [trial.duration.total_seconds() for trial in theirs.trials[:3]]
    assert all(0 <= seconds < 60 for seconds in durations)
    theirs.tell(theirs.ask(trials._distributions), 0.5)  # and it can go on with it
    theirs._storage._backend.engine.dispose()


def test_what_was_told_is_read_back(tmp_path, store):
    trials = TrialStore(store, study())
    asked = [trials.ask() for _ in range(5)]
    told = [
        ended(asked[3], 0.5),
        ended(asked[0], 0.5),
        ended(asked[1], -1.0, state="diverged"),
        ended(asked[4], 0.1, duplicate_of="s/0"),
    ]
    for trial in told:
        trials.tell(trial)
    trials.commit()
    again = TrialStore(store, study())
    assert [trial.number for trial in again.unfinished] == [2]
    assert again.unfinished[0] == asked[2]
    assert again.totals == trials.totals
    assert (again.totals.trials, again.totals.diverged, again.totals.failed) == (4, 1, 0)
    assert again.totals.seconds < again.totals.seconds_alone
    assert again.best == trials.best == Best(0, 0.5)
    assert set(again.ended_numbers()) == {0, 1, 3, 4}
    assert replace(again.ended(4), at=None) == told[3]
    assert abs(again.ended(4).at - time.time()) < 60.0
    assert again.ended(1).record == told[2].record


def test_what_is_told_counts_at_once_and_is_durable_after_the_commit(store):
    trials = TrialStore(store, study())
    trials.tell(ended(trials.ask(), 0.5))
    assert trials.totals.trials == 1
    assert TrialStore(store, study()).totals.trials == 0
    trials.commit()
    assert TrialStore(store, study()).totals.trials == 1


def test_an_ask_and_an_end_are_one_transaction_each(tmp_path, store):
    trials = TrialStore(store, study())
    commits = []
    from sqlalchemy import event

    event.listen(store.rdb.engine, "commit", commits.append)
    asked = trials.ask()
    assert len(commits) == 1
    trials.tell(ended(asked))
    trials.commit()
    assert len(commits) == 2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_equal_values_the_earlier_trial_is_the_best_whatever_came_first(store, order):
    trials = TrialStore(store, study())
    asked = [trials.ask() for _ in range(4)]
    trials.tell(ended(asked[3], 0.1))
    for place in order:
        assert trials.would_be_best(place, ended(asked[place], 0.5).record) == (
            place <= trials.best.number or trials.best.value < 0.5
        )
        trials.tell(ended(asked[place], 0.5))
    assert trials.best == Best(0, 0.5)


def test_a_study_begun_with_other_settings_is_refused_with_the_differences(store):
    TrialStore(store, study())
    changed = study(run=replace(RUN_SPEC, training=replace(TRAINING, epochs=7), metric="spearman"))
    with pytest.raises(StateMismatchError) as raised:
        TrialStore(store, changed)
    assert str(raised.value) == (
        "the study s was begun with other settings: run.metric: pearson -> spearman, run.training.epochs: 5 -> 7"
    )
    assert "study.name=OTHER" in raised.value.hint


def test_a_changed_space_is_the_first_difference(store):
    TrialStore(store, study())
    space = (*SMALL_SPACE, ("learning_rate", FloatRange("float", 1e-4, 1e-3, log=True)))
    with pytest.raises(StateMismatchError, match=r"settings: space\..* more\)$"):
        TrialStore(store, study(space=space))


def test_another_result_version_is_refused_with_both_numbers(store):
    TrialStore(store, study())
    wanted = rf"run\.result_version: {RESULT_VERSION} -> {RESULT_VERSION + 1}"
    with pytest.raises(StateMismatchError, match=wanted) as raised:
        TrialStore(store, study(run=replace(RUN_SPEC, result_version=RESULT_VERSION + 1)))
    assert raised.value.hint.startswith("the nasctl that began it goes on, or study.name=OTHER")


def test_what_is_no_identity_may_change(store):
    TrialStore(store, study())
    TrialStore(store, replace(study(), trials=50, in_flight=2, retries=0, labels={}))


def test_differences_say_where():
    stored = {"a": 1, "b": {"c": [1, 2], "d": None}, "gone": 1}
    asked = {"a": 1, "b": {"c": [1, 3], "d": 4}, "new": [1]}
    assert list(differences(stored, asked)) == [
        "b.c.2: 2 -> 3",
        "b.d: None -> 4",
        "gone: 1 -> None",
        "new: None -> [1]",
    ]


def test_the_final_evaluation_is_kept_with_its_trial(store):
    trials = TrialStore(store, study())
    assert trials.final is None
    record = replace(noop_record(), role="final", test={"pearson": 0.5})
    trials.set_final(3, record)
    assert TrialStore(store, study()).final == (3, record)


def test_finished_runs_of_all_studies_are_known_by_their_digests(store):
    for name in ("a", "b"):
        trials = TrialStore(store, study(name))
        asked = [trials.ask() for _ in range(3)]
        trials.tell(ended(asked[0], 0.5))
        trials.tell(Ended(asked[1], replace(noop_record(asked[1].run), state="failed"), None))
        trials.commit()
    digest = asked[0].digest
    assert store.finished_digests() == {digest: ("a", 0)}
    assert store.ended("a", 0).asked.run == asked[0].run


def test_progress_is_told_for_every_study(store):
    trials = TrialStore(store, study("a", 4))
    asked = [trials.ask() for _ in range(3)]
    trials.tell(ended(asked[0], 0.5))
    trials.tell(ended(asked[1], 0.25))
    trials.commit()
    TrialStore(store, study("b", 9))
    store.rdb.create_new_study([optuna.study.StudyDirection.MINIMIZE], "somebody else's")
    assert store.progress() == (
        StudyProgress("a", 4, 2, 0, 1, 0.5, ended=False),
        StudyProgress("b", 9, 0, 0, 0, None, ended=False),
    )


def test_trouble_with_the_database_is_one_line(tmp_path, store):
    trials = TrialStore(store, study())
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        connection.execute("DROP TABLE trial_params")
    connection.close()
    with pytest.raises(MachineError, match=r"studies.db failed: no such table: trial_params") as raised:
        trials.ask()
    assert "\n" not in str(raised.value)


def test_tables_of_another_version_are_one_line(tmp_path, store):
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9.x'")
        connection.execute("UPDATE version_info SET schema_version = 99")
    connection.close()
    with pytest.raises(MachineError, match=r"studies.db is a database of another version of Optuna"):
        StudyStore(database(tmp_path))


def test_a_gap_in_the_numbers_is_noticed(tmp_path, store):
    play(TrialStore(store, study()), 3)
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        connection.execute("UPDATE trials SET number = 7 WHERE number = 1")
    connection.close()
    with pytest.raises(MachineError, match="has no trial 1"):
        TrialStore(store, study())


@pytest.mark.parametrize(("url", "error"), [("sqlite:////proc/nowhere/studies.db", MachineError), ("what", UsageError)])
def test_a_database_that_cannot_be_is_said_at_once(url, error):
    with pytest.raises(error):
        StudyStore(url)
