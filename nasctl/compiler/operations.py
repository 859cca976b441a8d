"""What the planned backend does for each op: forward into a buffer, and the gradients of what the op reads.

Each row is compared with plain autograd by tests/contracts/test_backends.py, which fails if an op has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nasctl.cells.graph import Op

SLOPE = 0.01
"""Of leaky_relu below zero."""

_MINUS_ONE = torch.tensor(-1.0)

Into = Tensor | None
"""Where a result may be written at once; None: a new tensor."""
Args = tuple[Tensor, ...]
aten = torch.ops.aten


@dataclass(frozen=True)
class Operation:
    """`forward(out, *args)` writes `out`; `gradients(gradient, out, args, into)` gives one tensor per arg.

    `out` may be an arg, and `into` the gradient itself, where the op is an activation. Tensors may have an axis for
    blocks: then one arg at least has all blocks of `out`, and each other has them all or a single one that serves all.
    """

    forward: Callable[..., object]
    gradients: Callable[[Tensor, Tensor, Args, tuple[Into, ...]], Args]


def _mul(out: Tensor, *args: Tensor) -> None:
    if len(args) > 2:
        args = _widest_first(args)
    torch.mul(args[0], args[1], out=out)
    for more in args[2:]:
        out.mul_(more)


def _widest_first(args: Args) -> Args:
    """The args, but one with all blocks to the front: torch would shrink `out` to the product of two that have one."""
    place = max(range(len(args)), key=lambda place: args[place].shape[-2])
    return args[place], *args[:place], *args[place + 1 :]


def _mul_gradients(g: Tensor, _out: Tensor, args: Args, into: tuple[Into, ...]) -> Args:
    if len(args) == 2:
        return torch.mul(g, args[1], out=into[0]), torch.mul(g, args[0], out=into[1])
    found = []
    for i, where in enumerate(into):
        first, *others = [other for j, other in enumerate(args) if j != i]
        product = torch.mul(g, first, out=where)
        for other in others:
            product.mul_(other)
        found.append(product)
    return tuple(found)


def _tanh(out: Tensor, a: Tensor) -> None:
    """On a CPU 2 / (1 + exp(-2a)) - 1, off by 2e-7 at most in fp32; torch's own tanh takes three times as long."""
    if a.is_cuda:
        torch.tanh(a, out=out)
    else:
        torch.mul(a, 2, out=out)
        torch.add(_MINUS_ONE, out.sigmoid_(), alpha=2, out=out)


def _sub_gradients(g: Tensor, _out: Tensor, _args: Args, into: tuple[Into, ...]) -> Args:
    return _copied(g, into[0]), torch.neg(g, out=into[1])


def _blend_gradients(g: Tensor, _out: Tensor, args: Args, into: tuple[Into, ...]) -> Args:
    z, a, b = args
    if g.shape in (a.shape, b.shape):
        of_z = torch.sub(a, b, out=into[0]).mul_(g)
    else:  # the difference is one block, the gradient has all
        of_z = torch.mul(torch.sub(a, b), g, out=into[0])
    of_a = torch.mul(g, z, out=into[1])
    return of_z, of_a, torch.sub(g, of_a, out=into[2])


def _sigmoid_gradients(g: Tensor, out: Tensor, _args: Args, into: tuple[Into, ...]) -> Args:
    return (_written(aten.sigmoid_backward, into[0], g, out),)


def _tanh_gradients(g: Tensor, out: Tensor, _args: Args, into: tuple[Into, ...]) -> Args:
    return (_written(aten.tanh_backward, into[0], g, out),)


def _relu_gradients(g: Tensor, out: Tensor, _args: Args, into: tuple[Into, ...]) -> Args:
    return (_written(aten.threshold_backward, into[0], g, out, 0),)


def _leaky_relu_gradients(g: Tensor, out: Tensor, _args: Args, into: tuple[Into, ...]) -> Args:
    return (_written(aten.leaky_relu_backward, into[0], g, out, SLOPE, True),)


def _identity_gradients(g: Tensor, _out: Tensor, _args: Args, into: tuple[Into, ...]) -> Args:
    return (_copied(g, into[0]),)


def _written(backward: Callable[..., Tensor], into: Into, *args: object) -> Tensor:
    """The result of one of torch's own backward functions, written where it may be."""
    if into is None:
        return backward(*args)
    return backward.grad_input(*args, grad_input=into)  # type: ignore[attr-defined, no-any-return]


def _copied(g: Tensor, into: Into) -> Tensor:
    return g if into is None else into.copy_(g)


OPERATIONS: Mapping[Op, Operation] = {
    Op.SUB: Operation(lambda out, a, b: torch.sub(a, b, out=out), _sub_gradients),
    Op.MUL: Operation(_mul, _mul_gradients),
    Op.BLEND: Operation(lambda out, z, a, b: torch.lerp(b, a, z, out=out), _blend_gradients),
    Op.TANH: Operation(_tanh, _tanh_gradients),
    Op.SIGMOID: Operation(lambda out, a: torch.sigmoid(a, out=out), _sigmoid_gradients),
    Op.RELU: Operation(lambda out, a: torch.clamp_min(a, 0, out=out), _relu_gradients),
    Op.LEAKY_RELU: Operation(lambda out, a: aten.leaky_relu.out(a, SLOPE, out=out), _leaky_relu_gradients),
    Op.IDENTITY: Operation(lambda out, a: out.copy_(a), _identity_gradients),
}
"""The pointwise ops. Linear, add and mean are no rows here: they are the actions Product and Sum of a plan."""
