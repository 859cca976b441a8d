"""Which of our results stands for a configuration of the paper's, and what a reader must know of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from nasctl.reports.results import Result

PAPER_ENCODER = "bert"
"""The paper's embedding from a frozen encoder, beside which results with any encoder stand."""
PAPER_VECTORS: Mapping[str, str] = {
    "glove": "glove.6B.300d.txt",
    PAPER_ENCODER: "google-bert/bert-base-uncased@86b5e0934494",
}
"""The vectors file or encoder that the paper used, by embedding; that its BERT was uncased is our reading."""

Key = tuple[str, str, str, str]
"""Embedding, model, letters and data set: what is one row in the paper's tables."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A result that stands for its configuration, kind and vectors.

    `count` says of how many trials or runs, `note` which others it was preferred to, and why ("" if there are none).
    """

    result: Result
    count: int | str
    note: str


@dataclass(frozen=True)
class Selection:
    """The results that may be shown, by configuration, studies first; `marks` tell other vectors than the paper's."""

    rows: Mapping[Key, tuple[Shown, ...]]
    marks: Mapping[tuple[str, str], str]

    def embedding(self, result: Result) -> str:
        """The embedding, with a mark where its vectors are others than the paper's: `glove:a`."""
        mark = self.marks.get((result.embedding, result.vectors))
        return f"{result.embedding}:{mark}" if mark else result.embedding


def select(results: Iterable[Result], kinds: Sequence[str] = ("study", "run")) -> Selection:
    """One result per configuration, kind and vectors.

    Of studies it is the one with the most trials, of single runs the best on dev; never the best on test.
    """
    groups: dict[tuple[int, str, Key], list[Result]] = {}
    for each in results:
        if each.kind in kinds:
            key = (each.embedding, each.model, each.rnn, each.dataset)
            groups.setdefault((kinds.index(each.kind), each.vectors, key), []).append(each)
    rows: dict[Key, tuple[Shown, ...]] = {}
    for (_, _, key), alike in sorted(groups.items()):
        rows[key] = (*rows.get(key, ()), _first(alike))
    return Selection(rows, _marks(shown.result for group in rows.values() for shown in group))


def _first(alike: Sequence[Result]) -> Shown:
    if alike[0].kind == "run":
        first = min(alike, key=lambda each: (each.dev is None, -(each.dev or 0.0), each.name))
        count: int | str = "run" if len(alike) == 1 else f"{len(alike)} runs"
        why = "is the best of these single runs on dev"
    else:
        first = min(alike, key=lambda each: (-each.trials, each.name))
        count, why = first.trials, "has the most trials"
    others = ", ".join(sorted(each.name for each in alike if each is not first))
    return Shown(first, count, f"{first.name} is shown since it {why}; left out: {others}." if others else "")


def _marks(results: Iterable[Result]) -> dict[tuple[str, str], str]:
    other = sorted(
        {(each.embedding, each.vectors) for each in results if is_other(each)},
    )
    letters = (f"{ascii_lowercase[n % 26]}{n // 26 or ''}" for n in range(len(other)))
    return dict(zip(other, letters, strict=True))


def is_other(result: Result) -> bool:
    """Whether its vectors are none of the paper's although its embedding is one of the paper's, or of its kind."""
    paper = PAPER_VECTORS.get(counterpart(result))
    return paper is not None and result.vectors != paper


def counterpart(result: Result) -> str:
    """The embedding whose scores in the paper stand beside the result: BERT's beside those of every encoder."""
    return PAPER_ENCODER if result.encoder else result.embedding


def notes_on(shown: Sequence[Shown], selection: Selection) -> list[str]:
    """What a reader must know before comparing: other vectors, studies that go on, results left out, and the cells."""
    seen = {(each.result.embedding, each.result.vectors): counterpart(each.result) for each in shown}
    notes = [
        f"{embedding}:{mark} is {vectors or 'of unknown origin'} instead of the paper's "
        f"{PAPER_VECTORS[seen[embedding, vectors]]}."
        for (embedding, vectors), mark in selection.marks.items()
        if (embedding, vectors) in seen
    ]
    notes += unfinished_note([each.result for each in shown])
    return notes + [each.note for each in shown if each.note]


def unfinished_note(results: Iterable[Result]) -> list[str]:
    """Which of these are not at their end."""
    names = [f"{each.name} ({each.state})" for each in results if each.state != "finished"]
    return [f"Not at their end: {', '.join(names)}."] if names else []


def cell_note(shown: Iterable[Shown]) -> list[str]:
    """Which cells stand behind the letters."""
    names: dict[str, list[str]] = {}
    for each in shown:
        if each.result.cell is not None:
            names.setdefault(each.result.cell.label, []).append(each.result.name)
    cells = "; ".join(f"{cell} in {', '.join(sorted(studies))}" for cell, studies in sorted(names.items()))
    return [f"Cells (a number is a row of the paper's Table 6): {cells}."] if cells else []
