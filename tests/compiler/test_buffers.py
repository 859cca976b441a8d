import pytest
import torch

from nasctl.compiler import buffers
from nasctl.compiler.buffers import MOST_FREE, Loan, free_buffers

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
    assert [flat.numel() for flat in free_buffers()] == [50]


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


def test_the_smallest_that_fits_is_taken_and_a_far_larger_one_is_left():
    one = loan()
    for size in (40_000, 9_000, 10_000):
        one.take(size)
    one.end()
    later = loan()
    later.take(9_500)
    assert sorted(flat.numel() for flat in free_buffers()) == [9_000, 40_000]
    later.take(10)
    assert sorted(flat.numel() for flat in free_buffers()) == [9_000, 40_000]


def test_only_so_many_are_kept_and_the_latest_of_them():
    large = loan()
    for _ in range(MOST_FREE):
        large.take(1_000_000)
    large.end()
    many = loan()
    for size in range(1, MOST_FREE + 4):
        many.take(size)
    many.end()
    assert [flat.numel() for flat in free_buffers()] == list(range(4, MOST_FREE + 4))


def test_zeros_are_zeros_in_a_used_buffer():
    one = loan()
    one.take(9).fill_(torch.nan)
    one.end()
    assert (loan().zeros(3, 3) == 0).all()


def test_nothing_is_lent_for_no_rows():
    one = loan()
    assert one.take(0, 5).shape == (0, 5)
    one.end()
    assert len(free_buffers()) == 0
