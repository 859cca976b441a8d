"""How a worker does its jobs: messages in, messages out, and the weights of the last job kept in between.

torch is imported when the first job needs it, and never for the no-op job.
"""

from __future__ import annotations

import errno
import importlib
import json
import resource
import sys
import traceback
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nasctl.errors import MachineError, NasctlError
from nasctl.files import canonical_json, file_sha256, write_atomically
from nasctl.search.samples import write_samples
from nasctl.specs import RUN, SEARCH, RunSpec, SearchSpec
from nasctl.tracking.records import EpochRecord, Judging, RunRecord
from nasctl.workers import noop
from nasctl.workers.protocol import Done, Drop, Epoch, Failed, FailureReason, Job, JobKind, Judged, Keep, Kept, Start

if TYPE_CHECKING:
    from nasctl.experiments.run import Resumption, Workplace

MAX_MESSAGE_CHARACTERS, MAX_TRACEBACK_CHARACTERS = 2_000, 20_000

PREDICTIONS = "predictions.jsonl"
"""What an evaluation leaves in its scratch folder: one line per row of dev and test."""

SAMPLES = "samples.json"
"""What a search leaves in its scratch folder: the samples of its controller, for whoever studies that."""

RESUME = "resume.safetensors"
"""What a run or a search leaves in its scratch folder, to go on from; gone with the folder once its result is told."""

HOST_MEMORY = "DefaultCPUAllocator: can't allocate memory"
"""What torch says, in an error of no class of its own, when the host has no memory."""

_STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class Result:
    """What a job leaves: its record, and how its weights are written to a file, if it has any."""

    record: RunRecord
    save: Callable[[Path], None] | None


Work = Generator[EpochRecord | Judging, bool | None, Result]
"""Epochs as they end, and cells as they are judged; whoever sends True to one wants no more of them."""


class Executor:
    """One slot's jobs, one after the other. No job's result depends on those before it."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._workplace: Workplace | None = None
        self._job: Job | None = None
        self._save: Callable[[Path], None] | None = None

    def warm(self) -> None:
        """Load torch and open what `Start.warm` names, if it names anything."""
        for data, embedding in self._start.warm:
            self._place().warm(data, embedding)

    def perform(self, job: Job) -> Generator[Epoch | Judged | Done | Failed, bool | None, None]:
        """What the job tells, then `Done` or `Failed`. Closing the generator stops the job, sending True prunes it."""
        self._job, self._save = job, None
        try:
            result = yield from _told(job, _WORK[job.kind](self, job, spec_of(job)))
            self._save = result.save
            yield Done(job.job, job.attempt, result.record, result.save is not None, rss_bytes())
        except Exception as error:  # noqa: BLE001 - a job's failure is an answer, whatever it is
            yield failure(job, error)

    def settle(self, answer: Keep | Drop) -> Kept | Failed | None:
        """Write the last job's weights or forget them, as the scheduler says."""
        save, self._save = self._save, None
        if isinstance(answer, Drop):
            return None
        try:
            return self._keep(answer, save)
        except Exception as error:  # noqa: BLE001 - as above
            return failure(answer, error)

    def _keep(self, asked: Keep, save: Callable[[Path], None] | None) -> Kept:
        job, path = self._job, Path(asked.path)
        if save is None or job is None or (asked.job, asked.attempt) != (job.job, job.attempt):
            raise ValueError(f"there are no weights of job {asked.job}, attempt {asked.attempt}")
        if not path.is_relative_to(job.scratch):
            raise ValueError(f"{path} is not below the job's scratch folder {job.scratch}")
        save(path)
        return Kept(asked.job, asked.attempt, asked.path, file_sha256(path))

    def _run(self, job: Job, spec: RunSpec) -> Work:
        run = importlib.import_module("nasctl.experiments.run")
        outcome = yield from run.train(spec, self._place(), job.role, self._resumption(job))
        return _with_weights(outcome, run.notes(outcome.record))

    def _search(self, job: Job, spec: SearchSpec) -> Work:
        searching = importlib.import_module("nasctl.experiments.search")
        outcome = yield from searching.search(spec, self._place(), self._resumption(job))
        if outcome.examined is not None:
            write_samples(Path(job.scratch) / SAMPLES, outcome.examined)
        return _with_weights(outcome, {"digest": outcome.record.digest})

    def _evaluate(self, job: Job, spec: RunSpec) -> Work:
        yield from ()  # no epochs
        run = importlib.import_module("nasctl.experiments.run")
        evaluation = run.evaluate(spec, Path(job.weights or ""), job.record, self._place(), job.role)
        lines = "".join(f"{canonical_json(asdict(prediction))}\n" for prediction in evaluation.predictions)
        write_atomically(Path(job.scratch) / PREDICTIONS, lines)
        return Result(evaluation.record, None)

    def _noop(self, job: Job, spec: RunSpec | SearchSpec) -> Work:
        record = yield from noop.perform(job, spec, self._start.threads)
        return Result(record, lambda path: write_atomically(path, noop.checkpoint(spec)))

    def _resumption(self, job: Job) -> Resumption:
        run = importlib.import_module("nasctl.experiments.run")
        made: Resumption = run.Resumption(
            Path(job.scratch) / RESUME, self._start.resume_after, self._start.resume_every
        )
        return made

    def _place(self) -> Workplace:
        if self._workplace is None:
            torch = importlib.import_module("torch")
            torch.set_num_threads(self._start.threads)
            run = importlib.import_module("nasctl.experiments.run")
            self._workplace = run.Workplace(Path(self._start.cache), self._start.device, self._start.threads)
        return self._workplace


_WORK: Mapping[JobKind, Callable[[Executor, Job, Any], Work]] = MappingProxyType(
    {
        "run": Executor._run,  # noqa: SLF001 - the class's own table
        "search": Executor._search,  # noqa: SLF001 - as above
        "evaluate": Executor._evaluate,  # noqa: SLF001 - as above
        "noop": Executor._noop,  # noqa: SLF001 - as above
    }
)


def spec_of(job: Job) -> RunSpec | SearchSpec:
    """What the job is about: a search, or a run; the no-op job takes either. Raises ValueError for what is neither."""
    searches = job.kind == "search" or (job.kind == "noop" and job.spec.get("kind") == "search")
    text = json.dumps(job.spec)
    return SEARCH.validate_json(text) if searches else RUN.validate_json(text)


def _with_weights(outcome: Any, about: Mapping[str, str]) -> Result:
    """The result of a training or a search, whose weights may be none, and what their file says of them."""
    run = importlib.import_module("nasctl.experiments.run")
    save = (lambda path: run.save_weights(path, outcome.weights, about)) if outcome.weights else None
    return Result(outcome.record, save)


def _told(job: Job, work: Work) -> Generator[Epoch | Judged, bool | None, Result]:
    """`work` with what it tells as messages."""
    answer = None
    try:
        while True:
            told = work.send(answer)
            if isinstance(told, Judging):
                answer = yield Judged(job.job, job.attempt, told.judged, told.cells)
            else:
                answer = yield Epoch(job.job, job.attempt, told)
    except StopIteration as end:
        result: Result = end.value
        return result
    finally:
        work.close()


def failure(job: Job | Keep, error: Exception) -> Failed:
    """The message that tells of an error."""
    message = str(error) if isinstance(error, NasctlError) else f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    return Failed(
        job.job,
        job.attempt,
        _reason(error),
        message[:MAX_MESSAGE_CHARACTERS],
        error.hint if isinstance(error, NasctlError) else "",
        trace[-MAX_TRACEBACK_CHARACTERS:],
    )


def _reason(error: Exception) -> FailureReason:
    torch: Any = sys.modules.get("torch")  # an error of torch's can only come from a torch that is loaded
    if isinstance(error, NasctlError):
        return "machine" if isinstance(error, MachineError) else "usage"
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return "device_memory"
    if torch is not None and (isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)):
        return "device"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and HOST_MEMORY in str(error)):
        return "memory"
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "disk"
    return "exception"


def rss_bytes() -> int:
    """The memory that this process has resident now; where that cannot be known, the most it ever had."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
