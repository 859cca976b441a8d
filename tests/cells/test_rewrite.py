"""One form per cell: kept under every respelling, changed by every change, and computing what the cell computes."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from time import process_time

import pytest
from cells.graphs import cell_graphs
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nasctl.cells import rewrite
from nasctl.cells.enas import enas_cell
from nasctl.cells.graph import OPS, Bias, CellGraph, Op, Step
from nasctl.cells.library import LIBRARY, gru, lstm, rnn
from nasctl.cells.rewrite import canonical, canonical_keys, cell_digest, equal, live

DIGESTS = {
    "lstm": "c929f9c023bc",
    "gru": "5f7e4f95744c",
    "rnn": "7f5cfa91e85a",
    "enas-8": "4d3e1b29b093",
    "enas-24": "4d0ebb24fed4",
}
LEAKY = 0.01
FORMULAS = {
    Op.ADD: lambda *args: math.fsum(args),
    Op.SUB: lambda a, b: a - b,
    Op.MUL: lambda *args: math.prod(sorted(args)),
    Op.MEAN: lambda *args: math.fsum(args) / len(args),
    Op.BLEND: lambda z, a, b: z * a + (1 - z) * b,
    Op.TANH: math.tanh,
    Op.SIGMOID: lambda a: (1 + math.tanh(a / 2)) / 2,
    Op.RELU: lambda a: max(a, 0.0),
    Op.LEAKY_RELU: lambda a: max(a, 0.0) + LEAKY * min(a, 0.0),
    Op.IDENTITY: lambda a: a,
}


def outputs(graph: CellGraph, weights: dict[str, float], inputs: tuple[float, ...] = (0.7, -0.4, 0.9)) -> list[float]:
    """What a cell of width 1 puts out at each time step; it starts at 0, and its masks are 0.8."""
    states = [0.0] * len(graph.states)
    found = []
    for x in inputs:
        values = [x, *states, *([0.8] * len(graph.masks))]
        for step in graph.steps:
            args = [values[arg] for arg in step.args]
            if step.op is Op.LINEAR:
                terms = [weights[key] * arg for key, arg in zip(step.weights, args, strict=True)]
                values.append(math.fsum([*terms, *(weights[bias.key] for bias in step.biases)]))
            else:
                values.append(FORMULAS[step.op](*args))
        states = [values[value] for value in graph.next_states]
        found.append(states[0])
    return found


def respelled(graph: CellGraph, seed: int) -> CellGraph:
    """The same cell: steps, states, masks, commuting operands in another order, other keys, and some dead weight."""
    stream = random.Random(seed)
    states = [1, *stream.sample(range(2, 1 + len(graph.states)), len(graph.states) - 1)]
    masks = stream.sample(range(1 + len(graph.states), graph.first_step), len(graph.masks))
    given = [0, *states, *masks]
    number = {value: place for place, value in enumerate(given)}
    shift = 2  # one dead state, one dead mask: behind the others of their kind
    for value in number:
        number[value] += (1 if value > len(graph.states) else 0) if value else 0
    names = {key: f"k{stream.random()}" for key in [*graph.weights, *graph.biases]}
    waiting = list(range(graph.first_step, len(graph.widths)))
    first_step = graph.first_step + shift
    steps = [Step(Op.TANH, (1,)), Step(Op.LINEAR, (0, first_step), ("dead/x", "dead/h"), (Bias("dead/b", 3.0),))]
    while waiting:
        ready = [value for value in waiting if all(arg in number for arg in graph.steps[value - graph.first_step].args)]
        value = stream.choice(ready)
        waiting.remove(value)
        step = graph.steps[value - graph.first_step]
        order = list(range(len(step.args)))
        if step.op.commutes:
            stream.shuffle(order)
        biases = [Bias(names[bias.key], bias.start) for bias in step.biases]
        stream.shuffle(biases)
        steps.append(
            Step(
                step.op,
                tuple(number[step.args[place]] for place in order),
                tuple(names[step.weights[place]] for place in order) if step.weights else (),
                tuple(biases),
            )
        )
        number[value] = first_step + len(steps) - 1
    return CellGraph(
        (*(graph.widths[state] for state in states), "H"),
        tuple(steps),
        (*(number[graph.next_states[state - 1]] for state in states), first_step + 1),
        (*(graph.widths[mask] for mask in masks), "D"),
    )


def changed(graph: CellGraph, value: int, **fields: object) -> CellGraph:
    place = value - graph.first_step
    step = replace(graph.steps[place], **fields)
    return replace(graph, steps=(*graph.steps[:place], step, *graph.steps[place + 1 :]))


# --- what keeps the form ----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=80)
@given(cell_graphs(), st.integers(0, 999))
def test_order_names_and_dead_weight_leave_the_form_as_it_is(graph, seed):
    other = respelled(graph, seed)
    assert canonical(other) == canonical(graph)
    assert equal(graph, other)
    assert cell_digest(other) == cell_digest(graph)


@settings(deadline=None, max_examples=50)
@given(cell_graphs())
def test_the_form_of_the_form_is_the_form_and_computes_what_the_cell_computes(graph):
    form = canonical(graph)
    assert canonical(form) == form
    names = canonical_keys(graph)
    assert set(names.values()) == {*form.weights, *form.biases}
    weights = {name: math.sin(number) for number, name in enumerate(sorted(names.values()))}
    own = {key: weights[name] for key, name in names.items()}
    whole = {key: own.get(key, 0.3) for key in (*graph.weights, *graph.biases)}
    assert outputs(form, weights) == pytest.approx(outputs(graph, whole), rel=1e-9, abs=1e-12)
    assert outputs(live(graph), own) == outputs(graph, whole)


@pytest.mark.parametrize("children", [5, 12])
def test_equal_children_are_one_star_in_any_order(children):
    star = enas_cell([Op.TANH] * (children + 1), [0] * children)
    assert canonical(respelled(star, 1)) == canonical(star)


def test_two_children_with_children_of_their_own_are_not_mixed_up():
    def tree(*activations):  # 0 has the children 1 and 2; 3 is a child of 1, 4 one of 2
        return enas_cell([Op.TANH, *map(OPS.__getitem__, activations)], [0, 0, 1, 2])

    assert equal(tree("relu", "relu", "sigmoid", "tanh"), tree("relu", "relu", "tanh", "sigmoid"))
    assert not equal(tree("relu", "tanh", "sigmoid", "tanh"), tree("relu", "tanh", "tanh", "sigmoid"))


def test_states_that_change_places_are_told_apart():
    """The next state of one is the other: what is taken over must be the value before, whatever the order."""
    steps = (Step(Op.TANH, (4,)), Step(Op.ADD, (5, 2)))
    one = CellGraph(("H", "H", "H", "H"), steps, (6, 3, 4, 2))
    other = CellGraph(("H", "H", "H", "H"), (Step(Op.TANH, (3,)), Step(Op.ADD, (5, 2))), (6, 4, 2, 3))
    assert equal(one, other)
    assert not equal(one, CellGraph(("H", "H", "H", "H"), (Step(Op.TANH, (3,)), Step(Op.ADD, (5, 2))), (6, 3, 4, 2)))


def test_table_6_has_26_codes_and_24_cells():
    cells = {name: cell for name, cell in LIBRARY.items() if cell.code is not None}
    assert len({cell.code for cell in cells.values()}) == 26
    digests = {}
    for name, cell in cells.items():
        digests.setdefault(cell_digest(cell.graph), []).append(name)
    assert len(digests) == 24
    assert [names for names in digests.values() if len(names) > 1] == [["enas-8", "enas-10", "enas-11"]]


def test_the_digests_stay():
    """They stand in records: another digest is another RESULT_VERSION."""
    cells = ("lstm", "gru", "rnn", "enas-8", "enas-24")
    assert {name: cell_digest(LIBRARY[name].graph) for name in cells} == DIGESTS


# --- what changes it --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(cell_graphs(most_steps=6), st.data())
def test_another_op_is_another_cell(graph, data):
    graph = live(graph)
    alike = ({Op.TANH, Op.SIGMOID, Op.RELU, Op.LEAKY_RELU, Op.IDENTITY}, {Op.ADD, Op.MUL, Op.MEAN})
    numbered = enumerate(graph.steps, graph.first_step)
    others = [
        (value, other) for value, step in numbered for ops in alike if step.op in ops for other in ops - {step.op}
    ]
    assume(others)
    value, other = data.draw(st.sampled_from(sorted(others, key=str)))
    assert not equal(graph, changed(graph, value, op=other))


@settings(deadline=None, max_examples=50)
@given(cell_graphs(most_steps=6), st.data())
def test_another_start_or_sharing_is_another_cell(graph, data):
    graph = live(graph)
    assume(graph.biases)
    key = data.draw(st.sampled_from(sorted(graph.biases)))

    def started(bias):
        return Bias(key, 7.0) if bias.key == key else bias

    steps = tuple(replace(step, biases=tuple(map(started, step.biases))) for step in graph.steps)
    assert not equal(graph, replace(graph, steps=steps))


def test_sharing_a_matrix_is_another_cell():
    def cell(first, second):
        return CellGraph(
            ("H",), (Step(Op.LINEAR, (1,), (first,)), Step(Op.LINEAR, (1,), (second,)), Step(Op.MUL, (2, 3))), (4,)
        )

    assert not equal(cell("a", "b"), cell("a", "a"))
    assert equal(cell("a", "b"), cell("c", "a"))


@pytest.mark.parametrize("steps", [(Step(Op.SUB, (0, 2)),), (Step(Op.BLEND, (2, 0, 0)),)], ids=["sub", "blend"])
def test_the_order_of_what_does_not_commute_counts(steps):
    delays = CellGraph(("H", "D"), (*steps, Step(Op.LINEAR, (3,), ("w",))), (4, 0))
    step = steps[0]
    other = Step(step.op, step.args[::-1])
    assert not equal(delays, CellGraph(("H", "D"), (other, Step(Op.LINEAR, (3,), ("w",))), (4, 0)))


def test_nothing_is_simplified():
    """What is kept on purpose: identities, sums of one, equal steps, a second bias."""
    plain = canonical(rnn())
    assert not equal(plain, CellGraph(("H",), (*rnn().steps, Step(Op.IDENTITY, (3,))), (4,)))
    assert not equal(plain, CellGraph(("H",), (*rnn().steps, Step(Op.MEAN, (3,))), (4,)))
    assert not equal(plain, changed(rnn(), 2, biases=rnn().steps[0].biases[:1]))
    twice = CellGraph(("H",), (*rnn().steps, Step(Op.TANH, (2,)), Step(Op.MEAN, (3, 4))), (5,))
    once = CellGraph(("H",), (*rnn().steps, Step(Op.MEAN, (3, 3))), (4,))
    assert not equal(twice, once)


# --- what is live -----------------------------------------------------------------------------------------------------


def test_a_live_graph_is_returned_as_it_is():
    cell = lstm()
    assert live(cell) is cell


def test_a_state_lives_by_a_live_state_alone():
    """h2 feeds the output, h3 feeds h2, h4 feeds itself; the mask is read by h4 alone."""
    steps = (Step(Op.TANH, (2,)), Step(Op.TANH, (3,)), Step(Op.MUL, (4, 5)))  # values 6, 7, 8
    cell = CellGraph(("H", "H", "H", "H"), steps, (6, 7, 1, 8), ("H",))
    lean = CellGraph(("H", "H", "H"), (Step(Op.TANH, (2,)), Step(Op.TANH, (3,))), (4, 5, 1))
    assert live(cell) == lean


def test_an_output_that_reads_no_state_keeps_the_first():
    cell = CellGraph(("H",), (Step(Op.LINEAR, (0,), ("w",)),), (2,))
    assert live(cell) is cell
    assert canonical(cell).states == ("H",)


def test_the_sign_of_a_zero_start_is_no_difference():
    negative = changed(gru(), 2, biases=(Bias("reset/1", -0.0), Bias("reset/2")))
    assert cell_digest(negative) == cell_digest(gru())


# --- how long it takes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "sweeps"), [("enas-1", 12), ("enas-24", 8), ("star", 30)])
def test_ties_cost_a_sweep_or_two_each(cell, sweeps, monkeypatch):
    """What must not happen is a walk through all orders of what is tied: 12 equal children have 479,001,600."""
    graph = LIBRARY[cell].graph if cell in LIBRARY else enas_cell([Op.TANH] * 13, [0] * 12)
    counted = []
    sweep = rewrite._Colours._sweep
    monkeypatch.setattr(rewrite._Colours, "_sweep", lambda colours: counted.append(1) or sweep(colours))
    rewrite._ordered.__wrapped__(graph)
    assert 0 < len(counted) <= sweeps


def test_what_a_file_may_hold_is_no_way_to_stand_still():
    """Steps by the thousand and all of them tied; a walk that is quadratic in them takes half a minute."""
    steps = (*(Step(Op.TANH, (1,)) for _ in range(4_999)), Step(Op.ADD, tuple(range(2, 5_001))))
    star = CellGraph(("H",), steps, (5_001,))
    before = process_time()
    assert canonical(star) == star
    assert process_time() - before < 10
