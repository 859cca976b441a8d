"""What a store's folder keeps of a run outside any study, so that a tracker that is away or lost costs none.

record.json (its entry) is written last: with it, all of its files are there. A run of `nasctl train` and a search are
kept alike, each kind below a folder of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from nasctl.errors import StateMismatchError, first_line
from nasctl.files import write_atomically
from nasctl.tracking import tags as tag
from nasctl.tracking.records import ENTRY, Tracker, TrialEntry

RECORD, PREDICTIONS = "record.json", "predictions.jsonl"
STUDIES = "studies"
"""Where studies lie in the folder; what else is there is for `tuning.folders` to say."""


@dataclass(frozen=True)
class KeptRun:
    """A run, or a search, that was kept: its name, what is known of it, and the files that a tracker gets."""

    name: str
    entry: TrialEntry
    files: tuple[Path, ...]

    def log(self, tracker: Tracker) -> str:
        """Log it, if the tracker has not; the id of its run."""
        with lock(self.files[0].parents[1]):  # two that log one run would make two
            return tracker.log_run(self.name, self.entry, self.files)

    def forget(self, tracker: Tracker) -> None:
        """Remove what the tracker has of it."""
        wanted = tag.run_tags(self.name, self.entry)
        tracker.forget({part: wanted[part] for part in (tag.KIND, tag.NAME, tag.DIGEST, tag.ROLE)})


def write_record(folder: Path, entry: TrialEntry) -> None:
    """Say that all of the folder's files are there."""
    write_atomically(folder / RECORD, ENTRY.dump_json(entry))


def read_record(folder: Path, mend: str) -> TrialEntry | None:
    """The folder's entry; None if there is none yet. Raises StateMismatchError, `mend` its hint, for what is none."""
    try:
        return ENTRY.validate_json((folder / RECORD).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StateMismatchError(f"{folder / RECORD} is no record: {first_line(error)}", mend) from error


def in_order(runs: Sequence[KeptRun]) -> Sequence[KeptRun]:
    """The runs in the order in which they ended."""
    return sorted(runs, key=lambda run: (run.entry.ended or 0.0, run.name))


def lock(folder: Path) -> filelock.FileLock:
    """What whoever adds to the folder, or logs what it has, holds meanwhile."""
    return filelock.FileLock(folder / ".lock")
