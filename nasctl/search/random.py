"""Random search with shared weights: cells drawn uniformly train them, the best under them are taken.

After Li and Talwalkar 2019, with the traps of their code mended: all candidates are ranked together, each on all of
dev, by weights that were never rewarded for any of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence

from nasctl.data.metrics import METRICS
from nasctl.rng import stream
from nasctl.search.controller import Controller
from nasctl.search.strategy import Candidate, Drawn, Memory
from nasctl.search.supernet import Judge
from nasctl.spaces.base import Code, SearchSpace, log_probability, sample
from nasctl.specs import Metric
from nasctl.strategies import RandomStrategy


class RandomSharing:
    """The strategy `random_ws`. Its controller is never trained."""

    def __init__(self, space: SearchSpace, spec: RandomStrategy, seed: int, metric: Metric, device: str) -> None:  # noqa: ARG002 - every strategy's arguments
        self.controller = Controller(space, spec.controller, seed)
        self._space, self._spec, self._seed, self._metric = space, spec, seed, metric

    def draw(self, count: int, *names: str | int) -> Sequence[Code]:
        """Cells drawn uniformly."""
        drawn = stream(self._seed, "uniform", *names)
        return [sample(self._space, drawn) for _ in range(count)]

    def improve(self, epoch: int, judge: Judge) -> Mapping[str, float]:  # noqa: ARG002 - nothing to improve
        """It learns nothing."""
        return {}

    def most_probable(self) -> None:
        """All cells are alike to it."""

    def candidates(self, distinct: Callable[[Code], object], count: int, most: int) -> tuple[Sequence[Candidate], int]:  # noqa: ARG002 - as every strategy has it
        """All of its candidates, whatever the pool's size."""
        found: dict[object, Code] = {}
        looked = min(self._spec.candidates, most)
        for code in self.draw(looked, "pool"):
            found.setdefault(distinct(code), code)
        return [Candidate(code, log_probability(self._space, code)) for code in found.values()], looked

    def pool(self, judged: Sequence[Drawn], count: int) -> Sequence[Drawn]:
        """The best of the candidates; of equal ones the earlier."""
        sign = METRICS[self._metric].sign
        return heapq.nlargest(count, judged, key=lambda each: sign * each.score)

    def memory(self) -> Memory:
        """Nothing."""
        return {}, None

    def remember(self, memory: Memory) -> None:
        """There is nothing to remember."""
