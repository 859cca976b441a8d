"""Studies of no-op jobs, and what drives them, for tests of workers and tuning."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nasctl.errors import NasctlError
from nasctl.files import write_atomically
from nasctl.samplers import RandomSampler, SamplerSpec, TpeSampler
from nasctl.specs import (
    RESULT_VERSION,
    RUN,
    BlmSpec,
    Choice,
    Domain,
    EmbeddingRef,
    FloatRange,
    IntRange,
    LayerSpec,
    RunSpec,
    SearchSpec,
    StudySpec,
    TrainingSpec,
)
from nasctl.specs import Pool as CellPool
from nasctl.strategies import ControllerSpec, FoundSpec, RandomProposals, RandomStrategy, SpaceSpec
from nasctl.tracking.memory import MemoryTracker
from nasctl.tracking.records import RunRecord, Tracker, TrialEntry
from nasctl.tuning.driven import StudyOrder
from nasctl.tuning.driven_proposals import ProposalsOrder
from nasctl.tuning.driven_search import SearchOrder
from nasctl.tuning.events import Event, StudyEnded
from nasctl.tuning.promises import Broken, verify
from nasctl.tuning.scheduler import Scheduler
from nasctl.tuning.study import StudyStore
from nasctl.tuning.work import Order
from nasctl.workers import noop
from nasctl.workers.inprocess import InProcessPool
from nasctl.workers.local import worker_environment
from nasctl.workers.pool import Limits, Pool
from nasctl.workers.process import Slot
from nasctl.workers.protocol import Job
from nasctl.workers.supervision import ProcessPool

LIMITS = Limits(beat=0.2, silence=3.0, epoch=30.0, grace=3.0, resume_after=0.0, resume_every=0.0)

TRAINING = TrainingSpec(32, 1e-3, "mse", 0.04, 10.0, (0.4, 0.4), (0.4,), 0, 5, 5)
RUN_SPEC = RunSpec(
    "run",
    "d" * 16,
    "pearson",
    EmbeddingRef("e" * 16, trainable=False),
    BlmSpec("blm", "sentence", "sequence", "masked", "common"),
    (LayerSpec("lstm", 8),),
    TRAINING,
    "fp32",
    RESULT_VERSION,
)

SPACE: tuple[tuple[str, Domain], ...] = (
    ("batch_size", Choice("choice", (16, 32, 64))),
    ("learning_rate", FloatRange("float", 1e-4, 1e-2, log=True)),
    ("hidden_1", IntRange("int", 4, 64, log=False)),
    ("dropout_1", FloatRange("float", 0.25, 0.75, log=False)),
    ("loss", Choice("choice", ("mae", "mse"))),
)
SMALL_SPACE: tuple[tuple[str, Domain], ...] = (("batch_size", Choice("choice", (16, 32, 64))),)

RANDOM = RandomSampler("random", 0)
TPE = TpeSampler("tpe", 4, 24, multivariate=True, group=False, constant_liar=True, seed=0)
TPE_PAPER = TpeSampler("tpe_paper", 4, 24, multivariate=False, group=False, constant_liar=True, seed=0)


def study(
    name: str = "s",
    trials: int = 6,
    *,
    space: Sequence[tuple[str, Domain]] = SPACE,
    sampler: SamplerSpec = RANDOM,
    in_flight: int = 8,
    retries: int = 2,
    run: RunSpec = RUN_SPEC,
    pool: CellPool | None = None,
) -> StudySpec:
    labels = {"dataset": "none", "model": "blm"}
    return StudySpec(name, run, pool, tuple(space), sampler, trials, in_flight, retries, labels)


def order(spec: StudySpec, **options: Any) -> StudyOrder:
    return StudyOrder(spec, f"study: {spec.name}\n", "noop", options)


def search_spec(epochs: int = 3, **changes: Any) -> SearchSpec:
    """A search over the cells of four nodes; `changes` are fields of SearchSpec."""
    controller = ControllerSpec(8, "hidden", 5.0, 2.5, 0.1, 3.5e-4, None)
    training = dataclasses.replace(TRAINING, epochs=epochs)
    spec = SearchSpec(
        "search",
        "d" * 16,
        "pearson",
        EmbeddingRef("e" * 16, trainable=False),
        BlmSpec("blm", "sentence", "sequence", "masked", "common"),
        (8,),
        training,
        SpaceSpec("enas", 4),
        RandomStrategy("random_ws", controller, 5),
        None,
        2,
        FoundSpec(5, "code", 100, 0),
        "fp32",
        RESULT_VERSION,
    )
    return dataclasses.replace(spec, **changes)


def search_order(name: str = "f", spec: SearchSpec | None = None, *, retries: int = 2, **options: Any) -> SearchOrder:
    labels = {"dataset": "none", "model": "blm", "search": "random_ws"}
    spec = search_spec() if spec is None else spec
    return SearchOrder(spec, name, f"search: {name}\n", labels, None, retries, "noop", options)


def proposals_spec(trials: int = 6, count: int = 3, **changes: Any) -> SearchSpec:
    """A search whose cells are proposed; `changes` are fields of SearchSpec."""
    alone: dict[str, Any] = {
        "space": SpaceSpec("enas", 8),
        "strategy": RandomProposals("random", trials),
        "judged": 1,
        "found": FoundSpec(count, "code", trials, 0),
    }
    return search_spec(**{**alone, **changes})


def proposals_order(name: str = "f", spec: SearchSpec | None = None, **options: Any) -> ProposalsOrder:
    """It, its jobs being no-ops; each cell has a score of its own unless `options` have a value."""
    labels = {"dataset": "none", "model": "blm", "search": "random"}
    spec = proposals_spec() if spec is None else spec
    generation, retries = options.pop("generation", None), options.pop("retries", 2)
    return ProposalsOrder(spec, name, f"search: {name}\n", labels, None, retries, 8, generation, "noop", options)


def job(identity: str = "s/0", attempt: int = 1, scratch: Path | str = "scratch", **options: Any) -> Job:
    spec = RUN.dump_python(RUN_SPEC, mode="json")
    return Job(identity, attempt, "noop", spec, "trial", str(Path(scratch).absolute()), options=options)


def noop_record(run: RunSpec = RUN_SPEC, **options: Any) -> RunRecord:
    """What the no-op job returns for a run."""
    work = noop.perform(Job("s/0", 1, "noop", {}, "trial", "scratch", options=options), run, threads=1)
    try:
        while True:
            next(work)
    except StopIteration as end:
        record: RunRecord = end.value
        return record


# --- pools ------------------------------------------------------------------------------------------------------------


def process_pool(root: Path, workers: int = 2, limits: Limits = LIMITS, **more: Any) -> ProcessPool:
    """Real workers."""
    environment = worker_environment(os.environ, "", threads=1)
    command = (sys.executable, "-P", "-m", "nasctl.workers.worker")
    slots = [Slot(number, command, environment, "cpu", 1) for number in range(workers)]
    return ProcessPool(slots, limits, cache=root / "cache", logs=root / "logs", **more)


def scripted_pool(
    root: Path, script: str, limits: Limits = LIMITS, *, gpus: Sequence[str] = ("",), **more: Any
) -> ProcessPool:
    """Workers of a few lines of Python, one per entry of `gpus`; `say(message)` and `hear()` speak the protocol."""
    preface = """
        import os, signal, sys, time
        from nasctl.workers.protocol import *
        from nasctl.workers.session import hello
        lines, sender = LineSplitter(), Sender(1)
        say, waiting = sender.send, []
        def hear():
            while not waiting:
                data = os.read(0, 65536)
                if not data:
                    sys.exit(0)
                waiting.extend(lines.feed(data))
            return decode(waiting.pop(0)).message
    """
    command = (sys.executable, "-P", "-c", textwrap.dedent(preface) + textwrap.dedent(script))
    slots = [
        Slot(number, command, worker_environment(os.environ, gpu, threads=1), "cpu", 1, gpu)
        for number, gpu in enumerate(gpus)
    ]
    return ProcessPool(slots, limits, cache=root / "cache", logs=root / "logs", **more)


def until(pool: Pool, kind: type, count: int = 1, seconds: float = 30.0) -> list[Any]:
    """Everything that happens until `count` events of a kind have."""
    happened: list[Any] = []
    patience = time.monotonic() + seconds
    while sum(isinstance(event, kind) for event in happened) < count:
        assert time.monotonic() < patience, happened
        happened += pool.events(0.2)
    return happened


@contextmanager
def started(pool: Pool) -> Iterator[Pool]:
    """A pool that is closed again, whatever happens."""
    try:
        pool.start()
        yield pool
    finally:
        pool.close()


# --- schedulers -------------------------------------------------------------------------------------------------------


def database(root: Path) -> str:
    return f"sqlite:///{root}/studies.db"


@contextmanager
def scheduler(
    root: Path,
    orders: Sequence[Order],
    pool: Pool | None = None,
    *,
    tracker: Tracker | None = None,
    max_failed: int = 3,
    grace: float = LIMITS.grace,
    url: str | None = None,
) -> Iterator[Scheduler]:
    store = StudyStore(url or database(root))
    pool = InProcessPool(cache=root / "cache") if pool is None else pool
    try:
        yield Scheduler(
            orders,
            pool,
            store,
            root,
            tracker=tracker,
            max_failed=max_failed,
            grace=grace,
            resume="the same command goes on",
        )
    finally:
        store.close()


def drive(root: Path, orders: Sequence[Order], pool: Pool | None = None, **more: Any) -> list[Event]:
    """All events of studies driven to their ends."""
    with scheduler(root, orders, pool, **more) as driver:
        return list(driver.run())


def finals(events: Sequence[Event]) -> Mapping[str, StudyEnded]:
    return {event.study: event for event in events if isinstance(event, StudyEnded)}


def children(tracker: MemoryTracker, name: str = "s") -> Mapping[int, str]:
    """Trial number -> state, of what the tracker has of a study."""
    return {run.trial: run.state for run in tracker.runs("trial") if run.study == name and run.trial is not None}


def typed(*words: str) -> str:
    """A command, where the stores are the default ones."""
    return " ".join(words)


def broken(root: Path, tracker: Tracker) -> list[Broken]:
    """Every broken promise about the studies below `root`."""
    from nasctl.cli.verify import _shown  # a scheduler in a process of its own needs no click

    store = StudyStore(database(root))
    try:
        return [each for verified in verify(store, root, tracker, _shown, typed) for each in verified.broken]
    finally:
        store.close()


# --- a scheduler in a process of its own, to be killed ----------------------------------------------------------------


class FileTracker(MemoryTracker):
    """A tracker that outlives its process, as much of it as a study needs: one file per logged trial."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def begin_study(self, study: str, tags: Mapping[str, str], config: str) -> str:
        write_atomically(self.folder / study / "state", "running")
        return study

    def log_trial(self, study_id: str, study: str, entry: TrialEntry) -> str:
        write_atomically(self.folder / study / f"{entry.number}.trial", entry.record.state)
        return str(entry.number)

    def end_study(self, study_id: str, state: str, *_: Any) -> None:
        write_atomically(self.folder / study_id / "state", state)

    def trials(self, study_id: str) -> Mapping[int, str]:
        return {int(path.stem): path.read_text() for path in (self.folder / study_id).glob("*.trial")}

    def state(self, study: str) -> str:
        return (self.folder / study / "state").read_text()


class Driven:
    """A scheduler in a process of its own, and the events that it tells."""

    def __init__(self, root, **options):
        command = [sys.executable, __file__, str(root), json.dumps(options)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        self.events = []

    def until(self, kind, count=1, **fields):
        """Read on until so many such events have come; whether they have."""
        for line in self.process.stdout:
            event = json.loads(line)
            self.events.append(event)
            fits = event["event"] == kind and all(event[name] == value for name, value in fields.items())
            count -= fits
            if count == 0:
                return True
        return False

    def of(self, kind):
        return [event for event in self.events if event["event"] == kind]

    def workers(self):
        import psutil  # the process that is driven needs none

        found = []
        for event in self.of("WorkerStarted"):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(event["pid"]))
        return found

    def end(self):
        """Read to the end; the exit code and what was said of it."""
        self.until("nothing")
        return self.process.wait(30), self.process.stderr.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.workers():
            with contextlib.suppress(Exception):  # psutil's own, where it has ended
                worker.kill()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def gone(processes: Sequence[Any], seconds: float = LIMITS.grace + 2) -> bool:
    """Whether all of these end in time."""
    import psutil  # the process that is driven needs none

    _, alive = psutil.wait_procs(processes, seconds)
    return not alive


def without_time(record: RunRecord) -> RunRecord:
    """What two searches must have in common, however often they were interrupted."""
    history = tuple(dataclasses.replace(epoch, seconds=0.0) for epoch in record.history)
    return dataclasses.replace(record, seconds={}, counts={}, history=history)


def tiny_order(root: Path, trials: int, training: Mapping[str, Any]) -> StudyOrder:
    """A study of tiny runs that really train, one seed after the other."""
    from tiny import run_spec  # a study of no-op jobs needs no torch

    spec = study(trials=trials, space=(("seed", Choice("choice", (0,))),), run=run_spec(root / "cache", **training))
    return StudyOrder(spec, "study: s\n")


def main(root: Path, asked: Mapping[str, Any]) -> int:
    """Drive a study, or a search of so many epochs, over real workers, each event a JSON line; the exit code.

    Its tracker is made of files, or with tracker="mlflow" the real one, in a database that is there.
    """
    options = dict(asked)
    search, trials = options.pop("search", None), options.pop("trials", 0)
    proposals = options.pop("proposals", 0)
    workers, grace = options.pop("workers"), options.pop("grace", LIMITS.grace)
    training = options.pop("training", None)  # of tiny runs that really train
    limits = dataclasses.replace(LIMITS, grace=grace)
    pool = process_pool(root, workers, limits) if workers else InProcessPool(cache=root / "cache")
    tracker: Tracker = FileTracker(root / "tracker")
    if options.pop("tracker", None) == "mlflow":
        from nasctl.tracking.store import MlflowTracker

        tracker = MlflowTracker(f"sqlite:///{root}/mlflow.db", root / "artifacts", "nasctl")
    orders: list[Order] = []
    if trials:
        orders += [order(study(trials=trials), **options) if training is None else tiny_order(root, trials, training)]
    if proposals:
        orders += [proposals_order(spec=proposals_spec(proposals), **options)]
    if search is not None:
        orders += [search_order(spec=search_spec(search), **options)]
    try:
        with scheduler(root, orders, pool, tracker=tracker, grace=grace) as driver:
            for event in driver.run():
                told = {"event": type(event).__name__, **dataclasses.asdict(event)}
                sys.stdout.write(json.dumps(told, default=str) + "\n")
                sys.stdout.flush()
    except NasctlError as error:
        sys.stderr.write(f"{error} ({error.hint})\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
