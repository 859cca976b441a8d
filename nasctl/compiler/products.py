"""The matrix products of the planned backend: wide matrices gathered once per batch, gradients taken apart again.

Letters: N tokens, n sequences at a time step, G directions (left out if there is one), k blocks of a product, H hidden
width, I width of what is multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from nasctl.compiler.buffers import Loan
from nasctl.compiler.packed import packed
from nasctl.compiler.plan import Fill, Plan, Product, Span

Whole = Callable[[Span], Tensor]

GROUPED = 900
"""Columns of the weight gradients that are computed in one product: wider ones were up to 40 % slower on a CPU."""


class Products:
    """Every product of a plan for one batch. `operands` is the type in which matrices are read."""

    def __init__(self, plan: Plan, weights: Sequence[Mapping[str, Tensor]], loan: Loan, operands: torch.dtype) -> None:
        self.plan, self.weights, self.loan, self.operands = plan, weights, loan, operands
        self.kind = loan.kind[0]
        self._wide: dict[Product, Tensor] = {}

    def wide(self, product: Product) -> Tensor:
        """The product's matrices one below the other: [k·H, I], or [G, k·H, I]."""
        if product not in self._wide:
            sides = [[side[key] for key in product.weights] for side in self.weights]
            first = sides[0][0]
            if len(sides) == 1 and len(sides[0]) == 1:
                wide = first
            else:
                shape = (len(sides) * len(product.weights) * first.shape[0], first.shape[1])
                wide = torch.cat([matrix for side in sides for matrix in side], out=self.loan.take(*shape))
                wide = wide if len(sides) == 1 else wide.view(len(sides), -1, first.shape[1])
            self._wide[product] = wide.to(self.operands)
        return self._wide[product]

    def bias(self, biases: Sequence[Sequence[str]]) -> Tensor | None:
        """The biases of neighbouring blocks, summed per block: [k·H], or [G, k·H]; None if there are none."""
        if not any(biases):
            return None
        sides = []
        for side in self.weights:
            zero = torch.zeros_like(next(side[key] for keys in biases for key in keys))
            sides.append(torch.cat([sum((side[key] for key in keys), start=zero) for keys in biases]))
        return sides[0] if len(sides) == 1 else torch.stack(sides)

    def fill(self, fill: Fill) -> Callable[..., object]:
        """`into` [n, G, k·H] = the biases."""
        bias = self.bias(fill.biases)
        return lambda into: into.copy_(bias)

    def forward(self, product: Product) -> Callable[..., object]:
        """`into` [n, G, k·H] becomes, or grows by, `source` [n, G, I] times the matrices, and the biases."""
        bias = self.bias(product.biases)
        return _multiplier(self.wide(product).mT, bias, self.kind, grow=product.accumulate)

    def backward(self, product: Product, *, fresh: bool) -> Callable[..., object]:
        """The gradient [n, G, I] of what was multiplied becomes (fresh), or grows by, that of `into` times W."""
        return _multiplier(self.wide(product), None, self.kind, grow=not fresh)

    def gradients(self, values: Whole, gradients: Whole, wanted: set[str]) -> dict[str, Sequence[Tensor]]:
        """The gradient of each wanted key, for every direction: one product over all tokens each."""
        found: dict[str, Tensor] = {}
        actions = (*self.plan.hoisted, *self.plan.loop)
        for product in (action for action in actions if isinstance(action, Product)):
            if wanted & set(product.weights):
                source = values(product.source).to(self.operands)
                for keys, blocks in _groups(product, self.weights[0][product.weights[0]].shape[0]):
                    wide = _outer(source, gradients(blocks))  # [I, blocks·H], or [G, I, blocks·H]
                    for key, part in zip(keys, wide.chunk(len(keys), -1), strict=True):
                        found[key] = found[key] + part.mT if key in found else part.mT
        for action in actions:
            biases = action.biases if isinstance(action, Product | Fill) else ()
            if wanted & {key for keys in biases for key in keys}:
                assert isinstance(action, Product | Fill)  # noqa: S101 - only these have biases
                sums = gradients(action.into).sum(0)  # [k·H], or [G, k·H]
                for keys, part in zip(biases, sums.chunk(len(biases), -1), strict=True):
                    for key in keys:
                        found[key] = found[key] + part if key in found else part
        return {key: [part] if len(self.weights) == 1 else list(part.unbind(0)) for key, part in found.items()}


def _groups(product: Product, hidden: int) -> Iterator[tuple[tuple[str, ...], Span]]:
    """Neighbouring blocks and their keys, as many as make one product of a good size for a CPU's cache."""
    size = max(1, GROUPED // hidden)
    for start in range(0, product.into.count, size):
        keys = product.weights[start : start + size]
        yield keys, Span(product.into.room, product.into.first + start, len(keys))


def _multiplier(matrix: Tensor, bias: Tensor | None, kind: torch.dtype, *, grow: bool) -> Callable[..., object]:
    """`into` = or += `source` · `matrix` + bias, where `into` and `source` are of `kind`: the fastest way to do it.

    `matrix` is [I, k·H], or [G, I, k·H].
    """
    multiply = _several(matrix) if matrix.dim() == 3 else packed(matrix.mT)
    if multiply is None and matrix.dtype == kind:
        if grow:
            return lambda into, source: into.addmm_(source, matrix)
        if bias is not None:
            return lambda into, source: torch.addmm(bias, source, matrix, out=into)
        return lambda into, source: torch.mm(source, matrix, out=into)
    multiply = multiply or (lambda source: torch.mm(source, matrix))
    narrow = matrix.dtype if matrix.dtype != kind else None

    def general(into: Tensor, source: Tensor) -> None:
        found = multiply(source if narrow is None else source.to(narrow))
        if grow:
            into.add_(found)
        else:
            into.copy_(found)
            if bias is not None:
                into.add_(bias)

    return general


def _several(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    """Multiplies [n, G, I] by `matrix` [G, I, k·H], direction by direction."""
    return lambda source: torch.bmm(source.transpose(0, 1), matrix).transpose(0, 1)


def _outer(source: Tensor, gradient: Tensor) -> Tensor:
    """Sum over tokens of source [N, G, I] times gradient [N, G, H]: [I, H], or [G, I, H], in the gradient's type.

    This way round because it was up to a fifth faster on a CPU than its transpose.
    """
    operand = gradient.to(source.dtype)
    if gradient.dim() == 3:
        return torch.bmm(source.permute(1, 2, 0), operand.transpose(0, 1)).to(gradient.dtype)
    return torch.mm(source.t(), operand).to(gradient.dtype)
