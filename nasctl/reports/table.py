"""A table as a value: what it says, before anybody decides how it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nasctl.cells.graph import CellGraph

Kind = Literal["text", "count", "score", "difference", "real", "correlation", "seconds", "interval", "range"]
"""What a column holds: "score" is shown with one decimal, "difference" with two and its sign, "real" with four digits,
"correlation" with three decimals, "interval" is a pair of scores and "range" one of differences or correlations, whose
bounds must not seem to be 0 where they are not, "count" a whole number or a word that says what was counted."""
Cell = str | int | float | tuple[float, float] | None
"""None is missing."""

_TYPES: dict[Kind, tuple[type, ...]] = {
    "text": (str,),
    "count": (int, str),
    "score": (int, float),
    "difference": (int, float),
    "real": (int, float),
    "correlation": (int, float),
    "seconds": (int, float),
    "interval": (tuple,),
    "range": (tuple,),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, what it holds, and its name where names must differ (CSV), if the heading is not enough."""

    title: str
    kind: Kind = "text"
    key: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A cell to be drawn below a table; `name` is a word for its file, `caption` a line for people."""

    name: str
    caption: str
    graph: CellGraph


@dataclass(frozen=True, slots=True)
class Table:
    """`name` is a short word (the file it is written to), `notes` are sentences that stand below it.

    Raises ValueError if a row does not fit the columns.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.name}: {len(row)} cells in a row of {len(self.columns)} columns: {row}")
            for cell, column in zip(row, self.columns, strict=True):
                if cell is not None and not isinstance(cell, _TYPES[column.kind]):
                    raise ValueError(f"table {self.name}: {cell!r} is no {column.kind} ({column.title})")
