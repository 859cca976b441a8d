"""A search whose cells are proposed one after the other and trained alone: the trials of a study, then a pool.

Numbers, attempts, results that are known already and what a kill leaves are the study's affair. Here is what differs:
it lives among the searches, no test data are looked at, and it ends with the best of its cells. Killed before that is
written down, it has all of its trials the next time, and ends at once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nasctl import faults
from nasctl.cells.rewrite import cell_digest
from nasctl.cells.spelling import LSTM, spelled
from nasctl.data.metrics import METRICS
from nasctl.experiments.alone import alone
from nasctl.samplers import RandomSampler
from nasctl.spaces import space_named
from nasctl.spaces.base import code_text, log_probability
from nasctl.specs import Proposals, SearchSpec, StudySpec, search_digest
from nasctl.strategies import ProposerSpec
from nasctl.tracking.found import FoundSearch, keep_search
from nasctl.tracking.records import EpochRecord, FoundCell, RunRecord, TrialEntry
from nasctl.tracking.tags import label_tags
from nasctl.tuning.driven import DrivenStudy, StudyOrder
from nasctl.tuning.driven_search import JOB, first_labels, found_before, search_parameters
from nasctl.tuning.events import Event, SearchEnded, StudyEnded, TrialEnded
from nasctl.tuning.folders import Command, DrivenFolder
from nasctl.tuning.study import TrialStore
from nasctl.tuning.trials import Ended, Failure, code_in
from nasctl.tuning.work import Driven, Surroundings, Task
from nasctl.workers.protocol import Drop, Job, Keep, Prune

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ProposalsOrder:
    """A search to be driven whose `strategy` proposes cells; `SearchOrder` says what most of it is.

    At most `in_flight` of its trials are trained at a time. With a `generation` they are proposed in groups of that
    many, as in a study: a strategy that learns from what became of cells then proposes the same ones whichever worker
    is faster.
    """

    spec: SearchSpec
    name: str
    config: str
    labels: Mapping[str, str]
    command: Command | None
    retries: int
    in_flight: int
    generation: int | None = None
    kind: Literal["run", "noop"] = "run"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def study(self) -> StudyOrder:
        """The study of which it consists."""
        assert isinstance(self.spec.strategy, ProposerSpec)  # noqa: S101 - others are a SearchOrder
        seed = self.spec.training.seed
        spec = StudySpec(
            name=self.name,
            run=alone(self.spec, LSTM),  # in its place stands what is proposed
            pool=None,
            space=(),
            sampler=RandomSampler("random", seed),
            trials=self.spec.strategy.trials,
            in_flight=self.in_flight,
            retries=self.retries,
            labels=dict(self.labels),
            generation=self.generation,
            proposals=Proposals(self.spec.space, self.spec.strategy, seed),
        )
        return StudyOrder(spec, self.config, self.kind, self.options, self.command, search=self.spec)

    @property
    def room_bytes(self) -> int:
        """An upper estimate of what it takes in the databases."""
        return self.study.room_bytes

    def folder(self, root: Path) -> DrivenFolder:
        """Where it lives."""
        return DrivenFolder(root, self.name, "search")

    def driven(self, folder: DrivenFolder, around: Surroundings) -> Driven:
        """The search, opened or begun.

        Raises StateMismatchError if it was begun with another identity, or is driven from another folder.
        """
        around.store.claim(self.name)
        found = found_before(folder, self.spec)
        return DrivenProposals(self, TrialStore(around.store, self.study.spec), folder, around, found)


class DrivenProposals:
    """The state of one such search; `found` is what it has found, if it is over already."""

    def __init__(
        self,
        order: ProposalsOrder,
        trials: TrialStore,
        folder: DrivenFolder,
        around: Surroundings,
        found: FoundSearch | None,
    ) -> None:
        self.order, self.name = order, order.name
        self._trials, self._folder, self._writer, self._found = trials, folder, around.writer, found
        self._study = DrivenStudy(order.study, trials, folder, around.known, None)
        self._labels = order.labels
        self._slot: int | None = None
        self.ended = False

    @property
    def failures(self) -> Sequence[str]:
        """The reason of each trial that this process has seen fail for good."""
        return self._study.failures

    @property
    def busy(self) -> int:
        """How many jobs are out."""
        return self._study.busy

    @property
    def progress(self) -> str:
        """How far it is, in a few words."""
        return f"the search {self._study.progress}"

    def begin(self) -> Iterator[Event]:
        """Write down what it is and remove what an earlier scheduler left; one that is over has ended again."""
        if self._found is None:
            self._labels = first_labels(self._folder, self.order.labels)
            self._folder.describe(self._study.order.identity, self.order.config, self.order.command)
            yield from self._until_pool(self._study.begin())
            return
        self._folder.clear_all_but([])
        yield self._end(self._found)

    def next_task(self) -> Task | None:
        """The next cell to be trained, if there is one now."""
        return None if self.ended else self._study.next_task()

    def job(self, task: Task) -> Job:
        """What a worker is told of it."""
        return self._study.job(task)

    def watch(self, task: Task, job: Job, epoch: EpochRecord) -> Prune | None:
        """Whether a job that has ended an epoch is given up."""
        return self._study.watch(task, job, epoch)

    def answer(self, task: Task, job: Job, record: RunRecord, *, weights: bool) -> Keep | Drop:
        """No weights are kept."""
        return self._study.answer(task, job, record, weights=weights)

    def complete(self, task: Task, record: RunRecord, slot: int, sha256: str | None) -> Iterator[Event]:
        """A cell was trained."""
        self._slot = slot
        yield from self._until_pool(self._study.complete(task, record, slot, sha256))

    def fail(self, task: Task, failure: Failure) -> Iterator[Event]:
        """An attempt came to nothing: hand the cell out again, or propose another once all attempts are used."""
        yield from self._study.fail(task, failure)

    def release(self, task: Task) -> None:
        """A job was left unfinished through no fault of its own: it comes first the next time."""
        self._study.release(task)

    def settle(self) -> Iterator[Event]:
        """Make what was told durable; after the last trial, the pool."""
        yield from self._until_pool(self._study.settle())

    def leave(self, state: Literal["interrupted", "failed"]) -> None:
        """Tell the store that it goes on another time, if ever."""
        self._study.leave(state)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _until_pool(self, events: Iterable[Event]) -> Iterator[Event]:
        """What happens in the study, but that it ends with the search, to which a trial is an epoch."""
        for event in events:
            if isinstance(event, TrialEnded):
                self._folder.advance(event.finished, self._trials.spec.trials)
            if not isinstance(event, StudyEnded):
                yield event
                continue
            ended = [self._trials.ended(number) for number in self._trials.ended_numbers()]
            entry = TrialEntry(
                JOB,
                search_parameters(self.order.spec),
                pool_record(self.order.spec, ended),
                label_tags(self._labels),
                time.time(),
            )
            faults.reach("search-files")
            found = keep_search(self._folder.path, entry)
            faults.reach("search-end")
            yield self._end(found)

    def _end(self, found: FoundSearch) -> SearchEnded:
        self.ended = True
        if self._writer is not None:
            self._writer.run(found)
        return SearchEnded(self.name, found.entry.record, self._slot)


# --- what was found ---------------------------------------------------------------------------------------------------


def pool_record(spec: SearchSpec, trials: Sequence[Ended]) -> RunRecord:
    """The record of a search by its trials, in the order of their numbers: to it, each that counts is an epoch.

    Its pool has the best cells, the earlier of equal ones; a cell that has diverged is none.
    """
    counting = [trial for trial in trials if trial.counts]
    sign = METRICS[spec.metric].sign
    finished = [trial for trial in counting if trial.record.state == "finished"]
    ranked = sorted(finished, key=lambda trial: (-sign * trial.record.value, trial.asked.number))
    cells: dict[object, FoundCell] = {}
    for trial in ranked:
        cell = _cell(spec, trial)
        cells.setdefault(cell.code if spec.found.distinct == "code" else cell.digest, cell)
    found = tuple(cells.values())[: spec.found.count]
    best = ranked[0] if ranked else counting[0]
    seconds, memory = Counter[str](), dict[str, int]()
    for trial in trials:
        if trial.duplicate_of is None:  # else it cost nothing
            seconds.update(trial.record.seconds)
        memory |= {kind: max(bytes_, memory.get(kind, 0)) for kind, bytes_ in trial.record.memory.items()}
    short = f"{len(found)} distinct cells in {len(counting)} trials instead of {spec.found.count}"
    return RunRecord(
        digest=search_digest(spec),
        role="search",
        state="finished" if ranked else "diverged",
        reason="" if len(found) == spec.found.count else short,
        metric=spec.metric,
        value=best.record.value,
        dev=best.record.dev,
        test={},
        epochs=len(counting),
        best_epoch=counting.index(best) + 1,
        parameters=best.record.parameters,
        cells=(),
        seconds=dict(seconds),
        memory=memory,
        counts={
            "trials": len(counting),
            "trials_failed": len(trials) - len(counting),
            "trials_diverged": sum(trial.record.state == "diverged" for trial in counting),
            "codes": len(found),
            "graphs": len({cell.digest for cell in found}),
        },
        device=best.record.device,
        threads=best.record.threads,
        backend=best.record.backend,
        result_version=spec.result_version,
        versions=best.record.versions,
        history=tuple(_history(spec, counting)),
        found=found,
    )


def _cell(spec: SearchSpec, trial: Ended) -> FoundCell:
    space, code = space_named(spec.space.name, nodes=spec.space.nodes), code_in(trial.asked.params)
    graph = space.decode(code)
    likely = log_probability(space, code)  # of a uniform draw: a strategy that proposes has no distribution
    return FoundCell(code_text(code), spelled(graph), cell_digest(graph), likely, trial.record.value)


def _history(spec: SearchSpec, trials: Sequence[Ended]) -> Iterator[EpochRecord]:
    spent = 0.0
    for place, trial in enumerate(trials, 1):
        spent += sum(trial.record.seconds.values()) if trial.duplicate_of is None else 0.0
        scores: dict[str, float] = {spec.metric: trial.record.value} if trial.record.state == "finished" else {}
        yield EpochRecord(place, None, scores, spent, {}, code_text(code_in(trial.asked.params)))
