"""`nasctl search`: a pool of cells is found, by weights that a whole space shares or by training cells alone."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasctl.cli.driving import IN_FLIGHT, check_common, drive, slots
from nasctl.cli.examples import ExampleCommand
from nasctl.cli.names import search_name
from nasctl.cli.options import check_names, check_read, composed, compositions, settings_flags, show_configurations
from nasctl.cli.stores import Stores, stores_of, typed_in
from nasctl.cli.text import columns, duration
from nasctl.errors import StateMismatchError, UsageError

if TYPE_CHECKING:
    from nasctl.cli.starting import Start
    from nasctl.config.composition import Composition
    from nasctl.config.settings import Settings
    from nasctl.specs import RunSpec, SearchSpec
    from nasctl.tracking.records import RunRecord
    from nasctl.tuning.driven_proposals import ProposalsOrder
    from nasctl.tuning.driven_search import SearchOrder
    from nasctl.tuning.folders import Command

__all__ = ["run_again", "search"]

EXAMPLES = """
nasctl search dataset=sick embedding=glove model=blm
nasctl search dataset=sick embedding=glove search.start=paper
nasctl search search.start=training 'training.hidden=[64]' training.epochs=8
nasctl search -m dataset=sick,mrpc embedding=glove model=blm,esim
nasctl search search=random_ws           without a controller
nasctl search search=random search.strategy.trials=50 workers=8
"""

UNREAD = {
    "trials": "search=random trains search.strategy.trials= cells",
    "study": "search.name= names a search",
    "sampler": "search= says how cells are drawn",
    "pruner": "search.training.patience= ends a training early",
}


@dataclass(frozen=True)
class Asked:
    """One search as it was asked for, with the hyperparameters of `start`; `changed` was typed of its method."""

    settings: Settings
    start: Start
    changed: tuple[str, ...]
    stores: Stores
    command: Command


@click.command(cls=ExampleCommand, examples=EXAMPLES)
@composed
@settings_flags
def search(
    overrides: tuple[str, ...],
    conf_dirs: tuple[str, ...],
    *,
    multirun: bool,
    cfg: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Find a pool of cells, with shared weights or each alone.

    The hyperparameters are those of the best LSTM in the store, but for what search.training and the command line say.
    Afterwards `nasctl tune cell=searched` chooses from the pool. Ctrl-C stops cleanly, and the same command goes on.
    """
    check_read(overrides, "search", UNREAD)
    every = compositions(overrides, conf_dirs, multirun=multirun)
    try:
        asked = [_asked(each, conf_dirs) for each in every]
    except UsageError as error:
        if not cfg:
            raise
        show_configurations(every, as_json=as_json)
        click.echo(f"nasctl: no search can begin so: {error}; {error.hint}", err=True)
        return
    if cfg:
        show_configurations([composed for _, composed in asked], as_json=as_json)
        return
    searches = _together([one for one, _ in asked])
    if dry_run:
        _show_plans(searches, as_json=as_json)
        return
    flags = [*(part for folder in conf_dirs for part in ("--conf", folder)), *(["-m"] if multirun else [])]
    _run(searches, shlex.join(["nasctl", "search", *flags, *overrides]), as_json=as_json)


def run_again(names: Sequence[str], commands: Sequence[Command], resume: str, *, retry: bool, as_json: bool) -> None:  # noqa: ARG001 - a search has no trials to retry
    """Drive the named searches as these commands ask for them, typed here.

    `resume` is the command that goes on with them. Raises StateMismatchError if they ask for others.
    """
    from nasctl.config.composition import composition  # noqa: PLC0415 - --help need not pay for it

    every = [(composition(each.overrides, tuple(map(Path, each.conf_dirs))), each.conf_dirs) for each in commands]
    asked = _together([_asked(*each)[0] for each in every])
    _run(asked, resume, names=names, as_json=as_json)


def _asked(composition_: Composition, conf_dirs: tuple[str, ...]) -> tuple[Asked, Composition]:
    """The search with the hyperparameters that it starts from; and its whole composition.

    Raises UsageError for a model without recurrent layers, where there are no hyperparameters to take, and for what
    the strategy cannot do.
    """
    from nasctl.cli.starting import start_of  # noqa: PLC0415 - --help need not pay for it
    from nasctl.config.composition import composition  # noqa: PLC0415 - as above
    from nasctl.models import MODELS  # noqa: PLC0415 - as above
    from nasctl.tuning.folders import Command  # noqa: PLC0415 - as above

    settings, typed = composition_.settings, composition_.overrides
    _check_alone(settings)
    if not MODELS[settings.model.name].layers:
        raise UsageError(f"model={settings.model.name} has no recurrent layer to search a cell for", "model=blm")
    if settings.cell.name != "lstm" or settings.layers is not None:
        raise UsageError(
            "a search has the cells of search.space in every recurrent layer: cell= and layers= are for nasctl tune",
            "leave them away",
        )
    stores = stores_of(settings)
    start = start_of(settings, stores, typed)
    whole = composition((*start.overrides, *typed), tuple(map(Path, conf_dirs)))
    command = Command("search", typed, conf_dirs, str(Path.cwd()))
    nothing_tuned = replace(whole.settings.study, space={})  # or the sweep's widest layers would be counted as needed
    asked = replace(whole.settings, study=nothing_tuned)
    return Asked(asked, start, composition_.changed, stores, command), whole


def _together(asked: Sequence[Asked]) -> Sequence[Asked]:
    """The searches of one command. Raises UsageError if they cannot share the stores and workers, or have one name."""
    check_common([each.settings for each in asked])
    check_names([search_name(each.settings) for each in asked], "search", "searches")
    return asked


def _show_plans(asked: Sequence[Asked], *, as_json: bool) -> None:
    """Print the plan of each search, once all of them are known to fit their data."""
    from nasctl.cli.plan import outlined, search_plan, show  # noqa: PLC0415 - --help need not pay for it

    plans = []
    for one in asked:
        known = outlined(one.settings)
        _check_reward(one.settings, known.pairs["dev"])
        plans.append(search_plan(one.settings, known, slots(one.settings, len(asked))))
    for plan in plans:
        show(plan, as_json=as_json)


def _run(asked: Sequence[Asked], resume: str, *, as_json: bool, names: Sequence[str] = ()) -> None:
    """Drive all searches to their ends over one pool of workers, and tell what they found."""
    from nasctl.cli.estimates import check_memory, search_bytes  # noqa: PLC0415 - --help need not pay for it
    from nasctl.cli.resolution import cells_asked  # noqa: PLC0415 - as above
    from nasctl.tuning.events import SearchEnded  # noqa: PLC0415 - as above
    from nasctl.tuning.folders import check_room  # noqa: PLC0415 - as above

    first = asked[0]
    count = slots(first.settings, len(asked))
    check_room(first.stores.root, sum(search_bytes(each.settings, count) for each in asked))
    check_memory([(each.settings, cells_asked(each.settings)) for each in asked], count)
    orders = [_order(each, count) for each in asked]
    for name, order in zip(names, orders, strict=False):
        if order.name != name:
            raise StateMismatchError(
                f"these settings are those of a search {order.name}, not of {name}", "its own command"
            )
    metrics = {order.name: order.spec.metric for order in orders}
    prepared = [(order.spec.data, order.spec.embedding.digest) for order in orders]
    events = drive(orders, first.settings, first.stores, resume, prepared=prepared, metrics=metrics)
    asked_by_name = {order.name: each for order, each in zip(orders, asked, strict=True)}
    for event in events:
        if isinstance(event, SearchEnded):
            _show(event.search, event.record, asked_by_name[event.search], as_json=as_json)


def _order(asked: Asked, count: int) -> SearchOrder | ProposalsOrder:
    """The search with its data prepared, over so many workers.

    Raises UsageError for a dev set that is too small to reward on.
    """
    from nasctl.cli.resolution import cells_asked, resolved, told  # noqa: PLC0415 - --help need not pay for it
    from nasctl.config.composition import as_yaml  # noqa: PLC0415 - as above
    from nasctl.strategies import ProposerSpec  # noqa: PLC0415 - as above
    from nasctl.tracking.tags import changed_label  # noqa: PLC0415 - as above
    from nasctl.tuning.driven_proposals import ProposalsOrder  # noqa: PLC0415 - as above
    from nasctl.tuning.driven_search import LSTM_TRIAL, START, SearchOrder  # noqa: PLC0415 - as above

    settings = asked.settings
    found = resolved(settings, cells_asked(settings), asked.stores)
    _check_reward(settings, len(found.corpus.splits["dev"]))
    click.echo(f"{told(found)}; hyperparameters: {asked.start.origin}", err=True)
    kept = ("dataset", "embedding", "vectors", "oov", "encoder", "model", "basis")
    labels = {name: found.labels[name] for name in kept if name in found.labels} | {
        "search": settings.search.method,
        "space": settings.search.space.name,
        "nodes": str(settings.search.space.nodes),
        START: asked.start.origin,
        "data": found.run.data,
        **changed_label(asked.changed),
    }
    if asked.start.lstm:
        labels[LSTM_TRIAL] = asked.start.lstm
    if (memory := getattr(settings.search.strategy, "memory", None)) is not None:
        labels["memory"] = str(memory.capacity)
    common = (_spec(settings, found.run), search_name(settings), as_yaml(settings), labels, asked.command)
    if not isinstance(settings.search.strategy, ProposerSpec):
        return SearchOrder(*common, settings.retries)
    generation = IN_FLIGHT if settings.deterministic else None
    return ProposalsOrder(*common, settings.retries, min(IN_FLIGHT, count), generation)


def _spec(settings: Settings, run: RunSpec) -> SearchSpec:
    from nasctl.specs import SearchSpec  # noqa: PLC0415 - --help need not pay for it

    return SearchSpec(
        kind="search",
        data=run.data,
        metric=run.metric,
        embedding=run.embedding,
        model=run.model,
        hidden=tuple(layer.hidden for layer in run.layers),
        training=run.training,
        space=settings.search.space,
        strategy=settings.search.strategy,
        child_steps=settings.search.child_steps,
        judged=settings.search.judged,
        found=settings.search.found,
        precision=run.precision,
        result_version=run.result_version,
    )


def _check_alone(settings: Settings) -> None:
    """Raises UsageError where each cell is trained alone and what is asked for is not about that."""
    from nasctl.spaces import space_named  # noqa: PLC0415 - --help need not pay for it
    from nasctl.strategies import ProposerSpec  # noqa: PLC0415 - as above

    asked, space = settings.search, settings.search.space
    if not isinstance(asked.strategy, ProposerSpec):
        return
    trials = asked.strategy.trials
    fixed = {
        "child_steps": (asked.child_steps, None),
        "judged": (asked.judged, 1),
        "found.max_draws": (asked.found.max_draws, trials),
        "found.examined": (asked.found.examined, 0),
    }
    for key, (value, only) in fixed.items():
        if value != only:
            raise UsageError(
                f"search.{key}={value}: search={asked.method} trains each cell alone, nothing is shared or drawn",
                f"leave search.{key}= away",
            )
    if asked.found.count > trials:
        raise UsageError(
            f"search.found.count={asked.found.count} cells of search.strategy.trials={trials}",
            f"search.found.count={trials}",
        )
    size = space_named(space.name, nodes=space.nodes).size()
    if size is not None and trials > size:
        raise UsageError(
            f"search.strategy.trials={trials}, and the space {space.name} with {space.nodes} nodes has {size} cells",
            f"search.strategy.trials={size}",
        )


def _check_reward(settings: Settings, dev: int) -> None:
    """Raises UsageError for a reward on more pairs than the `dev` there are."""
    strategy = settings.search.strategy
    if strategy.name == "enas" and strategy.reward.pairs > dev:
        raise UsageError(
            f"search.strategy.reward.pairs={strategy.reward.pairs}, and {settings.dataset.name} has {dev} dev pairs",
            f"search.strategy.reward.pairs={dev}",
        )


# --- what is told -----------------------------------------------------------------------------------------------------


def _show(name: str, record: RunRecord, asked: Asked, *, as_json: bool) -> None:
    """A search's cells: a JSON object, or a table, and what to do with them."""
    from nasctl.cli.progress import shown_score  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tracking.records import trained_alone  # noqa: PLC0415 - as above

    if as_json:
        cells = [{"code": cell.code, "cell": cell.cell, "score": cell.score} for cell in record.found]
        facts = {"name": name, "state": record.state, "digest": record.digest, "cells": cells}
        click.echo(json.dumps(facts | {"seconds": sum(record.seconds.values()), "epochs": record.epochs}))
        return
    took, alone = duration(sum(record.seconds.values())), trained_alone(record)
    trained = f"the best of {record.epochs} cells is number {record.best_epoch}, {record.parameters:,} parameters"
    best = f"best epoch {record.best_epoch} of {record.epochs}, " if record.best_epoch else ""
    shared = f"{best}{record.parameters:,} shared parameters"
    click.echo(f"\n{name}: {record.state}, {trained if alone else shared}, {took}")
    if record.reason:
        click.echo(record.reason)
    if not record.found:
        return
    rows = [(cell.code, shown_score(record.metric, cell.score)) for cell in record.found]
    click.echo(columns(("CELL", f"DEV {record.metric}"), rows, right=(f"DEV {record.metric}",)))
    whose = "each cell, trained alone" if alone else "the shared weights"
    click.echo(f"\nThese scores are those of {whose}. To tune with these cells:", err=True)
    click.echo(_tune(asked), err=True)


def _tune(asked: Asked) -> str:
    """The command that chooses from the pool of this search."""
    from nasctl.config.composition import composition  # noqa: PLC0415 - --help need not pay for it

    command, search_ = asked.command, asked.settings.search
    parts = [text for text in command.overrides if re.split(r"[.=]", text)[0] in _WHAT]
    known = composition(("cell=searched",)).settings.cell
    wanted = {"space": search_.space.name, "nodes": search_.space.nodes, "search": search_.method, "pool": search_.name}
    parts += [
        "cell=searched",
        *(f"cell.{key}={value}" for key, value in wanted.items() if value != getattr(known, key)),
    ]
    if not composition(parts, tuple(map(Path, command.conf_dirs))).sweep:
        parts.insert(0, "sweep=small")
    typed = replace(command, name="tune", overrides=tuple(parts)).typed()
    return typed if typed_in() == Path.cwd() else f"cd {shlex.quote(str(Path.cwd()))} && {typed}"


_WHAT = {"data", "dataset", "embedding", "limits", "model", "store"}
"""The settings that a study of the cells found has in common with the search."""
