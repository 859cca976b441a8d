"""A row of the paper's Table 5 as overrides."""

from __future__ import annotations

from collections.abc import Sequence

from nasctl.config.groups import options
from nasctl.errors import UsageError
from nasctl.reference import HyperparametersRow, hyperparameters, hyperparameters_row, results

__all__ = ["paper_overrides", "paper_scores"]


def paper_overrides(name: str, explicit: Sequence[str]) -> list[str]:
    """What `--paper NAME` sets, without the keys that are set explicitly anyway.

    Raises UsageError for a row that is not there, and for one whose cells or vectors are not.
    """
    row = hyperparameters_row(name)
    known = options()["embedding"]
    usable = [each.name for each in hyperparameters() if set(each.rnn) == {"L"} and each.embedding in known]
    if name not in usable:
        lacking = f"embedding {row.embedding}" if set(row.rnn) == {"L"} else "searched cells"
        raise UsageError(f"--paper {name} needs {lacking}, which nasctl does not have", f"rows: {', '.join(usable)}")
    taken = {text.partition("=")[0] for text in explicit}
    return [f"{key}={value}" for key, value in _settings(row).items() if key not in taken]


def paper_scores(name: str) -> tuple[float, float]:
    """Dev and test score of a row, in percent, from Table 1."""
    row = hyperparameters_row(name)
    for each in results():
        if (each.model, each.embedding, each.rnn, each.dataset) == (row.model, row.embedding, row.rnn, row.dataset):
            return each.dev, each.test
    raise UsageError(f"the paper's Table 1 has no row {name}")


def _settings(row: HyperparametersRow) -> dict[str, str]:
    values = row.values()
    settings = {"dataset": row.dataset, "embedding": row.embedding, "model": row.model, "layers": row.rnn}
    for key in ("batch_size", "learning_rate", "loss", "weight_decay", "grad_norm"):
        settings[f"training.{key}"] = str(values[key])
    for key in ("hidden", "dropout", "variational_dropout"):
        numbered = [str(values[name]) for name in (f"{key}_1", f"{key}_2") if name in values]
        settings[f"training.{key}"] = f"[{','.join(numbered)}]"
    return settings | {"seed": str(values["seed"])}
