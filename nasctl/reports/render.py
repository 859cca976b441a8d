"""Three ways to write a table: Markdown to read, LaTeX to print, CSV to compute with."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from nasctl.cells.draw import to_mermaid
from nasctl.cells.graph import CellGraph
from nasctl.cells.spelling import spelled
from nasctl.reports.table import Cell, Column, Kind, Table

MISSING = "–"  # noqa: RUF001 - a dash, not a minus: no number begins here
_LEFT: frozenset[Kind] = frozenset({"text"})


def markdown(table: Table) -> str:
    """GitHub's Markdown, columns padded so that it reads well as it is; a missing cell is a dash, a cell is drawn."""
    pictures = [f"```mermaid\n{to_mermaid(each.graph, each.caption).strip()}\n```" for each in table.drawings]
    return _markdown(table, pictures)


def terminal(table: Table) -> str:
    """As `markdown`, for people at a terminal: narrower, with what all rows have in common, and codes, below.

    In place of a drawing stands the cell's text, a line per statement.
    """
    return _markdown(_narrow(table), [f"{_plain(each.caption)}:\n{_program(each.graph)}" for each in table.drawings])


def latex(table: Table) -> str:
    """A table environment with booktabs' rules; notes and the cells' texts stand below it in small print."""
    heads = [_latex_text(column.title) for column in table.columns]
    body = [[_latex_text(text) for text in row] for row in _shown(table)]
    texts = [f"{each.caption}: {spelled(each.graph)}" for each in table.drawings]
    shape = "".join("l" if column.kind in _LEFT else "r" for column in table.columns)
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_latex_text(table.title)}}}",
        f"\\label{{tab:{re.sub(r'[^A-Za-z0-9-]', '-', table.name)}}}",
        f"\\begin{{tabular}}{{{shape}}}",
        "\\toprule",
        " & ".join(heads) + " \\\\",
        "\\midrule",
        *(" & ".join(row) + " \\\\" for row in body),
        "\\bottomrule",
        "\\end{tabular}",
        *(f"\n\\smallskip\n{{\\footnotesize {_latex_text(note)}\\par}}" for note in [*table.notes, *texts]),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def comma_separated(table: Table) -> str:
    """CSV: numbers in full, an interval as two columns, a missing cell empty; no title and no notes.

    Text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_csv_text(head) for column in table.columns for head in _csv_heads(column)])
    for row in table.rows:
        cells = zip(row, table.columns, strict=True)
        writer.writerow([part for cell, column in cells for part in _csv_parts(cell, column.kind)])
    return stream.getvalue()


@dataclass(frozen=True, slots=True)
class Format:
    """How a table is written, and the ending of the file that it is written to."""

    render: Callable[[Table], str]
    ending: str


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "markdown": Format(markdown, ".md"),
        "latex": Format(latex, ".tex"),
        "csv": Format(comma_separated, ".csv"),
    }
)


def _shown(table: Table) -> list[list[str]]:
    return [[_text(cell, column.kind) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows]


def _text(cell: Cell, kind: Kind) -> str:
    """A cell as people read it."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return MISSING
    if isinstance(cell, tuple):
        low, high = (_BOUNDS[kind](bound) for bound in cell)
        return f"{low} to {high}"
    if isinstance(cell, str):
        return cell
    return _NUMBERS[kind](cell)


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them: 42 s, 12 min, 3.5 h, 4.2 d."""
    for limit, unit, size in ((100, "s", 1), (6_000, "min", 60)):
        if round(seconds / size) * size < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"


def _narrow(table: Table) -> Table:
    """The table without text columns that say one thing in every row, and with numbers for codes; notes say both."""
    if len(table.rows) < 2:
        return table
    values = list(zip(*table.rows, strict=True))
    same = [
        place
        for place, (column, each) in enumerate(zip(table.columns, values, strict=True))
        if column.kind in _LEFT and len(set(each)) == 1 and each[0] is not None
    ]
    differing = [[cell for place, cell in enumerate(row) if place not in same] for row in table.rows]
    long = dict.fromkeys(
        text for row in differing for text in row if isinstance(text, str) and _is_code(text) and len(text) > _LONG
    )
    marks = {text: f"#{number}" for number, text in enumerate(long, 1)}
    rows = [tuple(marks.get(cell, cell) if isinstance(cell, str) else cell for cell in row) for row in differing]
    common = ", ".join(f"{table.columns[place].key or table.columns[place].title} {values[place][0]}" for place in same)
    notes = [f"In all rows: {common}."] * bool(same) + [f"{mark} {text}" for text, mark in marks.items()]
    columns = tuple(column for place, column in enumerate(table.columns) if place not in same)
    return replace(table, columns=columns, rows=tuple(rows), notes=(*notes, *table.notes))


_LONG = 20
"""Characters, beyond which the code of a cell stands below a table at a terminal."""


def _is_code(text: str) -> bool:
    """Whether it looks like the code of a cell: `tanh-0-relu-1-sigmoid`."""
    return bool(re.fullmatch(r"[a-z_]+(-\d+-[a-z_]+)+", text))


def _decimals(digits: int, sign: str = "") -> Callable[[float], str]:
    return lambda number: f"{round(number, digits) + 0.0:{sign}.{digits}f}"  # + 0.0: never -0.0


_NUMBERS: Mapping[Kind, Callable[[float], str]] = {
    "count": "{:,}".format,
    "score": _decimals(1),
    "difference": _decimals(2, "+"),
    "real": "{:.4g}".format,
    "correlation": _decimals(3),
    "seconds": duration,
}

_BOUNDS: Mapping[Kind, Callable[[float], str]] = {"interval": _decimals(1), "range": _decimals(2)}

_CONTROLS = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # a row must not begin with what the line break before it takes for its argument
    "*": "{*}",
    MISSING: "--",
}


def _program(graph: CellGraph) -> str:
    return "\n".join(f"    {_plain(statement)}" for statement in spelled(graph).split("; "))


def _plain(text: str) -> str:
    """Text without line breaks and other controls."""
    return _CONTROLS.sub(" ", text)


def _markdown_text(text: str) -> str:
    """Text that stays text: no cell ends early, nothing becomes HTML, code, a link or emphasis.

    Within a word `_` is text already.
    """
    return re.sub(
        r"([\\|`*~\[\]]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", _plain(text).replace("&", "&amp;").replace("<", "&lt;")
    )


def _markdown(table: Table, drawings: Sequence[str]) -> str:
    """Title, table, notes and drawings, with an empty line between them."""
    heads = [_markdown_text(column.title) for column in table.columns]
    body = [[_markdown_text(text) for text in row] for row in _shown(table)]
    widths = [max(3, *(len(row[i]) for row in [heads, *body])) for i in range(len(heads))]
    rules = [
        "-" * width if column.kind in _LEFT else "-" * (width - 1) + ":"
        for width, column in zip(widths, table.columns, strict=True)
    ]
    lines = [_markdown_line(row, widths, table.columns) for row in [heads, rules, *body]]
    notes = [f"- {_markdown_text(note)}" for note in table.notes]
    blocks = [f"### {_markdown_text(table.title)}", "\n".join(lines), "\n".join(notes), *drawings]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _markdown_line(cells: list[str], widths: list[int], columns: tuple[Column, ...]) -> str:
    padded = [
        cell.ljust(width) if column.kind in _LEFT else cell.rjust(width)
        for cell, width, column in zip(cells, widths, columns, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in _plain(text))


def _csv_heads(column: Column) -> list[str]:
    head = column.key or column.title
    return [f"{head} low", f"{head} high"] if column.kind in _BOUNDS else [head]


def _csv_parts(cell: Cell, kind: Kind) -> list[str | int | float]:
    if isinstance(cell, str):
        return [_csv_text(cell)]
    parts = cell if isinstance(cell, tuple) else (cell,) * (2 if kind in _BOUNDS else 1)
    return ["" if part is None or not math.isfinite(part) else part for part in parts]


def _csv_text(text: str) -> str:
    plain = _plain(text)
    return f"'{plain}" if plain.lstrip().startswith(("=", "+", "-", "@")) else plain
