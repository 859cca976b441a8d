"""The planned backend: any cell on any device, without a compiler.

One autograd function runs a whole batch of sequences. Forward and backward follow the cell's plan over buffers that are
used again from batch to batch; weight gradients are products over all tokens, behind the time loop. Everything here is
compared with `reference`, the readable truth, by tests/contracts/test_backends.py.

Letters: T time, B sequences, N tokens, n sequences at a time step, G directions (left out of inner tensors if there is
one), D input width, H hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from nasctl.compiler.buffers import Loan
from nasctl.compiler.fingerprints import fingerprints
from nasctl.compiler.memory import Memory, Views
from nasctl.compiler.operations import OPERATIONS, Into
from nasctl.compiler.plan import Action, Fill, Plan, Pointwise, Product, Room, Sum, plan
from nasctl.compiler.products import Products
from nasctl.compiler.recurrence import Recurrence, Result
from nasctl.compiler.reverse import Back, Reversed, Target, Zero, reverse
from nasctl.compiler.rows import Rows, rows
from nasctl.errors import UsageError

Call = tuple[Callable[..., object], tuple[Sequence[Any], ...]]
"""A function, and for each of its operands what it is at every time step."""


def run(asked: Recurrence) -> Result:
    """Outputs and final states.

    A GPU runs both directions side by side, since starting an operation costs most there; a CPU one after the other,
    since its cache holds the matrices of one. There a permuted batch gives the same bits; a GPU would have to wait for
    the fingerprints.
    """
    ties = None if asked.x.is_cuda else fingerprints(asked)
    order = rows(asked.lengths, len(asked.weights), asked.x.device, ties)
    if asked.x.is_cuda or len(asked.weights) == 1:
        return in_order(asked, order)
    results = [
        in_order(
            replace(asked, weights=(weights,), initial=tuple(state[side : side + 1] for state in asked.initial)),
            order.direction(side),
        )
        for side, weights in enumerate(asked.weights)
    ]
    finals = zip(*(states for _, states in results), strict=True)
    return torch.cat([y for y, _ in results], -1), tuple(torch.cat(states) for states in finals)


def in_order(asked: Recurrence, order: Rows) -> Result:
    """The same, all directions in one loop, with the order of tokens known; nothing here waits for a device."""
    program = plan(asked.cell)
    keys = (*program.graph.weights, *program.graph.biases)
    masks = tuple(mask.detach()[order.order] for mask in asked.masks)
    batch = Batch(program, order, masks, keys, asked.operands)
    flat = (weights[key] for weights in asked.weights for key in keys)
    y, *finals = _Function.apply(batch, asked.x, *asked.initial, *flat)  # type: ignore[no-untyped-call]
    return y, tuple(finals)


@dataclass(frozen=True)
class Batch:
    """What a call is about besides the tensors that have gradients: `masks` [B, width] are sorted as `rows` are."""

    plan: Plan
    rows: Rows
    masks: tuple[Tensor, ...]
    keys: tuple[str, ...]
    operands: torch.dtype

    @property
    def sides(self) -> tuple[int, ...]:
        """The axis of directions: none if there is one."""
        directions = self.rows.tokens.shape[0]
        return () if directions == 1 else (directions,)


class _Function(torch.autograd.Function):
    """`batch`, x, initial states, weights by direction and key; outputs and final states."""

    @staticmethod
    def forward(ctx: Any, batch: Batch, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.forward = _Forward(batch, x, tensors)
        ctx.save_for_backward(x, *tensors)
        return ctx.forward.run()  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # torch's once_differentiable lets a loss that is linear in the outputs pass
            raise UsageError("backend=planned has no second derivative", "backend=reference has one")
        _ = ctx.saved_tensors  # raises what torch raises for a freed graph and for a tensor changed in between
        return None, *_Backward(ctx.forward, ctx.needs_input_grad[1:], gradients).run()


class _Forward:
    """One forward pass, and all that its backward pass reads: the buffers go back when this is gone."""

    def __init__(self, batch: Batch, x: Tensor, tensors: Sequence[Tensor]) -> None:
        count, keys = len(batch.plan.graph.states), batch.keys
        self.batch, self.rows, self.x = batch, batch.rows, x
        self.initial, flat = tensors[:count], tensors[count:]
        self.directions = len(batch.rows.tokens)
        self.hidden = self.initial[0].shape[-1]
        self.loan = Loan(x.dtype, x.device)
        self.memory = Memory(self.rows, self.hidden, self._rooms(), self._states(), batch.masks)
        weights = [dict(zip(keys, flat[side * len(keys) :], strict=False)) for side in range(self.directions)]
        self.products = Products(batch.plan, weights, self.loan, batch.operands)

    def _rooms(self) -> dict[Room, Tensor]:
        widths = {Room.LINEAR: self.hidden, Room.LOCAL: self.hidden, Room.NARROW: self.x.shape[2]}
        rooms = {
            room: self.loan.take(self.rows.count, *self.batch.sides, self.batch.plan.blocks[room] * width)
            for room, width in widths.items()
        }
        return {Room.INPUT: self._packed(self.x.reshape(-1, self.x.shape[2])), **rooms}

    def _packed(self, x: Tensor) -> Tensor:
        """The tokens [N, G, D] of `x` [T·B, D] in the order of `rows`."""
        into = self.loan.take(self.rows.count * self.directions, x.shape[1])
        torch.index_select(x, 0, self.rows.tokens.t().reshape(-1), out=into)
        return into.view(self.rows.count, *self.batch.sides, x.shape[1])

    def _states(self) -> list[Tensor]:
        states = []
        for initial in self.initial:
            buffer = self.loan.take(self.rows.rows + self.rows.count, *self.batch.sides, initial.shape[-1])
            buffer[: self.rows.rows] = _sides_inside(initial.index_select(1, self.rows.order))
            states.append(buffer)
        return states

    def run(self) -> tuple[Tensor, ...]:
        """Outputs and final states."""
        _run_once(self._call(action, _all_tokens(self.memory)) for action in self.batch.plan.hoisted)
        _run_by_step(self._call(action, self.memory.steps) for action in self.batch.plan.loop)
        finals = [states.index_select(0, self.rows.last) for states in self.memory.states]
        return self._outputs(), *(_sides_first(final, self.directions).contiguous() for final in finals)

    def _call(self, action: Action, views: Callable[..., Views]) -> Call:
        match action:
            case Product():
                return self.products.forward(action), (views(action.into), views(action.source))
            case Fill():
                return self.products.fill(action), (views(action.into),)
            case Sum():
                blocks = [views(block) for arg in action.args for block in arg.apart()]
                return partial(_add, action.scale), (views(action.out), list(zip(*blocks, strict=True)))
            case Pointwise():
                spans, stacked = (action.out, *action.args), _mixed(action)
                return OPERATIONS[action.op].forward, tuple(views(span, stacked=stacked) for span in spans)

    def _outputs(self) -> Tensor:
        """[T, B, G·H], zero behind each row's last token."""
        (steps, count), width = self.x.shape[:2], self.directions * self.hidden
        y = self.x.new_empty(steps * count, width)
        outputs = self.memory.states[0][self.rows.rows :]
        if self.rows.count < len(y):
            y.zero_()
        for side, part in enumerate(_sides_first(outputs, self.directions)):
            y[:, side * self.hidden : (side + 1) * self.hidden].index_copy_(0, self.rows.tokens[side], part)
        return y.view(steps, count, width)


class _Backward:
    """One backward pass: `needs` says which of x, initial states and weights want a gradient."""

    def __init__(self, forward: _Forward, needs: Sequence[bool], gradients: Sequence[Tensor]) -> None:
        self.forward, self.rows, self.needs = forward, forward.rows, needs
        self.loan = Loan(forward.x.dtype, forward.x.device)
        self.memory = Memory(self.rows, forward.hidden, self._rooms(), self._states(*gradients))

    def _rooms(self) -> dict[Room, Tensor]:
        """Gradients of LOCAL values have the rows of one time step only: no later one reads them."""
        order, sides, blocks = self.rows, self.forward.batch.sides, self.forward.batch.plan.blocks
        hidden, width = self.forward.hidden, self.forward.x.shape[2]
        return {
            Room.INPUT: self.loan.zeros(order.count if self.needs[0] else 0, *sides, width),
            Room.LINEAR: self.loan.take(order.count, *sides, blocks[Room.LINEAR] * hidden),
            Room.LOCAL: self.loan.take(order.rows, *sides, blocks[Room.LOCAL] * hidden),
            Room.NARROW: self.loan.take(order.count, *sides, blocks[Room.NARROW] * width),
        }

    def _states(self, of_outputs: Tensor, *of_finals: Tensor) -> list[Tensor]:
        """What comes from outside: the outputs' gradient by token, those of final states behind the last ones."""
        order, directions = self.rows, self.forward.directions
        flat = of_outputs.reshape(-1, directions, self.forward.hidden)
        states = []
        for index, final in enumerate(of_finals):
            buffer = self.loan.take(order.rows + order.count, *self.forward.batch.sides, final.shape[-1])
            (buffer[: order.rows] if index == 0 else buffer).zero_()
            for side, part in enumerate(_sides_first(buffer[order.rows :], directions) if index == 0 else ()):
                part.copy_(flat[:, side].index_select(0, order.tokens[side]))
            states.append(buffer.index_add_(0, order.last, _sides_inside(final)))
        return states

    def run(self) -> tuple[Tensor | None, ...]:
        """The gradients of x, of the initial states and of every weight, by direction and key."""
        backwards = reverse(self.forward.batch.plan, of_input=self.needs[0])
        values = self.forward.memory
        _run_by_step((self._call(each, values.steps, self.memory.steps) for each in backwards.loop), last_first=True)
        _run_once(self._call(each, _all_tokens(values), _all_tokens(self.memory)) for each in backwards.hoisted)
        results = (self._of_x(), *self._of_initial(), *self._of_weights())
        self.loan.end()
        return results

    def _call(self, action: Reversed, values: Callable[..., Views], gradients: Callable[..., Views]) -> Call:
        match action:
            case Zero(span):
                return Tensor.zero_, (gradients(span),)
            case Back(Product() as product, (Target() as target,)):
                function = self.forward.products.backward(product, fresh=target.fresh)
                return function, (gradients(target.span), gradients(product.into))
            case Back(Sum() as summed, targets):
                wanted = [target for target in targets if target is not None]
                return partial(_spread, summed.scale, [target.fresh for target in wanted]), (
                    gradients(summed.out, stacked=True),
                    list(zip(*(gradients(target.span, stacked=True) for target in wanted), strict=True)),
                )
            case Back(Pointwise() as pointwise, targets):
                return _differentiation(pointwise, targets, values, gradients)
        raise AssertionError(action)  # pragma: no cover - the cases above are all that reverse() gives

    def _of_x(self) -> Tensor | None:
        if not self.needs[0]:
            return None
        x, packed = self.forward.x, self.memory.rooms[Room.INPUT]
        gradient = packed.new_zeros(x.shape[0] * x.shape[1], x.shape[2])
        for side, part in enumerate(_sides_first(packed, self.forward.directions)):
            gradient.index_add_(0, self.rows.tokens[side], part)
        return gradient.view(x.shape)

    def _of_initial(self) -> Iterable[Tensor | None]:
        for index, states in enumerate(self.memory.states, 1):
            first = _sides_first(states[: self.rows.rows], self.forward.directions)
            wanted = self.needs[index]
            yield torch.empty_like(first).index_copy_(1, self.rows.order, first) if wanted else None

    def _of_weights(self) -> Iterable[Tensor | None]:
        keys, needed = self.forward.batch.keys, self.needs[1 + len(self.memory.states) :]
        labels = [(side, key) for side in range(self.forward.directions) for key in keys]
        wanted = {key for (_, key), need in zip(labels, needed, strict=True) if need}
        found = self.forward.products.gradients(self.forward.memory.whole, self.memory.whole, wanted)
        return [found[key][side] if need else None for (side, key), need in zip(labels, needed, strict=True)]


# --- one action -------------------------------------------------------------------------------------------------------


def _mixed(action: Pointwise) -> bool:
    """Whether some arg of one block serves several: then views have an axis for blocks."""
    return any(arg.count != action.out.count for arg in action.args)


def _add(scale: float, out: Tensor, blocks: Sequence[Tensor]) -> None:
    """`out` [n, G, H] = scale · the sum of all blocks, each [n, G, H]; one by one, which beats torch.sum on a CPU."""
    if len(blocks) == 1:
        torch.mul(blocks[0], scale, out=out)
        return
    torch.add(blocks[0], blocks[1], out=out)
    for block in blocks[2:]:
        out.add_(block)
    if scale != 1.0:
        out.mul_(scale)


def _spread(scale: float, fresh: Sequence[bool], gradient: Tensor, into: Sequence[Tensor]) -> None:
    """The gradient [n, G, 1, H] of a sum for each of its blocks [n, G, count, H]."""
    for first, view in zip(fresh, into, strict=True):
        if first:
            torch.mul(gradient.expand_as(view), scale, out=view)
        else:
            view.add_(gradient, alpha=scale)


def _differentiation(
    action: Pointwise, targets: Sequence[Target | None], values: Callable[..., Views], gradients: Callable[..., Views]
) -> Call:
    """The gradients of a pointwise action: those that are the first at their target are written there, others added."""
    stacked = _mixed(action)
    spans = [target.span for target in targets if target is not None]
    direct: dict[int, Views] = {}
    later: list[tuple[int, bool, bool, Views]] = []
    for i, target in enumerate(targets):
        if target is None:
            continue
        whole = target.span.count == action.out.count
        into = gradients(target.span, stacked=stacked and whole)
        if target.fresh and whole and spans.count(target.span) == 1:
            direct[i] = into
        else:
            later.append((i, target.fresh, not whole, into))
    args = [values(arg, stacked=stacked) for arg in action.args]
    nowhere: list[Into] = [None] * len(args[0])
    operands = (
        gradients(action.out, stacked=stacked),
        values(action.out, stacked=stacked),
        list(zip(*args, strict=True)),
        list(zip(*(direct.get(i, nowhere) for i in range(len(args))), strict=True)),
    )
    function = OPERATIONS[action.op].gradients
    if not later:
        return function, operands
    rest = [(i, fresh, summed) for i, fresh, summed, _ in later]
    return partial(_differentiate, function, rest), (*operands, list(zip(*(into for *_, into in later), strict=True)))


def _differentiate(
    gradients: Callable[..., Sequence[Tensor]], rest: Sequence[tuple[int, bool, bool]], *operands: Any
) -> None:
    """Gradients of which some are not written at once: args in `rest` are summed over blocks, and added, if need be."""
    *given, later = operands
    found = gradients(*given)
    for (i, fresh, summed), view in zip(rest, later, strict=True):
        parts = found[i].unbind(-2) if summed else (found[i],)
        if fresh:
            _add(1.0, view, parts)
        else:
            for part in parts:
                view.add_(part)


# --- running ----------------------------------------------------------------------------------------------------------


def _all_tokens(memory: Memory) -> Callable[..., Views]:
    """Views as of a single time step that has all tokens."""
    return lambda span, *, stacked=False: [memory.whole(span, stacked=stacked)]


def _run_once(calls: Iterable[Call]) -> None:
    for function, operands in calls:
        function(*chain.from_iterable(operands))


def _run_by_step(calls: Iterable[Call], *, last_first: bool = False) -> None:
    functions, operands = [], []
    for function, views in calls:
        functions.append(function)
        operands.append(list(zip(*views, strict=True)))
    steps = list(zip(*operands, strict=True))
    for step in reversed(steps) if last_first else steps:
        for function, each in zip(functions, step, strict=True):
            function(*each)


# --- directions -------------------------------------------------------------------------------------------------------


def _sides_inside(states: Tensor) -> Tensor:
    """States [G, B, width] as they stand in memory: [B, G, width], or [B, width] for one direction."""
    return states[0] if states.shape[0] == 1 else states.transpose(0, 1)


def _sides_first(states: Tensor, directions: int) -> Tensor:
    """States as they stand in memory as [G, B, width]."""
    return states[None] if directions == 1 else states.transpose(0, 1)
