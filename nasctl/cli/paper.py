"""A row of the paper's Table 5, and its cell in Table 6, as overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasctl.errors import UsageError
from nasctl.experiments.layers import SOURCES, from_paper
from nasctl.reference import HyperparametersRow, hyperparameters_row, results, transfer

__all__ = ["check_no_group", "paper_hyperparameters", "paper_labels", "paper_overrides", "paper_scores"]


def paper_overrides(name: str, explicit: Sequence[str]) -> list[str]:
    """What `--paper NAME` sets, without the keys that are set explicitly anyway.

    Raises UsageError for a row that is not there, and for a group of hyperparameters beside the row's.
    """
    row = hyperparameters_row(name)
    check_no_group(explicit, "--paper")
    taken = {text.partition("=")[0] for text in explicit}
    if _other_cells(explicit):
        taken |= {"cell", "cell.names", "layers"}
    return [f"{key}={value}" for key, value in _settings(row).items() if key not in taken]


def check_no_group(typed: Sequence[str], source: str) -> None:
    """Raises UsageError for a group with hyperparameters of its own: mixed with those of `source` they are nobody's."""
    for text in typed:
        if text.partition("=")[0] in {"training", "sweep"}:
            raise UsageError(
                f"{text}: {source} says the hyperparameters", "single keys stand before them, e.g. training.epochs=8"
            )


def paper_labels(name: str, explicit: Sequence[str]) -> Mapping[str, str]:
    """What a run with the settings of a row is labelled by: the row, and its letters if its cells are the row's."""
    cells = {"cell", "cell.names", "layers"} & {text.partition("=")[0] for text in explicit}
    return {"paper": name} | ({} if cells else {"letters": hyperparameters_row(name).rnn})


def paper_scores(name: str) -> tuple[float, float]:
    """Dev and test score of a row, in percent, from Table 1 or 2."""
    row = hyperparameters_row(name)
    scores = {(each.model, each.embedding, each.rnn, each.dataset): (each.dev, each.test) for each in results()}
    for each in transfer():
        moved = each.optimized_for not in {each.dataset, "random"}
        rnn = each.rnn.replace("E", "T") if moved else each.rnn
        scores.setdefault((each.model, each.embedding, rnn, each.dataset), (each.dev, each.test))
    return scores[row.model, row.embedding, row.rnn, row.dataset]


def _other_cells(explicit: Sequence[str]) -> bool:
    """Whether the overrides choose other cells than the row's, by `cell=` or by a shorthand in `layers=`."""
    for text in explicit:
        key, _, value = text.partition("=")
        if key == "cell" or (key == "layers" and from_paper(value) is not None):
            return True
    return False


def paper_hyperparameters(name: str) -> Mapping[str, Any]:
    """The hyperparameters of a row of Table 5 by the names that they have under `training`, and the seed.

    Raises UsageError for a row that is not there.
    """
    values = hyperparameters_row(name).values()
    found: dict[str, Any] = {key: values[key] for key in _PLAIN}
    for key in ("hidden", "dropout", "variational_dropout"):
        found[key] = [values[numbered] for numbered in (f"{key}_1", f"{key}_2") if numbered in values]
    return found | {"seed": values["seed"]}


_PLAIN = ("batch_size", "learning_rate", "loss", "weight_decay", "grad_norm")


def _settings(row: HyperparametersRow) -> dict[str, str]:
    settings = {"dataset": row.dataset, "embedding": row.embedding, "model": row.model}
    if row.architecture is not None:
        settings |= {"cell": "named", "cell.names": f"[enas-{row.architecture}]"}
    settings["layers"] = "".join("C" if letter in SOURCES else letter for letter in row.rnn)
    for key, value in paper_hyperparameters(row.name).items():
        text = f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
        settings[key if key == "seed" else f"training.{key}"] = text
    return settings
