"""The ENAS space against the figures of the paper, and its reading of graphs."""

import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasctl.cells.enas import enas_cell
from nasctl.cells.graph import Bias, CellGraph, Op, Step
from nasctl.cells.library import LIBRARY, gru, lstm, rnn
from nasctl.cells.rewrite import canonical, cell_digest
from nasctl.errors import UsageError
from nasctl.spaces.base import code_of, code_text, draw_pool, enumerate_codes, log_probability, sample
from nasctl.spaces.enas import EnasSpace
from nasctl.spaces.sharing import shared_weights

PAPER = EnasSpace(6)
CODES = st.integers(0, 2**63 - 1).map(lambda seed: sample(PAPER, Random(seed)))


def test_the_number_of_codes():
    assert [EnasSpace(nodes).size() for nodes in (1, 2, 3, 6)] == [4, 16, 128, 491_520]
    assert math.isclose(EnasSpace(9).size(), 1.06e10, rel_tol=0.01)
    assert math.isclose(EnasSpace(12).size(), 6.70e14, rel_tol=0.001)


def test_enumerating_the_papers_space_gives_each_code_once():
    codes = list(enumerate_codes(PAPER))
    assert len(codes) == len(set(codes)) == 491_520


@pytest.mark.parametrize(("nodes", "nats"), [(6, 13.1053), (12, 34.1378)])
def test_the_entropy_of_a_draw(nodes, nats):
    space = EnasSpace(nodes)
    for seed in range(5):
        assert (
            round(-log_probability(space, sample(space, Random(seed))), 4) == nats == round(math.log(space.size()), 4)
        )


def test_the_default_pool_is_the_same_on_every_machine():
    assert list(map(code_text, draw_pool(PAPER, 10, 0))) == [
        "sigmoid-0-relu-1-identity-1-sigmoid-2-sigmoid-2-identity",
        "relu-0-sigmoid-1-identity-1-tanh-1-identity-2-relu",
        "sigmoid-0-tanh-1-sigmoid-0-tanh-2-identity-0-tanh",
        "sigmoid-0-relu-1-relu-1-sigmoid-3-relu-2-identity",
        "sigmoid-0-tanh-1-identity-0-relu-0-sigmoid-4-identity",
        "identity-0-identity-0-relu-2-sigmoid-1-identity-1-tanh",
        "relu-0-tanh-0-identity-0-sigmoid-0-relu-2-sigmoid",
        "sigmoid-0-sigmoid-0-relu-2-relu-0-sigmoid-3-relu",
        "relu-0-tanh-1-sigmoid-1-identity-1-identity-2-sigmoid",
        "relu-0-relu-0-identity-1-identity-1-identity-2-sigmoid",
    ]


@pytest.mark.parametrize(("width", "hidden"), [(300, 300), (768, 768), (300, 600), (768, 384), (3, 2)])
@pytest.mark.parametrize("nodes", [1, 2, 6])
def test_the_parameters_of_a_cell_and_of_all_shared_weights(width, hidden, nodes):
    space = EnasSpace(nodes)
    first = 2 * ((width + hidden) * hidden + hidden)
    cell = space.decode(sample(space, Random(nodes)))
    assert cell.parameters(width, hidden) == first + (nodes - 1) * 2 * hidden**2
    assert shared_weights(space).parameters(width, hidden) == first + nodes * (nodes - 1) // 2 * 2 * hidden**2


def test_the_parameters_of_the_papers_cell():
    assert PAPER.decode(sample(PAPER, Random(0))).parameters(300, 300) == 1_260_600
    assert shared_weights(PAPER).parameters(300, 300) == 3_060_600
    assert lstm().parameters(300, 300) == 722_400


def test_the_shared_weights_are_one_pair_of_matrices_per_pair_of_nodes():
    shared = shared_weights(EnasSpace(3))
    pairs = ("x-0", "h-0", "0-1", "0-2", "1-2")
    assert set(shared.weights) == {f"{pair}/{part}" for pair in pairs for part in ("gate", "candidate")}
    assert {key for key, width in shared.weights.items() if width == "D"} == {"x-0/gate", "x-0/candidate"}
    assert shared.biases == {"0/gate": 0.0, "0/candidate": 0.0}


@pytest.mark.parametrize("cell", [cell for cell in LIBRARY.values() if cell.code], ids=lambda cell: cell.name)
def test_the_papers_cells_are_in_the_space(cell):
    assert PAPER.decode(cell.code) == cell.graph
    assert PAPER.encode(cell.graph) == cell.code


def leaves(text: str) -> int:
    graph = EnasSpace((text.count("-") + 2) // 2).decode(tuple(text.split("-")))
    last = graph.step(graph.next_states[0])
    return len(last.args) if last.op is Op.MEAN else 1


def test_a_chain_has_one_leaf_and_a_star_all_but_its_centre():
    assert leaves("tanh-0-relu-1-relu-2-tanh-3-sigmoid-4-identity") == 1
    assert leaves("tanh-0-relu-0-relu-0-relu-0-relu-0-relu") == 5
    assert leaves("tanh") == 1


# --- encode -----------------------------------------------------------------------------------------------------------


def reordered(graph: CellGraph, stream: Random) -> CellGraph:
    """The graph with its steps in another order that is possible, keys as they were."""
    known = list(range(graph.first_step))
    waiting = list(range(graph.first_step, len(graph.widths)))
    while waiting:
        ready = [value for value in waiting if set(graph.step(value).args) <= set(known)]
        known.append(stream.choice(ready))
        waiting.remove(known[-1])
    number = {value: place for place, value in enumerate(known)}
    steps = [graph.step(value) for value in known[graph.first_step :]]
    moved = tuple(replace(step, args=tuple(number[arg] for arg in step.args)) for step in steps)
    return CellGraph(graph.states, moved, tuple(number[value] for value in graph.next_states))


@settings(deadline=None, max_examples=60)
@given(CODES, st.randoms(use_true_random=False))
def test_the_weight_keys_tell_the_code_in_any_order_of_the_steps(code, stream):
    graph = PAPER.decode(code)
    assert PAPER.encode(graph) == code
    assert PAPER.encode(reordered(graph, stream)) == code


@settings(deadline=None, max_examples=30)
@given(CODES, st.randoms(use_true_random=False))
def test_without_them_the_code_is_one_of_the_same_cell(code, stream):
    graph = PAPER.decode(code)
    for other in (canonical(graph), rekeyed(reordered(graph, stream), str.upper)):
        assert cell_digest(PAPER.decode(PAPER.encode(other))) == cell_digest(graph)


def rekeyed(graph: CellGraph, rename) -> CellGraph:
    def renamed(step: Step) -> Step:
        biases = tuple(Bias(rename(bias.key), bias.start) for bias in step.biases)
        return replace(step, weights=tuple(map(rename, step.weights)), biases=biases)

    return replace(graph, steps=tuple(map(renamed, graph.steps)))


def swapped(one: str, two: str):
    return lambda key: {one: two, two: one}.get(key, key)


@pytest.mark.parametrize(
    "rename",
    [
        swapped("0-1/candidate", "0-2/candidate"),
        lambda key: key.replace("0-1/", "0-3/"),
        lambda key: key.replace("0-1", "7-2").replace("0-2", "7-1"),
        lambda key: {
            "0-1/gate": "0-2/candidate",
            "0-1/candidate": "0-2/gate",
            "0-2/gate": "0-1/candidate",
            "0-2/candidate": "0-1/gate",
        }.get(key, key),
    ],
    ids=["gates of one, candidates of another", "a number too high", "another parent", "another part"],
)
def test_keys_that_only_look_like_labels_tell_nothing(rename):
    space = EnasSpace(3)
    code = code_of("tanh-0-relu-0-sigmoid", space)
    assert space.encode(rekeyed(space.decode(code), rename)) == code


def test_a_label_below_that_of_its_parent_tells_nothing():
    space = EnasSpace(3)
    code = code_of("tanh-0-relu-1-sigmoid", space)
    backwards = rekeyed(space.decode(code), lambda key: key.replace("1-2", "2-1").replace("0-1", "0-2"))
    assert space.encode(backwards) == code


def test_labels_are_believed_where_they_are_whole():
    space = EnasSpace(3)
    graph = space.decode(code_of("tanh-0-relu-0-sigmoid", space))
    exchanged = rekeyed(graph, lambda key: swapped("1", "2")(key[2]).join((key[:2], key[3:])))
    assert space.encode(exchanged) == ("tanh", "0", "sigmoid", "0", "relu")


def test_dead_steps_are_no_nodes():
    graph = EnasSpace(2).decode(("tanh", "0", "relu"))
    dead = replace(graph, steps=(*graph.steps, Step(Op.MUL, (6, 11))))
    assert EnasSpace(2).encode(dead) == ("tanh", "0", "relu")


def changed(value: int, **fields) -> CellGraph:
    """The cell tanh-0-relu-0-sigmoid with another step at this value (2 to 17)."""
    graph = EnasSpace(3).decode(("tanh", "0", "relu", "0", "sigmoid"))
    steps = list(graph.steps)
    steps[value - 2] = replace(steps[value - 2], **fields)
    return replace(graph, steps=tuple(steps))


ENAS_3 = EnasSpace(3).decode(("tanh", "0", "relu", "0", "sigmoid"))
NO_ENAS = {
    "lstm": (lstm(), "it has 2 states and 0 masks"),
    "gru": (gru(), "h1 stands where identity or relu or sigmoid or tanh would"),
    "rnn": (rnn(), r"v3 \(tanh\) stands where blend would"),
    "a mask": (
        CellGraph(
            ("H",), tuple(replace(s, args=tuple(a + (a > 1) for a in s.args)) for s in ENAS_3.steps), (18,), ("H",)
        ),
        "1 masks",
    ),
    "another gate": (changed(3, op=Op.TANH), r"v3 \(tanh\) stands where sigmoid would"),
    "another activation": (
        changed(5, op=Op.LEAKY_RELU),
        r"v5 \(leaky_relu\) stands where identity or relu or sigmoid or tanh would",
    ),
    "no activation": (changed(6, args=(3, 4, 1)), r"v4 \(linear\) stands where identity"),
    "another carry": (changed(11, args=(8, 10, 1)), "v7 reads v6 instead of x and h1"),
    "x carried": (
        CellGraph(("H",), (*ENAS_3.steps[:4], Step(Op.LINEAR, (0,), ("w",)), Step(Op.BLEND, (3, 5, 6))), (7,)),
        "v2 reads x and h1 instead of v6",
    ),
    "a parent without itself": (changed(12, args=(11,)), "v12 reads v11 instead of v6"),
    "node 0 without x": (changed(2, args=(1, 1)), "v2 reads h1 and h1 instead of x and h1"),
    "a later bias": (changed(7, biases=(Bias("1/gate"),)), r"v7 has other biases \(they start at: 0\)"),
    "no bias": (changed(2, biases=()), r"v2 has other biases \(they start at: none\)"),
    "a bias at 1": (changed(2, biases=(Bias("0/gate", 1.0),)), r"v2 has other biases \(they start at: 1\)"),
    "one bias twice": (changed(4, biases=(Bias("0/gate"),)), "it uses '0/gate' twice"),
    "one matrix twice": (changed(9, weights=("0-1/gate",)), "it uses '0-1/gate' twice"),
    "a parent averaged": (changed(17, args=(6, 11, 16)), "v6 is averaged, and is a parent"),
    "a leaf averaged twice": (changed(17, args=(11, 16, 16)), "v16 is averaged, and is a parent or averaged twice"),
    "a sum of leaves": (changed(17, op=Op.ADD), r"v17 \(add\) stands where blend would"),
}


@pytest.mark.parametrize(("graph", "message"), NO_ENAS.values(), ids=NO_ENAS)
def test_another_cell_is_refused_and_the_step_named(graph, message):
    with pytest.raises(UsageError, match=f"the cell is no ENAS cell: .*({message})") as caught:
        EnasSpace(3).encode(graph)
    assert "mean of leaves" in caught.value.hint


def test_a_second_node_0_is_refused():
    first = EnasSpace(1).decode(("tanh",)).steps
    second = [replace(step, args=tuple(arg + 5 * (arg > 1) for arg in step.args)) for step in first]
    second = rekeyed(CellGraph(("H",), (*first, *second), (11,)), str).steps[5:]
    apart = [
        replace(s, weights=tuple(f"{w}'" for w in s.weights), biases=tuple(Bias(f"{b.key}'") for b in s.biases))
        for s in second
    ]
    graph = CellGraph(("H",), (*first, *apart, Step(Op.MEAN, (6, 11))), (12,))
    with pytest.raises(UsageError, match="v11 is a second node 0"):
        EnasSpace(2).encode(graph)


def test_a_cell_of_another_number_of_nodes_is_refused():
    with pytest.raises(UsageError, match="the ENAS cell has 3 nodes, the space 6") as caught:
        PAPER.encode(ENAS_3)
    assert caught.value.hint == "nodes=3"


def test_a_cell_without_highways_is_none_of_the_space():
    plain = enas_cell([Op.TANH, Op.RELU], [0], highway=False)
    with pytest.raises(UsageError, match="stands where blend would"):
        EnasSpace(2).encode(plain)


@pytest.mark.parametrize("nodes", [0, -1, 101])
def test_a_space_has_a_node_and_not_too_many(nodes):
    with pytest.raises(UsageError, match=f"an ENAS cell of {nodes} nodes") as caught:
        EnasSpace(nodes)
    assert caught.value.hint == "it has 1 to 100"
    EnasSpace(100).decode(sample(EnasSpace(100), Random(0)))
