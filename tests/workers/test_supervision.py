"""A pool of processes and what can go wrong with them; a worker is a few lines of Python where that is enough."""

import os
import shutil
import signal
import time
from dataclasses import replace

import psutil
import pytest
from studies import LIMITS, job, process_pool, scripted_pool, started, until

from nasctl.errors import MachineError
from nasctl.specs import RESULT_VERSION
from nasctl.workers import process, supervision
from nasctl.workers.pool import Told, WorkerLost, WorkerReady
from nasctl.workers.protocol import PROTOCOL, Drop

GREET = "say(hello()); hear(); say(Ready(1000))\n"


def test_a_banner_before_the_first_message_is_logged_and_skipped(tmp_path):
    pool = scripted_pool(tmp_path, "os.write(1, b'Welcome to the cluster!\\n\\n{}\\n')\n" + GREET + "hear()")
    with started(pool):
        until(pool, WorkerReady)
    assert "Welcome to the cluster!" in (tmp_path / "logs" / "worker-0.log").read_text()


@pytest.mark.parametrize(
    "nonsense", ["os.write(1, b'Epoch 1: loss 0.3\\n')", "say(Stop())", "os.write(1, b'x' * 2**21)"]
)
def test_nonsense_later_on_costs_the_worker_its_place(tmp_path, nonsense):
    with started(scripted_pool(tmp_path, f"{GREET}\nhear()\n{nonsense}\ntime.sleep(60)")) as pool:
        until(pool, WorkerReady)
        pool.send(0, job())
        lost = until(pool, WorkerLost)[-1]
        assert (lost.slot, lost.reason) == (0, "protocol")
        assert pool.living == 1  # it is being replaced


def test_messages_that_come_twice_or_torn_count_once(tmp_path):
    script = """
        say(hello()); hear(); say(Ready(1000)); hear()
        line = encode(5, Failed("s/0", 1, "exception", "once", "", ""))
        for part in (line[:10], line[10:] + line, line, line[:20]):
            os.write(1, part)
            time.sleep(0.1)
        os._exit(0)
    """
    with started(scripted_pool(tmp_path, script)) as pool:
        until(pool, WorkerReady)
        pool.send(0, job())
        happened = until(pool, WorkerReady)
        assert [type(event) for event in happened] == [Told, WorkerReady]


@pytest.mark.parametrize("change", [{"protocol": PROTOCOL + 1}, {"result_version": RESULT_VERSION + 1}])
def test_a_worker_of_another_version_is_refused(tmp_path, change):
    script = f"from dataclasses import replace\nsay(replace(hello(), **{change!r}))\nhear()"
    pool = scripted_pool(tmp_path, script)
    with started(pool), pytest.raises(MachineError, match=r"has nasctl .* the scheduler has protocol") as raised:
        until(pool, WorkerReady)
    assert len(str(raised.value).splitlines()) == 1
    assert "install the same" in raised.value.hint


def test_workers_that_cannot_start_stop_everything_with_their_last_words(tmp_path):
    pool = scripted_pool(tmp_path, "sys.exit('no module named cuda')")
    with started(pool), pytest.raises(MachineError, match="fail to start") as raised:
        until(pool, WorkerReady)
    assert "exit code 1" in str(raised.value)
    assert str(raised.value).endswith("no module named cuda")
    assert (tmp_path / "logs" / "worker-0.log").read_text().count("no module") == supervision.START_FAILURES


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_silence_counts_only_while_somebody_listens(tmp_path):
    clock = Clock()
    limits = replace(LIMITS, silence=10.0)
    with started(scripted_pool(tmp_path, GREET + "hear(); time.sleep(60)", limits, clock=clock)) as pool:
        until(pool, WorkerReady)
        pool.send(0, job())
        clock.now += 3600.0  # a suspended machine, a blocked disk
        assert pool.events(0.0) == []
        happened = []
        for _ in range(20):
            clock.now += 0.9
            happened += pool.events(0.0)
            if happened:
                break
        happened = happened or until(pool, WorkerLost)
        assert [(event.slot, event.reason) for event in happened] == [(0, "silent")]


def test_getting_ready_may_take_longer_than_a_sign_of_life(tmp_path):
    clock = Clock()
    with started(scripted_pool(tmp_path, "say(hello()); hear(); time.sleep(60)", clock=clock)) as pool:
        time.sleep(1.0)
        for _ in range(20):
            clock.now += 0.9
            assert pool.events(0.0) == []


def test_a_job_without_progress_is_given_up_though_its_worker_beats(tmp_path):
    clock = Clock()
    limits = replace(LIMITS, beat=0.1, silence=1000.0, epoch=5.0)
    with started(process_pool(tmp_path, 1, limits, clock=clock)) as pool:
        until(pool, WorkerReady)
        pool.send(0, job(faults={"s/0": {"kind": "hang"}}))
        time.sleep(0.3)
        happened = pool.events(0.0)
        for _ in range(6):
            assert happened == []
            clock.now += 0.9
            happened += pool.events(0.0)
        lost = (happened or until(pool, WorkerLost))[-1]
        assert (lost.reason, lost.detail) == ("stuck", "no progress for 5 s")


def test_a_cell_that_is_judged_is_progress(tmp_path):
    clock = Clock()
    limits = replace(LIMITS, beat=0.1, silence=1000.0, epoch=5.0)
    work = "for number in range(1, 5):\n    hear()\n    say(Judged('s/0', 1, number, 4))\ntime.sleep(60)"
    with started(scripted_pool(tmp_path, f"{GREET}{work}", limits, clock=clock)) as pool:
        until(pool, WorkerReady)
        for number in range(1, 5):
            pool.send(0, job())
            assert until(pool, Told)[-1].message.judged == number
            for _ in range(5):
                clock.now += 0.9
                assert pool.events(0.0) == []


def test_a_stopped_process_is_silent(tmp_path):
    with started(process_pool(tmp_path, 1, replace(LIMITS, beat=0.1, silence=0.6))) as pool:
        until(pool, WorkerReady)
        pool.send(0, job(faults={"s/0": {"kind": "silence"}}))
        assert until(pool, WorkerLost)[-1].reason == "silent"


@pytest.mark.parametrize(("kind", "detail"), [("exit", "exit code 3"), ("kill", "killed by SIGKILL")])
def test_a_worker_that_dies_is_noticed_soon_and_replaced(tmp_path, kind, detail):
    with started(process_pool(tmp_path, 1)) as pool:
        until(pool, WorkerReady)
        began = time.monotonic()
        pool.send(0, job(faults={"s/0": {"kind": kind}}))
        lost = until(pool, WorkerLost)[-1]
        assert time.monotonic() - began < 3.0
        assert (lost.reason, lost.detail) == ("crashed", detail)
        until(pool, WorkerReady)
        pool.send(0, job(attempt=2))
        assert until(pool, Told, 2)[-1].message.type == "done"


def test_a_dead_worker_takes_its_family_along(tmp_path):
    with started(process_pool(tmp_path, 1)) as pool:
        ready = until(pool, WorkerReady)[-1]
        pool.send(0, job(faults={"s/0": {"kind": "family"}}))
        worker = psutil.Process(ready.hello.pid)
        while not (family := worker.children()):
            pool.events(0.05)
        worker.kill()
        until(pool, WorkerLost)
        _, alive = psutil.wait_procs(family, 5)
        assert not alive


def test_a_worker_is_renewed_after_its_share_of_jobs(tmp_path, monkeypatch):
    monkeypatch.setattr(supervision, "RENEW_AFTER_JOBS", 2)
    with started(process_pool(tmp_path, 1)) as pool:
        pids = [until(pool, WorkerReady)[-1].hello.pid]
        for number in range(4):
            if not pool.idle():
                pids.append(until(pool, WorkerReady)[-1].hello.pid)
            pool.send(0, job(f"s/{number}"))
            until(pool, Told, 2)
            pool.send(0, Drop(f"s/{number}", 1))
    assert len(set(pids)) == 2


def test_a_worker_that_has_grown_is_renewed(tmp_path):
    gigabyte = supervision.RENEW_AFTER_GROWTH_BYTES
    script = f"""
        from dataclasses import replace
        from nasctl.workers.jobs import Executor
        say(hello()); executor = Executor(hear()); say(Ready(1000))
        for grown in ({gigabyte}, 2 * {gigabyte} - 1, 2 * {gigabyte}):
            *_, done = executor.perform(hear())
            say(replace(done, rss_bytes=grown))
            hear()
        hear()
    """
    with started(scripted_pool(tmp_path, script)) as pool:
        until(pool, WorkerReady)
        idle = []
        for number in range(3):
            pool.send(0, job(f"s/{number}"))
            until(pool, Told)
            pool.send(0, Drop(f"s/{number}", 1))
            idle.append(list(pool.idle()))
        assert idle == [[0], [0], []]
        until(pool, WorkerReady)


def test_a_log_is_capped_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "LOG_BYTES", 1000)
    monkeypatch.setattr(supervision, "LOG_CHECK_SECONDS", 0.0)
    script = GREET + "print('x' * 2000, file=sys.stderr); hear(); print('later', file=sys.stderr); time.sleep(60)"
    log = tmp_path / "logs" / "worker-0.log"
    with started(scripted_pool(tmp_path, script)) as pool:
        until(pool, WorkerReady)
        while not log.with_suffix(".log.1").exists():
            pool.events(0.05)
        pool.send(0, job())
        while "later" not in log.read_text():
            pool.events(0.05)
    assert log.stat().st_size < 1000
    assert log.with_suffix(".log.1").stat().st_size > 2000


def test_a_log_that_somebody_removes_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(supervision, "LOG_CHECK_SECONDS", 0.0)
    with started(process_pool(tmp_path, 1)) as pool:
        until(pool, WorkerReady)
        shutil.rmtree(tmp_path / "logs")
        pool.events(0.05)
        pool.send(0, job(faults={"s/0": {"kind": "exit"}}))
        lost = until(pool, WorkerLost)[-1]
        assert (lost.detail, lost.words) == ("exit code 3", ())
        until(pool, WorkerReady)


def test_stopping_asks_first_and_closing_kills_what_is_left(tmp_path):
    with started(process_pool(tmp_path, 2, replace(LIMITS, grace=60.0))) as pool:
        until(pool, WorkerReady, 2)
        pool.send(0, job("s/0", faults={"s/0": {"kind": "hang"}}))
        time.sleep(0.3)
        pool.stop()
        happened = []
        while pool.living > 1:
            happened += pool.events(0.1)
        assert not [event for event in happened if isinstance(event, WorkerLost)]
        pool.close()
        assert pool.living == 0
    assert not [child for child in psutil.Process().children() if "nasctl.workers" in " ".join(child.cmdline())]


def test_a_stop_that_is_not_followed_is_enforced(tmp_path):
    script = GREET + "signal.signal(signal.SIGTERM, signal.SIG_IGN); hear(); time.sleep(60)"
    with started(scripted_pool(tmp_path, script, replace(LIMITS, grace=0.5))) as pool:
        until(pool, WorkerReady)
        pool.stop()
        began = time.monotonic()
        while pool.living:
            pool.events(0.1)
        assert time.monotonic() - began < 5.0


def test_a_message_to_a_worker_that_no_longer_reads_holds_nobody_up(tmp_path):
    with started(scripted_pool(tmp_path, GREET + "time.sleep(60)")) as pool:
        pid = until(pool, WorkerReady)[-1].hello.pid
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        pool.send(0, job(filling="x" * 200_000))
        assert until(pool, WorkerLost)[-1].reason == "crashed"
        assert time.monotonic() - began < 3.0


def test_a_wake_up_ends_the_waiting(tmp_path):
    pool = scripted_pool(tmp_path, "hear()")
    pool.wake()
    began = time.monotonic()
    assert pool.events(30.0) == []
    assert time.monotonic() - began < 5.0
