"""Where the cells of a run or a study come from: what a user names becomes a pool, before any data are read."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from nasctl.cells import spelling
from nasctl.cells.rewrite import live
from nasctl.errors import UsageError
from nasctl.experiments.layers import layer_letters, paper_letters
from nasctl.files import digest
from nasctl.samplers import STRICT, Positive
from nasctl.spaces import space_named
from nasctl.spaces.base import Code, code_text, draw_pool
from nasctl.spaces.named import NamedCell, cell_called, cell_in
from nasctl.specs import (
    Pool,
    PoolCell,
)

logger = logging.getLogger(__name__)


# --- what a user names ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, config=STRICT)
class LstmCells:
    """The baseline's cell, which needs no pool."""

    name: Literal["lstm"]


@dataclass(frozen=True, config=STRICT)
class RandomCells:
    """`count` cells with distinct codes, drawn from `space` (a row of `spaces.SPACES`) by a seed of their own."""

    name: Literal["random"]
    space: str
    nodes: Positive
    count: Positive
    seed: int


@dataclass(frozen=True, config=STRICT)
class NamedCells:
    """Cells of the library by their names, or ENAS cells by their codes."""

    name: Literal["named"]
    names: Annotated[tuple[str, ...], Field(min_length=1)]


@dataclass(frozen=True, config=STRICT)
class FileCells:
    """Cells from files, each in JSON or in the one-line notation."""

    name: Literal["file"]
    files: Annotated[tuple[str, ...], Field(min_length=1)]


CellSource = Annotated[LstmCells | RandomCells | NamedCells | FileCells, Field(discriminator="name")]


# --- what that is -----------------------------------------------------------------------------------------------------


@plain_dataclass(frozen=True)
class Cells:
    """The cells of a run or a study: where they come from, where they stand (`layers`: C and L), and what they are.

    `pool` is None where every layer is an LSTM, or there is none.
    """

    source: str
    layers: str
    pool: Pool | None

    @property
    def letters(self) -> str:
        """The paper's letters, one per layer: R, RL..."""
        return paper_letters(self.source, self.layers)

    @property
    def names(self) -> tuple[str, ...]:
        """What the pool calls its cells."""
        return tuple(each.name for each in self.pool.cells) if self.pool else ()

    @property
    def spelled(self) -> tuple[str, ...]:
        """The text of each layer's cell, the pool's first one standing for all of them."""
        first = self.pool.cells[0].cell if self.pool else spelling.LSTM
        return tuple(first if letter == "C" else spelling.LSTM for letter in self.layers)

    @property
    def digest(self) -> str:
        """What the pool is, names and cells: equal in all studies that choose from it."""
        return digest({each.name: spelling.digest_of(each.cell) for each in self.pool.cells}) if self.pool else ""


def cells_of(source: CellSource, model: str, layers: str | None) -> Cells:
    """The cells that a source names, in their places; `layers` None: in every layer.

    Warns of one graph under two names. Raises UsageError for what is no cell, for letters that do not fit the model or
    the source, and for a pool that has one code, or one name, twice.
    """
    letters = layer_letters(model, source.name, layers)
    found = tuple(_READERS[source.name](source))
    if not found:
        return Cells(source.name, letters, None)
    _check_distinct(found, source.name)
    cells = tuple(PoolCell(each.name, spelling.spelled(each.graph)) for each in found)
    for names in _twins(cells):
        logger.warning("the cells %s are one graph: trained from scratch, they differ by nothing", ", ".join(names))
    return Cells(source.name, letters, Pool(tuple(n for n, letter in enumerate(letters, 1) if letter == "C"), cells))


def _drawn(source: RandomCells) -> Iterator[NamedCell]:
    space = space_named(source.space, nodes=source.nodes)
    for code in draw_pool(space, source.count, source.seed):
        yield NamedCell(code_text(code), space.decode(code), f"drawn from {space.name}", code)


def _named(source: NamedCells) -> Iterator[NamedCell]:
    return map(cell_called, source.names)


def _read(source: FileCells) -> Iterator[NamedCell]:
    for file in source.files:
        cell = cell_in(Path(file).expanduser())
        if live(cell.graph).masks:
            raise UsageError(f"{file}: the cell reads a mask", "no model gives it one")
        yield cell


_READERS: Mapping[str, Callable[[Any], Iterable[NamedCell]]] = {
    "lstm": lambda _: (),
    "random": _drawn,
    "named": _named,
    "file": _read,
}


def _check_distinct(found: Iterable[NamedCell], source: str) -> None:
    names: set[str] = set()
    codes: dict[Code, str] = {}
    for each in found:
        if each.name in names:
            hint = "rename a file" if source == "file" else "name each cell once"
            raise UsageError(f"the pool has two cells called {each.name}", hint)
        names.add(each.name)
        if each.code is not None and codes.setdefault(each.code, each.name) != each.name:
            both = f"{codes[each.code]} and {each.name}"
            raise UsageError(f"the pool has the code {code_text(each.code)} twice: {both}", "take one of them")


def _twins(cells: Iterable[PoolCell]) -> Iterator[tuple[str, ...]]:
    """The names of cells that are one graph."""
    names: dict[str, list[str]] = defaultdict(list)
    for each in cells:
        names[each.cell].append(each.name)
    return (tuple(group) for group in names.values() if len(group) > 1)
