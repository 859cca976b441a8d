"""How a search proceeds, as values: its strategy, the controller, what rewards it, and what becomes of the search.

Sources disagree on most of this (docs/faithfulness.md), so each of their readings is a value.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from nasctl.samplers import STRICT, Positive

Above = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, config=STRICT)
class SpaceSpec:
    """Which cells there are: a row of `spaces.SPACES`, and how many nodes each of them has."""

    name: str
    nodes: Positive


@dataclass(frozen=True, config=STRICT)
class ControllerSpec:
    """The policy, an LSTM that takes one choice after the other (Pham et al. 2018, 2.2).

    Its heads read the LSTM's hidden state, or its cell state, as NNI up to 1.8 does. Logits are divided by
    `temperature`, then become tanh_constant · tanh(logits); None leaves them. Weights start uniformly within `initial`.
    Its Adam has this `learning_rate`; `grad_norm` None never scales the gradient down.
    """

    hidden: Positive
    reads: Literal["hidden", "cell"]
    temperature: Above
    tanh_constant: Above | None
    initial: Above
    learning_rate: Above
    grad_norm: Above | None


@dataclass(frozen=True, config=STRICT)
class RewardSpec:
    """What a sampled cell earns: the data set's metric on `pairs` of dev, under the shared weights.

    `batches`: drawn at random each time, always the first ones, or one batch after the other and round again. `mode`
    "train" leaves dropout on, as some released code does.
    """

    pairs: Positive
    batches: Literal["random", "first", "sequential"]
    mode: Literal["eval", "train"]


@dataclass(frozen=True, config=STRICT)
class BaselineSpec:
    """The moving mean of rewards: `decay` of what it was; it starts at the first reward or at zero.

    With `reset` it starts anew in each epoch.
    """

    decay: Annotated[float, Field(ge=0, lt=1)]
    start: Literal["first", "zero"]
    reset: bool


@dataclass(frozen=True, config=STRICT)
class EntropySpec:
    """What keeps the policy open: "loss" subtracts weight · entropy of each whole distribution from the loss.

    "sampled" adds weight · Σ -p·log p of the sampled options to the reward, as NNI does.
    """

    weight: NotNegative
    form: Literal["loss", "sampled"]


@dataclass(frozen=True, config=STRICT)
class MemorySpec:
    """Cells that the controller is taught to reproduce (Adam and Lorraine 2019, 3.3; methods F.2).

    From epoch `first` on, the end of each epoch appends `drawn` samples, until there are `capacity`; then `replaced`
    ones, chosen uniformly, make room for fresh ones. From epoch `taught` on, each controller step adds `weight` times
    the mean negative log-likelihood of `batch` cells to its loss. Raises ValueError for more replaced than there are.
    """

    capacity: Positive
    first: Positive
    drawn: Positive
    replaced: Positive
    taught: Positive
    batch: Positive
    weight: Above

    def __post_init__(self) -> None:
        if self.replaced > self.capacity:
            raise ValueError(f"of a memory of {self.capacity} cells at most as many replaced, not {self.replaced}")


@dataclass(frozen=True, config=STRICT)
class EnasStrategy:
    """Shared weights and a controller take turns (Pham et al. 2018): `steps` of `samples` cells each per epoch."""

    name: Literal["enas"]
    controller: ControllerSpec
    reward: RewardSpec
    baseline: BaselineSpec
    entropy: EntropySpec
    memory: MemorySpec | None
    steps: Positive
    samples: Positive


@dataclass(frozen=True, config=STRICT)
class RandomStrategy:
    """Shared weights under cells drawn uniformly; then the best of `candidates` (Li and Talwalkar 2019).

    `controller` is never trained: it shows what an untrained one would say of the same cells.
    """

    name: Literal["random_ws"]
    controller: ControllerSpec
    candidates: Positive


@dataclass(frozen=True, config=STRICT)
class RandomProposals:
    """`trials` cells with distinct codes, drawn uniformly; each is trained alone."""

    name: Literal["random"]
    trials: Positive


ProposerSpec = RandomProposals
"""Strategies that propose one cell after the other, each of which is trained alone."""

StrategySpec = Annotated[EnasStrategy | RandomStrategy | ProposerSpec, Field(discriminator="name")]


@dataclass(frozen=True, config=STRICT)
class FoundSpec:
    """What becomes of a search: `count` cells, no two with one code (or one graph), of at most `max_draws` draws.

    `examined` samples each of the trained, the untrained and a uniform policy are scored on all of dev, for the
    controller's study.
    """

    count: Positive
    distinct: Literal["code", "graph"]
    max_draws: Positive
    examined: Annotated[int, Field(ge=0)]
