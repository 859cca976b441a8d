"""Which rows of one file become dev or test data. The door to scikit-learn's split, by which SICK-R's is defined."""

from __future__ import annotations

import math

__all__ = ["share", "split_rows"]


def share(rows: int, fraction: float) -> int:
    """How many of so many rows are held out for a fraction: rounded up, as scikit-learn does."""
    return math.ceil(fraction * rows)


def split_rows(rows: int, held_out: int, seed: int) -> tuple[list[int], list[int]]:
    """The rows that stay and the rows that are held out, both in scikit-learn's order, not stratified.

    Nothing but these three numbers decides it; in particular no training seed does. Raises ValueError if one of the
    two sides would be empty.
    """
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - costs seconds, see data.tokens

    stays, out = train_test_split(range(rows), test_size=held_out, random_state=seed)
    return list(stays), list(out)
