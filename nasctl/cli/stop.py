"""`nasctl stop`: the scheduler of a study or a search, asked to stop from elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.named import check_known, opened_studies, searches_of, split
from nasctl.cli.options import OverrideType
from nasctl.cli.stores import Stores
from nasctl.cli.text import counted
from nasctl.errors import StateMismatchError, UsageError

if TYPE_CHECKING:
    import psutil

    from nasctl.tuning.folders import DrivenFolder, Owner

__all__ = ["stop"]

POLL_SECONDS = 0.1

EXAMPLES = """
nasctl stop sick-glove-blm-L             the running trials end first
nasctl stop sick-glove-blm-L --now       they are taken up again later
"""


@click.command(cls=ExampleCommand, examples=EXAMPLES)
@click.argument("study")
@click.argument("overrides", nargs=-1, type=OverrideType(), metavar="[KEY=VALUE]...")
@click.option("--conf", "conf_dirs", multiple=True, metavar="DIR", help="A folder of your own groups.")
@click.option("--now", is_flag=True, help="Do not wait for the running trials: they are taken up again.")
def stop(study: str, overrides: tuple[str, ...], conf_dirs: tuple[str, ...], *, now: bool) -> None:
    """Stop what drives a study or a search, as Ctrl-C would.

    It waits until that has stopped, a search after its epoch; so does whoever asks again. With --now, as a second
    Ctrl-C would. Whatever else that command drives stops, too. Nothing that has finished is lost; `nasctl resume STUDY`
    goes on.
    """
    from nasctl.tuning.folders import folder_named  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tuning.owners import driven_by, driver, process_of  # noqa: PLC0415 - as above

    names, stores = split(overrides, conf_dirs)
    if names:
        raise UsageError(f"one study at a time, not {study} {' '.join(names)}", f"nasctl stop {study}")
    with opened_studies(stores) as (_, known):
        check_known([study], [*(each.name for each in known), *searches_of(stores)], stores)
    folder = folder_named(stores.root, study)
    owner = folder.owner()
    if owner is None or not driver(folder):
        raise StateMismatchError(f"nobody drives {study}", f"{stores.typed('nasctl', 'status')} says how far it is")
    process = process_of(folder, owner)
    others = [name for name in driven_by(stores.root, owner) if name != study]
    also = f", which drives {', '.join(others)}, too" if others else ""
    work, left = ("trials end", "them") if folder.kind == "study" else ("epoch ends", "it")
    at_once = stores.typed("nasctl", "stop", study, "--now")
    waits = "" if now else f"; its running {work} first ({at_once} leaves {left})"
    click.echo(f"process {owner.pid}{also}, is asked to stop{waits}", err=True)
    _ask(process, stores, now=now)
    _wait(folder, owner)
    _tell(stores, study)


def _ask(process: psutil.Process, stores: Stores, *, now: bool) -> None:
    """Send the signal of the stage. Raises StateMismatchError if the process has ended or is somebody else's."""
    import psutil  # noqa: PLC0415 - --help need not pay for it

    from nasctl.tuning.stopping import ASK, NOW  # noqa: PLC0415 - as above

    try:
        process.send_signal(NOW if now else ASK)  # psutil looks again whose number it is
    except psutil.NoSuchProcess:
        status = stores.typed("nasctl", "status")
        raise StateMismatchError(f"process {process.pid} has ended just now", status) from None
    except psutil.AccessDenied:
        raise StateMismatchError(f"process {process.pid} is somebody else's", "who started it can stop it") from None


def _wait(folder: DrivenFolder, owner: Owner) -> None:
    """Until the scheduler has let go of it, however it ended."""
    from nasctl.tuning.owners import driver  # noqa: PLC0415 - --help need not pay for it

    while folder.owner() == owner and driver(folder):
        time.sleep(POLL_SECONDS)


def _tell(stores: Stores, name: str) -> None:
    again = stores.typed("nasctl", "resume", name)
    if (search := searches_of(stores).get(name)) is not None:
        over = f"is finished: {counted(len(search.found.entry.record.found), 'cell')} found" if search.found else ""
        click.echo(f"{name} {over or f'is stopped; {again}'}")
        return
    with opened_studies(stores) as (_, known):
        study = next(each for each in known if each.name == name)
    if study.ended:
        click.echo(f"{name} is finished: {study.finished} of {study.trials} trials, {study.failed} failed")
        return
    open_ = f", {study.unfinished} to be taken up again" if study.unfinished else ""
    click.echo(f"{name} is stopped: {study.finished} of {study.trials} trials are done{open_}; {again}")
