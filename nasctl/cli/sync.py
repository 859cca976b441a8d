"""`nasctl sync`: MLflow brought to what the store knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.named import check_known, opened_studies, searches_of, split, undriven
from nasctl.cli.options import OverrideType
from nasctl.cli.stores import Stores, open_tracker
from nasctl.cli.text import columns, counted
from nasctl.errors import NasctlError, StateMismatchError

if TYPE_CHECKING:
    from nasctl.tracking.kept import KeptRun
    from nasctl.tracking.records import Tracker
    from nasctl.tuning.study import StudyStore
    from nasctl.tuning.syncing import Synced

__all__ = ["sync"]

WORDS = {"searches": ("search", "searches"), "runs": ("single run",)}

EXAMPLES = """
nasctl sync                              what a server has missed
nasctl sync sick-glove-blm-L             one study
nasctl sync --rebuild                    all anew: mlflow.db is lost
"""


@click.command(cls=ExampleCommand, examples=EXAMPLES)
@click.argument("asked", nargs=-1, type=OverrideType(), metavar="[STUDY]... [KEY=VALUE]...")
@click.option("--conf", "conf_dirs", multiple=True, metavar="DIR", help="A folder of your own groups.")
@click.option("--rebuild", is_flag=True, help="Delete what MLflow has of them, and log everything anew.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object per study, then counts of searches and single runs."
)
def sync(asked: tuple[str, ...], conf_dirs: tuple[str, ...], *, rebuild: bool, as_json: bool) -> None:
    """Complete MLflow from what the store knows.

    Whatever a server that was away, or a kill, has left out is logged now: STUDY (a study or a search), or every study,
    search and single run. Nothing is trained. What MLflow deletes it keeps until `mlflow gc`.
    """
    names, stores = split(asked, conf_dirs)
    with opened_studies(stores) as (store, known):
        begun = searches_of(stores)
        check_known(names, [*(study.name for study in known), *begun], stores)
        for name in names:
            if name in begun and begun[name].found is None:
                raise StateMismatchError(
                    f"the search {name} is not over: nothing is logged of it yet", stores.typed("nasctl", "status")
                )
        _sync(store, stores, names, [study.name for study in known], rebuild=rebuild, as_json=as_json)


def _sync(
    store: StudyStore | None,
    stores: Stores,
    names: Sequence[str],
    known: Sequence[str],
    *,
    rebuild: bool,
    as_json: bool,
) -> None:
    from nasctl.tracking.found import found  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tracking.trained import kept  # noqa: PLC0415 - as above
    from nasctl.tuning.flushing import Flushing  # noqa: PLC0415 - as above

    searches, runs = found(stores.root), kept(stores.root)
    if names:
        searches, runs = [search for search in searches if search.name in names], ()
    elif not known and not searches and not runs:
        click.echo(f"nothing to log in {stores.root} yet; `nasctl baseline` begins a study", err=True)
        return
    tracker = open_tracker(stores)
    rows: list[Synced] = []
    failed: list[tuple[str, NasctlError]] = []
    with Flushing([path for name, path in stores.files().items() if name == "tracking"]):
        wanted = [name for name in dict.fromkeys(names) if name in known]
        for name in wanted if names else undriven(stores, known, ", which logs it itself"):
            assert store is not None  # noqa: S101 - it has this study
            try:
                rows.append(_study(store, stores, tracker, name, rebuild=rebuild))
            except StateMismatchError as error:  # the others are no worse for it
                failed.append((name, error))
        sent = {
            "searches": _logged(searches, tracker, "search", rebuild=rebuild),
            "runs": _logged(runs, tracker, "run", rebuild=rebuild),
        }
    told = {what: each for what, each in sent.items() if each or (what == "runs" and not names)}
    _show(rows, told, as_json=as_json)
    if failed:
        (name, first), more = failed[0], f" (and {len(failed) - 1} more)" if failed[1:] else ""
        raise StateMismatchError(f"{name}: {first}{more}", first.hint)


def _study(store: StudyStore, stores: Stores, tracker: Tracker, name: str, *, rebuild: bool) -> Synced:
    from nasctl.tuning.syncing import sync_study  # noqa: PLC0415 - --help need not pay for it

    return sync_study(store, stores.root, tracker, name, rebuild=rebuild)


def _logged(runs: Sequence[KeptRun], tracker: Tracker, kind: str, *, rebuild: bool) -> tuple[bool, ...]:
    """Whether it was missing, of each of these."""
    there = set() if rebuild else {run.id for run in tracker.runs(kind)}
    missing = []
    for run in runs:
        if rebuild:
            run.forget(tracker)
        missing.append(run.log(tracker) not in there)
    return tuple(missing)


def _show(rows: Sequence[Synced], sent: Mapping[str, Sequence[bool]], *, as_json: bool) -> None:
    """The studies, then of searches and single runs how many were sent."""
    if as_json:
        for row in rows:
            told = asdict(row)
            click.echo(json.dumps({"name": told.pop("study"), **told}))
        for what, each in sent.items():
            click.echo(json.dumps({what: len(each), "sent": sum(each)}))
        return
    if rows:
        header = ("STUDY", "SENT", "TRIALS", "STATE")
        click.echo(columns(header, [(row.study, row.sent, row.trials, row.state) for row in rows], right=header[1:3]))
    for what, each in sent.items():
        if each:
            click.echo(f"{counted(len(each), *WORDS[what])}, {sum(each)} sent")
