"""How a study draws its trials, and which of them it gives up, as values: each of Optuna's arguments said."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Positive = Annotated[int, Field(gt=0)]


@dataclass(frozen=True, config=STRICT)
class TpeSampler:
    """Tree-structured Parzen estimator, every argument said. Raises ValueError for what Optuna does not take."""

    name: Literal["tpe", "tpe_paper"]
    n_startup_trials: Annotated[int, Field(ge=0)]
    n_ei_candidates: Positive
    multivariate: bool
    group: bool
    constant_liar: bool
    seed: int

    def __post_init__(self) -> None:
        if self.group and not self.multivariate:
            raise ValueError("group=true needs multivariate=true")


@dataclass(frozen=True, config=STRICT)
class RandomSampler:
    """Independent uniform draws."""

    name: Literal["random"]
    seed: int


SamplerSpec = Annotated[TpeSampler | RandomSampler, Field(discriminator="name")]


@dataclass(frozen=True, config=STRICT)
class MedianPruner:
    """A trial whose best dev score so far is worse than the median of the others' at its epoch ends."""

    name: Literal["median"]
    n_startup_trials: Annotated[int, Field(ge=0)]
    n_warmup_steps: Annotated[int, Field(ge=0)]
    interval_steps: Positive
    n_min_trials: Positive


@dataclass(frozen=True, config=STRICT)
class HyperbandPruner:
    """Successive halving in several brackets; a resource is an epoch (Li et al. 2018)."""

    name: Literal["hyperband"]
    min_resource: Positive
    max_resource: Positive
    reduction_factor: Annotated[int, Field(ge=2)]


@dataclass(frozen=True, config=STRICT)
class NoPruner:
    """Every trial runs to its end."""

    name: Literal["none"]


PrunerSpec = Annotated[MedianPruner | HyperbandPruner | NoPruner, Field(discriminator="name")]
