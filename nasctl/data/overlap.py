"""Pairs that two splits share, in one data set or across two: what a model has seen before it is tested on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from nasctl.data.pairs import Pair, Part

__all__ = ["Overlap", "overlaps", "pair_key"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """`pairs` different sentence pairs stand in both of two splits, each named "dataset/split"."""

    one: str
    other: str
    pairs: int


def pair_key(pair: Pair) -> tuple[str, str]:
    """What two pairs have in common if they are one: letters and digits in lower case, the order of the two ignored.

    Blanks go the way of the punctuation, because corpora differ in where they put them ("world 's", "world's").
    """
    first, second = sorted("".join(filter(str.isalnum, text.lower())) for text in (pair.first, pair.second))
    return first, second


def overlaps(datasets: Mapping[str, Mapping[str, Part]]) -> Iterator[Overlap]:
    """Every two splits that share a pair of sentences, in the order given; labels are not compared."""
    keys = {
        f"{dataset}/{split}": {pair_key(pair) for pair in part.pairs}
        for dataset, parts in datasets.items()
        for split, part in parts.items()
    }
    for one, other in combinations(keys, 2):
        if shared := len(keys[one] & keys[other]):
            yield Overlap(one, other, shared)
