"""The tracker's writer: a thread of its own, so that a slow or absent server holds up no worker.

Its queue is bounded. Beyond that it remembers numbers only, and reads those trials from the studies' store when their
turn comes: the store is the spool, and what is lost with this process is logged by the next one that opens the study.
A search's spool is its folder.
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nasctl.errors import NasctlError, StateMismatchError
from nasctl.tracking.kept import KeptRun
from nasctl.tracking.namesakes import check_own
from nasctl.tracking.records import Tracker, TrialEntry
from nasctl.tracking.tags import STUDY, UID

QUEUE_LENGTH = 256
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
WARN_SECONDS = 10.0

GIVE_UP_SECONDS = 5.0
"""How long a call under way is waited for when nothing more is to be written."""

PATIENCE_SECONDS = 10.0
"""At the end: how long an entry is tried again while nothing gets through."""


@dataclass
class StudyLog:
    """A study as the writer knows it: `read` gives a told trial, safe in any thread."""

    study: str
    tags: Mapping[str, str]
    config: str
    read: Callable[[int], TrialEntry]
    told: Sequence[int]
    """The trials that were told before this process began."""
    id: str = ""
    refused: bool = False
    """Whether the tracker has another study of its name: nothing of this one is logged there."""
    behind: deque[int] = field(default_factory=deque)
    caught_up: int = 0
    """How many of those that were behind have been logged."""


@dataclass(frozen=True)
class _Item:
    """A call to be made for a study, or for none; `holds` says that it has a place in the bounded queue."""

    log: StudyLog | None
    call: Callable[[], object]
    holds: bool = False


class TrackerWriter:
    """Calls a tracker from one thread, in order, again and again where it fails."""

    def __init__(self, tracker: Tracker, patience: float = PATIENCE_SECONDS) -> None:
        self._tracker, self._patience = tracker, patience
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(QUEUE_LENGTH)
        self._logs: list[StudyLog] = []
        self._warnings: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._warned = -WARN_SECONDS
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._succeeded = time.monotonic()
        self._skipped = 0
        self._asked_in_vain = False
        self._thread = threading.Thread(target=self._write, name="tracker", daemon=True)
        self._thread.start()

    # --- for the scheduler --------------------------------------------------------------------------------------------

    def check(self, study: str, uid: str | None) -> None:
        """Raises StateMismatchError if the tracker has another study of this name.

        Before the first `begin`, as long as the thread has no use for the tracker. One that is away is asked once: it
        is asked again when the study begins there.
        """
        if not self._asked_in_vain:
            try:
                check_own(self._tracker.runs("study", {STUDY: study}), study, uid)
            except StateMismatchError:
                raise
            except Exception:  # noqa: BLE001 - whatever a tracker's library raises, the study goes on
                self._asked_in_vain = True

    def begin(self, log: StudyLog) -> None:
        """Begin a study, and log those of its trials that the tracker does not have."""
        self._logs.append(log)
        self._queue.put(_Item(None, lambda: self._begin(log)))

    def trial(self, log: StudyLog, entry: TrialEntry) -> None:
        """Log a trial that has been told."""
        if self._room.acquire(blocking=False):
            self._queue.put(_Item(log, lambda: self._tracker.log_trial(log.id, log.study, entry), holds=True))
        else:
            log.behind.append(entry.number)

    def end(
        self,
        log: StudyLog,
        state: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
    ) -> None:
        """End a study, once all of its trials are logged."""
        self._queue.put(_Item(log, lambda: self._tracker.end_study(log.id, state, metrics, tags, artifacts)))

    def run(self, run: KeptRun) -> None:
        """Log a run outside any study, unless the tracker has it."""
        self._queue.put(_Item(None, lambda: run.log(self._tracker)))

    def close(self) -> None:
        """Write what is left and end; `busy` tells how long that takes."""
        self._succeeded = time.monotonic()
        self._closing.set()
        self._queue.put(None)

    def give_up(self) -> None:
        """Begin nothing more: another process may complete the tracker from now on. A call under way is waited for."""
        self._given_up.set()
        self._thread.join(GIVE_UP_SECONDS)

    @property
    def busy(self) -> bool:
        """Whether there is something left to write, and anything got through lately."""
        return self._thread.is_alive() and time.monotonic() - self._succeeded < 2 * self._patience

    @property
    def lags(self) -> bool:
        """Whether, after its end, the tracker lacks something that the store has."""
        return self._thread.is_alive() or self._skipped > 0

    def warnings(self) -> list[str]:
        """What went wrong since the last call."""
        return [self._warnings.get_nowait() for _ in range(self._warnings.qsize())]

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        while (item := self._queue.get()) is not None:
            if item.log is not None and not item.log.id:  # it could not begin: its trials would be nobody's
                self._skipped += not item.log.refused
            else:
                if item.log is not None:
                    self._catch_up(item.log)
                self._persist(item.call)
            if item.holds:
                self._room.release()
        for log in self._logs:
            self._catch_up(log)

    def _begin(self, log: StudyLog) -> None:
        try:
            check_own(self._tracker.runs("study", {STUDY: log.study}), log.study, log.tags.get(UID))
        except StateMismatchError as error:  # which no patience mends
            log.refused = True
            self._warnings.put(f"{error}: nothing is logged of this one; {error.hint}")
            return
        log.id = self._tracker.begin_study(log.study, log.tags, log.config)
        known = self._tracker.trials(log.id)
        log.behind.extend(number for number in log.told if number not in known)

    def _catch_up(self, log: StudyLog) -> None:
        while log.id and log.behind:  # not before its study has begun
            number = log.behind.popleft()
            self._persist(functools.partial(self._read_and_log, log, number))

    def _read_and_log(self, log: StudyLog, number: int) -> None:
        self._tracker.log_trial(log.id, log.study, log.read(number))
        log.caught_up += 1

    def _persist(self, call: Callable[[], object]) -> None:
        """Call until it works, with growing pauses; when closing, until patience ends, and then just once."""
        pause = FIRST_PAUSE_SECONDS
        while not self._given_up.is_set():
            try:
                call()
            except Exception as error:  # noqa: BLE001 - whatever a tracker's library raises, the study goes on
                self._warn(error)
            else:
                self._succeeded = time.monotonic()
                return
            if self._closing.is_set():
                if time.monotonic() - self._succeeded > self._patience:
                    self._skipped += 1
                    return
                time.sleep(FIRST_PAUSE_SECONDS)
            else:
                self._closing.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        self._skipped += 1

    def _warn(self, error: Exception) -> None:
        if time.monotonic() - self._warned >= WARN_SECONDS:
            self._warned = time.monotonic()
            name = "" if isinstance(error, NasctlError) else f"{type(error).__name__}: "
            self._warnings.put(f"the tracker cannot be written, the work goes on: {name}{error}"[:500])
