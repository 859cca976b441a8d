"""`nasctl status` and `nasctl ui`: what is in the store."""

from __future__ import annotations

import json
import os
import socket
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.named import check_known, opened_studies, searches_of, split
from nasctl.cli.options import OverrideType, composed, settings_of
from nasctl.cli.stores import Stores, open_tracker, stores_of
from nasctl.cli.text import columns
from nasctl.errors import MachineError, StateMismatchError

if TYPE_CHECKING:
    from nasctl.tuning.searches import SearchProgress
    from nasctl.tuning.trials import StudyProgress

__all__ = ["status", "ui"]

STATUS_EXAMPLES = """
nasctl status
nasctl status store.root=/data/runs --json
nasctl status --verify                   is every promise kept? code 3 if not
nasctl status sick-glove-blm-L --verify
"""

UI_EXAMPLES = """
nasctl ui                                then open the address it prints
nasctl ui --port 5001 --open
"""


@click.command(cls=ExampleCommand, examples=STATUS_EXAMPLES)
@click.argument("asked", nargs=-1, type=OverrideType(), metavar="[STUDY]... [KEY=VALUE]...")
@click.option("--conf", "conf_dirs", multiple=True, metavar="DIR", help="A folder of your own groups.")
@click.option("--verify", is_flag=True, help="Check every promise about them instead; exit code 3 if one is broken.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per study and search instead of tables.")
def status(asked: tuple[str, ...], conf_dirs: tuple[str, ...], *, verify: bool, as_json: bool) -> None:
    """How far each study and search is, and who drives it.

    STUDY names those that are wanted; of a search that is named its cells are told. Best scores are those on dev data,
    as in tables (x100), a search's those of its best cell, under the shared weights or trained alone.
    """
    names, stores = split(asked, conf_dirs)
    with opened_studies(stores) as (store, known):
        begun = searches_of(stores)
        if not known and not begun:
            check_known(names, (), stores)
            click.echo(f"no study in {stores.root} yet; `nasctl baseline` begins one", err=True)
            return
        if verify:
            from nasctl.cli.verify import show_verified  # noqa: PLC0415 - --help need not pay for it

            show_verified(store, stores, names, as_json=as_json)
            return
    check_known(names, [*(study.name for study in known), *begun], stores)
    studies = [study for study in known if not names or study.name in names]
    searches = [search for search in begun.values() if not names or search.name in names]
    stopped = _show_studies(studies, stores, as_json=as_json)
    if studies and searches and not as_json:
        click.echo()
    stopped += _show_searches(searches, _better(searches, stores), as_json=as_json)
    if names and not as_json:
        _show_cells(searches)
    if stopped and not as_json:
        click.echo(f"\n{stores.typed('nasctl', 'resume')} goes on with those that are stopped", err=True)


def _show_studies(studies: Sequence[StudyProgress], stores: Stores, *, as_json: bool) -> list[str]:
    """Tell of each study; the names of those that are stopped."""
    from nasctl.tuning.folders import DrivenFolder  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tuning.owners import driver  # noqa: PLC0415 - as above

    rows, stopped = [], []
    for study in studies:
        owner = driver(DrivenFolder(stores.root, study.name))
        state = "running" if owner else "finished" if study.ended else "stopped"
        stopped += [study.name] if state == "stopped" else []
        if as_json:
            entry = {
                "name": study.name,
                "state": state,
                "finished": study.finished,
                "trials": study.trials,
                "failed": study.failed,
                "unfinished": study.unfinished,
                "best": study.best,
                "owner": owner,
            }
            click.echo(json.dumps(entry))
        best = "-" if study.best is None else f"{100 * study.best:.2f}"
        done = f"{study.finished}/{study.trials}"
        rows.append((study.name, f"{state} ({owner})" if owner else state, done, study.failed, study.unfinished, best))
    if rows and not as_json:
        header = ("STUDY", "STATE", "FINISHED", "FAILED", "OPEN", "BEST")
        click.echo(columns(header, rows, right=header[2:]))
    return stopped


def _better(searches: Sequence[SearchProgress], stores: Stores) -> dict[str, str]:
    """By the name of a search the LSTM trial that is the best by now, where it took those of another: it is stale."""
    from nasctl.cli.starting import best_lstm  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tuning.driven_search import LSTM_TRIAL, pinned  # noqa: PLC0415 - as above

    found = {}
    for search in searches:
        if LSTM_TRIAL not in search.labels:
            continue
        with suppress(StateMismatchError):  # of a search that another nasctl began nobody can tell
            begun = pinned(stores.root, search.name)
            best = None if begun is None else best_lstm(stores, search.labels, begun[0])
            if best is not None and best != search.labels[LSTM_TRIAL]:
                found[search.name] = best
    return found


def _show_searches(searches: Sequence[SearchProgress], better: dict[str, str], *, as_json: bool) -> list[str]:
    """Tell of each search; the names of those that are stopped. `better` are the LSTMs of those that are stale."""
    rows = []
    for search in searches:
        record = None if search.found is None else search.found.entry.record
        cells = () if record is None else record.found
        best = max((cell.score for cell in cells), default=None)
        if as_json:
            about = {
                "search": search.name,
                "state": search.state,
                "epochs": search.epochs,
                "at_most": search.at_most,
                "best": best,
                "stale": search.name in better,
                "cells": [asdict(cell) for cell in cells],
                "owner": search.owner,
            }
            click.echo(json.dumps(about))
        state = f"{search.state}, stale" if search.name in better else search.state
        state = f"{state} ({search.owner})" if search.owner else state
        shown = "-" if best is None else f"{100 * best:.2f}"
        rows.append((search.name, state, _epochs(search), len(cells) or "-", shown))
    if rows and not as_json:
        header = ("SEARCH", "STATE", "EPOCHS", "CELLS", "BEST")
        click.echo(columns(header, rows, right=header[2:]))
        for name, trial in better.items():
            click.echo(f"{name} is stale: the best LSTM is {trial} by now; search.name=OTHER takes that", err=True)
    return [search.name for search in searches if search.state == "stopped"]


def _epochs(search: SearchProgress) -> str:
    """Of one that is over how many it took, else how far it is."""
    if search.epochs is None:
        return "-"
    return str(search.epochs) if search.found is not None else f"{search.epochs}/{search.at_most}"


def _show_cells(searches: Sequence[SearchProgress]) -> None:
    """The cells of each search that is over."""
    for search in searches:
        if search.found is not None and search.found.entry.record.found:
            rows = [
                (cell.code, cell.digest, f"{cell.log_probability:.2f}", f"{100 * cell.score:.2f}")
                for cell in search.found.entry.record.found
            ]
            header = ("CELL", "DIGEST", "LOG P", "SCORE")
            click.echo(f"\n{search.name}\n{columns(header, rows, right=header[2:])}")


@click.command(cls=ExampleCommand, examples=UI_EXAMPLES)
@composed
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Where it listens.")
@click.option("--open", "in_browser", is_flag=True, help="Open it in the default browser.")
def ui(overrides: tuple[str, ...], conf_dirs: tuple[str, ...], *, port: int, in_browser: bool) -> None:
    """Browse every run in MLflow's user interface.

    It listens on this machine only, also while a study runs. Ctrl-C ends it.
    """
    from nasctl.tracking.ui import HOST, ui_command, ui_link  # noqa: PLC0415 - --help need not pay for it

    stores = stores_of(settings_of(overrides, conf_dirs))
    path = stores.files().get("tracking")
    if path is not None and not path.exists():
        raise MachineError(f"no runs in {stores.root} yet", "`nasctl train` or `nasctl baseline` makes some")
    command, environment = ui_command(stores.tracking, stores.artifacts, port)
    _check_free(HOST, port)
    experiment = open_tracker(stores).experiment_id
    studies, trials = (ui_link(experiment, port, view) for view in ("studies", "trials"))
    click.echo(f"the runs of {_shown(stores.root)}, in a few seconds; Ctrl-C ends it", err=True)
    click.echo(f"studies, each to be folded out: {studies}\nall trials, grouped by study: {trials}", err=True)
    if in_browser:
        webbrowser.open(studies)
    os.execve(command[0], command, environment)  # noqa: S606 - our own command, and no shell


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise MachineError(
                f"port {port} of {host} is in use ({error.strerror})", f"another one: nasctl ui --port {port + 1}"
            ) from error


def _shown(path: Path) -> str:
    """A path below the current folder, relative to it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
