"""The workers' logs, read back by job: what each wrote to standard error between one job's marker and the next one.

`worker-K.log` holds the newest part, `worker-K.log.1` the one before. The pool writes the markers. A second pool that
has the same folder at the same time writes below it, in `2/`, a third one in `3/`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

_MARKER = re.compile(r"^--- nasctl: (?:job (?P<job>\S+), attempt (?P<attempt>\d+)|worker starts), (?P<at>\S+) ---$")


@dataclass(frozen=True)
class Section:
    """Where a line stands: the worker's number, and the job that it was at; "" and 0 before its first one."""

    worker: int
    job: str
    attempt: int
    at: str


def take_folder(folder: Path) -> tuple[Path, filelock.BaseFileLock]:
    """A folder that no other pool writes its workers' logs to, and the lock to release once they have ended.

    Raises OSError if it cannot be written.
    """
    number, ours = 1, folder
    while (lock := _claimed(ours)) is None:
        number += 1
        ours = folder / str(number)
    return ours, lock


def _claimed(folder: Path) -> filelock.BaseFileLock | None:
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return None
    return lock


def log_files(folder: Path) -> list[Path]:
    """Every worker's log in a pool's folder and below it, in the order of their numbers."""
    found = [*folder.glob("worker-*.log"), *folder.glob("*/worker-*.log")]
    return sorted(found, key=lambda each: (len(each.parts), len(each.name), str(each)))


def marker(job: str = "", attempt: int = 0) -> bytes:
    """The line that begins a job's section, or without one a worker's."""
    what = f"job {job}, attempt {attempt}" if job else "worker starts"
    return f"--- nasctl: {what}, {dt.datetime.now(dt.UTC).isoformat(timespec='seconds')} ---".encode()


def is_marker(line: str) -> bool:
    """Whether a line of a log is one that `marker` gave."""
    return _MARKER.match(line) is not None


class LogReader:
    """One worker's log, from its beginning; each call of `lines` gives the whole lines that have come since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._section = Section(int(path.stem.rpartition("-")[2]), "", 0, "")
        self._begun, self._offset, self._rest = False, 0, b""
        self._older = path.with_suffix(".log.1")

    def lines(self) -> Iterator[tuple[Section, str]]:
        """The lines that are new, each with its section."""
        if not self._begun and self._older.exists():
            yield from self._split(self._older.read_bytes())
        self._begun = True
        try:
            with self._path.open("rb") as stream:
                if stream.seek(0, 2) < self._offset:  # it was put aside, and begins anew
                    self._offset = 0
                stream.seek(self._offset)
                data = stream.read()
        except FileNotFoundError:
            return
        self._offset += len(data)
        yield from self._split(data)

    def _split(self, data: bytes) -> Iterator[tuple[Section, str]]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            text = line.decode(errors="replace")
            if (found := _MARKER.match(text)) is not None:
                job, attempt = found["job"] or "", int(found["attempt"] or 0)
                self._section = Section(self._section.worker, job, attempt, found["at"])
            else:
                yield self._section, text
