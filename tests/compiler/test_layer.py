import itertools

import pytest
import torch
from cases import ODD, RUNS, case, results

from nasctl.cells.graph import Bias, CellGraph, Op, Step
from nasctl.cells.library import LIBRARY, lstm
from nasctl.cells.rewrite import canonical
from nasctl.compiler.layer import BACKENDS, FASTEST, RecurrentLayer, serving
from nasctl.compiler.streams import Streams
from nasctl.errors import UsageError

CPU = torch.device("cpu")
LENGTHS = torch.tensor([5, 1, 3, 5, 2])


def layer_of(graph, widths=(3, 4), *, dtype=torch.float64, rule="common", seed=0, **settings):
    made = RecurrentLayer(graph, *widths, **settings).to(dtype)
    made.initialise(Streams(seed, "cpu"), rule)
    return made


def normal(*shape, dtype=torch.float64, seed=1):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


# --- parameters ---


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "enas-1", "enas-24"])
def test_the_parameters_are_those_of_the_cell_in_each_direction(name):
    graph = LIBRARY[name].graph
    made = RecurrentLayer(graph, 5, 7)
    assert set(made.onward) == set(made.backward) == {*graph.weights, *graph.biases}
    assert sum(each.numel() for each in made.parameters()) == 2 * graph.parameters(5, 7)
    assert sum(each.numel() for each in RecurrentLayer(graph, 5, 7, bidirectional=False).parameters()) == (
        graph.parameters(5, 7)
    )


@pytest.mark.parametrize(("name", "count"), [("enas-24", 1_260_600), ("lstm", 722_400)])
def test_the_formulas_of_the_paper_at_width_300(name, count):
    with torch.device("meta"):
        made = RecurrentLayer(LIBRARY[name].graph, 300, 300, bidirectional=False)
    assert sum(each.numel() for each in made.parameters()) == count


def test_what_never_reaches_the_output_has_no_parameters_states_or_masks():
    steps = (
        Step(Op.LINEAR, (0, 1), ("x", "h"), (Bias("b"),)),  # 5
        Step(Op.LINEAR, (5, 2), ("dead", "dead too"), (Bias("dead b"),)),  # 6
        Step(Op.MUL, (5, 4)),  # 7
        Step(Op.TANH, (7,)),  # 8
    )
    made = RecurrentLayer(CellGraph(("H", "H"), steps, (8, 6), ("H", "H")), 3, 4)
    assert set(made.onward) == {"x", "h", "b"}
    assert (made.cell.states, made.cell.masks) == (("H",), ("H",))
    for backend in ("planned", "reference"):
        made.backend = backend
        y, finals = made.with_states(
            normal(2, 3, 3, dtype=torch.float32), torch.tensor([2, 1, 0]), None, [torch.ones(3, 4)]
        )
        assert (y.shape, len(finals)) == ((2, 3, 8), 1)


@pytest.mark.parametrize("backend", ["planned", "reference"])
def test_what_a_loss_does_not_reach_keeps_no_gradient(backend):
    made = layer_of(LIBRARY["enas-1"].graph, backend=backend)
    x = normal(4, 2, 3)
    made.onward["x-0/gate"].requires_grad_(False)
    made(x, torch.tensor([4, 2])).sum().backward()
    assert made.onward["x-0/gate"].grad is None
    assert all(each.grad is not None for key, each in made.backward.items())


# --- initial values ---


def test_common_initialisation():
    made = layer_of(lstm(), (6, 5))
    bound = (6 / (5 + 6)) ** 0.5
    for side in (made.onward, made.backward):
        for key, parameter in side.items():
            value = parameter.detach()
            if key.startswith("h/"):
                torch.testing.assert_close(value @ value.T, torch.eye(5, dtype=torch.float64))
            elif key.startswith("x/"):
                assert 0 < value.abs().max() <= bound
            else:
                assert value.unique().tolist() == [1.0 if key == "forget/1" else 0.0]


def test_every_square_matrix_of_a_searched_cell_is_orthogonal_and_no_two_are_equal():
    made = layer_of(LIBRARY["enas-8"].graph, (6, 5))
    squares = [each.detach() for key, each in made.onward.items() if made.cell.weights.get(key) == "H"]
    assert len(squares) == 12
    assert len({tuple(each.flatten().tolist()) for each in squares}) == 12
    for value in squares:
        torch.testing.assert_close(value @ value.T, torch.eye(5, dtype=torch.float64))


@pytest.mark.parametrize("rule", ["common", "torch"])
def test_weights_come_from_the_seed_alone(rule):
    def weights(seed, draws):
        torch.manual_seed(draws)
        return layer_of(LIBRARY["gru"].graph, rule=rule, seed=seed).state_dict()

    one, again, other = weights(0, 1), weights(0, 2), weights(1, 1)
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["onward.x/reset"], other["onward.x/reset"])
    assert not torch.equal(one["onward.x/reset"], one["backward.x/reset"])
    assert not torch.equal(one["onward.x/reset"], one["onward.x/update"])


def test_torch_initialisation_is_uniform_within_its_bound():
    made = layer_of(lstm(), (6, 16), rule="torch")
    values = torch.cat([each.detach().flatten() for each in made.parameters()])
    assert values.abs().max() <= 0.25
    assert values.abs().mean() == pytest.approx(0.125, rel=0.05)


def test_one_cell_written_in_two_ways_starts_and_computes_bit_by_bit_alike():
    one = CellGraph(
        ("H",),
        (
            Step(Op.LINEAR, (0, 1), ("in", "own"), (Bias("gate bias", 1.0),)),  # 2
            Step(Op.LINEAR, (0, 1), ("in 2", "own 2"), (Bias("b"),)),  # 3
            Step(Op.SIGMOID, (2,)),  # 4
            Step(Op.TANH, (3,)),  # 5
            Step(Op.BLEND, (4, 5, 1)),  # 6
        ),
        (6,),
    )
    other = CellGraph(
        ("H",),
        (
            Step(Op.LINEAR, (1, 0), ("a", "z"), (Bias("q"),)),  # 2: what was 3
            Step(Op.TANH, (2,)),  # 3
            Step(Op.LINEAR, (0, 1), ("in", "c"), (Bias("k", 1.0),)),  # 4: what was 2
            Step(Op.SIGMOID, (4,)),  # 5
            Step(Op.LINEAR, (1,), ("dead",)),  # 6
            Step(Op.BLEND, (5, 3, 1)),  # 7
        ),
        (7,),
    )
    first, second = (layer_of(canonical(graph), dtype=torch.float32) for graph in (one, other))
    mine, theirs = first.state_dict(), second.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    x = normal(5, 5, 3, dtype=torch.float32)
    assert torch.equal(first(x, LENGTHS), second(x, LENGTHS))


# --- which backend ---


def test_auto_takes_the_fastest_that_can():
    assert serving("auto", lstm(), torch.device("cuda"), torch.float32) == "torch"
    assert serving("auto", LIBRARY["enas-1"].graph, torch.device("cuda"), torch.float32) == "planned"
    assert layer_of(lstm()).served_by(CPU) == "planned"
    assert layer_of(LIBRARY["enas-1"].graph).served_by(CPU) == "planned"
    assert layer_of(lstm(), precision="bf16").served_by(CPU) == "planned"
    assert layer_of(lstm(), backend="reference").served_by(CPU) == "reference"


def test_a_backend_that_cannot_serve_says_why_and_a_misspelt_one_is_named():
    made = RecurrentLayer(LIBRARY["enas-1"].graph, 3, 4, backend="torch")
    with pytest.raises(UsageError, match=r"backend=torch cannot run this cell: .* LSTM, GRU"):
        made(torch.zeros(2, 1, 3), torch.tensor([2]))
    with pytest.raises(UsageError, match="no backend 'plan'"):
        serving("plan", lstm(), CPU, torch.float32)
    assert all(BACKENDS[names[-1]].why_not(ODD, CPU, torch.bfloat16) is None for names in FASTEST.values())


# --- what comes out ---


@pytest.mark.parametrize("backend", ["torch", "planned", "reference"])
def test_nothing_to_read_gives_zeros_and_the_initial_states(backend):
    made = layer_of(lstm(), backend=backend)
    states = (normal(2, 2, 4), normal(2, 2, 4))
    for steps in (0, 3):
        y, finals = made.with_states(normal(steps, 2, 3), torch.tensor([0, 0]), states)
        assert (y.shape, (y == 0).all().item()) == ((steps, 2, 8), True)
        assert all(map(torch.equal, finals, states))
        assert (made(normal(steps, 2, 3), torch.tensor([0, 0])) == 0).all()


@pytest.mark.parametrize("backend", ["torch", "planned"])
def test_forward_and_with_states_give_the_same_outputs_from_zero(backend):
    made, x = layer_of(lstm(), backend=backend), normal(6, 5, 3)
    zero = tuple(torch.zeros(2, 5, 4, dtype=torch.float64) for _ in range(2))
    y = made(x, LENGTHS)
    for initial in (None, zero):
        torch.testing.assert_close(made.with_states(x, LENGTHS, initial)[0], y, rtol=0, atol=1e-12)


def test_both_directions_mirror_each_other():
    made = layer_of(LIBRARY["enas-24"].graph)
    x = normal(6, 5, 3)
    y = made(x, LENGTHS)
    made.onward, made.backward = made.backward, made.onward
    back = torch.stack([torch.cat([x[:n, b].flip(0), x[n:, b]]) for b, n in enumerate(LENGTHS.tolist())], 1)
    mirrored = made(back, LENGTHS)
    for b, n in enumerate(LENGTHS.tolist()):
        expected = torch.cat([y[:n, b, 4:], y[:n, b, :4]], -1).flip(0)
        torch.testing.assert_close(mirrored[:n, b], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["planned", "reference"])
def test_masks_act_at_every_step_of_their_row(backend):
    made = case(ODD)
    layer = RecurrentLayer(ODD, 3, 4, backend=backend).double()
    with torch.no_grad():
        for side, weights in zip((layer.onward, layer.backward), made.weights, strict=True):
            for key, value in weights.items():
                side[key].copy_(value)
    inputs = {"x": made.x, **{f"initial {i}": torch.zeros_like(state) for i, state in enumerate(made.initial)}}
    inputs |= {f"{key} {side}": value for side, weights in enumerate(made.weights) for key, value in weights.items()}
    y, finals = results(RUNS["reference"], made, inputs)
    found, ends = layer.with_states(made.x, made.lengths, None, made.masks)
    torch.testing.assert_close(found, y, rtol=0, atol=1e-12)
    for ours, theirs in zip(ends, finals, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert not torch.equal(layer(made.x, made.lengths, [torch.ones_like(mask) for mask in made.masks]), found)


@pytest.mark.parametrize("backend", ["planned", "reference"])
@pytest.mark.parametrize("given", [0, 1, 3])
def test_a_mask_too_few_or_too_many_is_refused(backend, given):
    layer = RecurrentLayer(ODD, 3, 4, backend=backend)
    masks = [torch.ones(2, 4)] * given
    for lengths in (torch.tensor([2, 1]), torch.tensor([0, 0])):
        with pytest.raises(UsageError, match=rf"the cell has 2 masks, and {given} are given"):
            layer(torch.zeros(2, 2, 3), lengths, masks)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("width", [1, 2])
def test_how_the_input_lies_in_memory_changes_no_bit(width, dtype):
    made = layer_of(LIBRARY["rnn"].graph, (width, 4), dtype=dtype, backend="planned")
    x = normal(5, 5, width, dtype=dtype)
    for axes in itertools.permutations(range(3)):
        moved = x.permute(axes).clone(memory_format=torch.contiguous_format)
        assert torch.equal(made(moved.permute([axes.index(axis) for axis in range(3)]), LENGTHS), made(x, LENGTHS))


@pytest.mark.parametrize("widths", [(1, 1), (3, 1), (1, 63), (63, 3)])
@pytest.mark.parametrize("name", ["lstm", "gru", "enas-1"])
def test_odd_widths(name, widths):
    found = {}
    for backend in ("auto", "planned", "reference"):
        made = layer_of(LIBRARY[name].graph, widths, backend=backend)
        found[backend] = made(normal(6, 5, widths[0]), LENGTHS)
    for y in found.values():
        torch.testing.assert_close(y, found["reference"], rtol=0, atol=1e-12)


def test_bf16_reads_products_in_bf16_and_keeps_states_in_fp32():
    for name in ("lstm", "gru", "enas-8", "enas-24"):
        exact = layer_of(LIBRARY[name].graph, (64, 96), dtype=torch.float32)
        short = layer_of(LIBRARY[name].graph, (64, 96), dtype=torch.float32, precision="bf16")
        x = normal(12, 5, 64, dtype=torch.float32)
        y, finals = short.with_states(x, LENGTHS)
        assert {each.dtype for each in (y, *finals)} == {torch.float32}
        difference = (y - exact(x, LENGTHS)).abs().max()
        assert 0 < difference <= 2e-2


# --- bit by bit ---


def batch(graph, widths, *, rows=64, steps=12, seed=0):
    """A layer in fp32 with a batch of realistic size, and the gradient that comes back."""
    made = layer_of(graph, widths, dtype=torch.float32, backend="planned")
    lengths = torch.randint(1, steps + 1, (rows,), generator=torch.Generator().manual_seed(seed))
    x = normal(steps, rows, widths[0], dtype=torch.float32)
    return made, x, lengths, normal(steps, rows, 2 * widths[1], dtype=torch.float32, seed=2)


def trained(made, x, lengths, of_output):
    x = x.clone().requires_grad_()
    made.zero_grad()
    y = made(x, lengths)
    y.backward(of_output)
    return y.detach(), x.grad, [each.grad for each in made.parameters()]


@pytest.mark.parametrize("widths", [(300, 150), (300, 63), (7, 3)])
@pytest.mark.parametrize("name", ["lstm", "enas-1", "enas-24"])
def test_again_and_with_more_padding_every_bit_is_the_same(name, widths):
    made, x, lengths, of_output = batch(LIBRARY[name].graph, widths)
    y, of_x, of_weights = trained(made, x, lengths, of_output)
    again = trained(made, x, lengths, of_output)
    garbage = torch.full((5, *x.shape[1:]), torch.nan)
    padded = trained(
        made, torch.cat([x, garbage]), lengths, torch.cat([of_output, normal(5, *of_output.shape[1:], dtype=y.dtype)])
    )
    assert (padded[0][len(x) :] == 0).all()
    assert (padded[1][len(x) :] == 0).all()
    for other in (again, padded):
        assert torch.equal(other[0][: len(x)], y)
        assert torch.equal(other[1][: len(x)], of_x)
        assert all(map(torch.equal, other[2], of_weights))


@pytest.mark.parametrize("rows", [64, 63])
@pytest.mark.parametrize("widths", [(300, 150), (300, 63), (7, 3)])
@pytest.mark.parametrize("name", ["lstm", "enas-1", "enas-24"])
def test_rows_in_another_order_are_the_same_bits(name, widths, rows):
    made, x, lengths, of_output = batch(LIBRARY[name].graph, widths, rows=rows)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(3))
    y, of_x, of_weights = trained(made, x, lengths, of_output)
    again = trained(made, x[:, order], lengths[order], of_output[:, order])
    assert torch.equal(again[0], y[:, order])
    assert torch.equal(again[1], of_x[:, order])
    assert all(map(torch.equal, again[2], of_weights))


def test_rows_that_differ_in_their_initial_states_alone_are_the_same_bits_in_another_order():
    made, x, _, _ = batch(lstm(), (300, 63), rows=33)
    x, lengths = x[:, :1].expand(-1, 33, -1).contiguous(), torch.full((33,), len(x))
    order = torch.randperm(33, generator=torch.Generator().manual_seed(3))
    initial = tuple(normal(2, 33, 63, dtype=torch.float32, seed=seed) for seed in (4, 5))
    y, finals = made.with_states(x, lengths, initial)
    permuted, ends = made.with_states(x, lengths, tuple(state[:, order] for state in initial))
    assert torch.equal(permuted, y[:, order])
    assert all(torch.equal(end, final[:, order]) for end, final in zip(ends, finals, strict=True))
