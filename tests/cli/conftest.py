from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nasctl.cli.main import main

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
