"""All tables by name: the paper's with ours beside its own numbers, and tables of everything in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from nasctl.errors import UsageError, nearest
from nasctl.reports.compare import Scatter, compare_table, scatters
from nasctl.reports.results import Result, read_results
from nasctl.reports.scores import table_1, table_2
from nasctl.reports.shown import TIME, changed_note, state_notes, version_note
from nasctl.reports.statistics import RESAMPLES, SEED, interval
from nasctl.reports.table import Cell, Column, Table
from nasctl.reports.winners import table_5, table_6
from nasctl.tracking.records import Tracker

TOLERANCE = 1e-6
"""By how much a score and the one that follows from the predictions may differ."""

Scatters = Mapping[Result, Scatter]


def build_tables(
    names: Sequence[str],
    tracker: Tracker,
    root: Path | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[Table, ...]:
    """The named tables from what the tracker holds, and predictions from the store's folder, `root`, where it has none.

    Raises UsageError for a name that `TABLES` does not have.
    """
    for name in names:
        if name not in TABLES:
            raise UsageError(f"there is no table {name!r}", nearest(name, TABLES))
    results = read_results(tracker, root=root)
    needs = any(name in NEED_PREDICTIONS for name in names)
    known = scatters(results, resamples=resamples, seed=seed) if needs else {}
    return tuple(TABLES[name](results, known) for name in names)


def studies_table(results: Sequence[Result], known: Scatters) -> Table:
    """Every study in the store, whatever its data set."""
    return _overview("studies", "All studies", [result for result in results if result.kind == "study"], known)


def runs_table(results: Sequence[Result], known: Scatters) -> Table:
    """Every single run in the store."""
    return _overview("runs", "Single runs", [result for result in results if result.kind == "run"], known)


TABLES: Mapping[str, Callable[[Sequence[Result], Scatters], Table]] = MappingProxyType(
    {
        "1": table_1,
        "2": table_2,
        "5": table_5,
        "6": table_6,
        "studies": studies_table,
        "runs": runs_table,
        "compare": compare_table,
    }
)
NEED_PREDICTIONS = frozenset({"studies", "runs", "compare"})


def _overview(name: str, title: str, results: Sequence[Result], known: Scatters) -> Table:
    rows: list[tuple[Cell, ...]] = []
    notes = ["Scores are times 100. The interval: bootstrap over the test rows (BCa, 95 %)."]
    notes += [TIME] if name == "studies" else []
    searched = any(result.search_seconds is not None for result in results)
    if searched:
        notes.append("Search: what finding the pool took, beside the time; studies that share a pool share it.")
    for result in results:
        scatter = known.get(result)
        bounds = interval(scatter.resampled) if scatter else None
        if bounds and result.test is not None and abs(bounds.estimate - result.test) > TOLERANCE:
            notes.append(f"{result.name}: its predictions give another test score than the one that was logged.")
        rows.append(
            (
                result.name,
                result.dataset,
                result.embedding,
                result.vectors or None,
                result.model,
                result.rnn or None,
                result.cell_label,
                result.metric,
                result.trials,
                result.shown(result.dev),
                result.shown(result.test),
                (bounds.low * result.scale, bounds.high * result.scale) if bounds else None,
                result.parameters,
                result.seconds,
                *((result.search_seconds,) if searched else ()),
            )
        )
    columns = (
        Column("study" if name == "studies" else "run"),
        Column("data set"),
        Column("emb.", key="embedding"),
        Column("vectors"),
        Column("model"),
        Column("RNN"),
        Column("cell"),
        Column("metric"),
        Column("trials", "count"),
        Column("dev", "score"),
        Column("test", "score"),
        Column("95 % of test", "interval"),
        Column("parameters", "count"),
        Column("time", "seconds", "seconds"),
        *((Column("search", "seconds", "seconds of search"),) if searched else ()),
    )
    if not rows:
        notes = [f"There are no {name} in the store yet."]
    notes += [*changed_note(results), *version_note(results), *state_notes(results)]
    return Table(name, title, columns, tuple(rows), tuple(notes))
