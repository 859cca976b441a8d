"""ENAS: a controller that learns which cells earn most under the shared weights (Pham et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nasctl.compiler.streams import Streams
from nasctl.data.batches import drawn_rows
from nasctl.search.controller import Controller
from nasctl.search.policy import Policy
from nasctl.search.strategy import Candidate, Drawn, Memory
from nasctl.search.supernet import Judge
from nasctl.spaces.base import Code, SearchSpace
from nasctl.specs import Metric
from nasctl.strategies import EnasStrategy, RewardSpec

Array = np.ndarray[Any, np.dtype[Any]]


class Enas:
    """The strategy of that name. The controller works on the CPU, whatever `device` has the shared weights."""

    def __init__(self, space: SearchSpace, spec: EnasStrategy, seed: int, metric: Metric, device: str) -> None:  # noqa: ARG002 - every strategy's arguments
        self.controller, self._spec, self._seed = Controller(space, spec.controller, seed), spec, seed
        self._policy = Policy(self.controller, spec, seed)
        self._streams = Streams(seed, "cpu", ("controller", "drawn"))
        self._masks = Streams(seed, device, ("reward", "dropout"))

    def draw(self, count: int, *names: str | int) -> Sequence[Code]:
        """Cells from the controller as it is."""
        return self.controller.sample(count, self._streams.of(*names)).codes

    def improve(self, epoch: int, judge: Judge) -> Mapping[str, float]:
        """The controller's steps of an epoch; their means."""
        numbers = range(1, self._spec.steps + 1)
        steps = [self._policy.step(epoch, number, self._reward(epoch, number, judge)) for number in numbers]
        self._policy.end_epoch(epoch)
        told = [asdict(step) for step in steps]
        return {
            name: float(np.mean([each[name] for each in told])) for name, value in told[0].items() if value is not None
        }

    def _reward(self, epoch: int, number: int, judge: Judge) -> Callable[[Sequence[Code]], Sequence[float]]:
        asked = self._spec.reward
        rows = rewarded_rows(judge, asked, self._seed, epoch, (epoch - 1) * self._spec.steps + number - 1)
        masks = self._masks.of(epoch, number) if asked.mode == "train" else None
        return lambda codes: [judge.reward(code, rows, masks) for code in codes]

    def most_probable(self) -> Code:
        """The code that is most likely choice by choice."""
        return self.controller.most_probable()

    def candidates(self, distinct: Callable[[Code], object], count: int, most: int) -> tuple[Sequence[Candidate], int]:
        """The first cells that the controller draws, none of them twice."""
        found: dict[object, Candidate] = {}
        drawn = self.controller.sample(most, self._streams.of("pool"))
        likely = drawn.log_probabilities.sum(-1).tolist()
        for looked, (code, log_probability) in enumerate(zip(drawn.codes, likely, strict=True)):
            if len(found) == count:
                return list(found.values()), looked
            found.setdefault(distinct(code), Candidate(code, log_probability))
        return list(found.values()), most

    def pool(self, judged: Sequence[Drawn], count: int) -> Sequence[Drawn]:
        """All of them, as they were drawn."""
        return judged[:count]

    def memory(self) -> Memory:
        """The controller's weights and moments, the baseline and the memory of cells."""
        return self._policy.state()

    def remember(self, memory: Memory) -> None:
        """Be as it was then."""
        self._policy.restore(*memory)


def rewarded_rows(judge: Judge, asked: RewardSpec, seed: int, epoch: int, turn: int) -> Array:
    """The rows of dev on which the cells of one step are rewarded; `turn` counts the steps of all epochs from 0."""
    size = len(judge.dev)
    match asked.batches:
        case "random":
            return drawn_rows(judge.dev, asked.pairs, seed, "reward", epoch, turn)
        case "first":
            return np.arange(asked.pairs)
        case "sequential":
            return np.arange(turn * asked.pairs, (turn + 1) * asked.pairs) % size
