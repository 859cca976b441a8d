"""Studies as commands, `baseline` and `tune`: what is asked for, driven from here over workers on this machine."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasctl.cli.driving import IN_FLIGHT, check_common, drive, slots
from nasctl.cli.names import study_name
from nasctl.cli.options import check_names, check_read, compositions, show_configurations
from nasctl.cli.stores import Stores, stores_of
from nasctl.cli.text import columns
from nasctl.errors import StateMismatchError, UsageError

if TYPE_CHECKING:
    from nasctl.config.composition import Composition
    from nasctl.config.settings import Settings
    from nasctl.experiments.pools import Cells
    from nasctl.specs import Domain, PoolCell, StudySpec, Task, Value
    from nasctl.tuning.driven import StudyOrder
    from nasctl.tuning.events import StudyEnded
    from nasctl.tuning.folders import Command

__all__ = ["run_again", "run_studies"]


UNREAD = {"search": "nasctl search does; cell=searched cell.search= says which search's cells are tuned"}


@dataclass(frozen=True)
class Asked:
    """One study as it was asked for by `command`; `changed` is what was typed over `sweep`, the option of its group."""

    settings: Settings
    cells: Cells
    sweep: str
    changed: tuple[str, ...]
    stores: Stores
    trials: int
    command: Command

    @property
    def name(self) -> str:
        """The study's name: the one that it was given, or of its parts."""
        settings = self.settings
        parts = {part: getattr(settings, part).name for part in ("dataset", "embedding", "model")}
        return settings.study.name or study_name({**parts, "letters": self.cells.letters})

    def searched(self, task: Task) -> tuple[tuple[tuple[str, Domain], ...], tuple[dict[str, Value], ...]]:
        """The space for labels of this task, and the first trials in it. Raises UsageError for what does not fit it."""
        from nasctl.config.space import expand_enqueued  # noqa: PLC0415 - --help need not pay for it

        space = _space(self.settings, self.cells, task)
        return space, expand_enqueued(self.settings.study.enqueue, space)


def run_studies(
    command: str,
    overrides: tuple[str, ...],
    conf_dirs: tuple[str, ...],
    *,
    multirun: bool,
    cfg: bool,
    dry_run: bool,
    as_json: bool,
    deterministic: bool,
) -> None:
    """What `nasctl COMMAND` does (baseline or tune): print its settings or its plan, or drive its studies."""
    check_read(overrides, command, UNREAD)
    overrides += ("deterministic=true",) if deterministic else ()
    every = compositions(overrides, conf_dirs, multirun=multirun)
    if cfg:
        show_configurations(every, as_json=as_json)
        return
    asked = _together([_asked(command, each, conf_dirs) for each in every])
    if dry_run:
        _show_plans(asked, as_json=as_json)
        return
    flags = [*(part for folder in conf_dirs for part in ("--conf", folder)), *(["-m"] if multirun else [])]
    _run(asked, shlex.join(["nasctl", command, *flags, *overrides]), as_json=as_json)


def run_again(names: Sequence[str], commands: Sequence[Command], resume: str, *, retry: bool, as_json: bool) -> None:
    """Drive the named studies as these commands ask for them, typed here; with `retry` failed trials are asked again.

    `resume` is the command that goes on with them. Raises StateMismatchError if they ask for others.
    """
    from nasctl.config.composition import composition  # noqa: PLC0415 - --help need not pay for it

    every = [(each, composition(each.overrides, tuple(map(Path, each.conf_dirs)))) for each in commands]
    asked = _together([_asked(each.name, composed, each.conf_dirs) for each, composed in every])
    _run(asked, resume, names=names, retry=retry, as_json=as_json)


def _asked(command: str, composition: Composition, conf_dirs: tuple[str, ...]) -> Asked:
    """Check what needs no data.

    Raises UsageError for cells of the other command, where no sweep applies, and for a value that the sweep decides.
    """
    from nasctl.cli.resolution import cells_asked  # noqa: PLC0415 - --help need not pay for it
    from nasctl.config.groups import options  # noqa: PLC0415 - as above
    from nasctl.tuning.folders import Command  # noqa: PLC0415 - as above

    settings, sweep = composition.settings, composition.sweep
    _check_command(command, settings.cell.name)
    cells = cells_asked(settings)
    if settings.deterministic and settings.pruner.name != "none":
        raise UsageError(
            f"pruner={settings.pruner.name}: what is pruned depends on which trials have come how far",
            "a deterministic study has pruner=none",
        )
    if not sweep or settings.trials is None:
        names = f"model={settings.model.name} embedding={settings.embedding.name}"
        known = options(tuple(map(Path, conf_dirs)))["sweep"]
        raise UsageError(f"no sweep applies to {names}", f"sweep=NAME, one of {', '.join(known)}")
    searched = {name for name, _ in _space(settings, cells, None)}
    for text in composition.overrides:
        group, _, stem = text.partition("=")[0].partition(".")
        if group == "training" and (stem in searched or f"{stem}_1" in searched):
            raise UsageError(
                f"{text}: the sweep {sweep} searches {stem}, so its value under training is never used",
                f"study.space.{stem}=null keeps it fixed",
            )
    typed = Command(command, composition.overrides, conf_dirs, str(Path.cwd()))
    return Asked(settings, cells, sweep, composition.changed, stores_of(settings), settings.trials, typed)


def _together(asked: Sequence[Asked]) -> Sequence[Asked]:
    """The studies of one command. Raises UsageError if they cannot share the stores and workers, or have one name."""
    check_common([each.settings for each in asked])
    check_names([each.name for each in asked], "study", "studies")
    return asked


def _check_command(command: str, cell: str) -> None:
    """LSTMs are tuned by `baseline`, other cells by `tune`. Raises UsageError that names the right one."""
    if command == "baseline" and cell != "lstm":
        raise UsageError(
            f"nasctl baseline tunes LSTMs, and cell={cell} has others", "nasctl tune, with the same settings"
        )
    if command == "tune" and cell == "lstm":
        raise UsageError(
            "nasctl tune chooses from a pool of cells, and cell=lstm has none",
            "cell=random, cell=named or cell=file; LSTMs: nasctl baseline, with the same settings",
        )


def _space(settings: Settings, cells: Cells, task: Task | None) -> tuple[tuple[str, Domain], ...]:
    """The space for these labels; without (None) for those that the settings say, if they do."""
    from nasctl.config.space import expand_space  # noqa: PLC0415 - --help need not pay for it
    from nasctl.models import MODELS  # noqa: PLC0415 - as above

    row = MODELS[settings.model.name]
    places = cells.pool.places if cells.pool is not None else ()
    said = None if settings.dataset.task == "auto" else settings.dataset.task
    return expand_space(settings, row.layers, row.places, task or said, cells.names, cells=len(places))


def _show_plans(asked: Sequence[Asked], *, as_json: bool) -> None:
    """Print the plan of each study, once all of them are known to fit their data."""
    from nasctl.cli.plan import outlined, show, study_plan  # noqa: PLC0415 - --help need not pay for it

    plans = []
    for one in asked:
        known = outlined(one.settings)
        space, _ = one.searched(known.task)
        at_a_time = min(IN_FLIGHT, slots(one.settings, len(asked)))
        plans.append(study_plan(one.settings, one.cells, known, space, trials=one.trials, workers=at_a_time))
    for plan in plans:
        show(plan, as_json=as_json)


# --- running ----------------------------------------------------------------------------------------------------------


def _run(asked: Sequence[Asked], resume: str, *, as_json: bool, names: Sequence[str] = (), retry: bool = False) -> None:
    """Drive all studies to their ends over one pool of workers, and tell what came of them."""
    from nasctl.tuning.events import StudyEnded  # noqa: PLC0415 - --help need not pay for it

    first = asked[0]
    orders = _orders(asked, retry=retry)
    for name, order in zip(names, orders, strict=False):
        if order.spec.name != name:
            raise StateMismatchError(
                f"these settings are those of a study {order.spec.name}, not of {name}",
                f"{order.command.typed() if order.command else 'its own command'} begins it",
            )
    metrics = {order.spec.name: order.spec.run.metric for order in orders}
    prepared = [(order.spec.run.data, order.spec.run.embedding.digest) for order in orders]
    events = drive(orders, first.settings, first.stores, resume, prepared=prepared, metrics=metrics)
    ended = [event for event in events if isinstance(event, StudyEnded)]
    _show(ended, {order.spec.name: order.spec for order in orders}, first.stores, as_json=as_json)


def _orders(asked: Sequence[Asked], *, retry: bool) -> list[StudyOrder]:
    """The studies, with their data prepared."""
    from nasctl.cli.estimates import check_memory, study_bytes  # noqa: PLC0415 - --help need not pay for it
    from nasctl.config.composition import as_yaml  # noqa: PLC0415 - as above
    from nasctl.tuning.driven import StudyOrder  # noqa: PLC0415 - as above
    from nasctl.tuning.folders import check_room  # noqa: PLC0415 - as above

    count = slots(asked[0].settings, len(asked))
    amount = sum(study_bytes(each.settings, each.cells, each.trials, min(IN_FLIGHT, count)) for each in asked)
    check_room(asked[0].stores.root, amount)
    check_memory([(each.settings, each.cells) for each in asked], count)
    return [
        StudyOrder(_spec(each, min(IN_FLIGHT, count)), as_yaml(each.settings), command=each.command, retry=retry)
        for each in asked
    ]


def _spec(asked: Asked, in_flight: int) -> StudySpec:
    from nasctl.cli.resolution import resolved, told  # noqa: PLC0415 - --help need not pay for it
    from nasctl.specs import StudySpec  # noqa: PLC0415 - as above
    from nasctl.tracking.tags import changed_label  # noqa: PLC0415 - as above

    settings = asked.settings
    found = resolved(settings, asked.cells, asked.stores)
    space, enqueued = asked.searched(found.corpus.task)
    limits = {"limits": settings.limits} if settings.study.limits else {}
    click.echo(told(found), err=True)
    return StudySpec(
        name=asked.name,
        run=found.run,
        pool=asked.cells.pool,
        space=space,
        sampler=settings.sampler,
        trials=asked.trials,
        in_flight=in_flight,
        retries=settings.retries,
        labels={**found.labels, "sweep": asked.sweep, **limits, **changed_label(asked.changed)},
        enqueued=enqueued,
        generation=IN_FLIGHT if settings.deterministic else None,
        pruner=settings.pruner,
    )


# --- what is told -----------------------------------------------------------------------------------------------------


def _show(ended: Sequence[StudyEnded], specs: Mapping[str, StudySpec], stores: Stores, *, as_json: bool) -> None:
    """The result of each study: one JSON object, or lines of a table, its cell, and where to read on."""
    chosen = {study.study: cell for study in ended if (cell := _chosen(study, specs[study.study])) is not None}
    if as_json:
        for study in ended:
            scores = {}
            if study.final is not None:
                scores = {f"dev/{name}": value for name, value in study.final.dev.items()}
                scores |= {f"test/{name}": value for name, value in study.final.test.items()}
            facts = {"name": study.study, "trials": study.finished, "failed": study.failed, "best": study.best}
            cell = chosen.get(study.study)
            architecture = {} if cell is None else {"architecture": cell.name, "cell": cell.cell}
            click.echo(json.dumps(facts | scores | architecture))
        return
    rows: list[tuple[object, ...]] = []
    for study in ended:
        if study.final is None:
            rows.append((study.study, study.finished, study.failed, "-", "nothing to test", "-", "-"))
            continue
        for place, (metric, dev) in enumerate(study.final.dev.items()):
            head = (study.study, study.finished, study.failed, study.best) if place == 0 else ("", "", "", "")
            test = study.final.test.get(metric)
            rows.append((*head, metric, f"{100 * dev:.2f}", "-" if test is None else f"{100 * test:.2f}"))
    header = ("STUDY", "TRIALS", "FAILED", "BEST", "METRIC", "DEV", "TEST")
    click.echo("\n" + columns(header, rows, right=("TRIALS", "FAILED", "BEST", "DEV", "TEST")))
    for name, cell in chosen.items():
        click.echo(f"\nThe cell of {name} is {cell.name}:\n{cell.cell}")
    click.echo(f"\nEverything is in {stores.root}: the trials, MLflow's store, the best weights.", err=True)
    click.echo(f"{stores.typed('nasctl', 'ui')}: every trial in the browser", err=True)
    click.echo(f"{stores.typed('nasctl', 'report')}: tables, beside the paper's numbers", err=True)


def _chosen(study: StudyEnded, spec: StudySpec) -> PoolCell | None:
    """The best trial's cell; None without a pool, or without a trial that could be evaluated."""
    if study.final is None or spec.pool is None:
        return None
    name = study.final.cells[spec.pool.places[0] - 1]["code"]
    return next(each for each in spec.pool.cells if each.name == name)
