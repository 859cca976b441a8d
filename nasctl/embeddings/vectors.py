"""Prepared word vectors: one row per word of a corpus, in a file that workers map into memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasctl.arrays import read_arrays, write_arrays
from nasctl.errors import MachineError
from nasctl.files import DIGEST_LENGTH

Matrix = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Vectors:
    """Word vectors for one corpus.

    `matrix` is float32 [V, D], its row 0 (the padding) zero; `oov_share` the share of the corpus's tokens without a
    vector of their own; `source` the file's name, or what they were made from.
    """

    digest: str
    matrix: Matrix
    oov_share: float
    source: str


def vectors_path(cache: Path, digest: str) -> Path:
    """Where the vectors of this digest lie."""
    return cache / "vectors" / f"{digest}.arr"


def matrix_digest(matrix: Matrix) -> str:
    """The identity of vectors: their content, wherever it came from."""
    head = f"{matrix.shape[0]}x{matrix.shape[1]}:".encode()
    return hashlib.sha256(head + np.ascontiguousarray(matrix, "<f4").tobytes()).hexdigest()[:DIGEST_LENGTH]


def save(matrix: Matrix, oov_share: float, source: str, cache: Path) -> Vectors:
    """Store a matrix under its digest."""
    name = matrix_digest(matrix)
    write_arrays(vectors_path(cache, name), {"oov_share": oov_share, "source": source}, {"matrix": matrix})
    return Vectors(name, matrix, oov_share, source)


def load(cache: Path, digest: str) -> Vectors:
    """The stored vectors, mapped read-only.

    Raises MachineError if they are not there or their file was damaged.
    """
    path = vectors_path(cache, digest)
    if not path.exists():
        raise MachineError(f"no prepared vectors {digest} in {cache}", "start the command again: it prepares them")
    meta, arrays = read_arrays(path)
    return Vectors(digest, arrays["matrix"], meta["oov_share"], meta["source"])
