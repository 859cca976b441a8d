"""Completing the tracker from the studies' store: what a killed scheduler, or a server that was away, left out.

The store and the study's folder are the spool: whatever the tracker shows of a study follows from them, so that it can
be logged anew, too. The trials go the way that they take while a study runs, through a `TrackerWriter`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nasctl.errors import MachineError, StateMismatchError
from nasctl.tracking.namesakes import check_own
from nasctl.tracking.records import Tracker
from nasctl.tracking.tags import STUDY, label_tags, uid_tag
from nasctl.tuning.folders import DrivenFolder
from nasctl.tuning.look import Look, look_at
from nasctl.tuning.outcomes import named, study_ended, tracked
from nasctl.tuning.promises import damage
from nasctl.tuning.study import StudyStore
from nasctl.tuning.writer import StudyLog, TrackerWriter

State = Literal["finished", "interrupted", "failed"]


@dataclass(frozen=True)
class Synced:
    """A study whose `trials` the tracker has now, `sent` of which it had not; and as what it has the study itself."""

    study: str
    sent: int
    trials: int
    state: State


def sync_study(store: StudyStore, root: Path, tracker: Tracker, name: str, *, rebuild: bool = False) -> Synced:
    """Log everything of the study that the tracker lacks; with `rebuild`, once what it has is removed.

    Raises StateMismatchError if somebody drives the study, its trials are damaged, or the tracker has another study of
    its name; MachineError if the tracker cannot be written. Whatever it raises, the same call goes on.
    """
    folder = DrivenFolder(root, name)
    folder.acquire()
    try:
        store.claim(name)  # who drives it from another folder logs it, too
        look = look_at(store, name)
        if broken := damage(look, store):
            raise StateMismatchError(
                f"the studies' database is damaged at {broken[0].where} of {name}: {broken[0].what}",
                f"nasctl status {name} --verify",
            )
        check_own(tracker.runs("study", {STUDY: name}), name, look.uid)
        if rebuild:
            tracker.forget({STUDY: name})
        return _logged(look, folder, tracker)
    finally:
        store.release()
        folder.release()


def _logged(look: Look, folder: DrivenFolder, tracker: Tracker) -> Synced:
    spec, best = look.spec, look.best
    log = StudyLog(
        spec.name,
        uid_tag(look.uid) | label_tags(spec.labels),
        _config(look, folder),
        lambda number: tracked(look.ended[number], spec),
        tuple(look.ended),
    )
    state = _state(look)
    final = look.evaluated if state == "finished" else None
    if final is not None and best is not None:
        final = named(final, spec.pool, look.ended[best.number].asked.params)
    metrics, tags = study_ended(look.totals, best, final)
    files = [path for path in (folder.checkpoint, folder.predictions) if path.exists()]
    writer = TrackerWriter(tracker)
    writer.begin(log)
    writer.end(log, state, metrics, tags, files if state == "finished" else [])
    writer.close()
    while writer.busy:
        time.sleep(0.02)
    writer.give_up()
    if writer.lags or log.refused:
        told = writer.warnings()
        raise MachineError(
            f"the tracker lacks {len(look.ended) - log.caught_up} trials or the end of {spec.name}: "
            f"{told[-1] if told else 'it does not answer'}",
            "nasctl sync once more goes on",
        )
    return Synced(spec.name, log.caught_up, len(look.ended), state)


def _state(look: Look) -> State:
    """How the study stands, in the words that its scheduler has for it."""
    tested = look.final is None or look.best is None or look.final["trial"] == look.best.number
    if look.over and tested:
        return "finished"
    return "failed" if look.stored.attributes.get("left") == "failed" else "interrupted"


def _config(look: Look, folder: DrivenFolder) -> str:
    """The study's configuration; where its folder is lost, what the database knows of it (JSON is YAML, too)."""
    try:
        return folder.config.read_text("utf-8")
    except OSError:
        return json.dumps(look.stored.attributes["spec"], indent=2)
