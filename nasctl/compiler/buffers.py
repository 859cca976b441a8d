"""Large buffers that are used again: on a CPU, asking the system for fresh pages costs as much as filling them.

On other devices torch keeps freed memory itself, and a CUDA graph must see every allocation: there a loan only asks it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOST_FREE = 32
"""Free buffers that are kept per kind; the one that has waited longest goes first, so those of another layer go."""

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
        free = _free.setdefault(self.kind, [])
        fitting = [i for i, flat in enumerate(free) if flat.numel() >= size]
        best = min(fitting, key=lambda i: free[i].numel(), default=None)
        if best is not None and free[best].numel() <= 4 * size + 4096:
            flat = free.pop(best)
        else:
            flat = torch.empty(size, dtype=self.kind[0], device=self.kind[1])
        self._held.append(flat)
        return flat[:size].view(shape)

    def zeros(self, *shape: int) -> Tensor:
        """The same, filled with zeros."""
        return self.take(*shape).zero_()

    def end(self) -> None:
        """Give everything back."""
        free = _free.setdefault(self.kind, [])
        free.extend(self._held)
        self._held = []
        del free[: max(0, len(free) - MOST_FREE)]

    def __del__(self) -> None:
        self.end()


def free_buffers() -> Sequence[Tensor]:
    """The buffers that nobody uses (tests fill them with NaN)."""
    return [flat for kind in _free.values() for flat in kind]
