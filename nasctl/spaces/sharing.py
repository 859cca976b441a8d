"""What the cells of a space have in common when they share weights: one matrix per key, whichever cells use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from nasctl.cells.graph import Width
from nasctl.errors import UsageError
from nasctl.spaces.base import Code, SearchSpace


@runtime_checkable
class SharingSpace(SearchSpace, Protocol):
    """A space whose cells can share weights: it knows a few codes that together use every key."""

    def covering_codes(self) -> Iterable[Code]:
        """Codes whose cells use every weight and bias key that any cell of the space uses."""


@dataclass(frozen=True)
class SharedWeights:
    """Every weight key of a space with the width of what its matrix [H, width] multiplies, every bias key and start."""

    weights: Mapping[str, Width]
    biases: Mapping[str, float]

    def parameters(self, input_width: int, hidden: int) -> int:
        """How many numbers one direction of the shared weights holds."""
        inputs = sum(input_width if width == "D" else hidden for width in self.weights.values())
        return hidden * (inputs + len(self.biases))


def sharing(space: SearchSpace) -> SharingSpace:
    """The space itself. Raises UsageError if its cells cannot share weights."""
    if isinstance(space, SharingSpace):
        return space
    raise UsageError(f"the cells of the space {space.name} share no weights", "a search without shared weights")


def shared_weights(space: SharingSpace) -> SharedWeights:
    """All keys that the cells of the space use."""
    weights: dict[str, Width] = {}
    biases: dict[str, float] = {}
    for code in space.covering_codes():
        graph = space.decode(code)
        weights |= graph.weights
        biases |= graph.biases
    return SharedWeights(weights, biases)
