"""What a CellGraph accepts, what it says of what it does not, and what it knows of itself."""

import pickle

import pytest

from nasctl.cells.graph import MOST_STEPS, OPS, Bias, CellGraph, Op, Step, op_named
from nasctl.cells.library import gru, lstm, rnn
from nasctl.errors import UsageError

LINEAR = Step(Op.LINEAR, (0, 1), ("wx", "wh"), (Bias("b"),))  # v2 of a cell with one state
TANH = Step(Op.TANH, (2,))  # v3


def cell(*steps, states=("H",), becomes=None, masks=()):
    """The cell of these steps, the last of which is the next state."""
    last = len(states) + len(masks) + len(steps)
    return CellGraph(states, steps, (last,) if becomes is None else becomes, masks)


def complaint(build):
    with pytest.raises(UsageError) as caught:
        build()
    return f"{caught.value} | {caught.value.hint}"


WRONG = {
    "no state": (lambda: cell(LINEAR, states=()), "a cell without a state", "one state at least"),
    "a later value": (
        lambda: cell(Step(Op.LINEAR, (0, 3), ("a", "b")), TANH),
        "step v2 (linear) reads value 3",
        "0 to 1 here",
    ),
    "itself": (lambda: cell(LINEAR, Step(Op.ADD, (2, 3))), "step v3 (add) reads value 3", "0 to 2 here"),
    "a negative value": (lambda: cell(LINEAR, Step(Op.TANH, (-1,))), "step v3 (tanh) reads value -1", "0 to 2 here"),
    "nothing": (lambda: cell(Step(Op.LINEAR, ())), "step v2 (linear) reads 0 values", "it needs 1 or more: W1·a1"),
    "an empty sum": (lambda: cell(LINEAR, Step(Op.ADD, ())), "step v3 (add) reads 0 values", "1 or more: a1 + a2"),
    "too few": (
        lambda: cell(LINEAR, Step(Op.BLEND, (2, 1))),
        "step v3 (blend) reads 2 values",
        "it needs 3: z·a + (1 - z)·b",
    ),
    "too many": (lambda: cell(LINEAR, Step(Op.TANH, (2, 1))), "step v3 (tanh) reads 2 values", "it needs 1: tanh(a)"),
    "half a difference": (
        lambda: cell(LINEAR, Step(Op.SUB, (2,))),
        "step v3 (sub) reads 1 values",
        "it needs 2: a - b",
    ),
    "a matrix short": (
        lambda: cell(Step(Op.LINEAR, (0, 1), ("a",))),
        "step v2 (linear) has 1 weight keys for 2 values",
        "one key per value",
    ),
    "a matrix long": (
        lambda: cell(Step(Op.LINEAR, (0,), ("a", "b"))),
        "step v2 (linear) has 2 weight keys for 1 values",
        "one key per value",
    ),
    "a weighted sum": (
        lambda: cell(LINEAR, Step(Op.ADD, (2,), ("w",))),
        "step v3 (add) has weights or biases",
        "only linear steps",
    ),
    "a biased tanh": (
        lambda: cell(LINEAR, Step(Op.TANH, (2,), (), (Bias("c"),))),
        "step v3 (tanh) has weights or biases",
        "only linear steps",
    ),
    "two widths": (
        lambda: cell(LINEAR, Step(Op.MUL, (0, 2))),
        "step v3 (mul) reads values of two widths (x: D, v2: H)",
        "a linear step makes width H of D",
    ),
    "a blend of widths": (lambda: cell(LINEAR, Step(Op.BLEND, (2, 0, 1))), "(v2: H, x: D, h1: H)", "width H of D"),
    "a masked state": (lambda: cell(Step(Op.MUL, (1, 2)), masks=("D",)), "(h1: H, m1: D)", "width H of D"),
    "a state forgotten": (
        lambda: cell(LINEAR, states=("H", "H"), becomes=(3,)),
        "has 2 states and updates 1",
        "update each state once",
    ),
    "a state too many": (lambda: cell(LINEAR, becomes=(2, 2)), "has 1 states and updates 2", "update each state once"),
    "a constant state": (lambda: cell(LINEAR, becomes=(1,)), "state h1 is never updated", "leave it away"),
    "a second constant": (
        lambda: cell(LINEAR, states=("H", "H"), becomes=(3, 2)),
        "state h2 is never updated",
        "leave it away",
    ),
    "no such value": (lambda: cell(LINEAR, becomes=(3,)), "state h1 becomes value 3", "there are values 0 to 2"),
    "a state below": (lambda: cell(LINEAR, becomes=(-1,)), "state h1 becomes value -1", "there are values 0 to 2"),
    "a wider state": (
        lambda: cell(LINEAR, becomes=(0,)),
        "state h1 of width H becomes x of width D",
        "a state keeps its width",
    ),
    "a delay of h": (
        lambda: cell(LINEAR, states=("H", "D"), becomes=(3, 3)),
        "state h2 of width D becomes v3 of width H",
        "delays the input",
    ),
    "an output like x": (
        lambda: cell(states=("D", "H"), becomes=(0, 1)),
        "state h2 of width H becomes h1 of width D",
        "",
    ),
    "a wide output": (
        lambda: cell(states=("D",), becomes=(0,)),
        "the first state has width D",
        "is the cell's output and has width H",
    ),
    "a key on two widths": (
        lambda: cell(Step(Op.LINEAR, (0, 1), ("w", "w"))),
        "step v2 uses weight 'w' on another width",
        "another key",
    ),
    "a key on two widths later": (
        lambda: cell(LINEAR, Step(Op.LINEAR, (2,), ("wx",))),
        "step v3 uses weight 'wx' on another width",
        "another key",
    ),
    "a bias with two starts": (
        lambda: cell(LINEAR, Step(Op.LINEAR, (2,), ("w",), (Bias("b", 1.0),))),
        "step v3 starts bias 'b' at another value",
        "another key",
    ),
    "a bias that is infinite": (
        lambda: cell(Step(Op.LINEAR, (1,), ("w",), (Bias("b", float("inf")),))),
        "step v2 starts bias 'b' at inf",
        "a finite number",
    ),
    "a bias that is no number": (
        lambda: cell(Step(Op.LINEAR, (1,), ("w",), (Bias("b", float("nan")),))),
        "step v2 starts bias 'b' at nan",
        "a finite number",
    ),
    "one key for both": (
        lambda: cell(Step(Op.LINEAR, (1,), ("k",), (Bias("k"),))),
        "'k' is a weight and a bias",
        "a key of its own",
    ),
    "far too long": (
        lambda: cell(LINEAR, *[TANH] * MOST_STEPS),
        f"a cell of {MOST_STEPS + 1} steps",
        f"at most {MOST_STEPS}",
    ),
}


@pytest.mark.parametrize(("build", "message", "hint"), WRONG.values(), ids=WRONG)
def test_what_is_no_cell_is_refused_and_the_step_named(build, message, hint):
    text, _, advice = complaint(build).partition(" | ")
    assert message in text
    assert hint in advice
    assert advice


@pytest.mark.parametrize(
    ("asked", "hint"), [("tahn", "did you mean tanh?"), ("softmax", "known: add, blend, identity")]
)
def test_an_op_that_there_is_not(asked, hint):
    with pytest.raises(UsageError, match=f"there is no op '{asked}'") as caught:
        op_named(asked)
    assert hint in caught.value.hint


def test_every_op_is_found_by_its_label():
    assert all(op_named(op.label) is op for op in Op)
    assert list(OPS) == [op.label for op in Op]
    assert len(OPS) == 11, "a row with the name or the form of another would be its alias"


def test_what_commutes():
    assert {op for op in Op if op.commutes} == {Op.LINEAR, Op.ADD, Op.MUL, Op.MEAN}


def test_values_are_numbered_input_states_masks_steps():
    graph = cell(
        Step(Op.LINEAR, (0, 3), ("a", "b")),
        Step(Op.MUL, (1, 4)),
        Step(Op.ADD, (5, 6)),
        states=("H", "D"),
        becomes=(7, 0),
        masks=("D", "H"),
    )
    assert graph.first_step == 5
    assert [graph.value_name(value) for value in range(8)] == ["x", "h1", "h2", "m1", "m2", "v5", "v6", "v7"]
    assert graph.widths == ("D", "H", "D", "D", "H", "H", "H", "H")
    assert [graph.step(value) for value in range(8)] == [None] * 5 + list(graph.steps)


def test_a_step_without_weights_has_the_width_of_what_it_reads():
    graph = cell(Step(Op.TANH, (0,)), Step(Op.LINEAR, (2, 1), ("a", "b")))
    assert graph.widths == ("D", "H", "D", "H")
    assert dict(graph.weights) == {"a": "D", "b": "H"}


def test_keys_stand_in_order_of_first_use_once_each():
    graph = cell(
        LINEAR,
        Step(Op.LINEAR, (2, 1, 2), ("wh", "z", "wh"), (Bias("c", 1.0), Bias("b"))),
    )
    assert list(graph.weights.items()) == [("wx", "D"), ("wh", "H"), ("z", "H")]
    assert list(graph.biases.items()) == [("b", 0.0), ("c", 1.0)]


def test_parameters_are_counted_by_key():
    d, h = 5, 3
    assert lstm().parameters(d, h) == 4 * ((d + h) * h + 2 * h)
    assert gru().parameters(d, h) == 3 * ((d + h) * h + 2 * h)
    assert rnn().parameters(d, h) == (d + h) * h + 2 * h
    shared = cell(LINEAR, Step(Op.LINEAR, (2,), ("wh",), (Bias("b"),)))
    assert shared.parameters(d, h) == (d + h) * h + h, "a key that is used twice is one matrix"


def test_a_graph_is_a_value():
    assert lstm() == lstm()
    assert hash(lstm()) == hash(lstm())
    assert lstm() != gru()
    graph = gru()
    assert graph.widths, "computed, then pickled"
    assert pickle.loads(pickle.dumps(graph)) == graph


def test_dead_steps_unread_states_and_single_sums_are_allowed():
    cell(LINEAR, TANH, Step(Op.MUL, (2, 3)), becomes=(3,))
    cell(LINEAR, Step(Op.MEAN, (2,)), states=("H",))
    cell(Step(Op.LINEAR, (0,), ("w",)))
    cell(Step(Op.LINEAR, (0, 2), ("a", "b")), states=("H", "D"), becomes=(3, 0))
