"""Files as they are found: text in UTF-8, Parquet, downloads. The door to pyarrow and pooch."""

from __future__ import annotations

import codecs
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from nasctl.errors import MachineError, UsageError, nearest
from nasctl.files import path_of

__all__ = ["ENVIRONMENT", "data_root", "download", "existing", "find", "read_lines", "read_parquet", "read_text"]

ENVIRONMENT = "NASCTL_DATA"
"""The one environment variable of nasctl: the folder that holds mrpc/, stsb/, sick/ and vectors/."""

TIMEOUT_SECONDS = 30.0
"""Without a byte from the server."""


MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Which encoding a byte order mark says, the longer first: that of UTF-32 (little-endian) begins with one of UTF-16.

Text without one that is not UTF-8 is mostly Windows-1252, in which some bytes are nothing: a wrong guess fails.
"""


def data_root(root: Path | None) -> Path:
    """The folder of data sets: the one given, else that of the environment.

    Raises MachineError if neither says one.
    """
    if root is not None:
        return path_of(root)
    if os.environ.get(ENVIRONMENT):
        return path_of(os.environ[ENVIRONMENT])
    raise MachineError(
        "no folder of data sets is known",
        f"say data.root=FOLDER or set {ENVIRONMENT}; `nasctl data fetch NAME data.root=FOLDER` fills such a folder; "
        "dataset=demo needs none",
    )


def find(folder: Path, name: str) -> Path:
    """The file `name` of a published data set's folder.

    Raises MachineError, naming the folder and what would bring the file, if it is not there.
    """
    path = folder / name
    if not path.is_file():
        raise MachineError(
            f"{path} is not there",
            f"`nasctl data fetch {folder.name}` downloads it; or say where it is: data.root=FOLDER",
        )
    return path


def existing(path: Path) -> Path:
    """The path of a user's own file.

    Raises UsageError, with the nearest name in its folder, if there is no such file.
    """
    if not path.is_file():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(f"{path} is {'a folder' if path.is_dir() else 'not there'}", nearest(path.name, beside))
    return path


def read_text(path: Path) -> str:
    """The whole file as text; a byte order mark is dropped, line ends stay as they are.

    Raises UsageError for a file that cannot be read or is not UTF-8, naming the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "its permissions or its disk") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "cp1252")
        raise UsageError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8",
            f"convert it first, for example: {shlex.join(['iconv', '-f', encoding, '-t', 'utf-8', str(path)])}",
        ) from error


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1; only LF or CR LF ends a line."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield number, line.removesuffix("\r")


def read_parquet(path: Path, columns: Sequence[str]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The names of all columns of a Parquet file, and the rows of those asked for (none unless each is there once).

    Raises UsageError for a file that is no Parquet.
    """
    import pyarrow as pa  # noqa: PLC0415 - nobody else's table needs it
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            if any(names.count(column) != 1 for column in columns):
                return names, []
            table = file.read(columns=list(dict.fromkeys(columns)))
    except (pa.ArrowException, OSError) as error:
        raise UsageError(
            f"{path} cannot be read as Parquet: {error}", "write it again with pandas or pyarrow"
        ) from error
    values = {name: table.column(name).to_pylist() for name in table.column_names}
    return names, list(zip(*(values[name] for name in columns), strict=True))


def download(url: str, target: Path, limit: int, *, progress: bool) -> None:
    """The bytes at `url` into the new file `target`; with a bar on stderr if `progress`.

    Raises OSError (what requests raises is one) if the transfer fails or is cut short, MachineError if more than
    `limit` bytes come.
    """
    import pooch  # noqa: PLC0415 - only those who fetch need it

    fetch = pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUT_SECONDS)
    with target.open("xb") as stream:
        fetch(url, _Limited(stream, limit, url), None)


class _Limited:
    """A file that refuses to grow beyond a limit: servers may send without end."""

    def __init__(self, stream: IO[bytes], limit: int, url: str) -> None:
        self.stream, self.left, self.what = stream, limit, f"{url} sends more than the {limit} bytes it can have"

    def write(self, chunk: bytes) -> int:
        self.left -= len(chunk)
        if self.left < 0:
            raise MachineError(self.what)
        return self.stream.write(chunk)

    def flush(self) -> None:
        self.stream.flush()
