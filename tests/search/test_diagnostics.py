from __future__ import annotations

from random import Random

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasctl.search import edits
from nasctl.search.diagnostics import common, diagnose, distinct, graph_of, hidden_distances, mantel
from nasctl.search.edits import LabelledGraph, edit_distances
from nasctl.search.samples import SampledCell
from nasctl.spaces.base import Choice, sample
from nasctl.spaces.enas import EnasSpace

LABELS = ("tanh", "relu", "input")


def by_networkx(first, second):
    def graph(of):
        made = nx.DiGraph()
        made.add_nodes_from((node, {"label": label}) for node, label in enumerate(of.labels))
        made.add_edges_from(of.edges)
        return made

    return nx.graph_edit_distance(graph(first), graph(second), node_match=lambda a, b: a["label"] == b["label"])


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 5))
    labels = tuple(draw(st.sampled_from(LABELS)) for _ in range(size))
    pairs = [(a, b) for a in range(size) for b in range(size) if a != b]
    return LabelledGraph(labels, frozenset(draw(st.sets(st.sampled_from(pairs))) if pairs else ()))


@settings(max_examples=60, deadline=None)
@given(first=graphs(), second=graphs())
def test_edit_distances_are_networkxs(first, second):
    """Whatever the sizes, circles and labels: also where nodes must be inserted."""
    found = edit_distances([first, second])
    assert found.exact
    assert found.values[0, 1] == found.values[1, 0] == by_networkx(first, second)
    assert found.values[0, 0] == found.values[1, 1] == 0


def enas_graphs(nodes, count, seed=0):
    space, draw = EnasSpace(nodes), Random(seed)
    return [graph_of(space, sample(space, draw)) for _ in range(count)]


@pytest.mark.parametrize(("nodes", "count"), [(1, 4), (3, 5), (4, 5)])
def test_edit_distances_of_enas_cells_are_networkxs(nodes, count):
    cells = enas_graphs(nodes, count)
    expected = [[by_networkx(first, second) for second in cells] for first in cells]
    assert edit_distances(cells).values.tolist() == expected


def test_a_known_edit():
    space = EnasSpace(3)
    chain, star = (graph_of(space, tuple(code.split("-"))) for code in ("tanh-0-relu-1-tanh", "tanh-0-relu-0-relu"))
    assert star.edges == {(0, 1), (1, 2), (1, 3), (2, 4), (3, 4)}
    # Rename a node; its edge from the second node goes, one from the first comes, and the second gets one to the end.
    assert edit_distances([chain, star]).values[0, 1] == 4


def test_bounds_of_larger_cells(monkeypatch):
    cells = enas_graphs(6, 30)
    exact = edit_distances(cells).values
    monkeypatch.setattr(edits, "ENUMERATED", 0)
    found = edit_distances(cells)
    assert not found.exact
    assert (found.values >= exact).all()
    assert (found.values == exact).mean() > 0.98
    assert (np.diag(found.values) == 0).all()
    assert (found.values == found.values.T).all()
    assert (edit_distances(cells, rounds=0).values == exact).mean() < 0.95  # the rounds are what finds them


def test_a_renumbered_cell_of_twelve_nodes_is_found_again():
    (cell,) = enas_graphs(12, 1)
    order = Random(1).sample(range(14), 14)
    labels = tuple(cell.labels[order.index(node)] for node in range(14))
    other = LabelledGraph(labels, frozenset((order[a], order[b]) for a, b in cell.edges))
    values = edit_distances([cell, other]).values
    assert values[0, 1] <= 2
    assert (values == edit_distances([cell, other]).values).all()


def test_what_two_codes_have_in_common():
    space = EnasSpace(4)
    codes = [tuple(code.split("-")) for code in ("tanh-0-relu-1-tanh-0-relu", "tanh-0-tanh-1-tanh-2-relu")]
    assert common(space, codes, "op").tolist() == [[4, 3], [3, 4]]
    assert common(space, codes, "edge").tolist() == [[3, 2], [2, 3]]
    assert common(space, [], "op").shape == (0, 0)


class Either:
    """A space whose codes differ in length: a second choice after "long" only."""

    name = "either"

    def next_choice(self, prefix):
        if not prefix:
            return Choice("op", ("short", "long"))
        return Choice("edge", ("0", "1")) if prefix == ("long",) else None


def test_codes_may_differ_in_length():
    codes = [("short",), ("long", "0"), ("long", "1")]
    assert common(Either(), codes, "op").tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]
    assert common(Either(), codes, "edge").tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_space_without_a_row_is_drawn_as_its_program():
    class Other(EnasSpace):
        name = "other"

    space = Other(1)
    first, second = (graph_of(space, (op,)) for op in ("tanh", "relu"))
    assert first.labels[:2] == ("x", "h1")
    assert first.labels[-1] == "next h1"
    assert sorted(first.labels[2:-1]) == ["blend", "linear", "linear", "sigmoid", "tanh"]
    assert edit_distances([first, second]).values[0, 1] == 1


def test_rounding_is_no_distance():
    state = np.array([0.3, -0.4])
    apart = hidden_distances([state, state + 1e-8, state + np.array([0.3, 0.4])])
    assert apart[0, 1] == 0
    assert apart[0, 2] == pytest.approx(0.5)


def pairs_of(points):
    return np.abs(np.subtract.outer(points, points))


def test_rho_is_spearmans():
    from nasctl.data.metrics import spearman

    draw = np.random.default_rng(0)
    one, other = draw.integers(5, size=12).astype(float), draw.normal(size=12)
    upper = np.triu_indices(12, 1)
    rho, _ = mantel(pairs_of(one), pairs_of(other), permutations=1)
    assert rho == pytest.approx(spearman(pairs_of(one)[upper], pairs_of(other)[upper]))


def test_p_is_uniform_where_there_is_nothing():
    draw = np.random.default_rng(1)
    found = []
    for seed in range(300):
        one, other = (pairs_of(draw.normal(size=15)) for _ in range(2))
        found.append(mantel(one, other, permutations=99, seed=seed)[1])
    counts = np.histogram(found, np.linspace(0, 1, 11))[0]
    assert ((counts - 30) ** 2 / 30).sum() < 27.9  # chi-square, 9 degrees of freedom, p = 0.001
    assert np.mean(np.array(found) <= 0.05) < 0.1


def test_pairs_are_not_taken_for_independent():
    """One cell far from all others in both makes the ten pairs that it is in look like evidence."""
    one, other = (pairs_of(np.random.default_rng(seed).normal(size=12)) for seed in (2, 3))
    one[0, 1:] = one[1:, 0] = other[0, 1:] = other[1:, 0] = 10 + np.arange(11)
    rho, p = mantel(one, other)
    assert rho is not None
    assert rho > 0.3
    assert p is not None
    assert p > 0.005  # as a test of 66 independent pairs: 0.0005 and less


def test_a_planted_correlation_is_found():
    draw = np.random.default_rng(4)
    points = draw.normal(size=30)
    rho, p = mantel(pairs_of(points), -pairs_of(points + draw.normal(size=30) / 2))
    assert rho is not None
    assert rho < -0.4
    assert p == 1 / 5000
    assert mantel(pairs_of(points), pairs_of(points))[0] == pytest.approx(1.0)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_few_cells_have_no_correlation(size):
    points = pairs_of(np.arange(size, dtype=float))
    assert mantel(points, points) == (None, None)


def test_equal_pairs_have_no_correlation():
    points = pairs_of(np.arange(5.0))
    assert mantel(points, np.ones((5, 5))) == (None, None)
    assert mantel(np.ones((5, 5)), points) == (None, None)


def drawn(nodes, count, *, looks_back, seed=0, scored=True):
    """Samples of a made-up controller of 20 units, whose state tells of the cell or does not."""
    space, draw = EnasSpace(nodes), Random(seed)
    columns = np.random.default_rng(9).normal(size=(2 * nodes - 1, 4 + nodes, 20))
    samples = []
    for _ in range(count):
        code = sample(space, draw)
        told = sum(columns[place, hash_of(option)] for place, option in enumerate(code))
        hidden = np.tanh(told if looks_back else columns[0, 0])
        largest = tuple(0.25 + (0.5 * draw.random() if looks_back else 0.25) for _ in code)
        score = 0.7 + 0.001 * float(hidden[0]) if scored else None
        samples.append(SampledCell("-".join(code), -1.0, largest, largest, tuple(map(float, hidden)), score))
    return samples


def hash_of(option):
    return ("tanh", "relu", "identity", "sigmoid").index(option) if option.isalpha() else int(option)


@pytest.mark.parametrize("nodes", [6, 12])
def test_a_controller_that_looks_back(nodes):
    samples = drawn(nodes, 40, looks_back=True)
    found = diagnose(EnasSpace(nodes), samples, permutations=199)
    by_name = {each.measure: each for each in found.associations}
    assert list(by_name) == ["activations", "connections", "graph edits", "score gap"]
    assert all(each.cells == 40 for each in found.associations)
    assert [by_name[name].rho < 0 for name in ("activations", "connections")] == [True, True]
    assert [by_name[name].rho > 0 for name in ("graph edits", "score gap")] == [True, True]
    assert by_name["activations"].p == by_name["connections"].p == 1 / 200
    assert by_name["graph edits"].exact is (nodes == 6)
    assert by_name["score gap"].exact is None
    assert 0.4 < found.likeliest < 0.6
    assert 0.1 < found.by_history < 0.2
    assert found.spread > 0.5


def test_a_controller_that_does_not():
    samples = drawn(6, 20, looks_back=False)
    found = diagnose(EnasSpace(6), samples, permutations=99)
    assert all((each.rho, each.p) == (None, None) for each in found.associations)
    assert found.spread == pytest.approx(0.0, abs=1e-12)
    assert (found.likeliest, found.by_history) == (pytest.approx(0.5), pytest.approx(0.0))


def test_no_scores_no_gap_and_duplicates_count_once():
    samples = drawn(6, 10, looks_back=True, scored=False)
    found = diagnose(EnasSpace(6), [*samples, *samples[:4]], permutations=99)
    assert (found.samples, found.distinct) == (14, 10)
    assert [each.cells for each in found.associations] == [10, 10, 10, 0]
    assert found.associations[-1].rho is None
    assert distinct([*samples, *samples]) == tuple(samples)


@pytest.mark.parametrize("samples", [[], [SampledCell("tanh", score=0.5)], drawn(1, 1, looks_back=True)])
def test_one_sample_or_none(samples):
    found = diagnose(EnasSpace(1), samples)
    assert found.samples == len(samples)
    assert all(each.rho is None for each in found.associations)


def test_the_choice_without_a_choice_is_not_counted():
    """Of two nodes, the second can have one parent only, which every controller is sure of."""
    found = diagnose(EnasSpace(2), [SampledCell("tanh-0-relu", -1.0, (0.5, 1.0, 0.7), (0.5, 1.0, 0.7), (0.0,))])
    assert found.likeliest == pytest.approx(0.6)
