"""The files that a study leaves when it is over, checked against what was recorded: checkpoint and predictions."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasctl.data.metrics import METRICS
from nasctl.files import file_sha256
from nasctl.tracking.records import RunRecord
from nasctl.tuning.folders import DrivenFolder
from nasctl.tuning.trials import Asked

TOLERANCE = 1e-6
"""By how much a score may differ between a training's last look at dev data and the evaluation of its checkpoint."""

NO_OP = "noop"
"""The backend of jobs that compute nothing: no score follows from what they say they predicted."""


def checkpoint_trouble(folder: DrivenFolder, best: Asked) -> str | None:
    """What keeps the checkpoint in the folder from being that of the best trial; None if it is."""
    kept = folder.kept()
    if kept is None:
        return "nothing says whose weights it holds (best.json)"
    if not folder.checkpoint.is_file():
        return "it is not there"
    if kept.digest != best.digest:
        return f"it holds run {kept.digest}; the best trial, {best.number}, is run {best.digest}"
    if file_sha256(folder.checkpoint) != kept.sha256:
        return "its bytes are not those that the worker wrote (another SHA-256)"
    return None


def evaluation_trouble(predictions: Path, best: RunRecord, final: RunRecord) -> Iterator[str]:
    """What does not fit together of the best trial's record, that of its evaluation, and the predictions."""
    metric = final.metric
    if (final.role, final.digest) != ("final", best.digest):
        yield f"what was evaluated is run {final.digest} as {final.role}, the best trial is run {best.digest}"
    if not math.isclose(final.dev.get(metric, math.nan), best.value, abs_tol=TOLERANCE):
        yield f"dev {metric} is {final.dev.get(metric)}, and was {best.value} when the trial ended"
    scores = {"dev": final.dev, "test": final.test}
    if "dev_rows" in final.counts and "test_rows" not in final.counts:
        del scores["test"]  # the data have none
    try:
        rows = _rows(predictions)
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"it cannot be read: {type(error).__name__}: {error}"
        return
    for split, found in scores.items():
        yield from _split_trouble(split, rows.get(split, ()), found, final)
    if foreign := sorted(set(rows) - set(scores)):
        yield f"it has rows of {', '.join(foreign)}, of which no score is recorded"


def _rows(path: Path) -> dict[str, list[tuple[str, float, float]]]:
    """Split -> (row id, gold, prediction) of each line."""
    rows: dict[str, list[tuple[str, float, float]]] = {}
    for line in filter(None, path.read_text("utf-8").split("\n")):  # splitlines also ends lines within an id
        row: dict[str, Any] = json.loads(line)
        rows.setdefault(row["split"], []).append((row["row_id"], float(row["gold"]), float(row["prediction"])))
    return rows


def _split_trouble(
    split: str, rows: Sequence[tuple[str, float, float]], scores: Mapping[str, float], final: RunRecord
) -> Iterator[str]:
    wanted = final.counts.get(f"{split}_rows")
    if not rows or wanted not in {None, len(rows)}:
        yield f"it has {len(rows)} rows of {split}, {'some' if wanted is None else wanted} were predicted"
        return
    if twice := [row for row, times in Counter(row for row, _, _ in rows).items() if times > 1]:
        yield f"row {twice[0]} of {split} is there more than once"
    if final.metric not in scores:
        yield f"no {split} {final.metric} was recorded"
    elif final.backend != NO_OP:
        gold, predicted = (np.array([row[place] for row in rows]) for place in (1, 2))
        follows = METRICS[final.metric].function(gold, predicted, final.counts.get("classes", 0))
        if not math.isclose(follows, scores[final.metric], abs_tol=TOLERANCE):
            yield f"{split} {final.metric} is {follows} by its rows, {scores[final.metric]} was recorded"
