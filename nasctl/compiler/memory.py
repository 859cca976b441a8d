"""Where a batch's values or gradients stand, and their views by time step.

Letters: B sequences, N tokens, n sequences at a time step, G directions (left out if there is one).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from nasctl.compiler.plan import Room, Span
from nasctl.compiler.rows import Rows

Views = Sequence[Tensor]
"""One view per time step, or a single one for all tokens."""


class Memory:
    """Rooms as tensors [N, G, columns], states each as [B + N, G, width]: initial ones, then those behind each token.

    Masks are [B, width]; `hidden` is the width of a block. A room may have fewer rows than tokens: then every time step
    uses the same ones. All rows are in the order of `rows`.
    """

    def __init__(
        self,
        rows: Rows,
        hidden: int,
        rooms: Mapping[Room, Tensor],
        states: Sequence[Tensor],
        masks: Sequence[Tensor] = (),
    ) -> None:
        self.rows, self.hidden, self.rooms, self.states, self.masks = rows, hidden, rooms, states, masks
        self._steps: dict[tuple[Span, bool], Views] = {}

    def whole(self, span: Span, *, stacked: bool = False) -> Tensor:
        """The span for all tokens: [N, G, columns]; stacked: [N, G, count, width]."""
        if span.room is Room.AFTER:
            part = self.states[span.first][-self.rows.count :]
        elif span.room is Room.BEFORE:
            states = self.states[span.first]
            part = states[: self.rows.count] if self.rows.even else states.index_select(0, self.rows.before)
        elif span.room is Room.MASK:
            part = self._mask(span).index_select(0, self.rows.sequence)
        else:
            part = self._columns(span)
        return _stacked(part, span.count) if stacked else part

    def steps(self, span: Span, *, stacked: bool = False) -> Views:
        """The views of the span, one per time step: [n, G, columns]; stacked: [n, G, count, width]."""
        if (span, stacked) not in self._steps:
            self._steps[span, stacked] = self._split(span, stacked=stacked)
        return self._steps[span, stacked]

    def _split(self, span: Span, *, stacked: bool) -> Views:
        sizes = self.rows.sizes
        if span.room in {Room.BEFORE, Room.AFTER}:
            states = self.states[span.first]
            states = _stacked(states, 1) if stacked else states
            views = states.split_with_sizes([states.shape[0] - self.rows.count, *sizes])
            return views[1:] if span.room is Room.AFTER else _shortened(views, sizes)
        part = self._mask(span) if span.room is Room.MASK else self._columns(span)
        part = _stacked(part, span.count) if stacked else part
        if span.room is Room.MASK or part.shape[0] != self.rows.count:
            return _shortened([part] * len(sizes), sizes)
        return part.split_with_sizes(sizes)

    def _columns(self, span: Span) -> Tensor:
        base = self.rooms[span.room]
        if span.room is Room.INPUT:
            return base
        width = self.rooms[Room.INPUT].shape[-1] if span.room is Room.NARROW else self.hidden
        return base[..., span.first * width : (span.first + span.count) * width]

    def _mask(self, span: Span) -> Tensor:
        mask, sides = self.masks[span.first], self.states[0].shape[1:-1]
        return mask.view(mask.shape[0], *(1 for _ in sides), -1).expand(-1, *sides, -1)


def _stacked(part: Tensor, count: int) -> Tensor:
    """The last axis as `count` blocks: [..., count, width]."""
    return part.view(*part.shape[:-1], count, part.shape[-1] // count)


def _shortened(views: Sequence[Tensor], sizes: Sequence[int]) -> Views:
    """Each view's first rows, as many as its time step has."""
    return [
        view if view.shape[0] == size else view.narrow(0, 0, size) for view, size in zip(views, sizes, strict=False)
    ]
