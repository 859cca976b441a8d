"""What every pool promises to a scheduler."""

import json
from pathlib import Path

import pytest
from studies import job, process_pool, started, until

from nasctl.workers.inprocess import InProcessPool
from nasctl.workers.pool import Told, WorkerReady
from nasctl.workers.protocol import Done, Drop, Epoch, Failed, Keep, Kept


@pytest.fixture(params=["processes", "in process"])
def pool(request, tmp_path):
    made = process_pool(tmp_path, 1) if request.param == "processes" else InProcessPool(cache=tmp_path / "cache")
    with started(made):
        yield made


def messages(happened):
    return [event.message for event in happened if isinstance(event, Told)]


def test_a_slot_is_idle_from_ready_on_and_again_once_the_weights_are_settled(pool, tmp_path):
    ready = until(pool, WorkerReady)[-1]
    assert (ready.slot, ready.device, pool.slots, pool.living) == (0, "cpu", 1, 1)
    assert list(pool.idle()) == [0]
    pool.send(0, job("s/0", scratch=tmp_path, epochs=2))
    assert list(pool.idle()) == []
    told = messages(until(pool, Told, 3))
    assert [type(message) for message in told] == [Epoch, Epoch, Done]
    assert {(message.job, message.attempt) for message in told} == {("s/0", 1)}
    assert list(pool.idle()) == []
    pool.send(0, Drop("s/0", 1))
    assert list(pool.idle()) == [0]


def test_kept_weights_lie_where_they_were_wanted_before_the_slot_is_idle(pool, tmp_path):
    until(pool, WorkerReady)
    pool.send(0, job("s/0", scratch=tmp_path / "0"))
    until(pool, Told, 2)
    path = tmp_path / "0" / "best.safetensors"
    pool.send(0, Keep("s/0", 1, str(path)))
    assert list(pool.idle()) == []
    (kept,) = messages(until(pool, Told))
    assert (type(kept), kept.path) == (Kept, str(path))
    assert json.loads(path.read_text())
    assert list(pool.idle()) == [0]


def test_a_failed_job_frees_the_slot_for_the_next(pool, tmp_path):
    until(pool, WorkerReady)
    pool.send(0, job("s/0", faults={"s/0": {"kind": "raise"}}))
    (failed,) = messages(until(pool, Told))
    assert (type(failed), failed.reason) == (Failed, "exception")
    while not pool.idle():
        pool.events(0.1)
    pool.send(0, job("s/0", 2, faults={"s/0": {"kind": "raise"}}))
    assert type(messages(until(pool, Told, 2))[-1]) is Done


def test_a_job_does_not_depend_on_those_before_it(pool):
    until(pool, WorkerReady)
    values = []
    for number in range(5):
        pool.send(0, job(f"s/{number}"))
        values.append(messages(until(pool, Told, 2))[-1].record.value)
        pool.send(0, Drop(f"s/{number}", 1))
    assert len(set(values)) == 1


def test_after_a_stop_nothing_lives(pool):
    until(pool, WorkerReady)
    pool.send(0, job(seconds=0.4, epochs=4))
    until(pool, Told)
    pool.stop()
    while pool.living:
        pool.events(0.1)
    assert list(pool.idle()) == []
    pool.close()
    pool.close()


def test_waking_a_pool_does_no_harm(pool):
    pool.wake()
    assert until(pool, WorkerReady)
    assert not Path("scratch").exists()
