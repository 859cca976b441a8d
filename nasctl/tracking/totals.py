"""What the trials of a study add up to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from nasctl.tracking.records import COUNTED_STATES, StoredRun
from nasctl.tracking.tags import DUPLICATE_OF

PREFIX = "study/"


@dataclass(frozen=True)
class StudyTotals:
    """The sums over a study's trials, logged with the study when it ends.

    `trials` count (finished, diverged or pruned), `diverged` and `pruned` are parts of them, `failed` the rest.
    `seconds` were spent here; `seconds_alone` would be if no result had been reused.
    """

    trials: int
    diverged: int
    failed: int
    seconds: float
    seconds_alone: float
    pruned: int = 0

    def metrics(self) -> dict[str, float]:
        """The sums under the names that they are logged by: `study/trials`, `study/seconds`..."""
        return {PREFIX + name: float(value) for name, value in asdict(self).items()}


def add_up(trials: Iterable[StoredRun]) -> StudyTotals:
    """The sums over these trials; a trial that was told another's result cost no seconds here."""
    states: list[str] = []
    spent = alone = 0.0
    for trial in trials:
        states.append(trial.state)
        seconds = trial.metrics.get("seconds", 0.0)
        alone += seconds
        spent += 0.0 if DUPLICATE_OF in trial.tags else seconds
    counted = sum(state in COUNTED_STATES for state in states)
    diverged, pruned = states.count("diverged"), states.count("pruned")
    return StudyTotals(counted, diverged, len(states) - counted, spent, alone, pruned)


def read_back(study: StoredRun) -> StudyTotals | None:
    """The sums that were logged with an ended study; None if there are none, or the study goes on."""
    if study.state == "running" or f"{PREFIX}trials" not in study.metrics:
        return None
    logged = {name.removeprefix(PREFIX): value for name, value in study.metrics.items() if name.startswith(PREFIX)}
    return StudyTotals(
        int(logged["trials"]),
        int(logged["diverged"]),
        int(logged["failed"]),
        logged["seconds"],
        logged["seconds_alone"],
        int(logged.get("pruned", 0)),
    )
