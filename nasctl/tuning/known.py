"""Which runs need not be computed: those of the store that are finished, and those that a worker is at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nasctl.tuning.study import StudyStore
from nasctl.tuning.trials import Asked, Ended


class Waiting(Protocol):
    """A study, one of whose trials waits for the result of a run in flight."""

    def resume(self, asked: Asked) -> None:
        """The trial is to be computed after all, or told that result."""


class KnownRuns:
    """The runs of one store by their digests, and who waits for those in flight."""

    def __init__(self, store: StudyStore) -> None:
        self._store = store
        self._finished = store.finished_digests()
        self._in_flight: dict[str, list[tuple[Waiting, Asked]]] = {}

    def result(self, asked: Asked) -> Ended | None:
        """The trial `asked` as told the result of a finished one with the very same run; None if there is none.

        Of one that was told itself, it is a duplicate of the one that was trained.
        """
        if asked.digest not in self._finished:
            return None
        study, number = self._finished[asked.digest]
        known = self._store.ended(study, number)
        if known.asked.run != asked.run:  # a digest is short: another run may have it
            return None
        return Ended(asked, known.record, known.duplicate_of or f"{study}/{number}")

    def begin(self, digest: str, study: Waiting, asked: Asked) -> bool:
        """Take up a run. If a worker is at it already: False, and `end` will hand back who waits."""
        if digest in self._in_flight:
            self._in_flight[digest].append((study, asked))
            return False
        self._in_flight[digest] = []
        return True

    def end(self, digest: str, trial: tuple[str, int] | None) -> Sequence[tuple[Waiting, Asked]]:
        """A run in flight has ended, finished by `trial` if at all; the trials that waited for it."""
        if trial is not None:
            self._finished.setdefault(digest, trial)
        return self._in_flight.pop(digest, ())
