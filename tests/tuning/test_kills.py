"""Workers and schedulers that are killed or interrupted, as real processes."""

import contextlib
import os
import random
import signal
import subprocess
import time
from dataclasses import replace

import psutil
import pytest
import studies
from studies import LIMITS, Driven, FileTracker, database, drive, finals, gone, order, process_pool, study

from nasctl.errors import MachineError
from nasctl.tuning.events import JobRepeated, JobStarted, TrialEnded, WorkerStarted
from nasctl.tuning.study import StudyStore, TrialStore


def told(root, trials):
    """Number -> (parameters, state) of every trial in the store; the numbers have no gaps."""
    store = StudyStore(database(root))
    opened = TrialStore(store, study(trials=trials))
    everything = {number: opened.ended(number) for number in opened.ended_numbers()}
    unfinished = [asked.number for asked in opened.unfinished]
    store.close()
    assert sorted([*everything, *unfinished]) == list(range(len(everything) + len(unfinished)))
    return {number: (trial.asked.params, trial.record.state) for number, trial in everything.items()}, unfinished


def check_whole(root, trials):
    """A study that has ended has exactly its trials, and the tracker has them all."""
    everything, unfinished = told(root, trials)
    assert sorted(everything) == list(range(trials))
    assert unfinished == []
    tracker = FileTracker(root / "tracker")
    assert dict(tracker.trials("s")) == {number: state for number, (_, state) in everything.items()}
    assert tracker.state("s") == "finished"
    return everything


def kill_workers(root, trials, kills, seed):
    draw = random.Random(seed)
    victims = set(draw.sample(range(trials), kills))
    pids, running, events = {}, {}, []
    with studies.scheduler(root, [order(study(trials=trials), seconds=0.2)], process_pool(root, 2)) as driver:
        for event in driver.run():
            events.append(event)
            if isinstance(event, WorkerStarted):
                pids[event.slot] = event.pid
            elif isinstance(event, JobStarted) and event.number in victims and event.purpose == "trial":
                victims.discard(event.number)
                time.sleep(draw.uniform(0.0, 0.15))
                os.kill(pids[event.slot], signal.SIGKILL)
                running[event.number] = event.params
    return events, running


def check_killed(events, running, trials):
    ended = {event.number: event for event in events if isinstance(event, TrialEnded)}
    assert sorted(ended) == list(range(trials))
    repeats = [event for event in events if isinstance(event, JobRepeated)]
    assert {event.number for event in repeats} == set(running)
    assert {event.reason for event in repeats} == {"crashed"}
    assert all("SIGKILL" in event.detail for event in repeats)
    again = {event.number: event.params for event in events if isinstance(event, JobStarted) and event.attempt == 2}
    assert again == running
    assert finals(events)["s"].finished == trials


def test_a_killed_worker_costs_one_attempt(tmp_path):
    events, running = kill_workers(tmp_path, trials=6, kills=2, seed=0)
    check_killed(events, running, 6)


def test_a_killed_scheduler_is_resumed_with_nothing_lost_or_done_twice(tmp_path):
    with Driven(tmp_path, trials=8, workers=2, seconds=0.1) as first:
        assert first.until("TrialEnded", 3)
        first.process.kill()
        first.process.wait()
        assert gone(first.workers())
    before, unfinished = told(tmp_path, 8)
    assert len(before) >= 3
    assert unfinished
    with Driven(tmp_path, trials=8, workers=2, seconds=0.1) as second:
        code, _ = second.end()
        assert code == 0
        (started,) = second.of("StudyStarted")
        assert (started["finished"], started["unfinished"]) == (len(before), len(unfinished))
        rerun = {event["number"] for event in second.of("JobStarted") if event["purpose"] == "trial"}
        assert not rerun & set(before)
    everything = check_whole(tmp_path, 8)
    assert before.items() <= everything.items()
    drive(tmp_path / "whole", [order(study(trials=8))])
    assert everything == told(tmp_path / "whole", 8)[0]


def test_a_second_scheduler_is_refused_at_once_naming_the_first(tmp_path):
    with Driven(tmp_path, trials=4, workers=0, seconds=60.0) as first:  # longer than the second needs to start
        assert first.until("StudyStarted")
        with Driven(tmp_path, trials=4, workers=0) as second:
            code, words = second.end()
        assert code == 3
        assert f"driven by another scheduler: process {first.process.pid} on " in words
        assert len(words.splitlines()) == 1


def test_an_interrupt_lets_the_running_trials_end(tmp_path):
    with Driven(tmp_path, trials=20, workers=2, seconds=0.5) as driven:
        assert driven.until("TrialEnded", 2)
        driven.process.send_signal(signal.SIGINT)
        code, words = driven.end()
        assert code == 130
        assert [event["stage"] for event in driven.of("Stopping")] == [1]
        assert "stopped: s has" in words
        assert "(the same command goes on)" in words
        started = [event["number"] for event in driven.of("JobStarted")]
        assert sorted(event["number"] for event in driven.of("TrialEnded")) == sorted(started)
        assert gone(driven.workers())
    everything, unfinished = told(tmp_path, 20)
    assert sorted(everything) == sorted(started)
    assert unfinished == []
    assert FileTracker(tmp_path / "tracker").state("s") == "interrupted"
    assert sorted(FileTracker(tmp_path / "tracker").trials("s")) == sorted(everything)


@pytest.mark.parametrize(("signals", "code"), [((signal.SIGINT, signal.SIGINT), 130), ((signal.SIGTERM,), 143)])
def test_a_second_interrupt_or_a_termination_leaves_them_for_the_next_time(tmp_path, signals, code):
    with Driven(tmp_path, trials=4, workers=2, seconds=60.0, epochs=300) as driven:
        assert driven.until("EpochEnded", 2)
        for number in signals:
            driven.process.send_signal(number)
            driven.until("Stopping")
        began = time.monotonic()
        assert driven.end()[0] == code
        assert time.monotonic() - began < LIMITS.grace + 5
        assert gone(driven.workers(), 1)
    everything, unfinished = told(tmp_path, 4)
    assert everything == {}
    assert len(unfinished) == 2
    assert FileTracker(tmp_path / "tracker").state("s") == "interrupted"


def test_a_third_interrupt_kills(tmp_path):
    faults = {f"s/{number}": {"kind": "hang"} for number in range(4)}
    with Driven(tmp_path, trials=4, workers=1, faults=faults, grace=60.0) as driven:
        assert driven.until("JobStarted")
        for _ in range(3):
            driven.process.send_signal(signal.SIGINT)
            driven.until("Stopping")
        began = time.monotonic()
        assert driven.end()[0] == 130
        assert time.monotonic() - began < 30
        assert gone(driven.workers(), 1)


# --- the heavy ones ---------------------------------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(2))
def test_many_killed_workers(tmp_path, seed):
    events, running = kill_workers(tmp_path, trials=24, kills=6, seed=seed)
    check_killed(events, running, 24)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(4))
def test_a_scheduler_killed_again_and_again(tmp_path, seed):
    draw = random.Random(seed)
    trials, before = 12, {}
    for _ in range(4):
        with Driven(tmp_path, trials=trials, workers=2, seconds=0.05, epochs=2) as driven:
            for _ in range(draw.randrange(2, 25)):
                if not driven.process.stdout.readline():
                    break
            time.sleep(draw.uniform(0.0, 0.05))
            driven.process.kill()
            driven.process.wait()
        now, _ = told(tmp_path, trials)
        assert before.items() <= now.items()
        before = now
    with Driven(tmp_path, trials=trials, workers=2, seconds=0.05) as driven:
        assert driven.end()[0] == 0
    everything = check_whole(tmp_path, trials)
    drive(tmp_path / "whole", [order(study(trials=trials))])
    assert everything == told(tmp_path / "whole", trials)[0]


@pytest.mark.faults
def test_hung_and_silent_workers_cost_an_attempt_each(tmp_path):
    faults = {"s/1": {"kind": "hang"}, "s/3": {"kind": "silence"}, "s/4": {"kind": "exit"}, "s/5": {"kind": "family"}}
    limits = replace(LIMITS, beat=0.2, silence=4.0, epoch=8.0)
    events = drive(tmp_path, [order(study(trials=8), faults=faults)], process_pool(tmp_path, 2, limits))
    repeats = {event.number: event.reason for event in events if isinstance(event, JobRepeated)}
    assert repeats == {1: "stuck", 3: "silent", 4: "crashed", 5: "stuck"}
    assert finals(events)["s"].finished == 8
    assert not [child for child in psutil.Process().children(recursive=True) if "sleep" in " ".join(child.cmdline())]


@pytest.mark.faults
def test_a_job_that_kills_its_workers_does_not_eat_the_pool(tmp_path):
    faults = {"s/2": {"kind": "kill", "attempts": 99}}
    events = drive(tmp_path, [order(study(trials=5, retries=2), faults=faults)], process_pool(tmp_path, 2))
    final = finals(events)["s"]
    assert (final.finished, final.failed) == (5, 1)
    failed = next(event for event in events if isinstance(event, TrialEnded) and event.record.state == "failed")
    assert (failed.number, failed.record.reason) == (2, "crashed: killed by SIGKILL")


def drive_until_full(root, fill):
    """A study whose disk is full from its sixth trial on."""
    with studies.scheduler(root, [order(study(trials=30))]) as driver:
        for event in driver.run():
            if isinstance(event, TrialEnded) and event.number == 5:
                with contextlib.suppress(OSError), fill.open("wb") as file:
                    while True:
                        file.write(b"x" * 4096)


def mount_small_disk(folder):
    """A disk of 8 MB at `folder`. Where there can be none the test is skipped, but CI must have one."""
    if os.geteuid() == 0:
        command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
        mounted = subprocess.run(command, check=False, capture_output=True, text=True)
        if mounted.returncode == 0:
            return
        reason = f"no tmpfs can be mounted here: {mounted.stderr.strip()}"
    else:
        reason = "only root may mount a small disk"
    lacking = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    lacking(reason)


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), (None, pytest.skip.Exception)])
def test_ci_may_not_leave_the_full_disk_out(tmp_path, monkeypatch, ci, outcome):
    monkeypatch.delenv("CI", raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(outcome, match="only root"):
        mount_small_disk(tmp_path)
    refused = subprocess.CompletedProcess([], 32, "", "mount: permission denied")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(outcome, match="no tmpfs can be mounted here: mount: permission denied"):
        mount_small_disk(tmp_path)


@pytest.mark.faults
def test_a_disk_that_fills_up_leaves_a_study_that_goes_on(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount_small_disk(small)
    try:
        fill = small / "fill"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("nasctl.tuning.folders.SPARE_BYTES", 0)
            patch.setattr("nasctl.tuning.driven.trial_bytes", lambda _: 0)
            with pytest.raises(MachineError, match=r"disk|space"):
                drive_until_full(small, fill)
            fill.unlink()
            before, _ = told(small, 30)
            assert len(before) >= 6
            events = drive(small, [order(study(trials=30))])
            assert finals(events)["s"].finished == 30
            assert before.items() <= told(small, 30)[0].items()
    finally:
        subprocess.run(["umount", str(small)], check=True)
