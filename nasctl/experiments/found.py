"""The pool of a search that is over: which of those in the store a study means by `cell=searched`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nasctl.errors import UsageError, nearest
from nasctl.spaces import space_named
from nasctl.spaces.base import code_of
from nasctl.spaces.named import NamedCell
from nasctl.tracking import tags as tag
from nasctl.tracking.found import FoundSearch, found


@dataclass(frozen=True)
class Place:
    """Where a study looks for pools: the store's folder, and what it trains on."""

    root: Path
    dataset: str
    embedding: str
    model: str


@dataclass(frozen=True)
class Wanted:
    """The pool that is meant: found by the search strategy `search` in a space, in the search called `pool` (None: the
    only one that fits).
    """

    space: str
    nodes: int
    search: str
    pool: str | None


def pool_of(wanted: Wanted, place: Place) -> FoundSearch:
    """The search whose cells are meant.

    Raises UsageError where none fits, or several do, and for a pool of another space.
    """
    every = found(place.root)
    asked = f"dataset={place.dataset} embedding={place.embedding} model={place.model} search={wanted.search}"
    hint = f"nasctl search search={wanted.search} with that dataset=, embedding= and model="  # groups, not names
    fitting = [each for each in every if _labels(each) == (place.dataset, place.embedding, place.model, wanted.search)]
    if wanted.pool is not None:
        named = [each for each in every if each.name == wanted.pool]
        if not named:
            raise UsageError(f"cell.pool={wanted.pool}: there is no such search", _known(wanted.pool, every, hint))
        if named[0] not in fitting:
            is_ = "dataset={} embedding={} model={} search={}".format(*_labels(named[0]))
            raise UsageError(f"cell.pool={wanted.pool} was found with {is_}, not with {asked}", "leave cell.pool= away")
        fitting = named
    if not fitting:
        there = ", ".join(each.name for each in every)
        raise UsageError(
            f"no search has found cells with {asked} in {place.root}" + (f" (there are {there})" if there else ""),
            hint,
        )
    in_space = [each for each in fitting if _space(each) == (wanted.space, wanted.nodes)]
    if not in_space:
        space, nodes = _space(fitting[0])
        raise UsageError(
            f"the pool of {fitting[0].name} has cells of the space {space} with {nodes} nodes, "
            f"not of {wanted.space} with {wanted.nodes}",
            f"cell.space={space} cell.nodes={nodes}",
        )
    if len(in_space) > 1:
        names = [each.name for each in in_space]
        raise UsageError(f"{len(names)} searches fit {asked}", " or ".join(f"cell.pool={name}" for name in names))
    return _whole(in_space[0])


def cells_found(search: FoundSearch) -> Iterator[NamedCell]:
    """The cells of its pool, each called by its code, in the order in which they were found."""
    space, nodes = _space(search)
    known = space_named(space, nodes=nodes)
    for each in search.entry.record.found:
        code = code_of(each.code, known)
        yield NamedCell(each.code, known.decode(code), f"found by {search.name}", code)


def _whole(search: FoundSearch) -> FoundSearch:
    if not search.entry.record.found:
        raise UsageError(
            f"the search {search.name} found no cell: {search.entry.record.reason}",
            "search again, with other settings: search.name=OTHER",
        )
    return search


def _labels(search: FoundSearch) -> tuple[str, str, str, str]:
    tags = search.entry.tags
    return tags[tag.DATASET], tags[tag.EMBEDDING], tags[tag.MODEL], tags[tag.SEARCH]


def _space(search: FoundSearch) -> tuple[str, int]:
    return search.entry.tags[tag.SPACE], int(search.entry.tags[tag.NODES])


def _known(name: str, every: Sequence[FoundSearch], hint: str) -> str:
    names = [each.name for each in every]
    return nearest(name, names) if names else hint
