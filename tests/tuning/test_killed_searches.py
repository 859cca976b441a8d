"""Searches whose workers or schedulers are killed or interrupted, as real processes: all end with the same record."""

import os
import signal
import time

import pytest
import studies
from studies import (
    LIMITS,
    Driven,
    drive,
    finals,
    gone,
    order,
    process_pool,
    search_order,
    search_spec,
    study,
    without_time,
)

from nasctl.tracking.found import found
from nasctl.tuning.events import EpochEnded, JobRepeated, SearchEnded, WorkerStarted
from nasctl.tuning.searches import searches

EPOCHS = 20


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture(autouse=True)
def this_checkout(checkout, monkeypatch):
    """Processes of their own import what this one does, whatever else is installed."""
    monkeypatch.setenv("PYTHONPATH", str(checkout))


@pytest.fixture
def whole(tmp_path):
    """The record of the search that nobody interrupts."""
    drive(tmp_path / "whole", [search_order(spec=search_spec(EPOCHS))])
    return without_time(found(tmp_path / "whole")[0].entry.record)


def end(root, whole):
    """Drive it to its end in this process; which epochs were left for that."""
    events = drive(root, [search_order(spec=search_spec(EPOCHS))])
    assert without_time(found(root)[0].entry.record) == whole
    assert not list((root / "searches" / "f" / "scratch").iterdir())
    return [event.epoch.epoch for event in of(EpochEnded, events)]


def killed_once(root, orders, after):
    """Drive the orders; the worker that is at the search is killed after so many epochs of it."""
    pids, events, epochs = {}, [], 0
    with studies.scheduler(root, orders, process_pool(root, 2)) as driver:
        for event in driver.run():
            events.append(event)
            if isinstance(event, WorkerStarted):
                pids[event.slot] = event.pid
            elif isinstance(event, EpochEnded) and event.purpose == "search":
                epochs += 1
                if epochs == after:
                    os.kill(pids[event.slot], signal.SIGKILL)
    return events


def test_a_killed_worker_costs_an_attempt_and_no_epoch(tmp_path, whole):
    events = killed_once(tmp_path, [search_order(spec=search_spec(EPOCHS), seconds=2.0)], 3)
    assert [(event.purpose, event.reason) for event in of(JobRepeated, events)] == [("search", "crashed")]
    assert sorted({event.epoch.epoch for event in of(EpochEnded, events)}) == list(range(1, EPOCHS + 1))
    assert len(of(EpochEnded, events)) <= EPOCHS + 1
    assert without_time(of(SearchEnded, events)[0].record) == whole
    assert of(SearchEnded, events)[0].record.counts["resumed"] == 1


def test_an_interrupt_lets_the_epoch_end(tmp_path, whole):
    with Driven(tmp_path, search=EPOCHS, workers=1, seconds=6.0) as driven:
        assert driven.until("EpochEnded", 2)
        driven.process.send_signal(signal.SIGINT)
        began = time.monotonic()
        code, words = driven.end()
        assert code == 130
        assert time.monotonic() - began < LIMITS.grace + 3
        assert [event["stage"] for event in driven.of("Stopping")] == [1]
        done = max(event["epoch"]["epoch"] for event in driven.of("EpochEnded"))
        assert f"stopped: the search f has {done} of at most {EPOCHS} epochs" in words
        assert done < EPOCHS
        assert not driven.of("JobRepeated")
        assert not driven.of("Warned")
        assert gone(driven.workers())
    (begun,) = searches(tmp_path)
    assert (begun.state, begun.epochs, begun.at_most) == ("stopped", done, EPOCHS)
    assert end(tmp_path, whole) == list(range(done + 1, EPOCHS + 1))


def test_an_interrupt_at_the_end_of_a_search_waits_for_its_weights(tmp_path, whole):
    """The stop finds the worker beyond its last epoch: what it has found is kept all the same."""
    with Driven(tmp_path, search=1, workers=1, seconds=0.5) as driven:
        assert driven.until("JobStarted")
        driven.process.send_signal(signal.SIGINT)
        code, _ = driven.end()
    assert (code, len(found(tmp_path))) in {(0, 1), (130, 0)}


# --- the heavy ones ---------------------------------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize(("signals", "code"), [((signal.SIGINT, signal.SIGINT), 130), ((signal.SIGTERM,), 143)])
def test_a_second_interrupt_leaves_the_search_for_the_next_time(tmp_path, whole, signals, code):
    with Driven(tmp_path, search=EPOCHS, workers=1, seconds=200.0) as driven:
        assert driven.until("JobStarted")
        for number in signals:
            driven.process.send_signal(number)
            driven.until("Stopping")
        assert driven.end()[0] == code
        assert gone(driven.workers(), 1)
    assert end(tmp_path, whole) == list(range(1, EPOCHS + 1))


@pytest.mark.faults
def test_a_search_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path, whole):
    for kills in range(1, 4):
        with Driven(tmp_path, search=EPOCHS, workers=kills % 2, seconds=2.0) as driven:
            assert driven.until("EpochEnded", kills)
            driven.process.kill()
            driven.process.wait()
            assert gone(driven.workers())
    assert min(end(tmp_path, whole)) > 3


@pytest.mark.faults
@pytest.mark.parametrize(("point", "left"), [("done", []), ("keep", []), ("search-files", []), ("search-end", None)])
def test_a_search_killed_at_its_end_is_over_or_ends_again(tmp_path, whole, monkeypatch, point, left):
    with monkeypatch.context() as patch:
        patch.setenv("NASCTL_FAULT", point)
        with Driven(tmp_path, search=EPOCHS, workers=1) as driven:
            assert driven.end()[0] == -signal.SIGKILL
            assert gone(driven.workers())
    assert len(found(tmp_path)) == (left is None)
    assert end(tmp_path, whole) == []  # no epoch is computed twice
    assert (tmp_path / "searches" / "f" / "best.safetensors").exists()


@pytest.mark.faults
def test_a_study_beside_a_search_whose_worker_is_killed(tmp_path, whole):
    orders = [order(study(trials=8), seconds=0.2), search_order(spec=search_spec(EPOCHS), seconds=2.0)]
    events = killed_once(tmp_path, orders, 5)
    assert [event.study for event in of(JobRepeated, events)] == ["f"]
    assert finals(events)["s"].finished == 8
    assert without_time(of(SearchEnded, events)[0].record) == whole
