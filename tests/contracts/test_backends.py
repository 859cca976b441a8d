"""What every backend promises: the outputs, final states and gradients of the reference, whatever a batch looks like.

A new op is tested here without a new line: for each row of `Op` a cell is made, and each backend must run it.
"""

import math
from dataclasses import replace

import pytest
import torch
from cases import ODD, RUNS, assert_equal, case, everything, results

from nasctl.cells.graph import Bias, CellGraph, Op, Step
from nasctl.cells.library import LIBRARY
from nasctl.cells.rewrite import live
from nasctl.compiler import operations, plan, reference
from nasctl.compiler.layer import BACKENDS

CPU = torch.device("cpu")
CELLS = {name: LIBRARY[name].graph for name in ("lstm", "gru", "rnn", "enas-1", "enas-24")} | {"odd": ODD}
PLACES = ("loop", "hoisted", "narrow")


def cell_of(op: Op, place: str) -> CellGraph:
    """A cell with this op among values of a time step, of the input alone, or of the input's width."""
    form = op.value
    count = max(form.least, 3) if form.most is None else form.most
    given = {
        "loop": (Step(Op.LINEAR, (0, 1), ("x/1", "h/1"), (Bias("b/1"),)), Step(Op.LINEAR, (1,), ("h/2",))),
        "hoisted": (Step(Op.LINEAR, (0,), ("x/1",), (Bias("b/1"),)), Step(Op.LINEAR, (0,), ("x/2",))),
        "narrow": (Step(Op.SUB, (0, 2)), Step(Op.ADD, (0, 2, 2))),
    }[place]
    args = ((3, 4, 0) if place == "narrow" else (3, 4, 3))[:count] + (4,) * (count - 3)
    keys = tuple(f"w/{i}" for i in range(count)) if op is Op.LINEAR else ()
    acted = Step(op, args, keys, (Bias("b/2"),) if keys else ())
    last = Step(Op.LINEAR, (5, 1), ("last", "h/3"))
    return live(CellGraph(("H", "D"), (*given, acted, last, Step(Op.TANH, (6,))), (7, 0)))


def serving(name):
    """Cells that this backend can run."""
    backend = BACKENDS["planned" if name == "side by side" else name]
    return {key: graph for key, graph in CELLS.items() if backend.why_not(graph, CPU, torch.float64) is None}


PAIRS = [(name, cell) for name in RUNS for cell in serving(name)]
each_backend = pytest.mark.parametrize(("name", "cell"), PAIRS, ids=["-".join(pair) for pair in PAIRS])


def test_every_backend_runs_some_cell_here():
    assert {name for name, _ in PAIRS} == set(RUNS)
    assert set(serving("reference")) == set(serving("planned")) == set(CELLS)


def test_every_table_of_ops_has_a_row_for_every_op():
    assert reference.OPERATIONS.keys() == set(Op)
    by_actions = {Op.LINEAR, Op.ADD, Op.MEAN}  # Product and Sum of a plan
    assert operations.OPERATIONS.keys() == set(Op) - by_actions
    assert set(plan.ACTIVATIONS) <= operations.OPERATIONS.keys()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("op", Op, ids=lambda op: op.label)
@pytest.mark.parametrize("name", ["planned", "side by side"])
def test_each_op_equals_the_reference(name, op, place):
    made = case(cell_of(op, place))
    assert_equal(everything(RUNS[name], made), everything(RUNS["reference"], made), 1e-12)


FORMULAS = {
    Op.LINEAR: lambda *values: sum(values),  # with matrices of 1 and no bias
    Op.ADD: lambda *values: sum(values),
    Op.SUB: lambda a, b: a - b,
    Op.MUL: lambda a, b, c: a * b * c,
    Op.MEAN: lambda a, b, c: (a + b + c) / 3,
    Op.BLEND: lambda z, a, b: z * a + (1 - z) * b,
    Op.TANH: math.tanh,
    Op.SIGMOID: lambda a: 1 / (1 + math.exp(-a)),
    Op.RELU: lambda a: max(a, 0.0),
    Op.LEAKY_RELU: lambda a: max(a, 0.0) + 0.01 * min(a, 0.0),
    Op.IDENTITY: lambda a: a,
}


@pytest.mark.parametrize("values", [(0.3, -1.7, 2.1), (-0.4, 0.6, -3.0)], ids=str)
@pytest.mark.parametrize("op", Op, ids=lambda op: op.label)
def test_each_op_computes_its_formula(op, values):
    """The truth itself, in plain numbers."""
    count = 3 if op.value.most is None else op.value.most
    step = Step(op, (1, 2, 3)[:count], ("w",) * count if op is Op.LINEAR else ())
    graph = CellGraph(("H", "H", "H"), (step,), (4, 1, 2))
    made = case(graph, (1,), widths=(1, 1), directions=1)
    inputs = {"x": made.x, "w 0": torch.ones(1, 1, dtype=torch.float64)}
    inputs |= {f"initial {i}": torch.full((1, 1, 1), value, dtype=torch.float64) for i, value in enumerate(values)}
    y, _ = results(RUNS["reference"], made, inputs)
    assert y.item() == pytest.approx(FORMULAS[op](*values[:count]), abs=1e-12)


@each_backend
def test_it_equals_the_reference_with_every_gradient(name, cell):
    made = case(CELLS[cell])
    assert_equal(everything(RUNS[name], made), everything(RUNS["reference"], made))


@each_backend
@pytest.mark.parametrize(
    ("lengths", "steps"), [((1,), 1), ((0, 0, 2), 2), ((3, 3), 3), ((1, 2), 5)], ids=["one", "empty", "full", "padded"]
)
def test_shapes_of_batches(name, cell, lengths, steps):
    made = case(CELLS[cell], lengths, steps=steps, directions=1)
    assert_equal(everything(RUNS[name], made), everything(RUNS["reference"], made))


@each_backend
def test_what_stands_in_the_padding_reaches_nothing(name, cell):
    made = case(CELLS[cell], (3, 1, 0, 4), steps=6)
    behind = torch.arange(6)[:, None] >= made.lengths
    for garbage in (torch.nan, torch.inf, 1e30):
        x = torch.where(behind[..., None], torch.full_like(made.x, garbage), made.x)
        found, expected = everything(RUNS[name], replace(made, x=x)), everything(RUNS[name], made)
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        assert (found["y"][behind] == 0).all()
        assert (found["gradient of x"][behind] == 0).all()


@each_backend
def test_an_empty_row_gives_zeros_and_its_initial_state(name, cell):
    made = case(CELLS[cell], (2, 0, 3))
    found = everything(RUNS[name], made)
    assert (found["y"][:, 1] == 0).all()
    for i, (state, gradient) in enumerate(zip(made.initial, made.of_finals, strict=True)):
        assert torch.equal(found[f"final {i}"][:, 1], state[:, 1])
        assert torch.equal(found[f"gradient of initial {i}"][:, 1], gradient[:, 1])


@each_backend
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_a_row_alone_equals_the_row_in_any_batch(name, cell, dtype, tolerance):
    made = case(CELLS[cell], (5, 1, 3, 5), steps=7, dtype=dtype)
    whole = everything(RUNS[name], made)
    for row, length in enumerate(made.lengths.tolist()):
        part = slice(row, row + 1)
        alone = everything(
            RUNS[name],
            replace(
                made,
                x=made.x[:length, part],
                lengths=made.lengths[part],
                initial=tuple(state[:, part] for state in made.initial),
                masks=tuple(mask[part] for mask in made.masks),
                of_output=made.of_output[:length, part],
                of_finals=tuple(each[:, part] for each in made.of_finals),
            ),
        )
        for key in ("y", "gradient of x"):
            scale = whole[key].abs().max().item()
            torch.testing.assert_close(alone[key], whole[key][:length, part], rtol=0, atol=tolerance * scale)


@each_backend
def test_the_order_of_rows_changes_only_their_order(name, cell):
    made = case(CELLS[cell], (2, 4, 4, 0, 3))
    order = torch.tensor([4, 2, 0, 3, 1])
    moved = replace(
        made,
        x=made.x[:, order],
        lengths=made.lengths[order],
        initial=tuple(state[:, order] for state in made.initial),
        masks=tuple(mask[order] for mask in made.masks),
        of_output=made.of_output[:, order],
        of_finals=tuple(each[:, order] for each in made.of_finals),
    )
    found, expected = everything(RUNS[name], moved), everything(RUNS[name], made)
    by_row = {key for key in expected if key in {"y", "gradient of x"} or key.startswith(("final", "gradient of init"))}
    expected = {key: value[:, order] if key in by_row else value for key, value in expected.items()}
    assert_equal(found, expected, 1e-12)


@each_backend
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_second_time_gives_the_same_bits(name, cell, dtype):
    made = case(CELLS[cell], dtype=dtype)
    once, again = everything(RUNS[name], made), everything(RUNS[name], made)
    assert {value.dtype for value in once.values()} == {dtype}
    assert all(torch.equal(once[key], again[key]) for key in once)
