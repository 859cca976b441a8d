"""A study as its tables have it, nothing taken for granted: for whoever looks whether all is well."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from optuna.distributions import json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import TrialState

from nasctl.tuning.study.store import StudyStore, database_errors, seconds_of

STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
}
"""Optuna's states in our words; its others, which the scheduler does not use, keep their names."""


@dataclass(frozen=True)
class StoredTrial:
    """One row of the trials' table and what hangs on it; `ended` is when it did, in seconds since 1970."""

    number: int
    state: str
    ended: float | None
    values: tuple[float, ...]
    params: Mapping[str, Any]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class StoredStudy:
    """A study's attributes, and its trials in the order of their rows."""

    name: str
    attributes: Mapping[str, Any]
    trials: tuple[StoredTrial, ...]


def stored_study(store: StudyStore, name: str) -> StoredStudy:
    """What the database has of a study; five queries, however many trials it has."""
    table = models.TrialModel.__table__
    with database_errors(store.url):
        study = store.rdb.get_study_id_from_name(name)
        attributes = store.rdb.get_study_user_attrs(study)
        with store.rdb.engine.connect() as connection:
            columns = (table.c[name] for name in ("trial_id", "number", "state", "datetime_complete"))
            query = sqlalchemy.select(*columns).where(table.c.study_id == study).order_by(table.c.trial_id)
            rows = connection.execute(query).all()
            values = _by_trial(connection, study, models.TrialValueModel, "value", "value_type")
            params = _by_trial(
                connection, study, models.TrialParamModel, "param_name", "param_value", "distribution_json"
            )
            texts = _by_trial(connection, study, models.TrialUserAttributeModel, "key", "value_json")
    trials = tuple(
        StoredTrial(
            number,
            STATES.get(state, state.name),
            seconds_of(complete),
            tuple(models.TrialValueModel.stored_repr_to_value(value, kind) for value, kind in values[id_]),
            {name: json_to_distribution(text).to_external_repr(value) for name, value, text in params[id_]},
            {key: json.loads(text) for key, text in texts[id_]},
        )
        for id_, number, state, complete in rows
    )
    return StoredStudy(name, attributes, trials)


def _by_trial(connection: sqlalchemy.Connection, study: int, model: Any, *columns: str) -> dict[int, list[Any]]:
    """The rows of a table that belong to a study, these columns of them, by the id of their trial."""
    found: dict[int, list[Any]] = defaultdict(list)
    table, trials = model.__table__, models.TrialModel.__table__
    query = (
        sqlalchemy.select(table.c.trial_id, *(table.c[column] for column in columns))
        .join(trials, trials.c.trial_id == table.c.trial_id)
        .where(trials.c.study_id == study)
    )
    for id_, *row in connection.execute(query):
        found[id_].append(tuple(row))
    return found
