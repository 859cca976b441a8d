"""Single runs (`nasctl train`) as the store's folder keeps them.

`trained/<name>-<digest>/` holds record.json and the files that the tracker gets, too: config.yaml and, where there are
weights, best.safetensors and predictions.jsonl.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from nasctl.tracking.kept import RECORD, KeptRun, in_order, lock, read_record, write_record
from nasctl.tracking.records import TrialEntry

FOLDER = "trained"


def keep(root: Path, name: str, entry: TrialEntry, files: Sequence[Path]) -> KeptRun:
    """Keep a run whose `files` are moved to its folder; one that was kept before, and ended alike, stays what it is."""
    folder = folder_of(root, name, entry.record.digest)
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder.parent):
        before = _entry(folder)
        if before is None or before.record.state != entry.record.state:
            for path in files:
                shutil.move(path, folder / path.name)
            write_record(folder, entry)
            before = entry
    return _run(folder, before)


def folder_of(root: Path, name: str, digest: str) -> Path:
    """Where a run is kept."""
    return root / FOLDER / f"{name}-{digest}"


def kept(root: Path) -> Sequence[KeptRun]:
    """Every run that was kept, in the order in which they ended.

    Raises StateMismatchError for a record that is none.
    """
    found = ((folder, _entry(folder)) for folder in (root / FOLDER).glob("*/"))
    return in_order([_run(folder, entry) for folder, entry in found if entry is not None])


def _entry(folder: Path) -> TrialEntry | None:
    return read_record(folder, "remove its folder, and train again")


def _run(folder: Path, entry: TrialEntry) -> KeptRun:
    name = folder.name.removesuffix(f"-{entry.record.digest}")
    return KeptRun(name, entry, tuple(sorted(path for path in folder.iterdir() if path.name != RECORD)))
