"""The paper's Tables 1 and 2: dev and test of every configuration, ours beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasctl import reference
from nasctl.reports.results import Result
from nasctl.reports.shown import (
    TIME,
    Key,
    Selection,
    Shown,
    apart_note,
    cell_note,
    counterpart,
    letters,
    letters_note,
    notes_on,
    select,
    unpaired,
)
from nasctl.reports.table import Cell, Column, Table

BASELINE_LETTERS = frozenset({"L", "LL"})
"""Rows of the paper that are shown even where we have no result."""
LETTERS = "LERTC"
"""The order of letters in a table: the paper's, then our own for cells that were named."""


def table_1(results: Sequence[Result], _known: Mapping[Result, Any]) -> Table:
    """Dev and test of every configuration of the paper's, and of ours on its data, models and embeddings.

    Another encoder than the paper's BERT has rows of its own, with the paper's scores of BERT beside them.
    Random and transferred cells have their scores from the paper's Table 2. Cells of other data or another search than
    the paper's have none.
    """
    ours, paper = select(results), reference.scores()
    known = BASELINE_LETTERS | {key[2] for key in ours.rows}
    blocks = list(dict.fromkeys(key[:2] for key in paper))
    datasets = list(dict.fromkeys(key[3] for key in paper))
    wanted = {key for key in paper if key[2] in known}
    beside = {key: (counterpart(group[0].result), *key[1:]) for key, group in ours.rows.items()}
    wanted |= {key for key, theirs in beside.items() if theirs[:2] in blocks and key[3] in datasets}
    rows: list[tuple[Cell, ...]] = []
    shown: list[Shown] = []

    def place(key: Key) -> tuple[Any, ...]:
        theirs = beside.get(key, key)
        return (blocks.index(theirs[:2]), key[0] != theirs[0], key[0], _rank(key[2]), datasets.index(key[3]))

    for key in sorted(wanted, key=place):
        group = ours.rows.get(key, ())
        alone = key in paper and all(unpaired(each.result) for each in group)
        for each in (None, *group) if alone else group:
            shown += [each] if each else []
            theirs = None if each and unpaired(each.result) else paper.get(beside.get(key, key))
            head, seconds = _head(ours, key, each), each.result.seconds if each else None
            rows.append((key[3], *head, _count(each), *_scores(each, theirs), seconds))
    columns = (
        Column("data", key="data set"),
        Column("emb.", key="embedding"),
        Column("model"),
        Column("RNN"),
        Column("trials", "count"),
        *_SCORES,
        Column("time", "seconds", "seconds"),
    )
    title = "LSTMs and other cells (the paper's Table 1): Pearson (sick, stsb) or accuracy (mrpc), times 100"
    apart = [each for each in ours.apart if (counterpart(each), each.model) in blocks]
    notes = (*letters_note(shown), *notes_on(shown, ours), *apart_note(apart), *cell_note(shown))
    return Table("1", title, columns, tuple(rows), (*_GENERAL, TIME, *notes))


def table_2(results: Sequence[Result], _known: Mapping[Result, Any]) -> Table:
    """Cells of one data set on another, and random ones: every row of the paper's, and ours where there are any."""
    ours = select(results)
    rows: list[tuple[Cell, ...]] = []
    shown: list[Shown] = []
    paper: dict[tuple[Key, str], tuple[float, float]] = {}
    for row in reference.transfer():
        key = (row.embedding, row.model, row.letters, row.dataset)
        paper[key, row.optimized_for] = (row.dev, row.test)
        group = [each for each in ours.rows.get(key, ()) if not unpaired(each.result)]
        fitting = [each for each in group if each.result.found_on in {row.optimized_for, ""}]
        for each in fitting or (None,):
            shown += [each] if each else []
            scores = _scores(each, (row.dev, row.test))
            rows.append((*_head(ours, key, each)[:2], key[2], row.optimized_for, key[3], _count(each), *scores))
    for key, every in ours.rows.items():
        for each in every:
            source = each.result.found_on
            if source and each not in shown:
                shown.append(each)
                beside = (counterpart(each.result), *key[1:])
                scores = _scores(each, None if unpaired(each.result) else paper.get((beside, source)))
                head = (*_head(ours, key, each)[:2], letters(each.result, moved=False))
                rows.append((*head, source, key[3], _count(each), *scores))
    columns = (
        Column("emb.", key="embedding"),
        Column("model"),
        Column("RNN"),
        Column("from", key="optimized_for"),
        Column("data", key="data set"),
        Column("trials", "count"),
        *_SCORES,
    )
    title = "Cells found on one data set, used on another (the paper's Table 2): scores times 100"
    meaning = "From: the data set that the cells were found on. T: it is another one (the paper prints E here, too)."
    apart = apart_note(each for each in ours.apart if each.found_on)
    notes = (meaning, *letters_note(shown, moved=False), *notes_on(shown, ours), *apart, *cell_note(shown))
    return Table("2", title, columns, tuple(rows), notes)


_SCORES = (
    Column("dev", "score"),
    Column("paper", "score", "dev in the paper"),
    Column("test", "score"),
    Column("paper", "score", "test in the paper"),
)
_GENERAL = ("The paper ran 500 trials per LSTM study and 200 per study with other cells.",)


def _head(ours: Selection, key: Key, each: Shown | None) -> tuple[Cell, ...]:
    """Embedding, model and letters."""
    if each is None:
        return key[:3]
    return (ours.embedding(each.result), key[1], letters(each.result))


def _count(each: Shown | None) -> Cell:
    return each.count if each else None


def _scores(each: Shown | None, paper: tuple[float, float] | None) -> tuple[Cell, ...]:
    """Our dev, the paper's dev, our test, the paper's test."""
    mine = (each.result.shown(each.result.dev), each.result.shown(each.result.test)) if each else (None, None)
    theirs = paper or (None, None)
    return (mine[0], theirs[0], mine[1], theirs[1])


def _rank(letters: str) -> tuple[int, tuple[bool, ...]]:
    """Where letters stand: LSTMs first, then by what stands beside them, the first layer before the second."""
    return max((LETTERS.find(letter) for letter in letters), default=-1), tuple(letter == "L" for letter in letters)
