"""Records as the stores take them: of a run that was told, of one that failed, and of a trial as the tracker has it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from nasctl.data.metrics import METRICS
from nasctl.specs import ARCHITECTURE, Pool, StudySpec, Value, cells_recorded
from nasctl.tracking.records import EpochRecord, RunRecord, TrialEntry, flat_metrics
from nasctl.tracking.tags import ATTEMPTS, BEST_TRIAL, DUPLICATE_OF, label_tags, record_tags
from nasctl.tracking.totals import StudyTotals
from nasctl.tuning.trials import Asked, Best, Ended, pool_of


def settled(record: RunRecord) -> RunRecord:
    """The record with finite numbers only: a run whose value is none has diverged, and has the metric's worst value."""
    worst = METRICS[record.metric].worst
    known = replace(
        record,
        dev=_finite(record.dev),
        test=_finite(record.test),
        history=tuple(_settled_epoch(epoch) for epoch in record.history),
        found=tuple(cell if math.isfinite(cell.score) else replace(cell, score=worst) for cell in record.found),
    )
    if math.isfinite(record.value) and record.state != "diverged":
        return known
    return replace(known, state="diverged", reason=record.reason or "its value is not finite", value=worst)


def failed_record(asked: Asked) -> RunRecord:
    """The record of a trial whose last attempt has failed as `asked.failures` says."""
    run, last = asked.run, asked.failures[-1]
    return RunRecord(
        digest=asked.digest,
        role="trial",
        state="failed",
        reason=f"{last['reason']}: {last['detail']}",
        metric=run.metric,
        value=METRICS[run.metric].worst,
        dev={},
        test={},
        epochs=0,
        best_epoch=0,
        parameters=0,
        cells=cells_recorded(run),
        seconds={},
        memory={},
        counts={},
        device="",
        threads=0,
        backend="",
        result_version=run.result_version,
        versions={},
        history=(),
    )


def named(record: RunRecord, pool: Pool | None, params: Mapping[str, Value]) -> RunRecord:
    """The record of a run with these parameters, its cell under the name that the pool has for it, its text beside."""
    if pool is None:
        return record
    name = str(params.get(ARCHITECTURE, pool.cells[0].name))
    cells = (
        {**cell, "text": cell["code"], "code": name} if place in pool.places else cell
        for place, cell in enumerate(record.cells, 1)
    )
    return replace(record, cells=tuple(cells))


def tracked(trial: Ended, spec: StudySpec) -> TrialEntry:
    """A trial as the tracker logs it."""
    tags = {**label_tags(spec.labels), ATTEMPTS: str(trial.attempts)}
    if trial.duplicate_of is not None:
        tags[DUPLICATE_OF] = trial.duplicate_of
    params = trial.asked.params
    record = named(trial.record, pool_of(spec, params), params)
    return TrialEntry(trial.asked.number, dict(params), record, tags, trial.at)


def study_ended(
    totals: StudyTotals, best: Best | None, final: RunRecord | None
) -> tuple[dict[str, float], dict[str, str]]:
    """The metrics and tags with which a study ends in the tracker; `final` is None where nothing could be evaluated."""
    if best is None or final is None:
        return totals.metrics(), {}
    return totals.metrics() | flat_metrics(final), {**record_tags(final), BEST_TRIAL: str(best.number)}


def _settled_epoch(epoch: EpochRecord) -> EpochRecord:
    loss = epoch.loss if epoch.loss is not None and math.isfinite(epoch.loss) else None
    return replace(epoch, loss=loss, dev=_finite(epoch.dev), search=_finite(epoch.search))


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: number for name, number in numbers.items() if math.isfinite(number)}
