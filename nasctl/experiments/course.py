"""The course of a run or a search: what its epochs told, what they cost, and where it could be left."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from nasctl.experiments.costs import Clock, PeakMemory
from nasctl.experiments.resuming import Left, Origin, Progress, Resumption
from nasctl.tracking.records import EpochRecord

__all__ = ["Course"]

T = TypeVar("T")


class Course:
    """Begins when it is made: what the model and its data take to load is counted as well.

    `progress` is all that was told, and what it cost until the last lap. Without a `resumption` it cannot be left nor
    taken up; all else is the same.
    """

    def __init__(self, device: str, resumption: Resumption | None) -> None:
        self._clock, self.memory, self._resumption = Clock(), PeakMemory(device), resumption
        self._origin: Origin = {}
        self.progress = Progress()

    def begin(self, origin: Origin, state_of: Callable[[Left, Progress], T]) -> T | None:
        """All is loaded: the state that an earlier attempt of this origin has left, as `state_of` reads it, if any."""
        self._origin = origin
        found = self._resumption.load(origin, state_of) if self._resumption is not None else None
        if found is not None:
            self.progress = replace(found.progress, resumed=found.progress.resumed + 1)
            self._clock.add(found.progress.seconds)
            self.memory.add(found.progress.memory)
        self._clock.lap("load")
        return None if found is None else found.state

    def lap(self, phase: str) -> float:
        """What was done since the last lap was this phase; seconds of all phases so far."""
        self._clock.lap(phase)
        self.progress = replace(self.progress, seconds=dict(self._clock.seconds), memory=self.memory.peak())
        return self._clock.elapsed()

    def tell(self, epoch: EpochRecord, *, improved: bool, constant: bool = False) -> EpochRecord:
        """An epoch is over; `constant`: its predictions did not vary."""
        before = self.progress
        self.progress = replace(
            before,
            history=(*before.history, epoch),
            best_epoch=epoch.epoch if improved else before.best_epoch,
            constant=before.constant + constant,
        )
        return epoch

    @contextlib.contextmanager
    def kept(self, left: Callable[[], Left] | None) -> Iterator[None]:
        """Around a yield: who leaves there finds this state again. None: there is nothing to go on from."""
        if self._resumption is None or left is None:
            yield
            return
        with self._resumption.kept(self._origin, left, self.progress):
            yield
