"""The paper's Tables 1 and 5 with ours beside the paper's own numbers, and tables of everything in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from nasctl import reference
from nasctl.errors import UsageError, nearest
from nasctl.reports.compare import Scatter, compare_table, scatters
from nasctl.reports.results import Result, read_results
from nasctl.reports.statistics import RESAMPLES, SEED, interval
from nasctl.reports.table import Cell, Column, Table
from nasctl.tracking.records import Tracker

PAPER_VECTORS: Mapping[str, str] = {"glove": "glove.6B.300d.txt"}
"""The vectors file that the paper used, by embedding."""
BASELINE_LETTERS = frozenset({"L", "LL"})
"""Rows of the paper that are shown even where we have no result."""
TOLERANCE = 1e-6
"""By how much a score and the one that follows from the predictions may differ."""

Key = tuple[str, str, str, str]
Scatters = Mapping[Result, Scatter]


def build_tables(
    names: Sequence[str], tracker: Tracker, *, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[Table, ...]:
    """The named tables from what the tracker holds; UsageError for a name that `TABLES` does not have."""
    for name in names:
        if name not in TABLES:
            raise UsageError(f"there is no table {name!r}", nearest(name, TABLES))
    results = read_results(tracker)
    needs = any(name in NEED_PREDICTIONS for name in names)
    known = scatters(results, resamples=resamples, seed=seed) if needs else {}
    return tuple(TABLES[name](results, known) for name in names)


def table_1(results: Sequence[Result], _known: Scatters) -> Table:
    """Dev and test of every configuration of the paper's Table 1: the best study of ours, and the paper's."""
    ours, notes = _best_studies(results)
    letters = BASELINE_LETTERS | {key[2] for key in ours}
    rows: list[tuple[Cell, ...]] = []
    shown: list[Result] = []
    for row in reference.results():
        if row.rnn not in letters:
            continue
        mine = ours.get((row.embedding, row.model, row.rnn, row.dataset))
        shown += [mine] if mine else []
        rows.append(
            (
                row.dataset,
                row.embedding,
                row.model,
                row.rnn,
                mine.trials if mine else None,
                mine.shown(mine.dev) if mine else None,
                row.dev,
                mine.shown(mine.test) if mine else None,
                row.test,
                mine.seconds if mine else None,
            )
        )
    columns = (
        Column("data", key="data set"),
        Column("emb.", key="embedding"),
        Column("model"),
        Column("RNN"),
        Column("trials", "count"),
        Column("dev", "score"),
        Column("paper", "score", "dev in the paper"),
        Column("test", "score"),
        Column("paper", "score", "test in the paper"),
        Column("time", "seconds", "seconds"),
    )
    title = "LSTMs and found cells (the paper's Table 1): Pearson (sick, stsb) or accuracy (mrpc), times 100"
    general = "The paper ran 500 trials per LSTM study and 200 per study with other cells."
    return Table("1", title, columns, tuple(rows), (general, *_notes_on(shown), *notes))


def table_5(results: Sequence[Result], _known: Scatters) -> Table:
    """The best hyperparameters of every study, beside the paper's where it has the same configuration."""
    ours, notes = _best_studies(results)
    letters = BASELINE_LETTERS | {key[2] for key in ours}
    rows: list[tuple[Cell, ...]] = []
    shown: list[Result] = []
    for row in reference.hyperparameters():
        if row.rnn not in letters:
            continue
        mine = ours.pop((row.embedding, row.model, row.rnn, row.dataset), None)
        head = (row.model, row.embedding, row.rnn, row.dataset)
        if mine:
            shown.append(mine)
            rows.append((*head, "ours", *_settings(mine.hyperparameters)))
        values = row.values() | ({} if row.architecture is None else {"architecture": row.architecture})
        rows.append((*head, "paper", *_settings({name: str(value) for name, value in values.items()})))
    for (embedding, model, rnn, dataset), mine in ours.items():
        shown.append(mine)
        rows.append((model, embedding, rnn or None, dataset, "ours", *_settings(mine.hyperparameters)))
    columns = (
        Column("model"),
        Column("emb.", key="embedding"),
        Column("RNN"),
        Column("data set"),
        Column("whose"),
        Column("batch", "count", "batch_size"),
        Column("rate", "real", "learning_rate"),
        Column("loss"),
        Column("decay", "real", "weight_decay"),
        Column("norm", "real", "grad_norm"),
        Column("hidden"),
        Column("dropout"),
        Column("variational", key="variational_dropout"),
        Column("seed", "count"),
        Column("cell", key="architecture"),
    )
    title = "Hyperparameters of the best trial of each study (the paper's Table 5)"
    return Table("5", title, columns, tuple(rows), (*_notes_on(shown), *notes))


def studies_table(results: Sequence[Result], known: Scatters) -> Table:
    """Every study in the store, whatever its data set."""
    return _overview("studies", "All studies", [result for result in results if result.kind == "study"], known)


def runs_table(results: Sequence[Result], known: Scatters) -> Table:
    """Every single run in the store."""
    return _overview("runs", "Single runs", [result for result in results if result.kind == "run"], known)


TABLES: Mapping[str, Callable[[Sequence[Result], Scatters], Table]] = MappingProxyType(
    {"1": table_1, "5": table_5, "studies": studies_table, "runs": runs_table, "compare": compare_table}
)
NEED_PREDICTIONS = frozenset({"studies", "runs", "compare"})


def _overview(name: str, title: str, results: Sequence[Result], known: Scatters) -> Table:
    rows: list[tuple[Cell, ...]] = []
    notes = ["Scores are times 100. The interval: bootstrap over the test rows (BCa, 95 %)."]
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
                result.model,
                result.rnn or None,
                result.metric,
                result.trials,
                result.shown(result.dev),
                result.shown(result.test),
                (bounds.low * result.scale, bounds.high * result.scale) if bounds else None,
                result.parameters,
                result.seconds,
            )
        )
    columns = (
        Column("study" if name == "studies" else "run"),
        Column("data set"),
        Column("emb.", key="embedding"),
        Column("model"),
        Column("RNN"),
        Column("metric"),
        Column("trials", "count"),
        Column("dev", "score"),
        Column("test", "score"),
        Column("95 % of test", "interval"),
        Column("parameters", "count"),
        Column("time", "seconds", "seconds"),
    )
    if not rows:
        notes = [f"There are no {name} in the store yet."]
    return Table(name, title, columns, tuple(rows), (*notes, *_notes_on(results)))


def _best_studies(results: Sequence[Result]) -> tuple[dict[Key, Result], list[str]]:
    """One study per configuration: the one with the most trials, never the one with the best test score."""
    groups: dict[Key, list[Result]] = {}
    for result in results:
        if result.kind == "study":
            groups.setdefault((result.embedding, result.model, result.rnn, result.dataset), []).append(result)
    notes = []
    for studies in groups.values():
        studies.sort(key=lambda study: (-study.trials, study.name))
        if len(studies) > 1:
            others = ", ".join(study.name for study in studies[1:])
            notes.append(f"{studies[0].name} is shown since it has the most trials; left out: {others}.")
    return {key: studies[0] for key, studies in groups.items()}, notes


def _notes_on(results: Sequence[Result]) -> list[str]:
    """What a reader must know before comparing: other vectors than the paper's, studies that are not at their end."""
    vectors: dict[str, list[str]] = {}
    for result in results:
        paper = PAPER_VECTORS.get(result.embedding)
        if paper and result.vectors != paper:
            vectors.setdefault(result.vectors or "vectors of unknown origin", []).append(result.name)
    files = ", ".join(PAPER_VECTORS.values())
    notes = [
        f"Other vectors than the paper's ({files}): {file} in {', '.join(names)}." for file, names in vectors.items()
    ]
    unfinished = [f"{result.name} ({result.state})" for result in results if result.state != "finished"]
    return notes + ([f"Not at their end: {', '.join(unfinished)}."] if unfinished else [])


def _settings(values: Mapping[str, str]) -> tuple[Cell, ...]:
    """The hyperparameters of a line of Table 5, from text."""

    def number(name: str) -> float | None:
        try:
            return float(values[name])
        except (KeyError, ValueError):
            return None

    def whole(name: str) -> int | None:
        found = number(name)
        return int(found) if found is not None and found.is_integer() else None

    def each(stem: str) -> str | None:
        found = [number(f"{stem}_{place}") for place in (1, 2)]
        return ", ".join(f"{value:.4g}" for value in found if value is not None) or None

    return (
        whole("batch_size"),
        number("learning_rate"),
        values.get("loss"),
        number("weight_decay"),
        number("grad_norm"),
        each("hidden"),
        each("dropout"),
        each("variational_dropout"),
        whole("seed"),
        values.get("architecture"),
    )
