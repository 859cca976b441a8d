"""One search as it is driven: a single long job, handed out again until it has ended well. It knows no workers.

Its folder says all there is of it: identity.json once it has begun, record.json once it is over.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from nasctl import faults
from nasctl.errors import FailedTrialsError, StateMismatchError, first_line
from nasctl.specs import SEARCH, SearchSpec, Value, hyperparameters, search_digest
from nasctl.tracking.found import SAMPLES, FoundSearch, keep_search, read_search
from nasctl.tracking.records import EpochRecord, RunRecord, TrialEntry
from nasctl.tracking.tags import label_tags
from nasctl.tuning.events import Event, JobRepeated, SearchEnded, SearchStarted
from nasctl.tuning.folders import Command, DrivenFolder, Kept, trial_bytes
from nasctl.tuning.outcomes import settled
from nasctl.tuning.trials import Failure, check_identity
from nasctl.tuning.work import Driven, Surroundings, Task
from nasctl.tuning.writer import TrackerWriter
from nasctl.workers import jobs
from nasctl.workers.protocol import Drop, Job, Keep, Prune

START, LSTM_TRIAL = "start", "lstm_trial"
"""Labels: whose hyperparameters a search took, in words; and of which LSTM trial, if of one."""

JOB = 0
"""The number of a search's only job."""


@dataclass(frozen=True)
class SearchOrder:
    """A search to be driven; `labels` (dataset, embedding, model, space, search) are for people and tags only.

    Those of its first start are kept: `start` says where the hyperparameters came from that it took then.
    `config` is its configuration in YAML, kept beside it; `command` is how it was asked for, None where nobody typed
    anything. Its job may come to nothing `retries` times; `options` are the no-op job's.
    """

    spec: SearchSpec
    name: str
    config: str
    labels: Mapping[str, str]
    command: Command | None
    retries: int
    kind: Literal["search", "noop"] = "search"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def room_bytes(self) -> int:
        """An upper estimate of what it takes in the databases."""
        return trial_bytes(self.spec.training.epochs)

    def folder(self, root: Path) -> DrivenFolder:
        """Where it lives."""
        return DrivenFolder(root, self.name, "search")

    def driven(self, folder: DrivenFolder, around: Surroundings) -> Driven:
        """The search, opened or begun. Raises StateMismatchError if it was begun with another identity."""
        return DrivenSearch(self, folder, around.writer)


class DrivenSearch:
    """The state of one search. `writer` is None without a tracker.

    Raises StateMismatchError if its name is that of a search with another identity, or what is there cannot be read.
    """

    def __init__(self, order: SearchOrder, folder: DrivenFolder, writer: TrackerWriter | None) -> None:
        self.order, self.spec, self.name = order, order.spec, order.name
        self._folder, self._writer = folder, writer
        self._identity = SEARCH.dump_python(self.spec, mode="json")
        self._digest = search_digest(self.spec)
        self._begun = folder.identity() is not None
        self._found = found_before(folder, self.spec)
        self._labels = order.labels
        self._out, self._epoch, self._failed = False, 0, 0
        self.failures: Sequence[str] = ()
        self.ended = False

    @property
    def busy(self) -> int:
        """How many jobs are out."""
        return int(self._out)

    @property
    def progress(self) -> str:
        """How far it is, in a few words."""
        return f"the search {self.name} has {self._epoch} of at most {self.spec.training.epochs} epochs"

    def begin(self) -> Iterator[Event]:
        """Write down what the search is and remove what an earlier scheduler left; one that is over has ended again."""
        if self._found is not None:
            self._folder.clear_all_but([])
            yield self._end(self._found, None)
            return
        self._labels = first_labels(self._folder, self.order.labels)
        self._folder.describe(self._identity, self.order.config, self.order.command)
        self._folder.clear_all_but([str(JOB)])
        yield SearchStarted(self.name, self.spec.training.epochs, self._begun)

    # --- handing out --------------------------------------------------------------------------------------------------

    def next_task(self) -> Task | None:
        """The one job, unless it is out."""
        if self.ended or self._out:
            return None
        self._out = True
        return Task("search", JOB, {}, self._failed + 1, whole=True, long=True)

    def job(self, task: Task) -> Job:
        """What a worker is told; in its scratch folder it finds what the attempt before left."""
        return Job(
            job=f"{self.name}/search",
            attempt=task.attempt,
            kind=self.order.kind,
            spec=self._identity,
            role="search",
            scratch=str(self._folder.scratch(str(JOB))),
            options=dict(self.order.options),
        )

    # --- answers ------------------------------------------------------------------------------------------------------

    def watch(self, task: Task, job: Job, epoch: EpochRecord) -> Prune | None:  # noqa: ARG002 - as `Driven` has it
        """A search is never given up; it counts its epochs."""
        self._epoch = epoch.epoch
        self._folder.advance(self._epoch, self.spec.training.epochs)
        return None

    def answer(self, task: Task, job: Job, record: RunRecord, *, weights: bool) -> Keep | Drop:  # noqa: ARG002 - as above
        """Its weights are kept, if it has any."""
        if weights:
            return Keep(job.job, job.attempt, str(self._folder.trial_checkpoint(JOB)))
        return Drop(job.job, job.attempt)

    def complete(self, task: Task, record: RunRecord, slot: int, sha256: str | None) -> Iterator[Event]:  # noqa: ARG002 - as above
        """The search is over: keep its files, then its record, then remove what it needed to go on."""
        self._out = False
        if sha256 is not None:
            self._folder.place(Kept(JOB, self._digest, sha256))
        with contextlib.suppress(FileNotFoundError):  # a search that has diverged at once has none
            os.replace(self._folder.scratch(str(JOB)) / jobs.SAMPLES, self._folder.path / SAMPLES)
        faults.reach("search-files")
        entry = TrialEntry(JOB, search_parameters(self.spec), settled(record), label_tags(self._labels), time.time())
        found = keep_search(self._folder.path, entry)
        faults.reach("search-end")
        self._folder.clear(str(JOB))
        yield self._end(found, slot)

    def fail(self, task: Task, failure: Failure) -> Iterator[Event]:
        """An attempt came to nothing: the next one goes on from its checkpoint.

        Raises FailedTrialsError once all of its attempts are used.
        """
        self._out = False
        self._failed += 1
        reason, detail = failure["reason"], failure["detail"]
        if self._failed > self.order.retries:
            raise FailedTrialsError(
                f"the search {self.name} failed: {reason}: {detail}",
                "the same command goes on where it was left",
            )
        yield JobRepeated(self.name, JOB, task.purpose, task.attempt, reason, detail)

    def release(self, task: Task) -> None:  # noqa: ARG002 - as above
        """It was left unfinished through no fault of its own."""
        self._out = False

    def settle(self) -> Iterator[Event]:
        """Nothing waits: a search is made durable when it is complete."""
        yield from ()

    # --- the end ------------------------------------------------------------------------------------------------------

    def _end(self, found: FoundSearch, slot: int | None) -> SearchEnded:
        self.ended = True
        if self._writer is not None:
            self._writer.run(found)
        return SearchEnded(self.name, found.entry.record, slot)

    def leave(self, state: Literal["interrupted", "failed"]) -> None:
        """Nothing is to be told: its folder has no record, so that it goes on another time."""


def found_before(folder: DrivenFolder, spec: SearchSpec) -> FoundSearch | None:
    """What the search has found, if it is over.

    Raises StateMismatchError if its name is that of a search with another identity, or what is there cannot be read.
    """
    stored = folder.identity()
    if stored is not None:
        check_identity("search", folder.name, stored, SEARCH.dump_python(spec, mode="json"))
    found, digest = read_search(folder.path), search_digest(spec)
    if found is not None and found.entry.record.digest != digest:
        raise StateMismatchError(
            f"what {folder.name} found is of the search {found.entry.record.digest}, not of {digest}",
            "search.name=OTHER starts another search",
        )
    return found


def first_labels(folder: DrivenFolder, labels: Mapping[str, str]) -> Mapping[str, str]:
    """Those that the search was begun with; these, if that is now."""
    if folder.identity() is not None:
        return folder.labels() or labels
    folder.label(labels)  # first: what is begun has labels
    return labels


def search_parameters(spec: SearchSpec) -> dict[str, Value]:
    """A search's hyperparameters, flat: those of the training as in a space, and `strategy.controller.hidden`..."""
    values = hyperparameters(spec.training, spec.hidden)
    for part in ("space", "strategy", "found"):
        values |= _flat(part, asdict(getattr(spec, part)))
    return values | {"judged": spec.judged} | _flat("child_steps", spec.child_steps)


def _flat(path: str, value: Any) -> dict[str, Value]:
    if isinstance(value, dict):
        return {name: each for key, below in value.items() for name, each in _flat(f"{path}.{key}", below).items()}
    return {path: json.dumps(value) if value is None or isinstance(value, bool) else value}


def pinned(root: Path, name: str) -> tuple[SearchSpec, str] | None:
    """The search of this name as it was begun, whatever would be asked for now, and whose hyperparameters it took.

    None if there is none; "" if nobody knows whose they are.

    Raises StateMismatchError if what was written down of it cannot be read.
    """
    folder = DrivenFolder(root, name, "search")
    stored = folder.identity()
    if stored is None:
        return None
    try:
        return SEARCH.validate_json(json.dumps(stored)), (folder.labels() or {}).get(START, "")
    except ValueError as error:
        raise StateMismatchError(
            f"the search {name} was begun by another nasctl: {first_line(error)}",
            "search.name=OTHER starts another search",
        ) from error
