"""What a scheduler tells of its progress: frozen values, to be rendered by whoever listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nasctl.specs import Value
from nasctl.tracking.records import EpochRecord, RunRecord


@dataclass(frozen=True)
class StudyStarted:
    """A study begins or goes on: so many of its `trials` are `finished`, `unfinished` ones will be taken up again."""

    study: str
    trials: int
    finished: int
    failed: int
    unfinished: int
    best: float | None


@dataclass(frozen=True)
class WorkerStarted:
    """A slot has a worker that waits for a job."""

    slot: int
    host: str
    pid: int
    device: str


@dataclass(frozen=True)
class JobStarted:
    """A worker has a job. `purpose` is "trial", "again" (a lost checkpoint is made anew) or "final" of a study.

    That of a search, which stands as `study` in all events of jobs, is "search", and its number 0.
    """

    study: str
    number: int
    purpose: str
    attempt: int
    slot: int
    params: Mapping[str, Value]


@dataclass(frozen=True)
class EpochEnded:
    """A job has ended an epoch."""

    study: str
    number: int
    purpose: str
    slot: int
    epoch: EpochRecord


@dataclass(frozen=True)
class CellsJudged:
    """A search, its epochs over, has judged so many of the `cells` that it ends with."""

    search: str
    slot: int
    judged: int
    cells: int


@dataclass(frozen=True)
class JobRepeated:
    """An attempt came to nothing; the job will be handed out again."""

    study: str
    number: int
    purpose: str
    attempt: int
    reason: str
    detail: str


@dataclass(frozen=True)
class TrialEnded:
    """A trial is in the store for good, its study now having so many `finished` and `failed` ones.

    `slot` is None if no worker was needed; `duplicate_of` ("study/number") says whose result it was told then.
    """

    study: str
    number: int
    slot: int | None
    record: RunRecord
    duplicate_of: str | None
    finished: int
    failed: int


@dataclass(frozen=True)
class BestChanged:
    """A study has a new best trial."""

    study: str
    number: int
    value: float


@dataclass(frozen=True)
class StudyEnded:
    """A study is finished; `final` has the test metrics of trial `best`. Both are None if every trial diverged."""

    study: str
    finished: int
    failed: int
    best: int | None
    final: RunRecord | None


@dataclass(frozen=True)
class SearchStarted:
    """A search of at most so many epochs begins; one that was left goes on (`again`)."""

    search: str
    epochs: int
    again: bool


@dataclass(frozen=True)
class SearchEnded:
    """A search is over, and kept; `slot` is None if it was before."""

    search: str
    record: RunRecord
    slot: int | None


@dataclass(frozen=True)
class Stopping:
    """A stop was asked for: 1 lets the running trials end, 2 ends the workers, 3 kills them."""

    stage: int
    message: str


@dataclass(frozen=True)
class Warned:
    """Something that somebody should know, and that stops nothing."""

    message: str


Event = (
    StudyStarted
    | WorkerStarted
    | JobStarted
    | EpochEnded
    | CellsJudged
    | JobRepeated
    | TrialEnded
    | BestChanged
    | StudyEnded
    | SearchStarted
    | SearchEnded
    | Stopping
    | Warned
)
