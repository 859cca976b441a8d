"""What a device does with recurrent cells: one script, anywhere, a few minutes, one JSON and one table.

It needs torch and this checkout only (`python tests/gpu/bench.py --out FILE`). On a GPU it measures the machine
(copies, large products, chains of small kernels), torch.nn.LSTM, and ENAS cells by the backends `reference` and
`planned`, eager and as one CUDA graph; on a CPU the same with smaller sizes and without graphs. Each line stands beside
what was predicted before the first measurement (docs/benchmarks.md says where the predictions come from).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn

from nasctl.cells.graph import CellGraph
from nasctl.cells.library import LIBRARY
from nasctl.compiler import planned
from nasctl.compiler.layer import RecurrentLayer
from nasctl.compiler.precision import fp32_throughout
from nasctl.compiler.recurrence import Recurrence
from nasctl.compiler.rows import rows
from nasctl.compiler.streams import Streams

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
Line = dict[str, Any]


def seconds(run: Callable[[], object], at_least: float = 0.3, most: int = 200) -> float:
    """The median time of one run, measured on the device's own clock where it has one."""
    for _ in range(3):
        run()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < most and (len(times) < 5 or time.perf_counter() - start < at_least):
        if CUDA:
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            run()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1000)
        else:
            begun = time.perf_counter()
            run()
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def line(item: str, value: float, unit: str, predicted: str) -> Line:
    """One row of the table."""
    print(f"{item:<66} {value:>10.4g} {unit:<6} {predicted}", flush=True)
    return {"item": item, "value": value, "unit": unit, "predicted": predicted}


def machine() -> Iterator[Line]:
    """Items 1 and 2: how fast the device copies, multiplies, and starts small kernels."""
    count = 2**28 if CUDA else 2**24
    source, target = torch.empty(count, device=DEVICE), torch.empty(count, device=DEVICE)
    yield line("copy, read + write", 8 * count / seconds(lambda: target.copy_(source)) / 1e12, "TB/s", "4.3 (H200)")
    size = 8192 if CUDA else 1024
    for name, dtype, tf32, predicted in (
        ("bf16", torch.bfloat16, False, "790"),
        ("tf32", torch.float32, True, "380-430"),
        ("fp32", torch.float32, False, "50-60"),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(size, size, device=DEVICE, dtype=dtype) for _ in range(2))
        rate = 2 * size**3 / seconds(lambda a=a, b=b: torch.mm(a, b), at_least=1.0, most=30) / 1e12
        yield line(f"product of {size} x {size}, {name}", rate, "TF/s", f"{predicted} (H200)")
    torch.backends.cuda.matmul.allow_tf32 = False
    small = torch.zeros(64, 300, device=DEVICE)

    def chain() -> None:
        for _ in range(200):
            small.add_(1.0)

    yield line("small dependent kernel, eager", seconds(chain) / 200 * 1e6, "us", "4-6")
    if CUDA:
        graph = captured(chain)
        yield line("small dependent kernel, in a graph", seconds(graph.replay) / 200 * 1e6, "us", "2.0-3.0")


def captured(run: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """`run` as a CUDA graph, after three runs beside it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph


def torch_lstm() -> Iterator[Line]:
    """Item 4: torch's own LSTM, forward and backward."""
    for name, width, hidden, both, dtype, predicted in (
        ("bidirectional D=300 H=300 64 rows T=24 fp32", 300, 300, True, torch.float32, "0.5-0.9"),
        ("one direction D=384 H=384 64 rows T=24 fp16", 384, 384, False, torch.float16, "0.12-0.2"),
    ):
        if dtype is torch.float16 and not CUDA:
            continue
        layer = nn.LSTM(width, hidden, bidirectional=both).to(DEVICE, dtype)
        x = torch.randn(24, 64, width, device=DEVICE, dtype=dtype)
        value = seconds(lambda layer=layer, x=x: layer(x)[0].sum().backward())
        yield line(f"nn.LSTM {name}", value * 1e3, "ms", predicted)


def cells() -> Iterator[Line]:
    """Items 5 and 6: one batch of pairs, both sentences and directions, forward and backward."""
    shapes = [(300, 150, 24), (300, 300, 24), (300, 600, 24), (768, 384, 30), (768, 768, 30)]
    for width, hidden, steps in shapes if CUDA else shapes[:2]:
        x = torch.randn(steps, 64, width, device=DEVICE)
        own = nn.LSTM(width, hidden, bidirectional=True).to(DEVICE)
        where = f"D={width} H={hidden} 64 rows T={steps}, both directions"
        base = seconds(lambda own=own, x=x: own(x)[0].sum().backward())
        yield line(f"nn.LSTM {where}", base * 1e3, "ms", "")
        for name, cell in (("LSTM", "lstm"), ("ENAS 1", "enas-1"), ("ENAS 17", "enas-17")):
            yield from one_cell(f"{name} {where}", LIBRARY[cell].graph, x, hidden, base)


def one_cell(name: str, cell: CellGraph, x: torch.Tensor, hidden: int, base: float) -> Iterator[Line]:
    """A cell by each backend, in milliseconds and in times of torch's LSTM."""
    lengths = torch.full((x.shape[1],), x.shape[0])
    for backend, precision, predicted in (
        ("reference", "fp32", "100-200 with four loops, half of it here"),
        ("planned", "fp32", "8-15"),
        ("planned", "bf16", ""),
    ):
        layer = RecurrentLayer(cell, x.shape[2], hidden, backend=backend, precision=precision)
        layer.initialise(Streams(0, "cpu"), "common")
        layer = layer.to(DEVICE)
        value = seconds(lambda layer=layer: layer(x, lengths).sum().backward(), at_least=0.5, most=50)
        item = line(f"{name} {backend} {precision}", value * 1e3, "ms", predicted)
        yield item | {"times_lstm": value / base}
    if CUDA:
        yield from as_graph(name, layer, cell, x, base)


def as_graph(name: str, layer: RecurrentLayer, cell: CellGraph, x: torch.Tensor, base: float) -> Iterator[Line]:
    """The planned backend, forward and backward, as one CUDA graph, in fp32 and bf16."""
    lengths = torch.full((x.shape[1],), x.shape[0])
    order = rows(lengths, 2, DEVICE)
    assert layer.backward is not None
    weights = (dict(layer.onward.items()), dict(layer.backward.items()))
    initial = tuple(x.new_zeros(2, x.shape[1], layer.hidden) for _ in cell.states)
    for precision, operands in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        leaves = [parameter for side in weights for parameter in side.values()]

        def step(operands: torch.dtype = operands, leaves: list[nn.Parameter] = leaves) -> None:
            y, _ = planned.in_order(Recurrence(cell, weights, x, lengths, initial, (), operands, finals=False), order)
            torch.autograd.grad(y.sum(), leaves)

        try:
            begun = time.perf_counter()
            graph = captured(step)
            capture = time.perf_counter() - begun
        except RuntimeError as error:
            print(f"{name}: no graph: {error}", file=sys.stderr)
            return
        value = seconds(graph.replay, at_least=0.5)
        item = line(f"{name} planned {precision}, graph", value * 1e3, "ms", "3-4")
        yield item | {"times_lstm": value / base, "capture_seconds": capture}


def exactness() -> Iterator[Line]:
    """Whether backends agree on this device, forward and every gradient: the truth and the engine in float64, the
    engine and torch's own LSTM in float32.
    """
    for number in (1, 17, 24):
        worst = difference(LIBRARY[f"enas-{number}"].graph, ("planned", "reference"), torch.float64)
        yield line(f"ENAS {number}: planned against reference, float64", worst, "", "<= 1e-10")
    worst = difference(LIBRARY["lstm"].graph, ("torch", "planned"), torch.float32)
    yield line("LSTM: torch against planned, float32", worst, "", "about 1e-6; in TF32 1e-4")


def difference(cell: CellGraph, backends: tuple[str, str], dtype: torch.dtype) -> float:
    """How far a backend is from another at most, on one batch, over 1 and the largest entry of the same tensor."""
    found = {}
    for backend in backends:
        layer = RecurrentLayer(cell, 19, 23, backend=backend)
        layer.initialise(Streams(0, "cpu"), "common")
        layer = layer.to(DEVICE, dtype)
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(9, 7, 19, generator=generator, dtype=torch.float64).to(DEVICE, dtype).requires_grad_()
        y = layer(x, torch.tensor([9, 3, 0, 1, 9, 5, 7]))
        weighted = y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=DEVICE).view_as(y)
        found[backend] = [y, *torch.autograd.grad(weighted.sum(), [x, *layer.parameters()])]
    return max(
        float(((a - b).abs().max() / (1 + b.abs().max())).detach())
        for a, b in zip(*(found[backend] for backend in backends), strict=True)
    )


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    fp32_throughout()
    torch.set_num_threads(1 if not CUDA else torch.get_num_threads())
    begun = time.perf_counter()
    lines = [each for part in (exactness, machine, torch_lstm, cells) for each in part()]
    about = {
        "device": torch.cuda.get_device_name() if CUDA else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "seconds": time.perf_counter() - begun,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": about, "lines": lines}, indent=1) + "\n")
    print(f"{about['seconds']:.0f} s on {about['device']}, torch {about['torch']}: {out}")


if __name__ == "__main__":
    main()
