"""`nasctl resume` and `nasctl retry`: studies and searches driven again by the commands that began them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.named import check_known, opened_studies, searches_of, split, undriven
from nasctl.cli.options import OverrideType
from nasctl.cli.stores import Stores, quoted, working_in
from nasctl.errors import StateMismatchError, UsageError
from nasctl.files import path_of

if TYPE_CHECKING:
    from nasctl.tuning.folders import Command
    from nasctl.tuning.trials import StudyProgress

__all__ = ["resume", "retry"]

DRIVERS = {"baseline": "nasctl.cli.studies", "tune": "nasctl.cli.studies", "search": "nasctl.cli.search"}
"""Command -> the module whose `run_again` drives what it has begun."""

RESUME_EXAMPLES = """
nasctl resume                            all that are stopped
nasctl resume sick-glove-blm-L           one of them
nasctl resume sick-glove-blm-L workers=8 trials=600
"""

RETRY_EXAMPLES = """
nasctl retry sick-glove-blm-L --failed   e.g. once the disk has room again
"""


@click.command(cls=ExampleCommand, examples=RESUME_EXAMPLES)
@click.argument("asked", nargs=-1, type=OverrideType(), metavar="[STUDY]... [KEY=VALUE]...")
@click.option("--conf", "conf_dirs", multiple=True, metavar="DIR", help="A folder of your own groups.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per study instead of a table.")
def resume(asked: tuple[str, ...], conf_dirs: tuple[str, ...], *, as_json: bool) -> None:
    """Go on with studies and searches that are stopped.

    STUDY names those that are wanted; without one, all that are neither finished nor driven by anybody, searches first:
    studies may want their cells. They go on as they were begun. Further settings stand before those of the command,
    their paths seen from where that was typed; what makes a study what it is cannot be changed.
    """
    names, stores = split(asked, conf_dirs)
    with opened_studies(stores) as (_, known):
        pass
    begun = searches_of(stores)
    check_known(names, [*(study.name for study in known), *begun], stores)
    searches = {each.name: "it goes on where it was left" for each in begun.values() if names or each.found is None}
    studies = {study.name: _done(study) for study in known if names or not study.ended}
    wanted = [*searches, *studies]
    wanted = [each for each in wanted if each in names] if names else undriven(stores, wanted)
    if not wanted:
        click.echo(f"no study in {stores.root} is stopped", err=True)
        return
    overrides = [each for each in asked if "=" in each]
    kinds = [{name: kind[name] for name in wanted if name in kind} for kind in (searches, studies)]
    for place, done in enumerate(kinds):
        if done:
            later = [name for kind in kinds[place + 1 :] for name in kind]
            _drive(done, stores, overrides, conf_dirs, retry=False, as_json=as_json, later=later)


@click.command(cls=ExampleCommand, examples=RETRY_EXAMPLES)
@click.argument("study")
@click.argument("overrides", nargs=-1, type=OverrideType(), metavar="[KEY=VALUE]...")
@click.option("--conf", "conf_dirs", multiple=True, metavar="DIR", help="A folder of your own groups.")
@click.option("--failed", is_flag=True, help="Its failed trials; there is nothing else to be retried.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of a table.")
def retry(study: str, overrides: tuple[str, ...], conf_dirs: tuple[str, ...], *, failed: bool, as_json: bool) -> None:
    """Ask for the failed trials of STUDY again, and go on with it.

    Their parameters get new numbers; what has failed stays so, with its reasons. As many trials finish as were wanted
    all the same: what is retried comes before what would be new.
    """
    if not failed:
        raise UsageError("only failed trials can be retried", f"nasctl retry {study} --failed")
    names, stores = split(overrides, conf_dirs)
    if names:
        raise UsageError(f"one study at a time, not {study} {' '.join(names)}", f"nasctl retry {study} --failed")
    with opened_studies(stores) as (_, known):
        pass
    check_known([study], [each.name for each in known], stores, kinds="study")
    (found,) = (each for each in known if each.name == study)
    if not found.failed:
        raise StateMismatchError(f"no trial of {study} has failed", stores.typed("nasctl", "status"))
    more = next((each for each in overrides if each.startswith("trials=")), "")
    if found.finished >= found.trials and not more:
        raise StateMismatchError(
            f"all {found.trials} trials that {study} wanted have finished, others in the place of the {found.failed} "
            "that failed",
            f"trials={found.finished + found.failed} wants more",
        )
    _drive({study: _done(found)}, stores, overrides, conf_dirs, retry=True, as_json=as_json)


def _done(study: StudyProgress) -> str:
    return f"{study.finished} of {study.trials} trials are done"


def _drive(
    done: Mapping[str, str],
    stores: Stores,
    overrides: Sequence[str],
    conf_dirs: tuple[str, ...],
    *,
    retry: bool,
    as_json: bool,
    later: Sequence[str] = (),
) -> None:
    """Drive studies or searches by their commands, in the folder where those were typed; `done` says how far each is.

    `later` are driven after them: who stops these, goes on with all.

    Raises StateMismatchError if a command is none that begins any.
    """
    names = list(done)
    commands = [_command(name, stores, overrides, conf_dirs) for name in names]
    drivers = {DRIVERS.get(command.name) for command in commands}
    driver = drivers.pop()
    if driver is None or drivers:
        words = ", ".join(sorted({command.name for command in commands}))
        raise StateMismatchError(f"{', '.join(names)} cannot be resumed by nasctl {words}", "is command.json theirs?")
    folders = {command.folder for command in commands}
    if len(folders) > 1:
        raise UsageError(f"these studies were begun in {len(folders)} folders", "one command for each")
    verb = "retrying the failed trials of" if retry else "resuming"
    for name, command in zip(names, commands, strict=True):
        click.echo(f"{verb} {name}: {done[name]}; {command.typed()}", err=True)
    again = stores.typed("nasctl", "resume", *names, *later)
    run_again = importlib.import_module(driver).run_again  # --help need not pay for it
    with working_in(Path(folders.pop())):  # what the commands name is named from there
        run_again(names, commands, again, retry=retry, as_json=as_json)


def _command(name: str, stores: Stores, overrides: Sequence[str], conf_dirs: tuple[str, ...]) -> Command:
    """How the study or search was asked for, with these overrides in front, on the store where it is now.

    Raises StateMismatchError if that was not recorded, or its folder is gone.
    """
    from nasctl.tuning.folders import folder_named  # noqa: PLC0415 - --help need not pay for it

    command = folder_named(stores.root, name).command()
    if command is None:
        raise StateMismatchError(
            f"how {name} was asked for is not recorded (command.json)", "the command that began it goes on"
        )
    if not Path(command.folder).is_dir():
        raise StateMismatchError(
            f"{name} was begun in {command.folder}, which is gone", f"there, or elsewhere: {command.typed()}"
        )
    addresses = {"store.url": stores.studies, "store.tracking": stores.tracking}
    ours = [
        f"{_key(each)}={quoted(addresses[_key(each)])}" if _key(each) in addresses else each
        for each in overrides
        if _key(each) != "store.root"
    ]
    root = next((each for each in command.overrides if _key(each) == "store.root"), "store.root=runs")
    if (Path(command.folder) / root.partition("=")[2]).resolve() != stores.root.resolve():
        ours.append(f"store.root={quoted(str(stores.root.resolve()))}")
    keys = {_key(each) for each in ours}
    kept = (each for each in command.overrides if _key(each) not in keys)
    folders = tuple(str(path_of(each).absolute()) for each in conf_dirs)
    return replace(command, overrides=(*kept, *ours), conf_dirs=(*command.conf_dirs, *folders))


def _key(override: str) -> str:
    return override.partition("=")[0]
