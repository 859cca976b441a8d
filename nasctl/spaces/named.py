"""The cell that a person names: one of the library, a code, or a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nasctl.cells.graph import CellGraph
from nasctl.cells.library import in_library, library_cell
from nasctl.cells.text import read_cell
from nasctl.files import path_of
from nasctl.spaces.base import Code, code_of
from nasctl.spaces.enas import ACTIVATIONS, EnasSpace


@dataclass(frozen=True)
class NamedCell:
    """A cell with what it is called, where it comes from in words, and its code; `code` is None if nobody knows one."""

    name: str
    graph: CellGraph
    source: str
    code: Code | None


def cell_of_word(word: str) -> NamedCell:
    """The cell that a word of a command line means: a name of the library, an ENAS code, else a file.

    Raises UsageError for a word that is none of them, and for what is no cell. A file that is called like a cell of the
    library is `./lstm`.
    """
    path = path_of(word)
    if in_library(word) or _is_code(word) or not (path.is_file() or path.suffix or len(path.parts) > 1):
        return cell_called(word)
    return cell_in(path)


def cell_called(name: str) -> NamedCell:
    """The cell of the library with this name or number, or the ENAS cell with this code, of any number of nodes."""
    if _is_code(name):
        space = EnasSpace((name.count("-") + 1) // 2 + 1)  # a code without its last choice is one of as many nodes
        code = code_of(name, space)
        return NamedCell(name, space.decode(code), f"a code of the space {space.name}", code)
    known = library_cell(name)
    return NamedCell(known.name, known.graph, known.source, known.code)


def _is_code(word: str) -> bool:
    """Whether the word can only be meant as a code, right or wrong: a file has an ending or a folder."""
    return word.partition("-")[0] in ACTIVATIONS and re.fullmatch(r"[\w-]+", word, re.ASCII) is not None


def cell_in(path: Path) -> NamedCell:
    """The cell in a file, in JSON or in the one-line notation, called like the file."""
    return NamedCell(path.stem, read_cell(path), f"the file {path.name}", None)
