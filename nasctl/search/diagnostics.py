"""What a controller's hidden states know of the cells they end with (Adam and Lorraine 2019, 3.3 and 3.4).

A controller that looks back ends differently for different cells, and further apart the less two cells have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasctl.data.metrics import CONSTANT_TOLERANCE
from nasctl.rng import stream_seed
from nasctl.search.edits import LabelledGraph, edit_distances
from nasctl.search.samples import SampledCell
from nasctl.spaces.base import Code, Kind, SearchSpace, choices_of

Array = np.ndarray[Any, np.dtype[Any]]

PERMUTATIONS = 4_999
"""Of the cells, for a p-value: it is 0.0002 at least."""

FEWEST = 4
"""Cells that a correlation of distances needs at least: their six pairs have 24 permutations."""

CHUNK = 1 << 21
"""Distances held in memory at a time."""


@dataclass(frozen=True)
class Association:
    """How distances between hidden states go with another measure of the same pairs of cells.

    `rho` is Spearman's over all pairs of `cells`, `p` Mantel's, two-sided; both None where one side is constant or
    there are too few cells. Of a graph edit distance `exact` says whether it is one, or an upper bound; else None.
    """

    measure: str
    cells: int
    rho: float | None
    p: float | None
    exact: bool | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What the samples of one policy show.

    `likeliest` is the probability of the likeliest option, over samples and all choices that leave one; `by_history`
    is its standard deviation between samples, over the same choices: 0 where no choice depends on earlier ones.
    `spread` is the standard deviation of a hidden unit between distinct cells, over units. None: nothing to tell.
    """

    samples: int
    distinct: int
    likeliest: float | None
    by_history: float | None
    spread: float | None
    associations: tuple[Association, ...]


def diagnose(
    space: SearchSpace, samples: Sequence[SampledCell], *, permutations: int = PERMUTATIONS, seed: int = 0
) -> Diagnosis:
    """Everything at once; of samples with one code the first counts, but for the probabilities."""
    cells = distinct(samples)
    known = [each for each in cells if each.hidden is not None]
    scored = [each for each in known if each.score is not None]
    states = {each.code: each.hidden or () for each in known}
    codes = [tuple(each.code.split("-")) for each in known]
    edits = edit_distances([graph_of(space, code) for code in codes], seed=seed)
    scores = np.array([each.score for each in scored], np.float64)
    gaps = np.abs(np.subtract.outer(scores, scores)).round(12)  # or rounding parts gaps of accuracies that are equal
    measured: list[tuple[str, Sequence[SampledCell], Array, bool | None]] = [
        ("activations", known, common(space, codes, "op"), None),
        ("connections", known, common(space, codes, "edge"), None),
        ("graph edits", known, edits.values, edits.exact),
        ("score gap", scored, gaps, None),
    ]
    associations = []
    for measure, group, other, exact in measured:
        apart = hidden_distances([states[each.code] for each in group])
        rho, p = mantel(apart, other, permutations=permutations, seed=stream_seed(seed, "mantel", measure))
        associations.append(Association(measure, len(group), rho, p, exact))
    likeliest, by_history = certainty(space, samples)
    return Diagnosis(
        len(samples),
        len(cells),
        likeliest,
        by_history,
        float(np.std(list(states.values()), axis=0).mean()) if known else None,
        tuple(associations),
    )


def distinct(samples: Iterable[SampledCell]) -> tuple[SampledCell, ...]:
    """The first sample of each code."""
    found: dict[str, SampledCell] = {}
    for each in samples:
        found.setdefault(each.code, each)
    return tuple(found.values())


def certainty(space: SearchSpace, samples: Sequence[SampledCell]) -> tuple[float | None, float | None]:
    """The mean probability of the likeliest option, and its deviation between samples, over choices of two options.

    The deviation is taken at each step, between the samples that have a choice there, and averaged over steps.
    """
    steps: dict[int, list[float]] = {}
    for each in samples:
        choices = choices_of(space, tuple(each.code.split("-"))) if each.largest else ()
        for step, (choice, largest) in enumerate(zip(choices, each.largest, strict=True)):
            if len(choice.options) > 1:
                steps.setdefault(step, []).append(largest)
    if not steps:
        return None, None
    means = float(np.mean([value for values in steps.values() for value in values]))
    return means, float(np.mean([np.std(values) for values in steps.values()]))


def hidden_distances(states: Sequence[Sequence[float]]) -> Array:
    """Euclidean distances [n, n]; exactly 0 where two states agree up to float32's rounding."""
    vectors = np.array(states, np.float64).reshape(len(states), len(states[0]) if states else 0)
    apart = np.sqrt(((vectors[:, None, :] - vectors[None, :, :]) ** 2).sum(axis=2))
    size = float(np.sqrt((vectors**2).sum(axis=1)).max(initial=0.0))
    return np.where(apart <= CONSTANT_TOLERANCE * size, 0.0, apart)


def common(space: SearchSpace, codes: Sequence[Code], kind: Kind) -> Array:
    """How many choices of this kind two codes answer alike, at the same place [n, n].

    A connection is common if the same node of both cells reads the same node, whatever happens there.
    """
    answers = [
        {
            place: option
            for place, (choice, option) in enumerate(zip(choices_of(space, code), code, strict=True))
            if choice.kind == kind
        }
        for code in codes
    ]
    rows = [[len(mine.items() & theirs.items()) for theirs in answers] for mine in answers]
    return np.array(rows, np.float64).reshape(len(codes), len(codes))


def mantel(
    first: Array, second: Array, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> tuple[float | None, float | None]:
    """Spearman's rho of two symmetric matrices' pairs, and its p-value under permutations of the cells (Mantel 1967).

    Pairs share cells and are not independent, so that cells are permuted, not pairs. Both None where a matrix is
    constant, or smaller than `FEWEST`.
    """
    count = len(first)
    upper = np.triu_indices(count, 1)
    if count < FEWEST or min(np.ptp(first[upper]), np.ptp(second[upper])) == 0.0:
        return None, None
    mine, theirs = _standard_ranks(first[upper]), np.zeros((count, count))
    theirs[upper] = _standard_ranks(second[upper])
    theirs += theirs.T
    rho = float(mine @ theirs[upper])
    draw = np.random.default_rng(seed)
    chunk = max(1, CHUNK // count**2)
    extreme = 0
    for start in range(0, permutations, chunk):
        size = min(chunk, permutations - start)
        orders = draw.permuted(np.tile(np.arange(count), (size, 1)), axis=1)
        shuffled = theirs[orders[:, upper[0]], orders[:, upper[1]]]
        extreme += int(np.sum(np.abs(shuffled @ mine) >= abs(rho) - 1e-12))
    return max(-1.0, min(1.0, rho)), (1 + extreme) / (1 + permutations)


def _standard_ranks(values: Array) -> Array:
    """Ranks, ties at the middle of theirs, with mean 0 and length 1, so that a product is a correlation."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes + 1) / 2)[group]
    ranks -= ranks.mean()
    standard: Array = ranks / np.sqrt(ranks @ ranks)
    return standard


# --- cells as graphs --------------------------------------------------------------------------------------------------


def graph_of(space: SearchSpace, code: Code) -> LabelledGraph:
    """The cell as the study draws it: that of its space's row in `DRAWN`, else every value of its program a node."""
    return DRAWN.get(space.name, _program)(space, code)


def _enas(_: SearchSpace, code: Code) -> LabelledGraph:
    """A node per node of the cell, labelled by its activation, an input before the first, an output behind leaves."""
    parents = [0, *(int(parent) + 1 for parent in code[1::2])]
    last = len(parents) + 1
    leaves = set(range(1, last)) - set(parents[1:])
    edges = {(parent, node) for node, parent in enumerate(parents, start=1)} | {(leaf, last) for leaf in leaves}
    return LabelledGraph(("input", *code[::2], "output"), frozenset(edges))


def _program(space: SearchSpace, code: Code) -> LabelledGraph:
    """Inputs, states and steps, each reading what its step reads, and an output per state."""
    cell = space.decode(code)
    names = [cell.value_name(value) for value in range(cell.first_step)]
    labels = [*names, *(step.op.label for step in cell.steps)]
    edges = {(arg, node) for node, step in enumerate(cell.steps, cell.first_step) for arg in step.args}
    edges |= {(value, len(labels) + state) for state, value in enumerate(cell.next_states)}
    return LabelledGraph((*labels, *(f"next {name}" for name in names[1 : 1 + len(cell.states)])), frozenset(edges))


DRAWN: Mapping[str, Callable[[SearchSpace, Code], LabelledGraph]] = {"enas": _enas}
"""How the cells of a space are drawn, where its papers say how."""
