"""Studies of several stores in one tracker: a name is that of the study which had it first."""

from __future__ import annotations

from collections.abc import Iterable

from nasctl.errors import StateMismatchError
from nasctl.tracking import tags as tag
from nasctl.tracking.records import StoredRun


def check_own(runs: Iterable[StoredRun], study: str, uid: str | None) -> None:
    """Raises StateMismatchError unless the oldest of the tracker's runs of this study, newest first, is its own.

    `uid` is None for a study from before they had one, whose run has none, either.
    """
    found = list(runs)
    if found and found[-1].tags.get(tag.UID) != uid:
        raise StateMismatchError(
            f"MLflow has another study {study}, which was begun in another database",
            "store.experiment=OTHER keeps them apart; else another study.name=, or delete that one in MLflow",
        )
