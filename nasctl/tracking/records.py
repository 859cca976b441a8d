"""What is kept of a run, and who keeps it: `RunRecord`, and the Tracker's contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from nasctl.specs import Metric, Role

RunState = Literal["finished", "diverged", "failed", "killed", "interrupted", "pruned"]
FINAL_STATES: frozenset[RunState] = frozenset({"finished", "diverged"})
"""States whose result is known for good: never computed twice."""

COUNTED_STATES: frozenset[RunState] = FINAL_STATES | {"pruned"}
"""States of the trials that a study counts. One that was pruned was worth its place, but has no result."""

PRUNED = "given up after epoch {}"
"""The reason of a pruned run."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class EpochRecord:
    """One epoch: its number from 1, the mean training loss, the dev metrics, and seconds since the run began.

    Of a search, `dev` is the mean of the cells that were judged, and `search` has what else there is to say: `reward`,
    `baseline`, `entropy` (nats per cell), `new` (which part of the cells drawn was never drawn before)...; `cell` is
    the code that its controller finds most probable.
    """

    epoch: int
    loss: float | None
    dev: dict[str, float]
    seconds: float
    search: dict[str, float] = field(default_factory=dict)
    cell: str = ""


@dataclass(frozen=True)
class Judging:
    """How many of the `cells` that a search ends with have been judged so far."""

    judged: int
    cells: int


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FoundCell:
    """A cell that a search found: its code, text and digest, how likely it was drawn, and its dev score.

    The score is that of the metric under the shared weights, or alone where each was trained alone; `log_probability`
    is natural.
    """

    code: str
    cell: str
    digest: str
    log_probability: float
    score: float


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RunRecord:
    """What is known of one run when it ended.

    `value` is the metric to be optimised at the best epoch, on dev data; for a diverged run the metric's worst value.
    `dev` and `test` hold every metric at the best epoch (`test` is empty but for roles final and reseed). `seconds` is
    busy time by phase (load, train, evaluate); `memory` peak bytes (host_rss_bytes, device_bytes). `cells` has an entry
    per recurrent layer: {"code": its text, "digest"}, or its name in the pool as "code" and its "text" beside; all are
    "lstm" for an LSTM. `counts` holds what must not be silent: `constant_predictions`, how often the run was `resumed`,
    and of an evaluation how many rows it predicted (`dev_rows`, `test_rows`), and of how many `classes`: none for
    regression, and in records from before they were counted. `versions` are tags (python, torch, nasctl), no part of
    any identity. `found` is the pool that a search ends with, empty for everything else.

    Of a search that trained each of its cells alone an epoch is a cell, `counts` has its `trials`, and the rest is that
    of the best one.
    """

    digest: str
    role: Role
    state: RunState
    reason: str
    metric: Metric
    value: float
    dev: dict[str, float]
    test: dict[str, float]
    epochs: int
    best_epoch: int
    parameters: int
    cells: tuple[dict[str, str], ...]
    seconds: dict[str, float]
    memory: dict[str, int]
    counts: dict[str, int]
    device: str
    threads: int
    backend: str
    result_version: int
    versions: dict[str, str]
    history: tuple[EpochRecord, ...]
    found: tuple[FoundCell, ...] = ()


RECORD = TypeAdapter(RunRecord)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TrialEntry:
    """A trial as the tracker logs it: number, hyperparameters, record, and flat tags (all strings).

    `ended` is when it did, in seconds since 1970; None: just now.
    """

    number: int
    params: dict[str, str | int | float]
    record: RunRecord
    tags: dict[str, str]
    ended: float | None = None


ENTRY = TypeAdapter(TrialEntry)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StoredRun:
    """A run as it is read back from the tracker: enough for every table.

    `kind` is study, trial, run (a single `train`) or search; `study` its study's name ("" outside any). `artifacts` is
    the folder of its files, if they can be reached as files.
    """

    id: str
    kind: str
    study: str
    trial: int | None
    state: str
    started: float
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    artifacts: Path | None


class Tracker(Protocol):
    """Where records go for people to browse. It is derived from the studies' store and can be rebuilt from it.

    Only the scheduler's process writes. Every call is idempotent: repeating it changes nothing. Calls may block for
    minutes (a server that is away), so none is made from the loop that serves the workers.
    """

    def begin_study(self, study: str, tags: Mapping[str, str], config: str) -> str:
        """The id of the study's run, made if there is none; `config` (YAML) becomes its artifact config.yaml.

        A run of the same name with another `uid` is another study's.
        """

    def log_trial(self, study_id: str, study: str, entry: TrialEntry) -> str:
        """Log one ended trial with its per-epoch metrics as a child of the study; the id of its run."""

    def end_study(
        self,
        study_id: str,
        state: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Sequence[Path],
    ) -> None:
        """Close the study's run (state: finished, interrupted or failed), with its final metrics and files."""

    def log_run(self, name: str, entry: TrialEntry, artifacts: Sequence[Path]) -> str:
        """Log one single run (`nasctl train`) or search, as its record's role says, outside any study; its id."""

    def forget(self, tags: Mapping[str, str]) -> int:
        """Remove every run that carries these tags, which are not none; how many there were."""

    def runs(self, kind: str | None = None, tags: Mapping[str, str] | None = None) -> Iterable[StoredRun]:
        """The stored runs of a kind that carry these tags, newest first; every page is read."""

    def trials(self, study_id: str) -> Mapping[int, str]:
        """Trial number -> run id of every child of a study that was logged to its end."""


def trained_alone(search: RunRecord) -> bool:
    """Whether the scores of a search's cells are those of each trained alone, not those of shared weights."""
    return "trials" in search.counts


def flat_metrics(record: RunRecord) -> dict[str, float]:
    """The record's numbers under the names that every store and table uses: `dev/pearson`, `test/f1`, `seconds`..."""
    numbers: dict[str, Any] = {"value": record.value, "seconds": sum(record.seconds.values())}
    numbers |= {f"dev/{name}": value for name, value in record.dev.items()}
    numbers |= {f"test/{name}": value for name, value in record.test.items()}
    numbers |= {f"seconds/{phase}": value for phase, value in record.seconds.items()}
    numbers |= {f"memory/{kind}": value for kind, value in record.memory.items()}
    numbers |= {f"counts/{kind}": value for kind, value in record.counts.items()}
    numbers |= {"epochs": record.epochs, "best_epoch": record.best_epoch, "parameters": record.parameters}
    return {name: float(value) for name, value in numbers.items()}


def epoch_metrics(epoch: EpochRecord) -> dict[str, float]:
    """An epoch's numbers under the names that every store uses: `epoch/loss`, `epoch/dev/pearson`, `epoch/reward`..."""
    numbers = {"loss": epoch.loss} | {f"dev/{name}": value for name, value in epoch.dev.items()} | epoch.search
    return {f"epoch/{name}": value for name, value in numbers.items() if value is not None}
