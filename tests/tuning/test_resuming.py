"""Runs that really train go on where a killed worker, a killed command or a stop has left them."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
import studies
from safetensors.torch import load_file
from studies import database, finals, process_pool, scheduler, tiny_order

from nasctl.experiments.run import Workplace, train
from nasctl.tracking.records import RECORD
from nasctl.tuning.events import EpochEnded, JobRepeated, TrialEnded, WorkerStarted
from nasctl.tuning.folders import DrivenFolder
from nasctl.tuning.study import StudyStore

TRAINING = {"epochs": 20, "patience": 20, "learning_rate": 0.002}
KILLED_AFTER = 5

pytestmark = pytest.mark.faults


def check(root, record):
    """The record, and the study's weights, are those of the run that was never interrupted."""
    run = train(tiny_order(root, 1, TRAINING).spec.run, Workplace(root / "cache", "cpu", 1), "trial")
    try:
        while True:
            next(run)
    except StopIteration as end:
        whole = end.value
    assert [(epoch.epoch, epoch.loss, epoch.dev) for epoch in record.history] == [
        (epoch.epoch, epoch.loss, epoch.dev) for epoch in whole.record.history
    ]
    assert (record.value, record.best_epoch, record.digest) == (
        whole.record.value,
        whole.record.best_epoch,
        whole.record.digest,
    )
    assert record.counts == {**whole.record.counts, "resumed": 1}
    kept = load_file(DrivenFolder(root, "s").checkpoint)
    assert kept.keys() == whole.weights.keys()
    assert all(kept[name].equal(whole.weights[name]) for name in kept)
    assert not DrivenFolder(root, "s").scratch("0").exists()


def test_a_killed_worker(tmp_path):
    pid, epochs, repeats, record = 0, [], [], None
    with scheduler(tmp_path, [tiny_order(tmp_path, 1, TRAINING)], process_pool(tmp_path, 1)) as driver:
        events = []
        for event in driver.run():
            events.append(event)
            match event:
                case WorkerStarted():
                    pid = event.pid
                case EpochEnded(purpose="trial"):
                    epochs.append(event.epoch.epoch)
                    if len(epochs) == KILLED_AFTER:
                        os.kill(pid, signal.SIGKILL)
                case JobRepeated():
                    repeats.append(event.reason)
                    heard = len(epochs)
                case TrialEnded():
                    record = event.record
    assert repeats == ["crashed"]
    assert epochs == sorted(set(epochs))  # an epoch is told once its checkpoint is there, so none is trained twice
    assert epochs[-1] == TRAINING["epochs"]
    assert finals(events)["s"].best == 0
    assert KILLED_AFTER <= heard < TRAINING["epochs"]
    check(tmp_path, record)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_command_that_has_ended_goes_on(tmp_path, number):
    asked = {"trials": 1, "workers": 1, "training": TRAINING}
    command = [sys.executable, studies.__file__, str(tmp_path), json.dumps(asked)]
    workers, epochs = [], []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "WorkerStarted":
                workers.append(psutil.Process(event["pid"]))
            elif event["event"] == "EpochEnded":
                epochs.append(event["epoch"]["epoch"])
                if len(epochs) == KILLED_AFTER:
                    process.send_signal(number)
    psutil.wait_procs(workers, 10)
    assert process.returncode in {-signal.SIGKILL, 143}
    assert (DrivenFolder(tmp_path, "s").scratch("0") / "resume.safetensors").exists()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in again.stdout.splitlines()]
    resumed = [event["epoch"]["epoch"] for event in told if event["event"] == "EpochEnded"]
    assert resumed == list(range(resumed[0], TRAINING["epochs"] + 1))
    assert resumed[0] > max(epochs)  # an epoch is told once its checkpoint is there, so none is trained twice
    store = StudyStore(database(tmp_path))
    record = store.ended("s", 0).record
    store.close()
    assert RECORD.validate_python(record).state == "finished"
    check(tmp_path, record)
