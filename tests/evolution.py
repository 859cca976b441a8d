"""A strategy that learns from what became of its proposals, for tests of what drives strategies."""

from __future__ import annotations

from collections.abc import Sequence

from nasctl.errors import UsageError
from nasctl.rng import stream
from nasctl.search.proposers import Tried
from nasctl.spaces.base import Code, SearchSpace, mutate, sample

TRIES = 1_000
SAMPLE = 3


class Evolution:
    """Regularised evolution in small: every other proposal is a mutant of the best of the last few that are known."""

    def __init__(self, space: SearchSpace, spec: object, seed: int, metric: str) -> None:
        self.space, self.seed = space, seed

    def propose(self, tried: Sequence[Tried]) -> Code:
        draws, known = stream(self.seed, "evolution", len(tried)), {each.code for each in tried}
        told = [(each.value, each.code) for each in tried if each.value is not None][-SAMPLE:]
        for attempt in range(TRIES):
            from_parent = told and len(tried) % 2 and attempt < TRIES // 2
            code = mutate(self.space, max(told)[1], draws) if from_parent else sample(self.space, draws)
            if code not in known:
                return code
        raise UsageError(f"{TRIES} draws in a row gave none but the {len(known)} cells that were tried", "fewer trials")
