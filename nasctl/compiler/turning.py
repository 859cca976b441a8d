"""Sequences read backwards: each row reversed within its own length, so that padding stays behind it.

Letters: T time, B sequences, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def turn(lengths: Tensor, steps: int) -> Tensor:
    """Each row's steps with the real ones reversed [T, B]: a permutation that is its own inverse."""
    step = torch.arange(steps, device=lengths.device)[:, None]
    return torch.where(step < lengths, lengths - 1 - step, step)


def turned(x: Tensor, order: Tensor) -> Tensor:
    """`x` [T, B, D] with step `order[t, b]` [T, B] of row b at step t."""
    steps, rows, width = x.shape
    flat = order * rows + torch.arange(rows, device=x.device)
    return x.reshape(steps * rows, width).index_select(0, flat.reshape(-1)).view(steps, rows, width)
