"""The database of all studies of one store, in Optuna's own tables."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import filelock
import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nasctl.databases import Durability, probe, redacted, sqlite_path, sqlite_pragmas
from nasctl.errors import MachineError, first_line
from nasctl.specs import STUDY, StudySpec
from nasctl.tracking.records import RECORD
from nasctl.tuning.study.claims import AWAY, Claims, FileClaims, SessionClaims
from nasctl.tuning.trials import Asked, Ended, StudyProgress, asked_trial

LOG = logging.getLogger(__name__)

T = TypeVar("T")

AGAIN_SECONDS, WARN_SECONDS = 1.0, 10.0
"""Between two attempts to reach a server that is away, and between two warnings of it."""

_TRIALS, _PARAMS = models.TrialModel.__table__, models.TrialParamModel.__table__
_VALUES, _ATTRIBUTES = models.TrialValueModel.__table__, models.TrialUserAttributeModel.__table__


class StudyStore:
    """Optuna's database, with all studies of one store; made if it is not there.

    A server that goes away later is waited for, at most `patience` seconds each time, unless somebody `gives_up`; that
    is told every `WARN_SECONDS` at most. A file is not waited for: nobody would bring it back.
    """

    def __init__(self, url: str, durability: Durability = "normal", patience: float = 0.0) -> None:
        """Raises UsageError or MachineError, without a password, if the database cannot be used."""
        self.gives_up: Callable[[], bool] = lambda: False
        self._patience = patience
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.path = sqlite_path(url)
        probe(url)
        sqlite_pragmas(durability)
        with database_errors(url):
            try:
                self.rdb = self._opened(url)
            except RuntimeError:  # of Optuna, which finds tables of another version, or of another program
                raise MachineError(
                    f"{redacted(url)} is a database of another version of Optuna, or not Optuna's at all",
                    "nasctl doctor tells the versions; another database: store.url=...",
                ) from None
        self.url = url
        self._claims: Claims = SessionClaims(self.rdb.engine) if self.path is None else FileClaims(self.path)

    def _opened(self, url: str) -> RDBStorage:
        if self.path is None:
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        with filelock.FileLock(self.path.with_name(f"{self.path.name}.lock")):  # two may want to make it
            return RDBStorage(url)

    def claim(self, study: str) -> None:
        """Be the one that drives this study, until the next `release`.

        Raises StateMismatchError if another process is, whatever folder it writes in.
        """
        with database_errors(self.url):
            self._claims.take(study)

    def release(self) -> None:
        """Let others drive all that was claimed."""
        self._claims.release()

    def uid(self, study: str) -> str | None:
        """What a tracker calls the study beside its name, which another database may have, too: drawn for a new one.

        None for one that was begun before studies had any.
        """
        with database_errors(self.url), contextlib.suppress(KeyError):
            stored = self.rdb.get_study_user_attrs(self.rdb.get_study_id_from_name(study))
            if "uid" in stored or "identity" in stored:
                return stored.get("uid")
        return secrets.token_hex(8)

    def close(self) -> None:
        """Let go of the database."""
        self.release()
        self.rdb.scoped_session.remove()
        self.rdb.engine.dispose()

    def insist(self, work: Callable[[bool], T]) -> T:
        """What `work` gives, tried again while the server is away; `work` is told whether it is.

        Raises MachineError if it stays away, or fails in another way.
        """
        began, told = time.monotonic(), -math.inf
        for again in itertools.chain([False], itertools.repeat(True)):
            try:
                with database_errors(self.url):
                    return work(again)
            except AwayError as error:
                waited = time.monotonic() - began
                if self.path is not None or waited >= self._patience or self.gives_up():
                    raise
                if waited - told >= WARN_SECONDS:
                    LOG.warning("%s; waiting for it since %.0f s", error, waited)
                    told = waited
                time.sleep(AGAIN_SECONDS)
        raise AssertionError  # pragma: no cover - the loop has no end

    def write(self, work: Callable[[bool], T]) -> T:
        """As `insist`, for what changes a study: only as long as the claim on it is ours.

        Raises StateMismatchError if another process has claimed it since, as it may after a restart of the server.
        """

        def claimed(again: bool) -> T:  # noqa: FBT001 - as `insist` calls it
            self._claims.hold()
            return work(again)

        return self.insist(claimed)

    def insert_running(
        self, study: int, asked: Asked, internal: Sequence[Mapping[str, Any]], retry_of: int | None = None
    ) -> int:
        """Enter a trial in one transaction; its row's id. `internal` has its parameters as Optuna stores them."""
        return self.write(lambda again: self._insert_running(study, asked, internal, retry_of, again=again))

    def _insert_running(
        self,
        study: int,
        asked: Asked,
        internal: Sequence[Mapping[str, Any]],
        retry_of: int | None,
        *,
        again: bool,
    ) -> int:
        row = {"study_id": study, "number": asked.number, "state": TrialState.RUNNING, "datetime_start": _utc_now()}
        with self.rdb.engine.begin() as connection:
            if again:  # the server may have gone away behind the commit
                there = (_TRIALS.c.study_id == study) & (_TRIALS.c.number == asked.number)
                known = connection.execute(sqlalchemy.select(_TRIALS.c.trial_id).where(there)).scalar()
                if known is not None:
                    return int(known)
            inserted = connection.execute(_TRIALS.insert(), row).inserted_primary_key
            id_ = int(inserted[0])  # type: ignore[index] # there is one: the table numbers its rows
            if internal:
                connection.execute(_PARAMS.insert(), [{"trial_id": id_, **each} for each in internal])
            connection.execute(_ATTRIBUTES.insert(), _attributes(id_, {"digest": asked.digest, "retry_of": retry_of}))
        return id_

    def note_score(self, id_: int, epoch: int, score: float, notes: Mapping[str, Any]) -> None:
        """Enter a running trial's score in an epoch, and what a pruner notes on the trial there."""

        def note(_: bool) -> None:  # noqa: FBT001 - that the server was away changes nothing: each call overwrites
            self.rdb.set_trial_intermediate_value(id_, epoch, score)
            for key, value in notes.items():
                self.rdb.set_trial_system_attr(id_, key, value)

        self.write(note)

    def update_ended(self, id_: int, trial: Ended) -> None:
        """Enter a trial's end in one transaction."""
        self.write(lambda again: self._update_ended(id_, trial, again=again))

    def _update_ended(self, id_: int, trial: Ended, *, again: bool) -> None:
        row = _TRIALS.c.trial_id == id_
        state, values = state_and_values(trial)
        known = {"record": RECORD.dump_python(trial.record, mode="json"), "duplicate_of": trial.duplicate_of}
        with self.rdb.engine.begin() as connection:
            if again and connection.execute(sqlalchemy.select(_TRIALS.c.state).where(row)).scalar() == state:
                return  # the server went away behind the commit
            connection.execute(_ATTRIBUTES.insert(), _attributes(id_, known))
            for value in values or ():
                stored, kind = models.TrialValueModel.value_to_stored_repr(value)
                connection.execute(
                    _VALUES.insert(), {"trial_id": id_, "objective": 0, "value": stored, "value_type": kind}
                )
            connection.execute(_TRIALS.update().where(row).values(state=state, datetime_complete=_utc_now()))

    def finished_digests(self) -> dict[str, tuple[str, int]]:
        """Run digest -> (study, number) of the first finished trial that has it, over all studies."""
        trial, attribute = models.TrialModel, models.TrialUserAttributeModel
        query = (
            sqlalchemy.select(attribute.value_json, models.StudyModel.study_name, trial.number)
            .join(trial, trial.trial_id == attribute.trial_id)
            .join(models.StudyModel, models.StudyModel.study_id == trial.study_id)
            .where(attribute.key == "digest", trial.state == TrialState.COMPLETE)
            .order_by(trial.trial_id.desc())
        )
        with database_errors(self.url), self.rdb.engine.connect() as connection:
            return {json.loads(digest): (study, number) for digest, study, number in connection.execute(query)}

    def ended(self, study: str, number: int) -> Ended:
        """A trial of any study that has been told."""
        with database_errors(self.url):
            id_ = self.rdb.get_study_id_from_name(study)
            trial = self.rdb.get_trial(self.rdb.get_trial_id_from_study_id_trial_number(id_, number))
            spec = self.rdb.get_study_user_attrs(id_)["spec"]
        return read_ended(STUDY.validate_json(json.dumps(spec)), trial)

    def progress(self) -> tuple[StudyProgress, ...]:
        """How far every study of the store is, in the order in which they were begun; searches are none."""
        trial, value = models.TrialModel, models.TrialValueModel
        query = (
            sqlalchemy.select(
                trial.study_id,
                trial.state,
                sqlalchemy.func.count(trial.trial_id),
                sqlalchemy.func.max(value.value),
                sqlalchemy.func.min(value.value),
            )
            .outerjoin(value, value.trial_id == trial.trial_id)
            .group_by(trial.study_id, trial.state)
        )
        with database_errors(self.url):
            studies = self.rdb.get_all_studies()
            with self.rdb.engine.connect() as connection:
                rows = {(id_, state): (count, high, low) for id_, state, count, high, low in connection.execute(query)}
        known = (study for study in studies if "spec" in study.user_attrs)
        return tuple(_progress(study, rows) for study in known if not study.user_attrs["spec"].get("proposals"))


def _progress(study: Any, rows: Mapping[tuple[int, TrialState], tuple[int, float, float]]) -> StudyProgress:
    def row(state: TrialState) -> tuple[int, float | None, float | None]:
        return rows.get((study._study_id, state), (0, None, None))  # noqa: SLF001 - Optuna has no public name for it

    finished, high, low = row(TrialState.COMPLETE)
    return StudyProgress(
        study.study_name,
        study.user_attrs["spec"]["trials"],
        finished + row(TrialState.PRUNED)[0],
        row(TrialState.FAIL)[0],
        row(TrialState.RUNNING)[0],
        high if study.directions[0] == StudyDirection.MAXIMIZE else low,
        study.user_attrs.get("left") == "finished",
    )


# --- to and from Optuna -----------------------------------------------------------------------------------------------


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)  # as Optuna's columns have it


def seconds_of(time: dt.datetime | None) -> float | None:
    """One of Optuna's times, which are in UTC, in seconds since 1970."""
    return None if time is None else time.replace(tzinfo=dt.UTC).timestamp()


def _attributes(id_: int, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    known = {key: value for key, value in values.items() if value is not None}
    return [
        {"trial_id": id_, "key": key, "value_json": json.dumps(value, allow_nan=False)} for key, value in known.items()
    ]


def state_and_values(trial: Ended) -> tuple[TrialState, list[float] | None]:
    """How Optuna knows the end of a trial."""
    if trial.known:
        return TrialState.COMPLETE, [trial.record.value]
    return (TrialState.PRUNED if trial.counts else TrialState.FAIL), None


def read_ended(study: StudySpec, trial: FrozenTrial) -> Ended:
    """A trial of this study that has been told."""
    attributes = trial.user_attrs
    asked = asked_trial(study, trial.number, trial.params, attributes.get("failures", ()))
    record = RECORD.validate_json(json.dumps(attributes["record"]))
    return Ended(asked, record, attributes.get("duplicate_of"), seconds_of(trial.datetime_complete))


class AwayError(MachineError):
    """The database's server cannot be reached, for now."""


@contextlib.contextmanager
def database_errors(url: str) -> Iterator[None]:
    """The database's trouble as ours, in one line and without its password."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        cause = error.__cause__ or error
        reason = redacted(first_line(getattr(cause, "orig", None) or cause))
        away = any(isinstance(each, AWAY) for each in (error, cause))  # Optuna wraps them, drivers cause them
        raise (AwayError if away else MachineError)(
            f"the studies' database {redacted(url)} failed: {reason}",
            "what was told is safe; run the same command again to go on once the database can be written",
        ) from None
