"""A tracker whose store may be away for now: it is opened by the first call that finds it there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from nasctl.tracking.records import StoredRun, Tracker, TrialEntry


class LateTracker:
    """Behaves as `records.Tracker` says, as soon as `open_` gives a tracker; until then every call raises what it does.

    For the thread of a `TrackerWriter`, which calls again and again: it is not safe in several.
    """

    def __init__(self, open_: Callable[[], Tracker]) -> None:
        self._open = open_
        self._opened: Tracker | None = None

    @property
    def _tracker(self) -> Tracker:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def begin_study(self, study: str, tags: Mapping[str, str], config: str) -> str:
        """The id of the study's run, made if there is none."""
        return self._tracker.begin_study(study, tags, config)

    def log_trial(self, study_id: str, study: str, entry: TrialEntry) -> str:
        """Log one ended trial as a child of the study; the id of its run."""
        return self._tracker.log_trial(study_id, study, entry)

    def end_study(
        self,
        study_id: str,
        state: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
    ) -> None:
        """Close the study's run, with its final metrics and files."""
        self._tracker.end_study(study_id, state, metrics, tags, artifacts)

    def log_run(self, name: str, entry: TrialEntry, artifacts: Sequence[Path]) -> str:
        """Log one single run or search, outside any study; its id."""
        return self._tracker.log_run(name, entry, artifacts)

    def forget(self, tags: Mapping[str, str]) -> int:
        """Remove every run that carries these tags, which are not none; how many there were."""
        return self._tracker.forget(tags)

    def runs(self, kind: str | None = None, tags: Mapping[str, str] | None = None) -> Iterable[StoredRun]:
        """The stored runs of a kind that carry these tags, newest first."""
        return self._tracker.runs(kind, tags)

    def trials(self, study_id: str) -> Mapping[int, str]:
        """Trial number -> run id of every child of a study that was logged to its end."""
        return self._tracker.trials(study_id)
