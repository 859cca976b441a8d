import pytest
import torch
from cases import ODD, RUNS, assert_equal, case, everything, largest, leaves, loss, results
from cells.graphs import cell_graphs, parallel_cells
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasctl.cells.graph import Bias, CellGraph, Op, Step
from nasctl.cells.library import LIBRARY
from nasctl.cells.rewrite import live
from nasctl.compiler import buffers
from nasctl.compiler.plan import Pointwise, plan
from nasctl.errors import UsageError

MODES = ("planned", "side by side")
CELLS = {name: LIBRARY[name].graph for name in ("lstm", "gru", "enas-1", "enas-24")} | {"odd": ODD}
GENERATED = 500
REDRAWN = 20
PARALLEL = 150
LARGEST = 1e6
"""Cells that grow beyond it are no measure of rounding: they are drawn again."""


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """Whatever is lent holds NaN until it is written: nothing may read before, nor write into what another reads."""
    take = buffers.Loan.take

    def taken(self, *shape):
        return take(self, *shape).fill_(torch.nan)

    monkeypatch.setattr(buffers.Loan, "take", taken)


def test_it_equals_the_reference_on_generated_cells():
    compared, redrawn = [], []

    @settings(max_examples=GENERATED + REDRAWN, suppress_health_check=list(HealthCheck), print_blob=False)
    @given(
        graph=cell_graphs(),
        widths=st.sampled_from([(1, 1), (2, 3), (3, 2), (3, 1)]),
        lengths=st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any),
        directions=st.sampled_from([1, 2]),
        padding=st.sampled_from([0, 1]),
        mode=st.sampled_from(MODES),
        seed=st.integers(0, 99),
    )
    def compare(*, graph, widths, lengths, directions, padding, mode, seed):
        steps = max(lengths) + padding
        made = case(live(graph), lengths, widths=widths, steps=steps, directions=directions, seed=seed)
        expected = everything(RUNS["reference"], made)
        if largest(expected) > LARGEST:
            redrawn.append(graph)
            return
        compared.append(graph)
        assert_equal(everything(RUNS[mode], made), expected)

    compare()
    assert len(compared) >= GENERATED
    assert len(redrawn) <= REDRAWN
    used = {step.op for graph in compared for step in live(graph).steps}
    assert used == set(Op)


def test_it_equals_the_reference_where_steps_are_joined_and_share_what_they_read():
    joined: set[tuple[Op, int]] = set()  # op, and how many of what it reads serve several blocks

    @settings(max_examples=PARALLEL, suppress_health_check=list(HealthCheck), print_blob=False)
    @given(graph=parallel_cells(), mode=st.sampled_from(MODES), seed=st.integers(0, 99))
    def compare(*, graph, mode, seed):
        made = case(live(graph), (2, 3), seed=seed)
        assert_equal(everything(RUNS[mode], made), everything(RUNS["reference"], made))
        wide = [each for each in plan(graph).loop if isinstance(each, Pointwise) and each.out.count > 1]
        joined.update((each.op, sum(arg.count == 1 for arg in each.args)) for each in wide)

    compare()
    assert joined >= {(Op.SUB, 1), (Op.MUL, 1), (Op.MUL, 2), (Op.BLEND, 1), (Op.BLEND, 2)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*LIBRARY, "odd"])
def test_it_equals_the_reference_on_every_published_cell(name, mode):
    made = case(ODD if name == "odd" else LIBRARY[name].graph)
    assert_equal(everything(RUNS[mode], made), everything(RUNS["reference"], made))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["lstm", "enas-1", "odd"])
@pytest.mark.parametrize(
    ("widths", "lengths", "steps"),
    [
        ((1, 1), (1,), 1),
        ((3, 1), (0, 1, 0), 1),
        ((1, 3), (4, 4, 4), 4),
        ((63, 3), (2, 0, 7), 9),
        ((3, 63), tuple(row % 4 for row in range(63)), 3),
    ],
    ids=str,
)
def test_it_equals_the_reference_at_odd_shapes(name, widths, lengths, steps, mode):
    made = case(CELLS[name], lengths, widths=widths, steps=steps)
    assert_equal(everything(RUNS[mode], made), everything(RUNS["reference"], made))


@pytest.mark.parametrize("mode", MODES)
def test_equal_steps_and_values_read_twice(mode):
    steps = (
        Step(Op.LINEAR, (0, 1), ("x", "h"), (Bias("b"),)),  # 3
        Step(Op.TANH, (3,)),
        Step(Op.TANH, (3,)),
        Step(Op.SIGMOID, (3,)),
        Step(Op.SUB, (2, 2)),
        Step(Op.MUL, (4, 4, 5)),
        Step(Op.BLEND, (6, 6, 4)),
        Step(Op.LINEAR, (9, 9), ("h", "h")),
        Step(Op.ADD, (1, 2, 2, 8, 10, 7)),
    )
    made = case(CellGraph(("H", "H"), steps, (11, 1)))
    assert_equal(everything(RUNS[mode], made), everything(RUNS["reference"], made))


@pytest.mark.parametrize("name", ["lstm", "gru", "enas-24", "odd"])
@pytest.mark.parametrize("mode", MODES)
def test_gradients_equal_finite_differences(name, mode):
    made = case(CELLS[name], (2, 3, 1), widths=(2, 2), seed=3)
    inputs = leaves(made)

    def function(*tensors):
        y, finals = results(RUNS[mode], made, dict(zip(inputs, tensors, strict=True)))
        return (y, *finals)

    assert torch.autograd.gradcheck(function, tuple(inputs.values()))


@pytest.mark.parametrize("name", CELLS)
def test_batches_in_flight_do_not_disturb_one_another(name):
    first, second = case(CELLS[name], (4, 2, 3)), case(CELLS[name], (1, 5, 0, 2), seed=1)
    expected = [everything(RUNS["reference"], made) for made in (first, second)]
    inputs = [leaves(made) for made in (first, second)]
    losses = [loss(made, *results(RUNS["planned"], made, x)) for made, x in zip((first, second), inputs, strict=True)]
    loss(second, *results(RUNS["planned"], second, inputs[1]))  # its backward pass never comes
    with torch.no_grad():
        results(RUNS["planned"], first, inputs[0])
    for value, wanted, leaf in zip(losses, expected, inputs, strict=True):
        found = torch.autograd.grad(value, list(leaf.values()))
        for name_, gradient in zip(leaf, found, strict=True):
            torch.testing.assert_close(gradient, wanted[f"gradient of {name_}"], rtol=0, atol=1e-10)


def test_a_kept_graph_gives_its_gradients_again_and_a_freed_one_refuses():
    made = case(CELLS["enas-1"])
    inputs = leaves(made)
    value = loss(made, *results(RUNS["planned"], made, inputs))
    once = torch.autograd.grad(value, list(inputs.values()), retain_graph=True)
    everything(RUNS["planned"], case(CELLS["lstm"]))  # takes buffers in between
    twice = torch.autograd.grad(value, list(inputs.values()))
    assert all(map(torch.equal, once, twice))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(value, list(inputs.values()))


def test_a_weight_that_changed_before_the_backward_pass_is_noticed():
    made = case(CELLS["gru"])
    inputs = leaves(made)
    value = loss(made, *results(RUNS["planned"], made, inputs))
    with torch.no_grad():
        inputs["h/reset 0"].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


def test_a_second_derivative_is_refused_instead_of_wrong():
    made = case(LIBRARY["rnn"].graph)
    inputs = leaves(made)
    value = loss(made, *results(RUNS["planned"], made, inputs))
    with pytest.raises(UsageError, match="no second derivative"):
        torch.autograd.grad(value, [inputs["x"]], create_graph=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CELLS)
def test_only_what_asks_for_a_gradient_gets_one(name, mode):
    made = case(CELLS[name])
    expected = everything(RUNS["reference"], made)
    asking = ["x", "initial 0", f"{next(iter(made.graph.weights))} 0", f"{next(iter(made.graph.biases))} 1"]
    for one in asking:
        inputs = {key: tensor.detach().requires_grad_(key == one) for key, tensor in leaves(made).items()}
        loss(made, *results(RUNS[mode], made, inputs)).backward()
        assert [key for key, tensor in inputs.items() if tensor.grad is not None] == [one]
        torch.testing.assert_close(inputs[one].grad, expected[f"gradient of {one}"], rtol=0, atol=1e-10)
    y, finals = results(RUNS[mode], made, {key: tensor.detach() for key, tensor in leaves(made).items()})
    assert not any(each.requires_grad for each in (y, *finals))


@pytest.mark.parametrize("mode", MODES)
def test_outputs_that_nobody_reads_give_no_gradient(mode):
    made = case(CELLS["lstm"])

    def gradients(run, part):
        inputs = leaves(made)
        y, finals = results(run, made, inputs)
        value = {"output": y[:, :, :4].sum(), "cell state": finals[1].pow(2).sum(), "one row": y[0, 1].sum()}[part]
        found = torch.autograd.grad(value, list(inputs.values()), allow_unused=True)
        return {key: torch.zeros_like(inputs[key]) if g is None else g for key, g in zip(inputs, found, strict=True)}

    for part in ("output", "cell state", "one row"):
        assert_equal(gradients(RUNS[mode], part), gradients(RUNS["reference"], part))


def test_a_batch_takes_no_new_memory_that_an_earlier_one_gave_back(monkeypatch):
    made, new = case(CELLS["enas-24"]), []
    empty = torch.empty

    def counted(*args, **kwargs):
        tensor = empty(*args, **kwargs)
        new.extend([tensor] if tensor.numel() else [])
        return tensor

    everything(RUNS["planned"], made)
    everything(RUNS["planned"], made)
    monkeypatch.setattr(buffers.torch, "empty", counted)
    everything(RUNS["planned"], made)
    with torch.no_grad():
        results(RUNS["planned"], made, leaves(made))
    assert new == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CELLS)
def test_bf16_products_stay_near_and_states_keep_their_type(name, mode):
    made = case(CELLS[name], (9, 4, 12, 7), widths=(48, 64), dtype=torch.float32)
    inputs = leaves(made)
    exact, _ = results(RUNS[mode], made, inputs)
    y, finals = results(RUNS[mode], made, inputs, operands=torch.bfloat16)
    truth, _ = results(RUNS["reference"], made, inputs, operands=torch.bfloat16)
    assert {each.dtype for each in (y, *finals)} == {torch.float32}
    assert not torch.equal(y, exact)
    for other in (exact, truth):
        assert (y - other).abs().max() <= 2e-2 * (1 + exact.abs().max())
    loss(made, y, finals).backward()
    assert {tensor.grad.dtype for tensor in inputs.values()} == {torch.float32}
    assert all(tensor.grad.isfinite().all() for tensor in inputs.values())
