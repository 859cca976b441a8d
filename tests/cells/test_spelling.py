"""One text per cell, whatever it is called and however it was written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasctl.cells import spelling
from nasctl.cells.graph import Bias, CellGraph, Op, Step
from nasctl.cells.library import LIBRARY, gru, lstm
from nasctl.cells.rewrite import cell_digest, equal
from nasctl.errors import UsageError

RNN = "next h1 = tanh(linear(x, h1, +))"


def test_the_lstm_is_never_written_out():
    assert spelling.spelled(lstm()) == spelling.digest_of("lstm") == "lstm"
    assert spelling.cell_of("lstm") == lstm()


def test_an_lstm_that_starts_otherwise_is_another_cell():
    steps = tuple(Step(s.op, s.args, s.weights, tuple(Bias(b.key) for b in s.biases)) for s in lstm().steps)
    assert spelling.spelled(CellGraph(("H", "H"), steps, (15, 13))) != "lstm"


@settings(max_examples=20)
@given(st.sampled_from(sorted(LIBRARY)))
def test_every_published_cell_is_read_back_from_its_text(name):
    graph = LIBRARY[name].graph
    text = spelling.spelled(graph)
    assert equal(spelling.cell_of(text), graph)
    assert spelling.checked(text) == text
    assert text == "lstm" or spelling.digest_of(text) == cell_digest(graph)


def test_names_of_keys_and_dead_steps_do_not_show():
    one = CellGraph(("H",), (Step(Op.LINEAR, (0, 1), ("a", "b"), (Bias("c"),)), Step(Op.TANH, (2,))), (3,))
    two = CellGraph(
        ("H",),
        (Step(Op.RELU, (1,)), Step(Op.LINEAR, (1, 0), ("q", "p"), (Bias("r"),)), Step(Op.TANH, (3,))),
        (4,),
    )
    assert spelling.spelled(one) == spelling.spelled(two) == RNN


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("next h1 = tanh(linear(h1, x, +))", "is not the canonical text", RNN),
        ("next h1 = tan(linear(x, h1))", "tan", "did you mean tanh"),
        ("gru", "gru", ""),
    ],
)
def test_other_texts_are_refused(text, message, hint):
    with pytest.raises(UsageError, match=message) as caught:
        spelling.checked(text)
    assert hint in caught.value.hint


def test_equal_cells_have_one_text():
    eight, ten = (spelling.spelled(LIBRARY[name].graph) for name in ("enas-8", "enas-10"))
    assert eight == ten != spelling.spelled(gru())
