"""Where the cells of a run or a study come from: what a user names becomes a pool, before any data are read."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass as plain_dataclass
from dataclasses import field, replace
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from nasctl.cells import spelling
from nasctl.cells.rewrite import live
from nasctl.errors import UsageError
from nasctl.experiments.found import Place, Wanted, cells_found, pool_of
from nasctl.experiments.layers import layer_letters, paper_letters
from nasctl.files import digest, path_of
from nasctl.samplers import STRICT, Positive
from nasctl.spaces import space_named
from nasctl.spaces.base import Code, code_text, draw_pool
from nasctl.spaces.named import NamedCell, cell_called, cell_in
from nasctl.specs import (
    Pool,
    PoolCell,
)
from nasctl.tracking import tags as tag
from nasctl.tracking.found import FoundSearch

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


@dataclass(frozen=True, config=STRICT)
class SearchedCells:
    """What a search has found on the same data set, embedding and model; `pool` names it where several fit."""

    name: Literal["searched"]
    space: str
    nodes: Positive
    search: str
    pool: str | None


@dataclass(frozen=True, config=STRICT)
class TransferredCells:
    """What a search has found on the data set `source`."""

    name: Literal["transferred"]
    source: str
    space: str
    nodes: Positive
    search: str
    pool: str | None


CellSource = Annotated[
    LstmCells | RandomCells | NamedCells | FileCells | SearchedCells | TransferredCells, Field(discriminator="name")
]

OVERLAPPING = {"stsb": "its training set holds 498 of MRPC's test pairs"}
"""Data sets whose cells, found there or moved there, have seen another's test pairs; see `nasctl data check --overlap`.
"""


# --- what that is -----------------------------------------------------------------------------------------------------


@plain_dataclass(frozen=True)
class Cells:
    """The cells of a run or a study: where they come from, where they stand (`layers`: C and L), and what they are.

    `pool` is None where every layer is an LSTM, or there is none. `labels` say which search found them, if one did.
    """

    source: str
    layers: str
    pool: Pool | None
    labels: Mapping[str, str] = field(default_factory=dict)

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


def cells_of(source: CellSource, place: Place, layers: str | None) -> Cells:
    """The cells that a source names, in their places in the model; `layers` None: in every layer.

    Warns of one graph under two names, and of cells that have seen another data set's test pairs. Raises UsageError for
    what is no cell, for letters that do not fit the model or the source, for a pool that has one code, or one name,
    twice, and where no search, or more than one, has found what is asked for.
    """
    letters = layer_letters(place.model, source.name, layers)
    labels: dict[str, str] = {}
    if isinstance(source, SearchedCells | TransferredCells):
        search = pool_of(_wanted(source), _origin(source, place))
        found, labels = tuple(cells_found(search)), _found_labels(search, source.search)
        if isinstance(source, TransferredCells):
            labels |= {"source": source.source, **_overlap(source.source, place.dataset)}
    else:
        found = tuple(_READERS[source.name](source))
    if not found:
        return Cells(source.name, letters, None)
    _check_distinct(found, source.name)
    cells = tuple(PoolCell(each.name, spelling.spelled(each.graph)) for each in found)
    for names in _twins(cells):
        logger.warning("the cells %s are one graph: trained from scratch, they differ by nothing", ", ".join(names))
    places = tuple(number for number, letter in enumerate(letters, 1) if letter == "C")
    return Cells(source.name, letters, Pool(places, cells), labels)


def _found_labels(search: FoundSearch, method: str) -> dict[str, str]:
    tags = search.entry.tags
    changed = {"search_changed": tags[tag.CHANGED]} if tag.CHANGED in tags else {}
    return {"found_by": search.name, "found_on": tags[tag.DATA], "search": method, **changed}


def _wanted(source: SearchedCells | TransferredCells) -> Wanted:
    return Wanted(source.space, source.nodes, source.search, source.pool)


def _origin(source: SearchedCells | TransferredCells, place: Place) -> Place:
    """Where the cells were found. Raises UsageError for a transfer from a data set to itself."""
    if isinstance(source, SearchedCells):
        return place
    if source.source == place.dataset:
        raise UsageError(f"cell.source={source.source} is the data set itself", "cell=searched takes its own pool")
    return replace(place, dataset=source.source)


def _overlap(source: str, target: str) -> dict[str, str]:
    """A label, and a warning, where one of the data sets holds test pairs of others."""
    shared = [name for name in (source, target) if name in OVERLAPPING]
    for name in shared:
        logger.warning("cells of %s on %s: %s", source, target, f"{name}: {OVERLAPPING[name]}")
    return {"overlap": ", ".join(shared)} if shared else {}


def _drawn(source: RandomCells) -> Iterator[NamedCell]:
    space = space_named(source.space, nodes=source.nodes)
    for code in draw_pool(space, source.count, source.seed):
        yield NamedCell(code_text(code), space.decode(code), f"drawn from {space.name}", code)


def _named(source: NamedCells) -> Iterator[NamedCell]:
    return map(cell_called, source.names)


def _read(source: FileCells) -> Iterator[NamedCell]:
    for file in source.files:
        cell = cell_in(path_of(file))
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
