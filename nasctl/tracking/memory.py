"""A tracker that keeps everything in this process: for tests, and for studies whose records nobody will browse."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nasctl.tracking import tags as tag
from nasctl.tracking.records import StoredRun, TrialEntry, epoch_metrics, flat_metrics


class MemoryTracker:
    """Behaves as `records.Tracker` says, without a store.

    Files are not copied: `files` tells by run id which ones were handed in, `configs` which configuration a study has.
    """

    def __init__(self) -> None:
        self._runs: dict[str, StoredRun] = {}
        self._parents: dict[str, str] = {}
        self._ids = itertools.count()
        self.configs: dict[str, str] = {}
        self.files: dict[str, tuple[Path, ...]] = {}

    def begin_study(self, study: str, tags: Mapping[str, str], config: str) -> str:
        """The id of the study's run, made if there is none."""
        wanted = tag.study_tags(study, tags)
        known = self._find(tag.study_key(study, tags))
        id_ = known.id if known else self._add(wanted, started=time.time())
        self._change(id_, wanted, {})
        self.configs[id_] = config
        return id_

    def log_trial(self, study_id: str, study: str, entry: TrialEntry) -> str:
        """Log one ended trial as a child of the study; the id of its run."""
        known = self.trials(study_id).get(entry.number)
        if known is not None:
            return known
        id_ = self._log(tag.trial_tags(study, entry), entry)
        self._parents[id_] = study_id
        return id_

    def end_study(
        self,
        study_id: str,
        state: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
    ) -> None:
        """Close the study's run, with its final metrics and files."""
        self._change(study_id, {**tags, tag.STATE: state}, metrics)
        self.files[study_id] = tuple(artifacts)

    def log_run(self, name: str, entry: TrialEntry, artifacts: Sequence[Path]) -> str:
        """Log one single run or search, outside any study; its id."""
        wanted = tag.run_tags(name, entry)
        known = self._find({part: wanted[part] for part in (tag.KIND, tag.NAME, tag.DIGEST, tag.ROLE, tag.STATE)})
        if known is not None:
            return known.id
        id_ = self._log(wanted, entry)
        self.files[id_] = tuple(artifacts)
        return id_

    def forget(self, tags: Mapping[str, str]) -> int:
        """Remove every run that carries these tags, which are not none; how many there were."""
        gone = [run.id for run in self.runs(tags=tags)] if tags else []
        for id_ in gone:
            del self._runs[id_]
            self._parents.pop(id_, None)
        return len(gone)

    def runs(self, kind: str | None = None, tags: Mapping[str, str] | None = None) -> Iterator[StoredRun]:
        """The stored runs of a kind that carry these tags, newest first."""
        wanted = dict(tags or {}) | ({tag.KIND: kind} if kind else {})
        for run in sorted(self._runs.values(), key=lambda run: run.started, reverse=True):
            if wanted.items() <= run.tags.items():
                yield run

    def trials(self, study_id: str) -> Mapping[int, str]:
        """Trial number -> run id of every child of a study."""
        runs = [self._runs[id_] for id_, parent in self._parents.items() if parent == study_id]
        return {run.trial: run.id for run in runs if run.trial is not None}

    def _log(self, tags: Mapping[str, str], entry: TrialEntry) -> str:
        metrics = flat_metrics(entry.record)
        for epoch in entry.record.history:  # as MLflow's latest values: those of the last epoch
            metrics |= epoch_metrics(epoch)
        ended = time.time() if entry.ended is None else entry.ended
        started = ended - sum(entry.record.seconds.values())
        return self._add(tags, started=started, params=entry.params, metrics=metrics)

    def _add(
        self,
        tags: Mapping[str, str],
        *,
        started: float,
        params: Mapping[str, str | int | float] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> str:
        id_ = f"{next(self._ids):032x}"
        number = tags.get(tag.TRIAL)
        self._runs[id_] = StoredRun(
            id=id_,
            kind=tags[tag.KIND],
            study=tags.get(tag.STUDY, ""),
            trial=None if number is None else int(number),
            state=tags[tag.STATE],
            started=started,
            params={name: str(value) for name, value in (params or {}).items()},
            tags=dict(tags),
            metrics={name: value for name, value in (metrics or {}).items() if math.isfinite(value)},
            artifacts=None,
        )
        return id_

    def _change(self, id_: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        run = self._runs[id_]
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self._runs[id_] = replace(
            run, state=tags[tag.STATE], tags={**run.tags, **tags}, metrics={**run.metrics, **finite}
        )

    def _find(self, tags: Mapping[str, str]) -> StoredRun | None:
        return next(self.runs(tags=tags), None)
