"""Large buffers that are used again: on a CPU, asking the system for fresh pages costs as much as filling them.

On other devices torch keeps freed memory itself, and a CUDA graph must see every allocation: there a loan only asks it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOST_FREE = 2**27
"""Entries of free buffers that are kept per kind (half a gigabyte of fp32); what waits longest goes first."""

_free: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}


class Loan:
    """Buffers in use. They go back when nothing refers to the loan any more, or at `end`; who keeps values keeps it."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.kind = dtype, device
        self._held: list[Tensor] = []

    def take(self, *shape: int) -> Tensor:
        """A contiguous tensor of this shape; what it holds is of no meaning."""
        size = math.prod(shape)
        if size == 0 or self.kind[1].type != "cpu":
            return torch.empty(shape, dtype=self.kind[0], device=self.kind[1])
        room, free = _rounded(size), _free.setdefault(self.kind, [])
        fitting = (i for i in reversed(range(len(free))) if free[i].numel() == room)
        found = next(fitting, None)
        flat = self._made(room) if found is None else free.pop(found)
        self._held.append(flat)
        return flat[:size].view(shape)

    def _made(self, room: int) -> Tensor:
        # a tensor that is made under inference_mode could never serve a training, and whoever comes next may be one
        with torch.inference_mode(False):
            return torch.empty(room, dtype=self.kind[0], device=self.kind[1])

    def zeros(self, *shape: int) -> Tensor:
        """The same, filled with zeros."""
        return self.take(*shape).zero_()

    def end(self) -> None:
        """Give everything back."""
        free = _free.setdefault(self.kind, [])
        free.extend(self._held)
        self._held = []
        kept = sum(flat.numel() for flat in free)
        while kept > MOST_FREE:
            kept -= free.pop(0).numel()

    def __del__(self) -> None:
        self.end()


def _rounded(size: int) -> int:
    """The size that is asked of the system, at most a quarter more: so batches of similar lengths share buffers."""
    step = 1 << max(0, size.bit_length() - 3)
    return -(-size // step) * step


def free_buffers() -> Sequence[Tensor]:
    """The buffers that nobody uses (tests fill them with NaN)."""
    return [flat for kind in _free.values() for flat in kind]
