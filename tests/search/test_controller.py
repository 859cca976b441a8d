"""The controller, on spaces that can be enumerated and on one that has everything that makes spaces difficult."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from planted import PHAM
from scipy.stats import chisquare
from toys import Toy

from nasctl.compiler.streams import Streams
from nasctl.errors import UsageError
from nasctl.search import controller as module
from nasctl.search.controller import Controller
from nasctl.spaces.base import RejectedError, choices_of, enumerate_codes
from nasctl.spaces.enas import EnasSpace

SHARP = replace(PHAM, hidden=5, temperature=1.3, initial=1.5)
"""Few units, and weights so large that every distribution is far from uniform."""

SMALL = (EnasSpace(1), EnasSpace(3), Toy(), Toy(rejects=False))
FIELDS = ("log_probabilities", "entropies", "largest", "hidden")


def stream(*names):
    return Streams(0, "cpu").of("test", *names)


def sharp(space, seed=0, spec=SHARP):
    return Controller(space, spec, seed).double()


def with_zeroed_heads(space):
    controller = Controller(space, PHAM, 0)
    with torch.no_grad():
        controller.heads.zero_()
    return controller


@pytest.mark.parametrize(("nodes", "nats"), [(1, math.log(4)), (6, 13.1053), (12, 34.1378)])
def test_with_zeroed_heads_the_policy_is_uniform(nodes, nats):
    samples = with_zeroed_heads(EnasSpace(nodes)).sample(20, stream())
    assert samples.entropies.sum(1).tolist() == pytest.approx([nats] * 20, abs=1e-4)
    assert samples.log_probabilities.sum(1).tolist() == pytest.approx([-nats] * 20, abs=1e-4)
    assert samples.largest[0, 0].item() == pytest.approx(1 / 4)
    assert len(set(samples.codes)) == len(samples.codes) or nodes == 1


def test_options_that_a_prefix_forbids_take_no_part_in_a_uniform_policy():
    scored = with_zeroed_heads(Toy()).score([("one", "relu", "x"), ("two", "tanh", "x", "h")])
    half = math.log(1 / 2)
    assert scored.log_probabilities.tolist() == [pytest.approx([half] * 3 + [0.0])] * 2
    assert scored.entropies.tolist() == [pytest.approx([-half] * 3 + [0.0])] * 2
    assert scored.largest.tolist() == [pytest.approx([1 / 2] * 3 + [1.0])] * 2


@pytest.mark.parametrize("space", [*SMALL, EnasSpace(6)], ids=repr)
@pytest.mark.parametrize(
    "spec",
    [SHARP, replace(SHARP, tanh_constant=None), replace(SHARP, reads="cell")],
    ids=["tanh", "plain", "cell"],
)
def test_what_is_drawn_is_scored_the_same(space, spec):
    controller = sharp(space, spec=spec)
    drawn = controller.sample(30, stream())
    scored = controller.score(drawn.codes)
    assert drawn.codes == scored.codes
    for field in FIELDS:
        torch.testing.assert_close(getattr(drawn, field), getattr(scored, field), rtol=0, atol=1e-12)
        assert getattr(scored, field).requires_grad
        assert not getattr(drawn, field).requires_grad


@pytest.mark.parametrize("space", SMALL, ids=repr)
def test_probabilities_sum_to_one(space):
    scored = sharp(space).score([*enumerate_codes(space)])
    assert scored.log_probabilities.sum(1).exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("space", SMALL, ids=repr)
def test_codes_are_drawn_as_often_as_their_probabilities_say(space):
    """Rejected ones left out: what is drawn anew leaves the ratios of the others."""
    controller = sharp(space)
    codes = [code for code in enumerate_codes(space) if accepted(space, code)]
    chances = controller.score(codes).log_probabilities.sum(1).exp().detach()
    counts = Counter(controller.sample(8000, stream()).codes)
    assert counts.keys() <= set(codes)
    expected = chances / chances.sum() * 8000
    rare = expected < 5
    seen = torch.tensor([float(counts[code]) for code in codes])
    pooled = [*seen[~rare].tolist(), seen[rare].sum().item()], [*expected[~rare].tolist(), expected[rare].sum().item()]
    seen, expected = (each[:-1] if pooled[1][-1] == 0 else each for each in pooled)
    assert chisquare(seen, expected).pvalue >= 0.001


def accepted(space, code):
    try:
        space.decode(code)
    except RejectedError:
        return False
    return True


@pytest.mark.parametrize("space", [EnasSpace(3), Toy()], ids=repr)
@pytest.mark.parametrize("reads", ["hidden", "cell"])
def test_the_equations(space, reads):
    """Written out once more, for one code at a time: steps of an LSTM cell, a head per place, masks by hand."""
    controller = sharp(space, spec=replace(SHARP, reads=reads))
    cell = torch.nn.LSTMCell(5, 5).double()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in controller.lstm.state_dict().items()})
    tokens = dict.fromkeys((step.kind, option) for step in space.steps() for option in step.options)
    rows = {token: 1 + number for number, token in enumerate(tokens)}
    for code in list(enumerate_codes(space))[::7]:
        scored = controller.score([code])
        x, state = torch.zeros(1, 5).double(), None
        for place, (choice, option) in enumerate(zip(choices_of(space, code), code, strict=True)):
            state = cell(x, state)
            read = state[reads == "cell"]
            options = space.steps()[place].options
            logits = (controller.heads[place] @ read[0] + controller.biases[place]) / 1.3
            weights = {each: (2.5 * logits[options.index(each)].tanh()).exp().item() for each in choice.options}
            chances = {each: weight / sum(weights.values()) for each, weight in weights.items()}
            assert scored.log_probabilities[0, place].item() == pytest.approx(math.log(chances[option]), abs=1e-12)
            entropy = -sum(chance * math.log(chance) for chance in chances.values())
            assert scored.entropies[0, place].item() == pytest.approx(entropy, abs=1e-12)
            assert scored.largest[0, place].item() == pytest.approx(max(chances.values()), abs=1e-12)
            x = controller.embedding[rows[choice.kind, option]][None]
        torch.testing.assert_close(scored.hidden, read, rtol=0, atol=1e-12)


def test_the_last_state_knows_all_choices_but_the_last():
    scored = sharp(Toy()).score(
        [("one", "relu", "h"), ("one", "relu", "x"), ("one", "tanh", "h"), ("two", "relu", "h", "x")]
    )
    assert scored.hidden[0].equal(scored.hidden[1])
    assert not scored.hidden[0].equal(scored.hidden[2])
    assert scored.log_probabilities[:3, 3].tolist() == [0.0] * 3
    assert scored.entropies[:3, 3].tolist() == [0.0] * 3
    assert scored.largest[:3, 3].tolist() == [1.0] * 3


def test_a_choice_depends_on_all_choices_before_it():
    first, second = sharp(EnasSpace(6)).score([(op, *("0", "tanh") * 5) for op in ("relu", "sigmoid")]).entropies
    assert first[0] == second[0]
    assert first[10] != second[10]


def test_weights_start_within_their_bound_and_tokens_are_shared_by_places():
    controller = Controller(EnasSpace(6), PHAM, 0)
    drawn = [controller.embedding[1:], *controller.lstm.parameters(), controller.heads[0, :4], controller.heads[9]]
    assert controller.embedding.shape == (1 + 4 + 5, 100)
    assert all(0.099 < weights.abs().max() <= 0.1 for weights in drawn)
    assert not controller.biases.any()
    assert not controller.embedding[0].any()


def test_what_no_choice_can_need_has_no_gradient():
    controller = Controller(EnasSpace(6), PHAM, 0)
    (-controller.score(controller.sample(20, stream()).codes).log_probabilities.sum()).backward()
    assert not controller.embedding.grad[0].any()
    assert not controller.heads.grad[1].any(), "node 1 has one parent"
    assert not controller.heads.grad[0, 4:].any()
    assert controller.heads.grad[0, :4].all()


def test_a_draw_depends_on_its_own_stream_of_the_seed():
    small, large = (Controller(EnasSpace(nodes), PHAM, 3) for nodes in (6, 12))
    assert small.heads[4, :4].equal(large.heads[4, :4])
    assert small.embedding.equal(large.embedding[:10])
    assert not small.heads[4, :4].equal(small.heads[2, :4])
    assert not small.embedding[1].equal(small.embedding[2])
    assert not small.heads.equal(Controller(EnasSpace(6), PHAM, 4).heads)
    assert small.sample(9, stream()).codes == small.sample(9, stream()).codes
    assert small.sample(9, stream()).codes != small.sample(9, stream("other")).codes


def test_the_most_probable_options_one_after_the_other():
    for seed in range(5):
        controller = sharp(EnasSpace(3), seed)
        code = controller.most_probable()
        scored = controller.score([code])
        assert scored.log_probabilities.exp().tolist() == [pytest.approx(scored.largest[0].tolist())]


def test_a_space_that_rejects_everything_says_why(monkeypatch):
    monkeypatch.setattr(module, "MOST_TRIES", 20)
    controller = Controller(Toy(), PHAM, 0)
    assert len(controller.sample(50, stream()).codes) == 50

    def reject(space, code):
        raise RejectedError("nothing reads the state", "")

    monkeypatch.setattr(Toy, "decode", reject)
    with pytest.raises(UsageError, match=r"codes in a row are no cells of the space toy; .*nothing reads the state"):
        controller.sample(3, stream())


def test_what_is_no_code_or_no_number_is_refused():
    controller = Controller(EnasSpace(2), PHAM, 0)
    with pytest.raises(UsageError, match="0 samples"):
        controller.sample(0, stream())
    with pytest.raises(UsageError, match="score no codes"):
        controller.score([])
    with pytest.raises(UsageError, match="there is no 'rleu'") as caught:
        controller.score([("tanh", "0", "relu"), ("tanh", "0", "rleu")])
    assert "did you mean relu" in caught.value.hint
