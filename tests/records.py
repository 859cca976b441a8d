"""Records, trials and studies for tests of tracking and reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasctl.tracking.records import EpochRecord, RunRecord, TrialEntry

LABELS = {
    "nasctl.dataset": "sick",
    "nasctl.embedding": "glove",
    "nasctl.model": "blm",
    "nasctl.cell": "lstm",
    "nasctl.layers": "L",
    "nasctl.sweep": "small",
    "nasctl.vectors": "glove.6B.300d.txt",
}


def record(value: float = 0.8, test: float | None = None, epochs: int = 2, **changes: Any) -> RunRecord:
    """A finished run whose dev metric is `value`; `changes` are fields of RunRecord."""
    metric = changes.get("metric", "pearson")
    fields: dict[str, Any] = {
        "digest": "0123456789abcdef",
        "role": "trial",
        "state": "finished",
        "reason": "",
        "metric": metric,
        "value": value,
        "dev": {metric: value},
        "test": {} if test is None else {metric: test},
        "epochs": epochs,
        "best_epoch": epochs,
        "parameters": 12_345,
        "cells": ({"code": "lstm", "digest": "lstm"},),
        "seconds": {"load": 0.5, "train": 8.0, "evaluate": 1.5},
        "memory": {"host_rss_bytes": 300_000_000, "device_bytes": 0},
        "counts": {"constant_predictions": 0},
        "device": "cpu",
        "threads": 1,
        "backend": "torch",
        "result_version": 1,
        "versions": {"nasctl": "0.1.0", "torch": "2.13.0"},
        "history": tuple(EpochRecord(n, 1.0 / n, {metric: value * n / epochs}, 4.0 * n) for n in range(1, epochs + 1)),
    }
    return RunRecord(**(fields | changes))


def entry(number: int, value: float = 0.8, tags: Mapping[str, str] | None = None, **changes: Any) -> TrialEntry:
    """Trial `number`; `changes` are fields of RunRecord."""
    params = {"batch_size": 32, "learning_rate": 0.0012, "loss": "mse", "hidden_1": 150, "seed": number % 6}
    return TrialEntry(number, params, record(value, **changes), {**LABELS, "nasctl.attempts": "1", **(tags or {})})


def write_predictions(path: Path, gold: Sequence[float], predicted: Sequence[float], split: str = "test") -> Path:
    """A predictions.jsonl with rows r0, r1, ... of one split, after two of dev."""
    rows: list[dict[str, Any]] = [{"split": "dev", "row_id": f"d{i}", "gold": 1.0, "prediction": 2.0} for i in range(2)]
    rows += [
        {"split": split, "row_id": f"r{i}", "gold": real, "prediction": made}
        for i, (real, made) in enumerate(zip(gold, predicted, strict=True))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path
