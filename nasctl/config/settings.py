"""What a command was asked for, complete: every key of conf/config.yaml and of the chosen groups, typed and frozen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from nasctl.experiments.pools import CellSource
from nasctl.samplers import STRICT, Positive, PrunerSpec, SamplerSpec
from nasctl.sources import DatasetSpec, EmbeddingSpec
from nasctl.specs import (
    Domain,
    Hyperparameters,
    ModelSpec,
    Name,
    Value,
)
from nasctl.strategies import FoundSpec, SpaceSpec, StrategySpec

__all__ = [
    "SETTINGS",
    "DataSettings",
    "Limit",
    "ResumeSettings",
    "SearchLimit",
    "SearchSettings",
    "SearchTraining",
    "Settings",
    "StoreSettings",
    "StudySettings",
    "Timeouts",
]

Seconds = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]
NotNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, config=STRICT)
class Limit:
    """What a study whose cells stand in at least so many layers may choose, by parameter as in a space."""

    cells: Positive
    choices: dict[str, tuple[Value, ...]]


@dataclass(frozen=True, config=STRICT)
class StudySettings:
    """A study's name (None: from its parts), its sweep's number of trials, what it searches, and the limits to that.

    In `space`, `hidden`, `dropout` and `variational_dropout` stand for one parameter per layer or place; None says that
    a parameter is not searched after all. Both are empty where no sweep applies. `enqueue` has the settings, whole or
    in part, of the first trials.
    """

    name: Name | None
    space: dict[str, Domain | None]
    limits: tuple[Limit, ...]
    trials: Positive | None
    enqueue: tuple[dict[str, Value], ...]


@dataclass(frozen=True, config=STRICT)
class SearchTraining:
    """In what a search's training differs from that of the LSTM whose hyperparameters it takes; None: in nothing."""

    learning_rate: Annotated[float, Field(gt=0)] | None
    grad_norm: Annotated[float, Field(gt=0)] | None
    epochs: Positive | None
    patience: Positive | None


@dataclass(frozen=True, config=STRICT)
class SearchLimit:
    """The largest batch and width that a search on this data set, embedding and model may have."""

    dataset: str
    embedding: str
    model: str
    batch_size: Positive
    hidden: Positive


@dataclass(frozen=True, config=STRICT)
class SearchSettings:
    """A search: its name (None: from its parts), where its hyperparameters come from, and how it proceeds.

    `method` is what a study asks for that wants its pool (`cell.search`).
    `start` "best" takes those of the best LSTM trial in the store, "paper" those of Table 5, "training" what stands
    under training.
    """

    name: Name | None
    method: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    start: Literal["best", "paper", "training"]
    training: SearchTraining
    space: SpaceSpec
    strategy: StrategySpec
    child_steps: Positive | None
    judged: Positive
    found: FoundSpec
    limits: tuple[SearchLimit, ...]


@dataclass(frozen=True, config=STRICT)
class DataSettings:
    """Where data sets and vectors lie; None: where the environment says."""

    root: Text | None


@dataclass(frozen=True, config=STRICT)
class StoreSettings:
    """Where everything is kept: a folder, and optionally databases elsewhere."""

    root: Text
    url: Text | None
    tracking: Text | None
    durability: Literal["normal", "full"]
    experiment: Text


@dataclass(frozen=True, config=STRICT)
class Timeouts:
    """How long to wait for a worker: between its beats, in silence, for one epoch, and after a stop.

    And for a database server that goes away.
    """

    beat: Seconds
    silence: Seconds
    epoch: Seconds
    grace: Seconds
    database: NotNegative


@dataclass(frozen=True, config=STRICT)
class ResumeSettings:
    """How old a run must be to leave a resume checkpoint, and the least time between two of them."""

    after: NotNegative
    every: NotNegative


@dataclass(frozen=True, config=STRICT)
class Settings:
    """Everything that a command can be asked for. Its defaults are conf/'s, there are none here."""

    dataset: DatasetSpec
    embedding: EmbeddingSpec
    model: ModelSpec
    cell: CellSource
    layers: str | None
    limits: Literal["paper", "none"]
    training: Hyperparameters
    precision: Literal["fp32"]
    study: StudySettings
    search: SearchSettings
    sampler: SamplerSpec
    pruner: PrunerSpec
    trials: Positive | None
    workers: Positive | Literal["auto"]
    seed: int
    retries: Annotated[int, Field(ge=0)]
    max_failed: Annotated[int, Field(ge=0)]
    device: Literal["auto", "cpu", "cuda"]
    pool: Literal["local", "inprocess"]
    deterministic: bool
    data: DataSettings
    store: StoreSettings
    timeouts: Timeouts
    resume: ResumeSettings


SETTINGS = TypeAdapter(Settings)
