"""Whether the tracker has what the studies' store has: run by run, and in what tables show of both."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from nasctl.specs import StudySpec
from nasctl.tracking.memory import MemoryTracker
from nasctl.tracking.records import RunRecord, StoredRun, Tracker
from nasctl.tracking.tags import label_tags
from nasctl.tuning.outcomes import named, study_ended, tracked
from nasctl.tuning.trials import NOTHING, Ended, best_of, counted

Shown = Callable[[Tracker], Mapping[str, Mapping[str, Any]]]
"""What tables show of each study in a tracker, by name; values are compared, numbers up to rounding."""

RELATIVE = 1e-9
"""Sums are added in the order in which trials ended, which a look back does not know."""


def disagreements(
    spec: StudySpec,
    ended: Mapping[int, Ended],
    parents: Sequence[StoredRun],
    children: Sequence[StoredRun],
    whole: Collection[str],
    *,
    living: bool,
    over: bool,
) -> Iterator[tuple[str, str, bool]]:
    """Where a tracker's runs of a study (`parents`, its trials' as `children`) differ from its trials that have ended.

    Each with what is wrong, and whether it is something that the tracker lacks. `whole` are the children that were
    logged to their end. Of a study with a `living` scheduler nothing is lacking: it may come.
    """
    if len(parents) > 1:
        yield "the study", f"MLflow has {len(parents)} runs of it", False
    by_number: dict[int | None, list[StoredRun]] = defaultdict(list)
    for child in children:
        by_number[child.trial].append(child)
    for number, runs in sorted(by_number.items(), key=lambda item: -1 if item[0] is None else item[0]):
        where = f"trial {number}"
        if len(runs) > 1:
            yield where, f"MLflow has {len(runs)} runs of it", False
        elif number is None or number not in ended:
            yield where, "MLflow has it as ended, and it has not", False
        elif runs[0].id in whole:
            yield from ((where, text, False) for text in _unlike(runs[0], ended[number], spec))
    if living:
        return
    logged = {child.trial for child in children if child.id in whole}
    for number in sorted(set(ended) - logged):
        yield f"trial {number}", f"MLflow has {'only a part of it' if number in by_number else 'nothing of it'}", True
    if over and [parent.state for parent in parents] != ["finished"] and len(parents) < 2:
        state = parents[0].state if parents else "nothing of it"
        yield "the study", f"it is finished, MLflow has it as {state}", True


def _unlike(run: StoredRun, trial: Ended, spec: StudySpec) -> Iterator[str]:
    entry = tracked(trial, spec)
    params = {name: str(value) for name, value in entry.params.items()}
    if run.state != entry.record.state:
        yield f"MLflow has it as {run.state}, it is {entry.record.state}"
    if not same(run.metrics.get("value"), entry.record.value):
        yield f"MLflow has the value {run.metrics.get('value')}, it is {entry.record.value}"
    if run.params != params:
        names = sorted(name for name in {*run.params, *params} if run.params.get(name) != params.get(name))
        yield f"MLflow has another {', '.join(names)}"


def table_differences(
    spec: StudySpec,
    ended: Mapping[int, Ended],
    final: RunRecord | None,
    tracked_row: Mapping[str, Any] | None,
    shown: Shown,
) -> Iterator[str]:
    """What tables show of a study that is over, against what they show once it is logged anew from the store alone."""
    tracker, totals = MemoryTracker(), NOTHING
    study = tracker.begin_study(spec.name, label_tags(spec.labels), "")
    for _, trial in sorted(ended.items()):
        tracker.log_trial(study, spec.name, tracked(trial, spec))
        totals = counted(totals, trial)
    best = best_of(ended.values())
    if best is not None and final is not None:
        final = named(final, spec.pool, ended[best.number].asked.params)
    metrics, tags = study_ended(totals, best, final)
    tracker.end_study(study, "finished", metrics, tags, [])
    wanted, found = shown(tracker)[spec.name], tracked_row or {}
    for key, value in wanted.items():
        if not same(found.get(key), value):
            yield f"tables show {key} {found.get(key)} from MLflow, {value} from the trials"


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, numbers within them up to rounding."""
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=RELATIVE)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
