"""What an encoder reads of a pair, and where each sentence lies in what it answers. Numbers only, no library.

Both sentences are cut longest first to a cap that counts special tokens, then framed by those, and only then are their
spans known. Equal inputs are encoded once: sentences say by the number of a row where their features are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from nasctl.data.corpus import PADDING, Sentences
from nasctl.data.pairs import Part

__all__ = ["Frame", "Ids", "Input", "Layout", "batches", "cut", "framed", "lay_out"]

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Frame:
    """The special tokens around one sentence or two: `special[i]` stands before sentence i, the last one behind all.

    `special_types` are their token types, `types` those of each sentence's pieces.
    """

    special: tuple[Ids, ...]
    special_types: tuple[Ids, ...]
    types: Ids

    @property
    def size(self) -> int:
        """How many special tokens there are."""
        return sum(map(len, self.special))


@dataclass(frozen=True)
class Input:
    """What an encoder reads at once: ids and token types [n], and the span (begin, end) of each sentence in it."""

    ids: Ids
    types: Ids
    spans: tuple[tuple[int, int], ...]

    @property
    def kept(self) -> int:
        """How many of its tokens have features that are kept."""
        return sum(end - begin for begin, end in self.spans)


@dataclass(frozen=True)
class Layout:
    """Every input once, the shortest first, and the rows of features that sentences are made of.

    Row 0 is the padding; then come the kept tokens of one input after the other. `tokens` counts what the sentences
    have, `cut` the pairs that were too long.
    """

    inputs: tuple[Input, ...]
    sentences: Mapping[str, tuple[Sentences, Sentences]]
    rows: int
    pairs: int
    cut: int


def cut(first: int, second: int, limit: int) -> tuple[int, int]:
    """How many pieces of two sentences stay within `limit`: the longer one loses until both are equally long."""
    if first + second <= limit:
        return first, second
    shorter = min(first, second, limit // 2)
    return (shorter, limit - shorter) if first <= second else (limit - shorter, shorter)


def framed(frame: Frame, sentences: Sequence[Ids], special_tokens: Literal["dropped", "kept"]) -> Input:
    """Sentences with special tokens around them. Kept ones belong to the sentence before them, the first ones to the
    first: [CLS] A [SEP] and B [SEP].
    """
    ids, types = list(frame.special[0]), list(frame.special_types[0])
    spans = []
    for place, sentence in enumerate(sentences):
        begin = len(ids)
        ids += sentence
        types += [frame.types[place]] * len(sentence)
        spans.append((begin, len(ids)))
        ids += frame.special[place + 1]
        types += frame.special_types[place + 1]
    if special_tokens == "kept":
        ends = [begin for begin, _ in spans[1:]] + [len(ids)]
        spans = list(zip([0, *ends[:-1]], ends, strict=True))
    return Input(tuple(ids), tuple(types), tuple(spans))


def lay_out(
    parts: Mapping[str, Part],
    pieces: Mapping[str, Ids],
    frames: tuple[Frame, Frame],
    *,
    cap: int,
    encode: Literal["joint", "separate"],
    special_tokens: Literal["dropped", "kept"],
) -> Layout:
    """Inputs and rows for all pairs. `pieces` holds those of each text, `frames` are those of one sentence and of two.

    A pair is cut in the same way for both readings of `encode`. A sentence without a token is a single PADDING.
    """
    single, double = frames
    spans: dict[str, list[list[tuple[Input, int]]]] = {}  # per split, for each side's sentences: input and span
    were_cut = 0
    for name, part in parts.items():
        spans[name] = [[], []]
        for pair in part.pairs:
            both = pieces[pair.first], pieces[pair.second]
            left = cut(len(both[0]), len(both[1]), cap - double.size)
            were_cut += sum(left) < len(both[0]) + len(both[1])
            stay = [sentence[:length] for sentence, length in zip(both, left, strict=True)]
            if encode == "joint":
                together = framed(double, stay, special_tokens)
                found = [(together, 0), (together, 1)]
            else:
                found = [(framed(single, [sentence], special_tokens), 0) for sentence in stay]
            for side, each in zip(spans[name], found, strict=True):
                side.append(each)
    every = {each for sides in spans.values() for side in sides for each, _ in side if each.kept}
    inputs = tuple(sorted(every, key=lambda each: (len(each.ids), each.ids, each.types, each.spans)))
    begins = np.cumsum([1, *(each.kept for each in inputs)]).tolist()
    row_of = dict(zip(inputs, begins, strict=False))
    sentences = {name: (_rows(sides[0], row_of), _rows(sides[1], row_of)) for name, sides in spans.items()}
    return Layout(inputs, sentences, begins[-1], sum(len(part.pairs) for part in parts.values()), were_cut)


def _rows(side: Sequence[tuple[Input, int]], row_of: Mapping[Input, int]) -> Sentences:
    """The sentences of one side: the rows of each one's span, which is the `place`th of its input."""
    rows: list[range | tuple[int]] = []
    for each, place in side:
        begin, end = each.spans[place]
        first = row_of.get(each, 0) + sum(end - begin for begin, end in each.spans[:place])
        rows.append(range(first, first + end - begin) if end > begin else (PADDING,))
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(each) for each in rows], out=offsets[1:])
    return Sentences(np.fromiter((row for each in rows for row in each), np.int32, int(offsets[-1])), offsets)


def batches(inputs: Sequence[Input], most_tokens: int) -> Iterator[Sequence[Input]]:
    """The inputs in their order, as many of one length at a time as have `most_tokens`; at least one."""
    for length, alike in groupby(inputs, key=lambda each: len(each.ids)):
        equal, size = list(alike), max(most_tokens // length, 1)
        yield from (equal[begin : begin + size] for begin in range(0, len(equal), size))
