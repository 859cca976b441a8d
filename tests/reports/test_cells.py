from __future__ import annotations

import pytest

from nasctl import reference
from nasctl.cells import spelling
from nasctl.cells.library import LIBRARY, gru, lstm
from nasctl.reports.cells import ChosenCell, cell_code, cell_text, graph_of, paper_cells
from nasctl.spaces.named import cell_called

OTHER = "tanh-0-relu-1-sigmoid-0-tanh-2-identity-4-relu"
MINE = "next h1 = add(tanh(linear(x, h1)), h1)"


def digest(name: str) -> str:
    return spelling.digest_of(spelling.spelled(cell_called(name).graph))


def test_table_6_has_the_papers_codes() -> None:
    codes = {
        row.architecture: "-".join(part for node in row.nodes for part in (*map(str, node[:1]), node[1])).removeprefix(
            "None-"
        )
        for row in reference.architectures()
    }
    assert {number: code for number, (code, _) in paper_cells().items()} == codes
    digests = [digest for _, digest in paper_cells().values()]
    assert {number for number, each in enumerate(digests, 1) if digests.count(each) > 1} == {8, 10, 11}


@pytest.mark.parametrize(
    ("name", "of", "label"),
    [
        ("enas-24", "enas-24", "24"),
        ("sigmoid-0-sigmoid-1-tanh-1-sigmoid-1-sigmoid-1-relu", "enas-24", "24"),
        (
            "sigmoid-0-tanh-0-sigmoid-1-sigmoid-1-sigmoid-1-relu",
            "sigmoid-0-tanh-0-sigmoid-1-sigmoid-1-sigmoid-1-relu",
            "",
        ),
        ("enas-10", "enas-10", "10"),
        ("tanh-0-identity-0-tanh-0-identity-0-identity-0-tanh", "enas-8", "8"),
        ("tanh-0-identity-0-identity-0-identity-0-tanh-0-tanh", "enas-8", "8, 10, 11"),  # theirs by another code
        ("enas-24", "gru", "gru"),  # a file that borrows a name of the paper's
        (OTHER, OTHER, OTHER),
        ("mine", OTHER, "mine"),
        ("gru", "gru", "gru"),
    ],
)
def test_what_a_cell_is_called(name: str, of: str, label: str) -> None:
    assert ChosenCell(name, digest(of)).label == (label or name)


def test_a_cell_without_a_name_is_called_by_what_it_is() -> None:
    for graph, label in ((gru(), "gru"), (LIBRARY["enas-3"].graph, "3"), (cell_called(OTHER).graph, OTHER)):
        text = spelling.spelled(graph)
        found = ChosenCell(text, spelling.digest_of(text))
        code = cell_code(found)
        assert found.label == (label if label != OTHER else code)
        if code:
            assert digest(code) == found.digest
    mine = spelling.spelled(spelling.cell_of(MINE))
    assert ChosenCell(mine, spelling.digest_of(mine)).label == spelling.digest_of(mine)


def test_a_graph_is_found_by_name_or_text_and_never_another() -> None:
    assert graph_of(ChosenCell("enas-24", digest("enas-24"))) == LIBRARY["enas-24"].graph
    assert graph_of(ChosenCell(OTHER, digest(OTHER))) == cell_called(OTHER).graph
    assert graph_of(ChosenCell("enas-24", digest("enas-23"))) is None
    assert graph_of(ChosenCell("mine", digest("gru"))) is None
    text = spelling.spelled(gru())
    for found in (ChosenCell("mine", digest("gru"), text), ChosenCell(text, digest("gru"))):
        assert cell_text(found) == text
        assert cell_code(found) == ""
    assert graph_of(ChosenCell("lstm", "lstm")) == lstm()
    assert cell_code(ChosenCell(OTHER, digest(OTHER))) == OTHER
