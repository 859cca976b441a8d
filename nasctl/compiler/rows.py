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
    sorts sequences, `sequence` [N] is each token's among the sorted ones, `even` says that all are equally long.
    """

    sizes: tuple[int, ...]
    tokens: Tensor
    before: Tensor
    last: Tensor
    order: Tensor
    sequence: Tensor
    even: bool

    @property
    def count(self) -> int:
        """N."""
        return self.tokens.shape[1]

    def direction(self, side: int) -> Rows:
        """The same, for one of the directions alone."""
        return replace(self, tokens=self.tokens[side : side + 1])

    @property
    def rows(self) -> int:
        """B."""
        return len(self.order)


def rows(lengths: Tensor, directions: int, device: torch.device, ties: Tensor | None = None) -> Rows:
    """The order for sequences of these lengths [B] (any device); equally long ones stand as their `ties` [B] do."""
    length = lengths.to("cpu", torch.int64)
    count = len(length)
    by_tie = torch.arange(count) if ties is None else ties.argsort(stable=True)
    descending, by_length = length[by_tie].sort(descending=True, stable=True)
    order = by_tie[by_length]
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
        even=bool(count) and int(descending[-1]) == longest,
    )
