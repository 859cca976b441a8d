"""What a cell costs, against the arithmetic that was done by hand."""

from __future__ import annotations

import statistics
from collections import Counter

import pytest

from nasctl.cells.costs import costs, lstm_ratio
from nasctl.cells.graph import CellGraph, Op, Step
from nasctl.cells.library import LIBRARY, lstm
from nasctl.compiler.plan import Product, plan

ENAS = {name: cell.graph for name, cell in LIBRARY.items() if name.startswith("enas-")}


@pytest.mark.parametrize(
    ("width", "hidden", "forward", "training"),
    [
        (300, 150, 1.33, 1.57),
        (300, 300, 1.75, 2.0),
        (300, 600, 2.17, 2.38),
        (768, 384, 1.33, 1.57),
        (768, 512, 1.5, 1.75),
    ],
)
def test_every_cell_of_the_paper_costs_as_much_as_the_formula_says(width, hidden, forward, training):
    usual = costs(lstm(), width, hidden)
    assert usual.forward == 2 * (4 * width * hidden + 4 * hidden**2)
    assert usual.training == 2 * (2 * 4 * width * hidden + 3 * 4 * hidden**2)
    for graph in ENAS.values():
        ours = costs(graph, width, hidden)
        assert ours.forward == 2 * (2 * width * hidden + 12 * hidden**2)
        assert ours.forward / usual.forward == pytest.approx(forward, abs=0.005)
        assert lstm_ratio(graph, width, hidden) == pytest.approx(training, abs=0.005)


def test_dead_steps_cost_nothing():
    alive = (Step(Op.LINEAR, (0, 1), ("a", "b")), Step(Op.TANH, (2,)))
    dead = Step(Op.LINEAR, (3,), ("c",))
    assert costs(CellGraph(("H",), (*alive, dead), (3,)), 5, 7) == costs(CellGraph(("H",), alive, (3,)), 5, 7)


def test_depth_and_products_of_the_papers_cells():
    plans = [plan(graph) for graph in ENAS.values()]
    assert Counter(each.levels for each in plans) == {2: 9, 3: 14, 4: 2, 5: 1}
    assert statistics.mean(sum(isinstance(a, Product) for a in each.loop) for each in plans) == pytest.approx(
        3.0, abs=0.05
    )
