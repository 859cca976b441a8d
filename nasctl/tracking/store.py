"""The MLflow tracker: a parent run per study and a child per trial. The only module that imports mlflow."""

from __future__ import annotations

import http.client
import logging
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock

from nasctl import faults
from nasctl.databases import Durability, probe, redacted, sqlite_path, sqlite_pragmas
from nasctl.errors import MachineError, UsageError, first_line, nearest
from nasctl.tracking import tags as tag
from nasctl.tracking.records import RunRecord, StoredRun, TrialEntry, epoch_metrics, flat_metrics
from nasctl.tracking.ui import experiment_tags

SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https")
PARENT = "mlflow.parentRunId"
STATUS = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "diverged": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
    "interrupted": "KILLED",
    "pruned": "KILLED",
}
"""Our states in MLflow's words; ours stand in the tag nasctl.state."""
PAGE = 1_000
MOST_METRICS = 1_000
"""That MLflow takes in one call."""
LOCK_SECONDS = 120
"""How long to wait for another process that is making the database."""
SERVER_SECONDS = 10
"""How long a server may take to answer at all before it counts as away."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # by itself it would try for four minutes; who writes tries again anyway
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@dataclass(frozen=True, slots=True)
class _Child:
    """A trial's run as this process knows it; `started` in milliseconds since 1970."""

    id: str
    started: int
    ended: bool


class MlflowTracker:
    """Keeps records in MLflow, as `records.Tracker` says.

    `uri` is a database (`sqlite:///…`, `postgresql://…`) or a server (`http://…`); `artifacts` the folder or address
    below which the runs of a database keep their files (a server has its own). A fresh SQLite file is made under a
    lock: MLflow's migration takes seconds and does not bear company. What is stored of a study is read once; from then
    on a trial costs three calls that only write. `experiment_id` is what MLflow calls `experiment`.

    Raises UsageError for an address of an unknown kind and for a deleted experiment, MachineError (here and in every
    method) if the store cannot be used. No message shows an address's password.
    """

    def __init__(self, uri: str, artifacts: Path | str, experiment: str, *, durability: Durability = "normal") -> None:
        scheme = urlsplit(uri).scheme.partition("+")[0]
        if scheme not in SCHEMES:
            raise UsageError(f"MLflow's store cannot be {redacted(uri)!r}", nearest(scheme, SCHEMES))
        self._artifacts = artifacts
        self._own_artifacts = scheme not in {"http", "https"}
        self._studies: dict[tuple[str, str | None], str] = {}
        self._children: dict[str, dict[int, _Child]] = {}
        path = sqlite_path(uri)
        if self._own_artifacts:
            probe(uri)
        else:
            _probe_server(uri)
        sqlite_pragmas(durability)
        lock = FileLock(f"{path}.lock", timeout=LOCK_SECONDS) if path else nullcontext()
        with _told(f"open {redacted(uri)}"), lock:
            self._client = _quiet_client(uri)
            self.experiment_id = self._found_or_made(experiment)

    def begin_study(self, study: str, tags: Mapping[str, str], config: str) -> str:
        """The id of the study's run, made if there is none; `config` (YAML) becomes its artifact config.yaml."""
        wanted, known = tag.study_tags(study, tags), (study, tags.get(tag.UID))
        with _told(f"begin the study {study}"):
            found = self._studies.get(known) or self._find(tag.study_key(study, tags))
            if found is None:
                found = self._create(study, wanted)
                self._children[found] = {}
            else:
                self._update(found, wanted, {})
                self._client.update_run(found, status=STATUS["running"])
            self._client.log_text(found, config, "config.yaml")
        self._studies[known] = found
        return found

    def log_trial(self, study_id: str, study: str, entry: TrialEntry) -> str:
        """Log one ended trial with its per-epoch metrics as a child of the study; the id of its run."""
        with _told(f"log trial {entry.number} of {study}"):
            children = self._known_children(study_id)
            child = children.get(entry.number)
            if child is None:
                name = tag.trial_name(study, entry.number)
                started = _started(entry)
                tags = {**tag.trial_tags(study, entry), PARENT: study_id}
                try:
                    child = _Child(self._create(name, tags, started), started, ended=False)
                except Exception:
                    del self._children[study_id]  # it may be there, only the answer lost: the next attempt looks
                    raise
                children[entry.number] = child
                faults.reach("mlflow-created")
            if not child.ended:
                self._log(child, entry)
                faults.reach("mlflow-ended")
                children[entry.number] = replace(child, ended=True)
        return child.id

    def end_study(
        self,
        study_id: str,
        state: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
    ) -> None:
        """Close the study's run (state: finished, interrupted or failed), with its final metrics and files."""
        with _told("end a study"):
            self._update(study_id, {**tags, tag.STATE: state}, metrics)
            for path in artifacts:
                self._client.log_artifact(study_id, str(path))
            self._client.set_terminated(study_id, STATUS[state])

    def log_run(self, name: str, entry: TrialEntry, artifacts: Sequence[Path]) -> str:
        """Log one single run (`nasctl train`) or search, as its record's role says, outside any study; its id.

        A run of the same name, digest, role and state is taken for the same run and kept as it is.
        """
        wanted = tag.run_tags(name, entry)
        with _told(f"log the run {name}"):
            key = {part: wanted[part] for part in (tag.KIND, tag.NAME, tag.DIGEST, tag.ROLE, tag.STATE)}
            for run in self._search(key):
                if run.info.status != STATUS["running"]:
                    return str(run.info.run_id)
                child = _Child(run.info.run_id, run.info.start_time, ended=False)
                break
            else:
                started = _started(entry)
                child = _Child(self._create(name, wanted, started), started, ended=False)
            for path in artifacts:
                self._client.log_artifact(child.id, str(path))
            self._log(child, entry)
        return child.id

    def forget(self, tags: Mapping[str, str]) -> int:
        """Delete every run that carries these tags, which are not none; how many there were.

        MLflow hides what is deleted, and keeps it with its files until `mlflow gc`.
        """
        with _told("delete runs"):
            gone = [run.info.run_id for run in self._search(tags)] if tags else []
            for id_ in gone:
                self._client.delete_run(id_)
        self._studies.clear()
        self._children.clear()
        return len(gone)

    def runs(self, kind: str | None = None, tags: Mapping[str, str] | None = None) -> Iterator[StoredRun]:
        """The stored runs of a kind that carry these tags, newest first; every page is read."""
        wanted = dict(tags or {}) | ({tag.KIND: kind} if kind else {})
        with _told("read its runs"):
            for run in self._search(wanted):
                if tag.KIND in run.data.tags:  # others may keep their runs in the same experiment
                    yield self._stored(run)

    def trials(self, study_id: str) -> Mapping[int, str]:
        """Trial number -> run id of every child of a study that was logged to its end."""
        with _told("read a study's trials"):
            return {number: child.id for number, child in self._known_children(study_id).items() if child.ended}

    def _found_or_made(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage != "active":
            raise UsageError(
                f"the MLflow experiment {name} was deleted",
                "restore it in the UI, or name another: store.experiment=NAME",
            )
        tags = experiment_tags()
        if found is not None:
            for key, text in tags.items():
                if key not in found.tags:  # what somebody wrote instead stays
                    self._client.set_experiment_tag(found.experiment_id, key, text)
            return str(found.experiment_id)
        root = self._artifacts
        where = root.absolute().as_uri() if isinstance(root, Path) else root
        return str(self._client.create_experiment(name, where if self._own_artifacts else None, tags))

    def _create(self, name: str, tags: Mapping[str, str], started: int | None = None) -> str:
        tags = {**tags, "mlflow.source.name": "nasctl"}
        run = self._client.create_run(self.experiment_id, start_time=started, tags=tags, run_name=name)
        return str(run.info.run_id)

    def _log(self, run: _Child, entry: TrialEntry) -> None:
        """Write a run's numbers and end it; the same again if a kill came between, which the store then drops."""
        from mlflow.entities import Metric, Param  # noqa: PLC0415 - mlflow costs two seconds

        end = run.started + _milliseconds(entry.record)
        points = [(name, value, end, 0) for name, value in flat_metrics(entry.record).items()]
        for epoch in entry.record.history:
            at = run.started + round(epoch.seconds * 1000)
            points += [(name, value, at, epoch.epoch) for name, value in epoch_metrics(epoch).items()]
        metrics = [Metric(*point) for point in points if math.isfinite(point[1])]
        params = [Param(name, str(value)) for name, value in entry.params.items()]
        self._client.log_batch(run.id, metrics=metrics[:MOST_METRICS], params=params)
        for first in range(MOST_METRICS, len(metrics), MOST_METRICS):
            self._client.log_batch(run.id, metrics=metrics[first : first + MOST_METRICS])
        faults.reach("mlflow-logged")
        self._client.set_terminated(run.id, STATUS[entry.record.state], end)

    def _update(self, run_id: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        """Write what differs from what is stored, so that repeating it leaves no second point in a metric's history."""
        from mlflow.entities import Metric, RunTag  # noqa: PLC0415 - mlflow costs two seconds

        stored = self._client.get_run(run_id).data
        now = _now()
        self._client.log_batch(
            run_id,
            metrics=[
                Metric(name, value, now, 0)
                for name, value in metrics.items()
                if math.isfinite(value) and stored.metrics.get(name) != value
            ],
            tags=[RunTag(name, text) for name, text in tags.items() if stored.tags.get(name) != text],
        )

    def _find(self, tags: Mapping[str, str]) -> str | None:
        """The id of the oldest run with these tags: a second one could only come from a race, and loses it."""
        found = [run.info.run_id for run in self._search(tags)]
        return found[-1] if found else None

    def _known_children(self, study_id: str) -> dict[int, _Child]:
        if study_id not in self._children:
            self._children[study_id] = {
                int(run.data.tags[tag.TRIAL]): _Child(
                    run.info.run_id, run.info.start_time, run.info.status != STATUS["running"]
                )
                for run in self._search({PARENT: study_id})  # newest first: the oldest of a number stays
                if run.data.tags.get(tag.TRIAL, "").isdigit()
            }
        return self._children[study_id]

    def _search(self, tags: Mapping[str, str]) -> Iterator[Any]:
        """MLflow's runs with these tags, newest first; a run that moves to the next page meanwhile comes once."""
        quoted = {name: text for name, text in tags.items() if "'" not in text}  # the filter language cannot escape it
        where = " and ".join(f"tags.`{name}` = '{text}'" for name, text in quoted.items())
        seen: set[str] = set()
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id],
                filter_string=where,
                max_results=PAGE,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            for run in page:
                if run.info.run_id not in seen and all(run.data.tags.get(k) == v for k, v in tags.items()):
                    yield run
                seen.add(run.info.run_id)
            token = page.token
            if not token:
                return

    def _stored(self, run: Any) -> StoredRun:
        tags = {name: text for name, text in run.data.tags.items() if name.startswith(tag.PREFIX)}
        number = tags.get(tag.TRIAL, "")
        return StoredRun(
            id=run.info.run_id,
            kind=tags[tag.KIND],
            study=tags.get(tag.STUDY, ""),
            trial=int(number) if number.isdigit() else None,
            state=tags.get(tag.STATE, run.info.status.lower()),
            started=run.info.start_time / 1000,
            params=dict(run.data.params),
            tags=tags,
            metrics=dict(run.data.metrics),
            artifacts=self._folder(run),
        )

    def _folder(self, run: Any) -> Path | None:
        """Where the run's files are, also after the whole store was moved to another place."""
        address = urlsplit(run.info.artifact_uri)
        if address.scheme not in {"", "file"}:
            return None
        stored = Path(url2pathname(address.path) if address.scheme else run.info.artifact_uri)
        if not stored.exists() and isinstance(self._artifacts, Path):
            return self._artifacts / str(run.info.run_id) / "artifacts"
        return stored


def _quiet_client(uri: str) -> Any:
    """MLflow's client, with its telemetry off and its chatter silenced: what matters comes back as an exception."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # noqa: PLC0415 - mlflow costs two seconds

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.CRITICAL)
    return MlflowClient(uri, uri)


@contextmanager
def _told(action: str) -> Iterator[None]:
    """Turn a failure of the store into one line without a password; the cause is dropped, since it shows one."""
    try:
        yield
    except Exception as error:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - mlflow costs two seconds
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - comes with mlflow

        if not isinstance(error, (MlflowException, SQLAlchemyError, OSError)):
            raise
        reason = redacted(first_line(error))
        raise MachineError(f"MLflow could not {action}: {reason}", "nasctl doctor says what is wrong") from None


def _probe_server(uri: str) -> None:
    """Ask a server for a sign of life: MLflow's own client would try for four minutes."""
    address = urlsplit(uri)
    host = address.netloc.rpartition("@")[2]  # urllib does not know credentials in an address
    try:
        with urllib.request.urlopen(  # noqa: S310 - only http and https come here
            f"{address.scheme}://{host}{address.path.rstrip('/')}/health", timeout=SERVER_SECONDS
        ):
            pass
    except urllib.error.HTTPError:
        pass  # it lives; whether it lets us in, its answer to the first real question says
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = redacted(str(getattr(error, "reason", error)))
        raise MachineError(f"no MLflow server answers at {redacted(uri)}: {reason}", "is it up?") from None


def _now() -> int:
    return time.time_ns() // 1_000_000


def _milliseconds(record: RunRecord) -> int:
    return round(sum(record.seconds.values()) * 1000)


def _started(entry: TrialEntry) -> int:
    """When a run that has ended began, by its busy seconds, in milliseconds since 1970."""
    ended = _now() if entry.ended is None else round(entry.ended * 1000)
    return ended - _milliseconds(entry.record)
