"""The door to Optuna: what a study has asked for and been told, durable in its store.

Optuna's own ask commits each parameter by itself, and a kill in between leaves half a trial. Here a trial is drawn in a
copy of the study that lives in memory, and enters the store by one transaction. The sampler is made anew for each ask
from the study's seed and the trial's number, so that a study that was killed and reloaded goes on as if nothing had
happened.

A trial's user attributes: `digest` (its run), `record` (once it has ended), `failures` (the attempts that came to
nothing), `duplicate_of`. A study's: `identity`, `spec`, `versions`, `in_flight`, `final`.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import filelock
import optuna
import sqlalchemy
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nasctl.data.metrics import METRICS
from nasctl.databases import Durability, probe, redacted, sqlite_path, sqlite_pragmas
from nasctl.errors import MachineError, StateMismatchError
from nasctl.rng import stream_seed
from nasctl.specs import (
    STUDY,
    Choice,
    Domain,
    FloatRange,
    RandomSampler,
    RunSpec,
    SamplerSpec,
    StudySpec,
    study_identity,
)
from nasctl.tracking.records import RECORD, RunRecord
from nasctl.tuning.trials import (
    NOTHING,
    Asked,
    Best,
    Ended,
    Failure,
    StudyProgress,
    asked_trial,
    counted,
    differences,
)

SHOWN_DIFFERENCES = 3


# --- the store of all studies -----------------------------------------------------------------------------------------


class _OneInsertStorage(RDBStorage):
    """Optuna looks up the trial and an earlier distribution for each parameter of a new trial, one after the other.

    A study's distributions are part of its identity, which was compared before, so here they are just inserted. Should
    Optuna rename this method, everything works as before, and slower.
    """

    def _set_trial_param_without_commit(
        self, session: Any, trial_id: int, param_name: str, value: float, distribution: BaseDistribution, *_: Any
    ) -> None:
        text = distribution_to_json(distribution)
        session.add(
            models.TrialParamModel(trial_id=trial_id, param_name=param_name, param_value=value, distribution_json=text)
        )


class StudyStore:
    """Optuna's database, with all studies of one store; made if it is not there."""

    def __init__(self, url: str, durability: Durability = "normal") -> None:
        """Raises UsageError or MachineError, without a password, if the database cannot be used."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.path = sqlite_path(url)
        probe(url)
        sqlite_pragmas(durability)
        with _told(url):
            if self.path is None:
                self.rdb = _OneInsertStorage(url, engine_kwargs={"pool_pre_ping": True})
            else:
                with filelock.FileLock(self.path.with_name(f"{self.path.name}.lock")):  # two may want to make it
                    self.rdb = _OneInsertStorage(url)
        self.url = url

    def close(self) -> None:
        """Let go of the database."""
        self.rdb.scoped_session.remove()
        self.rdb.engine.dispose()

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
        with _told(self.url), self.rdb.engine.connect() as connection:
            return {json.loads(digest): (study, number) for digest, study, number in connection.execute(query)}

    def ended(self, study: str, number: int) -> Ended:
        """A trial of any study that has been told."""
        with _told(self.url):
            id_ = self.rdb.get_study_id_from_name(study)
            trial = self.rdb.get_trial(self.rdb.get_trial_id_from_study_id_trial_number(id_, number))
            spec = self.rdb.get_study_user_attrs(id_)["spec"]
        return _ended(STUDY.validate_json(json.dumps(spec)).run, trial)

    def progress(self) -> tuple[StudyProgress, ...]:
        """How far every study of the store is, in the order in which they were begun."""
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
        with _told(self.url):
            studies = self.rdb.get_all_studies()
            with self.rdb.engine.connect() as connection:
                rows = {(id_, state): (count, high, low) for id_, state, count, high, low in connection.execute(query)}
        return tuple(_progress(study, rows) for study in studies)


def _progress(study: Any, rows: Mapping[tuple[int, TrialState], tuple[int, float, float]]) -> StudyProgress:
    def row(state: TrialState) -> tuple[int, float | None, float | None]:
        return rows.get((study._study_id, state), (0, None, None))  # noqa: SLF001 - Optuna has no public name for it

    finished, high, low = row(TrialState.COMPLETE)
    return StudyProgress(
        study.study_name,
        study.user_attrs["spec"]["trials"],
        finished,
        row(TrialState.FAIL)[0],
        row(TrialState.RUNNING)[0],
        high if study.directions[0] == StudyDirection.MAXIMIZE else low,
        "final" in study.user_attrs,
    )


# --- one study --------------------------------------------------------------------------------------------------------


class TrialStore:
    """One study's trials. The caller owns the study's folder, so nobody else writes.

    `unfinished` are the trials that an earlier process asked for and did not tell, by number; `best` and `totals` are
    as of the last `tell`.
    """

    def __init__(self, store: StudyStore, spec: StudySpec) -> None:
        """Open the study or begin it. Raises StateMismatchError if it was begun with another identity."""
        self._store, self.spec, self._rdb = store, spec, store.rdb
        self._maximize = METRICS[spec.run.metric].direction == "maximize"
        self._direction = StudyDirection.MAXIMIZE if self._maximize else StudyDirection.MINIMIZE
        self._distributions = {name: _distribution(domain) for name, domain in spec.space}
        self._memory = InMemoryStorage()
        self._mirror = optuna.create_study(storage=self._memory, study_name=spec.name, direction=self._direction)
        self._ids: list[int] = []  # the store's number of each trial
        self._untold: deque[Ended] = deque()
        self.totals = NOTHING
        self.best: Best | None = None
        with _told(store.url):
            self._id = self._open()
            self.unfinished = self._load()

    @property
    def finished(self) -> int:
        """How many trials count."""
        return self.totals.trials

    @property
    def failed(self) -> int:
        """How many trials came to nothing."""
        return self.totals.failed

    def ended_numbers(self) -> tuple[int, ...]:
        """The numbers of all trials that have been told."""
        trials = self._memory.get_all_trials(self._mirror._study_id, deepcopy=False)  # noqa: SLF001 - Optuna has no other
        return tuple(trial.number for trial in trials if trial.state.is_finished())

    def ask(self) -> Asked:
        """A new trial, durable before it is returned."""
        number = len(self._ids)
        self._mirror.sampler = _sampler(self.spec.sampler, stream_seed(self.spec.sampler.seed, "ask", number) % 2**32)
        drawn = self._mirror.ask(fixed_distributions=self._distributions).params
        params = {name: drawn[name] for name, _ in self.spec.space}
        asked = asked_trial(self.spec.run, number, params)
        template = create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions=self._distributions,
            user_attrs={"digest": asked.digest},
        )
        with _told(self._store.url):
            self._ids.append(self._rdb.create_new_trial(self._id, template))
        return asked

    def note_failure(self, asked: Asked, failure: Failure) -> Asked:
        """Record that an attempt came to nothing."""
        failures = (*asked.failures, failure)
        with _told(self._store.url):
            self._rdb.set_trial_user_attr(self._ids[asked.number], "failures", failures)
        return replace(asked, failures=failures)

    def is_better(self, number: int, value: float) -> bool:
        """Whether this trial would be the best one."""
        if self.best is None or value == self.best.value:
            return self.best is None or number < self.best.number
        return (value > self.best.value) == self._maximize

    def tell(self, trial: Ended) -> None:
        """End a trial: it counts now, for the sampler too, and is durable after `commit`."""
        self._count(trial)
        self._untold.append(trial)

    def commit(self) -> list[Ended]:
        """Make everything told durable; the trials that this call has made so."""
        committed = []
        with _told(self._store.url):
            while self._untold:
                trial = self._untold[0]
                id_ = self._ids[trial.asked.number]
                if trial.duplicate_of is not None:
                    self._rdb.set_trial_user_attr(id_, "duplicate_of", trial.duplicate_of)
                self._rdb.set_trial_user_attr(id_, "record", RECORD.dump_python(trial.record, mode="json"))
                self._rdb.set_trial_state_values(id_, *_state_and_values(trial))
                committed.append(self._untold.popleft())
        return committed

    def ended(self, number: int) -> Ended:
        """A trial that has been told, from the store; safe in any thread."""
        with _told(self._store.url):
            return _ended(self.spec.run, self._rdb.get_trial(self._ids[number]))

    @property
    def final(self) -> tuple[int, RunRecord] | None:
        """The trial that was evaluated last at the study's end, and its record."""
        with _told(self._store.url):
            stored = self._rdb.get_study_user_attrs(self._id).get("final")
        return None if stored is None else (stored["trial"], RECORD.validate_json(json.dumps(stored["record"])))

    def set_final(self, number: int, record: RunRecord) -> None:
        """Record the final evaluation, of trial `number`."""
        final = {"trial": number, "trials": self.finished, "record": RECORD.dump_python(record, mode="json")}
        with _told(self._store.url):
            self._rdb.set_study_user_attr(self._id, "final", final)

    # --- opening ------------------------------------------------------------------------------------------------------

    def _open(self) -> int:
        name, identity = self.spec.name, study_identity(self.spec)
        with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):
            self._rdb.create_new_study([self._direction], name)
        id_ = self._rdb.get_study_id_from_name(name)
        stored = self._rdb.get_study_user_attrs(id_)
        if "identity" in stored:
            found = list(differences(stored["identity"], identity))
            if found:
                more = f" (and {len(found) - SHOWN_DIFFERENCES} more)" if len(found) > SHOWN_DIFFERENCES else ""
                raise StateMismatchError(
                    f"the study {name} was begun with other settings: {', '.join(found[:SHOWN_DIFFERENCES])}{more}",
                    "ask for the stored values to go on, or study.name=OTHER to start another study",
                )
        versions = {"python": platform.python_version()}
        versions |= {package: importlib.metadata.version(package) for package in ("nasctl", "optuna", "torch")}
        wanted = {
            "spec": STUDY.dump_python(self.spec, mode="json"),
            "versions": versions,
            "in_flight": self.spec.in_flight,
            "identity": identity,  # the last one: with it, all are there
        }
        for key, value in wanted.items():
            if stored.get(key) != value:
                self._rdb.set_study_user_attr(id_, key, value)
        return id_

    def _load(self) -> tuple[Asked, ...]:
        """Copy the store's trials into memory; mend those whose end was only half written."""
        unfinished = []
        for trial in sorted(self._rdb.get_all_trials(self._id, deepcopy=False), key=lambda trial: trial.number):
            if trial.number != len(self._ids):
                raise MachineError(f"the study {self.spec.name} has no trial {len(self._ids)}", "restore its database")
            self._ids.append(trial._trial_id)  # noqa: SLF001 - Optuna has no public name for it
            self._copy(trial)
            if "record" in trial.user_attrs:
                ended = _ended(self.spec.run, trial)
                self._count(ended)
                if not trial.state.is_finished():  # killed between the two writes of its end
                    self._rdb.set_trial_state_values(self._ids[-1], *_state_and_values(ended))
            else:
                failures = trial.user_attrs.get("failures", ())
                unfinished.append(asked_trial(self.spec.run, trial.number, trial.params, failures))
        return tuple(unfinished)

    def _copy(self, trial: FrozenTrial) -> None:
        copy = self._memory.create_new_trial(self._mirror._study_id)  # noqa: SLF001 - Optuna has no public name for it
        for name, distribution in self._distributions.items():  # shared, where a copied trial would have its own
            value = distribution.to_internal_repr(trial.params[name])
            self._memory.set_trial_param(copy, name, value, distribution)

    def _count(self, trial: Ended) -> None:
        """Let a trial's end count in memory; the trials of the copy are numbered as those of the store."""
        number = trial.asked.number
        self._memory.set_trial_state_values(number, *_state_and_values(trial))
        self.totals = counted(self.totals, trial)
        if trial.counts and self.is_better(number, trial.record.value):
            self.best = Best(number, trial.record.value)


# --- to and from Optuna -----------------------------------------------------------------------------------------------


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.choices)
    if isinstance(domain, FloatRange):
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    return IntDistribution(domain.low, domain.high, log=domain.log)


def _sampler(spec: SamplerSpec, seed: int) -> optuna.samplers.BaseSampler:
    if isinstance(spec, RandomSampler):
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `group` has been one for years
        return optuna.samplers.TPESampler(
            n_startup_trials=spec.n_startup_trials,
            n_ei_candidates=spec.n_ei_candidates,
            multivariate=spec.multivariate,
            group=spec.group,
            constant_liar=spec.constant_liar,
            seed=seed,
        )


def _state_and_values(trial: Ended) -> tuple[TrialState, list[float] | None]:
    return (TrialState.COMPLETE, [trial.record.value]) if trial.counts else (TrialState.FAIL, None)


def _ended(run: RunSpec, trial: FrozenTrial) -> Ended:
    attributes = trial.user_attrs
    asked = asked_trial(run, trial.number, trial.params, attributes.get("failures", ()))
    return Ended(asked, RECORD.validate_json(json.dumps(attributes["record"])), attributes.get("duplicate_of"))


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    """The database's trouble as ours, in one line and without its password."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        cause = error.__cause__ or error
        reason = redacted(str(getattr(cause, "orig", None) or cause)).partition("\n")[0]
        raise MachineError(
            f"the studies' database {redacted(url)} failed: {reason}",
            "what was told is safe; run the same command again to go on once the database can be written",
        ) from None
