"""BiLSTM-Max (Conneau et al. 2017, as MacLaughlin et al. 2020, section 3.1.2, use it).

Each sentence goes through a bidirectional recurrent layer and is max-pooled over time; the head sees
[u; v; |u - v|; u * v]. Variational dropout before the recurrent layer, standard dropout behind it and before the final
projection (Table 5's caption). What the paper leaves open stands in docs/faithfulness.md.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasctl.cells.spelling import cell_of
from nasctl.compiler.layer import RecurrentLayer
from nasctl.models.parts import Head, PairBatch, dropout, matched, max_pool, variational_dropout
from nasctl.spaces.sharing import SharedWeights
from nasctl.specs import BlmSpec, LayerSpec, TrainingSpec


class Blm(nn.Module):
    """BiLSTM-Max over embedded pairs. The feed-forward layer is as wide as the recurrent layer is per direction.

    With `shared` its recurrent layer holds all of these weights, for cells that take turns.
    """

    def __init__(
        self,
        spec: BlmSpec,
        layers: tuple[LayerSpec, ...],
        training: TrainingSpec,
        width: int,
        outputs: int,
        *,
        shared: SharedWeights | None = None,
    ) -> None:
        super().__init__()
        (layer,) = layers
        self.spec = spec
        self.variational = training.variational_dropout[0]
        self.after_recurrence, before_projection = training.dropout
        self.recurrent = RecurrentLayer(cell_of(layer.cell), width, layer.hidden, shared=shared)
        self.head = Head(4 * self.recurrent.output_width, layer.hidden, outputs, before_projection)

    def forward(self, x: Tensor, batch: PairBatch, masks: torch.Generator | None) -> Tensor:
        """Scores [B, outputs] of embedded pairs `x` [T, R, D]."""
        owner = self.spec.masks
        x = variational_dropout(x, self.variational, masks, owner)
        y = self.recurrent(x, batch.lengths)  # [T, R, 2H]
        if self.spec.dropout_1 == "sequence":
            y = dropout(y, self.after_recurrence, masks)
        pooled = max_pool(y, batch.real, self.spec.padding)  # [R, 2H]
        if self.spec.dropout_1 == "pooled":
            pooled = variational_dropout(pooled, self.after_recurrence, masks, owner)
        first, second = pooled.chunk(2)
        return self.head(matched(first, second), masks)  # type: ignore[no-any-return]
