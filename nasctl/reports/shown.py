"""Which of our results stands for a configuration of the paper's, and what a reader must know of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from nasctl import reference
from nasctl.reports.results import Result

PAPER_ENCODER = "bert"
"""The paper's embedding from a frozen encoder, beside which results with any encoder stand."""
PAPER_VECTORS: Mapping[str, str] = {
    "glove": "glove.6B.300d.txt",
    PAPER_ENCODER: "google-bert/bert-base-uncased@86b5e0934494",
}
"""The vectors file or encoder that the paper used, by embedding; that its BERT was uncased is our reading."""

PAPER_METRICS: Mapping[str, str] = {"sick": "pearson", "stsb": "pearson", "mrpc": "accuracy"}
"""The metric of all numbers in the paper, by data set."""

PAPER_SEARCH = "enas"
"""The method of the paper's searches."""

PAPER_SWEEPS = "paper/"
"""What the names of sweeps over the paper's search space begin with."""

TIME = (
    "Time: of a study its trials (finished, diverged or pruned), over all workers together. Attempts that came to "
    "nothing and the final evaluation are not in it, and a result that was known already cost none."
)
"""What the seconds of a study are made of: those of `tracking.totals`."""

Key = tuple[str, str, str, str]
"""Embedding, model, letters and data set: what is one row in the paper's tables."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A result that stands for all that are alike: what that means, says `select`.

    `count` says of how many trials or runs, `note` which others it was preferred to, and why ("" if there are none).
    """

    result: Result
    count: int | str
    note: str


@dataclass(frozen=True)
class Selection:
    """The results that may be shown, by configuration, studies first; `marks` tell other vectors than the paper's.

    `apart` are those by another metric than the paper's on its data: they stand beside none of its numbers.
    """

    rows: Mapping[Key, tuple[Shown, ...]]
    marks: Mapping[tuple[str, str], str]
    apart: tuple[Result, ...]

    def embedding(self, result: Result) -> str:
        """The embedding, with a mark where its vectors are others than the paper's: `glove:a`."""
        mark = self.marks.get((result.embedding, result.vectors))
        return f"{result.embedding}:{mark}" if mark else result.embedding


def select(results: Iterable[Result], kinds: Sequence[str] = ("study", "run")) -> Selection:
    """One result per configuration, kind, vectors, metric, origin of its cells, method, basis and RESULT_VERSION.

    Of studies it is the one with the most trials, of single runs the best on dev; never the best on test. A study
    without trials is none yet.
    """
    groups: dict[tuple[int, str, Key, tuple[str, ...]], list[Result]] = {}
    apart = []
    for each in results:
        if each.kind not in kinds or not each.trials:
            continue
        if PAPER_METRICS.get(each.dataset, each.metric) != each.metric:
            apart.append(each)
            continue
        key = (each.embedding, each.model, each.rnn, each.dataset)
        groups.setdefault((kinds.index(each.kind), each.vectors, key, (*_method(each), each.basis)), []).append(each)
    rows: dict[Key, tuple[Shown, ...]] = {}
    for (_, _, key, _), alike in sorted(groups.items()):
        rows[key] = (*rows.get(key, ()), _first(alike))
    marks = _marks(shown.result for group in rows.values() for shown in group)
    return Selection(rows, marks, tuple(apart))


def _method(result: Result) -> tuple[str, ...]:
    """What two results of one configuration must share, beside data and readings, to stand for one another."""
    cells = (result.found_on, result.search, result.search_changed)
    return (result.metric, *cells, result.sweep, result.limits, result.changed, result.result_version)


def _first(alike: Sequence[Result]) -> Shown:
    if alike[0].kind == "run":
        first = min(alike, key=lambda each: (each.dev is None, -(each.dev or 0.0), each.name))
        count: int | str = "run" if len(alike) == 1 else f"{len(alike)} runs"
        ties = [each.dev for each in alike].count(first.dev) > 1
        equal = "none of these single runs is better on dev, and of those as good its name is the first"
        why = equal if ties else "it is the best of these single runs on dev"
    else:
        first = min(alike, key=lambda each: (-each.trials, each.name))
        count = first.trials
        ties = [each.trials for each in alike].count(first.trials) > 1
        equal = "none has more trials, and of those with as many its name is the first"
        why = equal if ties else "it has the most trials"
    others = ", ".join(sorted(each.name for each in alike if each is not first))
    return Shown(first, count, f"{first.name} is shown since {why}; left out: {others}." if others else "")


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


def unpaired(result: Result) -> bool:
    """Whether its cells come from where none of the paper's do, so that no number of the paper stands beside them."""
    return bool(_origin(result, moved=True))


def letters(result: Result, *, moved: bool = True) -> str:
    """The paper's letters; `T:stsb`, `E:random` where the cells come from other data or searches than the paper's.

    Without `moved`, the data are told elsewhere.
    """
    return ":".join([result.rnn, *_origin(result, moved=moved)])


def letters_note(shown: Iterable[Shown], *, moved: bool = True) -> list[str]:
    """What is meant by letters with a data set, or a search."""
    found = {letters(each.result, moved=moved): _origin(each.result, moved=moved) for each in shown}
    return [f"{text}: cells {' and '.join(found[text].values())}." for text in sorted(found) if found[text]]


def _origin(result: Result, *, moved: bool) -> Mapping[str, str]:
    """Where its cells come from, if that is not the paper's: a word for it, and what the word means."""
    paper = {row.dataset: row.optimized_for for row in reference.transfer() if "T" in row.letters}
    found: dict[str, str] = {}
    if moved and "T" in result.rnn and result.found_on not in {"", paper.get(result.dataset)}:
        found[result.found_on] = f"found on {result.found_on}, as none of the paper's on these data were"
    if result.search not in {"", PAPER_SEARCH}:
        found[result.search] = f"found by search={result.search}, the paper's by ENAS"
    return found


def apart_note(results: Iterable[Result]) -> list[str]:
    """Which results are missing beside the paper's numbers since they have another metric."""
    names = sorted(f"{each.name} ({each.metric})" for each in results)
    why = "Only in the tables studies and runs, since the paper's numbers are of another metric"
    return [f"{why}: {', '.join(names)}."] if names else []


def notes_on(shown: Sequence[Shown], selection: Selection) -> list[str]:
    """What a reader must know before comparing: other vectors and metrics, states of studies, and results left out."""
    seen = {(each.result.embedding, each.result.vectors): counterpart(each.result) for each in shown}
    notes = [
        f"{embedding}:{mark} is {vectors or 'of unknown origin'} instead of the paper's "
        f"{PAPER_VECTORS[seen[embedding, vectors]]}."
        for (embedding, vectors), mark in selection.marks.items()
        if (embedding, vectors) in seen
    ]
    own = [f"{each.result.name} by {each.result.metric}" for each in shown if each.result.dataset not in PAPER_METRICS]
    notes += [f"Metrics on other data than the paper's: {', '.join(own)}."] if own else []
    notes += basis_note(shown, selection)
    notes += method_note([each.result for each in shown])
    notes += version_note([each.result for each in shown])
    notes += state_notes([each.result for each in shown])
    return notes + [each.note for each in shown if each.note]


def method_note(results: Sequence[Result]) -> list[str]:
    """Which studies searched, trained or read otherwise than the paper's sweeps, and which runs have other readings."""
    studies: dict[str, list[str]] = {}
    for each in results:
        changes = " ".join(["limits=none"] * (each.limits == "none") + [each.changed] * bool(each.changed))
        if each.kind == "study" and each.sweep and (changes or not each.sweep.startswith(PAPER_SWEEPS)):
            method = f"{each.sweep} with {changes}" if changes else each.sweep
            studies.setdefault(method, []).append(f"{each.name} ({each.trials})")
    methods = "; ".join(f"{method} in {', '.join(sorted(names))}" for method, names in sorted(studies.items()))
    notes = [f"Another method than the paper's sweeps, with so many trials: {methods}."] if methods else []
    return notes + search_note(results) + changed_note(each for each in results if each.kind == "run")


def search_note(results: Iterable[Result]) -> list[str]:
    """Whose cells were found by a search of which something was changed on the command line."""
    names = sorted(f"{each.name} ({each.search_changed})" for each in results if each.search_changed)
    return [f"With cells of a search of another method than conf/ has: {', '.join(names)}."] if names else []


def basis_note(shown: Sequence[Shown], selection: Selection) -> list[str]:
    """Which rows look alike, and are of other contents: pairs, vectors, or readings in a file of one's own."""
    alike: dict[tuple[str, ...], list[Result]] = {}
    for each in (each.result for each in shown):
        same = (each.kind, selection.embedding(each), each.model, each.rnn, each.dataset, *_method(each))
        alike.setdefault(same, []).append(each)
    groups = [sorted(f"{each.name} ({each.trials})" for each in group) for group in alike.values() if len(group) > 1]
    return [f"Called alike, but of other pairs, vectors or readings: {', '.join(names)}." for names in groups]


def changed_note(results: Iterable[Result]) -> list[str]:
    """What was changed on the command line, of a study or run that has another method for it."""
    names = sorted(f"{each.name} ({each.changed})" for each in results if each.changed)
    return [f"Of another method than conf/ and sweeps/ have: {', '.join(names)}."] if names else []


def version_note(results: Iterable[Result]) -> list[str]:
    """Which results are of which version, if there are several."""
    names: dict[str, list[str]] = {}
    for each in results:
        names.setdefault(each.result_version or "unknown", []).append(each.name)
    versions = "; ".join(f"{version} in {', '.join(sorted(names[version]))}" for version in sorted(names))
    why = "Numbers that moved between versions of nasctl (RESULT_VERSION) stand side by side"
    return [f"{why}: {versions}."] if len(names) > 1 else []


def state_notes(results: Sequence[Result]) -> list[str]:
    """Which of these are not at their end, and which have nothing to show there."""
    names = [f"{each.name} ({each.state})" for each in results if each.state != "finished"]
    lost = [each.name for each in results if each.dev is None]
    notes = [f"Not at their end: {', '.join(names)}."] if names else []
    return notes + ([f"Without a score, since no trial has ended well: {', '.join(lost)}."] if lost else [])


def cell_note(shown: Iterable[Shown]) -> list[str]:
    """Which cells stand behind the letters."""
    names: dict[str, list[str]] = {}
    for each in shown:
        if each.result.cell is not None:
            names.setdefault(each.result.cell.label, []).append(each.result.name)
    cells = "; ".join(f"{cell} in {', '.join(sorted(studies))}" for cell, studies in sorted(names.items()))
    return [f"Cells (a number is a row of the paper's Table 6): {cells}."] if cells else []
