"""One scheduler per study, wherever its folder is: several stores' folders, and machines, may share a database.

A folder's own lock (`tuning.folders`) is seen by those alone that use the folder.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from pathlib import Path
from typing import Protocol, final

import filelock
import sqlalchemy

from nasctl.errors import StateMismatchError

__all__ = ["AWAY", "Claims", "FileClaims", "SessionClaims"]

AWAY = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError)
"""What SQLAlchemy raises where a server cannot be reached."""

END_SECONDS = 5.0
"""How long a session that the network has lost may take to end on the server."""

_ANSWER = sqlalchemy.text("SELECT 1")
_LOCK = sqlalchemy.text("SELECT pg_try_advisory_lock(:key)")
_NAME = sqlalchemy.text("SELECT set_config('application_name', :name, false)")
_END_OTHERS = sqlalchemy.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name AND pid <> pg_backend_pid()"
)


class Claims(Protocol):
    """The studies of one database that this process drives. The system frees the claims of a process that dies."""

    def take(self, study: str) -> None:
        """Be the one that drives this study. Raises StateMismatchError if another process is."""

    def hold(self) -> None:
        """Make sure that what was taken is still ours.

        Raises StateMismatchError if another process has it, SQLAlchemy's error (`AWAY`) if a server cannot be reached.
        """

    def release(self) -> None:
        """Let others have all of them."""


@final
class FileClaims:
    """Those of a database in a file: locks in a folder beside it, which nobody takes away."""

    def __init__(self, path: Path) -> None:
        real = path.resolve()  # by whatever name it was asked for
        self._folder = real.with_name(f"{real.name}.locks")
        self._taken: dict[str, filelock.BaseFileLock] = {}

    def take(self, study: str) -> None:
        """Take the study's lock, unless it is ours already."""
        if study in self._taken:
            return
        self._folder.mkdir(exist_ok=True)
        lock = filelock.FileLock(self._folder / study)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise _taken_by_another(study) from None
        self._taken[study] = lock

    def hold(self) -> None:
        """Nothing is to be done."""

    def release(self) -> None:
        """Release the locks; their files stay."""
        while self._taken:
            _, lock = self._taken.popitem()
            lock.release()


@final
class SessionClaims:
    """Those of PostgreSQL's database: advisory locks, which last as long as their session; one session has all of them.

    A server that was restarted has let go of them, and they are taken again by another session. One that has only lost
    the network may hold the old session for hours, and its locks with it: that session is known by its name, which no
    other process has, and is ended first.
    """

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine
        self._session: sqlalchemy.Connection | None = None
        self._name = f"nasctl {secrets.token_hex(8)}"
        self._taken: list[str] = []

    def take(self, study: str) -> None:
        """Take the study's lock, unless it is ours already."""
        session = self._living()
        if study not in self._taken:
            _lock(session, study)
            self._taken.append(study)

    def hold(self) -> None:
        """Take all locks again if the session has ended."""
        if self._taken:
            self._living()

    def release(self) -> None:
        """End the session."""
        self._taken.clear()
        self._end()

    def _living(self) -> sqlalchemy.Connection:
        """The session, or if it has ended a new one that has all that was taken."""
        if self._session is not None:
            try:
                self._session.execute(_ANSWER)
            except AWAY:
                self._end()
            else:
                return self._session
        self._session = session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            self._end_others(session)
            session.execute(_NAME, {"name": self._name})
            for study in self._taken:
                _lock(session, study)
        except BaseException:
            self._end()
            raise
        return session

    def _end(self) -> None:
        """End the session with all of its locks: where it is only closed, the pool keeps them."""
        if self._session is not None:
            self._session.invalidate()
            self._session.close()
            self._session = None

    def _end_others(self, session: sqlalchemy.Connection) -> None:
        patience = time.monotonic() + END_SECONDS
        while session.execute(_END_OTHERS, {"name": self._name}).all() and time.monotonic() < patience:
            time.sleep(0.1)


def _lock(session: sqlalchemy.Connection, study: str) -> None:
    """Raises StateMismatchError if another session has the lock."""
    key = int.from_bytes(hashlib.sha256(f"nasctl {study}".encode()).digest()[:8], signed=True)
    if not session.execute(_LOCK, {"key": key}).scalar():
        raise _taken_by_another(study)


def _taken_by_another(study: str) -> StateMismatchError:
    return StateMismatchError(
        f"the study {study} is driven by another scheduler, from another folder or machine, in this database",
        "wait for it or stop it; study.name=OTHER starts another study",
    )
