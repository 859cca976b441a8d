from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import Engine

from nasctl import databases
from nasctl.databases import checkpoint, probe, redacted, sqlite_path, sqlite_pragmas
from nasctl.errors import MachineError, UsageError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://nas:s3cret@db:5432/studies", "postgresql://nas:***@db:5432/studies"),
        (
            "at postgresql+psycopg://nas:p@ss/w:rd@db/studies failed",
            "at postgresql+psycopg://nas:***@db/studies failed",
        ),
        ("https://token:x@host and https://a:b@c", "https://token:***@host and https://a:***@c"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("postgresql://nas@db:5432/studies", "postgresql://nas@db:5432/studies"),
        ("http://127.0.0.1:5000/#/experiments", "http://127.0.0.1:5000/#/experiments"),
    ],
)
def test_passwords_are_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////data/a b.db", Path("/data/a b.db")),
        ("sqlite:///runs/mlflow.db?timeout=5", Path("runs/mlflow.db")),
        ("sqlite+pysqlite:///x.db", Path("x.db")),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql:///studies", None),
    ],
)
def test_the_file_of_an_address(uri: str, path: Path | None) -> None:
    assert sqlite_path(uri) == path


def pragma(uri: str, name: str) -> object:
    engine = sqlalchemy.create_engine(uri)
    with engine.connect() as connection:
        value = connection.exec_driver_sql(f"PRAGMA {name}").scalar()
    engine.dispose()
    return value


def test_every_new_connection_writes_ahead(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/x.db"
    for durability, synchronous in (("normal", 1), ("full", 2), ("normal", 1), ("normal", 1)):
        sqlite_pragmas(durability)
        assert (pragma(uri, "journal_mode"), pragma(uri, "synchronous")) == ("wal", synchronous)
        assert pragma(uri, "busy_timeout") == databases.BUSY_MILLISECONDS
        listening = [event.contains(Engine, "connect", each) for each in databases._LISTENERS.values()]
        assert sum(listening) == 1


def test_a_checkpoint_empties_the_log_into_the_file(tmp_path: Path) -> None:
    path, log = tmp_path / "x.db", tmp_path / "x.db-wal"
    checkpoint(path)
    assert not path.exists()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
        before = path.stat().st_size
        checkpoint(path)
        assert path.stat().st_size > before
        assert log.stat().st_size > 0
        checkpoint(path, whole=True)
        assert log.stat().st_size == 0


def test_a_usable_database_is_probed_without_a_trace(tmp_path: Path) -> None:
    probe(f"sqlite:///{tmp_path}/new folder/x.db")
    assert (tmp_path / "new folder" / "x.db").exists()


def test_no_address_no_database() -> None:
    with pytest.raises(UsageError, match=r"mlflow\.db is no database address"):
        probe("mlflow.db")


def test_a_missing_driver_is_named() -> None:
    with pytest.raises((MachineError, UsageError), match=r"oracle://u:\*\*\*@h/d"):
        probe("oracle://u:secret@h/d")


def test_a_database_that_is_busy_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "BUSY_MILLISECONDS", 50)
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(MachineError, match="database is locked"):
            probe(f"sqlite:///{path}")
