import pytest
from cells.graphs import cell_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from nasctl.cells.graph import CellGraph, Op, Step
from nasctl.cells.library import lstm
from nasctl.cells.rewrite import live
from nasctl.compiler.plan import Fill, Product, Room, plan
from nasctl.compiler.reverse import SUMMED, Back, Zero, reverse


def of(graph, *, of_input=True):
    return reverse(plan(graph), of_input=of_input)


def sources(action):
    return (action.source,) if isinstance(action, Product) else action.args


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

    def rooms(*, of_input):
        back = of(graph, of_input=of_input)
        each = [each for each in (*back.loop, *back.hoisted) if isinstance(each, Back)]
        return [[target and target.span.room for target in one.targets] for one in each]

    assert [Room.INPUT, None] in rooms(of_input=True)  # x times its mask
    assert not {Room.INPUT, Room.MASK} & {room for targets in rooms(of_input=False) for room in targets}


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
    unwanted = {Room.MASK} if of_input else {Room.MASK, Room.INPUT}
    for forward, backward in ((made.loop, back.loop), (made.hoisted, back.hoisted)):
        acting = [each for each in reversed(forward) if not isinstance(each, Fill)]
        wanted = [each for each in acting if {span.room for span in sources(each)} - unwanted]
        assert [each.action for each in backward if isinstance(each, Back)] == wanted
