from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasctl.data.splits import share, split_rows


def fingerprint(rows):
    return hashlib.sha256(",".join(map(str, rows)).encode()).hexdigest()[:16]


def test_the_rows_of_sick_that_are_held_out():
    stays, out = split_rows(4500, share(4500, 0.1), 0)
    assert (len(stays), len(out)) == (4050, 450)
    assert (fingerprint(stays), fingerprint(out)) == ("cc6316f6384a89e5", "45fecb27d7b25226")


@settings(max_examples=30)
@given(st.integers(2, 200), st.floats(0.01, 0.6), st.integers(0, 2**32 - 1))
def test_it_is_scikit_learns_split_with_a_fraction(rows, fraction, seed):
    from sklearn.model_selection import train_test_split

    if share(rows, fraction) == rows:
        return
    expected = train_test_split(list(range(rows)), test_size=fraction, random_state=seed)
    assert list(split_rows(rows, share(rows, fraction), seed)) == expected


@pytest.mark.parametrize("held_out", [0, 5, 6])
def test_an_empty_side_is_refused(held_out):
    with pytest.raises(ValueError, match="test_size"):
        split_rows(5, held_out, 0)
