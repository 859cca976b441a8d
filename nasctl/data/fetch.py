"""Bring the published data sets and vectors to a folder, and tell whether what lies there is what was published."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nasctl.data.archives import extract_member
from nasctl.data.published import PUBLISHED, Address, Published, PublishedFile, rows_sha256
from nasctl.data.sources import download
from nasctl.errors import MachineError, StateMismatchError, UsageError, nearest
from nasctl.files import digest

__all__ = ["Finding", "check", "fetch"]

logger = logging.getLogger(__name__)

ATTEMPTS = 4
PAUSE_SECONDS = 1.0
"""After the first failed attempt; doubled after each."""
ARCHIVE_LIMIT = 2_000_000_000
"""Bytes of any one download; the largest, GloVe's archive, has 0.9 GB."""
LOCAL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG})
GONE = frozenset({401, 403, 404, 410})
"""HTTP answers that no further attempt changes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What `check` found of one file: whether it is there and as published, and what to do if it is not."""

    dataset: str
    path: Path
    state: Literal["ok", "missing", "changed"]
    message: str
    hint: str


def check(names: Sequence[str], root: Path) -> list[Finding]:
    """The state of every file of the data sets named, those that are right included.

    Raises UsageError for a name that is none of `PUBLISHED`.
    """
    findings = []
    for name in names:
        published = _published(name)
        for file in published.files:
            path = root / published.folder / file.name
            hint = f"`nasctl data fetch {name}` downloads it from {file.addresses[0].url}"
            if not path.is_file():
                findings.append(Finding(name, path, "missing", "not there", hint))
            elif wrong := _difference(path, file):
                findings.append(Finding(name, path, "changed", wrong, f"move it away; {hint}"))
            else:
                findings.append(Finding(name, path, "ok", f"{file.rows} rows", ""))
    return findings


def fetch(names: Sequence[str], root: Path, *, progress: bool = False) -> Iterator[Path]:
    """Download what is missing of the data sets named; the path of each new file, once it is there.

    Each file appears whole and verified, or not at all, and stays whatever becomes of the next. What is already there
    and right stays; what is there and wrong is never overwritten.

    Raises UsageError for an unknown name, StateMismatchError for a file that is there and not the published one,
    MachineError if no address gives the file, if what comes is not it, or if there is no room for it.
    """
    wanted = [(_published(name), file) for name in names for file in _published(name).files]
    missing = [(root / published.folder / file.name, file) for published, file in wanted]
    for path, file in missing:
        if path.exists() and (wrong := _difference(path, file)):
            raise StateMismatchError(f"{path} is not the published file: {wrong}", "move it away, then fetch again")
    missing = [(path, file) for path, file in missing if not path.exists()]
    if not missing:
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        _check_room(root, [file for _, file in missing])
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=root) as scratch:
            for path, file in missing:
                verified = _verified(path, file, Path(scratch), progress=progress)
                path.parent.mkdir(exist_ok=True)
                os.replace(verified, path)
                yield path
    except OSError as error:
        raise MachineError(
            f"cannot write below {root}: {error.strerror or error}", "another data.root=FOLDER"
        ) from error


def _published(name: str) -> Published:
    if name not in PUBLISHED:
        raise UsageError(f"there is nothing called {name} to fetch or check", nearest(name, PUBLISHED))
    return PUBLISHED[name]


def _check_room(root: Path, files: list[PublishedFile]) -> None:
    """Twice the files, since archives lie beside what comes out of them."""
    needed, free = 2 * sum(file.limit for file in files), shutil.disk_usage(root).free
    if free < needed:
        raise MachineError(
            f"{root} has {free / 1e9:.1f} GB free, the download may need {needed / 1e9:.1f} GB",
            "free some space, or say another data.root=FOLDER",
        )


def _verified(path: Path, file: PublishedFile, scratch: Path, *, progress: bool) -> Path:
    """What shall be at `path`, from the first address that gives it; `scratch` keeps archives for the next file."""
    failures: list[str] = []
    for address in file.addresses:
        candidate = scratch / f"{len(failures)}-{file.name}"
        try:
            limit = ARCHIVE_LIMIT if address.member else file.limit
            archive = _downloaded(address, limit, scratch, progress=progress)
            _take(archive, address, file, candidate)
            if not (wrong := _difference(candidate, file)):
                return candidate
            failures.append(f"{address.url}: {wrong}")
        except MachineError as error:
            failures.append(f"{address.url}: {error}")
        candidate.unlink(missing_ok=True)
    raise MachineError(
        f"{path} could not be fetched, and nothing of it was kept: {'; '.join(failures)}",
        "try later, or put the file there by hand",
    )


def _downloaded(address: Address, limit: int, scratch: Path, *, progress: bool) -> Path:
    """What lies at the address, downloaded once per scratch folder, in several attempts."""
    folder = scratch / digest(address.url)
    target, partial = folder / address.url.rsplit("/", 1)[-1], folder / "partial"
    if target.exists():
        return target
    folder.mkdir(exist_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        partial.unlink(missing_ok=True)
        try:
            download(address.url, partial, limit, progress=progress)
        except OSError as error:  # requests' errors are OSErrors, and so are those of the disk
            if error.errno in LOCAL_ERRORS:
                raise
            status = getattr(getattr(error, "response", None), "status_code", None)
            if attempt == ATTEMPTS or status in GONE:
                raise MachineError(f"no usable answer in {attempt} attempts ({error})") from error
            logger.info("%s: %s; attempt %d of %d follows", address.url, error, attempt + 1, ATTEMPTS)
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        else:
            break
    os.replace(partial, target)
    return target


def _take(archive: Path, address: Address, file: PublishedFile, target: Path) -> None:
    """The file out of what was downloaded."""
    if not address.member:
        shutil.copyfile(archive, target)
        return
    extract_member(archive, address.member, target, file.limit)
    if address.split:
        rows = list(_sick_rows(target, address.split))
        target.write_text("".join(rows), encoding="utf-8")


def _sick_rows(path: Path, split: str) -> Iterator[str]:
    """One SemEval split of SICK's joint file, in the five columns of the split files.

    The joint file has id, A, B, entailment, relatedness, ... and the split's name last.
    """
    try:
        for line in path.read_text(encoding="utf-8-sig").splitlines():
            fields = [field.strip() for field in line.split("\t")]
            if fields[-1] == split and len(fields) > 5:
                number, first, second, entailment, relatedness = fields[:5]
                yield f"{number}\t{first}\t{second}\t{relatedness}\t{entailment}\n"
    except UnicodeDecodeError as error:
        raise MachineError(f"{path.name} is no UTF-8 text") from error


def _difference(path: Path, file: PublishedFile) -> str:
    """What tells a file from the published one; "" if nothing does."""
    if file.width:
        return _shape_difference(path, file)
    try:
        found = rows_sha256(path, file.header)
    except UnicodeDecodeError:
        return "it is no UTF-8 text"
    return "" if found == file.sha256 else f"SHA-256 of its rows is {found}, expected {file.sha256}"


def _shape_difference(path: Path, file: PublishedFile) -> str:
    """Vectors have no known hash: the width of the first row and the number of rows are looked at."""
    with path.open("rb") as stream:
        width = len(stream.readline().split(b" ")) - 1
        stream.seek(0)
        rows = sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))
    if (rows, width) == (file.rows, file.width):
        return ""
    return f"it has {rows} vectors of width {width}, expected {file.rows} of width {file.width}"
