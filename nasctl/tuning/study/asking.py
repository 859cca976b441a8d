"""One study: asking for trials and telling their ends."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nasctl import faults
from nasctl.data.metrics import METRICS
from nasctl.errors import MachineError
from nasctl.rng import stream_seed
from nasctl.samplers import HyperbandPruner, MedianPruner, NoPruner, PrunerSpec, RandomSampler, SamplerSpec
from nasctl.search.proposers import Tried, proposer
from nasctl.spaces import space_named
from nasctl.specs import CHOICE, STUDY, Choice, Domain, FloatRange, StudySpec, Value, study_identity
from nasctl.tracking.records import FINAL_STATES, RECORD, RunRecord
from nasctl.tuning.study.store import StudyStore, database_errors, read_ended, state_and_values
from nasctl.tuning.trials import (
    NOTHING,
    Asked,
    Best,
    Ended,
    Failure,
    asked_trial,
    check_identity,
    code_in,
    code_params,
    counted,
    is_better,
)


class TrialStore:
    """One study's trials. The caller owns the study's folder, so nobody else writes.

    `unfinished` are the trials that an earlier process asked for and did not tell, by number; `best` and `totals` are
    as of the last `tell`, and so is `outcomes`: whether each trial counts, None for one that has not been told.
    """

    def __init__(self, store: StudyStore, spec: StudySpec, uid: str | None = None) -> None:
        """Open the study or begin it, with the `uid` that `StudyStore.uid` has for it if a tracker is told of it.

        Raises StateMismatchError if it was begun with another identity.
        """
        self._store, self.spec, self._rdb, self.uid = store, spec, store.rdb, uid
        maximize = METRICS[spec.run.metric].direction == "maximize"
        self._direction = StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE
        self._distributions = {name: _distribution(domain) for name, domain in spec.space}
        self._drawn = dict(self._distributions)  # by the sampler; the others are a proposed cell's choices
        self._proposer, self._tried = None, list[Tried]()
        if spec.proposals is not None:
            self._proposer = proposer(spec.proposals, spec.run.metric)
            steps = space_named(spec.proposals.space.name, nodes=spec.proposals.space.nodes).steps()
            for place, step in enumerate(steps, 1):
                self._distributions[f"{CHOICE}_{place}"] = CategoricalDistribution(step.options)
        self._distribution_texts = {name: distribution_to_json(each) for name, each in self._distributions.items()}
        self._memory = InMemoryStorage()
        self._pruner = _pruner(spec.pruner)
        self._mirror = optuna.create_study(
            storage=self._memory, study_name=spec.name, direction=self._direction, pruner=self._pruner
        )
        self._ids: list[int] = []  # the store's number of each trial
        self._new = 0  # trials that are no retries of others
        self._untold: deque[Ended] = deque()
        self.outcomes: list[bool | None] = []
        self.totals = NOTHING
        self.best: Best | None = None
        with database_errors(store.url):
            self._id = self._open()
            self.unfinished = self._load()

    def ended_numbers(self) -> tuple[int, ...]:
        """The numbers of all trials that have been told."""
        trials = self._memory.get_all_trials(self._mirror._study_id, deepcopy=False)  # noqa: SLF001 - Optuna has no other
        return tuple(trial.number for trial in trials if trial.state.is_finished())

    def ask(self) -> Asked:
        """A new trial, durable before it is returned."""
        number = len(self._ids)
        seed = stream_seed(self.spec.sampler.seed, "ask", number) % 2**32
        self._mirror.sampler = _sampler(self.spec.sampler, self._drawn, seed)
        proposed = {} if self._proposer is None else code_params(self._proposer.propose(self._tried))
        given = proposed | (dict(self.spec.enqueued[self._new]) if self._new < len(self.spec.enqueued) else {})
        if given:
            self._mirror.enqueue_trial(given)
        distributions = self._drawn | {name: self._distributions[name] for name in proposed}
        drawn = self._mirror.ask(fixed_distributions=distributions).params
        asked = asked_trial(self.spec, number, {name: drawn[name] for name in distributions})
        self._insert(asked)
        return asked

    def ask_failed_again(self) -> tuple[Asked, ...]:
        """The parameters of trials that have failed, under new numbers, each durable: as many as the study still wants.

        What was asked for again before is not, unless that failed, too.
        """
        trials = sorted(self._rdb.get_all_trials(self._id, deepcopy=False), key=lambda trial: trial.number)
        again = {trial.user_attrs.get("retry_of") for trial in trials}
        failed = [trial for trial in trials if trial.state == TrialState.FAIL and trial.number not in again]
        unfinished = sum(trial.state == TrialState.RUNNING for trial in trials)
        asked = []
        for trial in failed[: max(self.spec.trials - self.totals.trials - unfinished, 0)]:
            asked.append(asked_trial(self.spec, len(self._ids), trial.params))
            self._copy(trial)
            self._insert(asked[-1], retry_of=trial.number)
        return tuple(asked)

    def _insert(self, asked: Asked, retry_of: int | None = None) -> None:
        params = asked.params
        internal = [
            {
                "param_name": name,
                "param_value": distribution.to_internal_repr(params[name]),
                "distribution_json": self._distribution_texts[name],
            }
            for name, distribution in self._distributions.items()
            if name in params
        ]
        faults.reach("asking")
        self._ids.append(self._store.insert_running(self._id, asked, internal, retry_of))
        self._note_asked(params, retry_of)
        faults.reach("asked")

    def _note_asked(self, params: Mapping[str, Value], retry_of: int | None) -> None:
        self.outcomes.append(None)
        self._new += retry_of is None
        if self._proposer is not None:
            self._tried.append(Tried(code_in(params), None))

    def note_failure(self, asked: Asked, failure: Failure) -> Asked:
        """Record that an attempt came to nothing."""
        failures = (*asked.failures, failure)
        self._store.write(lambda _: self._rdb.set_trial_user_attr(self._ids[asked.number], "failures", failures))
        return replace(asked, failures=failures)

    def prunes(self, number: int, epoch: int, score: float) -> bool:
        """Note a trial's dev score in an epoch, durably; whether the pruner gives it up there.

        Of an attempt that begins again before the last epoch noted, nothing is noted and nothing given up.
        """
        if isinstance(self.spec.pruner, NoPruner):
            return False
        before = self._memory.get_trial(number)
        if before.last_step is not None and epoch <= before.last_step:
            return False
        self._memory.set_trial_intermediate_value(number, epoch, score)
        prunes = self._pruner.prune(self._mirror, self._memory.get_trial(number))
        after = self._memory.get_trial(number).system_attrs
        notes = {key: value for key, value in after.items() if key not in before.system_attrs}
        self._store.note_score(self._ids[number], epoch, score, notes)
        return prunes

    def would_be_best(self, number: int, record: RunRecord) -> bool:
        """Whether this trial would be the best one, told this record."""
        known = record.state in FINAL_STATES
        return known and (self.best is None or is_better(record.metric, self.best, number, record.value))

    def tell(self, trial: Ended) -> None:
        """End a trial: it counts now, for the sampler too, and is durable after `commit`."""
        self._count(trial)
        self._untold.append(trial)

    def commit(self) -> list[Ended]:
        """Make everything told durable; the trials that this call has made so."""
        committed = []
        while self._untold:
            self._store.update_ended(self._ids[self._untold[0].asked.number], self._untold[0])
            faults.reach("told")
            committed.append(self._untold.popleft())
        return committed

    def ended(self, number: int) -> Ended:
        """A trial that has been told, from the store; safe in any thread."""
        return read_ended(self.spec, self._store.insist(lambda _: self._rdb.get_trial(self._ids[number])))

    @property
    def final(self) -> tuple[int, RunRecord] | None:
        """The trial that was evaluated last at the study's end, and its record."""
        stored = self._store.insist(lambda _: self._rdb.get_study_user_attrs(self._id)).get("final")
        return None if stored is None else (stored["trial"], RECORD.validate_json(json.dumps(stored["record"])))

    def set_final(self, number: int, record: RunRecord) -> None:
        """Record the final evaluation, of trial `number`."""
        final = {"trial": number, "trials": self.totals.trials, "record": RECORD.dump_python(record, mode="json")}
        self._store.write(lambda _: self._rdb.set_study_user_attr(self._id, "final", final))

    def set_left(self, state: Literal["finished", "failed"]) -> None:
        """Record how the study stands, now that its scheduler leaves it; a killed one leaves it interrupted."""
        self._store.write(lambda _: self._rdb.set_study_user_attr(self._id, "left", state))

    # --- opening ------------------------------------------------------------------------------------------------------

    def _open(self) -> int:
        name, identity = self.spec.name, study_identity(self.spec)
        with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):
            self._rdb.create_new_study([self._direction], name)
        id_ = self._rdb.get_study_id_from_name(name)
        stored = self._rdb.get_study_user_attrs(id_)
        if "identity" in stored:
            check_identity("study", name, stored["identity"], identity)
        versions = {"python": platform.python_version()}
        versions |= {package: importlib.metadata.version(package) for package in ("nasctl", "optuna", "torch")}
        wanted = {
            "uid": self.uid,
            "spec": STUDY.dump_python(self.spec, mode="json"),
            "versions": versions,
            "in_flight": self.spec.in_flight,
            "left": "interrupted",  # as long as nobody says otherwise
            "identity": identity,  # the last one: with it, all are there
        }
        for key, value in wanted.items():
            if stored.get(key) != value and value is not None:
                self._rdb.set_study_user_attr(id_, key, value)
        return id_

    def _load(self) -> tuple[Asked, ...]:
        """Copy the store's trials into memory."""
        unfinished = []
        for trial in sorted(self._rdb.get_all_trials(self._id, deepcopy=False), key=lambda trial: trial.number):
            if trial.number != len(self._ids):
                raise MachineError(f"the study {self.spec.name} has no trial {len(self._ids)}", "restore its database")
            self._ids.append(trial._trial_id)  # noqa: SLF001 - Optuna has no public name for it
            self._note_asked(trial.params, trial.user_attrs.get("retry_of"))
            self._copy(trial)
            for epoch, score in trial.intermediate_values.items():  # what a pruner has seen of it
                self._memory.set_trial_intermediate_value(trial.number, epoch, score)
            for key, value in trial.system_attrs.items():
                self._memory.set_trial_system_attr(trial.number, key, value)
            if "record" in trial.user_attrs:
                self._count(read_ended(self.spec, trial))
            else:
                failures = trial.user_attrs.get("failures", ())
                unfinished.append(asked_trial(self.spec, trial.number, trial.params, failures))
        return tuple(unfinished)

    def _copy(self, trial: FrozenTrial) -> None:
        """A trial with these parameters, in memory."""
        copy = self._memory.create_new_trial(self._mirror._study_id)  # noqa: SLF001 - Optuna has no public name for it
        for name, distribution in self._distributions.items():  # shared, where a copied trial would have its own
            if name in trial.params:
                value = distribution.to_internal_repr(trial.params[name])
                self._memory.set_trial_param(copy, name, value, distribution)

    def _count(self, trial: Ended) -> None:
        """Let a trial's end count in memory; the trials of the copy are numbered as those of the store."""
        number = trial.asked.number
        self._memory.set_trial_state_values(number, *state_and_values(trial))
        self.outcomes[number] = trial.counts
        if self._proposer is not None and trial.known:
            self._tried[number] = replace(self._tried[number], value=trial.record.value)
        self.totals = counted(self.totals, trial)
        if self.would_be_best(number, trial.record):
            self.best = Best(number, trial.record.value)


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.choices)
    if isinstance(domain, FloatRange):
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    return IntDistribution(domain.low, domain.high, log=domain.log)


def _pruner(spec: PrunerSpec) -> optuna.pruners.BasePruner:
    if isinstance(spec, MedianPruner):
        return optuna.pruners.MedianPruner(
            n_startup_trials=spec.n_startup_trials,
            n_warmup_steps=spec.n_warmup_steps,
            interval_steps=spec.interval_steps,
            n_min_trials=spec.n_min_trials,
        )
    if isinstance(spec, HyperbandPruner):
        return optuna.pruners.HyperbandPruner(
            min_resource=spec.min_resource, max_resource=spec.max_resource, reduction_factor=spec.reduction_factor
        )
    return optuna.pruners.NopPruner()


class _KnownSpaceSampler(optuna.samplers.TPESampler):
    """TPE that is told which parameters all trials have, where Optuna looks through every trial at each ask."""

    space: Mapping[str, BaseDistribution]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002 - it is Optuna's signature
        return dict(self.space)


def _sampler(spec: SamplerSpec, space: Mapping[str, BaseDistribution], seed: int) -> optuna.samplers.BaseSampler:
    if isinstance(spec, RandomSampler):
        return optuna.samplers.RandomSampler(seed=seed)
    together = spec.multivariate and not spec.group
    sampler = (_KnownSpaceSampler if together else optuna.samplers.TPESampler)(
        n_startup_trials=spec.n_startup_trials,
        n_ei_candidates=spec.n_ei_candidates,
        multivariate=spec.multivariate,
        group=spec.group,
        constant_liar=spec.constant_liar,
        seed=seed,
    )
    if isinstance(sampler, _KnownSpaceSampler):
        sampler.space = {name: space[name] for name in sorted(space) if not space[name].single()}
    return sampler
