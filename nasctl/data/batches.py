"""Which rows form a batch, in which order: the same for every backend, every device and every version of numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from nasctl.data.corpus import Split
from nasctl.rng import stream_seed

__all__ = ["BUCKETS", "drawn_rows", "evaluation_batches", "training_batches"]

Array = np.ndarray[Any, np.dtype[Any]]

BUCKETS = 4
"""At most so many groups of like length: enough to save most of the padding, few enough to stay random."""


def training_batches(split: Split, batch_size: int, seed: int, epoch: int) -> list[Array]:
    """The batches of one epoch: int64 row numbers, every row once, pairs of like length together.

    Rows are shuffled, put into length buckets, cut, and the batches shuffled. All batches have `batch_size` rows but
    one, which stands anywhere, so that no length always falls into the short one.
    """
    draw = np.random.PCG64(stream_seed(seed, "data", epoch))
    rows = _shuffled(draw, np.arange(len(split), dtype=np.int64))
    rows = rows[np.argsort(_buckets(_pair_lengths(split))[rows], kind="stable")]
    full, rest = divmod(len(rows), batch_size)
    sizes = _shuffled(draw, np.array([batch_size] * full + [rest] * (rest > 0), dtype=np.int64))
    batches = np.split(rows, np.cumsum(sizes)[:-1])
    return [batches[place] for place in _shuffled(draw, np.arange(len(batches)))]


def evaluation_batches(split: Split, batch_size: int) -> list[Array]:
    """Every row once, shortest pairs first: int64 row numbers, all batches full but the last."""
    rows = np.argsort(_pair_lengths(split), kind="stable").astype(np.int64)
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def drawn_rows(split: Split, count: int, seed: int, *names: str | int) -> Array:
    """`count` different rows, int64, from the stream of these names."""
    draw = np.random.PCG64(stream_seed(seed, *names))
    return _shuffled(draw, np.arange(len(split), dtype=np.int64))[:count]


def _pair_lengths(split: Split) -> Array:
    """The longer sentence decides how far a pair's batch is padded. int64 [n]."""
    return np.maximum(split.first.lengths, split.second.lengths)


def _buckets(lengths: Array) -> Array:
    """The bucket of each row: the quantiles of the lengths are its limits, so equal lengths stay together."""
    limits = np.sort(lengths)[[len(lengths) * place // BUCKETS for place in range(1, BUCKETS)]]
    return np.searchsorted(np.unique(limits), lengths, side="left")


def _shuffled(draw: np.random.PCG64, values: Array) -> Array:
    """A random order by sorting raw bits: numpy promises those for good, its shuffles only within a version."""
    return values[np.argsort(draw.random_raw(len(values)), kind="stable")]
