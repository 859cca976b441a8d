"""The exported folder: cell.json, cell.py, README.md, and weights.safetensors if the cell is trained."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from keyword import iskeyword
from pathlib import Path
from string import Template

import safetensors.torch
from torch import Tensor

import nasctl
from nasctl.cells.graph import CellGraph
from nasctl.cells.rewrite import cell_digest
from nasctl.cells.text import to_json, to_text
from nasctl.compiler.export.source import class_name, exported, plain, source, state_names
from nasctl.errors import UsageError
from nasctl.files import write_atomically

FILES = ("cell.json", "cell.py", "README.md", "weights.safetensors", "cell.onnx")
"""Everything that an exported folder may hold."""


@dataclass(frozen=True)
class Trained:
    """Weights of one layer by the names that the exported module has: `onward.KEY`, `backward.KEY`; and its sizes."""

    weights: Mapping[str, Tensor]
    input_width: int
    hidden: int
    bidirectional: bool

    def notes(self, graph: CellGraph) -> dict[str, str]:
        """What stands in the file of weights beside them, and `from_folder` reads."""
        sizes = {"input_size": str(self.input_width), "hidden_size": str(self.hidden)}
        return sizes | {"bidirectional": str(self.bidirectional).lower(), "cell": cell_digest(graph)}


def write_folder(
    folder: Path, name: str, graph: CellGraph, *, origin: str = "", trained: Trained | None = None, force: bool = False
) -> list[Path]:
    """Write a cell into a folder, for a project that has torch and no nasctl; the files written.

    `origin` says in words where the cell comes from. Raises UsageError if the folder holds anything, unless `force`:
    then an earlier export there is replaced whole, and other files stay.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", "name a folder")
    if not force and folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", "--force replaces what an earlier export left there")
    graph = exported(graph)
    content: dict[str, bytes | str] = {
        "cell.json": json.dumps(to_json(graph), indent=1) + "\n",
        "cell.py": source(name, graph, origin),
        "README.md": _readme(folder, name, graph, origin, trained),
    }
    if trained is not None:
        content["weights.safetensors"] = safetensors.torch.save(dict(trained.weights), trained.notes(graph))
    for each in FILES:
        if each not in content:
            (folder / each).unlink(missing_ok=True)
    for each, text in content.items():
        write_atomically(folder / each, text)
    return [folder / each for each in content]


def _readme(folder: Path, name: str, graph: CellGraph, origin: str, trained: Trained | None) -> str:
    package = module_name(folder.name)
    made = class_name(name, graph)
    use = [
        f"from {package}.cell import {made}",
        f"layer = {made}(300, 300, bidirectional=True)" if trained is None else f"layer = {made}.from_folder()",
        "output, h_n = layer(x, lengths=lengths)",
    ]
    states = state_names(graph)
    template = Template(files(__package__).joinpath("readme.txt").read_text("utf-8"))
    return template.substitute(
        name=plain(name),
        origin=f" It comes from: {plain(origin)}." if origin else "",
        class_name=made,
        package=package,
        use="\n".join(use),
        weights=_about(trained),
        h_n="the state" if len(states) == 1 else f"a tuple of its {len(states)} states",
        text=to_text(graph).replace("; ", "\n"),
        digest=cell_digest(graph),
        version=nasctl.__version__,
    )


def _about(trained: Trained | None) -> str:
    if trained is None:
        return (
            "It comes without weights: they are drawn when it is made (`reset_parameters`), and it is yours to train."
        )
    directions = "both directions" if trained.bidirectional else "one direction"
    return (
        f"`from_folder` gives it the trained weights of `weights.safetensors`: input_size {trained.input_width}, "
        f"hidden_size {trained.hidden}, {directions}."
    )


def module_name(name: str) -> str:
    """The name as Python can import it."""
    words = re.sub(r"[^a-z0-9_]", "_", name.lower()) or "cell"
    return f"cell_{words}" if words[0].isdigit() or iskeyword(words) else words
