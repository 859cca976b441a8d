"""Studies of jobs that do nothing, or sleep, driven as users' studies are; what the measurements have in common."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiny import run_spec

from nasctl.config.composition import compose
from nasctl.config.space import expand_space
from nasctl.models import MODELS
from nasctl.samplers import RandomSampler, TpeSampler
from nasctl.specs import Choice, StudySpec
from nasctl.tracking.store import MlflowTracker
from nasctl.tuning.driven import StudyOrder
from nasctl.tuning.events import TrialEnded
from nasctl.tuning.scheduler import Scheduler
from nasctl.tuning.study import StudyStore
from nasctl.workers.local import local_pool
from nasctl.workers.pool import Limits

WORKERS = 8
SAMPLERS = {
    "random": RandomSampler("random", 0),
    "tpe": TpeSampler("tpe", 10, 24, multivariate=True, group=False, constant_liar=True, seed=0),
    "tpe_paper": TpeSampler("tpe_paper", 20, 24, multivariate=False, group=False, constant_liar=True, seed=0),
}


def bench_study(folder: Path, sampler: str, trials: int, name: str = "bench", seed: int = 0) -> StudySpec:
    """A study over Table 3's parameters: ESIM's twelve, and a thirteenth in place of the cell."""
    settings = compose(["dataset=demo-sick", "embedding=glove", "model=esim"], ())
    row = MODELS["esim"]
    space = expand_space(settings, row.layers, row.places, "regression")
    thirteen = (*space, ("epochs", Choice("choice", tuple(range(1, 11)))))
    assert len(thirteen) == 13
    run = run_spec(folder, "esim", "regression")
    drawn = replace(SAMPLERS[sampler], seed=seed)  # or studies would be told each other's results
    return StudySpec(name, run, None, thirteen, drawn, trials, WORKERS, 0, {"dataset": "none"})


def driven(
    folder: Path, studies: Sequence[StudySpec], options: Mapping[str, Any], *, tracked: bool = True
) -> tuple[list[tuple[float, int]], float]:
    """The time and this process's memory in bytes at the end of each trial, in order; and the time when MLflow has all.

    The tracker's thread may lag behind the trials, so only the second time is that of the whole.
    """
    limits = Limits(beat=10.0, silence=60.0, epoch=60.0, grace=10.0, resume_after=120.0, resume_every=60.0)
    folder.mkdir(parents=True, exist_ok=True)
    store = StudyStore(f"sqlite:///{folder}/studies.db")
    scheduler = Scheduler(
        [StudyOrder(spec, f"study: {spec.name}\n", "noop", options) for spec in studies],
        local_pool(WORKERS, "cpu", limits, cache=folder / "cache", logs=folder / "logs"),
        store,
        folder,
        tracker=MlflowTracker(f"sqlite:///{folder}/mlflow.db", folder / "artifacts", "bench") if tracked else None,
        max_failed=0,
        grace=10.0,
        resume="",
        databases=(folder / "mlflow.db",),
    )
    ends = []
    for event in scheduler.run():
        if isinstance(event, TrialEnded):
            assert event.duplicate_of is None  # that would cost nothing
            ends.append((time.perf_counter(), memory()))
    whole = time.perf_counter()
    store.close()
    assert len(ends) == sum(spec.trials for spec in studies)
    return ends, whole


def memory() -> int:
    """Bytes that this process has resident."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()
