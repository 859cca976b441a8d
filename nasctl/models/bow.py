"""A control without word order: the mean of a sentence's vectors, and the head of BiLSTM-Max.

What it cannot see (who did what to whom) is what a recurrent layer adds; its score stands beside theirs in the demo.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasctl.models.parts import Head, PairBatch, dropout, matched, mean_pool
from nasctl.specs import BowSpec, LayerSpec, TrainingSpec


class Bow(nn.Module):
    """Mean vectors over embedded pairs; `dropout` acts on the means and before the projection."""

    def __init__(
        self, spec: BowSpec, layers: tuple[LayerSpec, ...], training: TrainingSpec, width: int, outputs: int
    ) -> None:
        super().__init__()
        if layers:
            raise ValueError("bow has no recurrent layer")
        self.on_means, before_projection = training.dropout
        self.head = Head(4 * width, spec.hidden, outputs, before_projection)

    def forward(self, x: Tensor, batch: PairBatch, masks: torch.Generator | None) -> Tensor:
        """Scores [B, outputs] of embedded pairs `x` [T, R, D]."""
        first, second = dropout(mean_pool(x, batch.real), self.on_means, masks).chunk(2)
        return self.head(matched(first, second), masks)  # type: ignore[no-any-return]
