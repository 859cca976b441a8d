"""A search: spec in, record out, with the pool of cells that it found. Pure but for the clock, as a run is.

The shared weights are trained and judged on train and dev alone; test data is never looked at.
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

import nasctl
from nasctl.cells.rewrite import cell_digest
from nasctl.cells.spelling import spelled
from nasctl.data.metrics import METRICS
from nasctl.experiments.alone import alone
from nasctl.experiments.costs import Clock, PeakMemory
from nasctl.experiments.resuming import Left, Progress, Resumption, above, below, origin_of
from nasctl.experiments.run import Workplace, backends, build
from nasctl.search.examining import examined
from nasctl.search.samples import Examined
from nasctl.search.sharing import State
from nasctl.search.sharing import search as epochs
from nasctl.search.strategy import STRATEGIES, Drawn, Memory, Strategy
from nasctl.search.supernet import Judge, Supernet
from nasctl.spaces import space_named
from nasctl.spaces.base import Code, SearchSpace, code_of, code_text
from nasctl.spaces.sharing import shared_weights, sharing
from nasctl.specs import SearchSpec, search_digest
from nasctl.tracking.records import EpochRecord, FoundCell, RunRecord
from nasctl.training.loop import copied

__all__ = ["Found", "search"]


@dataclass(frozen=True)
class Found:
    """What a search leaves: its record, the best epoch's weights (`child/...`, `controller/...`), and its samples."""

    record: RunRecord
    weights: dict[str, Tensor]
    examined: Examined | None


@dataclass(frozen=True)
class _Best:
    """The best epoch: the shared weights, and what the strategy had learned."""

    weights: dict[str, Tensor]
    memory: Memory


def search(
    spec: SearchSpec, workplace: Workplace, resumption: Resumption | None = None
) -> Generator[EpochRecord, bool | None, Found]:
    """Search to the end, telling each epoch.

    With a `resumption` it goes on where an earlier attempt was left, as `experiments.run.train` does.
    """
    clock, memory = Clock(), PeakMemory(workplace.device)
    space = sharing(space_named(spec.space.name, nodes=spec.space.nodes))
    first = alone(spec, spelled(space.decode(next(iter(space.covering_codes())))))
    corpus, model = workplace.data(first), build(first, workplace, shared_weights(space))
    train, dev = corpus.splits["train"], corpus.splits["dev"]
    net = Supernet(model, space)
    judge = Judge(net, dev, corpus.task, spec.metric, workplace.device)
    strategy = _strategy(spec, space, workplace.device)
    origin = origin_of(search_digest(spec), spec.result_version, model, workplace.device, workplace.threads)
    found = resumption.load(origin, partial(_taken_up, space)) if resumption is not None else None
    progress, state, best, diverged = Progress(), None, _Best({}, strategy.memory()), False
    if found is not None:
        progress = replace(found.progress, resumed=found.progress.resumed + 1)
        state, best = found.state
        clock.add(progress.seconds)
        memory.add(progress.memory)
    clock.lap("load")
    for epoch in epochs(
        net,
        strategy,
        train,
        judge,
        spec.training,
        metric=spec.metric,
        child_steps=spec.child_steps,
        judged=spec.judged,
        device=workplace.device,
        state=state,
    ):
        clock.lap("search")
        diverged = epoch.diverged
        told = EpochRecord(
            epoch.number,
            None if diverged else epoch.loss,
            {} if diverged else {spec.metric: epoch.score},
            clock.elapsed(),
            dict(epoch.told),
            code_text(epoch.cell or ()),
        )
        if epoch.improved:
            best = _Best(copied(model.state_dict()), strategy.memory())
        progress = replace(
            progress,
            history=(*progress.history, told),
            best_epoch=epoch.number if epoch.improved else progress.best_epoch,
            seconds=dict(clock.seconds),
            memory=memory.peak(),
        )
        if resumption is None or diverged:
            yield told
        else:
            with resumption.kept(origin, partial(_left, epoch.state, best), progress):
                yield told
    drawn, looked, samples = list[Drawn](), 0, None
    if best.weights:
        model.load_state_dict(best.weights)
        strategy.remember(best.memory)
        distinct = _same_code if spec.found.distinct == "code" else partial(_same_graph, space)
        drawn, looked = strategy.pool(judge, distinct, spec.found.count, spec.found.max_draws)
        samples = examined(spec, strategy.controller, judge)
    clock.lap("judge")
    return Found(
        RunRecord(
            digest=search_digest(spec),
            role="search",
            state="diverged" if diverged else "finished",
            reason=_reason(len(drawn), looked, spec, len(progress.history), diverged=diverged),
            metric=spec.metric,
            value=METRICS[spec.metric].worst if progress.best is None else progress.best.dev[spec.metric],
            dev={} if progress.best is None else progress.best.dev,
            test={},
            epochs=len(progress.history),
            best_epoch=progress.best_epoch,
            parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            cells=(),
            seconds=clock.seconds,
            memory=memory.peak(),
            counts={
                "resumed": progress.resumed,
                "draws": looked,
                "codes": len(drawn),
                "graphs": len({_same_graph(space, each.code) for each in drawn}),
                "controller_parameters": sum(p.numel() for p in strategy.controller.parameters()),
            },
            device=memory.device_name,
            threads=workplace.threads,
            backend=backends(model, workplace.device),
            result_version=spec.result_version,
            versions={"python": platform.python_version(), "torch": torch.__version__, "nasctl": nasctl.__version__},
            history=progress.history,
            found=tuple(_cell(space, each) for each in drawn),
        ),
        above("child", best.weights) | above("controller", copied(strategy.controller.state_dict())),
        samples,
    )


def _strategy(spec: SearchSpec, space: SearchSpace, device: str) -> Strategy:
    module, _, name = STRATEGIES[spec.strategy.name].partition(":")
    made: Callable[..., Strategy] = getattr(importlib.import_module(module), name)
    return made(space, spec.strategy, spec.training.seed, spec.metric, device)


def _same_code(code: Code) -> object:
    return code


def _same_graph(space: SearchSpace, code: Code) -> object:
    return cell_digest(space.decode(code))


def _cell(space: SearchSpace, drawn: Drawn) -> FoundCell:
    graph = space.decode(drawn.code)
    return FoundCell(code_text(drawn.code), spelled(graph), cell_digest(graph), drawn.log_probability, drawn.score)


def _reason(found: int, looked: int, spec: SearchSpec, epochs: int, *, diverged: bool) -> str:
    """Why a search ended in an unusual way; "" for the usual one."""
    short = f"{found} distinct cells in {looked} draws instead of {spec.found.count}"
    said = [f"loss not finite in epoch {epochs}"] * diverged + [short] * (found < spec.found.count)
    return "; ".join(said)


# --- between two epochs -----------------------------------------------------------------------------------------------


def _left(state_of: Callable[[], State], best: _Best) -> Left:
    state = state_of()
    (tensors, memory), (best_tensors, best_memory) = state.memory, best.memory
    kept: Mapping[str, dict[str, Tensor]] = {
        "weights": state.weights,
        "moments": state.moments,
        "memory": tensors,
        "best": best.weights,
        "best_memory": best_tensors,
    }
    about = {
        "epoch": state.epoch,
        "best": state.best,
        "memory": memory,
        "best_memory": best_memory,
        "seen": sorted(map(code_text, state.seen)),
    }
    return {name: tensor for above_, each in kept.items() for name, tensor in above(above_, each).items()}, about


def _taken_up(space: SearchSpace, left: Left, progress: Progress) -> tuple[State, _Best]:
    tensors, about = left
    seen = frozenset(code_of(text, space) for text in about["seen"])
    memory, best_memory = (
        (below("memory", tensors), about["memory"]),
        (below("best_memory", tensors), about["best_memory"]),
    )
    weights, moments = below("weights", tensors), below("moments", tensors)
    state = State(about["epoch"], about["best"], progress.best_epoch, weights, moments, memory, seen)
    return state, _Best(below("best", tensors), best_memory)
