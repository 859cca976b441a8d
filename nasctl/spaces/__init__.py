"""Which cells can be found: pure Python, no torch. `SPACES` names every space."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from nasctl.errors import UsageError, nearest
from nasctl.spaces.base import SearchSpace
from nasctl.spaces.enas import EnasSpace

SPACES: Mapping[str, Callable[..., SearchSpace]] = {
    "enas": EnasSpace,
}


def space_named(name: str, **sizes: int) -> SearchSpace:
    """The space of this name and these sizes (`nodes=6`). Raises UsageError with what would be right."""
    if name not in SPACES:
        raise UsageError(f"there is no space {name!r}", nearest(name, SPACES))
    known = inspect.signature(SPACES[name]).parameters
    if odd := sorted(known.keys() ^ sizes.keys()):
        missing = odd[0] in known
        raise UsageError(
            f"the space {name} {'needs' if missing else 'has no'} {odd[0]}",
            f"known: {', '.join(known)}" if missing else nearest(odd[0], known),
        )
    return SPACES[name](**sizes)
