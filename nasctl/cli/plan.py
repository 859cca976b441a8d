"""What a command would run and what it would cost, without touching anything."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from nasctl.cli.resolution import data_folder
from nasctl.cli.stores import Stores, open_tracker, stores_of
from nasctl.cli.text import counted, duration, size
from nasctl.config.settings import Settings
from nasctl.data.datasets import read
from nasctl.errors import NasctlError
from nasctl.experiments.resolve import layer_letters
from nasctl.models import MODELS
from nasctl.specs import Choice, Domain, FloatRange
from nasctl.tracking import tags as tag

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Plan", "run_bytes", "run_plan", "show", "study_bytes", "study_plan"]

DATABASE_BYTES = 2_000_000
"""Both databases, empty."""
TRIAL_BYTES = 15_000
EPOCH_BYTES = 700
"""What a trial and each of its epochs add to the databases (measured: 13 parameters, three metrics per epoch)."""
FLOAT_BYTES = 4
WIDEST_INPUT = 2400
"""An upper bound of what enters a recurrent layer, to bound a checkpoint's size."""


@dataclass(frozen=True)
class Plan:
    """What would run. `epoch_seconds` is what an epoch took in the past, by median (None: there is no past)."""

    what: str
    pairs: dict[str, int]
    trials: int
    epochs: int
    workers: int
    space: tuple[str, ...]
    bytes: int
    epoch_seconds: float | None
    past_runs: int

    @property
    def seconds(self) -> float | None:
        """Wall time of all trials if none of them stops early and nothing else runs on the machine."""
        if self.epoch_seconds is None:
            return None
        return self.epoch_seconds * self.epochs * self.trials / min(self.workers, self.trials)


def run_plan(settings: Settings) -> Plan:
    """The plan of a single run."""
    return _plan(settings, (), trials=1, workers=1, amount=run_bytes(settings))


def study_plan(settings: Settings, space: Sequence[tuple[str, Domain]], trials: int, workers: int) -> Plan:
    """The plan of a study of so many trials, so many at a time."""
    shown = tuple(f"{name}: {_shown(domain)}" for name, domain in space)
    return _plan(settings, shown, trials=trials, workers=workers, amount=study_bytes(settings, trials, workers))


def _plan(settings: Settings, space: tuple[str, ...], *, trials: int, workers: int, amount: int) -> Plan:
    letters = layer_letters(settings.model.name, settings.cell.name, settings.layers)
    parts = read(settings.dataset, data_folder(settings))
    past = _past_epochs(settings, stores_of(settings))
    return Plan(
        what=" ".join(filter(None, (settings.dataset.name, settings.embedding.name, settings.model.name, letters))),
        pairs={name: len(part.pairs) for name, part in parts.items()},
        trials=trials,
        epochs=settings.training.epochs,
        workers=workers,
        space=space,
        bytes=amount,
        epoch_seconds=statistics.median(past) if past else None,
        past_runs=len(past),
    )


def _past_epochs(settings: Settings, stores: Stores) -> list[float]:
    """Seconds per epoch of runs of the same data set, embedding and model, if there is a store to ask."""
    path = stores.files().get("tracking")
    if path is not None and not path.exists():
        return []
    wanted = {
        tag.DATASET: settings.dataset.name,
        tag.EMBEDDING: settings.embedding.name,
        tag.MODEL: settings.model.name,
    }
    try:
        runs = list(open_tracker(stores).runs(tags=wanted))
    except NasctlError:
        return []  # an estimate is no reason to fail
    return [
        run.metrics["seconds"] / run.metrics["epochs"]
        for run in runs
        if run.kind in {"trial", "run"} and run.metrics.get("seconds") and run.metrics.get("epochs")
    ]


def run_bytes(settings: Settings) -> int:
    """An upper estimate of the disk that one run needs, prepared data and its checkpoint included."""
    return study_bytes(settings, trials=1, workers=1)


def study_bytes(settings: Settings, trials: int, workers: int) -> int:
    """An upper estimate of the disk that a study needs: databases, and a checkpoint per worker and one more."""
    databases = DATABASE_BYTES + trials * (TRIAL_BYTES + EPOCH_BYTES * settings.training.epochs)
    return databases + (workers + 1) * _checkpoint_bytes(settings)


def _checkpoint_bytes(settings: Settings) -> int:
    """Two directions of four gates per recurrent layer, as wide as anything that the space allows."""
    domain = settings.study.space.get("hidden")
    widths = [int(each) for each in domain.choices] if isinstance(domain, Choice) else list(settings.training.hidden)
    width = max(widths)
    layers = max(MODELS[settings.model.name].layers, 1)
    return FLOAT_BYTES * layers * 2 * 4 * width * (width + min(8 * width, WIDEST_INPUT))


def _shown(domain: Domain) -> str:
    if isinstance(domain, Choice):
        return " | ".join(map(str, domain.choices))
    scale = ", log" if domain.log else ""
    return f"{domain.low:g} .. {domain.high:g}{scale}" + ("" if isinstance(domain, FloatRange) else ", whole")


def show(plan: Plan, *, as_json: bool) -> None:
    """Print a plan."""
    if as_json:
        click.echo(json.dumps(asdict(plan) | {"seconds": plan.seconds}))
        return
    click.echo(f"{plan.what}: {counted(plan.trials, 'trial')} of at most {counted(plan.epochs, 'epoch')}")
    click.echo("pairs    " + ", ".join(f"{name} {count}" for name, count in plan.pairs.items()))
    for place, line in enumerate(plan.space):
        click.echo(("space    " if place == 0 else "         ") + line)
    pairs = plan.trials * plan.epochs * plan.pairs["train"]
    at_a_time = f", {plan.workers} trials at a time" if plan.trials > 1 else ""
    click.echo(f"cost     at most {pairs:,} pairs to train on{at_a_time}")
    if plan.seconds is None or plan.epoch_seconds is None:
        click.echo("time     unknown: nothing like it is in the store yet")
    else:
        per_epoch = (
            f"{duration(plan.epoch_seconds)} per epoch, the median of {counted(plan.past_runs, 'run')} in the store"
        )
        click.echo(f"time     at most about {duration(plan.seconds)} ({per_epoch})")
    click.echo(f"disk     at most {size(plan.bytes)}")
    click.echo("nothing was started", err=True)
