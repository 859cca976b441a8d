"""Single runs (`nasctl train`) as the store's folder keeps them, so that a tracker that is away or lost costs none.

`trained/<name>-<digest>/` holds record.json (its entry) and the files that the tracker gets, too: config.yaml and,
where there are weights, best.safetensors and predictions.jsonl. record.json is written last: with it, all are there.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from nasctl.errors import StateMismatchError
from nasctl.files import write_atomically
from nasctl.tracking import tags as tag
from nasctl.tracking.records import ENTRY, Tracker, TrialEntry

FOLDER, RECORD = "trained", "record.json"


@dataclass(frozen=True)
class TrainedRun:
    """A single run that was kept: its name, what is known of it, and its files."""

    name: str
    entry: TrialEntry
    files: tuple[Path, ...]

    def log(self, tracker: Tracker) -> str:
        """Log it, if the tracker has not; the id of its run."""
        with _lock(self.files[0].parents[1]):  # two that log one run would make two
            return tracker.log_run(self.name, self.entry, self.files)

    def forget(self, tracker: Tracker) -> None:
        """Remove what the tracker has of it."""
        record = self.entry.record
        tracker.forget({tag.KIND: "run", tag.NAME: self.name, tag.DIGEST: record.digest, tag.ROLE: record.role})


def keep(root: Path, name: str, entry: TrialEntry, files: Sequence[Path]) -> TrainedRun:
    """Keep a run whose `files` are moved to its folder; one that was kept before, and ended alike, stays what it is."""
    folder = root / FOLDER / f"{name}-{entry.record.digest}"
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder.parent):
        before = _read(folder) if (folder / RECORD).exists() else None
        if before is None or before.entry.record.state != entry.record.state:
            for path in files:
                shutil.move(path, folder / path.name)
            write_atomically(folder / RECORD, ENTRY.dump_json(entry))
    return _read(folder)


def kept(root: Path) -> Sequence[TrainedRun]:
    """Every run that was kept, in the order in which they ended.

    Raises StateMismatchError for a record that is none.
    """
    found = (_read(path.parent) for path in (root / FOLDER).glob(f"*/{RECORD}"))
    return sorted(found, key=lambda run: (run.entry.ended or 0.0, run.name))


def _read(folder: Path) -> TrainedRun:
    try:
        entry = ENTRY.validate_json((folder / RECORD).read_bytes())
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise StateMismatchError(
            f"{folder / RECORD} is no record: {reason}", "remove its folder, and train again"
        ) from error
    name = folder.name.removesuffix(f"-{entry.record.digest}")
    return TrainedRun(name, entry, tuple(sorted(path for path in folder.iterdir() if path.name != RECORD)))


def _lock(folder: Path) -> filelock.FileLock:
    return filelock.FileLock(folder / ".lock")
