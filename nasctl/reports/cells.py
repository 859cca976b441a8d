"""Which cell a study found: its name, its row in the paper's Table 6, its code."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from nasctl import reference
from nasctl.cells import spelling
from nasctl.cells.graph import CellGraph, Op
from nasctl.cells.library import LIBRARY
from nasctl.errors import UsageError
from nasctl.spaces.base import code_text
from nasctl.spaces.enas import EnasSpace
from nasctl.spaces.named import NamedCell, cell_called
from nasctl.specs import ARCHITECTURE
from nasctl.tracking.tags import PREFIX


@dataclass(frozen=True, slots=True)
class ChosenCell:
    """The cell of a study's best trial, or of a single run.

    `name` is what its pool calls it, or its text where nobody gave it a name; `digest` that of its canonical form;
    `text` is "" if it is known by its name alone.
    """

    name: str
    digest: str
    text: str = ""

    @property
    def label(self) -> str:
        """What a table calls it: its number in Table 6, else its name, else its code, else its digest."""
        known = paper_numbers(self) or library_name(self.digest)
        named = "" if "=" in self.name or self.name in LIBRARY else self.name  # a text; the name of another cell
        return known or named or cell_code(self) or self.digest


def chosen_cell(params: Mapping[str, str], tags: Mapping[str, str], layers: str) -> ChosenCell | None:
    """The cell that a run had in the layers with the letter C; None if there are none, or if nobody wrote it down."""
    place = layers.find("C") + 1
    name, digest = params.get(ARCHITECTURE) or tags.get(f"{PREFIX}code_{place}"), tags.get(f"{PREFIX}digest_{place}")
    if not place or name is None or digest is None:
        return None
    return ChosenCell(name, digest, tags.get(f"{PREFIX}text_{place}", ""))


def graph_of(cell: ChosenCell) -> CellGraph | None:
    """The cell as a graph, from its text or its name; None if neither leads to a cell with its digest."""
    for read, word in ((cell_called, cell.name), (spelling.cell_of, cell.text), (spelling.cell_of, cell.name)):
        with contextlib.suppress(UsageError):
            found = read(word)
            graph = found.graph if isinstance(found, NamedCell) else found
            if spelling.digest_of(spelling.spelled(graph)) == cell.digest:
                return graph
    return None


def cell_text(cell: ChosenCell) -> str:
    """The cell on one line; "" if nobody wrote down more than a name that is not known here."""
    graph = graph_of(cell)
    return "" if graph is None else spelling.spelled(graph)


def paper_numbers(cell: ChosenCell) -> str:
    """Its number in Table 6: the one that its name tells, else all that are the same graph ("8, 10, 11"), else ""."""
    same = [number for number, (_, digest) in paper_cells().items() if digest == cell.digest]
    named = [number for number in same if cell.name in {f"enas-{number}", paper_cells()[number][0]}]
    return ", ".join(map(str, named or same))


@cache
def paper_cells() -> Mapping[int, tuple[str, str]]:
    """The cells of Table 6 by number: code and digest."""
    found = {}
    for row in reference.architectures():
        cell = LIBRARY[f"enas-{row.architecture}"]
        found[row.architecture] = (code_text(cell.code or ()), spelling.digest_of(spelling.spelled(cell.graph)))
    return found


def cell_code(cell: ChosenCell) -> str:
    """Its ENAS code; "" if it is no ENAS cell. Of several codes it is the one that its name is, or any."""
    graph = graph_of(cell)
    with contextlib.suppress(UsageError):
        if graph is not None:  # with the keys of its code, if its name is one: then it is this very code
            return code_text(EnasSpace(sum(step.op is Op.BLEND for step in graph.steps)).encode(graph))
    return ""


@cache
def library_name(digest: str) -> str:
    """The library's name of the cell with this digest; "" if it has none."""
    for name, cell in LIBRARY.items():
        if spelling.digest_of(spelling.spelled(cell.graph)) == digest:
            return name
    return ""
