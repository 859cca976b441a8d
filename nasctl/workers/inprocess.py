"""A pool of one slot in the scheduler's own process, for tests and for stepping through a run with a debugger.

A fault of the kind that ends a process ends the scheduler, too.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path

from nasctl.workers.jobs import Executor
from nasctl.workers.pool import PoolEvent, Told, WorkerReady
from nasctl.workers.protocol import (
    PROTOCOL,
    Done,
    Drop,
    Epoch,
    Failed,
    Job,
    Judged,
    Keep,
    Kept,
    Prune,
    Start,
    Stop,
    Stopped,
)
from nasctl.workers.session import hello


class InProcessPool:
    """The `Pool` whose single job goes on by one epoch at each call of `events`."""

    slots = 1

    def __init__(
        self,
        *,
        cache: Path,
        device: str = "cpu",
        threads: int = 1,
        resume_after: float = math.inf,
        resume_every: float = 0.0,
    ) -> None:
        self._start = Start(
            protocol=PROTOCOL,
            cache=str(cache),
            device=device,
            threads=threads,
            beat=0.0,
            grace=0.0,
            resume_after=resume_after,
            resume_every=resume_every,
            warm=(),
        )
        self._executor = Executor(self._start)
        self._work: Generator[Epoch | Judged | Done | Failed, bool | None, None] | None = None
        self._pruned: bool | None = None
        self._stopped = Stopped(None, None)  # what is said where the present job is left
        self._told: deque[PoolEvent] = deque()
        self._idle = False
        self.living = 0

    def start(self) -> None:
        """Be ready at once."""
        self._idle, self.living = True, 1
        self._told.append(WorkerReady(0, hello(), self._start.device))

    def idle(self) -> Sequence[int]:
        """The slot, if it waits for a job."""
        return [0] if self._idle else []

    def send(self, slot: int, message: Job | Keep | Drop | Prune | Stop) -> None:
        """Begin a job, end or leave it early, or settle its weights."""
        if isinstance(message, Job):
            self._idle, self._work, self._pruned = False, self._executor.perform(message), None
            self._stopped = Stopped(message.job, message.attempt)
            return
        if isinstance(message, Stop):
            if self._work is not None:  # between two epochs
                self._work.close()
                self._work, self._idle = None, True
                self._told.append(Told(slot, self._stopped))
            return
        if isinstance(message, Prune):
            self._pruned = True
            return
        answer = self._executor.settle(message)
        if answer is None:
            self._idle = True
        else:
            self._told.append(Told(slot, answer))

    def events(self, timeout: float) -> list[PoolEvent]:
        """What the job tells next, or its end; sleeps if there is no job."""
        if self._work is not None:
            message = self._work.send(self._pruned)
            if not isinstance(message, Epoch | Judged):
                self._work = None
            self._told.append(Told(0, message))
        elif not self._told:
            time.sleep(timeout)
        happened = list(self._told)
        self._told.clear()
        if any(isinstance(event, Told) and isinstance(event.message, Kept | Failed) for event in happened):
            self._idle = True
        return happened

    def wake(self) -> None:
        """Nothing waits for long here."""

    def stop(self) -> None:
        """Leave the job after its last epoch."""
        self.close()

    def close(self) -> None:
        """Leave the job."""
        if self._work is not None:
            self._work.close()
        self._work, self._idle, self.living = None, False, 0
