"""The scheduler: the one process that writes, driving studies and searches over one pool of workers.

Each round hears what the workers say, hands the free ones new jobs, and only then makes durable what was told: a job's
trial is in the store before the job is handed out, and no worker waits for a result to be written. What a job is for,
only `work.Driven` knows.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nasctl import faults
from nasctl.databases import sqlite_path
from nasctl.errors import FailedTrialsError, MachineError, NasctlError, StoppedError, UsageError
from nasctl.tracking.records import RunRecord, Tracker
from nasctl.tuning.events import CellsJudged, EpochEnded, Event, JobStarted, Stopping, Warned, WorkerStarted
from nasctl.tuning.flushing import Flushing
from nasctl.tuning.folders import DrivenFolder, check_room
from nasctl.tuning.known import KnownRuns
from nasctl.tuning.stopping import END, KILL, MESSAGES, Stages
from nasctl.tuning.study import StudyStore
from nasctl.tuning.work import Driven, Order, Surroundings, Task
from nasctl.tuning.writer import TrackerWriter
from nasctl.workers.pool import GpuLost, Pool, PoolEvent, Told, WorkerLost, WorkerReady
from nasctl.workers.protocol import Done, Epoch, Failed, Job, Judged, Keep, Kept, OfJob, Stop, Stopped

WAIT_SECONDS = 0.5
SWITCH_SECONDS = 0.0005
"""How often Python's threads take turns while studies run: waiting for the tracker's thread had doubled idle time."""

WORDS_CHARACTERS = 2_000
"""Of what a lost worker wrote last, kept with the attempt."""

ENDING: dict[str, type[NasctlError]] = {"machine": MachineError, "disk": MachineError, "usage": UsageError}
"""Reasons of a job's failure that no other attempt mends."""


@dataclass
class _Running:
    """What a slot is at; `done` is the job's record while its weights are being written."""

    driven: Driven
    task: Task
    job: Job
    done: RunRecord | None = None


class Scheduler:
    """Drives `orders` to their ends over `pool`, which it starts and closes.

    `store` is where the studies are, `root` the folder of everything else; `databases` are further SQLite files to be
    flushed. Of each study at most `max_failed` trials may fail. `grace` is how many seconds workers have to stop;
    `resume` is the hint that a stop ends with, `sync` the command that completes the tracker.
    """

    def __init__(
        self,
        orders: Sequence[Order],
        pool: Pool,
        store: StudyStore,
        root: Path,
        *,
        tracker: Tracker | None,
        max_failed: int,
        grace: float,
        resume: str,
        sync: str = "nasctl sync",
        databases: Sequence[Path] = (),
    ) -> None:
        self._orders, self._pool, self._store, self._root = tuple(orders), pool, store, root
        self._tracker, self._max_failed, self._grace = tracker, max_failed, grace
        self._resume, self._sync = resume, sync
        own = sqlite_path(store.url)
        self._databases = (*databases, *((own,) if own is not None else ()))
        self._stages = Stages(pool.wake)
        store.gives_up = lambda: self._stages.stage > 0
        self._driven: list[Driven] = []
        self._failed: set[str] = set()  # those that end everything, each by too many failures
        self._running: dict[int, _Running] = {}
        self._turn = 0
        self._turns: dict[str, int] = {}
        self._writer: TrackerWriter | None = None

    def run(self) -> Iterator[Event]:
        """Everything that happens until all have ended. Closing the iterator stops as a third Ctrl-C does.

        Raises StateMismatchError (another scheduler, another identity), MachineError (disk, database, workers),
        FailedTrialsError, and StoppedError after a stop that was asked for. Whatever it raises, the same call goes on
        where this one ended.
        """
        check_room(self._root, sum(order.room_bytes for order in self._orders))
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._stages)  # first: from when a folder says who drives it, that may be asked to stop
            folders = [order.folder(self._root) for order in self._orders]
            for folder in folders:
                folder.acquire()
                stack.callback(folder.release)
            stack.callback(self._store.release)
            stack.callback(sys.setswitchinterval, sys.getswitchinterval())
            sys.setswitchinterval(SWITCH_SECONDS)
            stack.enter_context(Flushing(self._databases))
            stack.callback(self._pool.close)
            try:
                yield from self._open(folders)
                yield from self._drive()
            except BaseException:
                self._pool.close()
                self._leave()
                for _ in self._end_tracker():
                    pass  # nobody listens any more
                raise
            yield from self._end_workers()
            self._leave()
            yield from self._end_tracker()
        if any(not driven.ended for driven in self._driven):
            raise StoppedError(self._described(), self._resume, self._stages.number)

    def _open(self, folders: Sequence[DrivenFolder]) -> Iterator[Event]:
        self._writer = TrackerWriter(self._tracker) if self._tracker is not None else None
        around = Surroundings(self._store, KnownRuns(self._store), self._writer)
        self._driven = [order.driven(folder, around) for order, folder in zip(self._orders, folders, strict=True)]
        for driven in self._driven:
            yield from driven.begin()
        if any(not driven.ended for driven in self._driven):
            self._pool.start()

    # --- the loop -----------------------------------------------------------------------------------------------------

    def _drive(self) -> Iterator[Event]:
        stage = 0
        while any(not driven.ended for driven in self._driven):
            if self._stages.stage != stage:
                stage = self._stages.stage
                yield Stopping(stage, MESSAGES[stage])
                self._leave_long_ones()
            if not stage:
                yield from self._hand_out()
            moved = False
            for driven in self._driven:
                for event in driven.settle():
                    moved = True
                    yield event
            self._check_failures()
            if stage >= END or (stage and not self._running):
                return
            for happened in self._pool.events(0.0 if moved else WAIT_SECONDS):
                yield from self._hear(happened)
            yield from self._warnings()

    def _hand_out(self) -> Iterator[Event]:
        for slot in self._pool.idle():
            found = self._next_task()
            if found is None:
                return
            driven, task = found
            job = driven.job(task)
            self._running[slot] = _Running(driven, task, job)
            self._pool.send(slot, job)
            faults.reach("handed-out")
            yield JobStarted(driven.name, task.number, task.purpose, task.attempt, slot, task.params)

    def _next_task(self) -> tuple[Driven, Task] | None:
        """A task of that which has the fewest out; of several, of the one whose last turn was longest ago."""
        for driven in sorted(self._driven, key=lambda each: (each.busy, self._turns.get(each.name, 0))):
            task = driven.next_task()
            if task is not None:
                self._turn += 1
                self._turns[driven.name] = self._turn
                return driven, task
        return None

    def _leave_long_ones(self) -> None:
        """Ask for the end of what would take too long to wait for, where that can be gone on with."""
        for slot, running in self._running.items():
            if running.task.long and running.done is None:
                self._pool.send(slot, Stop())

    def _check_failures(self) -> None:
        """Raises FailedTrialsError if more trials of a study have failed than may."""
        beyond = [driven for driven in self._driven if len(driven.failures) > self._max_failed]
        self._failed.update(driven.name for driven in beyond)
        if beyond:
            first = beyond[0]
            raise FailedTrialsError(
                f"{len(first.failures)} trials of {first.name} failed, {self._max_failed} may; the last one: "
                f"{first.failures[-1]}",
                "see the workers' logs; the same command goes on",
            )

    # --- what workers say ---------------------------------------------------------------------------------------------

    def _hear(self, happened: PoolEvent) -> Iterator[Event]:
        if isinstance(happened, GpuLost):
            yield Warned(f"GPU {happened.gpu} is used no more, {happened.slots} workers are left: {happened.detail}")
            return
        slot = happened.slot
        running = self._running.get(slot)
        match happened:
            case WorkerReady(hello=hello, device=device):
                yield WorkerStarted(slot, hello.host, hello.pid, device)
            case WorkerLost():
                yield from self._lose(running, happened)
            case Told(message=message) if running is None or (message.job, message.attempt) != (
                running.job.job,
                running.job.attempt,
            ):
                pass  # of a job that is no longer the slot's
            case Told(message=message):
                yield from self._follow(slot, running, message)

    def _follow(self, slot: int, running: _Running, message: OfJob) -> Iterator[Event]:
        driven, task = running.driven, running.task
        match message:
            case Epoch(epoch=epoch):
                faults.reach("first-event")
                if (prune := driven.watch(task, running.job, epoch)) is not None:
                    self._pool.send(slot, prune)
                yield EpochEnded(driven.name, task.number, task.purpose, slot, epoch)
            case Judged():
                yield CellsJudged(driven.name, slot, message.judged, message.cells)
            case Done(record=record):
                faults.reach("done")
                answer = driven.answer(task, running.job, record, weights=message.weights)
                self._pool.send(slot, answer)
                if isinstance(answer, Keep):
                    faults.reach("keep")
                    running.done = record
                else:
                    del self._running[slot]
                    yield from driven.complete(task, record, slot, None)
            case Kept(sha256=sha256) if running.done is not None:
                del self._running[slot]
                yield from driven.complete(task, running.done, slot, sha256)
            case Failed():
                del self._running[slot]
                if message.reason in ENDING:
                    raise ENDING[message.reason](f"job {message.job}: {message.message}", message.hint)
                first, _, _ = message.message.partition("\n")
                yield from self._give_up(running, slot, message.reason, first, message.traceback.splitlines())
            case Stopped():  # somebody else has stopped the worker
                del self._running[slot]
                driven.release(task)

    def _lose(self, running: _Running | None, lost: WorkerLost) -> Iterator[Event]:
        if running is None:
            yield Warned(f"worker {lost.slot} was lost and is replaced: {lost.detail}")
            return
        del self._running[lost.slot]
        last = f"; its last words: {lost.words[-1]}" if lost.words else ""
        yield from self._give_up(running, lost.slot, lost.reason, f"{lost.detail}{last}", lost.words)

    def _give_up(
        self, running: _Running, slot: int, reason: str, detail: str, words: Sequence[str] = ()
    ) -> Iterator[Event]:
        """An attempt has ended badly. What was already done counts, unless it is nothing without the lost weights."""
        if running.done is not None and not running.task.whole:
            yield from running.driven.complete(running.task, running.done, slot, None)
        else:
            failure = {"reason": reason, "detail": detail, "words": "\n".join(words)[-WORDS_CHARACTERS:]}
            try:
                yield from running.driven.fail(running.task, failure)
            except FailedTrialsError:
                self._failed.add(running.driven.name)
                raise

    # --- the end ------------------------------------------------------------------------------------------------------

    def _end_workers(self) -> Iterator[Event]:
        """Ask the workers to end, wait for their grace, and tell of every further stage in the meantime."""
        self._pool.stop()
        stage, patience = self._stages.stage, time.monotonic() + self._grace
        while self._pool.living and self._stages.stage < KILL and time.monotonic() < patience:
            self._pool.events(0.1)  # what is unfinished stays so
            if self._stages.stage > max(stage, 1):
                stage = self._stages.stage
                yield Stopping(stage, MESSAGES[stage])
        self._pool.close()

    def _leave(self) -> None:
        for driven in self._driven:
            driven.leave("failed" if driven.name in self._failed else "interrupted")

    def _end_tracker(self) -> Iterator[Event]:
        if self._writer is not None:
            self._writer.close()
            while self._writer.busy and self._stages.stage < KILL:
                time.sleep(0.05)
                yield from self._warnings()
            if self._stages.stage < KILL:
                self._writer.give_up()
            yield from self._warnings()
            if self._writer.lags:
                yield Warned(f"the tracker lacks some of it; {self._sync} completes it")

    def _warnings(self) -> Iterator[Event]:
        if self._writer is not None:
            for text in self._writer.warnings():
                yield Warned(text)

    def _described(self) -> str:
        return f"stopped: {', '.join(driven.progress for driven in self._driven if not driven.ended)}"
