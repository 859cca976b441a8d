"""`nasctl status --verify`: whether every promise about the studies of a store holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from nasctl.cli.stores import Stores, open_tracker
from nasctl.cli.text import columns
from nasctl.errors import StateMismatchError

if TYPE_CHECKING:
    from nasctl.tracking.records import Tracker
    from nasctl.tuning.promises import Verified
    from nasctl.tuning.study import StudyStore

__all__ = ["show_verified"]


def show_verified(store: StudyStore | None, stores: Stores, names: Sequence[str], *, as_json: bool) -> None:
    """Tell of each study and search which of its promises are broken. Raises StateMismatchError if any is."""
    from nasctl.tuning.promises import verify  # noqa: PLC0415 - --help need not pay for it

    broken = 0
    studies = []
    for study in verify(store, stores.root, _tracker(stores), _shown, stores.typed, names=names):
        studies.append(study)
        broken += len(study.broken)
        if as_json:
            told = {"name": study.study, "owner": study.owner, "kept": not study.broken}
            click.echo(json.dumps(told | {"broken": [asdict(each) for each in study.broken]}))
    if not as_json:
        _show(studies)
    if broken:
        raise StateMismatchError(
            f"{broken} broken {_many('promise', broken)} in {len(studies)} {_many('study', len(studies))}",
            "README.md, What is promised",
        )


def _many(noun: str, count: int) -> str:
    return noun if count == 1 else {"promise": "promises", "study": "studies"}[noun]


def _show(studies: Sequence[Verified]) -> None:
    from nasctl.tuning.promises import PROMISES  # noqa: PLC0415 - --help need not pay for it

    rows = [
        (study.study, f"{len(study.broken)} broken" if study.broken else "kept", study.owner or "-")
        for study in studies
    ]
    click.echo(columns(("STUDY", "PROMISES", "DRIVEN BY"), rows))
    for study in studies:
        for each in study.broken:
            click.echo(f"\n{study.study}, {each.where}: {each.what}")
            click.echo(f"  promised: {PROMISES[each.promise]}\n  would mend it: {each.mend}")


def _tracker(stores: Stores) -> Tracker:
    """MLflow's store; one that is not there holds nothing, and is not made."""
    from nasctl.tracking.memory import MemoryTracker  # noqa: PLC0415 - --help need not pay for it

    path = stores.files().get("tracking")
    return MemoryTracker() if path is not None and not path.exists() else open_tracker(stores)


def _shown(tracker: Tracker) -> Mapping[str, Mapping[str, Any]]:
    """What tables are made of, by study; where its predictions lie, and what its search took, follows from no trial."""
    from nasctl.reports.results import read_results  # noqa: PLC0415 - --help need not pay for it

    results = (asdict(result) for result in read_results(tracker, ("study",)))
    return {result["name"]: {**result, "predictions": None, "search_seconds": None} for result in results}
