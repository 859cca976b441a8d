"""What every strategy that proposes cells promises to whoever drives it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from evolution import Evolution
from hypothesis import given, settings
from hypothesis import strategies as draw

from nasctl.errors import UsageError
from nasctl.search.proposers import PROPOSERS, Proposer, Tried, proposer
from nasctl.spaces import space_named
from nasctl.spaces.base import Code, code_of, code_text
from nasctl.specs import Proposals
from nasctl.strategies import RandomProposals, SpaceSpec

MEMBERS = (*PROPOSERS, "evolution")
FEW = settings(max_examples=15)
VALUES = draw.lists(draw.none() | draw.sampled_from((-1.0, 0.0, 0.25, 0.5)), max_size=12)


@pytest.fixture(params=MEMBERS, scope="module")
def make(request):
    """One of the members over a space of ENAS cells, by seed and number of nodes."""

    def made(seed: int = 0, nodes: int = 4) -> Proposer:
        if request.param == "evolution":
            return Evolution(space_named("enas", nodes=nodes), None, seed, "pearson")
        return proposer(Proposals(SpaceSpec("enas", nodes), RandomProposals(request.param, 1), seed), "pearson")

    return made


def history(member: Proposer, values: Sequence[float | None]) -> list[Tried]:
    """What was proposed, one after the other, and what became of it."""
    tried: list[Tried] = []
    for value in values:
        tried.append(Tried(member.propose(tried), value))
    return tried


@FEW
@given(VALUES)
def test_every_proposal_is_a_cell_of_the_space_and_none_is_made_twice(make, values):
    tried, space = history(make(), values), space_named("enas", nodes=4)
    codes = [each.code for each in tried]
    assert len({*codes}) == len(codes)
    for code in codes:
        assert code_of(code_text(code), space) == code
        space.decode(code)


@FEW
@given(VALUES)
def test_what_it_proposes_follows_from_what_was_tried_alone(make, values):
    """So that another process, which has but the trials, goes on with the same cells."""
    member = make()
    tried = history(member, values)
    first = member.propose(tried)
    member.propose(tried[: len(tried) // 2])  # asked for in between
    assert member.propose(tuple(tried)) == first == make().propose(list(tried))
    assert history(make(), values) == tried


def test_another_seed_proposes_other_cells(make):
    values = [0.5, None, 0.25, 0.5] * 2
    seeds: set[tuple[Code, ...]] = {tuple(each.code for each in history(make(seed), values)) for seed in range(4)}
    assert len(seeds) == 4


def test_a_whole_space_can_be_tried_and_then_nothing_is_left(make):
    member = make(nodes=2)
    tried = history(member, [0.5] * 16)
    assert len({each.code for each in tried}) == space_named("enas", nodes=2).size() == 16
    with pytest.raises(UsageError, match="none but the 16 cells that were tried"):
        member.propose(tried)


def test_every_member_has_settings(checkout: Path):
    """A row of the table, its settings and a group that composes belong together."""
    for name in PROPOSERS:
        assert f"name: {name}\n" in (checkout / "conf" / "search" / f"{name}.yaml").read_text()
