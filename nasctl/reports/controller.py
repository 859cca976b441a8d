"""What the controllers of searches learned (Adam and Lorraine 2019), as tables, beside that paper's own numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import numpy as np

from nasctl import reference
from nasctl.data.metrics import METRICS
from nasctl.reports.examined import ExaminedSearch
from nasctl.reports.results import scores_by_cell
from nasctl.reports.statistics import (
    RESAMPLES,
    STATISTICS,
    Resampled,
    interval,
    kendall,
    resample_means,
    resample_rows,
    verdict,
)
from nasctl.reports.table import Cell, Column, Table
from nasctl.search.diagnostics import PERMUTATIONS, Diagnosis, diagnose
from nasctl.search.samples import Policy, SampledCell
from nasctl.tracking import tags as tag
from nasctl.tracking.records import Tracker

POLICIES: tuple[Policy, ...] = ("untrained", "trained")
PAPERS: Mapping[str, str] = {"untrained": "random", "plain": "unsupervised", "supervised": "supervised"}
"""What the paper calls our controllers."""

FEWEST_RANKED = 3
"""Cells that two rankings of them need at least."""

FEWEST_SCORES = 10
"""Scores of each side that an interval of the difference of two means needs: of two each, a third would exclude 0."""

Key = tuple[ExaminedSearch, Policy]


def controller_tables(
    searches: Sequence[ExaminedSearch],
    tracker: Tracker,
    *,
    permutations: int = PERMUTATIONS,
    resamples: int = RESAMPLES,
) -> tuple[Table, ...]:
    """Every table of the study; seconds per search of six nodes, up to a minute for twelve."""
    found = [
        (search, policy, diagnose(search.samples.cells, search.of(policy), permutations=permutations))
        for search in searches
        for policy in POLICIES
        if search.of(policy)
    ]
    return (
        _correlations(found, permutations),
        _states(found),
        _scores(searches),
        _gains(searches, resamples),
        _ranks(searches, tracker, resamples),
    )


def _correlations(found: Sequence[tuple[ExaminedSearch, Policy, Diagnosis]], permutations: int) -> Table:
    paper = {row.controller: row for row in reference.controllers()}
    rows: list[tuple[Cell, ...]] = []
    for search, policy, diagnosis in found:
        theirs = paper[PAPERS[search.called(policy)]]
        for each in diagnosis.associations:
            printed = getattr(theirs, each.measure.replace(" ", "_"))
            rows.append((search.name, search.called(policy), each.measure, each.cells, each.rho, each.p, printed))
    columns = (
        Column("search"),
        Column("controller"),
        Column("distance and"),
        Column("cells", "count"),
        Column("rho", "correlation"),
        Column("p", "real"),
        Column("paper", "correlation", "rho in the paper"),
    )
    notes = (
        (
            "Spearman's rho between the distance of two final hidden states and: how many activations, or connections, "
            "the two cells share node by node; their graph edit distance; the difference of their scores."
        ),
        (
            "A state that knows its cell gives a negative rho for the first two and a positive one for the others. Rho "
            "does not see how far apart states are: states that hardly differ can have a "
            "large one; their spread stands in the next table."
        ),
        f"p: Mantel's test, two-sided, {permutations:,} permutations of the cells. A code drawn twice counts once.",
        (
            "Paper: Adam and Lorraine 2019, Table 1: PTB, cells of 12 nodes, other data than ours; its random is our "
            "untrained, its unsupervised our plain."
        ),
        *_bounds(found),
        *_undefined(found),
    )
    return Table("controller-correlations", "What final hidden states tell of the cells", columns, tuple(rows), notes)


def _bounds(found: Sequence[tuple[ExaminedSearch, Policy, Diagnosis]]) -> Iterator[str]:
    """How many edit distances are exact."""
    pairs = {True: 0, False: 0}
    for _, _, diagnosis in found:
        for each in diagnosis.associations:
            if each.exact is not None:
                pairs[each.exact] += each.cells * (each.cells - 1) // 2
    if any(pairs.values()):
        yield f"Graph edit distances: {pairs[True]:,} exact, {pairs[False]:,} upper bounds; all pairs were compared."


def _undefined(found: Sequence[tuple[ExaminedSearch, Policy, Diagnosis]]) -> Iterator[str]:
    if any(each.rho is None for _, _, diagnosis in found for each in diagnosis.associations):
        yield "No rho: too few cells, or all pairs alike (hidden states that are one state, no scores)."


def _states(found: Sequence[tuple[ExaminedSearch, Policy, Diagnosis]]) -> Table:
    rows = [
        (
            search.name,
            search.called(policy),
            diagnosis.samples,
            diagnosis.distinct,
            diagnosis.likeliest,
            diagnosis.by_history,
            diagnosis.spread,
        )
        for search, policy, diagnosis in found
    ]
    columns = (
        Column("search"),
        Column("controller"),
        Column("drawn", "count", "samples"),
        Column("codes", "count", "distinct codes"),
        Column("surest", "correlation", "probability of the likeliest option"),
        Column("varies", "real"),
        Column("spread", "real"),
    )
    notes = (
        "Surest: mean probability of the likeliest option, over choices of two options and more.",
        "Varies: its standard deviation between samples at one choice; 0 where no choice depends on earlier ones.",
        "Spread: standard deviation of a hidden unit at the end, between distinct cells, mean over units.",
    )
    return Table("controller-states", "How sure controllers are, and how they end", columns, tuple(rows), notes)


def _scores(searches: Sequence[ExaminedSearch]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for search, policy in _scored(searches):
        scores = _shown(search, search.of(policy))
        summary = (float(scores.mean()), float(scores.min()), float(scores.max()))
        rows.append((search.name, search.called(policy), search.samples.metric, len(scores), *summary))
    columns = (
        Column("search"),
        Column("drawn by"),
        Column("metric"),
        Column("samples", "count"),
        Column("mean", "score"),
        Column("lowest", "score"),
        Column("highest", "score"),
    )
    paper = {row.controller: row.perplexity for row in reference.controllers()}
    notes = (
        "Scores of samples on all of dev under the shared weights that the search ended with, times 100.",
        (
            f"Paper (Figure 2; PTB, 12 nodes, perplexity, lower is better): random {paper['random']:.1f}, trained "
            f"{paper['unsupervised']:.1f}, each under shared weights of its own; here, all policies use the same ones."
        ),
        *([] if rows else ["No sample has a score."]),
    )
    return Table("controller-scores", "Scores of samples under the shared weights", columns, tuple(rows), notes)


def _gains(searches: Sequence[ExaminedSearch], resamples: int) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for search, policy in _scored(searches):
        drawn, uniform = (_shown(search, search.of(each)) for each in (policy, "uniform"))
        if policy == "uniform" or min(len(drawn), len(uniform)) < FEWEST_SCORES:
            continue
        bounds = interval(resample_means(drawn, uniform, resamples=resamples))
        told = verdict(bounds, METRICS[search.samples.metric].direction)
        rows.append((search.name, search.called(policy), bounds.estimate, (bounds.low, bounds.high), told))
    columns = (
        Column("search"),
        Column("drawn by"),
        Column("diff.", "difference", "difference"),
        Column("95 %", "range"),
        Column("than uniform"),
    )
    notes = (
        "Mean score less that of uniform draws, times 100. Interval: bootstrap over the samples of both (BCa, 95 %).",
        "It knows nothing of other searches: another seed gives other shared weights.",
        *([] if rows else [f"No search has {FEWEST_SCORES} scores each of a controller and of uniform draws."]),
    )
    return Table("controller-gains", "Do controllers draw better cells than chance?", columns, tuple(rows), notes)


def _ranks(searches: Sequence[ExaminedSearch], tracker: Tracker, resamples: int) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for search in searches:
        version = {tag.RESULT_VERSION: str(search.record.result_version)}
        alone = scores_by_cell(tracker, {**search.labels, **version}, search.samples.metric)
        graphs: dict[str, list[float]] = {}
        for each in search.record.found:
            graphs.setdefault(each.digest, []).append(each.score)
        pairs = [(fmean(scores), alone[digest]) for digest, scores in graphs.items() if digest in alone]
        shared, single = np.array(pairs, np.float64).reshape(-1, 2).T
        found: list[Cell] = [None] * 4
        if len(pairs) >= FEWEST_RANKED:
            ranked = (STATISTICS["spearman"](single, shared, 0), kendall(single, shared))
            resampled = [resample_rows(statistic, len(pairs), resamples=resamples) for statistic in ranked]
            found = [cell for each in resampled for cell in _estimate(each)]
        rows.append((search.name, f"{len(pairs)} of {len(graphs)}", *found))
    columns = (
        Column("search"),
        Column("cells", "count"),
        Column("rho", "correlation", "Spearman's rho"),
        Column("95 %", "range", "95 % of rho"),
        Column("tau", "correlation", "Kendall's tau"),
        Column("95 %", "range", "95 % of tau"),
    )
    notes = [
        (
            "Rank correlations (Spearman's rho, Kendall's tau) between a found cell's score under the shared weights "
            "and its best dev score when trained alone: studies with cell=searched on the same data, embedding and "
            "readings."
        ),
        (
            "That best is of as many trials as studies gave the cell, whatever was tuned there: one that was tried "
            "more often had more chances. Codes of one graph are one cell, with the mean of their scores."
        ),
        (
            "Intervals: bootstrap over the cells (BCa, 95 %); of ten cells they are wide, and rough. There is none "
            "where all resamples agree, as they do on a perfect order."
        ),
    ]
    if any(row[2] is None for row in rows):
        notes.append(f"Fewer than {FEWEST_RANKED} cells of a search with both scores: nothing to rank yet.")
    title = "Do shared weights rank cells as training alone does?"
    return Table("controller-ranks", title, columns, tuple(rows), tuple(notes))


def _estimate(resampled: Resampled) -> tuple[Cell, Cell]:
    """The estimate, and its interval if it has any width: however few cells are in one order, any draw of them is."""
    bounds = interval(resampled)
    return bounds.estimate, (bounds.low, bounds.high) if bounds.low < bounds.high else None


def _scored(searches: Sequence[ExaminedSearch]) -> Iterator[Key]:
    policies: tuple[Policy, ...] = ("uniform", *POLICIES)
    return ((search, policy) for search in searches for policy in policies if len(_shown(search, search.of(policy))))


def _shown(search: ExaminedSearch, samples: Sequence[SampledCell]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The scores that there are, in the order drawn, as they are shown."""
    return np.array([each.score * search.scale for each in samples if each.score is not None], np.float64)
