"""Rows of features as vectors: the mix at its start, its gradients, and the padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasctl.models import mixing
from nasctl.models.mixing import FeatureLookup, ScalarMix, fits, on_device
from nasctl.models.parts import PairBatch
from nasctl.training.adam import grouped

ROWS = np.random.default_rng(0).normal(size=(9, 4, 3)).astype(np.float16)
ROWS[0] = 0
TOKENS = torch.tensor([[3, 8], [1, 0], [7, 0]])
BATCH = PairBatch(TOKENS, torch.tensor([3, 1]))


def device_rows(on_device: bool):
    return torch.from_numpy(ROWS.copy()) if on_device else ROWS


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("mix", [(1, 2, 3), (0, 1, 2, 3), (0,), (0, 2, 3)])
def test_at_its_start_the_mix_is_the_mean_of_its_layers(mix, on_device):
    lookup = FeatureLookup(device_rows(on_device), mix)
    expected = ROWS.astype(np.float32)[:, list(mix)].mean(1)[TOKENS.numpy()]
    assert lookup.width == 3
    np.testing.assert_allclose(lookup(BATCH).detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("on_device", [False, True])
def test_padding_is_zero_and_the_mix_is_softmax_times_gain(on_device):
    lookup = FeatureLookup(device_rows(on_device), (1, 2, 3))
    with torch.no_grad():
        lookup.mix.weights.copy_(torch.tensor([0.5, -1.0, 2.0]))
        lookup.mix.gain.fill_(3.0)
    shares = 3.0 * np.exp([0.5, -1.0, 2.0]) / np.exp([0.5, -1.0, 2.0]).sum()
    found = lookup(BATCH).detach().numpy()
    np.testing.assert_allclose(found[2, 0], shares @ ROWS[7, 1:].astype(np.float32), rtol=1e-4)
    assert not found[1:, 1].any()


def test_gradients_are_those_of_the_formula():
    mix = ScalarMix(4).double()
    layers = torch.randn(5, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def plain(weights, gain):
        return (gain * weights.softmax(0)[None, :, None] * layers).sum(1)

    torch.testing.assert_close(mix(layers), plain(mix.weights, mix.gain))
    ours = torch.autograd.grad(mix(layers).square().sum(), list(mix.parameters()))
    theirs = torch.autograd.grad(plain(mix.weights, mix.gain).square().sum(), list(mix.parameters()))
    torch.testing.assert_close(ours, theirs)


def test_a_batch_of_nothing_but_padding():
    batch = PairBatch(torch.zeros(1, 2, dtype=torch.int64), torch.tensor([1, 1]))
    assert not FeatureLookup(ROWS, (1, 2))(batch).any()


def test_no_decay_pulls_at_the_mix_and_no_row_is_a_weight():
    lookup = FeatureLookup(ROWS, (1, 2, 3))
    decayed, free = (group.parameters for group in grouped(lookup, 0.1))
    assert decayed == []
    assert {id(each) for each in free} == {id(lookup.mix.weights), id(lookup.mix.gain)}
    assert set(lookup.state_dict()) == {"mix.weights", "mix.gain"}


def test_a_device_keeps_the_rows_if_every_copy_fits_in_half_of_what_is_free():
    assert fits(ROWS, 2 * 8 * ROWS.nbytes, copies=8)
    assert not fits(ROWS, 2 * 8 * ROWS.nbytes - 1, copies=8)
    assert fits(ROWS, 2 * ROWS.nbytes, copies=1)


@pytest.mark.parametrize("block", [1, 2 * ROWS[0].nbytes, 10**9])
def test_rows_are_moved_block_by_block(monkeypatch, block):
    monkeypatch.setattr(mixing, "BLOCK_BYTES", block)
    assert np.array_equal(on_device(ROWS, "cpu").numpy(), ROWS)
