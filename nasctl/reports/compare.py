"""Which of two systems is better on a data set, or whether that cannot be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nasctl.data.metrics import METRICS
from nasctl.reports.results import Result
from nasctl.reports.statistics import (
    RESAMPLES,
    SEED,
    STATISTICS,
    Interval,
    Predictions,
    Resampled,
    interval,
    read_predictions,
    resample,
    verdict,
)
from nasctl.reports.table import Cell, Column, Table

FEWEST_DIFFERING = 6
"""Rows on which two systems must differ to be told apart: of fewer, all favour one of two equals more often than one
time in twenty (2 · 0.5^5 = 0.06)."""

FEW_ROWS = 100
"""Test rows below which intervals turn out too narrow."""


@dataclass(frozen=True)
class Scatter:
    """A result's test predictions, and how its metric scatters over them."""

    predictions: Predictions
    resampled: Resampled

    def same_rows(self, other: Scatter) -> bool:
        """Whether two systems answered the same questions."""
        mine, theirs = self.predictions, other.predictions
        return mine.row_ids == theirs.row_ids and np.array_equal(mine.gold, theirs.gold)

    def difference(self, other: Scatter) -> Interval | None:
        """How much higher the first scores; None where too few rows part the two."""
        differing = np.count_nonzero(self.predictions.predicted != other.predictions.predicted)
        return interval(self.resampled - other.resampled) if differing >= FEWEST_DIFFERING else None


def scatters(results: Iterable[Result], *, resamples: int = RESAMPLES, seed: int = SEED) -> dict[Result, Scatter]:
    """The scatter of every result that left test predictions, of two rows at least; about a second for 5,000 rows."""
    found = {}
    for result in results:
        if result.predictions is not None and result.test is not None and result.metric in STATISTICS:
            predictions = read_predictions(result.predictions)
            if len(predictions.row_ids) < 2:
                continue
            drawn = resample(predictions, result.metric, classes=result.classes, resamples=resamples, seed=seed)
            found[result] = Scatter(predictions, drawn)
    return found


def compare_table(results: Sequence[Result], known: Mapping[Result, Scatter]) -> Table:
    """Every pair of results on one data set: the difference of their test scores, its interval, and the verdict."""
    rows: list[tuple[Cell, ...]] = []
    left_out: dict[str, list[str]] = {}
    for first, second in combinations([result for result in results if result in known], 2):
        if first.dataset != second.dataset:
            continue
        if unlike := _unlike(first, second, known):
            left_out.setdefault(unlike, []).append(f"{first.name} and {second.name}")
            continue
        bounds = known[first].difference(known[second])
        rows.append(
            (
                first.dataset,
                first.name,
                first.cell_label,
                second.name,
                second.cell_label,
                first.shown(first.test),
                second.shown(second.test),
                known[first].resampled.estimate * first.scale - known[second].resampled.estimate * second.scale,
                (bounds.low * first.scale, bounds.high * first.scale) if bounds else None,
                verdict(bounds, METRICS[first.metric].direction) if bounds else "not distinguishable",
            )
        )
    notes = [
        "Intervals: paired bootstrap over the test rows (BCa, 95 %).",
        "They know nothing of other seeds: two trainings of one setting differ, too.",
    ]
    if any(row[-2] is None for row in rows):
        notes.append(f"No interval where fewer than {FEWEST_DIFFERING} rows differ: they may all favour one by chance.")
    if any(len(each.predictions.row_ids) < FEW_ROWS for each in known.values()):
        notes.append(
            f"Of fewer than {FEW_ROWS} test rows intervals are too narrow: about one in ten would seem different."
        )
    if not rows:
        notes = ["No two results can be compared: that takes one data set, one metric and the same test rows."]
    if len(rows) > 1:
        notes.append(f"{len(rows)} comparisons: of pairs that are alike, about one in twenty would seem different.")
    if without := sorted(result.name for result in results if result not in known):
        notes.append(f"Not compared, since there are no test predictions of them (yet): {', '.join(without)}.")
    notes += [f"Not compared, since their {what} differ: {'; '.join(pairs)}." for what, pairs in left_out.items()]
    columns = (
        Column("data", key="data set"),
        Column("first"),
        Column("its cell", key="cell of first"),
        Column("second"),
        Column("its cell", key="cell of second"),
        Column("test", "score", "test of first"),
        Column("test", "score", "test of second"),
        Column("diff.", "difference", "difference"),
        Column("95 %", "range"),
        Column("the first is"),
    )
    return Table("compare", "Differences of test scores", columns, tuple(rows), tuple(notes))


def _unlike(first: Result, second: Result, known: Mapping[Result, Scatter]) -> str:
    """What makes the test scores of two systems on one data set no pair; "" for a pair."""
    if first.metric != second.metric:
        return "metrics"
    if first.result_version != second.result_version:
        return "result versions"
    return "" if known[first].same_rows(known[second]) else "test rows"
