"""Carrying SQLite's write-ahead logs to the disk every few seconds, so that a power cut loses no more than those."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from nasctl.databases import checkpoint

SECONDS = 10.0


class Flushing:
    """While entered, a thread checkpoints `databases`; at the end it empties their logs."""

    def __init__(self, databases: Sequence[Path], seconds: float = SECONDS) -> None:
        self._databases, self._seconds = tuple(databases), seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._flush, name="flushing", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._each(whole=True)

    def _flush(self) -> None:
        while not self._ended.wait(self._seconds):
            self._each(whole=False)

    def _each(self, *, whole: bool) -> None:
        for path in self._databases:
            with contextlib.suppress(sqlite3.Error):  # the next one will do, and who writes will hear of real trouble
                checkpoint(path, whole=whole)
