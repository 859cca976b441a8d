import pytest
import torch

from nasctl.models.esim import attend, enhance
from nasctl.models.parts import dropout, matched, max_pool, mean_pool, variational_dropout

X = torch.tensor([[[1.0, -2.0], [5.0, 5.0]], [[-3.0, -1.0], [9.0, 9.0]]])  # [T=2, R=2, H=2]
REAL = torch.tensor([[True, True], [True, False]])


def test_max_pooling_sees_real_tokens_only():
    assert max_pool(X, REAL, "masked").tolist() == [[1.0, -1.0], [5.0, 5.0]]
    assert max_pool(-X, REAL, "masked").tolist() == [[3.0, 2.0], [-5.0, -5.0]]
    assert max_pool(-X, REAL, "zeros").tolist() == [[3.0, 2.0], [0.0, 0.0]]  # the historical floor at zero


def test_mean_pooling_divides_by_real_tokens():
    assert mean_pool(X, REAL).tolist() == [[-1.0, -1.5], [5.0, 5.0]]


@pytest.mark.parametrize("pool", [lambda x, real: max_pool(x, real, "masked"), mean_pool])
def test_an_empty_row_pools_to_zero(pool):
    assert pool(X, torch.zeros(2, 2, dtype=torch.bool)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_matched():
    u, v = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])
    assert matched(u, v).tolist() == [[1.0, 2.0, 3.0, -1.0, 2.0, 3.0, 3.0, -2.0]]


def test_dropout_is_a_scaled_mask_from_its_stream():
    x = torch.ones(40, 30, 20)
    one = dropout(x, 0.25, torch.Generator().manual_seed(0))
    assert one.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert one.mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(one, dropout(x, 0.25, torch.Generator().manual_seed(0)))
    assert not torch.equal(one, dropout(x, 0.25, torch.Generator().manual_seed(1)))
    assert dropout(x, 0.25, None) is x
    assert dropout(x, 0.0, torch.Generator()) is x


@pytest.mark.parametrize(("owner", "alike"), [("sentence", False), ("pair", True)])
def test_variational_dropout_has_one_mask_for_all_times_and_another_for_each_sentence_or_pair(owner, alike):
    dropped = variational_dropout(torch.ones(7, 50, 20), 0.5, torch.Generator().manual_seed(0), owner)
    assert all(torch.equal(dropped[0], step) for step in dropped)
    assert dropped.unique().tolist() == [0.0, 2.0]
    first, second = dropped[0].chunk(2)
    assert torch.equal(first, second) == alike
    assert not torch.equal(first[0], first[1])
    pooled = variational_dropout(torch.ones(50, 20), 0.5, torch.Generator().manual_seed(0), owner)
    assert torch.equal(pooled, dropped[0])


def test_attention_by_hand():
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # first sentence: two tokens
    b = torch.tensor([[2.0, 0.0], [100.0, 100.0]])  # second: one token and padding
    y = torch.stack([a, b], 1)  # [T, R, H]
    real = torch.tensor([[True, True], [True, False]])
    seen = attend(y, real)
    assert seen[:, 0].tolist() == [[2.0, 0.0], [2.0, 0.0]]  # only the real token, whatever the padding scores
    weights = torch.softmax(torch.tensor([2.0, 0.0]), 0)
    torch.testing.assert_close(seen[0, 1], weights[0] * a[0] + weights[1] * a[1])


def test_attention_to_an_empty_sentence_is_zero_and_has_gradients():
    y = torch.randn(2, 2, 3, requires_grad=True)
    seen = attend(y, torch.tensor([[True, False], [True, False]]))
    assert (seen[:, 0] == 0).all()
    seen.sum().backward()
    assert torch.isfinite(y.grad).all()


def test_enhancement():
    y, other = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])
    assert enhance(y, other).tolist() == [1.0, 2.0, 3.0, 5.0, -2.0, -3.0, 3.0, 10.0]
