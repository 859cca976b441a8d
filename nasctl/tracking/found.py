"""Searches that are over, as the store's folder keeps them: what `cell=searched` takes its pool from.

`searches/<name>/` holds record.json (its entry: record, hyperparameters, labels as tags), pool.json (the cells that
were found), config.yaml, samples.json (what the controller's study examines) and best.safetensors (child and
controller).
What else is there belongs to whoever drives the search (`tuning.folders`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

from nasctl.files import write_atomically
from nasctl.tracking.kept import RECORD, KeptRun, in_order, read_record, write_record
from nasctl.tracking.records import TrialEntry

FOLDER = "searches"
POOL, SAMPLES = "pool.json", "samples.json"
FILES = ("config.yaml", POOL, SAMPLES, "best.safetensors", RECORD)
"""What a tracker gets, where it is there: a search that has diverged at once has neither samples nor weights, nor has
one that trained each cell alone."""

FoundSearch: TypeAlias = KeptRun
"""A search that is over: `entry.record.found` are its cells."""


def found(root: Path) -> Sequence[FoundSearch]:
    """Every search that is over, in the order in which they ended.

    Raises StateMismatchError for a record that is none.
    """
    read = (read_search(folder) for folder in (root / FOLDER).glob("*/"))
    return in_order([search for search in read if search is not None])


def read_search(folder: Path) -> FoundSearch | None:
    """The search in its folder; None as long as it is not over. Raises StateMismatchError as `found` does."""
    entry = read_record(folder, "remove its folder, and search again")
    return None if entry is None else _search(folder, entry)


def keep_search(folder: Path, entry: TrialEntry) -> FoundSearch:
    """Write down what the search in this folder has found, all of whose other files are there: with that it is over."""
    cells = [asdict(cell) for cell in entry.record.found]
    write_atomically(folder / POOL, json.dumps(cells, indent=2))
    write_record(folder, entry)
    return _search(folder, entry)


def _search(folder: Path, entry: TrialEntry) -> FoundSearch:
    return KeptRun(folder.name, entry, tuple(folder / name for name in FILES if (folder / name).exists()))
