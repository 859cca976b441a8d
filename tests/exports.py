"""What tests of exported cells share."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from nasctl.cells.graph import CellGraph
from nasctl.compiler.layer import RecurrentLayer
from nasctl.compiler.streams import Streams


def load(folder: Path):
    """The module in an exported folder's cell.py."""
    spec = importlib.util.spec_from_file_location(f"exported_{folder.name}", folder / "cell.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def layer_of(graph: CellGraph, *, bidirectional: bool = True) -> RecurrentLayer:
    layer = RecurrentLayer(graph, 3, 5, bidirectional=bidirectional, backend="reference").double()
    layer.initialise(Streams(1, "cpu"), "torch")
    return layer
