"""What a scheduler drives, a study or a search: all that it knows of either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from nasctl.specs import Value
from nasctl.tracking.records import EpochRecord, RunRecord
from nasctl.tuning.events import Event
from nasctl.tuning.folders import DrivenFolder
from nasctl.tuning.known import KnownRuns
from nasctl.tuning.study import StudyStore
from nasctl.tuning.trials import Failure
from nasctl.tuning.writer import TrackerWriter
from nasctl.workers.protocol import Drop, Job, Keep, Prune

Purpose = Literal["trial", "again", "final", "search"]


@dataclass(frozen=True)
class Task:
    """A job to be handed out: of a study a trial, or a later use of one; of a search all there is.

    `attempt` counts from 1. One that is `whole` only with its weights has come to nothing if they are lost. When
    everything is asked to stop, a `long` one is left after its epoch, to be gone on with another time.
    """

    purpose: Purpose
    number: int
    params: Mapping[str, Value]
    attempt: int
    whole: bool
    long: bool = False


class Driven(Protocol):
    """A study or a search as it is driven: what to hand out next, and what an answer means for it."""

    name: str
    ended: bool

    @property
    def failures(self) -> Sequence[str]:
        """The reason of each trial that this process has seen fail for good."""

    @property
    def busy(self) -> int:
        """How many jobs are out."""

    @property
    def progress(self) -> str:
        """How far it is, in a few words."""

    def begin(self) -> Iterator[Event]:
        """Remove what an earlier scheduler left, and tell how far it is."""

    def next_task(self) -> Task | None:
        """The next job, if there is one now."""

    def job(self, task: Task) -> Job:
        """What a worker is told of a task."""

    def watch(self, task: Task, job: Job, epoch: EpochRecord) -> Prune | None:
        """Whether a job that has ended an epoch is given up."""

    def answer(self, task: Task, job: Job, record: RunRecord, *, weights: bool) -> Keep | Drop:
        """Whether the weights of a job that is done are kept."""

    def complete(self, task: Task, record: RunRecord, slot: int, sha256: str | None) -> Iterator[Event]:
        """A job is done and its weights are settled: kept, with this SHA-256, or not."""

    def fail(self, task: Task, failure: Failure) -> Iterator[Event]:
        """An attempt came to nothing: hand the task out again, or give it up once all of its attempts are used."""

    def release(self, task: Task) -> None:
        """A job was left unfinished through no fault of its own: it comes first the next time."""

    def settle(self) -> Iterator[Event]:
        """Make what was told durable, and let everybody know."""

    def leave(self, state: Literal["interrupted", "failed"]) -> None:
        """Tell the stores that it goes on another time, if ever."""


@dataclass(frozen=True)
class Surroundings:
    """What all that a scheduler drives have in common; `writer` is None without a tracker."""

    store: StudyStore
    known: KnownRuns
    writer: TrackerWriter | None


class Order(Protocol):
    """A study or a search that is to be driven."""

    @property
    def room_bytes(self) -> int:
        """An upper estimate of what it takes in the databases."""

    def folder(self, root: Path) -> DrivenFolder:
        """Where it lives."""

    def driven(self, folder: DrivenFolder, around: Surroundings) -> Driven:
        """It, opened or begun. Raises StateMismatchError if it was begun with another identity."""
