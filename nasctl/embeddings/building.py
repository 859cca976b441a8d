"""The feature cache: every pair is read by the encoder once, by one process, and never again.

What is there is looked at byte by byte before it is used; what is damaged is made once more. Nobody waits for
transformers who finds the file.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import numpy as np
from tqdm import tqdm

from nasctl.data.pairs import Part
from nasctl.embeddings import features
from nasctl.embeddings.encoders import Located, locate
from nasctl.embeddings.features import Features, Rows, features_bytes, features_path
from nasctl.embeddings.spans import Ids, Layout, lay_out
from nasctl.errors import MachineError, UsageError
from nasctl.files import digest, remove_leftovers
from nasctl.sources import ContextualSpec

if TYPE_CHECKING:
    from nasctl.embeddings.contextual import Encoder

__all__ = ["mixed", "prepare"]

LOG = logging.getLogger(__name__)

READING = 2
"""Raised by hand whenever the same encoder would give other features for the same pairs."""

MUCH_UNKNOWN = 0.1
"""The share of word pieces above which unknown text is warned of."""

SPARE_BYTES = 200 * 1000 * 1000
"""What must stay free on the disk beside the features."""


def prepare(spec: ContextualSpec, parts: Mapping[str, Part], cap: int, cache: Path) -> Features:
    """The features of all pairs of `parts`, each pair cut to `cap` word pieces; made once and kept under `cache`.

    Safe in any number of processes at once: one builds, the others wait. Raises UsageError for an encoder that cannot
    be used, MachineError for one that is not here, for a full disk, and for a file that is damaged twice.
    """
    found = locate(spec)
    name = _digest(spec, found, parts, cap)
    path = features_path(cache, name)
    known = _whole(cache, name, tell=False)  # before the lock, for the many who find it
    if known is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _alone(path):
                known = _whole(cache, name, tell=True) or _made(spec, found, parts, cap, cache=cache, name=name)
        except OSError as error:
            raise MachineError(
                f"cannot write features to {path.parent}: {error.strerror or error}",
                "free space or permission there, or another folder: store.root=FOLDER",
            ) from error
    mixed(spec, known.layers)
    if known.unknown > MUCH_UNKNOWN:
        message = "%.0f%% of the word pieces are unknown to %s: each is read as the same token, whatever it says"
        LOG.warning(message, 100 * known.unknown, found.source)
    return replace(known, source=found.source)


def mixed(spec: ContextualSpec, layers: int) -> tuple[int, ...]:
    """The layers that are mixed, of so many with the input embedding. Raises UsageError for one that is not there."""
    if spec.mix == "encoder":
        return tuple(range(1, layers))
    if spec.mix == "all":
        return tuple(range(layers))
    missing = [number for number in spec.mix if number >= layers]
    if missing or len(set(spec.mix)) < len(spec.mix) or not spec.mix:
        raise UsageError(
            f"embedding.mix={list(spec.mix)}: {spec.encoder} has the layers 0 (its input) to {layers - 1}",
            "encoder (1 and up), all (0 and up), or different numbers among them",
        )
    return tuple(sorted(spec.mix))


def _digest(spec: ContextualSpec, found: Located, parts: Mapping[str, Part], cap: int) -> str:
    """The identity of features: what they are made from, so that every machine gives them one name."""
    return digest(
        {
            "encoder": found.digest,
            "texts": {name: [[pair.first, pair.second] for pair in part.pairs] for name, part in parts.items()},
            "cap": cap,
            "encode": spec.encode,
            "special_tokens": spec.special_tokens,
            "reading": READING,
            "layout": features.LAYOUT,
        }
    )


def _whole(cache: Path, name: str, *, tell: bool) -> Features | None:
    """The features of this digest if they are there and every byte of them is as it was written.

    With `tell` a warning says what is wrong with those that are not.
    """
    if not features_path(cache, name).exists():
        return None
    try:
        return features.load(cache, name, verify=True)
    except MachineError as error:
        if tell:
            LOG.warning("%s; the pairs are encoded again", error)
    except OSError:  # gone since, or no file: whoever holds the lock sees to it
        pass
    return None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of one file of features, which its holder's death frees; tells once if somebody else has it."""
    lock = filelock.FileLock(path.with_suffix(".lock"), mode=0o600)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        LOG.warning("another process encodes the same pairs; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _tidy(path: Path) -> None:
    """Remove what killed builders have left, of these features and of any others that nobody builds now."""
    remove_leftovers(path)
    for lock in path.parent.glob("*.lock"):
        with contextlib.suppress(filelock.Timeout), filelock.FileLock(lock, timeout=0, mode=0o600):
            remove_leftovers(lock.with_suffix(path.suffix))


def _made(
    spec: ContextualSpec, found: Located, parts: Mapping[str, Part], cap: int, *, cache: Path, name: str
) -> Features:
    """Encode all pairs. Whoever calls this holds the lock."""
    from nasctl.embeddings.contextual import Encoder  # noqa: PLC0415 - ten seconds, and the cache spares them

    path = features_path(cache, name)
    path.unlink(missing_ok=True)  # a damaged one: its room may be needed
    _tidy(path)
    encoder = Encoder(found.folder, found.source)
    mixed(spec, encoder.layers)
    layout, unknown = _layout(spec, encoder, parts, cap)
    shape = (layout.rows, encoder.layers, encoder.width)
    _check_room(path.parent, features_bytes(*shape))
    about = {"pairs": layout.pairs, "cut": layout.cut, "unknown": unknown}
    features.save(cache, name, layout.sentences, shape=shape, blocks=_blocks(encoder, layout, shape), about=about)
    return features.load(cache, name, verify=True)


def _layout(spec: ContextualSpec, encoder: Encoder, parts: Mapping[str, Part], cap: int) -> tuple[Layout, float]:
    """What the encoder reads, and the share of the pairs' word pieces, before any cut, that it does not know."""
    frames = encoder.frames()
    least, most = frames[1].size + 2, encoder.longest
    if not least <= cap <= most:
        raise UsageError(
            f"dataset.max_pieces={cap}: {encoder.source} reads {least} to {most} pieces at once", "special tokens count"
        )
    texts = dict.fromkeys(text for part in parts.values() for pair in part.pairs for text in (pair.first, pair.second))
    pieces = encoder.pieces(list(texts))
    layout = lay_out(parts, pieces, frames, cap=cap, encode=spec.encode, special_tokens=spec.special_tokens)
    LOG.info("%d of %d pairs cut to %d pieces", layout.cut, layout.pairs, cap)
    return layout, _unknown_share(parts, pieces, encoder.unknown)


def _unknown_share(parts: Mapping[str, Part], pieces: Mapping[str, Ids], unknown: int | None) -> float:
    """Over every sentence of every pair; 0 for an encoder that knows all text and has no such piece."""
    sentences = [pieces[text] for part in parts.values() for pair in part.pairs for text in (pair.first, pair.second)]
    return sum(each.count(unknown) for each in sentences) / max(sum(map(len, sentences)), 1)


def _blocks(encoder: Encoder, layout: Layout, shape: tuple[int, int, int]) -> Iterator[Rows]:
    """The padding's row, then the encoder's answers, with a bar on a terminal."""
    yield np.zeros((1, *shape[1:]), features.HALF)
    size = f"{features_bytes(*shape) / 1e9:.2f} GB"
    bar = tqdm(total=shape[0] - 1, desc=f"{encoder.source}: encoding once, {size}", unit="token", disable=None)
    with bar:
        for rows in encoder.encode(layout.inputs):
            yield rows
            bar.update(len(rows))


def _check_room(folder: Path, size: int) -> None:
    """Raises MachineError if the disk cannot hold features of so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        raise MachineError(
            f"the features take {size / 1e9:.2f} GB, and the disk of {folder} has {free / 1e9:.2f} GB free "
            f"({SPARE_BYTES / 1e9:.1f} GB must stay so)",
            "free some space, or store.root=FOLDER on another disk",
        )
