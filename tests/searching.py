"""Tiny searches by the command line, for tests: their arguments, and what they leave in a store."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from nasctl.cli import progress
from nasctl.cli.main import main
from nasctl.tracking.found import found
from nasctl.tracking.records import RunRecord, StoredRun
from nasctl.tuning.events import EpochEnded

LITTLE = ("pool=inprocess", "embedding.width=8", "dataset.pairs=60")
STUDY = (*LITTLE, "sweep=demo", "training.epochs=1", "trials=2", "sampler=random", "study.space.hidden.choices=[3,4]")
TINY = (
    *LITTLE,
    *("workers=1", "search.training.epochs=2", "search.space.nodes=3", "search.strategy.controller.hidden=4"),
    *("search.judged=2", "search.found.count=4", "search.found.examined=3"),
)
REWARDS = ("search.strategy.steps=2", "search.strategy.reward.pairs=6")
ENAS = (*TINY, *REWARDS)
ALONE = ("search.start=training", "training.hidden=[4]", "training.batch_size=16")
FOUND = ("cell.nodes=3",)


def searched_store(folder: Path, mlflow_database: Path) -> Path:
    """A store in the folder: two LSTM studies, and what was found on three data sets, on one of them with ESIM too."""
    store = folder / "runs"
    store.mkdir()
    shutil.copyfile(mlflow_database, store / "mlflow.db")
    with contextlib.chdir(folder):
        for command in (
            ("baseline", *STUDY),
            ("baseline", *STUDY, "study.name=second", "sampler.seed=5"),
            ("search", "search=demo", *ENAS),
            ("search", "-m", *ENAS, *ALONE, "dataset=demo-stsb,demo-mrpc", "dataset.pairs=120"),
            ("search", *ENAS, *ALONE, "model=esim"),
        ):
            result = CliRunner().invoke(main, command, prog_name="nasctl")
            assert result.exit_code == 0, result.stderr
    return store


@contextlib.contextmanager
def interrupted_after_an_epoch() -> Iterator[None]:
    """A search is stopped after its first epoch, as by Ctrl-C."""
    follow = progress.follow

    def interrupted(events, metrics):
        for event in follow(events, metrics):
            yield event
            if isinstance(event, EpochEnded):
                events.close()
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(progress, "follow", interrupted)
        yield


def runs(store: Path, kind: str) -> list[StoredRun]:
    """What MLflow has of this kind."""
    from nasctl.tracking.store import MlflowTracker

    return list(MlflowTracker(f"sqlite:///{store / 'mlflow.db'}", store / "artifacts", "nasctl").runs(kind))


def record_of(store: Path, name: str) -> RunRecord:
    """The record of a search that is over."""
    (search,) = [each for each in found(store) if each.name == name]
    return search.entry.record
