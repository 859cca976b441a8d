"""ESIM (Chen et al. 2017) in the form of AllenNLP's, as MacLaughlin et al. 2020, section 3.1.2, use it.

Two bidirectional recurrent layers with cross-sentence attention between them. Variational dropout before each
recurrent layer; standard dropout after the enhancement layer and in the final MLP (Table 5's caption). What the paper
leaves open stands in docs/faithfulness.md.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasctl.cells.spelling import cell_of
from nasctl.compiler.layer import RecurrentLayer
from nasctl.models.parts import Head, PairBatch, dropout, max_pool, mean_pool, variational_dropout
from nasctl.spaces.sharing import SharedWeights
from nasctl.specs import EsimSpec, LayerSpec, TrainingSpec


class Esim(nn.Module):
    """ESIM over embedded pairs; the projection and the MLP are as wide as the second layer is per direction.

    With `shared` each of its recurrent layers holds all of these weights, for cells that take turns.
    """

    def __init__(
        self,
        spec: EsimSpec,
        layers: tuple[LayerSpec, ...],
        training: TrainingSpec,
        width: int,
        outputs: int,
        *,
        shared: SharedWeights | None = None,
    ) -> None:
        super().__init__()
        first, second = layers
        self.spec = spec
        self.variational = training.variational_dropout
        self.after_enhancement, self.in_mlp = training.dropout
        self.encode = RecurrentLayer(cell_of(first.cell), width, first.hidden, shared=shared)
        self.project = nn.Linear(4 * self.encode.output_width, second.hidden)
        self.compose = RecurrentLayer(cell_of(second.cell), second.hidden, second.hidden, shared=shared)
        self.head = Head(4 * self.compose.output_width, second.hidden, outputs, self.in_mlp)

    def forward(self, x: Tensor, batch: PairBatch, masks: torch.Generator | None) -> Tensor:
        """Scores [B, outputs] of embedded pairs `x` [T, R, D]."""
        real, owner = batch.real, self.spec.masks  # [T, R]
        y = self.encode(variational_dropout(x, self.variational[0], masks, owner), batch.lengths)  # [T, R, 2H]
        enhanced = enhance(y, attend(y, real))  # [T, R, 8H]
        if self.spec.dropout_1 == "enhancement":
            enhanced = dropout(enhanced, self.after_enhancement, masks)
        local = torch.relu(self.project(enhanced))  # [T, R, H2]
        if self.spec.dropout_1 == "projection":
            local = dropout(local, self.after_enhancement, masks)
        local = variational_dropout(local, self.variational[1], masks, owner)
        z = self.compose(local, batch.lengths)  # [T, R, 2·H2]
        first, second = torch.cat([mean_pool(z, real), max_pool(z, real, self.spec.padding)], -1).chunk(2)
        pooled = torch.cat([first, second], -1)  # [B, 8·H2]: first avg, first max, second avg, second max
        if self.spec.dropout_2 == "pooled_and_hidden":
            pooled = dropout(pooled, self.in_mlp, masks)
        return self.head(pooled, masks)  # type: ignore[no-any-return]


def attend(y: Tensor, real: Tensor) -> Tensor:
    """For each token the other sentence's tokens, weighted by softmax of dot products: [T, R, H] -> [T, R, H].

    Padding gets no weight; where the other sentence is empty the result is 0.
    """
    rows = y.transpose(0, 1)  # [R, T, H]
    a, b = rows.chunk(2)
    real_a, real_b = real.T.chunk(2)  # [B, T]
    scores = a @ b.transpose(1, 2)  # [B, T, T]
    to_a = _weights(scores, real_b) @ b
    to_b = _weights(scores.transpose(1, 2), real_a) @ a
    return torch.cat([to_a, to_b]).transpose(0, 1)


def _weights(scores: Tensor, real: Tensor) -> Tensor:
    """Softmax of `scores` [B, T, T] over the last axis, on the places `real` [B, T] only."""
    inside = real[:, None, :]
    some = inside.any(-1, keepdim=True)  # a row without any real place would be NaN
    weights = scores.masked_fill(~inside & some, -torch.inf).softmax(-1)
    return torch.where(some, weights, torch.zeros_like(weights))


def enhance(y: Tensor, attended: Tensor) -> Tensor:
    """[a; ã; a - ã; a * ã] over the last axis."""
    return torch.cat([y, attended, y - attended, y * attended], -1)
