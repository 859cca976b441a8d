"""Strategies that propose one cell after the other, each of which is trained alone on some worker.

A proposer has no memory: what it proposes next follows from the cells that were proposed before it, by number, and from
what is known of each. The studies' store keeps just that. A search that was killed therefore goes on with the very
proposals that it would have made, and no strategy has a state to write down, to restore, or to get wrong.

Another strategy is one file: a class made as `PROPOSERS` says, with `propose`, whose chance comes from
`stream(seed, NAME, len(tried))`; then its settings, with a `trials`, in strategies.py, its row here, and
conf/search/NAME.yaml. tests/contracts/test_proposers.py then runs over it; tests/evolution.py is one that learns. What
became of earlier cells depends on which worker was faster, unless deterministic=true proposes them in groups of eight.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nasctl.errors import UsageError
from nasctl.rng import stream
from nasctl.spaces import space_named
from nasctl.spaces.base import MOST_TRIES, Code, SearchSpace, sample
from nasctl.specs import Metric, Proposals
from nasctl.strategies import RandomProposals

__all__ = ["PROPOSERS", "Proposer", "Tried", "proposer"]


@dataclass(frozen=True)
class Tried:
    """A cell that was proposed, and its dev score.

    None: it is being trained, has failed, or was given up. The metric's worst value: it has diverged.
    """

    code: Code
    value: float | None


class Proposer(Protocol):
    """A strategy that proposes cells."""

    def propose(self, tried: Sequence[Tried]) -> Code:
        """The cell to be tried as number `len(tried)`; one that was not proposed before.

        `tried` are all before it, by number. The same ones give the same cell, on every machine, whatever was asked
        for in between: what is random comes from streams named by the number. Raises UsageError where none is left.
        """


PROPOSERS: Mapping[str, str] = {
    "random": "nasctl.search.proposers:RandomProposer",
}
"""Every strategy that proposes: made of a space, its settings, a seed, and the metric."""


def proposer(proposals: Proposals, metric: Metric) -> Proposer:
    """The strategy as it was asked for."""
    module, _, name = PROPOSERS[proposals.strategy.name].partition(":")
    made: Callable[..., Proposer] = getattr(importlib.import_module(module), name)
    space = space_named(proposals.space.name, nodes=proposals.space.nodes)
    return made(space, proposals.strategy, proposals.seed, metric)


class RandomProposer:
    """The strategy `random`: cells drawn uniformly. What became of the others is nothing to it."""

    def __init__(self, space: SearchSpace, spec: RandomProposals, seed: int, metric: Metric) -> None:  # noqa: ARG002 - every strategy's arguments
        self._space, self._seed = space, seed

    def propose(self, tried: Sequence[Tried]) -> Code:
        """A cell that is none of the others."""
        known = {each.code for each in tried}
        draws = stream(self._seed, "random", len(tried))
        for _ in range(MOST_TRIES):
            code = sample(self._space, draws)
            if code not in known:
                return code
        raise UsageError(
            f"{MOST_TRIES} draws in a row gave none but the {len(known)} cells that were tried", "fewer trials"
        )
