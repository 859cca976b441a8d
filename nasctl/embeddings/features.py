"""Features of a frozen encoder in a file that workers map into memory: every layer's answer to every token kept.

Packed without padding: row 0 is the padding's zeros, then come tokens. What sentences are made of are numbers of rows,
so that whatever batches words batches features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nasctl.arrays import Blocks, bytes_of, read_arrays, write_arrays
from nasctl.data.corpus import Corpus, Sentences
from nasctl.errors import MachineError

Rows = np.ndarray[Any, np.dtype[np.float16]]

HALF = np.dtype(np.float16)

LAYOUT = 1
"""Raised by hand when the same features would be laid out in another way: part of what names their file."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features for the pairs of one data set.

    `rows` is float16 [R, L, D]: L layers, of which 0 is the encoder's input embedding, of width D. `pairs` and `cut`
    count all pairs and those that were too long; `unknown` is the share of all word pieces that stand for text the
    encoder does not know. `source` is what whoever asked for them calls the encoder; "" where they were just read:
    equal encoders have one file, whatever they are called.
    """

    digest: str
    rows: Rows
    sentences: Mapping[str, tuple[Sentences, Sentences]]
    pairs: int
    cut: int
    unknown: float
    source: str = ""

    @property
    def layers(self) -> int:
        """The encoder's layers, its input embedding included."""
        return int(self.rows.shape[1])

    def corpus(self, words: Corpus) -> Corpus:
        """`words` with rows of features in the place of words; labels and row ids stay.

        Raises MachineError if the two are not of the same pairs.
        """
        splits = {}
        for name, split in words.splits.items():
            first, second = self.sentences.get(name, (split.first, split.second))
            if name not in self.sentences or len(first) != len(split):
                raise MachineError(f"the features {self.digest} are not of the data set {words.digest}")
            splits[name] = replace(split, first=first, second=second)
        return replace(words, splits=splits)


def features_path(cache: Path, digest: str) -> Path:
    """Where the features of this digest lie."""
    return cache / "features" / f"{digest}.arr"


def features_bytes(rows: int, layers: int, width: int) -> int:
    """What so many rows take."""
    return bytes_of((rows, layers, width), HALF)


def save(
    cache: Path,
    digest: str,
    sentences: Mapping[str, tuple[Sentences, Sentences]],
    *,
    shape: tuple[int, int, int],
    blocks: Iterable[Rows],
    about: Mapping[str, float],
) -> None:
    """Write features under their digest, block by block; `about` holds what `Features` says of all of them."""
    arrays: dict[str, Any] = {}
    for name, sides in sentences.items():
        for side, each in zip(("first", "second"), sides, strict=True):
            arrays[f"{name}/{side}/tokens"], arrays[f"{name}/{side}/offsets"] = each.tokens, each.offsets
    meta = {**about, "digest": digest, "splits": list(sentences)}
    write_arrays(features_path(cache, digest), meta, {**arrays, "rows": Blocks(HALF, shape, blocks)})


def load(cache: Path, digest: str, *, verify: bool = False) -> Features:
    """The stored features, mapped read-only; with `verify` every byte is looked at.

    Raises MachineError if they are not there, if their file is damaged, or holds others.
    """
    path = features_path(cache, digest)
    if not path.exists():
        raise MachineError(f"no features {digest} in {cache}", "start the command again: it makes them")
    meta, arrays = read_arrays(path, verify=verify)
    if meta.get("digest") != digest:
        raise MachineError(
            f"{path} holds other features than its name says", "delete it; it is built again when needed"
        )
    sentences = {
        name: (
            Sentences(arrays[f"{name}/first/tokens"], arrays[f"{name}/first/offsets"]),
            Sentences(arrays[f"{name}/second/tokens"], arrays[f"{name}/second/offsets"]),
        )
        for name in meta["splits"]
    }
    return Features(digest, arrays["rows"], sentences, meta["pairs"], meta["cut"], meta["unknown"])
