"""Word vectors from a text file in GloVe's format, or from the training text itself by truncated SVD."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from nasctl import rng
from nasctl.data.corpus import Corpus
from nasctl.embeddings.vectors import Matrix, Vectors, load, save, vectors_path
from nasctl.errors import MachineError, UsageError, nearest
from nasctl.files import digest, path_of, write_atomically
from nasctl.sources import StaticSpec

READING = 1
"""Raised by hand whenever the same file or text would give other vectors; prepared ones are then made anew."""

OOV_SEED = 0
"""Gaussian vectors of unknown words depend on the word alone, never on a run's seed."""

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]

LOOKUPS: Mapping[str, Callable[[str], tuple[str, ...]]] = {
    "auto": lambda token: (token, token.lower()),
    "cased": lambda token: (token,),
    "lower": lambda token: (token.lower(),),
}
"""Under which spellings a token is looked for, best first."""

UNREAD: Mapping[str, Mapping[str, object]] = {"glove": {"window": None}, "svd": {"file": None, "case": "lower"}}
"""The fields of a spec that a source does not read, and what they hold then."""


def prepare(spec: StaticSpec, corpus: Corpus, root: Path | None, cache: Path) -> Vectors:
    """The vectors of every word of `corpus`, made once for (embedding, corpus) and kept under `cache`.

    Raises UsageError for a setting that the source does not read, and for a file that is not there or not in GloVe's
    format.
    """
    file = source_file(spec, root)
    stat = file.stat() if file else None
    asked = digest(
        {
            "corpus": corpus.digest,
            "source": spec.source,
            "file": [file.name, stat.st_size, stat.st_mtime_ns] if file and stat else None,
            "reading": READING,
            "readings": [spec.width, spec.oov, spec.case, spec.window],
        }
    )
    index = cache / "vectors" / f"{asked}.json"
    known = _indexed(index, cache)
    if known is not None:
        return known
    matrix, unknown, others = _from_file(spec, corpus, file) if file else _from_text(spec, corpus)
    if spec.oov == "gaussian":
        _draw(matrix, {row: corpus.vocabulary[row] for row in unknown}, float(np.std(others)))
    vectors = save(matrix, _token_share(corpus, unknown), file.name if file else "training text (SVD)", cache)
    entry = {"digest": vectors.digest, "source": vectors.source, "oov_share": vectors.oov_share}
    write_atomically(index, json.dumps(entry))
    return vectors


def source_file(spec: StaticSpec, root: Path | None) -> Path | None:
    """The file that the vectors are read from; None where they are derived from the training text.

    Raises UsageError for a setting that the source does not read, and for a file that is not there.
    """
    for field, unread in UNREAD[spec.source].items():
        if (value := getattr(spec, field)) != unread:
            (reader,) = (name for name, fields in UNREAD.items() if field not in fields)
            raise UsageError(
                f"embedding.{field}={value} means nothing for embedding.source={spec.source}",
                f"embedding.source={reader} reads it",
            )
    return _vectors_file(spec, root) if spec.source == "glove" else None


def _draw(matrix: Matrix, unknown: Mapping[int, str], deviation: float) -> None:
    """Give each unknown word, by its row, a normal vector of its own: the same in every data set."""
    for row, word in unknown.items():
        own = np.random.default_rng(rng.stream_seed(OOV_SEED, "oov", word))
        matrix[row] = own.normal(0.0, deviation, matrix.shape[1])


def _indexed(index: Path, cache: Path) -> Vectors | None:
    """What an earlier preparation left, if it is whole.

    Its source and share are those of the index: two files may give equal vectors, which lie under one digest.
    """
    try:
        entry = json.loads(index.read_text())
        if not vectors_path(cache, entry["digest"]).exists():
            return None
        return replace(load(cache, entry["digest"]), source=entry["source"], oov_share=entry["oov_share"])
    except (OSError, ValueError, KeyError, TypeError, MachineError):
        return None


def _vectors_file(spec: StaticSpec, root: Path | None) -> Path:
    """The file that `embedding.file` names: as given, else below the data folder or its `vectors` folder."""
    if spec.file is None:
        raise UsageError(
            f"embedding={spec.name} needs a file of word vectors",
            "give embedding.file=PATH, or take embedding=svd, which needs none",
        )
    given = path_of(spec.file)
    places = [given] if given.is_absolute() or root is None else [given, root / given, root / "vectors" / given]
    for place in places:
        if place.is_file():
            return place
    folders = [place.parent for place in places if place.parent.is_dir()]
    there = [entry.name for folder in folders for entry in folder.iterdir() if entry.suffix in {".txt", ".vec"}]
    raise UsageError(
        f"embedding.file: no file {spec.file}",
        nearest(given.name, there) or "give its path; `nasctl data fetch glove` downloads the paper's",
    )


# --- from a file ------------------------------------------------------------------------------------------------------


def _from_file(spec: StaticSpec, corpus: Corpus, file: Path) -> tuple[Matrix, set[int], Matrix]:
    """The matrix [V, D], the words that the file does not have, and all vectors that were looked up in it [K, D]."""
    spellings = LOOKUPS[spec.case]
    wanted = {spelling for token in corpus.vocabulary[1:] for spelling in spellings(token)}
    found: dict[str, Vector] = {}
    width = None
    for word, vector in read_glove(file, spec.width, wanted):
        width = len(vector)
        found.setdefault(word, vector)
    if width is None:
        raise UsageError(f"{file} has a vector for none of the data set's {len(corpus.vocabulary) - 1} words")
    matrix = np.zeros((len(corpus.vocabulary), width), np.float32)
    unknown = set()
    for index, token in enumerate(corpus.vocabulary[1:], 1):
        known = next((found[spelling] for spelling in spellings(token) if spelling in found), None)
        if known is None:
            unknown.add(index)
        else:
            matrix[index] = known
    return matrix, unknown, np.stack(list(found.values()))


def read_glove(file: Path, width: int | None, wanted: set[str]) -> Iterator[tuple[str, Vector]]:
    """The wanted words of a file in GloVe's text format, with their vectors (float32 [D]).

    A word may hold spaces (glove.840B has some), so the numbers are counted from the right. A first line of two whole
    numbers, as word2vec writes it, is passed over. Raises UsageError with file and line for a line of another width.
    """
    for number, text in _lines(file):
        if number == 1:
            header = text.split(" ")
            width = _agreed_width(f"{file}:1", width, int(header[1]) if _is_count(header) else len(header) - 1)
            if _is_count(header):
                continue
        word, *numbers = text.rsplit(" ", width) if width else [text]
        if len(numbers) != width:
            raise UsageError(f"{file}:{number}: {text.count(' ')} numbers where {width} are due")
        if " " in word and _is_decimal(word.rpartition(" ")[2]):
            raise UsageError(f"{file}:{number}: {text.count(' ')} numbers where {width} are due")
        if word in wanted:
            yield word, _vector(f"{file}:{number}", numbers)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines with their numbers from 1, without what ends them; a byte order mark is dropped.

    Raises UsageError, naming the line, for one that is not UTF-8.
    """
    number = 0
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n ")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}:{number}: not UTF-8 text", "vectors are read as text in UTF-8, unpacked") from error


def _is_count(header: list[str]) -> bool:
    return len(header) == 2 and all(field.isdigit() for field in header)


def _is_decimal(text: str) -> bool:
    return re.fullmatch(r"-?\d*\.\d+(e-?\d+)?", text) is not None


def _agreed_width(where: str, asked: int | None, found: int) -> int:
    if found < 1:
        raise UsageError(f"{where}: no vector; GloVe's format is a word and its numbers, one word a line")
    if asked is not None and asked != found:
        raise UsageError(f"{where}: vectors of width {found}, asked for {asked}", f"embedding.width={found}")
    return found


def _vector(where: str, numbers: list[str]) -> Vector:
    try:
        vector = np.array(numbers, np.float32)
    except ValueError:
        raise UsageError(f"{where}: not numbers: {' '.join(numbers)[:60]}") from None
    if not np.isfinite(vector).all():
        raise UsageError(f"{where}: a number that is not finite")
    return vector


# --- from the training text -------------------------------------------------------------------------------------------


def _from_text(spec: StaticSpec, corpus: Corpus) -> tuple[Matrix, set[int], Matrix]:
    """The matrix [V, D], the words that the training text does not have, and the vectors of the others [K, D].

    Truncated SVD of positive pointwise mutual information between words of the training text.

    Counts within `window` words, weighted by 1/distance (as GloVe counts); words are taken in lower case. The vectors
    are U·sqrt(S), scaled to a mean norm of sqrt(D), so that a coordinate is of order one.
    """
    from scipy.sparse import coo_matrix  # noqa: PLC0415 - 0.2 s that only this embedding needs
    from sklearn.decomposition import TruncatedSVD  # noqa: PLC0415 - 1.5 s, as above

    if spec.window is None or spec.width is None:
        raise UsageError("embedding=svd needs embedding.width and embedding.window")
    rows_of: dict[str, int] = {}
    key = np.array([rows_of.setdefault(token.lower(), len(rows_of)) for token in corpus.vocabulary])
    counts = _co_occurrences((key[sentence] for sentence in _training_sentences(corpus)), spec.window)
    if len({row for row, _ in counts}) <= spec.width:
        raise UsageError(
            f"embedding.width={spec.width}: the training text has too few words for it",
            f"at most {max(len({row for row, _ in counts}) - 1, 1)}",
        )
    row, column = np.array(list(counts), np.int64).T
    joint = np.array(list(counts.values()), np.float64)
    marginal = np.bincount(row, joint, minlength=len(rows_of))
    information = np.log(joint * joint.sum() / (marginal[row] * marginal[column]))
    positive = coo_matrix((np.maximum(information, 0.0), (row, column)), (len(rows_of),) * 2).tocsr()
    svd = TruncatedSVD(spec.width, algorithm="arpack", random_state=0)
    svd.fit(positive)
    by_key = (positive @ svd.components_.T) / np.sqrt(np.maximum(svd.singular_values_, 1e-9))
    norms = np.linalg.norm(by_key, axis=1)
    by_key *= math.sqrt(spec.width) / norms[norms > 0].mean()
    matrix = by_key[key].astype(np.float32)
    matrix[0] = 0.0
    has_vector = marginal[key] > 0.0
    has_vector[0] = False
    return matrix, set(np.flatnonzero(~has_vector)[1:].tolist()), matrix[has_vector]


def _training_sentences(corpus: Corpus) -> Iterator[np.ndarray[tuple[int], np.dtype[np.int32]]]:
    """Every sentence of the training split, as token ids; one that occurs twice counts twice."""
    for sentences in (corpus.splits["train"].first, corpus.splits["train"].second):
        for start, end in zip(sentences.offsets[:-1], sentences.offsets[1:], strict=True):
            yield np.asarray(sentences.tokens[start:end])


def _co_occurrences(
    sentences: Iterable[np.ndarray[tuple[int], np.dtype[np.int64]]], window: int
) -> Counter[tuple[int, int]]:
    """(word, word) -> sum of 1/distance over all places where both stand within `window` words, symmetric."""
    counts: Counter[tuple[int, int]] = Counter()
    for sentence in sentences:
        words = sentence.tolist()
        for distance in range(1, window + 1):
            for left, right in zip(words, words[distance:], strict=False):
                counts[left, right] += 1 / distance  # type: ignore[assignment]
                counts[right, left] += 1 / distance  # type: ignore[assignment]
    return counts


def _token_share(corpus: Corpus, words: set[int]) -> float:
    """The share of all tokens of the corpus (every split) that are among `words`."""
    counts = np.zeros(len(corpus.vocabulary), np.int64)
    for split in corpus.splits.values():
        for sentences in (split.first, split.second):
            counts += np.bincount(sentences.tokens, minlength=len(counts))
    return float(counts[sorted(words)].sum() / max(counts.sum(), 1))
