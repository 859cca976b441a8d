"""Published cells as data, each with its source."""

from __future__ import annotations

from nasctl.cells.graph import Bias, CellGraph, Op, Step


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
