"""One named file out of a ZIP or TAR archive that came from outside, and nothing else."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from nasctl.errors import MachineError

__all__ = ["extract_member"]

CHUNK_BYTES = 1 << 20
MAX_MEMBERS = 10_000


def extract_member(archive: Path, member: str, target: Path, limit: int) -> None:
    """Write `member` of `archive` to the new file `target`; no name in the archive decides where anything is written.

    Raises MachineError if the archive cannot be read or does not hold the member, if any name in it leads out of the
    archive, if the member is a link or no plain file, or if it is larger than `limit` bytes, whatever it claims.
    """
    try:
        if zipfile.is_zipfile(archive):
            _from_zip(archive, member, target, limit)
        else:
            _from_tar(archive, member, target, limit)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, NotImplementedError) as error:
        raise MachineError(f"{archive.name} is a broken archive: {error}") from error


def _from_zip(archive: Path, member: str, target: Path, limit: int) -> None:
    with zipfile.ZipFile(archive) as opened:
        _check_names(archive, opened.namelist())
        if member not in opened.namelist():
            raise MachineError(f"{archive.name} holds no {member}")
        entry = opened.getinfo(member)
        if entry.is_dir() or stat.S_ISLNK(entry.external_attr >> 16):
            raise MachineError(f"{member} in {archive.name} is no plain file")
        with opened.open(entry) as stream:
            _copy(stream, f"{member} in {archive.name}", target, limit)


def _from_tar(archive: Path, member: str, target: Path, limit: int) -> None:
    with tarfile.open(archive) as opened:
        names = [entry.name for entry, _ in zip(opened, range(MAX_MEMBERS + 1), strict=False)]
        _check_names(archive, names)
        if member not in names:
            raise MachineError(f"{archive.name} holds no {member}")
        entry = opened.getmember(member)
        stream = opened.extractfile(entry) if entry.isreg() else None  # extractfile follows links
        if stream is None:
            raise MachineError(f"{member} in {archive.name} is no plain file")
        with stream:
            _copy(stream, f"{member} in {archive.name}", target, limit)


def _check_names(archive: Path, names: list[str]) -> None:
    """An archive that tries to write elsewhere was not made by the people it is said to be from."""
    if len(names) > MAX_MEMBERS:
        raise MachineError(f"{archive.name} holds more than {MAX_MEMBERS} files")
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or path.as_posix()[1:2] == ":":
            raise MachineError(f"{archive.name} holds the unsafe path {name!r}; nothing of it was extracted")


def _copy(stream: IO[bytes], what: str, target: Path, limit: int) -> None:
    """Count what really comes, since a header may lie about the size."""
    written = 0
    with target.open("xb") as out:
        while chunk := stream.read(CHUNK_BYTES):
            written += len(chunk)
            if written > limit:
                raise MachineError(f"{what} is larger than the {limit} bytes it can be")
            out.write(chunk)
