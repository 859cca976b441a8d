"""What a cell costs: the floating-point operations of its products. Pure arithmetic over the graph.

Letters: D input width, H hidden width. A product is a matrix times a value: per token D·H or H·H multiply-adds, each
of them two operations. Everything elementwise is left out: beside the products it is little.
"""

from __future__ import annotations

from dataclasses import dataclass

from nasctl.cells.graph import CellGraph, Op
from nasctl.cells.library import lstm
from nasctl.cells.rewrite import live


@dataclass(frozen=True)
class Costs:
    """Operations per token and direction: of a forward pass, and of a training step."""

    forward: int
    training: int


def costs(graph: CellGraph, input_width: int, hidden: int) -> Costs:
    """The costs of a cell without its dead steps.

    In training each product is computed three times over: forward, for the gradient of its matrix, and for that of its
    value; twice where the value is the input, which is taken as frozen.
    """
    graph = live(graph)
    forward = training = 0
    for step in graph.steps:
        for arg in step.args if step.op is Op.LINEAR else ():
            operations = 2 * hidden * (input_width if graph.widths[arg] == "D" else hidden)
            forward += operations
            training += operations * (2 if arg == 0 else 3)
    return Costs(forward, training)


def lstm_ratio(graph: CellGraph, input_width: int, hidden: int) -> float:
    """A cell's operations in training over those of an LSTM: the least ratio of their times if products are all."""
    return costs(graph, input_width, hidden).training / costs(lstm(), input_width, hidden).training
