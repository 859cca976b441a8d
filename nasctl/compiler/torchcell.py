"""The cells that torch.nn has, run by torch's own kernels: LSTM, GRU and the tanh RNN.

Letters: T time, B sequences, G directions, D input width, H hidden width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from nasctl.cells import library
from nasctl.cells.graph import CellGraph
from nasctl.cells.rewrite import canonical_keys, equal
from nasctl.compiler.recurrence import Recurrence, Result
from nasctl.compiler.rows import rows
from nasctl.compiler.turning import turn, turned


@dataclass(frozen=True)
class TorchCell:
    """One of torch's cells: its graph, its gates in torch's order, its kernel, and what the kernel calls states."""

    graph: CellGraph
    gates: tuple[str, ...]
    kernel: Callable[..., tuple[Tensor, ...]]


KERNELS = (
    TorchCell(library.lstm(), ("input", "forget", "candidate", "output"), torch.lstm),
    TorchCell(library.gru(), ("reset", "update", "candidate"), torch.gru),
    TorchCell(library.rnn(), ("candidate",), torch.rnn_tanh),
)


@lru_cache(maxsize=4096)
def torch_cell(graph: CellGraph) -> tuple[TorchCell, dict[str, str]] | None:
    """The cell of torch's that a graph is, and the graph's name of each of that cell's keys; None if it is none."""
    for cell in KERNELS:
        if equal(cell.graph, graph):
            theirs = {canonical: key for key, canonical in canonical_keys(graph).items()}
            return cell, {key: theirs[canonical] for key, canonical in canonical_keys(cell.graph).items()}
    return None


def why_not(cell: CellGraph, _device: torch.device, operands: torch.dtype) -> str | None:
    """Why torch's kernels cannot serve this cell, or None."""
    if torch_cell(cell) is None:
        return "torch has kernels for LSTM, GRU and the tanh RNN only"
    if operands is torch.bfloat16:
        return "torch's kernels keep no fp32 state under bf16"
    return None


def run(asked: Recurrence) -> Result:
    """Outputs, and final states if they are wanted, which costs time for ragged sequences on a CPU.

    Each direction runs over padded input, the second over rows reversed within their length: a fifth to a half faster
    on a CPU than over a packed sequence, whose gradient fills a whole tensor per step. Only final states need that.
    """
    found = torch_cell(asked.cell)
    assert found is not None  # noqa: S101 - why_not() says so before
    cell, names = found
    lengths = asked.lengths.to(asked.x.device)
    back = turn(lengths, asked.x.shape[0])
    one_way = _packed if asked.finals else _padded
    outputs, ends = [], []
    for side, weights in enumerate(asked.weights):
        flat = [
            torch.cat([weights[names[form.format(gate=gate)]] for gate in cell.gates])
            for form in ("x/{gate}", "h/{gate}", "{gate}/1", "{gate}/2")
        ]
        start = [state[side : side + 1].contiguous() for state in asked.initial]
        y, states = one_way(cell, flat, turned(asked.x, back) if side else asked.x, lengths, start)
        outputs.append(turned(y, back) if side else y)
        ends.append(states)
    return torch.cat(outputs, -1), tuple(torch.cat(state) for state in zip(*ends, strict=True))


def _padded(
    cell: TorchCell, flat: list[Tensor], x: Tensor, lengths: Tensor, initial: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Outputs [T, B, H] of one direction."""
    real = (torch.arange(x.shape[0], device=x.device)[:, None] < lengths)[:, :, None]  # [T, B, 1]
    start = initial if len(initial) > 1 else initial[0]
    y, *_ = cell.kernel(torch.where(real, x, torch.zeros_like(x)), start, flat, *_SINGLE, False)
    return torch.where(real, y, torch.zeros_like(y)), []


def _packed(
    cell: TorchCell, flat: list[Tensor], x: Tensor, lengths: Tensor, initial: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Outputs [T, B, H] and final states [1, B, H] of one direction."""
    order = rows(lengths, 1, x.device)
    tokens, begun = order.tokens[0], order.order[: order.sizes[0]]
    start = [state[:, begun] for state in initial]
    data, sizes = x.reshape(-1, x.shape[2])[tokens], torch.tensor(order.sizes)
    outputs, *finals = cell.kernel(data, sizes, start if len(start) > 1 else start[0], flat, *_SINGLE)
    y = outputs.new_zeros(x.shape[0] * x.shape[1], outputs.shape[1]).index_copy(0, tokens, outputs)
    ends = [state.index_copy(1, begun, final) for state, final in zip(initial, finals, strict=True)]
    return y.view(*x.shape[:2], -1), ends


_SINGLE = (True, 1, 0.0, False, False)
"""What torch's kernels want to know: biases, one layer, no dropout, no training of it, one direction."""
