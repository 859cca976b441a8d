import pytest
from cells.graphs import cell_graphs
from hypothesis import given, settings

from nasctl.cells.graph import Bias, CellGraph, Op, Step
from nasctl.cells.library import LIBRARY, gru, lstm
from nasctl.cells.rewrite import live
from nasctl.compiler.plan import APART, Fill, Plan, Pointwise, Product, Room, Span, Sum, plan


def depth(number: int) -> int:
    """How many products wait for one another in a cell of six nodes: that of h, then one per node on the way."""
    depths = [1]
    for parent in LIBRARY[f"enas-{number}"].code[1::2]:
        depths.append(depths[int(parent)] + 1)
    return max(depths)


def reads_and_writes(made: Plan):
    """What each action reads and writes, block by block, as it follows."""
    for action in (*made.hoisted, *made.loop):
        match action:
            case Product():
                yield [action.source, *([action.into] if action.accumulate else [])], action.into
            case Fill():
                yield [], action.into
            case Sum() | Pointwise():
                yield list(action.args), action.out


def test_an_lstm_is_one_product_and_seven_operations_per_step():
    made = plan(lstm())
    (hoisted,) = made.hoisted
    assert isinstance(hoisted, Product)
    assert sorted(hoisted.weights) == ["x/candidate", "x/forget", "x/input", "x/output"]
    assert all(len(keys) == 2 for keys in hoisted.biases)
    product, *others = made.loop
    assert isinstance(product, Product)
    assert (product.into.count, product.accumulate, product.source) == (4, True, Span(Room.BEFORE, 0))
    gates = [each for each in others if isinstance(each, Pointwise) and each.op is Op.SIGMOID]
    assert [gate.out.count for gate in gates] == [3]
    assert gates[0].out == gates[0].args[0]  # in place
    assert len(others) <= 7
    assert made.levels == 1


def test_the_candidate_of_a_gru_waits_for_one_product_only():
    made = plan(gru())
    assert [each.into.count for each in made.hoisted if isinstance(each, Product)] == [3]
    assert sum(each.into.count for each in made.loop if isinstance(each, Product)) == 3
    assert made.levels == 1


@pytest.mark.parametrize("number", range(1, 27))
def test_a_searched_cell_multiplies_each_value_once(number):
    made = plan(LIBRARY[f"enas-{number}"].graph)
    products = [each for each in made.loop if isinstance(each, Product)]
    sources = [product.source for product in products]
    assert len(sources) == len(set(sources))
    assert sum(product.into.count for product in products) == 12
    assert made.levels == depth(number)
    blends = [each for each in made.loop if isinstance(each, Pointwise) and each.op is Op.BLEND]
    assert sum(each.out.count for each in blends) == 6
    assert len(blends) <= len(sources)


def test_what_depends_on_the_input_alone_runs_once_for_all_steps():
    steps = (
        Step(Op.LINEAR, (0,), ("first",), (Bias("b"),)),  # 2
        Step(Op.TANH, (2,)),  # 3
        Step(Op.LINEAR, (3, 1), ("second", "own")),  # 4
        Step(Op.SIGMOID, (4,)),  # 5
        Step(Op.MUL, (3, 5)),  # 6
    )
    made = plan(CellGraph(("H",), steps, (6,)))
    assert [each.weights for each in made.hoisted if isinstance(each, Product)] == [("first",), ("second",)]
    assert [each.op for each in made.hoisted if isinstance(each, Pointwise)] == [Op.TANH]
    assert [each.weights for each in made.loop if isinstance(each, Product)] == [("own",)]


def test_biases_without_a_product_of_the_input_are_filled_in_before_the_loop():
    made = plan(CellGraph(("H",), (Step(Op.LINEAR, (1,), ("w",), (Bias("b"), Bias("c"))), Step(Op.TANH, (2,))), (3,)))
    assert made.hoisted == (Fill(Span(Room.LINEAR, 0), (("b", "c"),)),)
    assert isinstance(made.loop[0], Product)
    assert made.loop[0].accumulate


def test_what_changes_nothing_costs_nothing():
    linear = Step(Op.LINEAR, (0, 1), ("x", "h"))
    plain = plan(CellGraph(("H",), (linear, Step(Op.TANH, (2,))), (3,)))
    wrapped = (linear, Step(Op.IDENTITY, (2,)), Step(Op.TANH, (3,)), Step(Op.ADD, (4,)), Step(Op.MEAN, (5,)))
    made = plan(CellGraph(("H",), wrapped, (6,)))
    assert (made.hoisted, made.loop, made.blocks) == (plain.hoisted, plain.loop, plain.blocks)


def test_dead_steps_are_left_out():
    linear = Step(Op.LINEAR, (0, 1), ("x", "h"))
    dead = Step(Op.LINEAR, (0, 1), ("unused", "unused too"))
    made = plan(CellGraph(("H",), (dead, linear, Step(Op.TANH, (3,))), (4,)))
    keys = {key for each in (*made.hoisted, *made.loop) if isinstance(each, Product) for key in each.weights}
    assert keys == {"x", "h"}
    assert made.graph == live(made.graph)


def test_equal_steps_are_not_one_operation_twice_as_wide_as_what_it_reads():
    steps = (Step(Op.SIGMOID, (1,)), Step(Op.SIGMOID, (1,)), Step(Op.MUL, (2, 3)))
    made = plan(CellGraph(("H",), steps, (4,)))
    assert [each.out.count for each in made.loop if isinstance(each, Pointwise)] == [1, 1, 1]


def test_states_and_masks_are_never_one_block_with_their_neighbours():
    steps = (Step(Op.MEAN, (1, 2)), Step(Op.ADD, (3, 4)), Step(Op.ADD, (5, 6)))
    made = plan(CellGraph(("H", "H"), steps, (7, 5), ("H", "H")))
    sums = [each for each in made.loop if isinstance(each, Sum)]
    assert [len(each.args) for each in sums][:2] == [2, 2]


@settings(max_examples=150)
@given(cell_graphs())
def test_nothing_is_read_before_it_is_written_and_nothing_is_left_out(graph):
    graph = live(graph)
    made = plan(graph)
    known = {(Room.INPUT, 0)}
    known |= {(Room.BEFORE, index) for index in range(len(graph.states))}
    known |= {(Room.MASK, index) for index in range(len(graph.masks))}
    for reads, writes in reads_and_writes(made):
        assert {(span.room, span.first + i) for span in reads for i in range(span.count)} <= known
        assert all(span.count == 1 for span in (*reads, writes) if span.room in APART)
        known |= {(writes.room, writes.first + i) for i in range(writes.count)}
    assert {(Room.AFTER, index) for index in range(len(graph.states))} <= known
    for room in (Room.LINEAR, Room.LOCAL, Room.NARROW):
        assert {first for each, first in known if each is room} == set(range(made.blocks[room]))
    products = [each for each in (*made.hoisted, *made.loop) if isinstance(each, Product)]
    operands = [key for step in graph.steps for key in step.weights]
    assert sorted(key for each in products for key in each.weights) == sorted(operands)
    biased = [each for each in (*made.hoisted, *made.loop) if isinstance(each, Product | Fill)]
    biases = [key for each in biased for keys in each.biases for key in keys]
    assert sorted(biases) == sorted(bias.key for step in graph.steps for bias in step.biases)


@settings(max_examples=100)
@given(cell_graphs())
def test_products_of_one_value_are_neighbours_and_write_first_before_they_add(graph):
    written: set[int] = set()
    made = plan(live(graph))
    for action in (*made.hoisted, *made.loop):
        if isinstance(action, Product | Fill):
            blocks = set(range(action.into.first, action.into.first + action.into.count))
            if isinstance(action, Product) and action.accumulate:
                assert blocks <= written
            else:
                assert not blocks & written
            written |= blocks


def test_a_plan_is_made_once_for_equal_cells():
    assert plan(lstm()) is plan(lstm())
