from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from searching import searched_store

from nasctl.cli.main import main
from nasctl.workers.inprocess import InProcessPool

Command = Callable[..., Result]


@pytest.fixture
def nasctl() -> Command:
    """Run a command in this process: `nasctl("train", "--cfg").exit_code`."""

    def run(*arguments: str, terminal_width: int = 80) -> Result:
        result = CliRunner().invoke(main, list(arguments), prog_name="nasctl", terminal_width=terminal_width)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def store(tmp_path: Path, mlflow_database: Path) -> Path:
    """The default store's folder, its MLflow database made already."""
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.copyfile(mlflow_database, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="session")
def searched_once(tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path) -> Path:
    """A store with LSTM studies and searches, to be copied."""
    return searched_store(tmp_path_factory.mktemp("searched"), mlflow_database)


@pytest.fixture
def searched(searched_once: Path, tmp_path: Path) -> Path:
    """The default store's folder, with LSTM studies and searches in it."""
    shutil.copytree(searched_once, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker may start."""
    monkeypatch.setattr(InProcessPool, "start", lambda _: pytest.fail("a worker starts"))
