"""Is that difference real? Bootstrap intervals of a metric over test rows, and of the difference of two systems.

A resample of n rows is a vector of n whole weights that sum to n (how often each row was drawn), and every metric here
is a function of such weights, computed for many resamples at once. Systems that answered the same rows get the same
resamples, so that the difference of two is paired without being computed per pair. The intervals speak of the choice
of test rows only: how far another seed or another study would land, they cannot know.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from nasctl.data.metrics import CONSTANT_TOLERANCE, METRICS, is_constant
from nasctl.errors import MachineError, UsageError, nearest
from nasctl.rng import stream_seed

Array = np.ndarray[Any, np.dtype[Any]]
Weighted = Callable[[Array], Array]
"""Weights [B, n] of B resamples -> the metric of each [B]."""

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0
CHUNK = 1 << 18
"""Weights held in memory at a time: few enough for a processor's cache, many enough for its vectors."""
TIE = 1e-12
"""Values that differ by no more are equal: of equal differences of accuracies, rounding parts the last bits."""


@dataclass(frozen=True)
class Predictions:
    """What a system answered on one split: three entries of equal length n, rows in the order of their ids."""

    row_ids: tuple[str, ...]
    gold: Array
    predicted: Array


@dataclass(frozen=True)
class Resampled:
    """A metric and how it scatters: its value, its value in every resample [B], and with each row left out [n].

    A single row cannot be left out: `jackknife` is empty then.
    """

    estimate: float
    resamples: Array
    jackknife: Array

    def __sub__(self, other: Resampled) -> Resampled:
        """The paired difference of two systems that answered the same rows, resampled alike."""
        return Resampled(
            self.estimate - other.estimate, self.resamples - other.resamples, self.jackknife - other.jackknife
        )


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its interval."""

    estimate: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside."""
        return not self.low <= value <= self.high


def read_predictions(path: Path, split: str = "test") -> Predictions:
    """One split of a predictions.jsonl (objects with split, row_id, gold, prediction, one a line).

    Raises MachineError if the file cannot be read as such, UsageError if it holds nothing of the split.
    """
    try:
        lines = path.read_text("utf-8").split("\n")  # splitlines also ends them at U+2028, which may stand in an id
        entries = [json.loads(line) for line in lines if line]
        rows = sorted(
            (str(each["row_id"]), each["gold"], each["prediction"]) for each in entries if each["split"] == split
        )
        row_ids = tuple(row_id for row_id, _, _ in rows)
        gold, predicted = np.array([numbers for _, *numbers in rows], np.float64).reshape(-1, 2).T
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MachineError(f"{path} holds no predictions: {error}", "run the study's final evaluation again") from error
    if not row_ids:
        splits = sorted({str(entry["split"]) for entry in entries})
        raise UsageError(f"{path} holds no predictions of the split {split}", nearest(split, splits))
    return Predictions(row_ids, gold, predicted)


def resample(
    predictions: Predictions,
    metric: str,
    *,
    classes: int = 0,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    jackknife: bool = True,
) -> Resampled:
    """The metric of the predictions, in each of `resamples` draws of n rows, and with every row left out once.

    It means the same in all of them: `classes` is how many the data set has, 0 for as many as occur in all rows.
    The draws depend on n, `resamples` and `seed` alone. Without `jackknife` that part is empty (percentile intervals
    do not need it).
    """
    rows = len(predictions.row_ids)
    gold, predicted = predictions.gold, predictions.predicted
    statistic = STATISTICS[metric](gold, predicted, classes)
    found = resample_rows(statistic, rows, resamples=resamples, seed=seed, jackknife=jackknife)
    return replace(found, estimate=METRICS[metric].function(gold, predicted, classes))


def resample_rows(
    statistic: Weighted, rows: int, *, resamples: int = RESAMPLES, seed: int = SEED, jackknife: bool = True
) -> Resampled:
    """As `resample`, for any function of how often each of n rows counts."""
    chunk = max(1, CHUNK // rows)
    draw = np.random.default_rng(seed)
    drawn = [
        statistic(_counts(draw.integers(rows, size=(min(chunk, resamples - start), rows))))
        for start in range(0, resamples, chunk)
    ]
    left_out = []
    for start in range(0, rows if jackknife and rows > 1 else 0, chunk):
        weights = np.ones((min(chunk, rows - start), rows))
        np.fill_diagonal(weights[:, start:], 0.0)
        left_out.append(statistic(weights))
    return Resampled(
        float(statistic(np.ones((1, rows)))[0]),
        np.concatenate(drawn),
        np.concatenate(left_out) if left_out else np.empty(0),
    )


def resample_means(first: Array, second: Array, *, resamples: int = RESAMPLES, seed: int = SEED) -> Resampled:
    """How much higher the first mean is: two samples of any sizes (two rows or more) that share no row."""
    offset = first[0]  # rounding then parts no samples that are constant, and alike, but of unlike sizes
    one, other = (
        resample_rows(_mean(values - offset), len(values), resamples=resamples, seed=stream_seed(seed, "means", name))
        for name, values in (("first", first), ("second", second))
    )
    left_out = [one.jackknife - other.estimate, one.estimate - other.jackknife]
    return Resampled(one.estimate - other.estimate, one.resamples - other.resamples, np.concatenate(left_out))


def interval(resampled: Resampled, method: Literal["bca", "percentile"] = "bca", level: float = LEVEL) -> Interval:
    """The bounds that hold the middle `level` of the resamples.

    "bca" moves them for bias and skewness (Efron and Tibshirani 1993, eqs. 14.10, 14.14 and 14.15); where that is
    undefined (all resamples lie on one side of the estimate, or no row matters) it is the percentile interval.
    """
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        tails = _corrected(resampled, tails)
    low, high = np.quantile(resampled.resamples, tails)
    return Interval(resampled.estimate, float(low), float(high))


def verdict(difference: Interval, direction: Literal["maximize", "minimize"] = "maximize") -> str:
    """A difference in words: "better" or "worse" if its interval excludes 0, else "not distinguishable"."""
    if not difference.excludes(0.0):
        return "not distinguishable"
    return "better" if (difference.estimate > 0) == (direction == "maximize") else "worse"


def _counts(drawn: Array) -> Array:
    """Row numbers [B, n] -> how often each row was drawn [B, n]; in memory, the counts of a row stand together."""
    resamples, rows = drawn.shape
    drawn *= resamples  # in place: the draws are nobody else's
    drawn += np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * rows).reshape(rows, resamples).T.astype(np.float64)


def _corrected(resampled: Resampled, tails: Array) -> Array:
    normal = NormalDist()
    above = resampled.resamples - resampled.estimate
    ties = float(np.mean(np.abs(above) <= TIE))
    below = float(np.mean(above < -TIE)) + ties / 2  # metrics of few values (accuracy) tie often
    pull = resampled.jackknife.mean() - resampled.jackknife if len(resampled.jackknife) else np.zeros(1)
    spread = float(np.sum(pull**2))
    if not 0 < below < 1 or spread == 0:
        return tails
    bias, acceleration = normal.inv_cdf(below), float(np.sum(pull**3)) / (6 * spread**1.5)
    shifted = [bias + normal.inv_cdf(float(tail)) for tail in tails]
    return np.array([normal.cdf(bias + z / (1 - acceleration * z)) for z in shifted])


# --- metrics of weighted rows -----------------------------------------------------------------------------------------


def _uncorrelated(weights: Array) -> Array:
    """Of a side that is constant as a whole: its resamples are, too, and what differs in them is rounding."""
    return np.zeros(len(weights))


def _pearson(gold: Array, predicted: Array, _classes: int) -> Weighted:
    if is_constant(gold) or is_constant(predicted):
        return _uncorrelated
    columns = np.column_stack([_centred(gold), _centred(predicted)])
    moments = np.column_stack([columns, columns**2, columns[:, :1] * columns[:, 1:]])
    sizes = np.abs(columns).max(axis=0)

    def statistic(weights: Array) -> Array:
        total = weights.sum(axis=1)
        x, y, xx, yy, xy = (weights @ moments / total[:, None]).T
        return _correlation(xy - x * y, xx - x**2, yy - y**2, sizes)

    return statistic


def _spearman(gold: Array, predicted: Array, _classes: int) -> Weighted:
    if is_constant(gold) or is_constant(predicted):
        return _uncorrelated
    order = np.argsort(predicted, kind="stable")  # rows stand in this order below, which spares sorting one side
    ranks_x, ranks_y = _weighted_ranks(gold[order]), _weighted_ranks(predicted[order])

    def statistic(weights: Array) -> Array:
        weights = weights.T[order]  # [n, B]: rows are moved as a whole, and sums over them run along the resamples
        total = weights.sum(axis=0)
        x, y = ranks_x(weights), ranks_y(weights)
        x -= total / 2  # the weighted mean of ranks is known
        y -= total / 2
        wx = weights * x
        covariance, variance_x = np.einsum("nb,nb->b", wx, y), np.einsum("nb,nb->b", wx, x)
        variance_y = np.einsum("nb,nb,nb->b", weights, y, y)
        cube = total**3
        return _correlation(covariance / cube, variance_x / cube, variance_y / cube, np.ones(2))

    return statistic


def kendall(gold: Array, predicted: Array) -> Weighted:
    """Kendall's tau-b of weighted rows, 0 where a side is constant; for few rows, since it looks at all pairs."""
    x, y = (np.sign(np.subtract.outer(values, values)) for values in (gold, predicted))
    both, first, second = x * y, x**2, y**2

    def statistic(weights: Array) -> Array:
        agree, of_x, of_y = (np.einsum("bi,ij,bj->b", weights, pairs, weights) for pairs in (both, first, second))
        size = of_x * of_y
        return np.where(size > 0, agree / np.sqrt(np.where(size > 0, size, 1.0)), 0.0)

    return statistic


def _mean(values: Array) -> Weighted:
    return lambda weights: np.asarray(weights @ values / weights.sum(axis=1))


def _accuracy(gold: Array, predicted: Array, _classes: int) -> Weighted:
    right = (gold == predicted).astype(np.float64)
    return lambda weights: np.asarray(weights @ right / weights.sum(axis=1))


def _f1(gold: Array, predicted: Array, classes: int) -> Weighted:
    confusion = _confusion(gold, predicted, classes)

    def statistic(weights: Array) -> Array:
        counts = confusion(weights)
        right, both = np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=1) + counts.sum(axis=2)
        each = 2.0 * right / np.maximum(both, 1.0)  # [B, classes]; 0 for a class that does not occur
        if (classes or each.shape[1]) <= 2:
            return np.asarray(each[:, 1]) if each.shape[1] > 1 else np.zeros(len(each))
        return np.asarray(each.sum(axis=1) / np.maximum((both > 0).sum(axis=1), 1))

    return statistic


def _mcc(gold: Array, predicted: Array, classes: int) -> Weighted:
    confusion = _confusion(gold, predicted, classes)

    def statistic(weights: Array) -> Array:
        counts = confusion(weights)
        right, total = np.trace(counts, axis1=1, axis2=2), counts.sum(axis=(1, 2))
        made, real = counts.sum(axis=1), counts.sum(axis=2)
        spread = (total**2 - (made**2).sum(axis=1)) * (total**2 - (real**2).sum(axis=1))
        top = right * total - (made * real).sum(axis=1)
        return np.where(spread > 0, top / np.sqrt(np.where(spread > 0, spread, 1.0)), 0.0)

    return statistic


STATISTICS: Mapping[str, Callable[[Array, Array, int], Weighted]] = MappingProxyType(
    {"pearson": _pearson, "spearman": _spearman, "accuracy": _accuracy, "f1": _f1, "mcc": _mcc}
)
"""The metrics of `data.metrics.METRICS`, for weighted rows: (gold [n], predicted [n], classes) -> Weighted."""


def _centred(values: Array) -> Array:
    """Deviations from the mean, the largest 1, so that sums of squares neither cancel nor leave float64's range."""
    deviations = values - values.mean()
    return np.asarray(deviations / max(float(np.abs(deviations).max()), np.finfo(np.float64).tiny))


def _correlation(covariance: Array, variance_x: Array, variance_y: Array, sizes: Array) -> Array:
    """Correlations, 0 where a side is constant up to rounding; `sizes` are the largest values of the two sides."""
    floor_x, floor_y = (CONSTANT_TOLERANCE * sizes) ** 2 / 4
    varies = (variance_x > floor_x) & (variance_y > floor_y)
    product = np.where(varies, variance_x * variance_y, 1.0)
    return np.where(varies, np.clip(covariance / np.sqrt(product), -1.0, 1.0), 0.0)


def _weighted_ranks(values: Array) -> Weighted:
    """Weights [n, B] -> each row's average rank [n, B], from 0 to the weights' sum: ties share the middle of theirs."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    group = np.empty(len(values), np.int64)
    group[order] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(values))))
    is_sorted, has_ties = bool(np.all(order[1:] > order[:-1])), len(starts) < len(values)

    def ranks(weights: Array) -> Array:
        sizes = weights if is_sorted else weights[order]
        sizes = np.add.reduceat(sizes, starts, axis=0) if has_ties else sizes
        middles = np.cumsum(sizes, axis=0)
        middles -= sizes / 2
        return middles if is_sorted and not has_ties else middles[group]

    return ranks


def _confusion(gold: Array, predicted: Array, classes: int) -> Weighted:
    """Weights [B, n] -> counts [B, real class, predicted class]: of all classes, and of whatever else occurs."""
    gold, predicted = gold.astype(np.int64), predicted.astype(np.int64)
    size = max(int(max(gold.max(), predicted.max())) + 1, classes)
    cells = np.zeros((len(gold), size * size))
    cells[np.arange(len(gold)), gold * size + predicted] = 1.0
    return lambda weights: (weights @ cells).reshape(-1, size, size)
