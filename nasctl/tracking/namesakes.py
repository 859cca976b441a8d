"""Studies of several stores in one tracker: a name is that of the study which had it first."""

from __future__ import annotations

from nasctl.errors import StateMismatchError
from nasctl.tracking import tags as tag
from nasctl.tracking.records import Tracker


def check_own(tracker: Tracker, study: str, uid: str | None) -> None:
    """Raises StateMismatchError if the tracker has this study from another database, and what the tracker raises.

    A study from before studies had a uid, on either side, is taken for the same.
    """
    for run in tracker.runs("study", {tag.STUDY: study}):
        if uid and run.tags.get(tag.UID, uid) != uid:
            raise StateMismatchError(
                f"MLflow has another study {study}, which was begun in another database",
                "store.experiment=OTHER keeps them apart, or study.name=OTHER",
            )
