"""The plan read backwards: which gradient each action gives to what, and whether it is the first to write there.

Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nasctl.compiler.plan import Action, Fill, Plan, Pointwise, Product, Room, Span, Sum

SUMMED = frozenset({Room.INPUT, Room.BEFORE, Room.AFTER})
"""Rooms whose gradients start at what comes from outside: every contribution is added."""


@dataclass(frozen=True)
class Target:
    """Where a gradient goes; `fresh`: nothing has been written there yet."""

    span: Span
    fresh: bool


@dataclass(frozen=True)
class Back:
    """An action's gradients: one target per arg (a product: one in all), None where none is wanted, but never all."""

    action: Product | Pointwise | Sum
    targets: tuple[Target | None, ...]


@dataclass(frozen=True)
class Zero:
    """The gradients at `span` start at zero."""

    span: Span


Reversed = Back | Zero


@dataclass(frozen=True)
class ReversePlan:
    """What runs once per time step, from the last to the first, and then for all time steps at once."""

    loop: tuple[Reversed, ...]
    hoisted: tuple[Reversed, ...]


def reverse(plan: Plan, *, of_input: bool) -> ReversePlan:
    """The reverse of `plan`; `of_input`: the input's gradient is wanted too."""
    touched: set[Span] = set()
    return ReversePlan(
        tuple(_reversed(plan.loop, touched, of_input=of_input)),
        tuple(_reversed(plan.hoisted, touched, of_input=of_input)),
    )


def _reversed(actions: Iterable[Action], touched: set[Span], *, of_input: bool) -> Iterator[Reversed]:
    for action in reversed(tuple(actions)):
        if isinstance(action, Fill):
            continue
        targets: list[Target | None] = []
        for span in (action.source,) if isinstance(action, Product) else action.args:
            if span.room is Room.MASK or (span.room is Room.INPUT and not of_input):
                targets.append(None)
                continue
            if isinstance(action, Pointwise) and span == action.out:
                targets.append(Target(span, fresh=True))  # in place: the gradient is turned into another
                continue
            new = [block for block in span.apart() if span.room not in SUMMED and block not in touched]
            fresh = len(new) == span.count
            if not fresh:
                yield from map(Zero, new)
            touched.update(new)
            targets.append(Target(span, fresh))
        if any(targets):
            yield Back(action, tuple(targets))
