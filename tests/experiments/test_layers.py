"""Letters: where cells stand, and what the paper calls that."""

from __future__ import annotations

import pytest

from nasctl.errors import UsageError
from nasctl.experiments.layers import from_paper, layer_letters, paper_letters


@pytest.mark.parametrize(
    ("model", "cell", "asked", "letters"),
    [
        ("blm", "lstm", None, "L"),
        ("esim", "lstm", None, "LL"),
        ("bow", "lstm", None, ""),
        ("esim", "lstm", "LL", "LL"),
        ("blm", "random", None, "C"),
        ("esim", "random", None, "CC"),
        ("esim", "named", "LC", "LC"),
        ("esim", "file", "CL", "CL"),
    ],
)
def test_a_letter_per_layer(model, cell, asked, letters):
    assert layer_letters(model, cell, asked) == letters


@pytest.mark.parametrize(
    ("model", "cell", "asked", "hint"),
    [
        ("blm", "lstm", "LL", "one letter per recurrent layer: layers=L"),
        ("blm", "random", "CL", "one letter per recurrent layer: layers=C"),
        ("esim", "random", "C", "one letter per recurrent layer: layers=CC or CL or LC"),
        ("esim", "random", "LL", "layers=CC or CL or LC (C is the cell), or cell=lstm"),
        ("esim", "lstm", "CL", "layers=LL, or say which cell C is: cell=random, named or file"),
        ("esim", "random", "CX", "C is the cell, L an LSTM: layers=CC or CL or LC"),
        ("esim", "random", "cl", "layers=CL"),
        ("bow", "lstm", "L", "bow has no recurrent layer: leave layers= away"),
        ("bow", "random", None, "cell=lstm"),
    ],
)
def test_letters_that_do_not_fit_are_refused_with_those_that_do(model, cell, asked, hint):
    with pytest.raises(UsageError, match=f"model={model}") as caught:
        layer_letters(model, cell, asked)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("letters", "meant"),
    [
        ("RL", ("random", "CL")),
        ("R", ("random", "C")),
        ("LE", ("searched", "LC")),
        ("TT", ("transferred", "CC")),
        ("CL", None),
        ("LL", None),
        ("", None),
    ],
)
def test_the_papers_letters_are_two_settings(letters, meant):
    assert from_paper(letters) == meant
    if meant is not None:
        assert paper_letters(*meant) == letters


@pytest.mark.parametrize("letters", ["RE", "RC"])
def test_cells_come_from_one_place(letters):
    with pytest.raises(UsageError, match="from two places"):
        from_paper(letters)


def test_cells_that_the_paper_does_not_know_keep_their_letter():
    assert paper_letters("named", "CL") == "CL"
    assert paper_letters("lstm", "LL") == "LL"
