"""One trained layer out of a run's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors
from torch import Tensor

from nasctl.cells.graph import CellGraph
from nasctl.cells.rewrite import canonical
from nasctl.compiler.export.folder import Trained
from nasctl.compiler.export.source import exported
from nasctl.errors import UsageError, nearest

DIRECTIONS = ("onward", "backward")


def trained_layer(checkpoint: Path, layer: str, graph: CellGraph, order: Sequence[str]) -> tuple[CellGraph, Trained]:
    """The weights of a layer, by its number (from 1) or name, and the cell under the keys that these weights have.

    `order` holds what layers are called, those first that data meet first. A run's weights stand under canonical keys,
    others under those of the cell as it was named. Raises UsageError if the file holds no such layer, or one of another
    cell.
    """
    layers = _layers(checkpoint)
    names = sorted(layers, key=lambda name: (order.index(name) if name in order else len(order), name))
    if not names:
        raise UsageError(f"{checkpoint} has no recurrent layer", "a run of blm or esim leaves best.safetensors")
    known = {str(number): name for number, name in enumerate(names, 1)} | {name: name for name in names}
    if layer not in known:
        raise UsageError(f"{checkpoint} has no layer {layer!r}", nearest(layer, known))
    weights = layers[known[layer]]
    directions = [each for each in DIRECTIONS if any(name.startswith(f"{each}.") for name in weights)]
    graph = _under_keys(graph, weights, f"{checkpoint}: layer {known[layer]}")
    kept = {f"{way}.{key}": weights[f"{way}.{key}"] for way in directions for key in (*graph.weights, *graph.biases)}
    return graph, Trained(kept, *_sizes(graph, weights, checkpoint), bidirectional=len(directions) == 2)


def _layers(checkpoint: Path) -> Mapping[str, dict[str, Tensor]]:
    """Every recurrent layer of a file: the last part of its path -> `onward.KEY` and `backward.KEY` -> weights."""
    layers: dict[str, dict[str, Tensor]] = {}
    try:
        with safetensors.safe_open(checkpoint, framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                for direction in DIRECTIONS:
                    path, found, key = name.partition(f".{direction}.")
                    if found:
                        layers.setdefault(path.rpartition(".")[2], {})[f"{direction}.{key}"] = file.get_tensor(name)
    except (OSError, safetensors.SafetensorError) as error:
        raise UsageError(
            f"{checkpoint} is no readable safetensors file: {error}", "--weights best.safetensors"
        ) from error
    return layers


def _under_keys(graph: CellGraph, weights: Mapping[str, Tensor], where: str) -> CellGraph:
    there = {name.partition(".")[2] for name in weights}
    ways = exported(graph), canonical(exported(graph))
    for each in ways:
        if {*each.weights, *each.biases} <= there:
            return each
    missing = sorted({*ways[1].weights, *ways[1].biases} - there)
    raise UsageError(
        f"{where} is of another cell: it has no {', '.join(missing[:3])}", f"it has {', '.join(sorted(there)[:8])} ..."
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
