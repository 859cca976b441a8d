"""Columns, durations and sizes as people read them."""

from __future__ import annotations

import pytest

from nasctl.cli.text import columns, counted, duration, size, terminal_width


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1.5e9, "1.5 GB"), (2e12, "2.0 TB")]
)
def test_sizes(amount, text):
    assert size(amount) == text


def test_numbers_of_things():
    assert (counted(1, "epoch"), counted(2, "epoch"), counted(0, "run")) == ("1 epoch", "2 epochs", "0 runs")


def test_columns_are_as_wide_as_they_must_be():
    assert columns(("NAME", "N"), [("a", 5), ("long name", 12)], right=("N",)) == (
        "NAME        N\na           5\nlong name  12"
    )


def test_the_last_column_is_wrapped_where_there_is_a_width():
    text = columns(("A", "WHAT"), [("x", "one two three four five six seven")], width=27)
    assert text.splitlines() == ["A  WHAT", "x  one two three four five", "   six seven"]
    assert columns(("A", "WHAT"), [("x" * 30, "one two")], width=27).splitlines()[1] == "x" * 30 + "  one two"


def test_a_pipe_has_no_width():
    assert terminal_width() is None
