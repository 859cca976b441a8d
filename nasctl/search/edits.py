"""Graph edit distance between many small labelled graphs: exact where it can be, else bounded from above.

Inserting or deleting a node or an edge costs 1, renaming a node 1. Then a cheapest edit keeps as many nodes as it can:
deleting one and inserting another never costs less than renaming. So with blank nodes for what the smaller graph lacks
the distance is a least cost over one-to-one orders of the nodes, m + |E1| + |E2| - max(kept labels + 2 · kept edges)
with m nodes: a quadratic assignment, computed here for whole matrices of pairs at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasctl.rng import stream_seed

Array = np.ndarray[Any, np.dtype[Any]]

ENUMERATED = 8
"""Graphs of at most so many nodes are compared in every order (40,320): an ENAS cell of six nodes has eight."""

ROUNDS = 60
"""How often the search for a low bound sets out anew from the best order that it knows."""

SHUFFLED = 9
"""The most nodes that are moved then."""

PAIRS = 1024
"""Pairs that are improved at a time; bounds memory."""


@dataclass(frozen=True)
class LabelledGraph:
    """A directed graph without loops: a label per node, and edges between their numbers."""

    labels: tuple[str, ...]
    edges: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class EditDistances:
    """The distances of all pairs [n, n]: exact, or else upper bounds."""

    values: Array
    exact: bool


def edit_distances(graphs: Sequence[LabelledGraph], *, rounds: int = ROUNDS, seed: int = 0) -> EditDistances:
    """The edit distance of every pair of graphs; the same for the same graphs, rounds and seed.

    Where no graph has more than `ENUMERATED` nodes they are exact.
    """
    labels, edges = _matrices(graphs)
    nodes = labels.shape[1]
    sizes = edges.sum(axis=(1, 2))
    costs = nodes + sizes[:, None] + sizes[None, :]  # if nothing were kept
    if nodes <= ENUMERATED:
        return EditDistances(costs - _kept_in_any_order(labels, edges), exact=True)
    values = np.zeros(costs.shape)
    first, second = np.triu_indices(len(graphs), 1)
    for begin in range(0, len(first), PAIRS):
        pair = first[begin : begin + PAIRS], second[begin : begin + PAIRS]
        values[pair] = costs[pair] - _kept_by_swaps(labels, edges, pair, rounds, seed)
    return EditDistances(values + values.T, exact=False)


def _matrices(graphs: Sequence[LabelledGraph]) -> tuple[Array, Array]:
    """Label numbers [n, m] and adjacency [n, m, m], with nodes labelled -1 where a graph has fewer than m."""
    nodes = max((len(graph.labels) for graph in graphs), default=0)
    numbers = {label: number for number, label in enumerate(sorted({each for g in graphs for each in g.labels}))}
    labels = np.full((len(graphs), nodes), -1)
    edges = np.zeros((len(graphs), nodes, nodes), np.float32)
    for index, graph in enumerate(graphs):
        labels[index, : len(graph.labels)] = [numbers[label] for label in graph.labels]
        for source, target in graph.edges:
            edges[index, source, target] = 1.0
    return labels, edges


def _kept_in_any_order(labels: Array, edges: Array) -> Array:
    """The most kept labels + 2 · kept edges of every pair [n, n], over all orders of the second's nodes.

    A graph is a vector of what each place holds (a label there, an edge between two places); so are all orders of
    another graph at once, and what they keep of each other is a product of matrices.
    """
    count, nodes = labels.shape
    orders = np.array(list(itertools.permutations(range(nodes)))).T  # [m, m!]
    kinds = np.unique(labels)
    holds = (labels[:, :, None] == kinds).astype(np.float32)  # [n, m, kinds]
    labelled = np.argwhere(holds.any(axis=0))  # only what any graph holds need be compared
    joined = np.argwhere(edges.any(axis=0))
    mine = np.concatenate([holds[:, labelled[:, 0], labelled[:, 1]], 2 * edges[:, joined[:, 0], joined[:, 1]]], axis=1)
    theirs = np.empty((mine.shape[1], orders.shape[1]), np.float32)
    places = orders[joined[:, 0]] * nodes + orders[joined[:, 1]]
    kept = np.zeros((count, count))
    for index in range(count):
        theirs[: len(labelled)] = holds[index][orders[labelled[:, 0]], labelled[:, 1:]]
        theirs[len(labelled) :] = edges[index].ravel()[places]
        kept[: index + 1, index] = (mine[: index + 1] @ theirs).max(axis=1)
    return np.triu(kept) + np.triu(kept, 1).T


def _kept_by_swaps(labels: Array, edges: Array, pair: tuple[Array, Array], rounds: int, seed: int) -> Array:
    """The most kept labels + 2 · kept edges of each pair [P] that a search by swaps of two nodes finds.

    It sets out from the nodes' own order; each round shuffles a few nodes of the best order known, and descends anew.
    """
    nodes = labels.shape[1]
    first, second = pair
    draw = np.random.default_rng(stream_seed(seed, "edit-distance"))
    best = np.tile(np.arange(nodes), (len(first), 1))
    mine, theirs = (labels[first], edges[first]), (labels[second], edges[second])
    kept = _descend(*mine, *theirs, best)
    for _ in range(rounds):
        order = best.copy()
        moved = draw.permutation(nodes)[: draw.integers(3, min(SHUFFLED, nodes) + 1)]
        order[:, moved] = order[:, np.roll(moved, 1)]
        found = _descend(*mine, *theirs, order)
        taken = found >= kept
        best[taken], kept[taken] = order[taken], found[taken]
    return kept


def _descend(labels: Array, edges: Array, others: Array, other_edges: Array, order: Array) -> Array:
    """What is kept [P] where no swap of two nodes keeps more; `order` [P, m] becomes what keeps it.

    Each step takes the best swap of every pair that still has one.
    """
    pairs, nodes = order.shape
    kept = np.zeros(pairs)
    rows = np.arange(pairs)
    while len(rows):
        orders = order[rows]
        mine, theirs = edges[rows], other_edges[rows[:, None, None], orders[:, :, None], orders[:, None, :]]
        placed = others[rows[:, None], orders]
        same = (labels[rows][:, :, None] == placed[:, None, :]).astype(np.float32)
        gain = (_swap(same) + 2 * _edge_swap(mine, theirs)).reshape(len(rows), -1)
        chosen = gain.argmax(axis=1)
        better = gain[np.arange(len(rows)), chosen] > 0
        ended = ~better
        kept[rows[ended]] = np.trace(same[ended], axis1=1, axis2=2) + 2 * (mine * theirs)[ended].sum(axis=(1, 2))
        rows, (one, two) = rows[better], np.divmod(chosen[better], nodes)
        order[rows, one], order[rows, two] = order[rows, two], order[rows, one]
    return kept


def _swap(kept: Array) -> Array:
    """What is gained [P, m, m] if i takes j's place and j takes i's, where `kept`[i, j] is what i keeps in place j."""
    stays = np.diagonal(kept, axis1=1, axis2=2)
    gained: Array = kept + kept.transpose(0, 2, 1) - stays[:, :, None] - stays[:, None, :]
    return gained


def _edge_swap(edges: Array, theirs: Array) -> Array:
    """How many more edges are kept [P, m, m] if two nodes of the second graph swap places.

    Edges from and to each of the two count once as rows and once as columns; those between the two are mended.
    """
    turned = theirs.transpose(0, 2, 1)
    among = edges * theirs + edges * turned
    gained: Array = _swap(edges @ turned + edges.transpose(0, 2, 1) @ theirs) + among + among.transpose(0, 2, 1)
    return gained
