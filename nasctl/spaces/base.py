"""A space of cells as a tree of choices: a space says what may come next, everything else follows from that.

A cell is a code: the options taken, from the first choice to the last. A space answers `next_choice(prefix)` for the
options taken so far, and turns a whole code into a cell and back. Drawing, mutating, enumerating, naming and searching
are written once, here and above, for every space.
"""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Literal, Protocol, TypeVar, get_args

from nasctl.cells.graph import CellGraph
from nasctl.errors import UsageError, nearest
from nasctl.rng import stream as named_stream

Kind = Literal["op", "edge", "output"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Code = tuple[str, ...]
"""A cell as the options taken; its text is these, joined by `-`."""

MOST_TRIES = 10_000
"""How many codes in a row may be rejected or known before a draw gives up."""

OPTION = re.compile(r"[a-z0-9_]+")
"""What an option is written in, so that a code is safe in file names, tags and overrides."""

T = TypeVar("T")


class RejectedError(UsageError):
    """Each option was possible, but the code as a whole is no cell (a state that nothing reads)."""


@dataclass(frozen=True)
class Choice:
    """One decision: an op, an edge (what a node reads) or an output, and its options in a fixed order.

    `weights` say how often a uniform draw takes each option, relative to each other; None is equally often. Raises
    UsageError for options that could not be told apart in a code's text.
    """

    kind: Kind
    options: tuple[str, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) < len(self.options):
            raise UsageError(f"a choice with options {self.options}", "give at least one, each once")
        if odd := [option for option in self.options if not OPTION.fullmatch(option)]:
            raise UsageError(f"a choice has the option {odd[0]!r}", "an option is of a-z, 0-9 and _")
        if self.weights is not None and (len(self.weights) != len(self.options) or min(self.weights) <= 0):
            raise UsageError(f"{len(self.options)} options have weights {self.weights}", "give each a positive one")

    def without(self, option: str) -> Choice:
        """The choice between the other options."""
        kept = [index for index, other in enumerate(self.options) if other != option]
        weights = None if self.weights is None else tuple(self.weights[index] for index in kept)
        return Choice(self.kind, tuple(self.options[index] for index in kept), weights)


class SearchSpace(Protocol):
    """A set of cells, each with at least one code.

    What every space keeps (`tests/contracts/test_spaces.py`): `next_choice` depends on the prefix alone and ends after
    finitely many choices; a place of a code has one kind of choice, and `steps` knows all that can stand there;
    `decode(encode(graph))` is the same cell as `graph`, and `encode(decode(code)) == code`.
    """

    @property
    def name(self) -> str:
        """The space's name in `SPACES`."""

    def next_choice(self, prefix: Code) -> Choice | None:
        """What is decided behind these options; None where they are a whole code. The prefix is a possible one."""

    def steps(self) -> tuple[Choice, ...]:
        """For each place of the longest code, the choice between every option that some prefix allows there."""

    def decode(self, code: Code) -> CellGraph:
        """The cell, with the weight keys that the cells of this space share.

        Raises UsageError for what is no code of the space (`choices_of` checks that), RejectedError for a code that
        is no cell.
        """

    def encode(self, graph: CellGraph) -> Code:
        """The code of a cell of this space; UsageError says why another is none.

        The weight keys of `decode` give the exact code; of a cell with other keys, a code of that cell.
        """

    def size(self) -> int | None:
        """How many codes `decode` accepts, in closed form; None where nobody knows."""


def choices_of(space: SearchSpace, code: Code) -> tuple[Choice, ...]:
    """The choices that the code is the answer to. Raises UsageError naming the first that it answers wrongly."""
    choices: list[Choice] = []
    while (choice := space.next_choice(code[: len(choices)])) is not None:
        number = len(choices) + 1
        if number > len(code):
            raise UsageError(
                f"{code_text(code) or 'an empty code'} ends behind {len(code)} choices of the space {space.name}",
                f"next is an {choice.kind}: {', '.join(choice.options)}",
            )
        if code[number - 1] not in choice.options:
            raise UsageError(
                f"choice {number} of {code_text(code)} in the space {space.name} is an {choice.kind}, "
                f"and there is no {code[number - 1]!r}",
                nearest(code[number - 1], choice.options),
            )
        choices.append(choice)
    if len(code) > len(choices):
        raise UsageError(
            f"{code_text(code)} has {len(code)} choices", f"a code of the space {space.name} ends behind {len(choices)}"
        )
    return tuple(choices)


def code_text(code: Code) -> str:
    """The code in one word: `tanh-0-relu-0-identity`."""
    return "-".join(code)


def code_of(text: str, space: SearchSpace) -> Code:
    """The code that is written so. Raises UsageError, with the nearest options, for what is none of the space."""
    code = tuple(text.split("-")) if text else ()
    choices_of(space, code)
    return code


def pick(stream: Random, items: Sequence[T], weights: Sequence[float] | None = None) -> T:
    """One of the items, in proportion to its weight; costs one number of the stream.

    `Random.random` is the one method of Python's generator that may not change between its versions.
    """
    bounds = list(accumulate(weights or [1.0] * len(items)))
    return items[bisect(bounds, stream.random() * bounds[-1], hi=len(items) - 1)]


def sample(space: SearchSpace, stream: Random) -> Code:
    """A code drawn choice by choice, drawn anew where `decode` rejects it."""
    return _accepted(space, lambda: _completed(space, (), stream))


def mutate(space: SearchSpace, code: Code, stream: Random, kinds: Collection[Kind] = KINDS) -> Code:
    """The code with another answer to one of its choices of these kinds.

    All later answers stay where they are still possible, and are drawn anew where they are not. Raises UsageError for
    a code of another space, and where there is nothing to change.
    """
    choices = choices_of(space, code)
    places = [place for place, choice in enumerate(choices) if choice.kind in kinds and len(choice.options) > 1]
    if not places:
        raise UsageError(
            f"{code_text(code)} has no choice of {' or '.join(kinds)} with two options", "there is nothing to mutate"
        )

    def mutant() -> Code:
        place = pick(stream, places)
        other = choices[place].without(code[place])
        return _completed(space, (*code[:place], pick(stream, other.options, other.weights)), stream, keep=code)

    return _accepted(space, mutant)


def enumerate_codes(space: SearchSpace) -> Iterator[Code]:
    """Every code, depth first in the order of the options, also those that `decode` rejects; nothing is kept."""
    pending: list[Code] = [()]
    while pending:
        prefix = pending.pop()
        choice = space.next_choice(prefix)
        if choice is None:
            yield prefix
        else:
            pending.extend((*prefix, option) for option in reversed(choice.options))


def draw_pool(space: SearchSpace, count: int, seed: int) -> tuple[Code, ...]:
    """`count` distinct codes in the order drawn, from a stream that nothing else uses: the same on every machine.

    Two of them can still be one cell (`cell_digest` tells). Raises UsageError where there are not so many.
    """
    size = space.size()
    if count < 1:
        raise UsageError(f"a pool of {count} codes", "ask for 1 or more")
    if size is not None and count > size:
        raise UsageError(f"a pool of {count} codes, and the space {space.name} has {size}", f"ask for 1 to {size}")
    stream = named_stream(seed, "pool", space.name)
    pool: dict[Code, None] = {}
    tries = 0
    while len(pool) < count:
        known = len(pool)
        pool[sample(space, stream)] = None
        tries = 0 if len(pool) > known else tries + 1
        if tries == MOST_TRIES:
            raise UsageError(f"{tries} draws in a row gave none but the {known} known codes", f"ask for 1 to {known}")
    return tuple(pool)


def log_probability(space: SearchSpace, code: Code) -> float:
    """The natural logarithm of how likely one draw is this code, rejected codes counted as draws.

    Where each code is equally likely, its negative is the entropy of the draw, in nats.
    """
    total = 0.0
    for choice, option in zip(choices_of(space, code), code, strict=True):
        weights = choice.weights or (1.0,) * len(choice.options)
        total += math.log(weights[choice.options.index(option)] / sum(weights))
    return total


def _completed(space: SearchSpace, prefix: Code, stream: Random, keep: Code = ()) -> Code:
    """The prefix and, for every choice behind it, the answer of `keep` where it is possible, else a drawn one."""
    while (choice := space.next_choice(prefix)) is not None:
        kept = keep[len(prefix)] if len(prefix) < len(keep) else ""
        answer = kept if kept in choice.options else pick(stream, choice.options, choice.weights)
        prefix = (*prefix, answer)
    return prefix


def _accepted(space: SearchSpace, draw: Callable[[], Code]) -> Code:
    """The first code drawn that is a cell."""
    reason = ""
    for _ in range(MOST_TRIES):
        code = draw()
        try:
            space.decode(code)
        except RejectedError as error:
            reason = str(error)
        else:
            return code
    raise none_accepted(space, MOST_TRIES, reason)


def none_accepted(space: SearchSpace, tries: int, reason: str) -> UsageError:
    """What is wrong when so many draws in a row were rejected, the last for this reason."""
    return UsageError(
        f"{tries} codes in a row are no cells of the space {space.name}; the last: {reason}", "widen the space"
    )
