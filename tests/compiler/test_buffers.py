import pytest
import torch

from nasctl.cells.library import LIBRARY
from nasctl.compiler import buffers
from nasctl.compiler.buffers import Loan, free_buffers
from nasctl.compiler.layer import RecurrentLayer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_free(monkeypatch):
    monkeypatch.setattr(buffers, "_free", {})


def loan(dtype=torch.float32):
    return Loan(dtype, CPU)


def test_what_is_given_back_is_lent_again():
    one = loan()
    first = one.take(20, 30)
    place = first.data_ptr()
    one.end()
    assert loan().take(30, 20).data_ptr() == place


def test_two_things_in_use_never_overlap():
    one, other = loan(), loan()
    taken = [one.take(10, 10), other.take(10, 10), one.take(5, 5), other.take(100)]
    for number, tensor in enumerate(taken):
        tensor.fill_(number)
    assert [tensor.unique().tolist() for tensor in taken] == [[0], [1], [2], [3]]


def test_a_loan_that_nobody_holds_ends_by_itself():
    one = loan()
    one.take(50)
    assert len(free_buffers()) == 0
    del one
    assert [flat.numel() for flat in free_buffers()] == [56]


def test_ending_twice_gives_back_once():
    one = loan()
    one.take(8)
    one.end()
    one.end()
    assert len(free_buffers()) == 1


def test_each_type_has_its_own():
    one = loan()
    one.take(16)
    one.end()
    other = loan(torch.float64)
    assert other.take(16).dtype == torch.float64
    assert [flat.dtype for flat in free_buffers()] == [torch.float32]


def test_sizes_are_rounded_up_so_that_similar_batches_share():
    one = loan()
    for size in (40_000, 9_000):
        one.take(size)
    one.end()
    assert [flat.numel() for flat in free_buffers()] == [40_960, 10_240]
    later = loan()
    later.take(9_500)
    assert [flat.numel() for flat in free_buffers()] == [40_960]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 1023, 1025, 9_999_999])
def test_rounding_adds_a_quarter_at_most(size):
    one = loan()
    one.take(size)
    one.end()
    (flat,) = free_buffers()
    assert size <= flat.numel() <= 1.25 * size


def test_only_so_much_is_kept_and_the_latest_of_it(monkeypatch):
    monkeypatch.setattr(buffers, "MOST_FREE", 100)
    for size in (40, 30, 20, 50):
        one = loan()
        one.take(size)
        one.end()
    assert [flat.numel() for flat in free_buffers()] == [20, 56]


def test_zeros_are_zeros_in_a_used_buffer():
    one = loan()
    one.take(9).fill_(torch.nan)
    one.end()
    assert (loan().zeros(3, 3) == 0).all()


def test_what_inference_leaves_serves_a_training():
    layer, x, lengths = RecurrentLayer(LIBRARY["gru"].graph, 3, 5), torch.ones(4, 2, 3), torch.tensor([4, 2])
    with torch.inference_mode():
        layer(x, lengths)
    assert free_buffers()
    layer(x, lengths).sum().backward()
    assert layer.onward["candidate/1"].grad.isfinite().all()


def test_nothing_is_lent_for_no_rows():
    one = loan()
    assert one.take(0, 5).shape == (0, 5)
    one.end()
    assert len(free_buffers()) == 0
