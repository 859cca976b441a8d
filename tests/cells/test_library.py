"""The published cells: what they hold, where they come from, how they are asked for."""

import pytest

from nasctl import reference
from nasctl.cells.library import LIBRARY, library_cell
from nasctl.errors import UsageError


def test_the_library_has_the_paper_and_the_classics():
    assert list(LIBRARY) == ["lstm", "gru", "rnn", *(f"enas-{number}" for number in range(1, 27))]
    assert all(name == cell.name and cell.source for name, cell in LIBRARY.items())


def test_the_codes_are_those_of_table_6():
    for row in reference.architectures():
        (_, first), *others = row.nodes
        code = (first, *(text for parent, op in others for text in (str(parent), op)))
        assert LIBRARY[f"enas-{row.architecture}"].code == code


@pytest.mark.parametrize(("name", "code"), [("lstm", None), ("gru", None), ("rnn", None)])
def test_a_cell_of_no_space_has_no_code(name, code):
    assert LIBRARY[name].code is code


@pytest.mark.parametrize(
    ("name", "input_width", "hidden", "parameters"),
    [
        ("lstm", 300, 300, 722_400),
        ("gru", 300, 300, 541_800),
        ("rnn", 300, 300, 180_600),
        *((f"enas-{number}", 300, 300, 1_260_600) for number in range(1, 27)),
        ("enas-24", 768, 384, 2 * ((768 + 384) * 384 + 384) + 5 * 2 * 384**2),
    ],
)
def test_parameters_are_those_of_the_formulas(name, input_width, hidden, parameters):
    assert LIBRARY[name].graph.parameters(input_width, hidden) == parameters


def test_the_forget_gate_alone_starts_at_one():
    assert sorted(LIBRARY["lstm"].graph.biases.values()) == [0.0] * 7 + [1.0]


@pytest.mark.parametrize("name", ["24", "024", "enas-24"])
def test_a_number_is_a_row_of_table_6(name):
    assert library_cell(name) is LIBRARY["enas-24"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lsmt", "did you mean lstm?"),
        ("enas24", "did you mean enas-24"),
        ("27", "enas-1 to enas-26"),
        ("0", "enas-1 to enas-26"),
        ("", "known: lstm, gru, rnn, enas-1 to enas-26"),
        ("٢٤", "known: lstm"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_the_nearest(name, hint):
    with pytest.raises(UsageError, match="no cell") as raised:
        library_cell(name)
    assert hint in raised.value.hint


def test_a_graph_is_built_once():
    assert LIBRARY["enas-24"].graph is LIBRARY["enas-24"].graph
