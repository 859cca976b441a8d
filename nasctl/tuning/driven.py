"""One study as it is driven: what to hand out next, and what an answer means for it. It knows no workers.

First come trials, until exactly as many as wanted have finished; then the best trial's checkpoint is evaluated, once
("final"). One that was told another study's result has the checkpoint there. If it is lost, or that study has kept
another one, the run is trained again before ("again").
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nasctl import faults
from nasctl.errors import FailedTrialsError, NasctlError, StateMismatchError
from nasctl.specs import RUN, SEARCH, SearchSpec, StudySpec, study_identity
from nasctl.tracking.records import EpochRecord, RunRecord
from nasctl.tracking.tags import label_tags, uid_tag
from nasctl.tuning.events import BestChanged, Event, JobRepeated, StudyEnded, StudyStarted, TrialEnded, Warned
from nasctl.tuning.folders import Command, DrivenFolder, Kept, trial_bytes
from nasctl.tuning.known import KnownRuns
from nasctl.tuning.outcomes import failed_record, named, settled, study_ended, tracked
from nasctl.tuning.study import TrialStore
from nasctl.tuning.trials import Asked, Ended, Failure
from nasctl.tuning.work import Driven, Purpose, Surroundings, Task
from nasctl.tuning.writer import StudyLog, TrackerWriter
from nasctl.workers.jobs import PREDICTIONS
from nasctl.workers.protocol import Drop, Job, JobKind, Keep, Prune

KINDS: Mapping[str, Mapping[Purpose, JobKind]] = {
    "run": {"trial": "run", "again": "run", "final": "evaluate"},
    "noop": {"trial": "noop", "again": "noop", "final": "noop"},
}


@dataclass(frozen=True)
class StudyOrder:
    """A study to be driven. `config` is its configuration in YAML, kept beside it; `options` are the no-op job's.

    `command` is how it was asked for, None where nobody typed anything. With `retry`, trials that have failed are asked
    for again before any new one. With `search` the trials are those of that search: none is tested, no weights are
    kept.
    """

    spec: StudySpec
    config: str
    kind: Literal["run", "noop"] = "run"
    options: Mapping[str, Any] = field(default_factory=dict)
    command: Command | None = None
    retry: bool = False
    search: SearchSpec | None = None

    @property
    def identity(self) -> Any:
        """What is written down that it is."""
        return study_identity(self.spec) if self.search is None else SEARCH.dump_python(self.search, mode="json")

    @property
    def room_bytes(self) -> int:
        """An upper estimate of what it takes in the databases."""
        return self.spec.trials * trial_bytes(self.spec.run.training.epochs)

    def folder(self, root: Path) -> DrivenFolder:
        """Where it lives."""
        return DrivenFolder(root, self.spec.name)

    def driven(self, folder: DrivenFolder, around: Surroundings) -> Driven:
        """The study, opened or begun.

        Raises StateMismatchError if it was begun with another identity, is driven from another folder, or the tracker
        has another study of its name.
        """
        around.store.claim(self.spec.name)
        uid = around.store.uid(self.spec.name)
        if around.writer is not None:
            around.writer.check(self.spec.name, uid)
        trials = TrialStore(around.store, self.spec, uid)
        folder.describe(self.identity, self.config, self.command)  # at once: it stays, even if one beside it is refused
        return DrivenStudy(self, trials, folder, around.known, around.writer)


class DrivenStudy:
    """The state of one study. `known` is shared by all studies of a scheduler, `writer` is None without a tracker.

    `failures` has the reason of each trial that this process has seen fail for good.
    """

    def __init__(
        self,
        order: StudyOrder,
        trials: TrialStore,
        folder: DrivenFolder,
        known: KnownRuns,
        writer: TrackerWriter | None,
    ) -> None:
        self.order, self.spec, self.name = order, order.spec, order.spec.name
        self.trials, self._folder, self._known, self._writer = trials, folder, known, writer
        self._pending = deque(trials.unfinished)
        self._out: dict[tuple[Purpose, int], Asked] = {}
        self._waiting = 0
        self._generation = range(0)  # the numbers of the trials that may be asked for together
        self._counted = 0  # trials before them that count
        self._kept: dict[int, Kept] = {}
        self._slots: dict[int, int] = {}
        self._late: tuple[Purpose, Asked] | None = None  # "again" or "final", to be handed out
        self.failures: list[str] = []
        self.ended = False
        self._log = StudyLog(
            self.name,
            uid_tag(trials.uid) | label_tags(self.spec.labels),
            order.config,
            lambda number: tracked(trials.ended(number), self.spec),
            trials.ended_numbers(),
        )

    @property
    def busy(self) -> int:
        """How many jobs are out."""
        return len(self._out)

    @property
    def progress(self) -> str:
        """How far it is, in a few words."""
        return f"{self.name} has {self.trials.totals.trials} of {self.spec.trials} trials"

    def begin(self) -> Iterator[Event]:
        """Remove what an earlier scheduler left, and tell how far the study is."""
        trials, best = self.trials, self.trials.best
        if self.order.retry:
            self._pending.extend(trials.ask_failed_again())
        needed = [asked.number for asked in self._pending] + ([best.number] if best and not self.order.search else [])
        self._folder.clear_all_but([str(number) for number in needed])
        if self._writer is not None:
            self._writer.begin(self._log)
        value = best.value if best else None
        yield StudyStarted(
            self.name, self.spec.trials, trials.totals.trials, trials.totals.failed, len(self._pending), value
        )
        yield from self._advance()

    # --- handing out --------------------------------------------------------------------------------------------------

    def next_task(self) -> Task | None:
        """The next job, if there is one now. What is known already, or being computed, is no job."""
        if self._late is not None:
            (purpose, asked), self._late = self._late, None
        elif (trial := self._next_trial()) is not None:
            purpose, asked = "trial", trial
        else:
            return None
        self._out[purpose, asked.number] = asked
        return Task(purpose, asked.number, asked.params, len(asked.failures) + 1, whole=purpose == "again")

    def _next_trial(self) -> Asked | None:
        while self._may_begin():
            if self.spec.generation is not None or not self._pending:
                self._ask()
            if not self._pending:
                return None
            asked = self._pending.popleft()
            if (hit := self._known.result(asked)) is not None:
                self.trials.tell(hit)
                return None  # to be made durable first
            if self._known.begin(asked.digest, self, asked):
                return asked
            self._waiting += 1
        return None

    def _may_begin(self) -> bool:
        in_flight = len(self._out) + self._waiting
        wanted = self.spec.trials - self.trials.totals.trials
        return not self.ended and in_flight < min(wanted, self.spec.in_flight)

    def _ask(self) -> None:
        """Ask for the next trial; where there are generations for all of the next one, if the one before has ended.

        A generation is asked for as a whole before any of it is handed out, so that the sampler sees the same trials,
        told and running, whatever happens. The same trials make the same generations: nothing of them is stored.
        """
        if self.spec.generation is None:
            self._pending.append(self.trials.ask())
            return
        outcomes = self.trials.outcomes
        while self._generation.stop <= len(outcomes):
            ended = outcomes[self._generation.start : self._generation.stop]
            size = min(self.spec.generation, self.spec.trials - self._counted - sum(map(bool, ended)))
            if None in ended or size < 1:
                return
            self._counted += sum(map(bool, ended))
            self._generation = range(self._generation.stop, self._generation.stop + size)
        self._pending.extend(self.trials.ask() for _ in range(len(outcomes), self._generation.stop))

    def job(self, task: Task) -> Job:
        """What a worker is told of a task."""
        asked, final = self._out[task.purpose, task.number], task.purpose == "final"
        name = str(asked.number) if task.purpose == "trial" else task.purpose
        return Job(
            job=f"{self.name}/{name}",
            attempt=task.attempt,
            kind=KINDS[self.order.kind][task.purpose],
            spec=RUN.dump_python(asked.run, mode="json"),
            role="final" if final else "trial",
            scratch=str(self._folder.scratch("final" if final else str(asked.number))),
            weights=str(self._folder.checkpoint) if final else None,
            record=self.trials.ended(asked.number).record if final else None,
            options=dict(self.order.options),
        )

    # --- answers ------------------------------------------------------------------------------------------------------

    def answer(self, task: Task, job: Job, record: RunRecord, *, weights: bool) -> Keep | Drop:
        """Whether the weights of a job that is done are kept.

        Raises StateMismatchError if a run that was trained again is another than before.
        """
        if task.purpose == "again":
            before = self.trials.ended(task.number)
            if record.value != before.record.value:
                why = (
                    "was trained again, because its checkpoint is lost, and"
                    if before.duplicate_of is None
                    else f"was told the result of {before.duplicate_of}, whose weights are not kept; trained here, it"
                )
                raise StateMismatchError(
                    f"trial {task.number} of {self.name} {why} has another dev {record.metric}: "
                    f"{record.value} instead of {before.record.value}",
                    "was it first trained on another device, or with other versions? store.root=OTHER starts anew",
                )
        better = task.purpose == "trial" and self.trials.would_be_best(task.number, settled(record))
        if weights and self.order.search is None and (better or task.purpose == "again"):
            return Keep(job.job, job.attempt, str(self._folder.trial_checkpoint(task.number)))
        return Drop(job.job, job.attempt)

    def watch(self, task: Task, job: Job, epoch: EpochRecord) -> Prune | None:
        """Whether a job that has ended an epoch is given up."""
        score = epoch.dev.get(self.spec.run.metric)
        if task.purpose != "trial" or score is None or not self.trials.prunes(task.number, epoch.epoch, score):
            return None
        return Prune(job.job, job.attempt)

    def complete(self, task: Task, record: RunRecord, slot: int, sha256: str | None) -> Iterator[Event]:
        """A job is done and its weights are settled: kept, with this SHA-256, or not."""
        number, asked = task.number, self._out.pop((task.purpose, task.number))
        if task.purpose == "trial":
            self._slots[number] = slot
            if sha256 is not None:
                self._kept[number] = Kept(number, asked.digest, sha256)
            self.trials.tell(Ended(asked, settled(record), None))
        elif task.purpose == "again":
            if sha256 is not None:
                self._folder.place(Kept(number, asked.digest, sha256))
            self._folder.clear(str(number))
            yield from self._advance()
        else:
            yield from self._finish(number, record)

    def fail(self, task: Task, failure: Failure) -> Iterator[Event]:
        """An attempt came to nothing: hand the task out again, or give it up once all of its attempts are used."""
        asked = self._out.pop((task.purpose, task.number))
        exhausted = len(asked.failures) >= self.spec.retries
        reason, detail = failure["reason"], failure["detail"]
        if task.purpose != "trial":
            if exhausted:
                raise FailedTrialsError(
                    f"the {task.purpose} run of {self.name} (trial {task.number}) failed: {reason}: {detail}",
                    "the trials are safe; the same command tries it again",
                )
            self._late = (task.purpose, replace(asked, failures=(*asked.failures, failure)))
        else:
            asked = self.trials.note_failure(asked, failure)
            if exhausted:
                self.failures.append(f"{reason}: {detail}")
                self.trials.tell(Ended(asked, failed_record(asked), None))
                return
            self._release(asked)
        yield JobRepeated(self.name, task.number, task.purpose, task.attempt, reason, detail)

    def release(self, task: Task) -> None:
        """A job was left unfinished through no fault of its own: it comes first the next time."""
        asked = self._out.pop((task.purpose, task.number))
        if task.purpose == "trial":
            self._release(asked)
        else:
            self._late = (task.purpose, asked)

    def _release(self, asked: Asked) -> None:
        self._pending.appendleft(asked)
        for study, waiting in self._known.end(asked.digest, None):
            study.resume(waiting)

    def resume(self, asked: Asked) -> None:
        """A trial that waited for another's result is to be computed after all, or told that result."""
        self._waiting -= 1
        self._pending.append(asked)

    # --- making it durable --------------------------------------------------------------------------------------------

    def settle(self) -> Iterator[Event]:
        """Make what was told durable, and let everybody know."""
        committed = self.trials.commit()
        for trial in committed:
            yield from self._settle(trial)
        if committed:
            yield from self._advance()

    def _settle(self, trial: Ended) -> Iterator[Event]:
        number, trials = trial.asked.number, self.trials
        best = trials.best is not None and trials.best.number == number
        kept, slot = self._kept.pop(number, None), self._slots.pop(number, None)
        if best and kept is not None:
            self._folder.place(kept)
        self._folder.clear(str(number))
        if trial.duplicate_of is None:
            for study, waiting in self._known.end(trial.asked.digest, (self.name, number) if trial.known else None):
                study.resume(waiting)
        if self._writer is not None:
            self._writer.trial(self._log, tracked(trial, self.spec))
        record, totals = tracked(trial, self.spec).record, trials.totals
        yield TrialEnded(self.name, number, slot, record, trial.duplicate_of, totals.trials, totals.failed)
        if best:
            yield BestChanged(self.name, number, trial.record.value)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _advance(self) -> Iterator[Event]:
        """Once enough trials have finished: evaluate the best one, train it again before, or end."""
        trials, best = self.trials, self.trials.best
        if self.ended or trials.totals.trials < self.spec.trials or self._out or self._late is not None:
            return
        if self.order.search is not None:
            yield self._end(None)
            return
        if best is None:
            yield Warned(f"every trial of {self.name} was pruned: there is nothing to evaluate")
            yield self._end(None)
            return
        known, stored = trials.ended(best.number), trials.final
        if known.record.state == "diverged":
            yield Warned(f"every trial of {self.name} diverged: there is nothing to evaluate")
            yield self._end(None)
            return
        if stored is not None and stored[0] == best.number:
            yield self._end(stored[1])
            return
        if stored is not None:
            yield Warned(f"{self.name} has a better trial than the one evaluated before: test data is used once more")
        asked = replace(known.asked, failures=())
        if self._folder.kept_checkpoint(asked.number, asked.digest) is not None or self._adopts(known):
            self._late = ("final", asked)
        else:
            yield Warned(f"the weights of {self.name}'s best trial, {best.number}, are not here: it is trained again")
            self._late = ("again", asked)

    def _adopts(self, trial: Ended) -> bool:
        """Whether the study whose result the trial was told has the weights; then they are here, too."""
        if trial.duplicate_of is None:
            return False
        study, _, _ = trial.duplicate_of.rpartition("/")
        return self._folder.adopt(trial.asked.number, trial.asked.digest, DrivenFolder(self._folder.root, study))

    def _finish(self, number: int, record: RunRecord) -> Iterator[Event]:
        before = self.trials.ended(number).record
        if not math.isclose(record.dev[record.metric], before.value, abs_tol=1e-6):
            yield Warned(
                f"trial {number} of {self.name} had dev {record.metric} {before.value}, its checkpoint has "
                f"{record.dev[record.metric]}"
            )
        os.replace(self._folder.scratch("final") / PREDICTIONS, self._folder.predictions)
        faults.reach("final")
        self._folder.clear("final")
        self.trials.set_final(number, record)
        faults.reach("study-end")
        yield self._end(record)

    def _end(self, final: RunRecord | None) -> StudyEnded:
        self.ended, best = True, self.trials.best
        self._folder.clear_all_but([])  # a killed scheduler's best trial may have left its own
        self.trials.set_left("finished")
        if final is not None and best is not None:
            final = named(final, self.spec.pool, self.trials.ended(best.number).asked.params)
        if self._writer is not None:
            metrics, tags = study_ended(self.trials.totals, best, final)
            files = [path for path in (self._folder.checkpoint, self._folder.predictions) if path.exists()]
            self._writer.end(self._log, "finished", metrics, tags, files)
        return StudyEnded(
            self.name, self.trials.totals.trials, self.trials.totals.failed, best.number if best else None, final
        )

    def leave(self, state: Literal["interrupted", "failed"]) -> None:
        """Tell the stores that the study goes on another time, if ever."""
        if self.ended:
            return
        if state == "failed":  # what else it may be, is stored as long as it runs
            with contextlib.suppress(NasctlError):  # whatever ends the study is told in its stead
                self.trials.set_left(state)
        if self._writer is not None:
            self._writer.end(self._log, state, self.trials.totals.metrics(), {}, [])
