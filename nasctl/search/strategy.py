"""What a search method must be able to do. There are two kinds.

A *strategy with shared weights* says which cells train the weights, learns from what they earn, and ends with a pool:
`search.sharing` is the loop around it. A *proposer* names one cell at a time to be trained on its own, and hears how
good it was: the scheduler drives it as it drives a sampler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from nasctl.search.controller import Controller
from nasctl.search.supernet import Judge
from nasctl.spaces.base import Code

__all__ = ["STRATEGIES", "Candidate", "Drawn", "Memory", "Strategy"]

Memory = tuple[dict[str, Tensor], Any]
"""What a strategy remembers between two epochs: tensors, and a JSON value."""


@dataclass(frozen=True)
class Candidate:
    """A cell that may be of the pool: its code, and the natural logarithm of how likely one draw gives it."""

    code: Code
    log_probability: float


@dataclass(frozen=True)
class Drawn(Candidate):
    """A candidate that has been judged, with its dev score."""

    score: float


STRATEGIES: Mapping[str, str] = {
    "enas": "nasctl.search.enas:Enas",
    "random_ws": "nasctl.search.random:RandomSharing",
}
"""Every strategy with shared weights: made of a space, its settings, a seed, the metric, and the weights' device."""


class Strategy(Protocol):
    """A strategy with shared weights. All that is random in it depends on its seed and the names given, on no past."""

    @property
    def controller(self) -> Controller:
        """The policy that the controller's study looks at, trained or not."""

    def draw(self, count: int, *names: str | int) -> Sequence[Code]:
        """Cells as they would be tried now."""

    def improve(self, epoch: int, judge: Judge) -> Mapping[str, float]:
        """The strategy's own part of an epoch, behind the training of the shared weights; what there is to tell."""

    def most_probable(self) -> Code | None:
        """The cell that it is surest of; None if all are alike to it."""

    def candidates(self, distinct: Callable[[Code], object], count: int, most: int) -> tuple[Sequence[Candidate], int]:
        """The cells to judge for a pool of `count`, no two equal under `distinct`, and how many were looked at.

        Those are no more than `most`.
        """

    def pool(self, judged: Sequence[Drawn], count: int) -> Sequence[Drawn]:
        """At most `count` of the candidates, now that they have been judged."""

    def memory(self) -> Memory:
        """All that it has learned, copied."""

    def remember(self, memory: Memory) -> None:
        """Be as it was when it had that memory."""
