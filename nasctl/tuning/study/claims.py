"""One scheduler per study, also where the studies' database is shared by several stores' folders, or by machines.

A store's own folder has a lock per study (`tuning.folders`), and of a database that lies in it nothing more is needed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import filelock
import sqlalchemy

from nasctl.errors import StateMismatchError

__all__ = ["Claims"]


class Claims:
    """The studies of one database that this process drives. The system frees the claims of a process that dies."""

    def __init__(self, engine: sqlalchemy.Engine, path: Path | None) -> None:
        """`path` is the database's file, None of a server's."""
        self._engine, self._path = engine, path
        self._session: sqlalchemy.Connection | None = None
        self._files: list[filelock.BaseFileLock] = []

    def take(self, study: str, root: Path) -> None:
        """Be the one that drives this study, for the store in the folder `root`, whose lock is held.

        Raises StateMismatchError if another process is.
        """
        if self._path is None:
            taken = self._in_session(study)
        else:
            taken = self._path.parent.absolute() == root.absolute() or self._beside(self._path, study)
        if not taken:
            raise StateMismatchError(
                f"the study {study} is driven by another scheduler, from another folder or machine, in this database",
                "wait for it or stop it; study.name=OTHER starts another study",
            )

    def close(self) -> None:
        """Let others have them."""
        for file in self._files:
            file.release()
        if self._session is not None:
            self._session.close()

    def _beside(self, path: Path, study: str) -> bool:
        lock = filelock.FileLock(path.with_name(f"{path.name}.{study}.lock"))
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            return False
        self._files.append(lock)
        return True

    def _in_session(self, study: str) -> bool:
        """PostgreSQL's advisory lock, which lasts as long as the session; one session has all of them."""
        if self._session is None:
            self._session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        key = int.from_bytes(hashlib.sha256(f"nasctl {study}".encode()).digest()[:8], signed=True)
        return bool(self._session.execute(sqlalchemy.text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar())
