"""Plain text for terminals and pipes: columns, sizes, durations."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

__all__ = ["columns", "counted", "duration", "size", "terminal_width"]

GAP = "  "
NARROWEST = 20
"""Characters, below which a wrapped column could not be read."""


def columns(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = (), width: int | None = None
) -> str:
    """Rows below a header, each column as wide as it must be; those named in `right` end flush.

    With a `width` the last column is wrapped to fit it, if there is room for a few words.
    """
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    left = sum(widths[:-1]) + len(GAP) * (len(header) - 1)
    if width is not None and width - left >= NARROWEST:
        widths[-1] = min(widths[-1], width - left)
    flush = [name in right for name in header]
    shown = []
    for line in lines:
        *cells, last = line
        parts = textwrap.wrap(last, widths[-1]) if len(last) > widths[-1] else [last]
        shown.append(_aligned([*cells, parts[0]], widths, flush))
        shown += [" " * left + part for part in parts[1:]]
    return "\n".join(shown)


def _aligned(cells: Sequence[str], widths: Sequence[int], flush: Sequence[bool]) -> str:
    placed = (
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(cells, widths, flush, strict=True)
    )
    return GAP.join(placed).rstrip()


def terminal_width() -> int | None:
    """The columns of the terminal that stdout is; None if it is none, and lines may be as long as they are."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def counted(number: int, word: str, words: str = "") -> str:
    """`1 epoch`, `3 epochs`; `words` is the plural where it is not that with an s."""
    return f"{number} {word if number == 1 else words or f'{word}s'}"


def duration(seconds: float) -> str:
    """Seconds as people say them: `4.2 s`, `3 min 20 s`, `5 h 07 min`, `2 d 3 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def size(amount: float) -> str:
    """Bytes in decimal units: `512 B`, `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
