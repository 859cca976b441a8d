"""GPUs that are lost while studies run. There need be none here: what a worker says of its own is scripted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from studies import LIMITS, job, order, scheduler, scripted_pool, started, study, until

from nasctl.errors import MachineError
from nasctl.tuning.events import StudyEnded, TrialEnded, Warned
from nasctl.workers import local
from nasctl.workers.pool import GpuLost, Told, WorkerLost, WorkerReady

FAILING = """
    say(hello()); hear(); say(Ready(1000))
    asked = hear()
    if os.environ["CUDA_VISIBLE_DEVICES"] == "0":
        say(Failed(asked.job, asked.attempt, "device", "CUDA error 719", "", ""))
    hear()
"""
"""A worker whose GPU, number 0, fails its first job; on another one it never ends."""

PATIENT = replace(LIMITS, silence=60.0)
"""These workers do not beat."""

NOOP = """
    from nasctl.workers.jobs import Executor
    if os.environ["CUDA_VISIBLE_DEVICES"] != "0":
        time.sleep(3)  # or the others may have done everything before the one whose GPU fails is there
    say(hello()); executor = Executor(hear()); say(Ready(1000))
    while True:
        asked = hear()
        if isinstance(asked, Stop):
            sys.exit(0)
        if isinstance(asked, Job) and os.environ["CUDA_VISIBLE_DEVICES"] == "0":
            say(Failed(asked.job, asked.attempt, "device", "CUDA error 719", "", ""))
        elif isinstance(asked, Job):
            for told in executor.perform(asked):
                say(told)
        elif (answer := executor.settle(asked)) is not None:
            say(answer)
"""


def test_a_lost_gpu_takes_all_of_its_workers_and_no_other(tmp_path):
    with started(
        scripted_pool(tmp_path, FAILING, PATIENT, gpus=["0", "1", "0"], is_lost=lambda gpu: gpu == "0")
    ) as pool:
        until(pool, WorkerReady, 3)
        for slot in range(2):
            pool.send(slot, job(f"s/{slot}"))
        happened = until(pool, GpuLost)
        assert happened[-1] == GpuLost("0", "the driver has lost it: CUDA error 719", 1)
        assert isinstance(happened[-2], Told)
        happened = until(pool, WorkerLost)
        assert (happened[-1].slot, happened[-1].reason, happened[-1].detail) == (2, "device", "its GPU 0 is lost")
        until_one_is_left(pool)
        assert pool.slots == 1


def until_one_is_left(pool):
    for _ in range(100):
        if pool.living == 1:
            return
        pool.events(0.1)
    pytest.fail("nobody ends")


def test_errors_of_one_job_are_the_jobs_own_and_of_three_the_gpus(tmp_path):
    with started(scripted_pool(tmp_path, FAILING, PATIENT, gpus=["0", "1"])) as pool:
        until(pool, WorkerReady, 2)
        for number in (0, 0, 0, 1, 2):
            pool.send(0, job(f"s/{number}"))
            happened = until(pool, Told)
            if number < 2:
                assert not any(isinstance(event, GpuLost) for event in happened)
                until(pool, WorkerReady)
        (lost,) = [event for event in happened if isinstance(event, GpuLost)] or until(pool, GpuLost)[-1:]
        assert (lost.gpu, lost.slots) == ("0", 1)
        assert lost.detail.startswith("3 jobs running failed there")


def test_the_last_gpu_ends_the_study(tmp_path):
    with started(scripted_pool(tmp_path, FAILING, PATIENT, gpus=["0", "0"], is_lost=lambda _: True)) as pool:
        until(pool, WorkerReady, 2)
        pool.send(1, job())
        with pytest.raises(MachineError, match="no GPU is left; 0: the driver has lost it"):
            until(pool, GpuLost)


def test_a_worker_that_dies_with_its_gpu_is_not_replaced(tmp_path):
    script = FAILING.replace('say(Failed(asked.job, asked.attempt, "device", "CUDA error 719", "", ""))', "os._exit(7)")
    with started(scripted_pool(tmp_path, script, PATIENT, gpus=["0", "1"], is_lost=lambda gpu: gpu == "0")) as pool:
        until(pool, WorkerReady, 2)
        pool.send(0, job())
        happened = until(pool, GpuLost)
        assert [event.reason for event in happened if isinstance(event, WorkerLost)] == ["crashed"]
        assert happened[-1].detail == "the driver has lost it; its worker: exit code 7"


def test_a_study_goes_on_with_the_gpus_that_are_left(tmp_path):
    pool = scripted_pool(tmp_path, NOOP, PATIENT, gpus=["0", "1", "1"], is_lost=lambda gpu: gpu == "0")
    with scheduler(tmp_path, [order(study(trials=8, retries=1))], pool) as driver:
        events = list(driver.run())
    assert [event.message for event in events if isinstance(event, Warned)] == [
        "GPU 0 is used no more, 2 workers are left: the driver has lost it: CUDA error 719"
    ]
    assert sorted(event.number for event in events if isinstance(event, TrialEnded)) == list(range(8))
    assert isinstance(events[-1], StudyEnded)
    assert events[-1].failed == 0


@pytest.mark.parametrize(
    ("gpu", "outer", "answer", "lost"),
    [
        ("1", None, None, False),
        ("1", None, "NVML_ERROR_GPU_IS_LOST", True),
        ("GPU-3f1c", "GPU-3f1c", "NVML_ERROR_GPU_IS_LOST", True),
        ("1", "3,1", "NVML_ERROR_GPU_IS_LOST", False),  # whose number 1 that is nobody knows
    ],
)
def test_the_driver_says_which_gpu_is_lost(monkeypatch, gpu, outer, answer, lost):
    import pynvml

    def memory(_):
        if answer is not None:
            raise pynvml.NVMLError(getattr(pynvml, answer))

    asked = []
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", asked.append)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", asked.append)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", memory)
    if outer is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outer)
    assert local.is_lost(gpu) == lost
    assert asked in ([int(gpu) if gpu.isdecimal() else gpu], [])
