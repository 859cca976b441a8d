"""How the controller learns: gradients against exact expectations, baselines and memories by hand, resuming."""

import json
import math
from dataclasses import replace
from itertools import combinations, pairwise
from statistics import fmean

import numpy as np
import pytest
import torch
from planted import FROM_FIRST, PHAM, relations, strategy
from scipy.stats import f
from toys import Toy

from nasctl.compiler.streams import Streams
from nasctl.config.composition import compose
from nasctl.errors import UsageError
from nasctl.search.controller import Controller
from nasctl.search.policy import Policy
from nasctl.spaces.base import enumerate_codes
from nasctl.spaces.enas import EnasSpace
from nasctl.strategies import BaselineSpec, EntropySpec, MemorySpec

QUICK = replace(PHAM, hidden=16, learning_rate=5e-3)
NO_ENTROPY = EntropySpec(weight=0.0, form="loss")
MEMORY = MemorySpec(capacity=12, first=2, drawn=5, replaced=3, taught=3, batch=4, weight=0.5)


def made(space=None, seed=0, **changes):
    spec = strategy(**({"controller": QUICK, "samples": 4} | changes))
    return Policy(Controller(space or EnasSpace(3), spec.controller, seed), spec, seed)


def earned(codes):
    return [relations(code) for code in codes]


def same(*rewards):
    """The rewards of one step after the other, the same for all cells of a step."""
    left = iter(rewards)
    return lambda codes: [next(left)] * len(codes)


def flat(controller):
    return torch.cat([parameter.grad.flatten() for parameter in controller.parameters()]).numpy()


def chance_of(policy, code):
    return policy.controller.score([code]).log_probabilities.sum().exp().item()


# --- the gradient -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [EnasSpace(2), Toy(rejects=False)], ids=repr)
def test_the_policy_gradient_is_unbiased(space):
    """Hotelling's test of many steps' gradients against their exact expectation, over all directions that there are.

    The controller stands still; the baseline moves, and is independent of the cells that are compared with it.
    """
    spec = strategy(
        controller=replace(PHAM, hidden=6, temperature=1.3, initial=1.0, learning_rate=1e-15),
        baseline=BaselineSpec(decay=0.9, start="zero", reset=False),
        entropy=NO_ENTROPY,
    )
    policy = Policy(Controller(space, spec.controller, 0).double(), spec, 0)
    codes = [*enumerate_codes(space)]
    rewards = dict(zip(codes, np.random.default_rng(0).uniform(-1, 1, len(codes)), strict=True))
    surprises, chances = [], []
    for code in codes:
        policy.controller.zero_grad()
        surprise = -policy.controller.score([code]).log_probabilities.sum()
        surprise.backward()
        surprises.append(flat(policy.controller))
        chances.append(math.exp(-surprise.item()))
    exact = sum(
        chance * rewards[code] * gradient for chance, code, gradient in zip(chances, codes, surprises, strict=True)
    )
    _, sizes, directions = np.linalg.svd(np.array(surprises), full_matrices=False)
    directions = directions[sizes > 1e-9 * sizes[0]]
    assert len(directions) == len(codes) - 1
    gradients = []
    for number in range(1, 251):
        policy.step(1, number, lambda drawn: [rewards[code] for code in drawn])
        gradients.append(flat(policy.controller))
    across = np.array(gradients) @ directions.T
    assert np.abs(np.array(gradients) - across @ directions).max() < 1e-9, "there is nothing in other directions"
    count, width = across.shape
    off = across.mean(0) - directions @ exact
    squared = count * off @ np.linalg.solve(np.cov(across.T), off)
    assert f.sf(squared * (count - width) / (width * (count - 1)), width, count - width) >= 0.001


def test_a_rewarded_cell_becomes_likelier_and_a_punished_one_less_likely():
    for sign in (1.0, -1.0):
        policy = made(samples=1, baseline=replace(FROM_FIRST, start="zero"), entropy=NO_ENTROPY)
        met = []
        before = made().controller
        policy.step(1, 1, lambda codes, met=met, sign=sign: met.extend(codes) or [sign])
        now, was = (each.score(met).log_probabilities.sum().item() for each in (policy.controller, before))
        assert sign * (now - was) > 0.01


def test_what_a_step_says_is_what_its_loss_was():
    policy = made(baseline=replace(FROM_FIRST, start="zero"))
    policy.step(1, 1, same(0.5))
    controller = Controller(EnasSpace(3), QUICK, 0)
    controller.load_state_dict(policy.controller.state_dict())
    met = []
    step = policy.step(1, 2, lambda codes: met.extend(codes) or earned(codes))
    scored = controller.score(met)
    advantages = torch.tensor(earned(met)) - 0.05 * 0.5
    assert step.policy == pytest.approx((-scored.log_probabilities.sum(1) * advantages).mean().item(), abs=1e-6)
    assert step.entropy == pytest.approx(scored.entropies.sum(1).mean().item(), abs=1e-6)
    assert step.reward == pytest.approx(fmean(earned(met)))
    assert step.baseline == pytest.approx(0.05 * 0.5)
    assert step.supervised is None


def test_a_long_gradient_is_scaled_down():
    for bound, reached in ((None, False), (1e-3, True)):
        policy = made(controller=replace(QUICK, grad_norm=bound), baseline=replace(FROM_FIRST, start="zero"))
        policy.step(1, 1, same(1.0))
        assert (np.linalg.norm(flat(policy.controller)) <= 1.001e-3) == reached


# --- the baseline and the entropy -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "baselines"),
    [
        (BaselineSpec(decay=0.9, start="first", reset=False), [0.5, 0.5, 0.55, 0.495]),
        (BaselineSpec(decay=0.9, start="zero", reset=False), [0.0, 0.05, 0.145, 0.1305]),
        (BaselineSpec(decay=0.9, start="first", reset=True), [0.5, 0.5, 0.0, 0.0]),
        (BaselineSpec(decay=0.9, start="zero", reset=True), [0.0, 0.05, 0.0, 0.0]),
    ],
)
def test_the_baseline_is_that_before_the_step(spec, baselines):
    policy = made(baseline=spec)
    reward = same(0.5, 1.0, 0.0, 0.0)
    steps = []
    for epoch in (1, 2):
        steps += [policy.step(epoch, number, reward) for number in (1, 2)]
        policy.end_epoch(epoch)
    assert [step.baseline for step in steps] == pytest.approx(baselines)
    assert [step.reward for step in steps] == [0.5, 1.0, 0.0, 0.0]


def test_the_baseline_of_enas_nni_is_after_an_epoch_where_nni_has_it():
    """There 1,000 cells move it one after the other, here 50 steps of 20."""
    spec = compose(["search=enas_nni"]).search.strategy
    policy = Policy(Controller(EnasSpace(3), spec.controller, 0), spec, 0)
    for number in range(1, 51):
        policy.step(1, number, lambda codes: [0.7] * len(codes))
    theirs = 0.0
    for _ in range(1000):
        theirs = 0.999 * theirs + 0.001 * 0.7
    assert theirs == pytest.approx(0.443, abs=1e-3)
    assert policy.step(2, 1, lambda codes: [0.7] * len(codes)).baseline == pytest.approx(theirs, abs=1e-3)


def test_entropy_in_the_loss_opens_the_policy():
    entropies = {}
    for weight in (0.0, 1.0):
        sharp = replace(QUICK, initial=1.0, temperature=1.0)
        policy = made(EnasSpace(6), controller=sharp, entropy=EntropySpec(weight=weight, form="loss"))
        entropies[weight] = [policy.step(1, number, same(0.3)).entropy for number in range(1, 31)]
    assert entropies[1.0][-1] > entropies[1.0][0] + 0.5
    assert fmean(entropies[0.0][-5:]) == pytest.approx(fmean(entropies[0.0][:5]), abs=0.3)


def test_entropy_of_sampled_options_is_a_reward():
    policy = made(entropy=EntropySpec(weight=2.0, form="sampled"), samples=6)
    met = []
    before = Controller(EnasSpace(3), QUICK, 0)
    step = policy.step(1, 1, lambda codes: met.extend(codes) or [0.25] * 6)
    logs = before.score(met).log_probabilities
    bonuses = 2.0 * -(logs.exp() * logs).sum(1)
    assert step.reward == 0.25
    assert step.baseline == pytest.approx(0.25 + bonuses.mean().item(), abs=1e-6)
    assert step.policy == pytest.approx((-logs.sum(1) * (bonuses - bonuses.mean())).mean().item(), abs=1e-6)


# --- the memory -------------------------------------------------------------------------------------------------------


def test_the_memory_fills_and_is_then_renewed_bit_by_bit():
    policy = made(EnasSpace(6), memory=MEMORY)
    held = []
    for epoch in range(1, 7):
        policy.end_epoch(epoch)
        held.append(policy.state()[1]["memory"])
    assert [len(memory) for memory in held] == [0, 5, 10, 12, 12, 12]
    assert held[3][:10] == held[2]
    for before, after in pairwise(held[3:]):
        assert sum(one != two for one, two in zip(before, after, strict=True)) == 3


def test_the_memory_is_taught_from_its_epoch_on():
    policy = made(EnasSpace(6), memory=MEMORY, entropy=NO_ENTROPY)
    supervised = []
    for epoch in range(1, 5):
        supervised.append(policy.step(epoch, 1, same(0.0)).supervised)
        policy.end_epoch(epoch)
    assert [each is not None for each in supervised] == [False, False, True, True]
    assert supervised[2] == pytest.approx(math.log(4**6 * 120), abs=1.0), "near a uniform policy"


def test_a_step_teaches_other_places_of_the_memory_each_time_and_none_twice():
    still = replace(QUICK, learning_rate=1e-12, initial=1.0)
    policy = made(EnasSpace(6), controller=still, memory=replace(MEMORY, first=1, taught=1, drawn=9))
    policy.end_epoch(1)
    held = [tuple(text.split("-")) for text in policy.state()[1]["memory"]]
    surprises = -policy.controller.score(held).log_probabilities.sum(1)
    sets = {each: surprises[list(each)].mean().item() for each in combinations(range(9), 4)}
    met = []
    for number in range(1, 6):
        supervised = policy.step(2, number, same(0.0)).supervised
        met += [each for each, mean in sets.items() if mean == pytest.approx(supervised, abs=1e-5)]
    assert len(met) == 5, "four of nine places: no more, no fewer, none twice"
    assert len(set(met)) >= 4


def test_a_memory_that_is_smaller_than_a_batch_is_taught_whole():
    policy = made(memory=replace(MEMORY, first=1, taught=1, batch=50))
    policy.end_epoch(1)
    everything = [tuple(text.split("-")) for text in policy.state()[1]["memory"]]
    expected = -policy.controller.score(everything).log_probabilities.sum(1).mean().item()
    assert policy.step(2, 1, same(0.0)).supervised == pytest.approx(expected, abs=1e-6)


def test_nothing_is_taught_from_an_empty_memory():
    policy = made(memory=replace(MEMORY, first=5, taught=1))
    assert policy.step(1, 1, earned).supervised is None


def test_what_is_taught_is_learned():
    policy = made(memory=replace(MEMORY, first=1, taught=2, drawn=1, capacity=1, replaced=1, batch=1, weight=1.0))
    policy.end_epoch(1)
    (text,) = policy.state()[1]["memory"]
    before = chance_of(policy, tuple(text.split("-")))
    for number in range(1, 101):
        policy.step(2, number, same(0.0))
    assert before < 0.02
    assert chance_of(policy, tuple(text.split("-"))) > 0.5


# --- going on ---------------------------------------------------------------------------------------------------------


def run(policy, epochs, first_step=1):
    steps = []
    for epoch in epochs:
        steps += [policy.step(epoch, number, earned) for number in range(first_step, 4)]
        policy.end_epoch(epoch)
        first_step = 1
    return steps


@pytest.mark.parametrize("cut", [(1, 1), (3, 1), (5, 2)], ids=["at the start", "between epochs", "in an epoch"])
def test_a_restored_policy_goes_on_with_the_same_bits(cut):
    epoch, number = cut
    whole = made(memory=MEMORY)
    run(whole, range(1, epoch))
    for each in range(1, number):
        whole.step(epoch, each, earned)
    tensors, about = whole.state()
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    steps = run(whole, range(epoch, 8), number)
    assert all(tensor.equal(kept[name]) for name, tensor in tensors.items()), "a state is a copy"
    again = made(memory=MEMORY)
    run(again, [6, 7])  # whatever it was before
    again.restore(tensors, json.loads(json.dumps(about)))
    assert run(again, range(epoch, 8), number) == steps
    (one, about_one), (two, about_two) = whole.state(), again.state()
    assert about_one == about_two
    assert one.keys() == two.keys()
    assert all(tensor.equal(two[name]) for name, tensor in one.items())
    assert all(tensor.equal(kept[name]) for name, tensor in tensors.items()), "who goes on has a copy, too"


def test_streams_differ_by_seed_epoch_and_step():
    met = []
    for seed, epoch, number in ((0, 1, 1), (1, 1, 1), (0, 2, 1), (0, 1, 2), (0, 1, 1)):
        policy = made(EnasSpace(6))
        policy = Policy(policy.controller, policy.strategy, seed)
        policy.step(epoch, number, lambda codes: met.append(tuple(codes)) or [0.0] * 4)
    assert len(set(met)) == 4
    assert met[0] == met[4]


# --- planted problems, and what is wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "memory",
    [None, MemorySpec(capacity=200, first=2, drawn=100, replaced=50, taught=3, batch=10, weight=0.02)],
    ids=["plain", "supervised"],
)
def test_a_planted_problem_is_solved(memory):
    """`tests/bench/test_planted.py` has the figures at full size, and with the settings of a search."""
    policy = made(memory=memory, samples=8)
    for epoch in range(1, 13):
        for number in range(1, 31):
            policy.step(epoch, number, earned)
        policy.end_epoch(epoch)
    found = fmean(earned(policy.controller.sample(300, Streams(0, "cpu").of("test")).codes))
    chance = fmean(map(relations, enumerate_codes(EnasSpace(3))))
    assert chance == 0.5
    assert found >= 0.93
    assert relations(policy.controller.most_probable()) == 1.0


def test_a_cell_of_one_node_has_one_choice():
    policy = made(EnasSpace(1))
    for number in range(1, 101):
        policy.step(1, number, lambda codes: [float(code == ("identity",)) for code in codes])
    assert policy.controller.most_probable() == ("identity",)
    assert chance_of(policy, ("identity",)) > 0.85


@pytest.mark.parametrize("wrong", [[0.1] * 3, [0.1] * 5, [0.1, 0.2, 0.3, math.nan], [0.1, 0.2, 0.3, math.inf]])
def test_every_cell_earns_a_number(wrong):
    policy = made()
    before, _ = policy.state()
    with pytest.raises(ValueError, match="4 cells earned"):
        policy.step(1, 1, lambda codes: wrong)
    assert all(tensor.equal(before[name]) for name, tensor in policy.state()[0].items())


def test_a_memory_that_would_replace_more_than_it_holds():
    with pytest.raises(ValueError, match="of a memory of 12 cells at most as many replaced, not 13"):
        replace(MEMORY, replaced=13)


def test_a_memory_of_another_space_is_refused():
    policy = made(EnasSpace(3), memory=MEMORY)
    policy.end_epoch(2)
    other = made(EnasSpace(4), memory=MEMORY)
    with pytest.raises(UsageError, match="ends behind 5 choices"):
        other.restore(other.state()[0], policy.state()[1])
