"""The search with shared weights, whatever its strategy: a generator of epochs (Pham et al. 2018, 2.2).

Each epoch trains the shared weights over the training data, a freshly drawn cell for each batch; then comes the
strategy's own part; then freshly drawn cells are judged on all of dev. Everything random is keyed by seed and epoch, so
what a search is between two epochs can be said in one value, `State`, from which it goes on as if it had never stopped.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from nasctl.compiler.streams import Streams
from nasctl.data.batches import training_batches
from nasctl.data.corpus import Split
from nasctl.data.metrics import METRICS
from nasctl.search.strategy import Memory, Strategy
from nasctl.search.supernet import Judge, Supernet
from nasctl.spaces.base import Code
from nasctl.specs import Metric, TrainingSpec
from nasctl.training.adam import Adam, grouped
from nasctl.training.loop import copied, descend


@dataclass(frozen=True)
class State:
    """A search at the end of an epoch. `seen` are the codes drawn so far; `best` is such that higher is better."""

    epoch: int
    best: float
    best_epoch: int
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    memory: Memory
    seen: frozenset[Code]


@dataclass(frozen=True)
class SearchEpoch:
    """What an epoch gave: the mean training loss, the mean dev score of the cells judged, and what else there is.

    `cell` is the most probable one now. `improved`: the score is the best so far. `diverged`: a loss was not finite,
    or no cell's predictions were; it is the last epoch then. `state` copies the search as it is now.
    """

    number: int
    loss: float
    score: float
    told: Mapping[str, float]
    cell: Code | None
    improved: bool
    diverged: bool
    state: Callable[[], State] = field(repr=False, compare=False)


def search(
    judge: Judge,
    strategy: Strategy,
    train: Split,
    spec: TrainingSpec,
    *,
    metric: Metric,
    child_steps: int | None,
    judged: int,
    device: str,
    state: State | None = None,
) -> Iterator[SearchEpoch]:
    """Train the weights that `judge` judges by, and the strategy, in place, until epochs or patience are used up.

    With a `state` it goes on after that epoch, on a CPU with the same bits. An epoch trains the weights on
    `child_steps` batches (None: on all), and judges so many cells.
    """
    net = judge.net
    optimiser = Adam(grouped(net.model, spec.weight_decay), spec.learning_rate)
    done, best, best_epoch, seen = 0, -math.inf, 0, set[Code]()
    if state is not None:
        done, best, best_epoch, seen = state.epoch, state.best, state.best_epoch, set(state.seen)
        net.model.load_state_dict(state.weights)
        optimiser.restore(state.moments)
        strategy.remember(state.memory)
    streams = Streams(spec.seed, device, ("dropout",))
    sign = METRICS[metric].sign
    batches = len(training_batches(train, spec.batch_size, spec.seed, 1))
    steps = batches if child_steps is None else min(child_steps, batches)
    for number in range(done + 1, spec.epochs + 1):
        if number - 1 - best_epoch >= spec.patience:
            return
        codes = strategy.draw(steps, "child", number)
        fresh = len(set(codes) - seen) / len(codes)
        seen.update(codes)
        loss = descend(map(net.take, codes), train, spec, number, optimiser, masks=streams.of(number), device=device)
        finite = math.isfinite(loss)
        told = dict(strategy.improve(number, judge)) if finite else {}
        scores = [judge.score(code) for code in strategy.draw(judged, "judged", number)] if finite else []
        diverged = bool(np.isnan(scores).all())
        score = float(np.mean(np.nan_to_num(scores, nan=METRICS[metric].worst))) if scores else METRICS[metric].worst
        improved = not diverged and sign * score > best
        if improved:
            best, best_epoch = sign * score, number
        yield SearchEpoch(
            number,
            loss,
            score,
            {**told, "new": fresh},
            None if diverged else strategy.most_probable(),
            improved=improved,
            diverged=diverged,
            state=functools.partial(
                _state,
                net,
                optimiser,
                strategy,
                epoch=number,
                best=best,
                best_epoch=best_epoch,
                seen=frozenset(seen),
            ),
        )
        if diverged:
            return


def _state(
    net: Supernet,
    optimiser: Adam,
    strategy: Strategy,
    *,
    epoch: int,
    best: float,
    best_epoch: int,
    seen: frozenset[Code],
) -> State:
    weights = copied(net.model.state_dict())
    return State(epoch, best, best_epoch, weights, copied(optimiser.moments()), strategy.memory(), seen)
