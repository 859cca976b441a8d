"""The paper's Tables 5 and 6: the best setting of every study, and the cells that won."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasctl import reference
from nasctl.reports.cells import ChosenCell, cell_code, cell_text, graph_of, paper_cells, paper_numbers
from nasctl.reports.results import Result
from nasctl.reports.scores import BASELINE_LETTERS
from nasctl.reports.shown import Shown, apart_note, letters, letters_note, notes_on, select, state_notes
from nasctl.reports.table import Cell, Column, Drawing, Table


def table_5(results: Sequence[Result], _known: Mapping[Result, Any]) -> Table:
    """The best hyperparameters of every study, beside the paper's where it has the same configuration."""
    lost = [each for each in results if each.diverged]
    ours = select([each for each in results if not each.diverged], kinds=("study",))
    known = BASELINE_LETTERS | {key[2] for key in ours.rows}
    paper = {(row.embedding, row.model, row.rnn, row.dataset): row for row in reference.hyperparameters()}
    rows: list[tuple[Cell, ...]] = []
    shown: list[Shown] = []
    for key in (*paper, *(key for key in ours.rows if key not in paper)):
        if key[2] not in known:
            continue
        embedding, model, rnn, dataset = key
        for each in ours.rows.get(key, ()):
            mine = each.result
            shown.append(each)
            head = (model, ours.embedding(mine), letters(mine) or None, dataset, "ours")
            rows.append((*head, *_settings(mine.hyperparameters), mine.cell.label if mine.cell else None))
        if key in paper:
            values = {name: str(value) for name, value in paper[key].values().items()}
            cell = str(paper[key].architecture or "") or None
            rows.append((model, embedding, rnn, dataset, "paper", *_settings(values), cell))
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
    notes = (*_CELLS, *letters_note(shown), *notes_on(shown, ours), *state_notes(lost), *apart_note(ours.apart))
    return Table("5", title, columns, tuple(rows), notes)


_CODES = (
    "A code: the activation of the first node, then parent and activation of each other. Equal digests: one graph.",
)
_CELLS = ("Cells with a number are those of the paper's Table 6.",)


def table_6(results: Sequence[Result], _known: Mapping[Result, Any]) -> Table:
    """The paper's 26 cells, below them those that won in our studies, and drawings of the winners."""
    won: dict[ChosenCell, list[Result]] = {}
    studies = [each for each in results if each.kind == "study"]
    for each in studies:
        if each.cell is not None:
            won.setdefault(each.cell, []).append(each)
    rows: list[tuple[Cell, ...]] = [(str(number), code, digest) for number, (code, digest) in paper_cells().items()]
    notes = [*_CODES, *state_notes([each for each in studies if each.cell is not None or each.diverged])]
    drawings = []
    for cell, winners in won.items():
        names = ", ".join(study.name for study in winners)
        code = cell_code(cell)
        if not paper_numbers(cell):
            rows.append(("ours" if code == cell.label else cell.label, code or cell_text(cell) or None, cell.digest))
        graph = graph_of(cell)
        if graph is None:
            notes.append(f"{cell.label} won in {names}; nothing that is stored says what it is.")
        else:
            drawings.append(
                Drawing(f"cell-{cell.digest}", f"{cell.label}, the cell of the best trial of {names}", graph)
            )
    columns = (Column("cell"), Column("code or text", key="code"), Column("digest"))
    title = "Cells: the paper's (its Table 6), and below them those that won in our studies"
    return Table("6", title, columns, tuple(rows), tuple(notes), tuple(drawings))


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
    )
