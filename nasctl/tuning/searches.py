"""The searches of a store, looked at from outside: how far each is, and whether the tracker has those that are over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nasctl.tracking.found import FOLDER, FoundSearch, read_search
from nasctl.tracking.records import StoredRun, Tracker
from nasctl.tracking.tags import DIGEST, NAME
from nasctl.tuning.agreement import same
from nasctl.tuning.folders import IDENTITY, DrivenFolder
from nasctl.tuning.owners import driver


@dataclass(frozen=True)
class SearchProgress:
    """A search that has begun; `found` is None until it is over, `owner` "" while nobody drives it.

    `epochs` are those behind it, `at_most` those that it may have; None before the first one.
    """

    name: str
    owner: str
    found: FoundSearch | None
    labels: Mapping[str, str]
    epochs: int | None
    at_most: int | None

    @property
    def state(self) -> str:
        """In the words that studies have: running, finished or stopped."""
        return "running" if self.owner else "stopped" if self.found is None else "finished"


def searches(root: Path) -> Sequence[SearchProgress]:
    """Every search that has begun, by name. Raises StateMismatchError for a record that is none."""
    begun = sorted(path.parent for path in (root / FOLDER).glob(f"*/{IDENTITY}"))
    return tuple(_progress(DrivenFolder(root, path.name, "search")) for path in begun)


def _progress(folder: DrivenFolder) -> SearchProgress:
    over = read_search(folder.path)
    epochs, at_most = folder.epochs() or (None, None)
    if over is not None:
        epochs = over.entry.record.epochs
    return SearchProgress(folder.name, driver(folder), over, folder.labels() or {}, epochs, at_most)


def search_disagreements(search: FoundSearch, tracker: Tracker) -> Iterator[tuple[str, bool]]:
    """Where a tracker's run of a search that is over differs from its record, and whether that is only lacking.

    Another search of its name, from another store on the same server, is none of its business.
    """
    own = {NAME: search.name, DIGEST: search.entry.record.digest}
    runs = [run for run in tracker.runs("search", own) if run.state != "running"]
    if not runs:
        yield "MLflow has nothing of it", True
    elif len(runs) > 1:
        yield f"MLflow has {len(runs)} runs of it", False
    else:
        yield from ((text, False) for text in _unlike(runs[0], search))


def _unlike(run: StoredRun, search: FoundSearch) -> Iterator[str]:
    record = search.entry.record
    if run.state != record.state:
        yield f"MLflow has it as {run.state}, it is {record.state}"
    if not same(run.metrics.get("value"), record.value):
        yield f"MLflow has the value {run.metrics.get('value')}, it is {record.value}"
    if run.params != {name: str(value) for name, value in search.entry.params.items()}:
        yield "MLflow has other parameters"
