"""The optimiser: torch's own numbers, without what torch's own classes import."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from tiny import run_spec
from torch import nn

from nasctl.experiments.run import Workplace, build
from nasctl.training.adam import Adam, Group, grouped


@pytest.fixture
def model(tmp_path):
    return build(run_spec(tmp_path), Workplace(tmp_path, "cpu", 1))


def network():
    """Three matrices and a vector, the first without a gradient in odd steps, the last never with one."""
    made = nn.ParameterList([nn.Parameter(torch.linspace(-1, 1, 6).view(2, 3) * scale) for scale in (1, 2, 3)])
    return [*made, nn.Parameter(torch.ones(3))]


def descend(network, optimiser, steps):
    for step in steps:
        optimiser.zero_grad()
        used = network[1:3] if step % 2 else network[:3]
        sum(((each * (step + 1)).sin() ** 2).sum() for each in used).backward()
        optimiser.step()


def ours(parameters):
    return Adam([Group(parameters[:2], 0.1), Group(parameters[2:], 0.0)], 0.03)


def test_it_moves_the_same_bits_as_torchs():
    here, there = network(), network()
    theirs = [{"params": there[:2], "weight_decay": 0.1}, {"params": there[2:], "weight_decay": 0.0}]
    descend(here, ours(here), range(20))
    descend(there, torch.optim.AdamW(theirs, lr=0.03, fused=True), range(20))
    assert all(torch.equal(one, other) for one, other in zip(here, there, strict=True))
    assert not torch.equal(here[0], network()[0])
    assert torch.equal(here[3], network()[3])  # no gradient: not moved


def test_without_decay_it_is_plain_adam():
    here, there = network(), network()
    descend(here, Adam([Group(here, 0.0)], 0.03), range(20))
    descend(there, torch.optim.Adam(there, lr=0.03, fused=True), range(20))
    assert all(torch.equal(one, other) for one, other in zip(here, there, strict=True))


def test_a_restored_one_goes_on_with_the_same_bits():
    whole, halves = network(), network()
    descend(whole, ours(whole), range(9))
    first = ours(halves)
    descend(halves, first, range(5))
    held = {name: tensor.clone() for name, tensor in first.moments().items()}
    assert set(held) == {f"{place}/{name}" for place in range(3) for name in ("exp_avg", "exp_avg_sq", "step")}
    second = ours(halves)
    second.restore(held)
    descend(halves, second, range(5, 9))
    assert all(torch.equal(one, other) for one, other in zip(whole, halves, strict=True))
    assert all(torch.equal(held[name], tensor) for name, tensor in first.moments().items())  # copies were moved


def test_biases_do_not_decay_and_matrices_do(model):
    decaying, free = grouped(model, 0.1)
    names = {id(p): name for name, p in model.named_parameters()}
    biases = {"bias", *model.body.recurrent.cell.biases}
    assert (decaying.weight_decay, free.weight_decay) == (0.1, 0.0)
    assert not any(names[id(p)].split(".")[-1] in biases for p in decaying.parameters)
    assert all(names[id(p)].split(".")[-1] in biases for p in free.parameters)
    assert len(decaying.parameters) + len(free.parameters) == len(names)


def test_the_weight_decay_is_decoupled(model):
    """With a zero gradient a matrix shrinks by exactly 1 - lr·decay (Loshchilov and Hutter 2019)."""
    weight = model.body.head.hidden.weight
    before = weight.detach().clone()
    optimiser = Adam(grouped(model, 0.5), 0.01)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    torch.testing.assert_close(weight.detach(), before * (1 - 0.01 * 0.5))


def test_a_training_does_not_import_torchs_compiler():
    """It takes longer than torch itself, in every worker."""
    training = """
import sys, tempfile
from pathlib import Path
sys.path[:0] = sys.argv[1:]
from tiny import run_spec
from nasctl.experiments.run import Resumption, Workplace, train
place = Path(tempfile.mkdtemp())
list(train(run_spec(place), Workplace(place, "cpu", 1), "trial", Resumption(place / "r", 0.0, 0.0)))
print(sorted(name for name in sys.modules if name.startswith(("torch._dynamo", "torch._inductor"))))
"""
    command = [sys.executable, "-c", training, *(path for path in sys.path if path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert told.stdout.strip() == "[]"
