"""What every space gets from base.py, on a space that has all that the published ones need."""

import math
from collections import Counter
from itertools import islice, zip_longest
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import OPS, Toy

from nasctl.errors import UsageError
from nasctl.spaces import SPACES, base, space_named
from nasctl.spaces.base import (
    Choice,
    RejectedError,
    code_of,
    code_text,
    draw_pool,
    enumerate_codes,
    log_probability,
    mutate,
    pick,
    sample,
)
from nasctl.spaces.enas import EnasSpace

SEEDS = st.integers(0, 2**63 - 1)


TOY = Toy()
TOY_CELLS = {f"{count}-{op}-{edges}" for count, edges in (("one", "h"), ("two", "x-h"), ("two", "h-x")) for op in OPS}


@pytest.mark.parametrize(
    ("options", "weights", "message", "hint"),
    [
        ((), None, "options ()", "at least one"),
        (("a", "b", "a"), None, "'a', 'b', 'a'", "each once"),
        (("a", "a-b"), None, "'a-b'", "a-z, 0-9 and _"),
        (("Tanh",), None, "'Tanh'", "a-z"),
        (("a", "b"), (1.0,), "2 options have weights (1.0,)", "positive"),
        (("a", "b"), (1.0, 0.0), "weights (1.0, 0.0)", "positive"),
    ],
)
def test_a_choice_has_options_that_can_be_told_apart(options, weights, message, hint):
    with pytest.raises(UsageError) as caught:
        Choice("op", options, weights)
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_without_an_option_the_weights_of_the_others_stay():
    assert Choice("op", ("a", "b", "c"), (1, 2, 3)).without("b") == Choice("op", ("a", "c"), (1, 3))
    assert Choice("edge", ("a", "b")).without("a") == Choice("edge", ("b",))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "tanh-0-rleu",
            "choice 3 of tanh-0-rleu in the space enas is an op, and there is no 'rleu'",
            "did you mean relu",
        ),
        ("tanh-0-relu-2-relu", "choice 4 of tanh-0-relu-2-relu in the space enas is an edge", "known: 0, 1"),
        ("tanh-0-relu", "tanh-0-relu ends behind 3 choices", "next is an edge: 0, 1"),
        ("", "an empty code ends behind 0 choices", "next is an op: tanh, relu"),
        ("tanh-0-relu-1-relu-0-tanh", "has 7 choices", "ends behind 5"),
        ("tanh--relu-1-relu", "there is no ''", "known: 0"),
    ],
)
def test_a_text_that_is_no_code_says_where_and_what_would_be_right(text, message, hint):
    with pytest.raises(UsageError) as caught:
        code_of(text, EnasSpace(3))
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_code_and_text():
    assert code_of("two-relu-h-x", TOY) == ("two", "relu", "h", "x")
    assert code_text(("two", "relu", "h", "x")) == "two-relu-h-x"


def test_pick_follows_the_weights():
    stream = Random(0)
    counts = Counter(pick(stream, "abc", (1, 2, 5)) for _ in range(8000))
    assert all(abs(counts[letter] - 1000 * weight) < 120 for letter, weight in zip("abc", (1, 2, 5), strict=True))


def test_pick_uses_one_number_and_no_other_method_of_the_stream():
    class Numbers:
        def __init__(self, *numbers):
            self.random = iter(numbers).__next__

    almost_one = 1 - 2**-53
    assert [pick(Numbers(number), "abc") for number in (0.0, 0.34, almost_one)] == ["a", "b", "c"]
    assert pick(Numbers(almost_one), range(10), [0.1] * 10) == 9
    assert pick(Numbers(almost_one), "a", [5e-324]) == "a", "a product that is rounded up to the sum"


def test_draws_are_weighted_and_rejected_codes_drawn_again():
    stream = Random(1)
    counts = Counter(code_text(sample(TOY, stream)) for _ in range(4000))
    assert set(counts) == TOY_CELLS
    # one: 3/4 with half of it rejected; two: 1/4: 3/8 to 2/8
    assert abs(counts["one-tanh-h"] + counts["one-relu-h"] - 4000 * 3 / 5) < 150


def test_the_probability_is_that_of_a_draw_with_its_weights():
    assert math.exp(log_probability(TOY, ("one", "relu", "h"))) == pytest.approx(3 / 4 / 2 / 2)
    assert math.fsum(math.exp(log_probability(TOY, code)) for code in enumerate_codes(TOY)) == pytest.approx(1)


def test_a_space_that_rejects_everything_says_why(monkeypatch):
    def reject(code):
        raise RejectedError("nothing reads the state", "")

    monkeypatch.setattr(base, "MOST_TRIES", 20)
    monkeypatch.setattr(Toy, "decode", lambda space, code: reject(code))
    with pytest.raises(UsageError, match=r"20 codes in a row are no cells of the space toy; .*nothing reads the state"):
        sample(TOY, Random(0))


def test_another_error_of_decode_is_not_swallowed(monkeypatch):
    def broken(space, code):
        raise ZeroDivisionError

    monkeypatch.setattr(Toy, "decode", broken)
    with pytest.raises(ZeroDivisionError):
        sample(TOY, Random(0))


@settings(deadline=None, max_examples=50)
@given(SEEDS)
def test_a_mutant_is_another_cell_of_the_space(seed):
    stream = Random(seed)
    code = sample(TOY, stream)
    mutant = mutate(TOY, code, stream)
    assert code_text(mutant) in TOY_CELLS - {code_text(code)}


def test_a_mutant_keeps_what_is_still_possible():
    chain = ("tanh", "0", "relu", "1", "sigmoid", "2", "identity")
    stream = Random(0)
    for _ in range(200):
        mutant = mutate(EnasSpace(4), chain, stream)
        assert sum(one != two for one, two in zip(mutant, chain, strict=True)) == 1
    mutants = [mutate(EnasSpace(4), chain, stream) for _ in range(1200)]
    places = Counter(place for mutant in mutants for place, answer in enumerate(mutant) if answer != chain[place])
    assert set(places) == {0, 2, 3, 4, 5, 6}, "the parent of node 1 has no alternative"
    assert min(places.values()) > 140, "every choice is as likely to change"


def test_only_choices_of_the_kinds_asked_for_are_changed():
    stream = Random(0)
    code = ("tanh", "0", "relu", "1", "sigmoid")
    for _ in range(50):
        assert mutate(EnasSpace(3), code, stream, kinds=("op",))[1::2] == code[1::2]
        assert mutate(EnasSpace(3), code, stream, kinds=("edge",))[::2] == code[::2]
    with pytest.raises(UsageError, match="no choice of edge with two options") as caught:
        mutate(EnasSpace(2), code[:3], stream, kinds=("edge",))
    assert "nothing to mutate" in caught.value.hint


def test_mutating_a_code_of_another_space_is_an_error():
    with pytest.raises(UsageError, match="there is no 'two'"):
        mutate(EnasSpace(2), ("two", "tanh", "x", "h"), Random(0))


def test_enumeration_is_lazy_depth_first_and_complete():
    first, second = islice(enumerate_codes(EnasSpace(50)), 2)
    assert first[-1] == "tanh"
    assert second == (*first[:-1], "relu")
    assert {code_text(code) for code in enumerate_codes(TOY)} == TOY_CELLS | {"one-tanh-x", "one-relu-x"}


def test_a_pool_is_distinct_and_its_own_stream():
    pool = draw_pool(TOY, 6, 0)
    assert {code_text(code) for code in pool} == TOY_CELLS
    assert draw_pool(TOY, 3, 0) == pool[:3], "a smaller pool is the start of a larger"
    assert draw_pool(TOY, 3, 1) != pool[:3]


@pytest.mark.parametrize(
    ("space", "count", "message", "hint"),
    [
        (EnasSpace(2), 17, "a pool of 17 codes, and the space enas has 16", "ask for 1 to 16"),
        (EnasSpace(2), 0, "a pool of 0 codes", "1 or more"),
        (TOY, 7, "draws in a row gave none but the 6 known codes", "ask for 1 to 6"),
    ],
)
def test_a_pool_larger_than_the_space_is_an_error(space, count, message, hint, monkeypatch):
    monkeypatch.setattr(base, "MOST_TRIES", 200)
    with pytest.raises(UsageError) as caught:
        draw_pool(space, count, 0)
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_the_places_of_the_toy_have_what_its_codes_have():
    met = zip_longest(*enumerate_codes(TOY))
    assert [set(options) - {None} for options in met] == [set(step.options) for step in TOY.steps()]


def test_a_whole_space_can_be_a_pool(monkeypatch):
    monkeypatch.setattr(base, "MOST_TRIES", 25)
    draws = []
    decode = EnasSpace.decode
    monkeypatch.setattr(EnasSpace, "decode", lambda space, code: draws.append(code) or decode(space, code))
    assert len(draw_pool(EnasSpace(2), 16, 0)) == 16
    assert len(draws) > 16 + 25, "the limit is on known codes in a row"


@pytest.mark.parametrize(
    ("name", "sizes", "message", "hint"),
    [
        ("enass", {"nodes": 6}, "no space 'enass'", "did you mean enas?"),
        ("enas", {"node": 6}, "the space enas has no node", "did you mean nodes?"),
        ("enas", {}, "the space enas needs nodes", "known: nodes"),
    ],
)
def test_a_space_that_there_is_not(name, sizes, message, hint):
    with pytest.raises(UsageError) as caught:
        space_named(name, **sizes)
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_spaces_by_name():
    assert space_named("enas", nodes=6) == EnasSpace(6)
    assert all(name.isidentifier() for name in SPACES)
