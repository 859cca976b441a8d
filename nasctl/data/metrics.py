"""How predictions are judged: the metrics, and which task each metric and each loss belongs to.

Everything is computed in float64 with numpy alone. Constant predictions (or constant gold labels) have no correlation;
Pearson, Spearman and Matthews are 0 then, and `is_constant` tells the caller, who counts it. A prediction that is not
a finite number makes the correlations NaN: such a run has diverged, and no ranking hides it.

What a metric means follows from the data set, never from the classes that happen to occur in some of its rows: a dev
split, an epoch's predictions and a resample of test rows are judged alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from nasctl.specs import Loss, Task
from nasctl.specs import Metric as MetricName

__all__ = ["DEFAULT_METRIC", "LOSSES", "METRICS", "Metric", "is_constant", "score"]

Array = np.ndarray[Any, np.dtype[Any]]

CONSTANT_TOLERANCE = 1e-6
"""Relative. A model that answers one value everywhere still differs by float32 rounding between batches (6e-7)."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of `METRICS`.

    `function(gold, predicted, classes)` takes two arrays of equal length n: floats for regression, class numbers for
    classification; `classes` is how many the data set has: 0 for regression, and where nobody knows, which stands for
    as many as occur. `worst` is what a diverged run is told to have; shown numbers are multiplied by `scale`.
    """

    name: str
    task: Task
    direction: Literal["maximize", "minimize"]
    worst: float
    scale: float
    function: Callable[[Array, Array, int], float]

    @property
    def sign(self) -> float:
        """What a score is multiplied by so that higher is better."""
        return 1.0 if self.direction == "maximize" else -1.0


def is_constant(predicted: Array) -> bool:
    """Whether all predictions are one value, up to float32 rounding; one prediction alone is constant."""
    values = np.asarray(predicted, np.float64)
    span = float(np.ptp(values))
    return bool(np.isfinite(span)) and span <= CONSTANT_TOLERANCE * float(np.abs(values).max())


def pearson(gold: Array, predicted: Array, _classes: int = 0) -> float:
    """Pearson's correlation, in [-1, 1]; 0.0 if either side is constant."""
    gold, predicted = np.asarray(gold, np.float64), np.asarray(predicted, np.float64)
    if not (np.isfinite(gold).all() and np.isfinite(predicted).all()):
        return float("nan")
    if is_constant(gold) or is_constant(predicted):
        return 0.0
    # Dividing by the largest deviation first keeps the squares from leaving float64's range.
    x, y = gold - gold.mean(), predicted - predicted.mean()
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def spearman(gold: Array, predicted: Array, _classes: int = 0) -> float:
    """Spearman's rank correlation, ties at their average rank; 0.0 if either side is constant."""
    gold, predicted = np.asarray(gold, np.float64), np.asarray(predicted, np.float64)
    if not (np.isfinite(gold).all() and np.isfinite(predicted).all()):
        return float("nan")
    if is_constant(gold) or is_constant(predicted):
        return 0.0
    return pearson(_average_ranks(gold), _average_ranks(predicted))


def accuracy(gold: Array, predicted: Array, _classes: int = 0) -> float:
    """Share of equal entries."""
    return float(np.mean(np.asarray(gold) == np.asarray(predicted)))


def f1(gold: Array, predicted: Array, classes: int) -> float:
    """F1 of class 1 (the second) of two classes; of more the unweighted mean over those that occur on either side.

    A class that is neither right nor wrong anywhere has F1 0.
    """
    confusion = _confusion(gold, predicted, classes)
    right, made, real = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    each = 2.0 * right / np.maximum(made + real, 1)
    if (classes or len(each)) <= 2:
        return float(each[1]) if len(each) > 1 else 0.0
    return float(each[(made + real) > 0].mean())


def mcc(gold: Array, predicted: Array, classes: int) -> float:
    """Matthews' correlation; for more than two classes Gorodkin 2004, R_K. 0.0 if either side is constant."""
    confusion = _confusion(gold, predicted, classes).astype(np.float64)
    total, right = confusion.sum(), np.trace(confusion)
    made, real = confusion.sum(axis=0), confusion.sum(axis=1)
    spread = (total**2 - made @ made) * (total**2 - real @ real)
    return float((right * total - made @ real) / np.sqrt(spread)) if spread > 0 else 0.0


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("pearson", "regression", "maximize", -1.0, 100.0, pearson),
            Metric("spearman", "regression", "maximize", -1.0, 100.0, spearman),
            Metric("accuracy", "classification", "maximize", 0.0, 100.0, accuracy),
            Metric("f1", "classification", "maximize", 0.0, 100.0, f1),
            Metric("mcc", "classification", "maximize", -1.0, 100.0, mcc),
        )
    }
)

DEFAULT_METRIC: Mapping[Task, MetricName] = MappingProxyType({"regression": "pearson", "classification": "accuracy"})
"""What `metric: auto` means."""

LOSSES: Mapping[Loss, Task] = MappingProxyType(
    {"mse": "regression", "mae": "regression", "cross_entropy": "classification"}
)
"""Which losses fit which task."""


def score(task: Task, gold: Array, predicted: Array, classes: int) -> dict[str, float]:
    """Every metric of `task`, in the order of `METRICS`; `classes` as there.

    Raises ValueError if the two sides are not of one length, or empty.
    """
    gold, predicted = np.asarray(gold), np.asarray(predicted)
    if gold.ndim != 1 or gold.shape != predicted.shape or not len(gold):
        raise ValueError(f"gold has shape {gold.shape}, predicted {predicted.shape}; both must be [n] with n > 0")
    fitting = (metric for metric in METRICS.values() if metric.task == task)
    return {metric.name: metric.function(gold, predicted, classes) for metric in fitting}


def _average_ranks(values: Array) -> Array:
    """Ranks from 0; equal values share the mean of their places."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray(ends - (counts + 1) / 2)[place]


def _confusion(gold: Array, predicted: Array, classes: int) -> Array:
    """Counts [real class, predicted class], square: of all classes, and of whatever else occurs."""
    gold, predicted = np.asarray(gold, np.int64), np.asarray(predicted, np.int64)
    size = max(int(max(gold.max(), predicted.max())) + 1, classes)
    return np.bincount(gold * size + predicted, minlength=size * size).reshape(size, size)
