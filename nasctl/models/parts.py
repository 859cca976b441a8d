"""What sentence-pair models are made of: word lookup, dropout, pooling over real tokens, the head, initial weights.

Letters: T time, B pairs, R = 2·B rows (the first sentences, then the second ones), D input width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasctl.compiler.layer import RecurrentLayer
from nasctl.compiler.streams import Streams
from nasctl.specs import Owner


@dataclass(frozen=True)
class PairBatch:
    """A batch of pairs, both sentences stacked: `tokens` [T, R] (0 is padding), `lengths` [R] on the CPU."""

    tokens: Tensor
    lengths: Tensor

    @property
    def real(self) -> Tensor:
        """Which places hold a token: [T, R]."""
        steps = torch.arange(self.tokens.shape[0], device=self.tokens.device)
        return steps[:, None] < self.lengths.to(self.tokens.device)[None, :]


class WordLookup(nn.Module):
    """Words as vectors: `matrix` [V, D], frozen or trained on. Frozen vectors are no part of a checkpoint."""

    matrix: Tensor

    def __init__(self, matrix: Tensor, *, trainable: bool) -> None:
        super().__init__()
        self.width = matrix.shape[1]
        if trainable:
            self.matrix = nn.Parameter(matrix.clone())
        else:
            self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, batch: PairBatch) -> Tensor:
        """[T, R, D]; padding is row 0, which is zero."""
        return nn.functional.embedding(batch.tokens, self.matrix, padding_idx=0)


def dropout(x: Tensor, rate: float, masks: torch.Generator | None) -> Tensor:
    """Standard dropout, its mask drawn from `masks`; None (evaluation) drops nothing."""
    return x if masks is None or rate == 0.0 else x * _mask(x.shape, x, rate, masks)


def variational_dropout(x: Tensor, rate: float, masks: torch.Generator | None, owner: Owner) -> Tensor:
    """Dropout of `x` [T, R, D] or [R, D], one mask per feature for every time step (Gal and Ghahramani 2016).

    Each row has its own, or both sentences of a pair have one, so that what is left of them can be compared.
    """
    if masks is None or rate == 0.0:
        return x
    rows, width = x.shape[-2:]
    mask = _mask(torch.Size((rows // _SENTENCES[owner], width)), x, rate, masks)
    return x * mask.repeat(_SENTENCES[owner], 1)


_SENTENCES: Mapping[Owner, int] = {"sentence": 1, "pair": 2}
"""How many sentences share a mask, by its owner."""


def _mask(shape: torch.Size, like: Tensor, rate: float, masks: torch.Generator) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(1 - rate, generator=masks).div_(1 - rate)


def max_pool(x: Tensor, real: Tensor, padding: str) -> Tensor:
    """The largest value of `x` [T, R, H] over time: [R, H].

    `masked`: over real tokens only, 0 for an empty row. `zeros`: zeros at the padding take part, as in the original
    InferSent and CAS code.
    """
    inside = real[:, :, None]
    if padding == "zeros":
        return torch.where(inside, x, torch.zeros_like(x)).amax(0)
    pooled = x.masked_fill(~inside, -torch.inf).amax(0)
    return torch.where(real.any(0)[:, None], pooled, torch.zeros_like(pooled))


def mean_pool(x: Tensor, real: Tensor) -> Tensor:
    """The mean of `x` [T, R, H] over real tokens: [R, H]; 0 for an empty row."""
    total = torch.where(real[:, :, None], x, torch.zeros_like(x)).sum(0)
    return total / real.sum(0).clamp(min=1)[:, None]


def matched(first: Tensor, second: Tensor) -> Tensor:
    """[u; v; |u - v|; u * v] (Conneau et al. 2017)."""
    return torch.cat([first, second, (first - second).abs(), first * second], -1)


class Head(nn.Module):
    """Feed-forward layer, ReLU, dropout, projection: [B, in] -> [B, outputs]."""

    def __init__(self, inputs: int, hidden: int, outputs: int, rate: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, outputs)
        self.rate = rate

    def forward(self, x: Tensor, masks: torch.Generator | None) -> Tensor:
        """Scores [B, outputs]; no non-linearity behind the projection."""
        return self.output(dropout(torch.relu(self.hidden(x)), self.rate, masks))  # type: ignore[no-any-return]


def initialise(model: nn.Module, seed: int, rule: str, output_bias: Tensor | None) -> None:
    """Draw every weight of `model` from a stream of its own, so that no layer's draw depends on another's.

    `common` (the default reading): Xavier-uniform for linear layers, biases 0, `output_bias` on the last layer; the
    recurrent layers' rule is theirs. `torch`: the library's own distributions throughout.
    """
    streams = Streams(seed, "cpu", ("weights",))
    for name, module in model.named_modules():
        if isinstance(module, RecurrentLayer):
            module.initialise(streams.below(name), rule)
        elif isinstance(module, nn.Linear):
            _initialise_linear(module, streams.below(name), rule)
    if rule == "common" and output_bias is not None:
        with torch.no_grad():
            model.get_parameter("head.output.bias").copy_(output_bias)


def _initialise_linear(module: nn.Linear, streams: Streams, rule: str) -> None:
    bound = module.in_features**-0.5
    with torch.no_grad():
        if rule == "torch":
            module.weight.uniform_(-bound, bound, generator=streams.of("weight"))
            module.bias.uniform_(-bound, bound, generator=streams.of("bias"))
        else:
            nn.init.xavier_uniform_(module.weight, generator=streams.of("weight"))
            module.bias.zero_()
