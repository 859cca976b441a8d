"""What a command would run and what it would cost, without touching anything."""

from __future__ import annotations

import json
import operator
import statistics
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from nasctl.cells.costs import lstm_ratio
from nasctl.cells.spelling import LSTM, cell_of
from nasctl.cli.driving import IN_FLIGHT
from nasctl.cli.estimates import (
    batch_sizes,
    run_bytes,
    sampled_cells,
    search_bytes,
    study_bytes,
    untuned,
    widest,
    widths,
    worker_memory,
)
from nasctl.cli.resolution import data_folder
from nasctl.cli.stores import Stores, open_tracker, stores_of
from nasctl.cli.text import counted, duration, size
from nasctl.config.settings import Settings
from nasctl.errors import NasctlError
from nasctl.experiments.resolve import outline
from nasctl.sources import ContextualSpec
from nasctl.spaces import space_named
from nasctl.specs import ARCHITECTURE, Choice, Domain, FloatRange
from nasctl.strategies import EnasStrategy, ProposerSpec
from nasctl.tracking import tags as tag
from nasctl.tuning.folders import folder_named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nasctl.experiments.pools import Cells
    from nasctl.experiments.resolve import Outline
    from nasctl.tracking.records import StoredRun

__all__ = ["Plan", "outlined", "run_plan", "search_plan", "show", "study_plan"]

ANSWERED = 1 / 3
"""What answering a pair costs of what training on it does: the backward pass has twice the products of the forward."""


@dataclass(frozen=True)
class Plan:
    """What would run.

    `bytes` are of the disk, `worker_memory` those of each worker's memory. `epoch_seconds` is what an epoch took in the
    past, by median over `past_runs` that were no smaller (None: there are none); `smaller_seconds` what it took in the
    `smaller_runs`, which bound nothing. Where only LSTMs have run, it is theirs times `dearer`: how many times the
    products of an LSTM's training step these cells compute. `judged` pairs in all are answered by cells that are only
    judged. At most `pieces` word pieces are encoded, where an encoder reads the pairs.
    """

    what: str
    pairs: Mapping[str, int]
    trials: int
    epochs: int
    workers: int
    space: tuple[str, ...]
    cells: tuple[str, ...]
    bytes: int
    worker_memory: int
    epoch_seconds: float | None
    past_runs: int
    smaller_seconds: float | None
    smaller_runs: int
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


def outlined(settings: Settings) -> Outline:
    """What would be read. Raises what `experiments.resolve.outline` raises."""
    return outline(
        dataset=settings.dataset,
        embedding=settings.embedding,
        model=settings.model,
        asked=settings.training,
        seed=settings.seed,
        data_root=data_folder(settings),
    )


def run_plan(settings: Settings, cells: Cells) -> Plan:
    """The plan of a single run, whatever a sweep would search. Raises what `outlined` raises."""
    amount = run_bytes(settings, cells)
    return _plan(untuned(settings), cells, outlined(settings), (), trials=1, workers=1, amount=amount)


def study_plan(
    settings: Settings,
    cells: Cells,
    known: Outline,
    space: Sequence[tuple[str, Domain]],
    *,
    trials: int,
    workers: int,
) -> Plan:
    """The plan of a study of so many trials, so many at a time, on data of which so much is known."""
    shown = tuple(f"{name}: {_shown(domain)}" for name, domain in space if name != ARCHITECTURE)
    shown += (f"{ARCHITECTURE}: one of {len(cells.names)} cells",) if len(shown) < len(space) else ()
    amount = study_bytes(settings, cells, trials, workers)
    return _plan(settings, cells, known, shown, trials=trials, workers=workers, amount=amount)


def search_plan(settings: Settings, known: Outline, workers: int) -> Plan:
    """The plan of a search on data of which so much is known.

    An epoch of the shared weights is taken to cost as much as one of cells drawn at random. What the controller itself
    takes is not estimated. Where cells are trained alone, so many are at a time.
    """
    asked, strategy, alike = settings.search.space, settings.search.strategy, sampled_cells(settings)
    trials = strategy.trials if isinstance(strategy, ProposerSpec) else 1
    amount = search_bytes(settings, workers)
    at_a_time = min(IN_FLIGHT, workers, trials)
    plan = _plan(settings, alike, known, (), trials=trials, workers=at_a_time, amount=amount)
    size_ = space_named(asked.name, nodes=asked.nodes).size()
    codes = f"{size_:,} codes" if size_ is not None else "nobody knows how many codes"
    return replace(
        plan,
        what=f"{settings.dataset.name} {settings.embedding.name} {settings.model.name} search",
        cells=(f"the space {asked.name}, {asked.nodes} nodes: {codes}",),
        judged=_judged(settings, known.pairs["dev"]),
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


def _plan(
    settings: Settings,
    cells: Cells,
    known: Outline,
    space: tuple[str, ...],
    *,
    trials: int,
    workers: int,
    amount: int,
) -> Plan:
    capped = settings.dataset.max_pieces if isinstance(settings.embedding, ContextualSpec) else 0
    runs, smaller = _past_runs(settings, stores_of(settings))
    alike = [run for run in runs if run.tags.get(tag.LAYERS) == cells.layers]  # LSTMs, and other cells, where they are
    chosen = alike or [run for run in runs if run.tags.get(tag.CELL) == LSTM]
    factor = 1.0 if alike else _dearer(settings, cells)
    seconds = _epoch_seconds(chosen)
    names = (settings.dataset.name, settings.embedding.name, settings.model.name, cells.letters)
    return Plan(
        what=" ".join(filter(None, names)),
        pairs=known.pairs,
        trials=trials,
        epochs=settings.training.epochs,
        workers=workers,
        space=space,
        cells=cells.names,
        bytes=amount,
        worker_memory=worker_memory(settings, cells),
        epoch_seconds=None if seconds is None else factor * seconds,
        past_runs=len(chosen),
        smaller_seconds=_epoch_seconds(smaller),
        smaller_runs=len(smaller),
        dearer=factor,
        pieces=capped * sum(known.pairs.values()),
    )


def _dearer(settings: Settings, cells: Cells) -> float:
    """The products of a training step over those with LSTMs in every layer, by the mean over the pool's cells."""
    if cells.pool is None:
        return 1.0
    width = widest(settings)
    ratios = [lstm_ratio(cell_of(each.cell), width, width) for each in cells.pool.cells]
    places = len(cells.pool.places)
    return (places * statistics.fmean(ratios) + len(cells.layers) - places) / len(cells.layers)


def _epoch_seconds(runs: Sequence[StoredRun]) -> float | None:
    """How long an epoch took, by the median of the runs; None without any."""
    return statistics.median(run.metrics["seconds"] / run.metrics["epochs"] for run in runs) if runs else None


def _past_runs(settings: Settings, stores: Stores) -> tuple[list[StoredRun], list[StoredRun]]:
    """Runs of the same data set, embedding and model that tell how long an epoch took, if there is a store to ask.

    First those that bound it, each layer at least as wide and no batch larger than what is asked; then the others, and
    those of which that is not known.
    """
    path = stores.files().get("tracking")
    if path is not None and not path.exists():
        return [], []
    wanted = {
        tag.DATASET: settings.dataset.name,
        tag.EMBEDDING: settings.embedding.name,
        tag.MODEL: settings.model.name,
    }
    try:
        runs = list(open_tracker(stores).runs(tags=wanted))
    except NasctlError:
        return [], []  # an estimate is no reason to fail
    told = [
        run for run in runs if run.kind in {"trial", "run"} and run.metrics.get("seconds") and run.metrics.get("epochs")
    ]
    fixed = {study: _fixed(stores.root, study) for study in {run.study for run in told}}
    least, wanted_widths = batch_sizes(settings)[0], widths(settings)
    bounding: list[StoredRun] = []
    smaller: list[StoredRun] = []
    for run in told:
        values = fixed[run.study] | run.params
        had = [int(values.get(f"hidden_{layer}") or 0) for layer in range(1, len(wanted_widths) + 1)]
        batch = int(values.get("batch_size") or 0)
        bounds = 0 < batch <= least and all(map(operator.ge, had, wanted_widths))
        (bounding if bounds else smaller).append(run)
    return bounding, smaller


def _fixed(root: Path, study: str) -> dict[str, Any]:
    """Batch size and widths of a study's or search's runs, where its identity has them; None for what is searched."""
    try:
        identity = folder_named(root, study).identity() if study else None
    except NasctlError:
        return {}
    if identity is None:
        return {}
    run = identity.get("run", identity)
    hidden = run["hidden"] if "hidden" in run else [layer["hidden"] for layer in run["layers"]]
    named = {f"hidden_{layer}": width for layer, width in enumerate(hidden, 1)}
    return {"batch_size": run["training"]["batch_size"], **named}


def _shown(domain: Domain) -> str:
    if isinstance(domain, Choice):
        return " | ".join(map(str, domain.choices))
    scale = ", log" if domain.log else ""
    return f"{domain.low:g} .. {domain.high:g}{scale}" + ("" if isinstance(domain, FloatRange) else ", whole")


def _without_bound(plan: Plan) -> str:
    """Why nothing bounds the time."""
    if plan.smaller_seconds is None:
        return "nothing like it is in the store yet"
    have = "run so far has" if plan.smaller_runs == 1 else f"{plan.smaller_runs} runs so far have"
    return f"the {have} narrower layers or larger batches ({duration(plan.smaller_seconds)} per epoch)"


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
        click.echo(f"time     unknown: {_without_bound(plan)}")
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
