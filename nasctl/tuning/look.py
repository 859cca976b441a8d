"""A study as it is stored, at one moment: what a look back at it needs, without becoming its scheduler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from nasctl.errors import NasctlError, StateMismatchError, first_line
from nasctl.specs import STUDY, StudySpec
from nasctl.tracking.records import RECORD, RunRecord
from nasctl.tracking.totals import StudyTotals
from nasctl.tuning.study import StoredStudy, StoredTrial, StudyStore, stored_study
from nasctl.tuning.trials import NOTHING, Best, Ended, asked_trial, best_of, counted

BACKUP = "restore the studies' database from a backup"
"""What mends a database that says what nasctl never wrote."""


@dataclass(frozen=True)
class Look:
    """What a store has of a study, and who drives it (`owner`, "" if nobody does).

    `ended` has the trials whose end can be read, `unreadable` says why others cannot.
    """

    stored: StoredStudy
    spec: StudySpec
    owner: str
    ended: Mapping[int, Ended]
    unreadable: Mapping[int, str]

    @property
    def uid(self) -> str | None:
        """What tells it from studies of the same name; None if it was begun before studies had one."""
        return self.stored.attributes.get("uid")

    @cached_property
    def best(self) -> Best | None:
        """The best finished trial; None if there is none."""
        return best_of(trial for trial in self.ended.values() if self.trials[trial.asked.number].state == "finished")

    @cached_property
    def trials(self) -> Mapping[int, StoredTrial]:
        """By number; of several that share one the first, as in `ended`."""
        first = {trial.number: trial for trial in reversed(self.stored.trials)}
        return dict(sorted(first.items()))

    def count(self, *states: str) -> int:
        """How many trials are in one of these states: finished, pruned, failed, unfinished."""
        return sum(trial.state in states for trial in self.stored.trials)

    @property
    def counted(self) -> int:
        """How many of the trials that are wanted are there."""
        return self.count("finished", "pruned")

    @cached_property
    def totals(self) -> StudyTotals:
        """What the trials add up to, in the order in which they ended."""
        totals = NOTHING
        for trial in sorted(self.ended.values(), key=lambda each: (each.at or 0.0, each.asked.number)):
            totals = counted(totals, trial)
        return totals

    @cached_property
    def over(self) -> bool:
        """Whether nothing is left to do: as many trials as wanted, the last of them looked at for the best."""
        if self.owner or self.counted < self.spec.trials:
            return False
        if self.best is None:  # every trial was pruned
            return True
        return self.ended[self.best.number].record.state == "diverged" or self.final is not None

    @cached_property
    def final(self) -> Mapping[str, Any] | None:
        """What is stored of the evaluation: its `trial`, how many `trials` had finished, its `record`."""
        stored = self.stored.attributes.get("final")
        return stored if isinstance(stored, dict) and {"trial", "trials", "record"} <= stored.keys() else None

    @cached_property
    def evaluated(self) -> RunRecord | None:
        """The record of the evaluation; None if there was nothing to evaluate, or it cannot be read."""
        try:
            return None if self.final is None else RECORD.validate_json(json.dumps(self.final["record"]))
        except ValueError:
            return None


def look_at(store: StudyStore, name: str, owner: str = "") -> Look:
    """What the store has of the study. Raises StateMismatchError if its settings cannot be read."""
    stored = stored_study(store, name)
    try:
        spec = STUDY.validate_json(json.dumps(stored.attributes["spec"]))
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise StateMismatchError(
            f"its settings are none that this nasctl knows ({what})",
            f"the version that began it reads them; if it was this one, {BACKUP}",
        ) from error
    ended: dict[int, Ended] = {}
    unreadable: dict[int, str] = {}
    for trial in stored.trials:
        try:
            asked = asked_trial(spec, trial.number, trial.params, trial.attributes.get("failures", ()))
            if "record" in trial.attributes:
                record = RECORD.validate_json(json.dumps(trial.attributes["record"]))
                told_by = trial.attributes.get("duplicate_of")
                ended.setdefault(trial.number, Ended(asked, record, told_by, trial.ended))
        except (NasctlError, ValueError, TypeError, KeyError) as error:
            unreadable[trial.number] = f"{type(error).__name__}: {first_line(error)}"
    return Look(stored, spec, owner, ended, unreadable)
