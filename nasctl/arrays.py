"""Array files: a JSON header, then raw little-endian arrays, mapped into memory by every worker of a machine.

Layout: eight magic bytes, the header's length (8 bytes, little-endian), the header (UTF-8 JSON), then the arrays, each
at a multiple of 64 bytes. The header holds the SHA-256 of itself (with zeros in that place) and of everything behind
it. No pickle anywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from nasctl.errors import MachineError
from nasctl.files import atomically, canonical_json

MAGIC = b"NASARR02"
ALIGNMENT = 64
MAX_HEADER_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 1 << 20
UNKNOWN = "0" * 64
"""In the place of a checksum that is being computed."""

REBUILT = "delete it; it is built again when needed"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Blocks:
    """An array that is made while it is written, and may be larger than the memory: its rows, block by block."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    blocks: Iterable[Array]


def write_arrays(path: Path, meta: Mapping[str, Any], arrays: Mapping[str, Array | Blocks]) -> None:
    """Write `arrays` and `meta` (any JSON value) to `path`, atomically.

    Raises ValueError if blocks do not add up to their array's shape.
    """
    index: dict[str, Any] = {}
    end = 0
    for name, array in arrays.items():
        start = end + -end % ALIGNMENT
        index[name] = {"dtype": _plain(array.dtype).str, "shape": list(array.shape), "offset": start}
        end = start + bytes_of(array.shape, array.dtype)
    header = {"arrays": index, "bytes": end, "meta": meta, "sha256": UNKNOWN}
    with atomically(path) as stream:
        head = _head(header)
        checksum = hashlib.sha256(head)
        stream.write(head)
        start = stream.tell()
        for name, array in arrays.items():
            _write(stream, checksum, b"\0" * (start + index[name]["offset"] - stream.tell()))
            for block in array.blocks if isinstance(array, Blocks) else (array,):
                if block.dtype != array.dtype or block.shape[1:] != array.shape[1:]:
                    raise ValueError(f"{name}: a block of {block.dtype} {block.shape} for {array.dtype} {array.shape}")
                _write(stream, checksum, np.ascontiguousarray(block, _plain(block.dtype)).tobytes())
            if stream.tell() != start + index[name]["offset"] + bytes_of(array.shape, array.dtype):
                raise ValueError(f"{name}: its blocks do not add up to {array.shape}")
        stream.seek(0)
        stream.write(_head({**header, "sha256": checksum.hexdigest()}))


def bytes_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """What an array takes in a file."""
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")


def _head(header: Mapping[str, Any]) -> bytes:
    """Magic bytes, length and header, as long for every checksum."""
    text = canonical_json(header).encode()
    text += b" " * (-(len(MAGIC) + 8 + len(text)) % ALIGNMENT)
    return MAGIC + len(text).to_bytes(8, "little") + text


def _write(stream: IO[bytes], checksum: Any, content: bytes) -> None:
    checksum.update(content)
    stream.write(content)


def read_arrays(path: Path, *, verify: bool = True) -> tuple[Any, dict[str, Array]]:
    """The meta value and the arrays of `path`, mapped read-only.

    Raises MachineError if the file is not whole: cut short, changed, or not an array file at all.
    """
    with path.open("rb") as stream:
        magic, size = stream.read(len(MAGIC)), int.from_bytes(stream.read(8), "little")
        if magic != MAGIC or size > MAX_HEADER_BYTES:
            raise MachineError(f"{path} is not an array file", REBUILT)
        try:
            header = json.loads(stream.read(size))
            start = stream.tell()
            if path.stat().st_size != start + header["bytes"]:
                raise MachineError(f"{path} is cut short", REBUILT)
            if verify and _checksum(header, stream) != header["sha256"]:
                raise MachineError(f"{path} was changed after it was written", REBUILT)
            return header["meta"], {name: _mapped(path, start, entry) for name, entry in header["arrays"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MachineError(f"{path} has a broken header", REBUILT) from error


def _mapped(path: Path, start: int, entry: Mapping[str, Any]) -> Array:
    shape, dtype = tuple(entry["shape"]), np.dtype(entry["dtype"])
    if 0 in shape:  # an empty range cannot be mapped
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start + entry["offset"], shape)


def _checksum(header: Mapping[str, Any], stream: IO[bytes]) -> str:
    """Of the header and of what stands behind it, where `stream` is now."""
    checksum = hashlib.sha256(_head({**header, "sha256": UNKNOWN}))
    for chunk in _chunks(stream):
        checksum.update(chunk)
    return checksum.hexdigest()


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk
