"""A cell as an ONNX file: the exported cell.py unrolled over a number of time steps, and checked by ONNX Runtime."""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nasctl.compiler.export.source import class_name, exported
from nasctl.errors import MachineError
from nasctl.files import write_atomically

if TYPE_CHECKING:
    from nasctl.cells.graph import CellGraph

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-5
"""How far ONNX Runtime may be from torch, relative to the largest entry (at least 1)."""


def demand_packages() -> None:
    """Raise MachineError, with what to install, unless everything is here that an ONNX file needs."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MachineError(f"--onnx needs {', '.join(missing)}", "pip install 'nasctl[export]'")


class Unrolled(nn.Module):
    """The exported module as ONNX takes it: input [T, B, D] and lengths [B] in; output and every state out."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """`output` [T, B, directions·H] and the states [directions, B, width] behind each row's end."""
        output, states = self.module(x, lengths=lengths)
        return (output, states) if isinstance(states, Tensor) else (output, *states)


def write_onnx(
    folder: Path, name: str, graph: CellGraph, *, steps: int, width: int, hidden: int, trained: bool
) -> tuple[Path, float]:
    """Write cell.onnx beside the cell.py of an exported folder; its path, and how far it is from torch.

    It reads at most `steps` steps of any number of rows. Untrained weights are drawn from seed 0, for the given widths.
    Raises MachineError, and writes nothing, if ONNX Runtime and torch do not agree.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = (
        "1"  # else importing onnxruntime >= 1.29 reports to its maker, and leaves files
    )
    graph = exported(graph)  # as cell.py has it: without dead states
    made = getattr(_imported(folder / "cell.py"), class_name(name, graph))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        module = made.from_folder(folder) if trained else made(width, hidden)
    unrolled = Unrolled(module.float()).eval()
    states = ["h_n"] if len(graph.states) == 1 else [f"h_n_{number}" for number in range(1, len(graph.states) + 1)]
    rows = torch.export.Dim("rows")
    with _quiet():
        program = torch.onnx.export(
            unrolled,
            _example(steps, 3, module.input_size),
            dynamo=True,
            input_names=["x", "lengths"],
            output_names=["output", *states],
            dynamic_shapes={"x": {1: rows}, "lengths": {0: rows}},
            verbose=False,
        )
    if program is None:
        raise MachineError("torch.onnx.export gave nothing", "another torch?")
    content = program.model_proto.SerializeToString()
    error = _difference(content, unrolled, steps, module.input_size)
    if not error <= TOLERANCE:
        raise MachineError(f"ONNX Runtime is {error:.1e} from torch, more than {TOLERANCE:g}", "another onnxruntime?")
    write_atomically(folder / "cell.onnx", content)
    return folder / "cell.onnx", error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter has to say of torch's own deprecations, and of packages that are not needed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _imported(path: Path) -> Any:
    """The module in a file, under no name that anybody else could import."""
    spec = importlib.util.spec_from_file_location(f"nasctl_exported_{path.parent.name}", path)
    assert spec is not None  # noqa: S101 - a .py file has a loader
    assert spec.loader is not None  # noqa: S101 - as above
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _example(steps: int, rows: int, width: int) -> tuple[Tensor, Tensor]:
    """Random rows [T, B, D] and their lengths: full, empty, and others."""
    stream = torch.Generator().manual_seed(rows)
    lengths = torch.randint(0, steps + 1, (rows,), generator=stream)
    lengths[0] = steps
    return torch.randn(steps, rows, width, generator=stream), lengths


def _difference(content: bytes, unrolled: Unrolled, steps: int, width: int) -> float:
    """How far ONNX Runtime is from torch at most, on batches of other sizes than the one of the export."""
    import onnxruntime  # noqa: PLC0415 - the door to an extra, which may be missing

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = 0.0
    for rows in (1, 5):
        x, lengths = _example(steps, rows, width)
        with torch.no_grad():
            expected = unrolled(x, lengths)
        got = session.run(None, {"x": x.numpy(), "lengths": lengths.numpy()})
        for theirs, ours in zip(got, expected, strict=True):
            scale = max(1.0, ours.abs().max().item())
            worst = max(worst, (torch.from_numpy(theirs) - ours).abs().max().item() / scale)
    return worst
