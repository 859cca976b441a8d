"""`nasctl status` and `nasctl ui`: what is in the store."""

from __future__ import annotations

import json
import os
import socket
import webbrowser
from pathlib import Path

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.options import OverrideType, composed, settings_of
from nasctl.cli.stores import open_tracker, stores_of
from nasctl.cli.text import columns
from nasctl.errors import MachineError, UsageError, nearest

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
@click.option("--json", "as_json", is_flag=True, help="One JSON object per study instead of a table.")
def status(asked: tuple[str, ...], conf_dirs: tuple[str, ...], *, verify: bool, as_json: bool) -> None:
    """Every study of the store: how far it is, and who drives it.

    STUDY names those that are wanted. Best scores are those on dev data, as in tables (x100).
    """
    names = [each for each in asked if "=" not in each]
    stores = stores_of(settings_of([each for each in asked if "=" in each], conf_dirs))
    path = stores.files().get("studies")
    if path is not None and not path.exists():
        click.echo(f"no study in {stores.root} yet; `nasctl baseline` begins one", err=True)
        return
    from nasctl.cli.verify import show_verified  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tuning.folders import StudyFolder  # noqa: PLC0415 - as above
    from nasctl.tuning.owners import living  # noqa: PLC0415 - as above
    from nasctl.tuning.study import StudyStore  # noqa: PLC0415 - optuna, as above

    store = StudyStore(stores.studies, stores.durability)
    try:
        if verify:
            show_verified(store, stores, names, as_json=as_json)
            return
        studies = store.progress()
    finally:
        store.close()
    for name in names:
        if name not in (known := [study.name for study in studies]):
            raise UsageError(f"there is no study {name!r}", nearest(name, known))
    rows = []
    for study in studies if not names else (each for each in studies if each.name in names):
        owner = living(StudyFolder(stores.root, study.name).owner())
        state = "running" if owner else "finished" if study.ended else "stopped"
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
        if as_json:
            click.echo(json.dumps(entry))
        best = "-" if study.best is None else f"{100 * study.best:.2f}"
        done = f"{study.finished}/{study.trials}"
        rows.append((study.name, f"{state} ({owner})" if owner else state, done, study.failed, study.unfinished, best))
    if not as_json:
        header = ("STUDY", "STATE", "FINISHED", "FAILED", "OPEN", "BEST")
        click.echo(columns(header, rows, right=header[2:]))
        if any(row[1] == "stopped" for row in rows):
            click.echo("\nnasctl resume goes on with those that are stopped", err=True)


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
