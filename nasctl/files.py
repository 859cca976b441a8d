"""Files written whole or not at all, and the digest that names a value by its content."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

DIGEST_LENGTH = 16
LONGEST_NAME = 100
"""Characters of the name of a study or a search, which is that of its folder."""


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:DIGEST_LENGTH]


def path_of(text: str | Path) -> Path:
    """The path that a user wrote: `~NAME` is that user's home, or a name like any other where there is no such user."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path's own raises RuntimeError there


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in full."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write beside, flush to disk, rename: a reader sees the old file or the new one, never a part.

    The file is the owner's only (mode 0600), as `tempfile` makes it. Raises OSError that names `path`.
    """
    with atomically(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def atomically(path: Path) -> Iterator[IO[bytes]]:
    """As `write_atomically`, for what comes piece by piece: what was written when the block ends becomes the file.

    An OSError of the block that names another file keeps that name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        error.filename = str(path)
        raise
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    except BaseException as error:
        Path(aside).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in {None, aside}:  # who meets a full disk names no file
            error.filename = str(path)
        raise


def remove_leftovers(path: Path) -> None:
    """Remove what was written beside `path` by processes that were killed. Nobody may be writing it now."""
    for aside in path.parent.glob(f".{glob.escape(path.name)}.*"):
        aside.unlink(missing_ok=True)
