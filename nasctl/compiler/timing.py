"""How long cells take in training beside torch.nn.LSTM, in turns with it, so that a busy machine slows down both.

Letters: T time, B batch (rows), D input width, H hidden width.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasctl.cells.graph import CellGraph
from nasctl.cells.spelling import cell_of, spelled
from nasctl.compiler.layer import BACKENDS, PRECISIONS, RecurrentLayer
from nasctl.compiler.precision import fp32_throughout
from nasctl.compiler.streams import Streams

BLOCK_SECONDS = 0.4
"""How long a cell is timed at a stretch, if that takes between FEWEST and MOST turns."""
FEWEST, MOST = 3, 25

SLOW = "reference"
"""The backend that is timed in the first pass only, in FEWEST turns."""


@dataclass(frozen=True)
class Shape:
    """Input width, hidden width, time steps."""

    input_width: int
    hidden: int
    steps: int

    def __str__(self) -> str:
        return f"{self.input_width},{self.hidden},{self.steps}"


@dataclass(frozen=True)
class Variant:
    """How a cell is run: backend and precision."""

    backend: str
    precision: str


@dataclass(frozen=True)
class Bench:
    """What is to be timed: every cell (by its name) at every shape in every variant, `repeats` times over."""

    cells: Mapping[str, CellGraph]
    shapes: tuple[Shape, ...]
    variants: tuple[Variant, ...]
    rows: int
    repeats: int
    ragged: bool
    device: str


@dataclass(frozen=True)
class Timing:
    """Median seconds of a training step's forward and backward pass, and nn.LSTM's in the same turns."""

    repeat: int
    shape: Shape
    cell: str
    variant: Variant
    seconds: float
    lstm_seconds: float


def refusals(bench: Bench) -> Iterator[tuple[str, Variant, str]]:
    """Every cell and variant that cannot be timed, and why."""
    device = torch.device(bench.device)
    for variant in bench.variants:
        for name, graph in bench.cells.items():
            operands = PRECISIONS[variant.precision] or torch.float32
            why = BACKENDS[variant.backend].why_not(graph, device, operands)
            if why is not None:
                yield name, variant, why


def timings(bench: Bench) -> Iterator[Timing]:
    """Time everything that can be timed, one pass over all shapes and cells after the other."""
    fp32_throughout()
    refused = {(name, variant) for name, variant, _ in refusals(bench)}
    for repeat in range(bench.repeats):
        for shape in bench.shapes:
            inputs = _inputs(shape, bench)
            for name, graph in bench.cells.items():
                variants = [each for each in bench.variants if (name, each) not in refused]
                timed = [each for each in variants if each.backend != SLOW]
                slow = [each for each in variants if each.backend == SLOW and repeat == 0]
                for group, most in ((timed, MOST), (slow, FEWEST)):
                    for variant, seconds, lstm in _in_turns(graph, shape, group, inputs, most):
                        yield Timing(repeat, shape, name, variant, seconds, lstm)


def _inputs(shape: Shape, bench: Bench) -> tuple[Tensor, Tensor]:
    """The input [T, B, D] and its lengths [B], the same in every process.

    Ragged lengths follow a normal distribution around 0.64 T, as sentences in batches of SICK do (14 of 22), and the
    longest row fills the batch.
    """
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(shape.steps, bench.rows, shape.input_width, generator=stream)
    lengths = torch.full((bench.rows,), shape.steps)
    if bench.ragged:
        drawn = torch.randn(bench.rows, generator=stream).mul(0.2).add(0.64).mul(shape.steps).round().long()
        lengths = drawn.clamp(1, shape.steps)
        lengths[0] = shape.steps
    return x.to(bench.device), lengths


def _in_turns(
    graph: CellGraph, shape: Shape, variants: list[Variant], inputs: tuple[Tensor, Tensor], most: int
) -> Iterator[tuple[Variant, float, float]]:
    """Each variant's median seconds and nn.LSTM's, from turns in which each of them runs once."""
    if not variants:
        return
    x, lengths = inputs
    runs = [_lstm_step(shape, x), *(_layer_step(graph, shape, each, x, lengths) for each in variants)]
    warm = sum(_seconds(run, x.device) for run in runs)  # plans, first allocations
    warm = min(warm, sum(_seconds(run, x.device) for run in runs))
    turns = max(FEWEST, min(most, math.ceil(BLOCK_SECONDS / warm)))
    found = [[_seconds(run, x.device) for run in runs] for _ in range(turns)]
    lstm, *others = (statistics.median(seconds) for seconds in zip(*found, strict=True))
    for variant, seconds in zip(variants, others, strict=True):
        yield variant, seconds, lstm


def _lstm_step(shape: Shape, x: Tensor) -> Callable[[], object]:
    lstm = nn.LSTM(shape.input_width, shape.hidden, device=x.device)
    parameters = list(lstm.parameters())
    upstream = torch.ones(shape.steps, x.shape[1], shape.hidden, device=x.device)
    return lambda: torch.autograd.grad(lstm(x)[0], parameters, upstream)


def _layer_step(graph: CellGraph, shape: Shape, variant: Variant, x: Tensor, lengths: Tensor) -> Callable[[], object]:
    layer = RecurrentLayer(
        cell_of(spelled(graph)),  # as runs have it: torch takes any of these keys
        shape.input_width,
        shape.hidden,
        bidirectional=False,
        backend=variant.backend,
        precision=variant.precision,
    ).to(x.device)
    layer.initialise(Streams(0, str(x.device)), "common")
    parameters = list(layer.parameters())
    upstream = torch.ones(shape.steps, x.shape[1], shape.hidden, device=x.device)
    return lambda: torch.autograd.grad(layer(x, lengths), parameters, upstream, allow_unused=True)


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
