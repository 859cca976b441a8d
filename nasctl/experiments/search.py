"""A search: spec in, record out, with the pool of cells that it found. Pure but for the clock, as a run is.

The shared weights are trained and judged on train and dev alone; test data is never looked at.
"""

from __future__ import annotations

import importlib
import math
import platform
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

import nasctl
from nasctl.cells.rewrite import cell_digest
from nasctl.cells.spelling import spelled
from nasctl.data.corpus import Split
from nasctl.data.metrics import METRICS
from nasctl.experiments.alone import alone
from nasctl.experiments.course import Course
from nasctl.experiments.resuming import Left, Progress, Resumption, above, below, origin_of
from nasctl.experiments.run import PairModel, Workplace, backends, build
from nasctl.search.examining import Samples, examined, samples_of
from nasctl.search.samples import Examined
from nasctl.search.sharing import SearchEpoch, State
from nasctl.search.sharing import search as epochs
from nasctl.search.strategy import STRATEGIES, Candidate, Drawn, Memory, Strategy
from nasctl.search.supernet import Judge, Supernet
from nasctl.spaces import space_named
from nasctl.spaces.base import Code, SearchSpace, code_of, code_text
from nasctl.spaces.sharing import SharingSpace, shared_weights, sharing
from nasctl.specs import Metric, SearchSpec, search_digest
from nasctl.tracking.records import EpochRecord, FoundCell, Judging, RunRecord
from nasctl.training.loop import copied

__all__ = ["Found", "search"]


@dataclass(frozen=True)
class Found:
    """What a search leaves: its record, the best epoch's weights (`child/...`, `controller/...`), and its samples."""

    record: RunRecord
    weights: dict[str, Tensor]
    examined: Examined | None


_Last = Callable[[], State]
"""Copies the search as it was at the end of its last epoch; None before the first, and after one that diverged."""


@dataclass(frozen=True)
class _Best:
    """The best epoch: the shared weights, and what the strategy had learned."""

    weights: dict[str, Tensor]
    memory: Memory


@dataclass(frozen=True)
class _Parts:
    """What a search works with: the cells, the model that holds their weights, what judges them, and the strategy."""

    space: SharingSpace
    model: PairModel
    judge: Judge
    strategy: Strategy
    train: Split


@dataclass(frozen=True)
class _Pool:
    """The cells found in the end, how many were looked at for them, and samples of the policies."""

    drawn: Sequence[Drawn]
    looked: int
    samples: Examined | None


@dataclass(frozen=True)
class _Ending:
    """What there is to judge once the weights are trained: candidates for the pool, and samples of the policies."""

    candidates: Sequence[Candidate]
    looked: int
    samples: Samples

    def codes(self) -> Sequence[str]:
        """Each cell once."""
        drawn = (each.code for samples in self.samples.values() for each in samples)
        return tuple(dict.fromkeys([*(code_text(each.code) for each in self.candidates), *drawn]))


def search(
    spec: SearchSpec, workplace: Workplace, resumption: Resumption | None = None
) -> Generator[EpochRecord | Judging, bool | None, Found]:
    """Search to the end, telling each epoch, then each cell that has been judged for the pool or as a sample.

    With a `resumption` it goes on where an earlier attempt was left, as `experiments.run.train` does.
    """
    course, parts = Course(workplace.device, resumption), _parts(spec, workplace)
    origin = origin_of(search_digest(spec), spec.result_version, parts.model, workplace.device, workplace.threads)
    found = course.begin(origin, partial(_taken_up, parts.space))
    state, best, scores = found or (None, _Best({}, parts.strategy.memory()), dict[str, float]())
    last: _Last | None = None if state is None else partial(_itself, state)
    diverged = False

    def left() -> Callable[[], Left] | None:
        return None if last is None else partial(_left, last, best, scores)

    for epoch in epochs(
        parts.judge,
        parts.strategy,
        parts.train,
        spec.training,
        metric=spec.metric,
        child_steps=spec.child_steps,
        judged=spec.judged,
        device=workplace.device,
        state=state,
    ):
        diverged = epoch.diverged
        last = None if diverged else epoch.state
        told = course.tell(_told(epoch, spec.metric, course.lap("search")), improved=epoch.improved)
        if epoch.improved:
            best = _Best(copied(parts.model.state_dict()), parts.strategy.memory())
        with course.kept(left()):
            yield told
    pool = _Pool((), 0, None)
    if best.weights:
        if resumption is not None and last is not None:
            last = partial(_itself, last())  # the best epoch's weights are about to take their place
        ending = _ending(spec, parts, best)
        yield from _judgings(parts, ending.codes(), scores, course, left())
        pool = _found(spec, parts, ending, scores)
    record = replace(
        _record(spec, parts, course.progress, pool, diverged=diverged),
        device=course.memory.device_name,
        threads=workplace.threads,
        backend=backends(parts.model, workplace.device),
    )
    controller = above("controller", copied(parts.strategy.controller.state_dict()))
    return Found(record, above("child", best.weights) | controller if best.weights else {}, pool.samples)


def _parts(spec: SearchSpec, workplace: Workplace) -> _Parts:
    space = sharing(space_named(spec.space.name, nodes=spec.space.nodes))
    first = alone(spec, spelled(space.decode(next(iter(space.covering_codes())))))
    corpus, model = workplace.data(first), build(first, workplace, shared_weights(space))
    net, dev, classes = Supernet(model, space), corpus.splits["dev"], len(corpus.classes)
    judge = Judge(net, dev, corpus.task, spec.metric, workplace.device, classes=classes)
    return _Parts(space, model, judge, _strategy(spec, space, workplace.device), corpus.splits["train"])


def _told(epoch: SearchEpoch, metric: Metric, seconds: float) -> EpochRecord:
    if epoch.diverged:
        return EpochRecord(epoch.number, None, {}, seconds, dict(epoch.told))
    cell = code_text(epoch.cell or ())
    return EpochRecord(epoch.number, epoch.loss, {metric: epoch.score}, seconds, dict(epoch.told), cell)


def _ending(spec: SearchSpec, parts: _Parts, best: _Best) -> _Ending:
    """What the best epoch draws; from now on its weights judge."""
    parts.model.load_state_dict(best.weights)
    parts.strategy.remember(best.memory)
    distinct = _same_code if spec.found.distinct == "code" else partial(_same_graph, parts.space)
    candidates, looked = parts.strategy.candidates(distinct, spec.found.count, spec.found.max_draws)
    return _Ending(candidates, looked, samples_of(spec, parts.strategy.controller))


def _judgings(
    parts: _Parts, codes: Sequence[str], scores: dict[str, float], course: Course, left: Callable[[], Left] | None
) -> Iterator[Judging]:
    """Score each cell that has no score yet, one after the other."""
    for code in codes:
        if code not in scores:
            scores[code] = _judged(parts, code)
            course.lap("judge")
            with course.kept(left):
                yield Judging(len(scores), len(codes))


def _judged(parts: _Parts, code: str) -> float:
    score = parts.judge.score(code_of(code, parts.space))
    return METRICS[parts.judge.metric].worst if math.isnan(score) else score


def _found(spec: SearchSpec, parts: _Parts, ending: _Ending, scores: Mapping[str, float]) -> _Pool:
    """The pool, all cells having been judged."""
    judged = [Drawn(each.code, each.log_probability, scores[code_text(each.code)]) for each in ending.candidates]
    pool = parts.strategy.pool(judged, spec.found.count)
    return _Pool(pool, ending.looked, examined(spec, ending.samples, scores))


def _record(spec: SearchSpec, parts: _Parts, progress: Progress, pool: _Pool, *, diverged: bool) -> RunRecord:
    """The record of a search that has ended, but for the machine that it ran on."""
    best, controller = progress.best, parts.strategy.controller
    return RunRecord(
        digest=search_digest(spec),
        role="search",
        state="diverged" if diverged else "finished",
        reason=_reason(len(pool.drawn), pool.looked, spec, len(progress.history), diverged=diverged),
        metric=spec.metric,
        value=METRICS[spec.metric].worst if best is None else best.dev[spec.metric],
        dev={} if best is None else best.dev,
        test={},
        epochs=len(progress.history),
        best_epoch=progress.best_epoch,
        parameters=sum(p.numel() for p in parts.model.parameters() if p.requires_grad),
        cells=(),
        seconds=progress.seconds,
        memory=progress.memory,
        counts={
            "resumed": progress.resumed,
            "draws": pool.looked,
            "codes": len(pool.drawn),
            "graphs": len({_same_graph(parts.space, each.code) for each in pool.drawn}),
            "controller_parameters": sum(p.numel() for p in controller.parameters()),
        },
        device="",
        threads=0,
        backend="",
        result_version=spec.result_version,
        versions={"python": platform.python_version(), "torch": torch.__version__, "nasctl": nasctl.__version__},
        history=progress.history,
        found=tuple(_cell(parts.space, each) for each in pool.drawn),
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
    said = [f"loss or scores not finite in epoch {epochs}"] * diverged + [short] * (found < spec.found.count)
    return "; ".join(said)


# --- between two epochs -----------------------------------------------------------------------------------------------


def _itself(state: State) -> State:
    return state


def _left(last: _Last, best: _Best, scores: Mapping[str, float]) -> Left:
    """Everything at the end of an epoch, and which cells have been judged since the last one."""
    state = last()
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
        "scores": dict(scores),
    }
    return {name: tensor for above_, each in kept.items() for name, tensor in above(above_, each).items()}, about


def _taken_up(space: SearchSpace, left: Left, progress: Progress) -> tuple[State, _Best, dict[str, float]]:
    tensors, about = left
    seen = frozenset(code_of(text, space) for text in about["seen"])
    memory, best_memory = (
        (below("memory", tensors), about["memory"]),
        (below("best_memory", tensors), about["best_memory"]),
    )
    weights, moments = below("weights", tensors), below("moments", tensors)
    state = State(about["epoch"], about["best"], progress.best_epoch, weights, moments, memory, seen)
    return state, _Best(below("best", tensors), best_memory), about["scores"]
