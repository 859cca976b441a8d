"""The table of data sets, and their preparation: read once, tokenised once, kept by the digest of their content."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from filelock import FileLock
from pydantic import TypeAdapter

from nasctl.data import corpus as corpora
from nasctl.data import official, own
from nasctl.data.corpus import PADDING, Corpus, Sentences, Split
from nasctl.data.labels import classes_of, encode, task_of
from nasctl.data.metrics import DEFAULT_METRIC, METRICS
from nasctl.data.overlap import pair_key
from nasctl.data.pairs import Part
from nasctl.data.published import PUBLISHED
from nasctl.data.scenes import scenes
from nasctl.data.sources import data_root, find
from nasctl.data.tokens import tokenise, tokenizer_version
from nasctl.errors import MachineError, UsageError, nearest
from nasctl.files import digest, file_sha256, write_atomically
from nasctl.sources import DatasetSpec
from nasctl.specs import Metric, Task

__all__ = ["DATASETS", "Labelled", "Source", "labelled", "prepare", "read", "tell_empty", "tell_shared"]

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, np.dtype[Any]]

READING = 1
"""Raised by hand whenever the same files would give other pairs or other tokens; prepared files are then made anew."""

SPEC = TypeAdapter(DatasetSpec)
UNUSED: Mapping[str, object] = {
    "columns": None, "train": None, "dev": None, "test": None,
    "dev_fraction": 0.0, "test_fraction": 0.0, "split_seed": 0, "pairs": None,
}  # fmt: skip
"""What the fields of a spec hold that only some sources read."""


@dataclass(frozen=True, slots=True)
class Source:
    """One row of `DATASETS`.

    `files` names what the content depends on, by role; `read` gives the splits. `task` is None where the spec or the
    labels say it. `fields` are those of `UNUSED` that the source reads.
    """

    task: Task | None
    fields: frozenset[str]
    files: Callable[[DatasetSpec, Path | None], Mapping[str, Path]]
    read: Callable[[DatasetSpec, Path | None], Mapping[str, Part]]

    @property
    def own(self) -> bool:
        """Whether it reads a user's own files."""
        return "train" in self.fields


def _official(name: str, task: Task, reader: Callable[[Path], Mapping[str, Part]]) -> Source:
    return Source(
        task,
        frozenset(),
        lambda _, root: {file.name: find(data_root(root) / name, file.name) for file in PUBLISHED[name].files},
        lambda _, root: reader(data_root(root) / name),
    )


def _table_files(spec: DatasetSpec, _: Path | None) -> Mapping[str, Path]:
    """By split and format; another name for the same file changes nothing."""
    return {f"{split}{path.suffix.lower()}": path for split, path in own.table_files(spec).items()}


def _generated(spec: DatasetSpec, _: Path | None) -> Mapping[str, Part]:
    if spec.pairs is None:
        raise UsageError("dataset.source=scenes needs dataset.pairs", "say how many pairs: dataset.pairs=1500")
    return {
        split: Part(tuple(pairs), f"{spec.name}, {split}", tuple(range(1, len(pairs) + 1)))
        for split, pairs in scenes(spec.name, spec.pairs).items()
    }


def _generators(_spec: DatasetSpec, _root: Path | None) -> Mapping[str, Path]:
    """What generated pairs depend on is the program that makes them."""
    return {path.name: path for path in sorted(Path(__file__).parent.glob("scenes*.py"))}


TABLE_FIELDS = frozenset(UNUSED) - {"pairs"}

DATASETS: Mapping[str, Source] = MappingProxyType(
    {
        "mrpc": _official("mrpc", "classification", official.read_mrpc),
        "stsb": _official("stsb", "regression", official.read_stsb),
        "sick": _official("sick", "regression", official.read_sick),
        "table": Source(None, TABLE_FIELDS, _table_files, lambda spec, _: own.read_table(spec)),
        "scenes": Source(None, frozenset({"pairs"}), _generators, _generated),
    }
)


def read(spec: DatasetSpec, root: Path | None) -> Mapping[str, Part]:
    """The pairs of each split as text, not yet tokenised nor capped.

    Raises UsageError for a spec, a file or a row that cannot be, MachineError for a published file that is not here.
    """
    source = _source(spec)
    parts = source.read(spec, root)
    for name, part in parts.items():
        _check_rows(name, part)
    return parts


def prepare(spec: DatasetSpec, root: Path | None, cache: Path) -> Corpus:
    """The data set as models see it, made once and then mapped from `cache`.

    A small file, named after the spec and the hashes of the source files, leads to the prepared one, so a second call
    reads no pair and imports no tokenizer. Safe in any number of processes at once. A prepared file that is damaged is
    made again, with a warning.

    Raises what `read` raises, and MachineError if the cache cannot be written.
    """
    source = _source(spec)
    key = digest(
        {
            "spec": _content_fields(spec),
            "files": {role: file_sha256(path) for role, path in source.files(spec, root).items()},
            "tokenizer": tokenizer_version(),
            "reading": READING,
        }
    )
    index = cache / "data" / f"{key}.json"
    return _known(index, cache) or _made(spec, root, cache, index)


def tell_empty(name: str, corpus: Corpus) -> None:
    """Warn of sentences in which there is nothing to read."""
    for split in corpus.splits.values():
        if empty := int(split.first.empty.sum() + split.second.empty.sum()):
            told = "%s: %d of %d %s sentences without a word, each read as a zero vector"
            logger.warning(told, name, empty, 2 * len(split), split.name)


def tell_shared(spec: DatasetSpec, parts: Mapping[str, Part]) -> None:
    """Warn of a user's own pairs that stand in train and in another split, drawn or from a file of its own.

    Published splits are as they are; `nasctl data check --overlap` counts what they share.
    """
    if not DATASETS[spec.source].own:
        return
    keys = {split: {pair_key(pair) for pair in part.pairs} for split, part in parts.items()}
    shared = {split: len(keys["train"] & others) for split, others in keys.items() if split != "train"}
    if counts := ", ".join(f"{pairs} of {split}" for split, pairs in shared.items() if pairs):
        logger.warning("%s: pairs that stand in train as well: %s", spec.name, counts)


def _made(spec: DatasetSpec, root: Path | None, cache: Path, index: Path) -> Corpus:
    """The corpus, built by the first process that comes and found by the others."""
    try:
        index.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(index.parent / "lock", mode=0o600):
            if (known := _known(index, cache)) is not None:
                return known
            parts = read(spec, root)
            tell_shared(spec, parts)
            built = _build(spec, parts)
            corpora.save(built, cache)
            write_atomically(index, json.dumps({"corpus": built.digest}))
    except OSError as error:
        raise MachineError(
            f"cannot write prepared data sets to {index.parent}: {error.strerror or error}",
            "free space or permission there, or another folder: store.root=FOLDER",
        ) from error
    return corpora.load(cache, built.digest)


def _source(spec: DatasetSpec) -> Source:
    """The spec's row of `DATASETS`, once every field of the spec is known to fit it."""
    if spec.source not in DATASETS:
        raise UsageError(f"dataset.source={spec.source} is unknown", nearest(spec.source, DATASETS))
    source = DATASETS[spec.source]
    for field, unused in UNUSED.items():
        if field not in source.fields and getattr(spec, field) != unused:
            readers = [name for name, row in DATASETS.items() if field in row.fields]
            raise UsageError(
                f"dataset.{field} means nothing for dataset.source={spec.source}",
                f"it is read by dataset.source={' or '.join(readers)}",
            )
    if source.task is not None and spec.task not in {"auto", source.task}:
        raise UsageError(f"dataset.task={spec.task} does not fit {spec.name}", f"its labels are for {source.task}")
    return source


def _content_fields(spec: DatasetSpec) -> dict[str, Any]:
    """The spec without what decides nothing: paths (the hashes of the files stand for them) and the pieces' cap."""
    fields: dict[str, Any] = SPEC.dump_python(spec, mode="json")
    return {name: value for name, value in fields.items() if name not in {"train", "dev", "test", "max_pieces"}}


def _known(index: Path, cache: Path) -> Corpus | None:
    """The corpus that `index` leads to; None, with a warning where something is damaged, if it must be built."""
    try:
        name = str(json.loads(index.read_bytes())["corpus"])
        if not corpora.corpus_path(cache, name).exists():
            return None
        return corpora.load(cache, name)
    except OSError:  # not there, or not to be read: what is wrong with the place shows when it is written
        return None
    except (ValueError, KeyError, TypeError):
        logger.warning("%s is damaged; the data set is prepared again", index)
    except MachineError as error:
        logger.warning("%s; the data set is prepared again", error)
    return None


def _check_rows(name: str, part: Part) -> None:
    """Every split has rows, and no two of them one id."""
    if not part.pairs:
        raise UsageError(f"the {name} split ({part.origin}) has no pair", "every split that is named needs rows")
    first: dict[str, int] = {}
    for row, pair in enumerate(part.pairs):
        if (other := first.setdefault(pair.id, row)) != row:
            raise UsageError(
                f"{part.where(row)}: the id {pair.id!r} was used before, in line {part.lines[other]}",
                "ids must differ within a split; with dataset.columns.id=null the rows are numbered",
            )


@dataclass(frozen=True, eq=False, slots=True)
class Labelled:
    """How the labels of a data set are read: `labels` by split, and the other three, are those of a `Corpus`."""

    task: Task
    classes: tuple[str, ...]
    metric: Metric
    labels: Mapping[str, Array]


def labelled(spec: DatasetSpec, parts: Mapping[str, Part]) -> Labelled:
    """The labels of what `read` gave. Raises UsageError for labels or a metric that cannot be, in any split."""
    task = DATASETS[spec.source].task or (task_of(parts, spec.name) if spec.task == "auto" else spec.task)
    metric = DEFAULT_METRIC[task] if spec.metric == "auto" else spec.metric
    if METRICS[metric].task != task:
        fitting = [name for name, row in METRICS.items() if row.task == task]
        raise UsageError(f"dataset.metric={metric} does not fit {task}", f"metrics of {task}: {', '.join(fitting)}")
    classes = classes_of(parts) if task == "classification" else ()
    return Labelled(task, classes, metric, {name: encode(name, part, task, classes) for name, part in parts.items()})


def _build(spec: DatasetSpec, parts: Mapping[str, Part]) -> Corpus:
    known = labelled(spec, parts)
    texts = dict.fromkeys(text for part in parts.values() for pair in part.pairs for text in (pair.first, pair.second))
    words = dict(zip(texts, tokenise(texts), strict=True))
    for name, part in parts.items():
        cut = sum(len(words[text]) > spec.max_tokens for pair in part.pairs for text in (pair.first, pair.second))
        logger.info(
            "%s: %d of %d %s sentences cut to %d tokens", spec.name, cut, 2 * len(part.pairs), name, spec.max_tokens
        )
    capped = {text: tokens[: spec.max_tokens] for text, tokens in words.items()}
    vocabulary = ("", *sorted({word for tokens in capped.values() for word in tokens}))
    numbers = {word: number for number, word in enumerate(vocabulary)}
    coded = {text: [numbers[word] for word in tokens] or [PADDING] for text, tokens in capped.items()}
    splits = {
        name: Split(
            name,
            _sentences([coded[pair.first] for pair in part.pairs]),
            _sentences([coded[pair.second] for pair in part.pairs]),
            known.labels[name],
            tuple(pair.id for pair in part.pairs),
        )
        for name, part in parts.items()
    }
    name = corpora.corpus_digest(known.task, known.classes, known.metric, vocabulary, splits)
    return Corpus(name, known.task, known.classes, known.metric, vocabulary, MappingProxyType(splits))


def _sentences(coded: Sequence[Sequence[int]]) -> Sentences:
    offsets = np.zeros(len(coded) + 1, np.int64)
    np.cumsum([len(tokens) for tokens in coded], out=offsets[1:])
    return Sentences(np.array([number for tokens in coded for number in tokens], np.int32), offsets)
