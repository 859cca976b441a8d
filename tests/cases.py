"""A cell with everything that it runs on, and everything that comes out: what tests of backends compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nasctl.cells.graph import Bias, CellGraph, Op, Step
from nasctl.compiler import planned
from nasctl.compiler.layer import BACKENDS
from nasctl.compiler.recurrence import Recurrence, Result
from nasctl.compiler.rows import rows

Run = Callable[[Recurrence], Result]


def side_by_side(asked: Recurrence) -> Result:
    """`planned` as a GPU runs it: both directions in one loop."""
    return planned.in_order(asked, rows(asked.lengths, len(asked.weights), asked.x.device))


RUNS: dict[str, Run] = {**{name: backend.run for name, backend in BACKENDS.items()}, "side by side": side_by_side}
"""Every way to run a cell, the second mode of `planned` too."""

ODD = CellGraph(
    ("H", "D", "H"),  # x 0, h1 to h3 1-3, masks 4 and 5
    (
        Step(Op.MUL, (0, 5)),  # 6: the input behind a mask of its own
        Step(Op.SUB, (2, 0)),  # 7, of width D
        Step(Op.LINEAR, (6, 7, 7, 1), ("in", "in", "delayed", "own"), (Bias("b"), Bias("c", 1.0))),  # 8
        Step(Op.LEAKY_RELU, (8,)),  # 9
        Step(Op.MUL, (1, 4)),  # 10
        Step(Op.LINEAR, (9, 10), ("own", "own"), (Bias("b"),)),  # 11
        Step(Op.SIGMOID, (11,)),  # 12
        Step(Op.BLEND, (12, 9, 3)),  # 13
        Step(Op.MEAN, (13, 9, 9)),  # 14
    ),
    (14, 6, 1),
    ("H", "D"),
)
"""Shared keys, a value read twice, masks of both widths, a state of the input's width, a state that is another's."""


@dataclass(frozen=True)
class Case:
    """What a cell runs on, `weights` by direction, and the gradients that come back from what it gives."""

    graph: CellGraph
    weights: tuple[dict[str, Tensor], ...]
    x: Tensor
    lengths: Tensor
    initial: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    of_output: Tensor
    of_finals: tuple[Tensor, ...]


def case(
    graph: CellGraph,
    lengths: Sequence[int] = (3, 1, 5, 0, 5),
    *,
    widths: tuple[int, int] = (3, 4),
    steps: int | None = None,
    directions: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Case:
    """Random numbers for all of it; `widths` are D and H, `steps` is T (the longest row's if it is not given)."""
    stream = torch.Generator().manual_seed(seed)
    width, count = {"D": widths[0], "H": widths[1]}, len(lengths)
    steps = max(lengths) if steps is None else steps

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=stream).to(dtype)

    def weights() -> dict[str, Tensor]:
        matrices = {key: normal(width["H"], width[w]) * 0.8 * width[w] ** -0.5 for key, w in graph.weights.items()}
        return matrices | {key: normal(width["H"]) * 0.5 + start for key, start in graph.biases.items()}

    return Case(
        graph,
        tuple(weights() for _ in range(directions)),
        normal(steps, count, width["D"]),
        torch.tensor(lengths),
        tuple(normal(directions, count, width[w]) for w in graph.states),
        tuple((normal(count, width[w]) > 0).to(dtype) * 1.5 for w in graph.masks),
        normal(steps, count, directions * width["H"]),
        tuple(normal(directions, count, width[w]) for w in graph.states),
    )


def leaves(made: Case) -> dict[str, Tensor]:
    """What can have a gradient, by name: fresh copies."""
    named = {"x": made.x, **{f"initial {i}": state for i, state in enumerate(made.initial)}}
    for side, weights in enumerate(made.weights):
        named |= {f"{key} {side}": weight for key, weight in weights.items()}
    return {name: tensor.clone().requires_grad_() for name, tensor in named.items()}


def results(run: Run, made: Case, inputs: dict[str, Tensor], *, operands: torch.dtype | None = None) -> Result:
    """Outputs and final states of `inputs`."""
    return run(
        Recurrence(
            cell=made.graph,
            weights=tuple({key: inputs[f"{key} {side}"] for key in each} for side, each in enumerate(made.weights)),
            x=inputs["x"],
            lengths=made.lengths,
            initial=tuple(inputs[f"initial {i}"] for i in range(len(made.initial))),
            masks=made.masks,
            operands=operands or made.x.dtype,
            finals=True,
        )
    )


def loss(made: Case, y: Tensor, finals: Sequence[Tensor]) -> Tensor:
    """The number whose gradients are `of_output` and `of_finals`."""
    return (y * made.of_output).sum() + sum((a * b).sum() for a, b in zip(finals, made.of_finals, strict=True))


def everything(run: Run, made: Case) -> dict[str, Tensor]:
    """Outputs, final states and every gradient, by name; a gradient that is none is zero."""
    inputs = leaves(made)
    y, finals = results(run, made, inputs)
    found = torch.autograd.grad(loss(made, y, finals), list(inputs.values()), allow_unused=True)
    gradients = {
        f"gradient of {name}": torch.zeros_like(tensor) if gradient is None else gradient
        for (name, tensor), gradient in zip(inputs.items(), found, strict=True)
    }
    return {"y": y.detach(), **{f"final {i}": final.detach() for i, final in enumerate(finals)}, **gradients}


def distances(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """How far each tensor is off, relative to 1 + the largest entry of what is expected; NaN is infinitely far."""
    assert found.keys() == expected.keys()
    assert all(found[name].shape == expected[name].shape for name in found)
    return {
        name: ((found[name] - value).abs().max() / (1 + value.abs().max())).nan_to_num(torch.inf).item()
        for name, value in expected.items()
        if value.numel()
    }


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-10) -> None:
    """Everything is the same to within `tolerance`."""
    off = {name: value for name, value in distances(found, expected).items() if not value <= tolerance}
    assert not off, off


def largest(tensors: dict[str, Tensor]) -> float:
    """The largest entry of all; infinite if one is NaN."""
    return max(t.abs().max().nan_to_num(torch.inf).item() for t in tensors.values() if t.numel())
