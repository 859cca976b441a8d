"""The no-op job: an objective that costs nothing, or just time, for tests and benchmarks of the orchestration.

It takes the spec of a run or a search and sleeps instead of training; torch is never imported. Options of the job:

seconds   how long it takes, shared by the epochs (0)
epochs    how many epochs it tells (1); a search tells as many as its spec allows
value     its result; without one, a smooth function of the spec's hyperparameters with a single maximum
judging   how long a search takes for each cell that it judges in the end (0)
levels    how many results there are: then that of a run follows from its first cell alone
faults    {job id: {"kind": ..., "attempts": n}}: what goes wrong in the first n attempts (1) of a job
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nasctl
from nasctl.cells import spelling
from nasctl.files import canonical_json, write_atomically
from nasctl.rng import stream
from nasctl.search.samples import FILE as SAMPLES
from nasctl.search.samples import Examined, write_samples
from nasctl.spaces import space_named
from nasctl.spaces.base import Code, SearchSpace, code_text, draw_pool, log_probability, sample
from nasctl.specs import RunSpec, SearchSpec, cells_recorded, run_digest, search_digest
from nasctl.tracking.records import PRUNED, EpochRecord, FoundCell, Judging, RunRecord
from nasctl.workers.protocol import Job

PROGRESS = "noop.json"
"""What a search leaves in its scratch folder after each epoch, to go on from: the epochs told."""


def perform(
    job: Job, spec: RunSpec | SearchSpec, threads: int
) -> Generator[EpochRecord | Judging, bool | None, RunRecord]:
    """Tell epochs and return a record, as `experiments.run.train` and `experiments.search.search` do."""
    fault = job.options.get("faults", {}).get(job.job)
    if fault is not None and job.attempt <= fault.get("attempts", 1):
        _FAULTS[fault["kind"]]()
    work = _search(job, spec, threads) if isinstance(spec, SearchSpec) else _run(job, spec, threads)
    return (yield from work)


def _run(job: Job, spec: RunSpec, threads: int) -> Generator[EpochRecord, bool | None, RunRecord]:
    """As a training; role "final" has test metrics, too.

    With a checkpoint to evaluate, raises ValueError unless it is that of `spec`, and leaves one prediction per split.
    """
    began = time.monotonic()
    value = float(
        job.options.get("value", _level(spec, levels) if (levels := job.options.get("levels")) else _peak(spec))
    )
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
        versions=_versions(),
        history=tuple(history),
    )


def _search(job: Job, spec: SearchSpec, threads: int) -> Generator[EpochRecord | Judging, bool | None, RunRecord]:
    """As a search: cells drawn uniformly, with made-up scores; it goes on after the last epoch that it has told."""
    began, epochs = time.monotonic(), spec.training.epochs
    space = space_named(spec.space.name, nodes=spec.space.nodes)
    value, progress = float(job.options.get("value", 0.5)), Path(job.scratch) / PROGRESS
    resumed, history = 0, list[EpochRecord]()
    if progress.exists():
        left = json.loads(progress.read_text("utf-8"))
        resumed, history = left["resumed"] + 1, [EpochRecord(**epoch) for epoch in left["history"]]
    before = history[-1].seconds if history else 0.0
    for epoch in range(len(history) + 1, epochs + 1):
        time.sleep(float(job.options.get("seconds", 0.0)) / epochs)
        code = sample(space, stream(spec.training.seed, "noop", epoch))
        told = EpochRecord(
            epoch,
            1.0 / epoch,
            {spec.metric: value * epoch / epochs},
            before + time.monotonic() - began,
            {"reward": value * epoch / epochs, "entropy": 13.0 / epoch, "new": 1.0},
            code_text(code),
        )
        history.append(told)
        told_so_far = {"resumed": resumed, "history": [asdict(each) for each in history]}
        write_atomically(progress, json.dumps(told_so_far))  # which a value that is no number passes
        yield told
    count = min(spec.found.count, space.size() or spec.found.count)
    for number in range(1, count + 1):
        time.sleep(float(job.options.get("judging", 0.0)))
        yield Judging(number, count)
    cells = [_made_up(space, code) for code in draw_pool(space, count, spec.training.seed)]
    write_samples(Path(job.scratch) / SAMPLES, Examined(1, spec.space, spec.metric, {}))
    return RunRecord(
        digest=search_digest(spec),
        role=job.role,
        state="finished",
        reason="",
        metric=spec.metric,
        value=value,
        dev={spec.metric: value},
        test={},
        epochs=epochs,
        best_epoch=epochs,
        parameters=0,
        cells=(),
        seconds={"train": before + time.monotonic() - began},
        memory={},
        counts={"resumed": resumed},
        device="cpu",
        threads=threads,
        backend="noop",
        result_version=spec.result_version,
        versions=_versions(),
        history=tuple(history),
        found=tuple(cells),
    )


def _made_up(space: SearchSpace, code: Code) -> FoundCell:
    """A cell of the space with a score that follows from its code."""
    text = spelling.spelled(space.decode(code))
    score = hashlib.sha256(code_text(code).encode()).digest()[0] / 256
    return FoundCell(code_text(code), text, spelling.digest_of(text), log_probability(space, code), score)


def checkpoint(spec: RunSpec | SearchSpec) -> str:
    """What stands for the weights of a no-op run or search."""
    return canonical_json({"digest": search_digest(spec) if isinstance(spec, SearchSpec) else run_digest(spec)})


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "nasctl": nasctl.__version__}


def _peak(spec: RunSpec) -> float:
    """In (0, 1], highest at a learning rate of 1e-3 and rates of 0.4."""
    rates = (*spec.training.dropout, *spec.training.variational_dropout)
    distance = (math.log10(spec.training.learning_rate) + 3.0) ** 2 + sum((rate - 0.4) ** 2 for rate in rates)
    return 1.0 / (1.0 + distance)


def _level(spec: RunSpec, levels: int) -> float:
    """One of so many in [0, 1), by the run's first cell."""
    return int(levels * stream(0, spec.layers[0].cell).random()) / levels


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
