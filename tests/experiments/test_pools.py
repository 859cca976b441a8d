"""Pools: drawn, named, from files; and what is no pool."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from nasctl.cells.graph import CellGraph, Op, Step
from nasctl.cells.library import LIBRARY, gru
from nasctl.cells.spelling import spelled
from nasctl.cells.text import to_json, to_text
from nasctl.errors import UsageError
from nasctl.experiments.found import Place
from nasctl.experiments.pools import FileCells, LstmCells, NamedCells, RandomCells, cells_of

TEN = RandomCells("random", "enas", 6, 10, 0)


def place(model: str) -> Place:
    return Place(Path("nowhere"), "demo", "svd", model)


def named(*names: str) -> NamedCells:
    return NamedCells("named", names)


def files(*names: str) -> FileCells:
    return FileCells("file", names)


def test_lstms_need_no_pool():
    cells = cells_of(LstmCells("lstm"), place("esim"), None)
    assert (cells.layers, cells.letters, cells.pool, cells.names) == ("LL", "LL", None, ())
    assert cells.spelled == ("lstm", "lstm")
    assert cells.digest == ""


def test_the_random_pool_is_the_same_for_every_model_and_layout():
    first = cells_of(TEN, place("blm"), None)
    second = cells_of(TEN, place("esim"), "LC")
    assert first.pool.cells == second.pool.cells
    assert first.digest == second.digest
    assert len(set(first.names)) == 10
    assert (first.letters, second.letters) == ("R", "LR")
    assert (first.pool.places, second.pool.places) == ((1,), (2,))
    assert second.spelled == ("lstm", second.pool.cells[0].cell)


def test_the_random_pool_is_this_one():
    """Studies of years ago must find their pool again: the draw may never change."""
    assert cells_of(TEN, place("blm"), None).names[:2] == FIRST_TWO


FIRST_TWO = (
    "sigmoid-0-relu-1-identity-1-sigmoid-2-sigmoid-2-identity",
    "relu-0-sigmoid-1-identity-1-tanh-1-identity-2-relu",
)


def test_another_seed_is_another_pool():
    other = cells_of(RandomCells("random", "enas", 6, 10, 1), place("blm"), None)
    assert other.digest != cells_of(TEN, place("blm"), None).digest


def test_cells_are_named_by_the_library_or_by_their_code():
    cells = cells_of(named("gru", "24", "lstm", "tanh-0-relu"), place("blm"), None)
    assert cells.names == ("gru", "enas-24", "lstm", "tanh-0-relu")
    assert [each.cell for each in cells.pool.cells][:3] == [
        spelled(gru()),
        spelled(LIBRARY["enas-24"].graph),
        "lstm",
    ]
    assert cells.letters == "C"


@pytest.mark.parametrize("write", [lambda graph: json.dumps(to_json(graph)), to_text])
def test_a_file_holds_a_cell_in_json_or_in_a_line(tmp_path, write):
    (tmp_path / "mine.cell").write_text(write(gru()) + "\n")
    cells = cells_of(files("mine.cell"), place("blm"), None)
    assert cells.names == ("mine",)
    assert cells.pool.cells[0].cell == spelled(gru())


def test_one_graph_twice_is_a_warning_that_names_both(caplog):
    with caplog.at_level(logging.WARNING):
        cells_of(named("enas-8", "gru", "enas-10"), place("blm"), None)
    assert "the cells enas-8, enas-10 are one graph" in caplog.text
    assert "gru" not in caplog.text


CODE_OF_24 = "-".join(LIBRARY["enas-24"].code)


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        (named("gru", "gru"), "two cells called gru", "name each cell once"),
        (named("enas-24", CODE_OF_24), f"the code {CODE_OF_24} twice: enas-24 and {CODE_OF_24}", "take one of them"),
        (named("gur"), "there is no cell 'gur'", "did you mean gru"),
        (named("tanh-0-rleu"), "there is no 'rleu'", "did you mean relu"),
        (named("tanh-0"), "tanh-0 ends behind 2 choices", "next is an op"),
        (named("tanh-1-relu"), "there is no '1'", "known: 0"),
        (RandomCells("random", "enas", 1, 10, 0), "the space enas has 4", ""),
        (RandomCells("random", "ensa", 6, 10, 0), "there is no space 'ensa'", "did you mean enas"),
        (files("nowhere.json"), "nowhere.json cannot be read", ""),
        (files("broken.json"), "broken.json is no JSON", ""),
        (files("other.json"), "this JSON is no cell", ""),
        (files("masked.json"), "the cell reads a mask", "no model gives it one"),
        (files("good.json", "sub/good.json"), "two cells called good", "rename a file"),
    ],
    ids=str,
)
def test_what_is_no_pool_is_refused(tmp_path, source, message, hint):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"rows": []}')
    masked = CellGraph(("H",), (Step(Op.LINEAR, (0, 1), ("a", "b")), Step(Op.MUL, (2, 3))), (4,), ("H",))
    (tmp_path / "masked.json").write_text(json.dumps(to_json(masked)))
    (tmp_path / "sub").mkdir()
    for path in ("good.json", "sub/good.json"):
        (tmp_path / path).write_text(json.dumps(to_json(gru())))
    with pytest.raises(UsageError) as caught:
        cells_of(source, place("blm"), None)
    assert message in str(caught.value)
    assert hint in caught.value.hint
