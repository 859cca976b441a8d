"""The ENAS cell, computed with plain numbers by an evaluator that knows nothing but the ops' formulas."""

import math

import pytest

from nasctl.cells.enas import enas_cell
from nasctl.cells.graph import CellGraph, Op
from nasctl.cells.library import LIBRARY, rnn
from nasctl.errors import UsageError

FORMULAS = {
    Op.ADD: lambda *a: sum(a),
    Op.SUB: lambda a, b: a - b,
    Op.MUL: lambda *a: math.prod(a),
    Op.MEAN: lambda *a: sum(a) / len(a),
    Op.BLEND: lambda z, a, b: z * a + (1 - z) * b,
    Op.TANH: math.tanh,
    Op.SIGMOID: lambda a: 1 / (1 + math.exp(-a)) if a > -700 else 0.0,
    Op.RELU: lambda a: max(a, 0.0),
    Op.LEAKY_RELU: lambda a: max(a, 0.0) + 0.01 * min(a, 0.0),
    Op.IDENTITY: lambda a: a,
}


def values(graph: CellGraph, x: float, states: list[float], numbers: dict[str, float]) -> list[float]:
    """Every value of one time step, D = H = 1: each matrix and bias is one number."""
    known = [x, *states]
    for step in graph.steps:
        reads = [known[arg] for arg in step.args]
        if step.op is Op.LINEAR:
            products = (numbers[key] * value for key, value in zip(step.weights, reads, strict=True))
            known.append(sum(products) + sum(numbers[bias.key] for bias in step.biases))
        else:
            known.append(FORMULAS[step.op](*reads))
    return known


def output(graph: CellGraph, x: float, h: float, numbers: dict[str, float]) -> float:
    return values(graph, x, [h], numbers)[graph.next_states[0]]


def numbers_of(graph: CellGraph, gate: float, **candidates: float) -> dict[str, float]:
    """Every gate's weights and biases at `gate`; candidates 0.5, but those given (as n0_1 for `0-1/candidate`)."""
    given = {f"{name[1:].replace('_', '-')}/candidate": value for name, value in candidates.items()}
    keys = [*graph.weights, *graph.biases]
    return {key: gate if key.endswith("/gate") else given.get(key, 0.5) for key in keys}


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


SHAPES = {"chain": [0, 1, 2, 3, 4], "star": [0, 0, 0, 0, 0], "tree": [0, 0, 1, 1, 2]}


@pytest.mark.parametrize("parents", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("op", [Op.TANH, Op.RELU, Op.IDENTITY, Op.SIGMOID], ids=lambda op: op.label)
def test_with_all_gates_shut_the_cell_keeps_its_state(parents, op):
    graph = enas_cell([op] * 6, parents)
    assert output(graph, 0.3, 0.7, numbers_of(graph, -1e6)) == pytest.approx(0.7, rel=1e-15)


def test_with_all_gates_open_the_output_is_the_mean_over_paths_from_root_to_leaf():
    graph = enas_cell([Op.IDENTITY] * 4, [0, 0, 1])  # leaves 2 and 3
    numbers = numbers_of(graph, 1e6, n0_1=2.0, n0_2=3.0, n1_3=5.0) | {
        "x-0/candidate": 0.5,
        "h-0/candidate": 0.25,
        "0/candidate": 0.125,
    }
    root = 0.5 * 0.3 + 0.25 * 0.7 + 0.125
    assert output(graph, 0.3, 0.7, numbers) == pytest.approx((3 * root + 2 * 5 * root) / 2)


def test_the_equations_of_two_nodes_written_out():
    graph = enas_cell([Op.TANH, Op.RELU], [0])
    numbers = {key: 0.1 * number for number, key in enumerate([*graph.weights, *graph.biases], 1)}
    x, h = 0.3, -0.7
    gate = sigmoid(numbers["x-0/gate"] * x + numbers["h-0/gate"] * h + numbers["0/gate"])
    candidate = math.tanh(numbers["x-0/candidate"] * x + numbers["h-0/candidate"] * h + numbers["0/candidate"])
    first = gate * candidate + (1 - gate) * h
    gate = sigmoid(numbers["0-1/gate"] * first)
    second = gate * max(numbers["0-1/candidate"] * first, 0.0) + (1 - gate) * first
    assert output(graph, x, h, numbers) == pytest.approx(second, rel=1e-12)


def test_row_1_of_table_6_is_the_mean_of_five_relu_nodes_over_a_tanh():
    graph = LIBRARY["enas-1"].graph
    candidates = {f"n0_{node}": 0.2 * node - 0.5 for node in range(1, 6)}
    numbers = numbers_of(graph, 0.4, **candidates)
    x, h = 0.9, 0.2
    gate = sigmoid(0.4 * x + 0.4 * h + 0.4)
    root = gate * math.tanh(0.5 * x + 0.5 * h + 0.5) + (1 - gate) * h
    gate = sigmoid(0.4 * root)
    nodes = [gate * max(weight * root, 0.0) + (1 - gate) * root for weight in candidates.values()]
    assert output(graph, x, h, numbers) == pytest.approx(sum(nodes) / 5, rel=1e-12)


def test_the_output_is_the_mean_of_leaves_and_the_state():
    star = enas_cell([Op.TANH] * 6, SHAPES["star"])
    assert star.steps[-1].op is Op.MEAN
    assert len(star.steps[-1].args) == 5
    assert len(star.next_states) == 1
    chain = enas_cell([Op.TANH] * 6, SHAPES["chain"])
    assert chain.steps[-1].op is Op.BLEND, "one leaf is no mean"
    assert enas_cell([Op.TANH], []).steps[-1].op is Op.BLEND


def test_each_pair_of_nodes_has_its_own_matrices_and_node_0_alone_has_biases():
    graph = enas_cell([Op.TANH] * 4, [0, 0, 2])
    pairs = ["x-0", "h-0", "0-1", "0-2", "2-3"]
    assert set(graph.weights) == {f"{pair}/{part}" for pair in pairs for part in ("gate", "candidate")}
    assert dict(graph.biases) == {"0/gate": 0.0, "0/candidate": 0.0}
    assert {key for key, width in graph.weights.items() if width == "D"} == {"x-0/gate", "x-0/candidate"}


def test_without_highways_a_node_is_its_activation():
    graph = enas_cell([Op.TANH], [], highway=False)
    numbers = {"x-0/candidate": 2.0, "h-0/candidate": 3.0, "0/candidate": 0.5}
    assert set(graph.weights) | set(graph.biases) == set(numbers)
    plain = {"x/candidate": 2.0, "h/candidate": 3.0, "candidate/1": 0.5, "candidate/2": 0.0}
    assert output(graph, 0.3, 0.1, numbers) == output(rnn(), 0.3, 0.1, plain)


@pytest.mark.parametrize(
    ("activations", "parents", "message", "hint"),
    [
        (2, [1], "node 1 has parent 1", "0 to 0"),
        (3, [0, 2], "node 2 has parent 2", "0 to 1"),
        (3, [0, -1], "node 2 has parent -1", "0 to 1"),
        (3, [0], "3 activations and 1 parents", "each node but the first has one"),
        (2, [0, 0], "2 activations and 2 parents", "each node but the first has one"),
        (0, [], "0 activations and 0 parents", "each node but the first has one"),
    ],
)
def test_what_is_no_tree_is_refused(activations, parents, message, hint):
    with pytest.raises(UsageError) as caught:
        enas_cell([Op.TANH] * activations, parents)
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_an_activation_reads_one_value():
    with pytest.raises(UsageError, match=r"\(blend\) reads 1 values"):
        enas_cell([Op.BLEND], [])
