"""What a command would run and what it would cost, without touching anything."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import click

from nasctl.cells.costs import lstm_ratio
from nasctl.cells.spelling import LSTM, cell_of
from nasctl.cli.driving import IN_FLIGHT
from nasctl.cli.estimates import run_bytes, sampled_cells, search_bytes, study_bytes, widest, worker_memory
from nasctl.cli.resolution import data_folder
from nasctl.cli.stores import Stores, open_tracker, stores_of
from nasctl.cli.text import counted, duration, size
from nasctl.config.settings import Settings
from nasctl.data.datasets import read
from nasctl.errors import NasctlError
from nasctl.sources import ContextualSpec
from nasctl.spaces import space_named
from nasctl.specs import ARCHITECTURE, Choice, Domain, FloatRange
from nasctl.strategies import EnasStrategy, ProposerSpec
from nasctl.tracking import tags as tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nasctl.experiments.pools import Cells
    from nasctl.tracking.records import StoredRun

__all__ = ["Plan", "run_plan", "search_plan", "show", "study_plan"]

ANSWERED = 1 / 3
"""What answering a pair costs of what training on it does: the backward pass has twice the products of the forward."""


@dataclass(frozen=True)
class Plan:
    """What would run.

    `bytes` are of the disk, `worker_memory` those of each worker's memory. `epoch_seconds` is what an epoch took in the
    past, by median (None: there is no past). Where only LSTMs have run, it is theirs times `dearer`: how many
    times the products of an LSTM's training step these cells compute. `judged` pairs in all are answered by cells
    that are only judged. At most `pieces` word pieces are encoded, where an encoder reads the pairs.
    """

    what: str
    pairs: dict[str, int]
    trials: int
    epochs: int
    workers: int
    space: tuple[str, ...]
    cells: tuple[str, ...]
    bytes: int
    worker_memory: int
    epoch_seconds: float | None
    past_runs: int
    dearer: float
    judged: int = 0
    pieces: int = 0

    @property
    def seconds(self) -> float | None:
        """Wall time of all trials if none of them stops early and nothing else runs on the machine."""
        if self.epoch_seconds is None:
            return None
        epochs = self.epochs * self.trials / min(self.workers, self.trials)
        return self.epoch_seconds * (epochs + ANSWERED * self.judged / self.pairs["train"])


def run_plan(settings: Settings, cells: Cells) -> Plan:
    """The plan of a single run."""
    return _plan(settings, cells, (), trials=1, workers=1, amount=run_bytes(settings, cells))


def study_plan(
    settings: Settings, cells: Cells, space: Sequence[tuple[str, Domain]], trials: int, workers: int
) -> Plan:
    """The plan of a study of so many trials, so many at a time."""
    shown = tuple(f"{name}: {_shown(domain)}" for name, domain in space if name != ARCHITECTURE)
    shown += (f"{ARCHITECTURE}: one of {len(cells.names)} cells",) if len(shown) < len(space) else ()
    amount = study_bytes(settings, cells, trials, workers)
    return _plan(settings, cells, shown, trials=trials, workers=workers, amount=amount)


def search_plan(settings: Settings, workers: int) -> Plan:
    """The plan of a search. An epoch of the shared weights is taken to cost as much as one of cells drawn at random.

    What the controller itself takes is not estimated. Where cells are trained alone, so many are at a time.
    """
    asked, strategy, alike = settings.search.space, settings.search.strategy, sampled_cells(settings)
    trials = strategy.trials if isinstance(strategy, ProposerSpec) else 1
    amount = search_bytes(settings, workers)
    plan = _plan(settings, alike, (), trials=trials, workers=min(IN_FLIGHT, workers, trials), amount=amount)
    size_ = space_named(asked.name, nodes=asked.nodes).size()
    codes = f"{size_:,} codes" if size_ is not None else "nobody knows how many codes"
    return replace(
        plan,
        what=f"{settings.dataset.name} {settings.embedding.name} {settings.model.name} search",
        cells=(f"the space {asked.name}, {asked.nodes} nodes: {codes}",),
        judged=_judged(settings, plan.pairs["dev"]),
    )


def _judged(settings: Settings, dev: int) -> int:
    """How many pairs a search's cells answer, at most, by which they are rewarded, judged, taken and examined.

    `dev` has so many. Examined are the untrained controller, uniform draws and the trained controller, if there is one.
    """
    strategy, found = settings.search.strategy, settings.search.found
    if isinstance(strategy, ProposerSpec):
        return 0
    if isinstance(strategy, EnasStrategy):
        rewarded, taken, policies = strategy.steps * strategy.samples * strategy.reward.pairs, found.count, 3
    else:
        rewarded, taken, policies = 0, min(strategy.candidates, found.max_draws), 2
    in_epochs = settings.training.epochs * (rewarded + settings.search.judged * dev)
    return in_epochs + (taken + policies * found.examined) * dev


def _plan(settings: Settings, cells: Cells, space: tuple[str, ...], *, trials: int, workers: int, amount: int) -> Plan:
    parts = read(settings.dataset, data_folder(settings))
    pairs = {name: len(part.pairs) for name, part in parts.items()}
    capped = settings.dataset.max_pieces if isinstance(settings.embedding, ContextualSpec) else 0
    dearer = _dearer(settings, cells)
    runs = _past_runs(settings, stores_of(settings))
    alike = [run for run in runs if _lstms_as_in(run, cells)]
    chosen = alike or [run for run in runs if run.tags.get(tag.CELL) == LSTM]
    past = [run.metrics["seconds"] / run.metrics["epochs"] for run in chosen]
    factor = 1.0 if alike else dearer
    names = (settings.dataset.name, settings.embedding.name, settings.model.name, cells.letters)
    return Plan(
        what=" ".join(filter(None, names)),
        pairs=pairs,
        trials=trials,
        epochs=settings.training.epochs,
        workers=workers,
        space=space,
        cells=cells.names,
        bytes=amount,
        worker_memory=worker_memory(settings, cells),
        epoch_seconds=factor * statistics.median(past) if past else None,
        past_runs=len(past),
        dearer=factor,
        pieces=capped * sum(pairs.values()),
    )


def _dearer(settings: Settings, cells: Cells) -> float:
    """The products of a training step over those with LSTMs in every layer, by the mean over the pool's cells."""
    if cells.pool is None:
        return 1.0
    width = widest(settings)
    ratios = [lstm_ratio(cell_of(each.cell), width, width) for each in cells.pool.cells]
    places = len(cells.pool.places)
    return (places * statistics.fmean(ratios) + len(cells.layers) - places) / len(cells.layers)


def _lstms_as_in(run: StoredRun, cells: Cells) -> bool:
    """Whether a run had LSTMs in the same layers, and other cells in the same."""
    return run.tags.get(tag.LAYERS) == cells.layers


def _past_runs(settings: Settings, stores: Stores) -> list[StoredRun]:
    """Runs of the same data set, embedding and model that tell how long an epoch took, if there is a store to ask."""
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
        run for run in runs if run.kind in {"trial", "run"} and run.metrics.get("seconds") and run.metrics.get("epochs")
    ]


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
    for head, lines in (("cells", plan.cells), ("space", plan.space)):
        for place, line in enumerate(lines):
            click.echo(f"{head if place == 0 else '':8} {line}")
    pairs = plan.trials * plan.epochs * plan.pairs["train"]
    at_a_time = f", {plan.workers} trials at a time" if plan.trials > 1 else ""
    judged = f", {plan.judged:,} to judge cells by" if plan.judged else ""
    click.echo(f"cost     at most {pairs:,} pairs to train on{judged}{at_a_time}")
    if plan.seconds is None or plan.epoch_seconds is None:
        click.echo("time     unknown: nothing like it is in the store yet")
    else:
        per_epoch = (
            f"{duration(plan.epoch_seconds)} per epoch, the median of {counted(plan.past_runs, 'run')} in the store"
        )
        if plan.dearer != 1.0:
            per_epoch += f" with LSTMs, times {plan.dearer:.1f}"
        click.echo(f"time     at most about {duration(plan.seconds)} ({per_epoch})")
    each = " for each worker" if plan.workers > 1 else ""
    click.echo(f"memory   about {size(plan.worker_memory)}{each}")
    click.echo(f"disk     at most {size(plan.bytes)}")
    if plan.pieces:
        click.echo(
            f"encoding at most {plan.pieces:,} word pieces, once; each takes 2 bytes x layers x width of the disk"
        )
    click.echo("nothing was started", err=True)
