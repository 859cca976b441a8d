"""SQLite as both of our stores use it, and database addresses that are shown without their passwords."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from nasctl.errors import MachineError, UsageError, first_line

Durability = Literal["normal", "full"]

URL_VARIABLE, TRACKING_VARIABLE = "NASCTL_STORE_URL", "NASCTL_STORE_TRACKING"
"""The only places where the addresses of the studies' database and of MLflow's store may hold a password."""

ADDRESSES = MappingProxyType({"store.url": URL_VARIABLE, "store.tracking": TRACKING_VARIABLE})
"""The settings that name these addresses without one, and the variables that stand for them."""

BUSY_MILLISECONDS = 20_000
"""How long a connection waits for another one's write; a reader never waits in WAL mode."""

_PASSWORD = re.compile(r"://([^\s:/@]*):\S*@")  # greedy: a password may hold "@"; hiding too much harms nobody


def redacted(text: str) -> str:
    """`text` with the password of every address in it replaced: `postgresql://user:***@host/db`."""
    return _PASSWORD.sub(r"://\1:***@", text)


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLAlchemy address such as `sqlite:////data/mlflow.db`; None for any other database."""
    dialect, _, rest = uri.partition(":///")
    file = rest.partition("?")[0]
    return Path(file) if dialect.split("+")[0] == "sqlite" and file not in {"", ":memory:"} else None


def absolute(uri: str) -> str:
    """The address, which means one SQLite file whatever folder a process works in from now on."""
    path = sqlite_path(uri)
    if path is None or path.is_absolute():
        return uri
    dialect, _, rest = uri.partition(":///")
    return f"{dialect}:///{path.absolute()}{rest.removeprefix(str(rest.partition('?')[0]))}"


def probe(uri: str) -> None:
    """Open the database once, and let SQLite begin to write, so that trouble is told at once and in one line.

    The libraries above try an unreachable database ten times, for more than a minute. The folder of an SQLite file is
    made. Raises UsageError for an address that is none, MachineError if the database cannot be used, both without the
    address's password.
    """
    import sqlalchemy  # noqa: PLC0415 - 0.2 s, needed only where a store is opened

    path = sqlite_path(uri)
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path, timeout=BUSY_MILLISECONDS / 1000, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        else:
            engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
            with engine.connect():
                pass
    except sqlalchemy.exc.ArgumentError:
        raise UsageError(
            f"{redacted(uri)} is no database address", "e.g. sqlite:///runs/mlflow.db or postgresql://user@host/name"
        ) from None
    except ImportError as error:
        raise MachineError(
            f"{redacted(uri)} needs a package: {error.name} is not installed", f"pip install {error.name}"
        ) from None
    except (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
        reason = redacted(first_line(error))
        hint = "is the disk full, or the folder read-only?" if path is not None else "is the server up?"
        raise MachineError(f"the database {redacted(uri)} cannot be used: {reason}", hint) from None


def sqlite_pragmas(durability: Durability = "normal") -> None:
    """From now on every SQLite connection that SQLAlchemy opens in this process writes ahead (WAL).

    With "normal" a killed process loses nothing and a power cut at most what was written since the last `checkpoint`;
    "full" waits for the disk at every commit. Calling it again changes at most the durability.
    """
    from sqlalchemy import event  # noqa: PLC0415 - 0.2 s, needed only where a store is opened
    from sqlalchemy.engine import Engine  # noqa: PLC0415

    for name, listener in _LISTENERS.items():
        if name != durability and event.contains(Engine, "connect", listener):
            event.remove(Engine, "connect", listener)
    if not event.contains(Engine, "connect", _LISTENERS[durability]):
        event.listen(Engine, "connect", _LISTENERS[durability])


def checkpoint(path: Path, *, whole: bool = False) -> None:
    """Carry what the write-ahead log holds into the database file and flush it to the disk.

    With `whole` the log is emptied as well, which waits for readers; otherwise nobody is waited for, and what a reader
    still needs stays in the log until the next call. A file that is not there is left alone.
    """
    if path.exists():
        with closing(sqlite3.connect(path, timeout=BUSY_MILLISECONDS / 1000)) as connection:
            connection.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if whole else 'PASSIVE'})")


def _prepare(connection: Any, synchronous: Literal["NORMAL", "FULL"]) -> None:
    if isinstance(connection, sqlite3.Connection):  # a listener on Engine sees PostgreSQL's connections, too
        connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")


def _normal(connection: Any, _record: Any) -> None:
    _prepare(connection, "NORMAL")


def _full(connection: Any, _record: Any) -> None:
    _prepare(connection, "FULL")


_LISTENERS = {"normal": _normal, "full": _full}
