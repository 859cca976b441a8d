"""How ragged sequences stand in memory: longest first, time step by time step, without padding.

Letters: T time, B sequences, N tokens in all, G directions. At time step t stand the sequences that are that long,
`sizes[t]` of them; so no step computes padding, and none needs a mask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """The order of tokens. `tokens` [G, N] are places in a [T·B] tensor, the second direction reading backwards.

    `before` [N] and `last` [B] are places in a tensor of states [B + N], initial ones first (in sorted order): the
    state before each token, and that behind each sequence's last token (sequences in the caller's order). `order` [B]
    sorts sequences, `sequence` [N] is each token's among the sorted ones, `even` says that all are equally long,
    `onward` that the first direction is.
    """

    sizes: tuple[int, ...]
    tokens: Tensor
    before: Tensor
    last: Tensor
    order: Tensor
    sequence: Tensor
    even: bool
    onward: bool

    @property
    def count(self) -> int:
        """N."""
        return self.tokens.shape[1]

    @property
    def plain(self) -> bool:
        """Whether this is the caller's own order: one direction onwards, all sequences equally long."""
        return self.even and self.onward and len(self.tokens) == 1

    def direction(self, side: int) -> Rows:
        """The same, for one of the directions alone."""
        return replace(self, tokens=self.tokens[side : side + 1], onward=side == 0)

    @property
    def rows(self) -> int:
        """B."""
        return len(self.order)


def rows(lengths: Tensor, directions: int, device: torch.device) -> Rows:
    """The order for sequences of these lengths [B] (any device)."""
    length = lengths.to("cpu", torch.int64)
    count = len(length)
    descending, order = length.sort(descending=True, stable=True)
    longest = int(descending[0]) if count else 0
    sizes = (descending[None, :] > torch.arange(longest)[:, None]).sum(1)
    offsets = sizes.cumsum(0) - sizes
    step = torch.repeat_interleave(torch.arange(longest), sizes)
    place = torch.arange(len(step)) - offsets[step]
    sequence = order[place]
    onward = step * count + sequence
    backward = (length[sequence] - 1 - step) * count + sequence
    before = torch.where(step == 0, place, count + offsets[step - 1] + place)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(count)
    last = torch.where(length == 0, rank, count + torch.cat([offsets, offsets.new_zeros(1)])[length - 1] + rank)
    return Rows(
        sizes=tuple(sizes.tolist()),
        tokens=torch.stack([onward, backward][:directions]).to(device),
        before=before.to(device),
        last=last.to(device),
        order=order.to(device),
        sequence=place.to(device),
        onward=True,
        even=bool(count) and int(descending[-1]) == longest,
    )
