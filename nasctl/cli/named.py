"""What the commands on studies and searches that are there have in common: the store's names, each one's scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from nasctl.cli.options import settings_of
from nasctl.cli.stores import Stores, stores_of
from nasctl.errors import UsageError, nearest

if TYPE_CHECKING:
    from nasctl.tuning.searches import SearchProgress
    from nasctl.tuning.study import StudyStore
    from nasctl.tuning.trials import StudyProgress

__all__ = ["check_known", "opened_studies", "searches_of", "split", "undriven"]


def split(asked: Sequence[str], conf_dirs: tuple[str, ...]) -> tuple[list[str], Stores]:
    """Arguments as names (those without `=`), and the stores that the overrides among them say."""
    names = [each for each in asked if "=" not in each]
    return names, stores_of(settings_of([each for each in asked if "=" in each], conf_dirs))


@contextmanager
def opened_studies(stores: Stores) -> Iterator[tuple[StudyStore | None, Sequence[StudyProgress]]]:
    """The studies' store, and how far each study is; (None, ()) where there is none, and none is made."""
    path = stores.files().get("studies")
    if path is not None and not path.exists():
        yield None, ()
        return
    from nasctl.tuning.study import StudyStore  # noqa: PLC0415 - optuna, which --help need not pay for

    with closing(StudyStore(stores.studies, stores.durability)) as store:
        yield store, store.progress()


def undriven(stores: Stores, names: Sequence[str], why: str = "") -> list[str]:
    """Those of the studies and searches that nobody drives; of each other a line is told, with `why` behind it."""
    from nasctl.tuning.folders import folder_named  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tuning.owners import driver  # noqa: PLC0415 - as above

    free = []
    for name in names:
        if owner := driver(folder_named(stores.root, name)):
            click.echo(f"{name} is driven by {owner}{why}", err=True)
        else:
            free.append(name)
    return free


def searches_of(stores: Stores) -> Mapping[str, SearchProgress]:
    """Every search of the store that has begun, by its name."""
    from nasctl.tuning.searches import searches  # noqa: PLC0415 - --help need not pay for it

    return {search.name: search for search in searches(stores.root)}


def check_known(names: Sequence[str], known: Iterable[str], stores: Stores, *, kinds: str = "study or search") -> None:
    """Raises UsageError, with near names, for what the store does not have; `kinds` says what was looked for."""
    words = list(known)
    for name in names:
        if name not in words:
            where = f"there are none in {stores.root}" if not words else nearest(name, words)
            raise UsageError(f"there is no {kinds} {name!r}", where)
