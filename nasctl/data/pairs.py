"""What every source of a data set hands over: sentence pairs as text, and where each of them was read."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pair", "Part"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One sentence pair as it stands in its source; the label stays text until the task is known."""

    id: str
    first: str
    second: str
    label: str


@dataclass(frozen=True, slots=True)
class Part:
    """The pairs of one split, in order, with the file (or generator) and the line that each was read from."""

    pairs: tuple[Pair, ...]
    origin: str
    lines: tuple[int, ...]

    def where(self, row: int) -> str:
        """The place of a pair, for people."""
        return f"{self.origin}, line {self.lines[row]}"

    def rows(self, chosen: list[int]) -> Part:
        """The part that holds the chosen rows, in the order given."""
        return Part(tuple(self.pairs[row] for row in chosen), self.origin, tuple(self.lines[row] for row in chosen))
