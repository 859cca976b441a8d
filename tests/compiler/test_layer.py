import pytest
import torch

from nasctl.compiler.layer import CELLS, RecurrentLayer
from nasctl.compiler.streams import Streams

LENGTHS = torch.tensor([5, 1, 3, 5, 2])


def layer(*, bidirectional: bool = True, rule: str = "common", dtype: torch.dtype = torch.float64) -> RecurrentLayer:
    made = RecurrentLayer("lstm", 3, 4, bidirectional=bidirectional)
    made.initialise(Streams(0, "cpu"), rule)
    return made.to(dtype)


def directions(run: RecurrentLayer) -> list[tuple[str, torch.nn.LSTM]]:
    named = [("onward", run.program.onward), ("backward", run.program.backward)]
    return [(name, lstm) for name, lstm in named if lstm is not None]


def batch(steps: int = 5, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    x = torch.randn(steps, len(LENGTHS), 3, dtype=dtype, generator=torch.Generator().manual_seed(1))
    x[torch.arange(steps)[:, None] >= LENGTHS[None, :]] = torch.nan  # whatever stands in the padding must not matter
    return x


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_a_row_alone_equals_the_row_in_any_batch(dtype, tolerance):
    run, x = layer(dtype=dtype), batch(dtype=dtype)
    y = run(x, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = run(x[:length, row : row + 1], LENGTHS[row : row + 1])
        torch.testing.assert_close(y[:length, row : row + 1], alone, rtol=0, atol=tolerance)
        assert (y[length:, row] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_more_padding_changes_no_bit_and_another_order_only_rounding(dtype):
    run, x = layer(dtype=dtype), batch(dtype=dtype)
    y = run(x, LENGTHS)
    longer = torch.cat([x, torch.full((4, len(LENGTHS), 3), torch.nan, dtype=x.dtype)])
    assert torch.equal(run(longer, LENGTHS)[:5], y)
    assert (run(longer, LENGTHS)[5:] == 0).all()
    order = torch.tensor([3, 1, 4, 0, 2])
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6  # torch's products may round edge rows another way
    torch.testing.assert_close(run(x[:, order], LENGTHS[order]), y[:, order], rtol=0, atol=tolerance)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_it_equals_the_packed_bidirectional_module_of_torch_with_every_gradient(bidirectional):
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    run = layer(bidirectional=bidirectional)
    whole = torch.nn.LSTM(3, 4, bidirectional=bidirectional, dtype=torch.float64)
    with torch.no_grad():
        for direction, lstm in directions(run):
            suffix = "_reverse" if direction == "backward" else ""
            for name, parameter in lstm.named_parameters():
                whole.get_parameter(name + suffix).copy_(parameter)
    x = batch().nan_to_num(0.0).requires_grad_()
    x_whole = x.detach().clone().requires_grad_()
    y = run(x, LENGTHS)
    y_whole, _ = pad_packed_sequence(whole(pack_padded_sequence(x_whole, LENGTHS, enforce_sorted=False))[0])
    torch.testing.assert_close(y, y_whole, rtol=0, atol=1e-12)
    weights = torch.randn_like(y)
    (y * weights).sum().backward()
    (y_whole * weights).sum().backward()
    torch.testing.assert_close(x.grad, x_whole.grad, rtol=0, atol=1e-12)
    for direction, lstm in directions(run):
        for name, parameter in lstm.named_parameters():
            other = whole.get_parameter(name + ("_reverse" if direction == "backward" else ""))
            torch.testing.assert_close(parameter.grad, other.grad, rtol=0, atol=1e-12)


def test_with_states_it_gives_the_same_outputs_and_the_state_behind_each_last_token():
    run, x = layer(), batch().nan_to_num(0.0)
    y, (h, c) = run.with_states(x, LENGTHS)
    torch.testing.assert_close(y, run(x, LENGTHS), rtol=0, atol=1e-12)
    for row, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(h[0, row], y[length - 1, row, :4])
        torch.testing.assert_close(h[1, row], y[0, row, 4:])
        _, (_, c_alone) = run.with_states(x[:length, row : row + 1], LENGTHS[row : row + 1])
        torch.testing.assert_close(c[:, row : row + 1], c_alone, rtol=0, atol=1e-12)


def test_a_row_of_no_token_gives_zeros_and_its_initial_state():
    run = layer()
    x, lengths = torch.randn(3, 2, 3, dtype=torch.float64), torch.tensor([3, 0])
    initial = (torch.randn(2, 2, 4, dtype=torch.float64), torch.randn(2, 2, 4, dtype=torch.float64))
    assert (run(x, lengths)[:, 1] == 0).all()
    for start in (None, initial):
        y, (h, c) = run.with_states(x, lengths, start)
        assert (y[:, 1] == 0).all()
        expected = (torch.zeros(2, 4, dtype=torch.float64),) * 2 if start is None else (start[0][:, 1], start[1][:, 1])
        assert torch.equal(h[:, 1], expected[0])
        assert torch.equal(c[:, 1], expected[1])


def test_two_segments_with_carried_state_equal_the_whole():
    run = layer(bidirectional=False)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    whole, (h, c) = run.with_states(x, torch.tensor([6, 6]))
    head, state = run.with_states(x[:2], torch.tensor([2, 2]))
    tail, (h_tail, c_tail) = run.with_states(x[2:], torch.tensor([4, 4]), state)
    torch.testing.assert_close(torch.cat([head, tail]), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(h_tail, h, rtol=0, atol=1e-12)
    torch.testing.assert_close(c_tail, c, rtol=0, atol=1e-12)


def test_common_initialisation():
    lstm = layer(dtype=torch.float32)
    eye = torch.eye(4)
    for name, parameter in lstm.named_parameters():
        gates = parameter.detach().chunk(4)
        if "weight_hh" in name:
            for gate in gates:
                torch.testing.assert_close(gate @ gate.T, eye)
        if "weight_ih" in name:
            assert max(gate.abs().max() for gate in gates) <= (6 / (3 + 4)) ** 0.5
        if "bias" in name:
            forget = 1.0 if "ih" in name else 0.0
            assert [gate.unique().item() for gate in gates] == [0.0, forget, 0.0, 0.0]


@pytest.mark.parametrize("rule", ["common", "torch"])
def test_weights_come_from_the_seed_alone(rule):
    torch.manual_seed(1)
    one = layer(rule=rule).state_dict()
    torch.manual_seed(2)
    two = layer(rule=rule).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    matrices = [one[name] for name in one if "weight_ih" in name]
    assert not torch.equal(matrices[0], matrices[1])  # each direction has a stream of its own


def test_every_cell_of_the_table_is_built():
    assert all(RecurrentLayer(cell, 2, 3).output_width == 6 for cell in CELLS)
