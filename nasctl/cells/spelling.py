"""How a run spells its cells: one text per cell, whatever it is called and however its steps were ordered.

A run's identity contains this text. It is the one-line notation of the canonical form, but for the LSTM, which is
spelled `lstm`.
"""

from __future__ import annotations

from functools import lru_cache

from nasctl.cells.graph import CellGraph
from nasctl.cells.library import lstm
from nasctl.cells.rewrite import canonical, cell_digest
from nasctl.cells.text import from_text, to_text
from nasctl.errors import UsageError

LSTM = "lstm"

KNOWN = 1024
"""Texts that are remembered: a study spells the same few cells in each of its trials."""


def spelled(graph: CellGraph) -> str:
    """The text of this cell."""
    text = to_text(canonical(graph))
    return LSTM if text == _written_out() else text


@lru_cache(maxsize=KNOWN)
def cell_of(text: str) -> CellGraph:
    """The cell that a text spells. Raises UsageError for what is no cell."""
    return lstm() if text == LSTM else from_text(text)


@lru_cache(maxsize=KNOWN)
def digest_of(text: str) -> str:
    """The digest of the cell that a text spells, as records have it; `lstm` for the LSTM."""
    return LSTM if text == LSTM else cell_digest(cell_of(text))


@lru_cache(maxsize=KNOWN)
def checked(text: str) -> str:
    """The text itself. Raises UsageError if its cell is spelled in another way, or if it is no cell."""
    if (right := spelled(cell_of(text))) != text:
        raise UsageError(f"{text} is not the canonical text of a cell", f"it is {right}")
    return text


@lru_cache(maxsize=1)
def _written_out() -> str:
    return to_text(canonical(lstm()))
