"""The no-op job: an objective that costs nothing, or just time, for tests and benchmarks of the orchestration.

It takes a run's spec and sleeps instead of training; torch is never imported. Options of the job:

seconds   how long it takes, shared by the epochs (0)
epochs    how many epochs it tells (1)
value     its result; without one, a smooth function of the spec's hyperparameters with a single maximum
faults    {job id: {"kind": ..., "attempts": n}}: what goes wrong in the first n attempts (1) of a job
"""

from __future__ import annotations

import math
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nasctl
from nasctl.files import canonical_json, write_atomically
from nasctl.specs import RunSpec, cells_recorded, run_digest
from nasctl.tracking.records import PRUNED, EpochRecord, RunRecord
from nasctl.workers.protocol import Job


def perform(job: Job, spec: RunSpec, threads: int) -> Generator[EpochRecord, bool | None, RunRecord]:
    """Tell epochs and return a record, as `experiments.run.train` does; role "final" has test metrics, too.

    With a checkpoint to evaluate, raises ValueError unless it is that of `spec`, and leaves one prediction per split.
    """
    began = time.monotonic()
    fault = job.options.get("faults", {}).get(job.job)
    if fault is not None and job.attempt <= fault.get("attempts", 1):
        _FAULTS[fault["kind"]]()
    value = float(job.options.get("value", _peak(spec)))
    counts = {"constant_predictions": 0}
    if job.weights is not None:
        if Path(job.weights).read_text("utf-8") != checkpoint(spec):
            raise ValueError(f"{job.weights} is not the checkpoint of run {run_digest(spec)}")
        rows = [{"split": s, "row_id": "0", "gold": 1.0, "prediction": value} for s in ("dev", "test")]
        write_atomically(Path(job.scratch) / "predictions.jsonl", "".join(f"{canonical_json(row)}\n" for row in rows))
        counts |= {"dev_rows": 1, "test_rows": 1}
    epochs = int(job.options.get("epochs", 1))
    history = []
    for epoch in range(1, epochs + 1):
        time.sleep(float(job.options.get("seconds", 0.0)) / epochs)
        told = EpochRecord(epoch, 1.0 / epoch, {spec.metric: value * epoch / epochs}, time.monotonic() - began)
        history.append(told)
        if pruned := bool((yield told)):
            break
    return RunRecord(
        digest=run_digest(spec),
        role=job.role,
        state="pruned" if pruned else "finished",
        reason=PRUNED.format(len(history)) if pruned else "",
        metric=spec.metric,
        value=history[-1].dev[spec.metric],
        dev=history[-1].dev,
        test={spec.metric: value} if job.role == "final" else {},
        epochs=len(history),
        best_epoch=len(history),
        parameters=0,
        cells=cells_recorded(spec),
        seconds={"train": time.monotonic() - began},
        memory={},
        counts=counts,
        device="cpu",
        threads=threads,
        backend="noop",
        result_version=spec.result_version,
        versions={"python": platform.python_version(), "nasctl": nasctl.__version__},
        history=tuple(history),
    )


def checkpoint(spec: RunSpec) -> str:
    """What stands for the weights of a no-op run."""
    return canonical_json({"digest": run_digest(spec)})


def _peak(spec: RunSpec) -> float:
    """In (0, 1], highest at a learning rate of 1e-3 and rates of 0.4."""
    rates = (*spec.training.dropout, *spec.training.variational_dropout)
    distance = (math.log10(spec.training.learning_rate) + 3.0) ** 2 + sum((rate - 0.4) ** 2 for rate in rates)
    return 1.0 / (1.0 + distance)


# --- faults -----------------------------------------------------------------------------------------------------------


def _exit() -> None:
    os._exit(3)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fall_silent() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)  # not even its beats go on


def _hang() -> None:
    while True:  # its beats go on
        time.sleep(3600.0)


def _start_family() -> None:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    _hang()


def _raise() -> None:
    raise RuntimeError("a fault was asked for")


def _exhaust_memory() -> None:
    raise MemoryError


def _print() -> None:
    print("a library that prints where it should not")  # noqa: T201 - that is the fault
    os.write(1, b"and one that writes past Python\n")


_FAULTS: Mapping[str, Callable[[], Any]] = MappingProxyType(
    {
        "exit": _exit,
        "kill": _kill,
        "silence": _fall_silent,
        "hang": _hang,
        "family": _start_family,
        "raise": _raise,
        "memory": _exhaust_memory,
        "print": _print,
    }
)
