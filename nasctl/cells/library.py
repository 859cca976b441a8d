"""Published cells as data, each with its source."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

from nasctl.cells.enas import enas_cell
from nasctl.cells.graph import Bias, CellGraph, Op, Step, op_named
from nasctl.errors import UsageError, nearest


def lstm() -> CellGraph:
    """The LSTM with states h and c, equal to torch.nn.LSTM: two biases per gate (Hochreiter and Schmidhuber 1997)."""

    def gate(name: str, start: float = 0.0) -> Step:
        return Step(Op.LINEAR, (0, 1), (f"x/{name}", f"h/{name}"), (Bias(f"{name}/1", start), Bias(f"{name}/2")))

    steps = (
        gate("input"),  # 3
        gate("forget", 1.0),  # 4
        gate("candidate"),  # 5
        gate("output"),  # 6
        Step(Op.SIGMOID, (3,)),  # 7
        Step(Op.SIGMOID, (4,)),  # 8
        Step(Op.TANH, (5,)),  # 9
        Step(Op.SIGMOID, (6,)),  # 10
        Step(Op.MUL, (8, 2)),  # 11
        Step(Op.MUL, (7, 9)),  # 12
        Step(Op.ADD, (11, 12)),  # 13: c
        Step(Op.TANH, (13,)),  # 14
        Step(Op.MUL, (10, 14)),  # 15: h
    )
    return CellGraph(("H", "H"), steps, (15, 13))


def gru() -> CellGraph:
    """The gated recurrent unit, equal to torch.nn.GRU: its reset gate acts behind the product (Cho et al. 2014)."""

    def gate(name: str) -> Step:
        return Step(Op.LINEAR, (0, 1), (f"x/{name}", f"h/{name}"), (Bias(f"{name}/1"), Bias(f"{name}/2")))

    steps = (
        gate("reset"),  # 2
        gate("update"),  # 3
        Step(Op.LINEAR, (0,), ("x/candidate",), (Bias("candidate/1"),)),  # 4
        Step(Op.LINEAR, (1,), ("h/candidate",), (Bias("candidate/2"),)),  # 5
        Step(Op.SIGMOID, (2,)),  # 6
        Step(Op.SIGMOID, (3,)),  # 7
        Step(Op.MUL, (6, 5)),  # 8
        Step(Op.ADD, (4, 8)),  # 9
        Step(Op.TANH, (9,)),  # 10
        Step(Op.BLEND, (7, 1, 10)),  # 11: h
    )
    return CellGraph(("H",), steps, (11,))


def rnn() -> CellGraph:
    """The simple recurrent network with tanh, equal to torch.nn.RNN (Elman 1990)."""
    linear = Step(Op.LINEAR, (0, 1), ("x/candidate", "h/candidate"), (Bias("candidate/1"), Bias("candidate/2")))
    return CellGraph(("H",), (linear, Step(Op.TANH, (2,))), (3,))


@dataclass(frozen=True)
class LibraryCell:
    """A published cell: what it is called, where it was published, how it is built.

    `code` is its code in the space of ENAS cells, f0, p1, f1, p2, f2, ...; None outside of it.
    """

    name: str
    source: str
    build: Callable[[], CellGraph]
    code: tuple[str, ...] | None = None

    @cached_property
    def graph(self) -> CellGraph:
        """The cell, built when it is first asked for."""
        return self.build()


def library_cell(name: str) -> LibraryCell:
    """The cell called `name`; a number is a row of the paper's Table 6. Raises UsageError with the nearest names."""
    if not in_library(name):
        hint = f"{nearest(_in_full(name), LIBRARY)} known: lstm, gru, rnn, enas-1 to enas-{len(_CODES)}"
        raise UsageError(f"there is no cell {name!r} in the library", hint.strip())
    return LIBRARY[_in_full(name)]


def in_library(name: str) -> bool:
    """Whether a cell of the library has this name or number."""
    return _in_full(name) in LIBRARY


def _in_full(name: str) -> str:
    return f"enas-{int(name)}" if re.fullmatch(r"[0-9]{1,9}", name) else name


def _of_code(code: tuple[str, ...]) -> CellGraph:
    """The ENAS cell of a code: activations stand at even places, parents at odd ones."""
    return enas_cell([op_named(name) for name in code[::2]], [int(parent) for parent in code[1::2]])


def _enas(number: int, code: str) -> LibraryCell:
    choices = tuple(code.split("-"))
    source = f"MacLaughlin et al. 2020, Table 6, row {number}"
    return LibraryCell(f"enas-{number}", source, partial(_of_code, choices), choices)


_CODES = (
    "tanh-0-relu-0-relu-0-relu-0-relu-0-relu",
    "tanh-0-relu-1-relu-2-relu-0-relu-2-relu",
    "tanh-0-relu-1-relu-0-identity-0-identity-0-identity",
    "identity-0-relu-0-sigmoid-0-relu-2-relu-1-relu",
    "tanh-0-relu-0-relu-0-identity-0-identity-4-relu",
    "identity-0-sigmoid-0-relu-0-relu-2-relu-3-relu",
    "tanh-0-tanh-0-relu-0-tanh-3-tanh-0-tanh",
    "tanh-0-identity-0-tanh-0-identity-0-identity-0-tanh",
    "tanh-0-tanh-0-relu-0-tanh-0-tanh-0-tanh",
    "tanh-0-identity-0-tanh-0-identity-0-tanh-0-identity",
    "tanh-0-tanh-0-identity-0-tanh-0-identity-0-identity",
    "relu-0-tanh-1-sigmoid-0-relu-0-sigmoid-0-relu",
    "identity-0-identity-1-identity-0-sigmoid-3-identity-0-sigmoid",
    "sigmoid-0-relu-0-sigmoid-0-relu-0-relu-0-sigmoid",
    "sigmoid-0-identity-0-tanh-0-tanh-0-tanh-0-tanh",
    "sigmoid-0-tanh-0-tanh-0-identity-0-identity-0-identity",
    "tanh-0-sigmoid-1-sigmoid-2-relu-3-sigmoid-1-sigmoid",
    "tanh-0-sigmoid-1-sigmoid-0-sigmoid-1-sigmoid-2-sigmoid",
    "sigmoid-0-sigmoid-0-sigmoid-0-relu-0-relu-0-sigmoid",
    "relu-0-sigmoid-1-sigmoid-0-sigmoid-0-sigmoid-0-sigmoid",
    "tanh-0-identity-0-sigmoid-1-tanh-2-sigmoid-0-tanh",
    "sigmoid-0-relu-0-sigmoid-0-sigmoid-2-identity-0-identity",
    "tanh-0-sigmoid-0-relu-0-relu-2-tanh-1-identity",
    "sigmoid-0-sigmoid-1-tanh-1-sigmoid-1-sigmoid-1-relu",
    "sigmoid-0-tanh-0-tanh-0-identity-0-tanh-1-identity",
    "identity-0-sigmoid-0-identity-0-sigmoid-0-sigmoid-4-sigmoid",
)
"""The paper's Table 6, row by row: activation 0, then parent and activation of each node."""

_CELLS = (
    LibraryCell("lstm", "Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000", lstm),
    LibraryCell("gru", "Cho et al. 2014, as in torch.nn.GRU", gru),
    LibraryCell("rnn", "Elman 1990", rnn),
    *(_enas(number, code) for number, code in enumerate(_CODES, 1)),
)

LIBRARY: Mapping[str, LibraryCell] = {cell.name: cell for cell in _CELLS}
"""Every published cell by its name: lstm, gru, rnn, enas-1 to enas-26."""
