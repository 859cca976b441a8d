"""One trained layer out of a run's checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
from torch import Tensor

from nasctl.cells.graph import CellGraph
from nasctl.cells.library import LIBRARY
from nasctl.cells.rewrite import canonical
from nasctl.cells.spelling import cell_of, spelled
from nasctl.compiler.export.folder import Trained
from nasctl.compiler.export.source import exported
from nasctl.errors import UsageError, nearest

DIRECTIONS = ("onward", "backward")

CELLS = "cells"
"""What a run's file of weights calls its note on cells: as JSON what the record says of each recurrent layer's."""

SHARED = "child/"
"""How the weights are called that all cells of a search share."""


@dataclass(frozen=True)
class _Checkpoint:
    """The recurrent layers of a file: name -> `onward.KEY` and `backward.KEY` -> weights.

    `cells` has the spelling of each layer's cell, in the order of the model; it is empty if the file says nothing.
    """

    layers: Mapping[str, dict[str, Tensor]]
    cells: tuple[str, ...]
    shared: bool


def trained_layer(checkpoint: Path, layer: str, graph: CellGraph, order: Sequence[str]) -> tuple[CellGraph, Trained]:
    """The weights of a layer, by its number (from 1) or name, and the cell under the keys that these weights have.

    `order` holds what layers are called, those first that data meet first. Files of runs say which cell was trained.
    Others have the keys of its canonical form, or else those of the cell as it was named, and nothing but these keys
    tells whose they are. Raises UsageError if the file holds no such layer, or one of another cell.
    """
    found = _read(checkpoint)
    names = sorted(found.layers, key=lambda name: (order.index(name) if name in order else len(order), name))
    if not names:
        raise UsageError(f"{checkpoint} has no recurrent layer", "a run of blm or esim leaves best.safetensors")
    known = {str(number): name for number, name in enumerate(names, 1)} | {name: name for name in names}
    if layer not in known:
        raise UsageError(f"{checkpoint} has no layer {layer!r}", nearest(layer, known))
    name, where = known[layer], f"{checkpoint}: layer {known[layer]}"
    weights = found.layers[name]
    if len(found.cells) == len(names):
        graph = _as_trained(graph, found.cells[names.index(name)], where)
    else:
        graph = _under_keys(graph, weights, where, shared=found.shared)
    directions = [each for each in DIRECTIONS if any(name.startswith(f"{each}.") for name in weights)]
    kept = {f"{way}.{key}": weights[f"{way}.{key}"] for way in directions for key in (*graph.weights, *graph.biases)}
    return graph, Trained(kept, *_sizes(graph, weights, checkpoint), bidirectional=len(directions) == 2)


def _read(checkpoint: Path) -> _Checkpoint:
    """Every recurrent layer of a file, called like the last part of its path, and what the file says of them."""
    layers: dict[str, dict[str, Tensor]] = {}
    try:
        with safetensors.safe_open(checkpoint, framework="pt", device="cpu") as file:
            names, about = file.keys(), file.metadata() or {}
            for name in names:
                for direction in DIRECTIONS:
                    path, found, key = name.partition(f".{direction}.")
                    if found:
                        layers.setdefault(path.rpartition(".")[2], {})[f"{direction}.{key}"] = file.get_tensor(name)
        cells = tuple(str(each["code"]) for each in json.loads(about.get(CELLS, "[]")))
    except (OSError, safetensors.SafetensorError, ValueError, TypeError, LookupError) as error:
        raise UsageError(
            f"{checkpoint} is no readable safetensors file: {error}", "--weights best.safetensors"
        ) from error
    return _Checkpoint(layers, cells, shared=any(name.startswith(SHARED) for name in names))


def _as_trained(graph: CellGraph, code: str, where: str) -> CellGraph:
    """The graph that a run made of this spelling: only its own keys say which weights are whose."""
    if spelled(graph) != code:
        names = (name for name, each in LIBRARY.items() if spelled(each.graph) == code)
        raise UsageError(f"{where} is of another cell", f"it is of {next(names, code)}")
    return exported(cell_of(code))


def _under_keys(graph: CellGraph, weights: Mapping[str, Tensor], where: str, *, shared: bool) -> CellGraph:
    """The graph under the keys of the weights: all of them, or some of those that cells share."""
    there = {name.partition(".")[2] for name in weights}
    own = exported(graph)
    ways = (own,) if shared else (canonical(own), own)
    for each in ways:
        keys = {*each.weights, *each.biases}
        if keys == there or (shared and keys < there):
            return each
    raise UsageError(
        f"{where} is of another cell: its keys are not those of this one", f"it has {', '.join(sorted(there)[:8])} ..."
    )


def _sizes(graph: CellGraph, weights: Mapping[str, Tensor], checkpoint: Path) -> tuple[int, int]:
    """Input and hidden width, of which every matrix must be."""
    shapes = {width: tuple(weights[f"onward.{key}"].shape) for key, width in graph.weights.items()}
    hidden = next(iter(shapes.values()))[0]
    sizes = {"D": shapes.get("D", (hidden, hidden))[1], "H": hidden}
    for name, tensor in weights.items():
        key = name.partition(".")[2]
        expected = (hidden, sizes[graph.weights[key]]) if key in graph.weights else (hidden,)
        if (key in graph.weights or key in graph.biases) and tuple(tensor.shape) != expected:
            raise UsageError(f"{checkpoint}: {name} is {tuple(tensor.shape)}, and not {expected}", "another cell's?")
    return sizes["D"], hidden
