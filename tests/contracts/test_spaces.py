"""What every space of the table must do, at sizes that can be enumerated and at one that cannot."""

import math
from itertools import zip_longest
from random import Random

import pytest

from nasctl.cells.rewrite import canonical, cell_digest
from nasctl.errors import UsageError
from nasctl.spaces import SPACES, space_named
from nasctl.spaces.base import (
    KINDS,
    RejectedError,
    choices_of,
    code_of,
    code_text,
    draw_pool,
    enumerate_codes,
    log_probability,
    mutate,
    sample,
)
from nasctl.spaces.sharing import shared_weights

SMALL = {"enas": ({"nodes": 1}, {"nodes": 2}, {"nodes": 3})}
LARGE = {"enas": {"nodes": 9}}
ALL = [(name, sizes) for name in SMALL for sizes in (*SMALL[name], LARGE[name])]


def named(case):
    return "-".join([case[0], *(f"{key}{value}" for key, value in case[1].items())])


@pytest.fixture(params=[(name, sizes) for name in SMALL for sizes in SMALL[name]], ids=named)
def small(request):
    return space_named(request.param[0], **request.param[1])


@pytest.fixture(params=ALL, ids=named)
def space(request):
    return space_named(request.param[0], **request.param[1])


@pytest.fixture
def codes(space):
    stream = Random(0)
    return [sample(space, stream) for _ in range(25)]


def test_every_space_of_the_table_is_here():
    assert set(SMALL) == set(LARGE) == set(SPACES)
    assert all(space_named(name, **sizes).name == name for name, sizes in ALL)


def test_a_code_and_its_text_are_the_same(space, codes):
    assert all(code_of(code_text(code), space) == code for code in codes)


def test_a_code_survives_its_cell(space, codes):
    assert all(space.encode(space.decode(code)) == code for code in codes)


def test_every_code_of_a_small_space_survives_its_cell(small):
    for code in enumerate_codes(small):
        try:
            graph = small.decode(code)
        except RejectedError:
            continue
        assert small.encode(graph) == code


def test_a_cell_without_its_labels_has_a_code_of_the_same_cell(space, codes):
    for code in codes:
        graph = space.decode(code)
        assert cell_digest(space.decode(space.encode(canonical(graph)))) == cell_digest(graph)


def test_the_size_is_the_number_of_codes_that_are_cells(small):
    def accepted(code):
        try:
            small.decode(code)
        except RejectedError:
            return False
        return True

    codes = [code for code in enumerate_codes(small) if accepted(code)]
    assert len(set(codes)) == len(codes)
    assert small.size() in {None, len(codes)}


def test_draws_are_a_probability(small):
    assert math.fsum(math.exp(log_probability(small, code)) for code in enumerate_codes(small)) == pytest.approx(1)


def test_a_choice_depends_on_its_prefix_alone(space, codes):
    for code in codes:
        assert choices_of(space, code) == choices_of(space, code)
        assert all(choice.kind in KINDS for choice in choices_of(space, code))


def test_every_choice_is_part_of_its_place_and_places_have_nothing_else(space, codes):
    steps = space.steps()
    for code in codes:
        for choice, step in zip(choices_of(space, code), steps, strict=False):
            assert choice.kind == step.kind
            assert set(choice.options) <= set(step.options)
    assert max(map(len, codes)) <= len(steps)


def test_places_have_the_options_that_codes_have(small):
    met = zip_longest(*enumerate_codes(small))
    assert [set(options) - {None} for options in met] == [set(step.options) for step in small.steps()]


def test_a_mutant_is_another_code_with_its_start_kept(space, codes):
    stream = Random(1)
    for code in codes:
        mutant = mutate(space, code, stream)
        space.decode(mutant)
        assert mutant != code
        changed = next(place for place, (one, two) in enumerate(zip(mutant, code, strict=False)) if one != two)
        for place, choice in list(enumerate(choices_of(space, mutant)))[changed + 1 :]:
            kept = code[place] if place < len(code) else None
            assert mutant[place] == kept or kept not in choice.options


def test_what_is_no_code_is_refused(space, codes):
    code = codes[0]
    for wrong in ((), code[:-1], (*code, code[-1]), ("nonsense", *code[1:])):
        with pytest.raises(UsageError) as caught:
            space.decode(wrong)
        assert caught.value.hint
        assert not isinstance(caught.value, RejectedError)


def test_a_pool_depends_on_its_seed_alone(space):
    count = min(space.size() or 8, 8)
    assert draw_pool(space, count, 3) == draw_pool(space, count, 3)
    assert len(set(draw_pool(space, count, 3))) == count


def test_cells_that_can_share_weights_use_keys_of_the_whole(space, codes):
    if not hasattr(space, "covering_codes"):
        return
    shared = shared_weights(space)
    for code in codes:
        graph = space.decode(code)
        assert graph.weights.items() <= shared.weights.items()
        assert graph.biases.items() <= shared.biases.items()
