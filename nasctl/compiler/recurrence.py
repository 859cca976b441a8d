"""What a backend is asked: one cell over a batch of ragged sequences.

Letters: T time, B sequences, G directions, D input width, H hidden width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nasctl.cells.graph import CellGraph

State = tuple[Tensor, ...]
"""A cell's states, each [G, B, width]; the first is the output's."""
Weights = Mapping[str, Tensor]
"""The matrices [H, width] and biases [H] of one direction, by key."""
Result = tuple[Tensor, State]
"""Outputs [T, B, G·H], zero behind each row's last token, and every state behind the last tokens."""


@dataclass(frozen=True)
class Recurrence:
    """`cell` over `x` [T, B, D], of which row b has `lengths[b]` tokens; the second direction reads them backwards.

    `weights` has one mapping per direction, `initial` one tensor [G, B, width] per state, `masks` one [B, width] per
    mask of the cell. `operands` is the type that products read; they are summed in the type of `x`. Without `finals`
    a backend may leave the final states out.
    """

    cell: CellGraph
    weights: tuple[Weights, ...]
    x: Tensor
    lengths: Tensor
    initial: State
    masks: tuple[Tensor, ...]
    operands: torch.dtype
    finals: bool
