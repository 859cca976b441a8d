"""A prepared data set: token numbers, labels and row ids in one array file, named by the digest of its content.

Workers import this module and map the file; whatever it takes to read, split and tokenise stays in `data.datasets`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from nasctl.arrays import read_arrays, write_arrays
from nasctl.errors import MachineError
from nasctl.files import digest
from nasctl.specs import Metric, Task

__all__ = ["PADDING", "Corpus", "Sentences", "Split", "corpus_digest", "corpus_path", "load", "save"]

Array = np.ndarray[Any, np.dtype[Any]]

PADDING = 0
"""The token number of padding, whose word is "" and whose vector is zero."""

SPLITS = ("train", "dev", "test")
"""The order in which splits are told."""

LAYOUT = 1
"""Raised by hand when the same pairs would be laid out in another way."""


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences end to end: `tokens` int32 [total], sentence i is `tokens[offsets[i]:offsets[i + 1]]`, int64 [n + 1].

    No sentence is shorter than one token: one without words is a single `PADDING`.
    """

    tokens: Array
    offsets: Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Array:
        """Tokens of each sentence, int64 [n]."""
        return np.diff(self.offsets)

    @property
    def empty(self) -> Array:
        """Which sentences have no word, bool [n]."""
        return np.asarray((self.lengths == 1) & (self.tokens[self.offsets[:-1]] == PADDING))

    def padded(self, rows: Array) -> tuple[Array, Array]:
        """The sentences `rows` as a batch: int64 tokens [T, B], time-major and padded, and int64 lengths [B]."""
        starts = np.asarray(self.offsets[rows])
        lengths = np.asarray(self.offsets[np.asarray(rows) + 1]) - starts
        times = np.arange(int(lengths.max(initial=1)))[:, None]  # [T, 1]
        real = times < lengths  # [T, B]
        batch = np.full(real.shape, PADDING, np.int64)
        batch[real] = self.tokens[(starts + times)[real]]
        return batch, lengths


@dataclass(frozen=True, eq=False)
class Split:
    """Pairs of one split: `labels` float32 [n] for regression, int64 [n] class numbers for classification."""

    name: str
    first: Sentences
    second: Sentences
    labels: Array
    row_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.row_ids)


@dataclass(frozen=True, eq=False)
class Corpus:
    """A data set as models see it: splits "train", "dev" and, where there is one, "test".

    `classes` names the class numbers (empty for regression); `vocabulary[t]` is the word of token t, "" at `PADDING`.
    """

    digest: str
    task: Task
    classes: tuple[str, ...]
    metric: Metric
    vocabulary: tuple[str, ...]
    splits: Mapping[str, Split]


def corpus_digest(
    task: Task, classes: tuple[str, ...], metric: Metric, vocabulary: tuple[str, ...], splits: Mapping[str, Split]
) -> str:
    """The digest of what a corpus holds: words, their order in every sentence, labels, row ids, task, metric."""
    meta = _meta(task, classes, metric, vocabulary, splits)
    return digest({"layout": LAYOUT, **meta, "arrays": {name: _sha256(a) for name, a in _arrays(splits).items()}})


def corpus_path(cache: Path, digest: str) -> Path:
    """Where the corpus of that digest lies under the folder of caches."""
    return cache / "data" / f"{digest}.arr"


def save(corpus: Corpus, cache: Path) -> None:
    """Write the corpus under its digest, atomically.

    Raises MachineError if the cache cannot be written.
    """
    path = corpus_path(cache, corpus.digest)
    meta = _meta(corpus.task, corpus.classes, corpus.metric, corpus.vocabulary, corpus.splits)
    try:
        write_arrays(path, meta, _arrays(corpus.splits))
    except OSError as error:
        raise MachineError(
            f"cannot write the prepared data set {path}: {error.strerror or error}",
            "free space or permission there, or another folder: store.root=FOLDER",
        ) from error


def load(cache: Path, digest: str) -> Corpus:
    """The corpus of that digest, mapped into memory and read-only.

    Raises MachineError if it is not there, cut short, or no longer what its digest says.
    """
    path = corpus_path(cache, digest)
    try:
        meta, arrays = read_arrays(path, verify=False)  # the digest below covers the header too
        splits = {
            name: Split(
                name,
                Sentences(arrays[f"{name}/first/tokens"], arrays[f"{name}/first/offsets"]),
                Sentences(arrays[f"{name}/second/tokens"], arrays[f"{name}/second/offsets"]),
                arrays[f"{name}/labels"],
                tuple(row_ids),
            )
            for name, row_ids in sorted(meta["row_ids"].items(), key=lambda entry: SPLITS.index(entry[0]))
        }
        task, metric = meta["task"], meta["metric"]
        classes, vocabulary = tuple(meta["classes"]), tuple(meta["vocabulary"])
    except FileNotFoundError as error:
        raise MachineError(
            f"the prepared data set {digest} is not in {path.parent}",
            "a cache may be deleted; the command that uses it prepares it again",
        ) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise MachineError(f"{path} is no prepared data set", "delete it; it is built again when needed") from error
    if corpus_digest(task, classes, metric, vocabulary, splits) != digest:
        raise MachineError(f"{path} was changed after it was written", "delete it; it is built again when needed")
    return Corpus(digest, task, classes, metric, vocabulary, MappingProxyType(splits))


def _meta(
    task: Task, classes: tuple[str, ...], metric: Metric, vocabulary: tuple[str, ...], splits: Mapping[str, Split]
) -> dict[str, Any]:
    row_ids = {name: list(split.row_ids) for name, split in splits.items()}
    return {
        "task": task,
        "classes": list(classes),
        "metric": metric,
        "vocabulary": list(vocabulary),
        "row_ids": row_ids,
    }


def _arrays(splits: Mapping[str, Split]) -> dict[str, Array]:
    arrays = {}
    for name, split in splits.items():
        for side, sentences in (("first", split.first), ("second", split.second)):
            arrays[f"{name}/{side}/tokens"] = sentences.tokens
            arrays[f"{name}/{side}/offsets"] = sentences.offsets
        arrays[f"{name}/labels"] = split.labels
    return arrays


def _sha256(array: Array) -> str:
    """Of the type, the shape and the little-endian bytes."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    head = f"{plain.dtype.str}{plain.shape}".encode()
    return hashlib.sha256(head + plain.tobytes()).hexdigest()
