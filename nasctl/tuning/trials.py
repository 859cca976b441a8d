"""A trial's life in values: asked for, ended; and what a study's trials add up to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile
from typing import Any

from nasctl.cells.spelling import spelled
from nasctl.data.metrics import METRICS
from nasctl.errors import StateMismatchError
from nasctl.spaces import space_named
from nasctl.spaces.base import Code, code_text
from nasctl.specs import (
    ARCHITECTURE,
    CHOICE,
    Metric,
    Pool,
    PoolCell,
    RunSpec,
    StudySpec,
    Value,
    run_digest,
    with_values,
)
from nasctl.tracking.records import COUNTED_STATES, FINAL_STATES, RunRecord
from nasctl.tracking.totals import StudyTotals

Failure = Mapping[str, str]
"""An attempt that came to nothing: its `reason`, in `detail` a line on it, in `words` what the worker wrote last."""

NOTHING = StudyTotals(trials=0, diverged=0, failed=0, seconds=0.0, seconds_alone=0.0)


@dataclass(frozen=True)
class Asked:
    """A trial that has been asked for: its parameters, the run that they make, and its attempts that failed."""

    number: int
    params: Mapping[str, Value]
    run: RunSpec
    digest: str
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Ended:
    """A trial that has been told a record, its own or that of `duplicate_of` ("study/number"), which was trained.

    `at` is when it was made durable, in seconds since 1970; None: it has not been yet.
    """

    asked: Asked
    record: RunRecord
    duplicate_of: str | None
    at: float | None = None

    @property
    def counts(self) -> bool:
        """Whether the study has one trial more of those that it wants."""
        return self.record.state in COUNTED_STATES

    @property
    def known(self) -> bool:
        """Whether its result is known for good: it may be the best one, and nobody computes it again."""
        return self.record.state in FINAL_STATES

    @property
    def attempts(self) -> int:
        """How many it took, the last one included."""
        return 0 if self.duplicate_of is not None else len(self.asked.failures) + self.counts


def asked_trial(study: StudySpec, number: int, params: Mapping[str, Value], failures: Sequence[Failure] = ()) -> Asked:
    """The trial of a study that has these parameters."""
    pool, values = pool_of(study, params), dict(params)
    if study.proposals is not None:
        code = code_in(params)
        values = {name: value for name, value in params.items() if name not in code_params(code)}
        values[ARCHITECTURE] = code_text(code)
    made = with_values(study.run, values, pool)
    return Asked(number, dict(params), made, run_digest(made), tuple(failures))


def pool_of(study: StudySpec, params: Mapping[str, Value]) -> Pool | None:
    """The cells that a trial with these parameters chooses from: that alone which was proposed, or the study's."""
    if study.proposals is None:
        return study.pool
    code, asked = code_in(params), study.proposals.space
    cell = spelled(space_named(asked.name, nodes=asked.nodes).decode(code))
    return Pool(tuple(range(1, len(study.run.layers) + 1)), (PoolCell(code_text(code), cell),))


def code_params(code: Code) -> dict[str, str]:
    """A proposed cell as parameters: `choice_1`, `choice_2`..."""
    return {f"{CHOICE}_{place}": option for place, option in enumerate(code, 1)}


def code_in(params: Mapping[str, Value]) -> Code:
    """The cell that these parameters were proposed with."""
    names = takewhile(params.__contains__, (f"{CHOICE}_{place}" for place in count(1)))
    return tuple(str(params[name]) for name in names)


@dataclass(frozen=True)
class Best:
    """The best trial so far; of equal values the earlier trial's."""

    number: int
    value: float


def best_of(trials: Iterable[Ended]) -> Best | None:
    """The best of these, of those whose result is known; None if there is none."""
    found: Best | None = None
    for trial in trials:
        number, record = trial.asked.number, trial.record
        if trial.known and (found is None or is_better(record.metric, found, number, record.value)):
            found = Best(number, record.value)
    return found


def is_better(metric: Metric, best: Best, number: int, value: float) -> bool:
    """Whether this trial would be the best one in its stead."""
    if value == best.value:
        return number < best.number
    return (value > best.value) == (METRICS[metric].direction == "maximize")


@dataclass(frozen=True)
class StudyProgress:
    """How far a study is: of its `trials` so many are `finished`; `ended` once its scheduler has left it so."""

    name: str
    trials: int
    finished: int
    failed: int
    unfinished: int
    best: float | None
    ended: bool


def counted(totals: StudyTotals, trial: Ended) -> StudyTotals:
    """The totals with one more trial; one that was told another's result cost no seconds here."""
    seconds = sum(trial.record.seconds.values())
    return replace(
        totals,
        trials=totals.trials + trial.counts,
        diverged=totals.diverged + (trial.record.state == "diverged"),
        failed=totals.failed + (not trial.counts),
        pruned=totals.pruned + (trial.record.state == "pruned"),
        seconds=totals.seconds + (seconds if trial.duplicate_of is None else 0.0),
        seconds_alone=totals.seconds_alone + seconds,
    )


SHOWN_DIFFERENCES = 3


def check_identity(kind: str, name: str, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raises StateMismatchError, with the differences, if a study or a search was begun with another identity."""
    parts = sorted({*stored, *asked}, reverse=True)  # space before run: a changed one shows in both
    found = [text for part in parts for text in differences(stored.get(part), asked.get(part), part)]
    if found:
        more = f" (and {len(found) - SHOWN_DIFFERENCES} more)" if len(found) > SHOWN_DIFFERENCES else ""
        older = any("result_version: " in text for text in found)  # then no settings lead back to what is stored
        go_on = "the nasctl that began it goes on" if older else "ask for the stored values to go on"
        raise StateMismatchError(
            f"the {kind} {name} was begun with other settings: {', '.join(found[:SHOWN_DIFFERENCES])}{more}",
            f"{go_on}, or {kind}.name=OTHER to start another {kind}",
        )


def differences(stored: Any, asked: Any, path: str = "") -> Iterator[str]:
    """Where two JSON values differ: "run.training.epochs: 30 -> 40"."""
    below = f"{path}." if path else ""
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in [*stored, *(key for key in asked if key not in stored)]:
            yield from differences(stored.get(key), asked.get(key), f"{below}{key}")
    elif isinstance(stored, list) and isinstance(asked, list) and len(stored) == len(asked):
        for place, (one, other) in enumerate(zip(stored, asked, strict=True), 1):
            yield from differences(one, other, f"{below}{place}")
    elif stored != asked:
        yield f"{path}: {stored} -> {asked}"
