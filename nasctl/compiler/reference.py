"""The readable truth: a cell run one step at a time, gradients by plain autograd. Every backend is compared with it.

Letters: T time, B sequences, G directions, D input width, H hidden width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from nasctl.cells.graph import Op, Step
from nasctl.compiler.recurrence import Recurrence, Result, Weights
from nasctl.compiler.turning import turn, turned


def _sum(*values: Tensor) -> Tensor:
    return torch.stack(values).sum(0)


OPERATIONS: Mapping[Op, Callable[..., Tensor]] = {
    Op.LINEAR: _sum,
    Op.ADD: _sum,
    Op.SUB: torch.sub,
    Op.MUL: lambda first, *others: math.prod(others, start=first),
    Op.MEAN: lambda *values: torch.stack(values).mean(0),
    Op.BLEND: lambda z, a, b: z * a + (1 - z) * b,
    Op.TANH: torch.tanh,
    Op.SIGMOID: torch.sigmoid,
    Op.RELU: torch.relu,
    Op.LEAKY_RELU: lambda a: torch.nn.functional.leaky_relu(a, 0.01),
    Op.IDENTITY: lambda a: a,
}
"""What each op computes; a linear step sums its products and biases."""


def run(asked: Recurrence) -> Result:
    """Outputs and final states."""
    lengths = asked.lengths.to(asked.x.device)
    back = turn(lengths, asked.x.shape[0])
    outputs, finals = [], []
    for side in range(len(asked.weights)):
        x = turned(asked.x, back) if side else asked.x
        y, states = _one_way(asked, side, x, lengths)
        outputs.append(turned(y, back) if side else y)
        finals.append(states)
    return torch.cat(outputs, -1), tuple(torch.stack(ends) for ends in zip(*finals, strict=True))


def _one_way(asked: Recurrence, side: int, x: Tensor, lengths: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
    """Outputs [T, B, H] and final states [B, width] of one direction."""
    states: Sequence[Tensor] = [state[side] for state in asked.initial]
    outputs = []
    for time, token in enumerate(x):
        real = (time < lengths)[:, None]
        values = [torch.where(real, token, torch.zeros_like(token)), *states, *asked.masks]  # NaN times 0 is NaN
        for step in asked.cell.steps:
            values.append(_value(step, [values[arg] for arg in step.args], asked.weights[side], asked.operands))
        new_states = [values[value] for value in asked.cell.next_states]
        states = [torch.where(real, new, old) for new, old in zip(new_states, states, strict=True)]
        outputs.append(torch.where(real, states[0], torch.zeros_like(states[0])))
    return torch.stack(outputs), states


def _value(step: Step, args: Sequence[Tensor], weights: Weights, operands: torch.dtype) -> Tensor:
    """What a step makes of its args [B, width]."""
    if step.op is Op.LINEAR:
        matrices = [weights[key].to(operands) for key in step.weights]
        products = [(arg.to(operands) @ matrix.t()).to(arg.dtype) for arg, matrix in zip(args, matrices, strict=True)]
        args = [*products, *(weights[bias.key].expand_as(products[0]) for bias in step.biases)]
    return OPERATIONS[step.op](*args)
