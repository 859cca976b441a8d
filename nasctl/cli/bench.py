"""`nasctl cell bench`: how long cells take in training, against torch.nn.LSTM on the same machine at the same time."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.text import columns, counted, duration
from nasctl.errors import MachineError, UsageError, nearest

if TYPE_CHECKING:
    from nasctl.cells.graph import CellGraph
    from nasctl.compiler.timing import Bench, Shape, Timing, Variant
    from nasctl.spaces.named import NamedCell

__all__ = ["bench"]

SHAPES = ("300,150,22", "300,300,22", "300,600,22", "768,384,30")
"""The paper's narrow, middle and wide layers on word vectors, and its narrowest on BERT, at lengths of such pairs."""

PRECISIONS = ("fp32", "bf16")

EXAMPLES = """
nasctl cell bench                        the paper's 26 cells: some minutes
nasctl cell bench enas-1 gru --shape 300,150,22 --repeats 1
nasctl cell bench --precision fp32,bf16 --json > bench.json
"""


@click.command(cls=ExampleCommand, examples=EXAMPLES)
@click.argument("cells", nargs=-1, metavar="[NAME|FILE|CODE]...")
@click.option(
    "--shape", "shapes", multiple=True, metavar="D,H,T", help=f"Widths, steps.  [default: {'; '.join(SHAPES)}]"
)
@click.option("--rows", type=click.IntRange(1), default=64, show_default=True, help="Sequences in a batch.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads on the CPU.")
@click.option("--precision", default="fp32", show_default=True, help="fp32, bf16, or both by comma.")
@click.option("--backend", default="planned,reference,torch", show_default=True, help="Which, by comma.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Passes over everything.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where.")
@click.option("--ragged", is_flag=True, help="Rows of unequal length; nn.LSTM reads them padded.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, each cell by itself, instead of a table.")
def bench(
    *,
    cells: tuple[str, ...],
    shapes: tuple[str, ...],
    rows: int,
    threads: int,
    precision: str,
    backend: str,
    repeats: int,
    device: str,
    ragged: bool,
    as_json: bool,
) -> None:
    """Time cells in training, against torch.nn.LSTM in the same turns.

    One direction, forward and backward, a frozen input; nn.LSTM in fp32, padded. RATIO is the median over the cells,
    LIMIT the ratio of floating-point operations: what would be left if products were all that takes time. `reference`
    is timed in the first pass only.
    """
    import torch  # noqa: PLC0415 - --help need not pay for it

    from nasctl.cells.library import LIBRARY  # noqa: PLC0415 - as above
    from nasctl.compiler.layer import BACKENDS  # noqa: PLC0415 - as above
    from nasctl.compiler.timing import Bench, Variant, timings  # noqa: PLC0415 - as above
    from nasctl.spaces.named import cell_of_word  # noqa: PLC0415 - as above

    named = [cell_of_word(word) for word in cells or [name for name in LIBRARY if name.startswith("enas-")]]
    backends, precisions = _chosen(backend, BACKENDS, "backend"), _chosen(precision, PRECISIONS, "precision")
    setting = Bench(
        cells=_by_name(named),
        shapes=tuple(_shape(text) for text in shapes or SHAPES),
        variants=tuple(Variant(each, number) for each in backends for number in precisions),
        rows=rows,
        repeats=repeats,
        ragged=ragged,
        device=device,
    )
    if device == "cuda" and not torch.cuda.is_available():
        raise MachineError("--device cuda: torch sees none", "nasctl doctor")
    _tell_refusals(setting)
    torch.set_num_threads(threads)
    found, place, start = [], None, time.monotonic()
    for timing in timings(setting):
        found.append(timing)
        if (timing.repeat, timing.shape) != place:
            place = timing.repeat, timing.shape
            spent = duration(time.monotonic() - start)
            click.echo(f"pass {timing.repeat + 1} of {repeats}, shape {timing.shape} (begun after {spent})", err=True)
    told = [_told(setting, shape, [each for each in found if each.shape == shape]) for shape in setting.shapes]
    if as_json:
        click.echo(json.dumps({"machine": _machine(setting, threads), "shapes": told}))
    else:
        click.echo(_table(told))


def _by_name(named: Iterable[NamedCell]) -> dict[str, CellGraph]:
    """The cells by their names; one that is named twice is one.

    Raises UsageError for two cells of one name, and for one that reads a mask or has no weights.
    """
    from nasctl.cells.rewrite import live  # noqa: PLC0415 - --help need not pay for it

    graphs: dict[str, CellGraph] = {}
    for each in named:
        if live(each.graph).masks:
            raise UsageError(f"{each.name}: the cell reads a mask", "no model gives it one")
        if not live(each.graph).weights:
            raise UsageError(f"{each.name}: the cell has no weights", "their gradients are what is timed")
        if graphs.setdefault(each.name, each.graph) != each.graph:
            raise UsageError(f"there are two cells called {each.name}", "rename a file")
    return graphs


def _chosen(text: str, known: Collection[str], what: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for each in chosen:
        if each not in known:
            raise UsageError(f"--{what}: there is no {what} {each!r}", nearest(each, known))
    return chosen


def _shape(text: str) -> Shape:
    from nasctl.compiler.timing import Shape  # noqa: PLC0415 - it brings torch, which --help need not pay for

    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--shape {text} is none", "input width, hidden width and steps, as in 300,150,22")
    return Shape(*map(int, parts))


def _tell_refusals(setting: Bench) -> None:
    """Say, once for each variant, which cells it cannot run. Raises UsageError if nothing is left."""
    from nasctl.compiler.timing import refusals  # noqa: PLC0415 - as in _shape

    refused = list(refusals(setting))
    for variant in setting.variants:
        reasons = [why for _, each, why in refused if each == variant]
        if reasons:
            who = f"{len(reasons)} of {counted(len(setting.cells), 'cell')}"
            click.echo(f"{variant.backend} {variant.precision} leaves out {who}: {reasons[0]}", err=True)
    if len(refused) == len(setting.cells) * len(setting.variants):
        raise UsageError("none of these cells runs on any of these backends", "--backend planned runs every cell")


def _machine(setting: Bench, threads: int) -> dict[str, Any]:
    """What a measurement depends on beside the cells."""
    import torch  # noqa: PLC0415 - as in _shape

    import nasctl  # noqa: PLC0415 - as above

    device = torch.cuda.get_device_name() if setting.device == "cuda" else platform.processor() or platform.machine()
    versions = {"nasctl": nasctl.__version__, "torch": torch.__version__, "python": platform.python_version()}
    about = {"rows": setting.rows, "repeats": setting.repeats, "ragged": setting.ragged, "threads": threads}
    return {"device": device, "capability": torch.backends.cpu.get_cpu_capability()} | versions | about


def _told(setting: Bench, shape: Shape, found: Sequence[Timing]) -> dict[str, Any]:
    """What was measured at one shape: nn.LSTM's seconds, and every variant."""
    variants = [_variant(setting, each, found) for each in setting.variants if any(t.variant == each for t in found)]
    slow = {
        (v["precision"], c["cell"]): c["ratio"] for v in variants if v["backend"] == "reference" for c in v["cells"]
    }
    for each in variants:
        ratios = {cell["cell"]: cell["ratio"] for cell in each["cells"]}
        each["slower_than_reference"] = [
            name for name, ratio in ratios.items() if ratio > slow.get((each["precision"], name), ratio)
        ]
    lstm = statistics.median(each.lstm_seconds for each in found)
    return {"shape": str(shape), "lstm_seconds": lstm, "variants": variants}


def _variant(setting: Bench, variant: Variant, found: Sequence[Timing]) -> dict[str, Any]:
    """One variant at one shape: each cell's ratio to nn.LSTM is the median of the passes', and theirs the cells'."""
    from nasctl.cells.costs import lstm_ratio  # noqa: PLC0415 - --help need not pay for it

    ours = [each for each in found if each.variant == variant]
    cells: list[dict[str, Any]] = []
    for name, graph in setting.cells.items():
        passes = [each for each in ours if each.cell == name]
        if not passes:
            continue
        ratios = [each.seconds / each.lstm_seconds for each in passes]
        seconds = statistics.median(each.seconds for each in passes)
        limit = lstm_ratio(graph, passes[0].shape.input_width, passes[0].shape.hidden)
        ratio = statistics.median(ratios)
        cells.append({"cell": name, "seconds": seconds, "ratio": ratio, "ratios": ratios, "limit": limit})
    by_pass = [
        statistics.median(each.seconds / each.lstm_seconds for each in ours if each.repeat == repeat)
        for repeat in sorted({each.repeat for each in ours})
    ]
    ratio, limit, seconds = (statistics.median(c[key] for c in cells) for key in ("ratio", "limit", "seconds"))
    return {
        "backend": variant.backend,
        "precision": variant.precision,
        "seconds": seconds,
        "ratio": ratio,
        "ratios": by_pass,
        "spread": max(by_pass) - min(by_pass),
        "limit": limit,
        "over_limit": ratio / limit,
        "cells": cells,
    }


def _table(told: Iterable[Mapping[str, Any]]) -> str:
    header = ("D,H,T", "BACKEND", "PRECISION", "MS", "LSTM MS", "RATIO", "PASSES", "LIMIT", "RATIO/LIMIT")
    rows = []
    for shape in told:
        for each in shape["variants"]:
            passes = f"{min(each['ratios']):.2f}-{max(each['ratios']):.2f}"
            times = (f"{1000 * each['seconds']:.1f}", f"{1000 * shape['lstm_seconds']:.1f}", f"{each['ratio']:.2f}")
            limits = (f"{each['limit']:.2f}", f"{each['over_limit']:.2f}")
            rows.append((shape["shape"], each["backend"], each["precision"], *times, passes, *limits))
    return columns(header, rows, right=header[3:])
