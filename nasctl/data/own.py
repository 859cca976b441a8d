"""A user's own tables of sentence pairs: CSV, TSV, JSONL and Parquet with named columns."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from nasctl.data.pairs import Pair, Part
from nasctl.data.sources import existing, read_lines, read_parquet, read_text
from nasctl.data.splits import share, split_rows
from nasctl.errors import UsageError, nearest
from nasctl.files import path_of
from nasctl.sources import Columns, DatasetSpec

__all__ = ["FORMATS", "read_table", "table_files"]

QUOTED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')
"""What spreadsheets and pandas make of a field with quote marks inside."""

logger = logging.getLogger(__name__)

Row = tuple[int, Sequence[str]]
"""A line number, and the fields asked for."""


def table_files(spec: DatasetSpec) -> dict[str, Path]:
    """The files that the spec names, by split.

    Raises UsageError if there is no training file, if one is not there, or if two splits are one file.
    """
    named = {"train": spec.train, "dev": spec.dev, "test": spec.test}
    files = {split: path_of(name) for split, name in named.items() if name is not None}
    if "train" not in files:
        raise UsageError("dataset.source=table needs a training file", "say dataset.train=FILE")
    splits: dict[Path, str] = {}
    for split, path in files.items():
        other = splits.setdefault(existing(path).resolve(), split)
        if other != split:
            raise UsageError(
                f"dataset.{other} and dataset.{split} are the same file {path}",
                f"a share of the training file becomes {split} data with dataset.{split}_fraction",
            )
    return files


def read_table(spec: DatasetSpec) -> dict[str, Part]:
    """The splits of a user's own data set.

    A split without a file of its own is drawn from the training file: `dev_fraction` and `test_fraction` of its rows,
    by `split_seed` (test first, so that another dev fraction moves no test row). Without either there is no test split.

    Raises UsageError, naming file and line, for whatever cannot be read.
    """
    files, columns = table_files(spec), spec.columns
    if columns is None:
        raise UsageError("dataset.source=table needs dataset.columns", "say first, second and label (and id, or null)")
    _check_roles(columns)
    parts = {split: _part(path, columns) for split, path in files.items()}
    total = len(parts["train"].pairs)
    for split, fraction in (("test", spec.test_fraction), ("dev", spec.dev_fraction)):
        if split not in parts and fraction > 0:
            parts |= _draw(parts["train"], split, share(total, fraction), spec.split_seed)
    if "dev" not in parts:
        raise UsageError("there is no dev data to choose by", "say dataset.dev=FILE or dataset.dev_fraction=0.1")
    return {split: parts[split] for split in ("train", "dev", "test") if split in parts}


def _check_roles(columns: Columns) -> None:
    """Raises UsageError for a column that is to be two of sentences and label; ids may be any."""
    for one, other in combinations(("first", "second", "label"), 2):
        if getattr(columns, one) == getattr(columns, other):
            raise UsageError(
                f"dataset.columns.{one} and dataset.columns.{other} are the same column {getattr(columns, one)!r}",
                f"dataset.columns.{other}=NAME, of another column",
            )


def _draw(train: Part, split: str, held_out: int, seed: int) -> dict[str, Part]:
    if held_out >= len(train.pairs):
        raise UsageError(
            f"{train.origin} has {len(train.pairs)} rows left to draw from; dataset.{split}_fraction takes {held_out}",
            "smaller fractions, or a file of its own for that split",
        )
    stays, out = split_rows(len(train.pairs), held_out, seed)
    return {"train": train.rows(stays), split: train.rows(out)}


def _part(path: Path, columns: Columns) -> Part:
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"{path}: the ending {path.suffix or 'that a name needs'} is unknown", nearest(path.suffix, FORMATS)
        )
    roles = {"first": columns.first, "second": columns.second, "label": columns.label}
    if columns.id is not None:
        roles["id"] = columns.id
    rows = list(FORMATS[path.suffix.lower()](path, roles))
    if not rows:
        raise UsageError(f"{path} has no rows", "a pair in each, below a header in CSV and TSV")
    pairs = (
        Pair(fields[3] if columns.id is not None else str(number), fields[0], fields[1], fields[2])
        for number, (_, fields) in enumerate(rows, 1)
    )
    return Part(tuple(pairs), str(path), tuple(line for line, _ in rows))


def _csv_rows(path: Path, roles: Mapping[str, str]) -> Iterator[Row]:
    """Commas, and double quotes doubled inside quotes (RFC 4180); a field may span lines."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    line, places, width = 1, None, 0
    try:
        for fields in reader:
            if fields and places is None:
                places, width = _places(path, roles, fields), len(fields)
            elif fields and places is not None:
                yield line, _pick(path, line, fields, places, width)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(
            f"{path}, line {line}: {error}", "a quote mark inside a field is written twice, and the field in quotes"
        ) from error


def _tsv_rows(path: Path, roles: Mapping[str, str]) -> Iterator[Row]:
    """Tabs and nothing else: a quote mark is a character like any other, since sentences begin with them."""
    places, width, told = None, 0, False
    for line, text in read_lines(path):
        fields = text.split("\t")
        if places is None:
            places, width = _places(path, roles, fields), len(fields)
        else:
            if not told and any(QUOTED.fullmatch(field) for field in fields):
                logger.warning(
                    "%s, line %d: a field looks quoted as in CSV; TSV has no quoting (a .csv file has)", path, line
                )
                told = True
            yield line, _pick(path, line, fields, places, width)


def _jsonl_rows(path: Path, roles: Mapping[str, str]) -> Iterator[Row]:
    """One object per line; sentences are strings, labels strings, numbers or booleans."""
    for line, text in read_lines(path):
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:  # the second: brackets in brackets, thousands deep
            raise UsageError(f"{path}, line {line}: not JSON ({error})", "one JSON object per line") from error
        if not isinstance(row, dict):
            raise UsageError(f"{path}, line {line}: not a JSON object", 'as in {"first": "...", "second": "..."}')
        for role, column in roles.items():
            if column not in row:
                raise _missing(f"{path}, line {line}", role, column, row)
        yield line, [_text(path, line, role, row[column]) for role, column in roles.items()]


def _parquet_rows(path: Path, roles: Mapping[str, str]) -> Iterator[Row]:
    """The row's number, counted from 1, stands for the line."""
    names, rows = read_parquet(path, list(roles.values()))
    _places(path, roles, names)
    for number, values in enumerate(rows, 1):
        yield number, [_text(path, number, role, value) for role, value in zip(roles, values, strict=True)]


FORMATS: Mapping[str, Callable[[Path, Mapping[str, str]], Iterator[Row]]] = {
    ".csv": _csv_rows,
    ".tsv": _tsv_rows,
    ".jsonl": _jsonl_rows,
    ".parquet": _parquet_rows,
}
"""How a file is read, by the ending of its name; each takes the wanted columns by role."""


def _places(path: Path, roles: Mapping[str, str], header: list[str]) -> list[int]:
    """Where the wanted columns stand in the header. Raises UsageError for one that is not there, or there twice."""
    for role, column in roles.items():
        if column not in header:
            raise _missing(str(path), role, column, header)
        if header.count(column) > 1:
            raise UsageError(f"{path} has {header.count(column)} columns called {column!r}", "names must differ")
    return [header.index(column) for column in roles.values()]


def _pick(path: Path, line: int, fields: list[str], places: list[int], width: int) -> list[str]:
    if len(fields) != width:
        raise UsageError(
            f"{path}, line {line}: {len(fields)} fields, but the header has {width}",
            "a field with the separator inside it needs quotes in CSV, and cannot stand in TSV",
        )
    return [fields[place] for place in places]


def _missing(where: str, role: str, column: str, there: Sequence[str] | Mapping[str, Any]) -> UsageError:
    """The mistake of a column that is not there; names that begin or end with a blank are quoted, to show it."""
    names = [name if name == name.strip() else repr(name) for name in there]
    return UsageError(f"{where}: no column {column!r} (dataset.columns.{role})", nearest(column, names))


def _text(path: Path, line: int, role: str, value: object) -> str:
    """A typed value as the text that CSV would have had; sentences must be strings."""
    if isinstance(value, str):
        return _whole(path, line, role, value)
    if role in {"label", "id"} and isinstance(value, bool):
        return "true" if value else "false"
    if role in {"label", "id"} and isinstance(value, int | float):
        return str(value)
    if role == "label" and value is None:
        return ""
    kind = "missing" if value is None else f"of type {type(value).__name__}"
    raise UsageError(
        f"{path}, line {line}: dataset.columns.{role} is {kind}",
        "sentences are strings; labels and ids strings, numbers or booleans",
    )


def _whole(path: Path, line: int, role: str, text: str) -> str:
    r"""The text, if it can be written as UTF-8: JSON may spell half a surrogate pair, as in "\ud83d"."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])[1:-1]
        raise UsageError(
            f"{path}, line {line}: dataset.columns.{role} holds half a character ({half})",
            "text that was cut inside an emoji, for example: write both halves, or none",
        ) from error
    return text
