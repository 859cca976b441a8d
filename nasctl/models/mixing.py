"""Frozen features as vectors: what an encoder's layers answered, looked up and mixed by weights that are learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasctl.models.parts import PairBatch

Rows = np.ndarray[Any, np.dtype[np.float16]]


BLOCK_BYTES = 64 * 1024 * 1024
"""Of what is copied to a device at a time."""


def fits(rows: Rows, free: int, copies: int) -> bool:
    """Whether so many processes may each keep the rows on a device that has so many bytes free: in half of them."""
    return copies * rows.nbytes <= free // 2


def on_device(rows: Rows, device: str) -> Tensor:
    """The rows as a tensor on a device, copied block by block, so that the host never holds them twice."""
    moved = torch.empty(rows.shape, dtype=torch.float16, device=device)
    step = max(1, BLOCK_BYTES * len(rows) // max(rows.nbytes, 1))
    for begin in range(0, len(rows), step):
        moved[begin : begin + step].copy_(torch.from_numpy(np.array(rows[begin : begin + step])))
    return moved


class ScalarMix(nn.Module):
    """gain · Σ softmax(weights)_k · layer_k (Peters et al. 2018, eq. 1); at its start the mean of the layers."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, layers: Tensor) -> Tensor:
        """One vector for each token: [N, L, D] -> [N, D]."""
        shares = self.gain * self.weights.softmax(0)
        return (shares @ layers).reshape(len(layers), layers.shape[-1])


class FeatureLookup(nn.Module):
    """Rows of features as vectors: `rows` float16 [R, L, D], of which the layers `mix` are mixed.

    The rows are a file mapped into memory, or a tensor on the device; they are no part of a checkpoint. Row 0 is the
    padding's, zeros.
    """

    def __init__(self, rows: Rows | Tensor, mix: tuple[int, ...]) -> None:
        super().__init__()
        self.rows, self.width = rows, int(rows.shape[2])
        consecutive = mix == tuple(range(mix[0], mix[-1] + 1))
        self._layers = slice(mix[0], mix[-1] + 1) if consecutive else list(mix)
        self.mix = ScalarMix(len(mix))

    def forward(self, batch: PairBatch) -> Tensor:
        """[T, R, D]; zeros at the padding."""
        wanted = batch.tokens.reshape(-1)
        if isinstance(self.rows, Tensor):  # on the device: what the padding costs is less than to wait for its count
            vectors = self.mix(self.rows[wanted][:, self._layers].float())
            return vectors.reshape(*batch.tokens.shape, self.width)  # type: ignore[no-any-return]
        host = wanted.cpu()
        real = host.nonzero()[:, 0]
        found = torch.from_numpy(self.rows[host[real].numpy()][:, self._layers])
        vectors = self.mix(found.to(wanted.device).float())
        whole: Tensor = vectors.new_zeros(len(wanted), self.width).index_copy(0, real.to(wanted.device), vectors)
        return whole.reshape(*batch.tokens.shape, self.width)
