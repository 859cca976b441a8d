"""What orchestration costs without any training: docs/benchmarks.md, "The scheduler's own cost".

Eight workers, MLflow on; `make bench`.
"""

import os
import time

import pytest
from driving import SAMPLERS, WORKERS, bench_study, driven

from nasctl.tuning.study import StudyStore, TrialStore
from nasctl.tuning.trials import Ended
from nasctl.workers import noop
from nasctl.workers.protocol import Job

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

WARM_UP = 100
"""Trials after which processes, imports and caches have settled: figures are of the later ones."""


def test_a_trial_costs_little(tmp_path):
    every, whole = driven(tmp_path, [bench_study(tmp_path, "random", 1000)], {"seconds": 0.0})
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
    every, _ = driven(tmp_path, [bench_study(tmp_path, "random", WARM_UP + 200)], {"seconds": 0.5})
    ends = every[WARM_UP:]
    busy = 0.5 * (len(ends) - 1)
    idle = 1.0 - busy / (WORKERS * (ends[-1][0] - ends[0][0]))
    print(f"scheduler: {100 * idle:.1f} % idle with jobs of 0.5 s")
    assert idle < 0.05


def test_many_studies_together_leave_no_worker_waiting(tmp_path):
    """Twelve studies of sixteen trials of two seconds; each has a test of its best trial at its end, as long."""
    studies, trials, seconds = 12, 16, 2.0

    def specs(folder):
        return [bench_study(folder, "tpe", trials, f"s{n}", seed=n) for n in range(studies)]

    def took(folder, chosen):
        ends, whole = driven(folder, chosen, {"seconds": seconds})
        return ends[0][0] - seconds, whole  # the first trials began when the workers were ready

    began, whole = took(tmp_path / "together", specs(tmp_path / "together"))
    work = studies * (trials + 1) * seconds / WORKERS
    together = (whole - began) / work
    alone = 0.0
    for spec in specs(tmp_path / "alone"):
        began, whole = took(tmp_path / "alone" / spec.name, [spec])
        alone += whole - began
    print(f"twelve studies: {together:.2f} of their work / slots together, {alone / work:.2f} one after the other")
    assert together <= 1.1


def test_long_trials_cost_no_memory(tmp_path):
    """A thousand trials of a hundred epochs each: F19 of the list of faults."""
    every, whole = driven(tmp_path, [bench_study(tmp_path, "random", 1000)], {"epochs": 100}, tracked=False)
    ends = every[WARM_UP:]
    grown = (ends[-1][1] - ends[0][1]) / 2**20
    print(
        f"1,000 trials of 100 epochs: {grown:.0f} MB more, {1000 * (whole - ends[0][0]) / len(ends):.0f} ms per trial"
    )
    assert grown <= 50.0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_an_ask_costs(tmp_path, sampler):
    store = StudyStore(f"sqlite:///{tmp_path}/studies.db")
    trials = TrialStore(store, bench_study(tmp_path, sampler, 1000))
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
