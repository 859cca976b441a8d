from __future__ import annotations

import pytest

from nasctl.data.overlap import Overlap, overlaps, pair_key
from nasctl.data.pairs import Pair, Part


def part(*texts):
    return Part(tuple(Pair(str(i), *pair, "1") for i, pair in enumerate(texts)), "x", tuple(range(len(texts))))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (("A man's dog.", "It runs!"), ("a man 's dog", "it runs ."), True),
        (("It runs", "A dog"), ("a dog", "it runs"), True),
        (("3.5 litres", "x"), ("35 litres", "x"), True),
        (("a dog", "it runs"), ("a dog", "it ran"), False),
        (("é", "x"), ("e", "x"), False),
    ],
)
def test_case_punctuation_blanks_and_order_do_not_count(first, second, same):
    assert (pair_key(Pair("1", *first, "0")) == pair_key(Pair("2", *second, "5"))) is same


def test_shared_pairs_are_counted_once_between_every_two_splits():
    datasets = {
        "one": {"train": part(("a", "b"), ("B", "a."), ("c", "d")), "test": part(("x", "y"))},
        "two": {"train": part(("D", "C")), "test": part(("b!", "a"), ("c", "d"))},
    }
    assert list(overlaps(datasets)) == [
        Overlap("one/train", "two/train", 1),
        Overlap("one/train", "two/test", 2),
        Overlap("two/train", "two/test", 1),
    ]
