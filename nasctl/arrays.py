"""Array files: a JSON header, then raw little-endian arrays, mapped into memory by every worker of a machine.

Layout: eight magic bytes, the header's length (8 bytes, little-endian), the header (UTF-8 JSON), then the arrays, each
at a multiple of 64 bytes. The header holds the SHA-256 of everything behind it. No pickle anywhere.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nasctl.errors import MachineError
from nasctl.files import canonical_json, write_atomically

MAGIC = b"NASARR01"
ALIGNMENT = 64
MAX_HEADER_BYTES = 256 * 1024 * 1024

Array = np.ndarray[Any, np.dtype[Any]]


def write_arrays(path: Path, meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write `arrays` and `meta` (any JSON value) to `path`, atomically."""
    body = io.BytesIO()
    index: dict[str, Any] = {}
    for name, array in arrays.items():
        body.write(b"\0" * (-body.tell() % ALIGNMENT))
        plain = np.ascontiguousarray(array)
        index[name] = {"dtype": plain.dtype.newbyteorder("<").str, "shape": list(array.shape), "offset": body.tell()}
        body.write(plain.astype(plain.dtype.newbyteorder("<"), copy=False).tobytes())
    content = body.getvalue()
    header = {"arrays": index, "bytes": len(content), "meta": meta, "sha256": hashlib.sha256(content).hexdigest()}
    head = canonical_json(header).encode()
    head += b" " * (-(len(MAGIC) + 8 + len(head)) % ALIGNMENT)
    write_atomically(path, MAGIC + len(head).to_bytes(8, "little") + head + content)


def read_arrays(path: Path, *, verify: bool = True) -> tuple[Any, dict[str, Array]]:
    """The meta value and the arrays of `path`, mapped read-only.

    Raises MachineError if the file is not whole: cut short, changed, or not an array file at all.
    """
    with path.open("rb") as stream:
        magic, size = stream.read(len(MAGIC)), int.from_bytes(stream.read(8), "little")
        if magic != MAGIC or size > MAX_HEADER_BYTES:
            raise MachineError(f"{path} is not an array file", "delete it; it is built again when needed")
        try:
            header = json.loads(stream.read(size))
        except ValueError as error:
            raise MachineError(f"{path} has a broken header", "delete it; it is built again when needed") from error
        start = stream.tell()
        if path.stat().st_size != start + header["bytes"]:
            raise MachineError(f"{path} is cut short", "delete it; it is built again when needed")
        if verify and hashlib.file_digest(stream, "sha256").hexdigest() != header["sha256"]:
            raise MachineError(f"{path} was changed after it was written", "delete it; it is built again when needed")
    arrays = {}
    for name, entry in header["arrays"].items():
        shape, dtype = tuple(entry["shape"]), np.dtype(entry["dtype"])
        if 0 in shape:  # an empty range cannot be mapped
            arrays[name] = np.empty(shape, dtype)
        else:
            arrays[name] = np.memmap(path, dtype, "r", start + entry["offset"], shape)
    return header["meta"], arrays
