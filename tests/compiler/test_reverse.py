import pytest
from cells.graphs import cell_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from nasctl.cells.graph import CellGraph, Op, Step
from nasctl.cells.library import lstm
from nasctl.cells.rewrite import live
from nasctl.compiler.plan import Fill, Pointwise, Product, Room, plan
from nasctl.compiler.reverse import SUMMED, Back, Zero, reverse


def of(graph, *, of_input=True):
    return reverse(plan(graph), of_input=of_input)


@pytest.mark.parametrize("of_input", [True, False])
def test_every_action_comes_back_once_in_reverse_order(of_input):
    made = plan(lstm())
    back = reverse(made, of_input=of_input)
    assert [each.action for each in back.loop if isinstance(each, Back)] == list(reversed(made.loop))
    # without the input's gradient, nothing needs its product backwards: weight gradients come by themselves
    assert [each.action for each in back.hoisted if isinstance(each, Back)] == (list(made.hoisted) if of_input else [])


def test_masks_and_an_unwanted_input_get_no_gradient():
    steps = (Step(Op.MUL, (0, 2)), Step(Op.LINEAR, (3, 1), ("x", "h")), Step(Op.MUL, (4, 4)))
    graph = CellGraph(("H",), steps, (5,), ("D",))
    targets = [
        [target.span.room if target else None for target in each.targets]
        for wanted in (True, False)
        for part in (of(graph, of_input=wanted).loop, of(graph, of_input=wanted).hoisted)
        for each in part
        if isinstance(each, Back) and isinstance(each.action, Pointwise) and each.action.op is Op.MUL
    ]
    assert [Room.INPUT, None] in targets
    assert [None, None] in targets
    assert all(Room.MASK not in rooms for rooms in targets)


@settings(max_examples=150)
@given(cell_graphs(), st.booleans())
def test_a_gradient_is_started_once_and_added_to_afterwards(graph, of_input):
    made = plan(live(graph))
    back = reverse(made, of_input=of_input)
    started = set()
    for each in (*back.loop, *back.hoisted):
        if isinstance(each, Zero):
            blocks = {(each.span.room, each.span.first + i) for i in range(each.span.count)}
            assert not blocks & started
            started |= blocks
            continue
        own = each.action.into if isinstance(each.action, Product) else each.action.out
        for block in ((own.room, own.first + i) for i in range(own.count)):
            assert own.room in SUMMED or block in started  # what an action passes on has come in before
        for target in each.targets:
            if target is None or target.span == own:
                continue
            blocks = {(target.span.room, target.span.first + i) for i in range(target.span.count)}
            if target.span.room in SUMMED:
                assert not target.fresh
            elif target.fresh:
                assert not blocks & started
                started |= blocks
            else:
                assert blocks <= started
    forward = [each for each in (*made.hoisted, *made.loop) if not isinstance(each, Fill)]
    dropped = len(forward) - sum(isinstance(each, Back) for each in (*back.loop, *back.hoisted))
    inputs = [each for each in forward if isinstance(each, Product) and each.source.room in {Room.INPUT, Room.MASK}]
    assert dropped <= len(inputs)
