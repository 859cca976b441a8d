from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasctl.data.batches import evaluation_batches, training_batches
from nasctl.data.corpus import Sentences, Split


def split_of(lengths):
    """Pairs of which the second sentence is the longer one."""
    ones, longer = np.ones(len(lengths), np.int64), np.asarray(lengths, np.int64)

    def sentences(each):
        return Sentences(np.ones(int(each.sum()), np.int32), np.concatenate([[0], np.cumsum(each)]))

    labels = np.zeros(len(lengths), np.float32)
    return Split("train", sentences(ones), sentences(longer), labels, tuple(map(str, range(len(lengths)))))


def skewed(rows, seed=0):
    return split_of(np.random.default_rng(seed).poisson(9, rows) + 1)


lengths_of_splits = st.lists(st.integers(1, 30), min_size=1, max_size=70)


@given(lengths_of_splits, st.integers(1, 80), st.integers(0, 5))
def test_every_row_stands_in_one_batch(lengths, batch_size, seed):
    split = split_of(lengths)
    for batches in (training_batches(split, batch_size, seed, 1), evaluation_batches(split, batch_size)):
        assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
        assert all(batch.dtype == np.int64 for batch in batches)
        sizes = [len(batch) for batch in batches]
        assert len(sizes) == -(-len(lengths) // batch_size)
        assert sorted(sizes)[1:] == [batch_size] * (len(sizes) - 1)


def test_the_order_is_the_same_everywhere():
    batches = training_batches(split_of([row * 7 % 23 + 1 for row in range(200)]), 16, 3, 7)
    text = ";".join(",".join(map(str, batch)) for batch in batches)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "b6b5112268260f38"


def test_seed_and_epoch_give_other_orders_and_nothing_else_does():
    split = skewed(100)

    def order(*asked):
        return [batch.tolist() for batch in training_batches(split, 8, *asked)]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_pairs_meet_other_pairs_in_every_epoch():
    split = skewed(400)
    partners = [{tuple(sorted(batch)) for batch in training_batches(split, 16, 0, epoch)} for epoch in (1, 2)]
    assert not partners[0] & partners[1]


def test_the_short_batch_falls_on_every_length():
    split = skewed(130)
    lengths = split.second.lengths
    means = [float(lengths[min(training_batches(split, 16, 0, epoch), key=len)].mean()) for epoch in range(1, 41)]
    assert min(means) < 7
    assert max(means) > 13


def padded_steps(split, batches):
    return sum(int(split.second.lengths[batch].max()) * len(batch) for batch in batches)


def test_buckets_save_most_of_the_padding():
    split = skewed(2000)
    real = int(split.second.lengths.sum())
    random_order = np.array_split(np.random.default_rng(0).permutation(2000), 2000 // 20)
    excess = {
        name: padded_steps(split, batches) - real
        for name, batches in {
            "random": random_order,
            "buckets": training_batches(split, 20, 0, 1),
            "sorted": evaluation_batches(split, 20),
        }.items()
    }
    assert excess["buckets"] < 0.45 * excess["random"]
    assert excess["sorted"] < 0.05 * excess["random"]


def test_a_batch_spans_two_neighbouring_buckets_at_most():
    split = skewed(997)
    lengths = split.second.lengths
    limits = np.unique(np.sort(lengths)[[997 * place // 4 for place in (1, 2, 3)]])
    for batch in training_batches(split, 10, 0, 1):
        assert np.ptp(np.searchsorted(limits, lengths[batch])) <= 1


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_evaluation_goes_from_short_to_long(batch_size):
    split = skewed(60)
    rows = np.concatenate(evaluation_batches(split, batch_size))
    assert (np.diff(split.second.lengths[rows]) >= 0).all()
