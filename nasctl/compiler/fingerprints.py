"""A number per sequence that depends on its content alone, never on its place in the batch or on padding.

Products round a row by where it stands among the others. Ordered by fingerprints, the same sequences always stand in
the same order, so that a permuted batch gives the same bits.

Letters: T time, B sequences, G directions, D width.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from nasctl.compiler.recurrence import Recurrence


def fingerprints(asked: Recurrence) -> Tensor:
    """One whole number [B] per sequence: of its real tokens, its initial states and its masks."""
    step = torch.arange(asked.x.shape[0])[:, None]
    tokens = torch.where(step < asked.lengths.to("cpu"), _mixed(asked.x), 0)  # [T, B]
    found = torch.cat([*map(_mixed, asked.initial), *(_mixed(mask[None]) for mask in asked.masks), tokens])
    return (found * _powers(len(found), torch.int64)[:, None]).sum(0)


def _mixed(values: Tensor) -> Tensor:
    """The bits of each vector of `values` [..., D] as one number [...]; sums and products wrap around."""
    values = values.detach().contiguous()
    if values.stride(-1) != 1:  # a width of 1 counts as contiguous at any stride, and torch divides no number there
        values = values.clone(memory_format=torch.contiguous_format)
    bits = values.view(torch.int32 if values.element_size() >= 4 else torch.int16)
    return (bits * _powers(bits.shape[-1], torch.int32)).sum(-1, dtype=torch.int32)


@lru_cache(maxsize=1024)
def _powers(count: int, kind: torch.dtype) -> Tensor:
    """The first powers of an odd number, modulo 2 to the bits of `kind`; more of them begin with the same ones."""
    return torch.full((count,), 6_364_136_223_846_793_005).cumprod(0).to(kind)
