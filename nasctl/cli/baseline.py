"""`nasctl baseline`: studies of LSTMs, driven from here over workers on this machine."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.options import composed, compositions, settings_flags, show_configurations
from nasctl.cli.stores import Stores, open_tracker, stores_of
from nasctl.cli.text import columns
from nasctl.errors import UsageError

if TYPE_CHECKING:
    from nasctl.config.composition import Composition
    from nasctl.config.settings import Settings
    from nasctl.specs import Domain, StudySpec, Task
    from nasctl.tuning.driven import StudyOrder
    from nasctl.tuning.events import StudyEnded
    from nasctl.workers.supervision import ProcessPool

__all__ = ["baseline"]

IN_FLIGHT = 8
"""Trials of one study at a time, at most, whatever the number of workers: it is a part of the method."""

EXAMPLES = """
nasctl baseline sweep=demo               minutes, nothing to download
nasctl baseline dataset=sick embedding=glove model=blm sweep=small
nasctl baseline dataset=sick embedding=glove model=esim workers=8
nasctl baseline -m dataset=sick,stsb embedding=glove model=blm,esim --dry-run
"""


@dataclass(frozen=True)
class Asked:
    """One study as it was asked for; `sweep` is the option of its group."""

    settings: Settings
    sweep: str
    stores: Stores
    trials: int


@click.command(cls=ExampleCommand, examples=EXAMPLES)
@composed
@settings_flags
def baseline(
    overrides: tuple[str, ...],
    conf_dirs: tuple[str, ...],
    *,
    multirun: bool,
    cfg: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Tune LSTMs in a study, and test its best trial once.

    The sweep says what is searched; the paper's, of 500 trials, unless sweep=NAME says another. Ctrl-C stops cleanly,
    and the same command goes on. With -m several studies share the workers.
    """
    every = compositions(overrides, conf_dirs, multirun=multirun)
    if cfg:
        show_configurations(every, as_json=as_json)
        return
    asked = [_asked(each, conf_dirs) for each in every]
    if dry_run:
        from nasctl.cli.plan import show, study_plan  # noqa: PLC0415 - --help need not pay for it

        for one in asked:
            plan = study_plan(one.settings, _space(one.settings, None), one.trials, _slots(one.settings))
            show(plan, as_json=as_json)
        return
    flags = [*(part for folder in conf_dirs for part in ("--conf", folder)), *(["-m"] if multirun else [])]
    _run(asked, shlex.join(["nasctl", "baseline", *flags, *overrides]), as_json=as_json)


def _asked(composition: Composition, conf_dirs: tuple[str, ...]) -> Asked:
    """Check what needs no data. Raises UsageError where no sweep applies, and for a value that the sweep decides."""
    from nasctl.config.groups import options  # noqa: PLC0415 - --help need not pay for it

    settings, sweep = composition.settings, composition.sweep
    if not sweep or settings.trials is None:
        names = f"model={settings.model.name} embedding={settings.embedding.name}"
        known = options(tuple(map(Path, conf_dirs)))["sweep"]
        raise UsageError(f"no sweep applies to {names}", f"sweep=NAME, one of {', '.join(known)}")
    searched = {name for name, _ in _space(settings, None)}
    for text in composition.overrides:
        group, _, stem = text.partition("=")[0].partition(".")
        if group == "training" and (stem in searched or f"{stem}_1" in searched):
            raise UsageError(
                f"{text}: the sweep {sweep} searches {stem}, so its value under training is never used",
                f"study.space.{stem}=null keeps it fixed",
            )
    return Asked(settings, sweep, stores_of(settings), settings.trials)


def _space(settings: Settings, task: Task | None) -> tuple[tuple[str, Domain], ...]:
    from nasctl.config.space import expand_space  # noqa: PLC0415 - --help need not pay for it
    from nasctl.models import MODELS  # noqa: PLC0415 - as above

    row = MODELS[settings.model.name]
    return expand_space(settings, row.layers, row.places, task)


def _slots(settings: Settings) -> int:
    import os  # noqa: PLC0415 - --help need not pay for it

    from nasctl.workers.local import local_slots  # noqa: PLC0415 - as above

    return len(local_slots(settings.workers, settings.device, os.environ))


# --- running ----------------------------------------------------------------------------------------------------------


def _run(asked: Sequence[Asked], resume: str, *, as_json: bool) -> None:
    """Drive all studies to their ends over one pool of workers, and tell what came of them."""
    from nasctl.cli.progress import follow  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tuning.events import StudyEnded  # noqa: PLC0415 - as above
    from nasctl.tuning.scheduler import Scheduler  # noqa: PLC0415 - as above
    from nasctl.tuning.study import StudyStore  # noqa: PLC0415 - optuna, as above

    first = asked[0]
    _check_common(asked)
    orders = _orders(asked)
    tracker = open_tracker(first.stores)
    store = StudyStore(first.stores.studies, first.stores.durability)
    try:
        scheduler = Scheduler(
            orders,
            _pool(first, orders),
            store,
            first.stores.root,
            tracker=tracker,
            max_failed=first.settings.max_failed,
            grace=first.settings.timeouts.grace,
            resume=f"to go on: {resume}",
            databases=tuple(path for name, path in first.stores.files().items() if name == "tracking"),
        )
        metrics = {order.spec.name: order.spec.run.metric for order in orders}
        ended = [event for event in follow(scheduler.run(), metrics) if isinstance(event, StudyEnded)]
    finally:
        store.close()
    _show(ended, first.stores, as_json=as_json)


def _check_common(asked: Sequence[Asked]) -> None:
    """Studies of one command share the stores and the workers. Raises UsageError if they were asked not to."""
    first = asked[0].settings
    for each in asked[1:]:
        for key in ("store", "workers", "device", "timeouts", "max_failed"):
            if getattr(each.settings, key) != getattr(first, key):
                raise UsageError(f"{key} must be the same in all studies of one command", "one command for each")


def _orders(asked: Sequence[Asked]) -> list[StudyOrder]:
    """The studies, with their data prepared. Raises UsageError if two of them have one name."""
    from nasctl.cli.plan import study_bytes  # noqa: PLC0415 - --help need not pay for it
    from nasctl.config.composition import as_yaml  # noqa: PLC0415 - as above
    from nasctl.tuning.driven import StudyOrder  # noqa: PLC0415 - as above
    from nasctl.tuning.folders import check_room  # noqa: PLC0415 - as above

    slots = _slots(asked[0].settings)
    amount = sum(study_bytes(each.settings, each.trials, min(IN_FLIGHT, slots)) for each in asked)
    check_room(asked[0].stores.root, amount)
    orders = [StudyOrder(_spec(each, min(IN_FLIGHT, slots)), as_yaml(each.settings)) for each in asked]
    names = [order.spec.name for order in orders]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"{names.count(name)} of these studies are called {name}", "one command for each, study.name="
            )
    return orders


def _spec(asked: Asked, in_flight: int) -> StudySpec:
    from nasctl.cli.resolution import resolved, told  # noqa: PLC0415 - --help need not pay for it
    from nasctl.cli.train import study_name  # noqa: PLC0415 - as above
    from nasctl.specs import StudySpec  # noqa: PLC0415 - as above

    settings = asked.settings
    found = resolved(settings, asked.stores)
    click.echo(told(found), err=True)
    return StudySpec(
        name=settings.study.name or study_name(found.labels),
        run=found.run,
        space=_space(settings, found.corpus.task),
        sampler=settings.sampler,
        trials=asked.trials,
        in_flight=in_flight,
        retries=settings.retries,
        labels={**found.labels, "sweep": asked.sweep},
    )


def _pool(asked: Asked, orders: Iterable[StudyOrder]) -> ProcessPool:
    from nasctl.workers.local import local_pool  # noqa: PLC0415 - --help need not pay for it
    from nasctl.workers.pool import Limits  # noqa: PLC0415 - as above

    settings, stores = asked.settings, asked.stores
    times = settings.timeouts
    warm = tuple(dict.fromkeys((order.spec.run.data, order.spec.run.embedding.digest) for order in orders))
    limits = Limits(times.beat, times.silence, times.epoch, times.grace)
    return local_pool(settings.workers, settings.device, limits, cache=stores.cache, logs=stores.logs, warm=warm)


# --- what is told -----------------------------------------------------------------------------------------------------


def _show(ended: Sequence[StudyEnded], stores: Stores, *, as_json: bool) -> None:
    """The result of each study: one JSON object, or lines of a table and where to read on."""
    if as_json:
        for study in ended:
            scores = {}
            if study.final is not None:
                scores = {f"dev/{name}": value for name, value in study.final.dev.items()}
                scores |= {f"test/{name}": value for name, value in study.final.test.items()}
            facts = {"name": study.study, "trials": study.finished, "failed": study.failed, "best": study.best}
            click.echo(json.dumps(facts | scores))
        return
    rows: list[tuple[object, ...]] = []
    for study in ended:
        if study.final is None:
            rows.append((study.study, study.finished, study.failed, "-", "every trial diverged", "-", "-"))
            continue
        for place, (metric, dev) in enumerate(study.final.dev.items()):
            head = (study.study, study.finished, study.failed, study.best) if place == 0 else ("", "", "", "")
            test = study.final.test.get(metric)
            rows.append((*head, metric, f"{100 * dev:.2f}", "-" if test is None else f"{100 * test:.2f}"))
    header = ("STUDY", "TRIALS", "FAILED", "BEST", "METRIC", "DEV", "TEST")
    click.echo("\n" + columns(header, rows, right=("TRIALS", "FAILED", "BEST", "DEV", "TEST")))
    where = "" if stores.root == Path("runs").absolute() else " " + shlex.quote(f"store.root={stores.root}")
    click.echo(f"\nEverything is in {stores.root}: the trials, MLflow's store, the best weights.", err=True)
    click.echo(f"nasctl ui{where}: every trial in the browser", err=True)
    click.echo(f"nasctl report{where}: tables, beside the paper's numbers", err=True)
