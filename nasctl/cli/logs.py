"""`nasctl logs`: what the workers wrote while they were at the jobs of a study or a search."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.named import check_known, opened_studies, searches_of, split
from nasctl.cli.options import OverrideType
from nasctl.cli.stores import Stores
from nasctl.errors import UsageError

if TYPE_CHECKING:
    from nasctl.workers.logs import LogReader, Section

__all__ = ["logs"]

POLL_SECONDS = 0.3

EXAMPLES = """
nasctl logs sick-glove-blm-L             all that its workers wrote
nasctl logs sick-glove-blm-L 17          while they were at trial 17
nasctl logs sick-glove-blm-L -f          and what they write, until it ends
"""


@click.command(cls=ExampleCommand, examples=EXAMPLES)
@click.argument("study")
@click.argument("asked", nargs=-1, type=OverrideType(), metavar="[TRIAL] [KEY=VALUE]...")
@click.option("--conf", "conf_dirs", multiple=True, metavar="DIR", help="A folder of your own groups.")
@click.option("-f", "--follow", is_flag=True, help="Go on until nobody drives the study any more.")
def logs(study: str, asked: tuple[str, ...], conf_dirs: tuple[str, ...], *, follow: bool) -> None:
    """What workers wrote while at jobs of STUDY, or of a search.

    Warnings and tracebacks, mostly. TRIAL is a number, or `final` for the test of the best; why its attempts came to
    nothing is told first. The newest 10 to 20 MB of each worker are kept (logs/ in the store's folder).
    """
    named, stores = split(asked, conf_dirs)
    if len(named) > 1:
        raise UsageError(f"one trial at a time, not {' '.join(named)}", f"nasctl logs {study} {named[0]}")
    trial = named[0] if named else ""
    with opened_studies(stores) as (store, known):
        begun = searches_of(stores)
        check_known([study], [*(each.name for each in known), *begun], stores)
        if trial and study in begun and not _has_trials(stores, study):
            raise UsageError(f"{study} is a search and has no trials", f"nasctl logs {study}")
        if trial and store is not None:
            from nasctl.tuning.study import stored_study  # noqa: PLC0415 - optuna, which --help need not pay for

            trials = {each.number: each for each in stored_study(store, study).trials}
            _check(study, trial, len(trials))
            if trial != "final":
                _attempts(trials[int(trial)].attributes.get("failures", ()))
    told = _told(study, trial, stores, follow=follow)
    if not told and not trial:
        click.echo(f"no worker has written anything about {study}", err=True)


def _has_trials(stores: Stores, search: str) -> bool:
    """Whether the search trains each of its cells alone."""
    from nasctl.strategies import ProposerSpec  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tuning.driven_search import pinned  # noqa: PLC0415 - as above

    begun = pinned(stores.root, search)
    return begun is not None and isinstance(begun[0].strategy, ProposerSpec)


def _check(study: str, trial: str, count: int) -> None:
    if trial != "final" and (not re.fullmatch(r"[0-9]{1,9}", trial) or int(trial) >= count):
        raise UsageError(
            f"{study} has no trial {trial!r}", f"0 to {count - 1}, or final" if count else "it has none yet"
        )


def _attempts(failures: list[dict[str, str]]) -> None:
    """Why attempts came to nothing, and the last words of their workers: the store keeps them with the trial."""
    for number, failure in enumerate(failures, 1):
        click.echo(f"==> attempt {number} came to nothing ({failure['reason']}): {failure['detail']} <==")
        if failure.get("words"):
            click.echo(failure["words"])


def _told(study: str, trial: str, stores: Stores, *, follow: bool) -> int:
    """Print the lines that are wanted; how many there were."""
    from nasctl.tuning.folders import folder_named  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tuning.owners import driver  # noqa: PLC0415 - as above

    folder, readers = folder_named(stores.root, study), dict[str, "LogReader"]()

    def wanted(section: Section) -> bool:
        return section.job == f"{study}/{trial}" if trial else section.job.rpartition("/")[0] in {study, ""}

    told, last = 0, None
    while True:
        driven = follow and bool(driver(folder))  # before the look: what is written last is seen, too
        for section, line in _new(stores, readers, wanted):
            if section != last:
                what = f"{section.job}, attempt {section.attempt}" if section.job else "starting"
                click.echo(f"==> worker {section.worker}, {what}, {section.at or 'earlier'} <==")
                last = section
            click.echo(line)
            told += 1
        if not driven:
            return told
        time.sleep(POLL_SECONDS)


def _new(
    stores: Stores, readers: dict[str, LogReader], wanted: Callable[[Section], bool]
) -> Iterator[tuple[Section, str]]:
    """The wanted lines that are new; `readers` keeps one for each worker's log that has been seen."""
    from nasctl.workers.logs import LogReader, log_files  # noqa: PLC0415 - --help need not pay for it

    for path in log_files(stores.logs):
        reader = readers.setdefault(str(path), LogReader(path))
        for section, line in reader.lines():
            if wanted(section):
                yield section, line
