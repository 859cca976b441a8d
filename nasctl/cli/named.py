"""What the commands on studies that are there already have in common: the store's names, and each one's scheduler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from nasctl.cli.options import settings_of
from nasctl.cli.stores import Stores, stores_of
from nasctl.errors import UsageError, nearest

if TYPE_CHECKING:
    from nasctl.tuning.study import StudyStore
    from nasctl.tuning.trials import StudyProgress

__all__ = ["check_known", "opened_studies", "split", "undriven"]


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
    """Those of the studies that nobody drives; of each other a line is told, with `why` behind it."""
    from nasctl.tuning.folders import StudyFolder  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tuning.owners import living  # noqa: PLC0415 - as above

    free = []
    for name in names:
        if owner := living(StudyFolder(stores.root, name).owner()):
            click.echo(f"{name} is driven by {owner}{why}", err=True)
        else:
            free.append(name)
    return free


def check_known(names: Sequence[str], known: Sequence[StudyProgress], stores: Stores) -> None:
    """Raises UsageError, with near names, for a study that the store does not have."""
    words = [study.name for study in known]
    for name in names:
        if name not in words:
            where = f"there are none in {stores.root}" if not words else nearest(name, words)
            raise UsageError(f"there is no study {name!r}", where)
