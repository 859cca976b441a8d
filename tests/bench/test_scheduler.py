"""What orchestration costs without any training: docs/benchmarks.md, "The scheduler's own cost".

Jobs that do nothing, or sleep, over Table 3's parameters (ESIM's twelve, and a thirteenth in place of the cell), eight
workers, MLflow on.
"""

import os
import resource
import time
from pathlib import Path

import pytest
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
from nasctl.tuning.study import StudyStore, TrialStore
from nasctl.tuning.trials import Ended
from nasctl.workers import noop
from nasctl.workers.local import local_pool
from nasctl.workers.pool import Limits
from nasctl.workers.protocol import Job

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

WORKERS = 8
SAMPLERS = {
    "random": RandomSampler("random", 0),
    "tpe": TpeSampler("tpe", 10, 24, multivariate=True, group=False, constant_liar=True, seed=0),
    "tpe_paper": TpeSampler("tpe_paper", 20, 24, multivariate=False, group=False, constant_liar=True, seed=0),
}
WARM_UP = 100
"""Trials after which processes, imports and caches have settled: figures are of the later ones."""


def study(folder: Path, sampler: str, trials: int) -> StudySpec:
    settings = compose(["dataset=demo-sick", "embedding=glove", "model=esim"], ())
    row = MODELS["esim"]
    space = expand_space(settings, row.layers, row.places, "regression")
    thirteen = (*space, ("epochs", Choice("choice", tuple(range(1, 11)))))
    assert len(thirteen) == 13
    run = run_spec(folder, "esim", "regression")
    return StudySpec("bench", run, None, thirteen, SAMPLERS[sampler], trials, WORKERS, 0, {"dataset": "none"})


def drive(folder: Path, trials: int, seconds: float) -> tuple[list[tuple[float, int]], float]:
    """The time and this process's memory in bytes at the end of each trial, in order; and the time when MLflow has all.

    The tracker's thread may lag behind the trials, so only the second time is that of the whole study.
    """
    limits = Limits(beat=10.0, silence=60.0, epoch=60.0, grace=10.0, resume_after=120.0, resume_every=60.0)
    store = StudyStore(f"sqlite:///{folder}/studies.db")
    scheduler = Scheduler(
        [StudyOrder(study(folder, "random", trials), "study: bench\n", "noop", {"seconds": seconds})],
        local_pool(WORKERS, "cpu", limits, cache=folder / "cache", logs=folder / "logs"),
        store,
        folder,
        tracker=MlflowTracker(f"sqlite:///{folder}/mlflow.db", folder / "artifacts", "bench"),
        max_failed=0,
        grace=10.0,
        resume="",
        databases=(folder / "mlflow.db",),
    )
    ends = [(time.perf_counter(), memory()) for event in scheduler.run() if isinstance(event, TrialEnded)]
    whole = time.perf_counter()
    store.close()
    assert len(ends) == trials
    return ends, whole


def memory() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()


def test_a_trial_costs_little(tmp_path):
    every, whole = drive(tmp_path, trials=1000, seconds=0.0)
    ends = every[WARM_UP:]
    told = 1000 * (ends[-1][0] - ends[0][0]) / (len(ends) - 1)
    milliseconds = 1000 * (whole - ends[0][0]) / (len(ends) - 1)
    kilobytes = (ends[-1][1] - ends[0][1]) / 1024 / (len(ends) - 1)
    print(
        f"scheduler: {milliseconds:.0f} ms per trial until MLflow has it, {told:.0f} ms until Optuna has, "
        f"{kilobytes:.1f} KB per trial, {os.cpu_count()} cores"
    )
    assert milliseconds <= 80.0
    assert kilobytes <= 10.0


def test_workers_are_rarely_idle(tmp_path):
    every, _ = drive(tmp_path, trials=WARM_UP + 200, seconds=0.5)
    ends = every[WARM_UP:]
    busy = 0.5 * (len(ends) - 1)
    idle = 1.0 - busy / (WORKERS * (ends[-1][0] - ends[0][0]))
    print(f"scheduler: {100 * idle:.1f} % idle with jobs of 0.5 s")
    assert idle < 0.05


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_an_ask_costs(tmp_path, sampler):
    store = StudyStore(f"sqlite:///{tmp_path}/studies.db")
    trials = TrialStore(store, study(tmp_path, sampler, 1000))
    seconds = []
    for _ in range(1000):
        began = time.perf_counter()
        asked = trials.ask()
        seconds.append(time.perf_counter() - began)
        job = Job(f"bench/{asked.number}", 1, "noop", {}, "trial", str(tmp_path))
        trials.tell(Ended(asked, returned(noop.perform(job, asked.run, 1)), None))
        trials.commit()
    store.close()
    at = {count: 1000 * sum(seconds[count - 20 : count]) / 20 for count in (100, 500, 1000)}
    print(f"{sampler}: " + ", ".join(f"{cost:.0f} ms per ask at {count}" for count, cost in at.items()))


def returned(generator):
    """What a generator returns at its end."""
    try:
        while True:
            next(generator)
    except StopIteration as end:
        return end.value
