"""What can be asked for, as frozen and strict values: a run, a study, and the parts they are made of.

A spec carries no defaults (those stand in conf/, once) and knows no path of a prepared file: data and embeddings are
named by the digest of their content, so that a run's identity is `digest` of its spec and nothing else. Sources, which
do name files (nasctl.sources), are turned into digests by `experiments.resolve` before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from nasctl.cells import spelling
from nasctl.files import LONGEST_NAME, digest
from nasctl.samplers import STRICT, NoPruner, Positive, PrunerSpec, SamplerSpec
from nasctl.strategies import FoundSpec, ProposerSpec, SpaceSpec, StrategySpec

RESULT_VERSION = 3
"""Raised by hand whenever the same spec would give other numbers; part of every run's identity."""

Task = Literal["regression", "classification"]
Metric = Literal["pearson", "spearman", "accuracy", "f1", "mcc"]
Loss = Literal["mse", "mae", "cross_entropy"]
Role = Literal["trial", "final", "reseed", "search"]
Value = str | int | float
"""What a hyperparameter can be set to."""

Name = Annotated[str, Field(pattern=rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}$")]
"""What a study or a search can be called: a folder has this name, too."""

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
Owner = Literal["sentence", "pair"]
"""What has a mask of its own."""


# --- cells ------------------------------------------------------------------------------------------------------------

CellText = Annotated[str, AfterValidator(spelling.checked)]
"""A cell in its one text, so that equal cells make equal runs whatever they are called."""


@dataclass(frozen=True, config=STRICT)
class PoolCell:
    """A cell and the name that its pool knows it by: its code, its name in the library, or that of its file."""

    name: str
    cell: CellText


@dataclass(frozen=True, config=STRICT)
class Pool:
    """The cells that a study chooses from, and the layers, counted from 1, in which the chosen one stands."""

    places: Annotated[tuple[Positive, ...], Field(min_length=1)]
    cells: Annotated[tuple[PoolCell, ...], Field(min_length=1)]


# --- a run ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, config=STRICT)
class EmbeddingRef:
    """Prepared word vectors: the digest of the rows used, and whether they are trained on."""

    digest: str
    trainable: bool


@dataclass(frozen=True, config=STRICT)
class FeaturesRef:
    """Cached features of a frozen encoder: the digest of what they are made from, and the layers that are mixed.

    Layer 0 is the encoder's input embedding.
    """

    digest: str
    mix: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


@dataclass(frozen=True, config=STRICT)
class BlmSpec:
    """BiLSTM-Max.

    `masks`: what drops features of a whole sentence, the variational dropout and that of the pooled vector, has one
    mask for each sentence, or one for both of a pair. `dropout_1` acts on the recurrent layer's output sequence or on
    the pooled vector; `padding` says whether max pooling sees real tokens only ("masked") or zeros at the padding too
    (the historical "zeros").
    """

    name: Literal["blm"]
    masks: Owner
    dropout_1: Literal["sequence", "pooled"]
    padding: Literal["masked", "zeros"]
    initialisation: Literal["common", "torch"]


@dataclass(frozen=True, config=STRICT)
class EsimSpec:
    """ESIM.

    `masks`: those of the variational dropout, as for BLM, in both layers. `dropout_1` acts on the projection's output
    or on the enhancement before it; `dropout_2` in the final MLP on the hidden layer alone, or on the pooled vector as
    well.
    """

    name: Literal["esim"]
    masks: Owner
    dropout_1: Literal["projection", "enhancement"]
    dropout_2: Literal["hidden", "pooled_and_hidden"]
    padding: Literal["masked", "zeros"]
    initialisation: Literal["common", "torch"]


@dataclass(frozen=True, config=STRICT)
class BowSpec:
    """The control without word order: mean vectors and the same head as BLM's."""

    name: Literal["bow"]
    hidden: Positive
    initialisation: Literal["common", "torch"]


ModelSpec = Annotated[BlmSpec | EsimSpec | BowSpec, Field(discriminator="name")]


@dataclass(frozen=True, config=STRICT)
class LayerSpec:
    """One recurrent layer: its cell, and its width per direction. What a pool calls the cell decides no result."""

    cell: CellText
    hidden: Positive


@dataclass(frozen=True, config=STRICT)
class TrainingSpec:
    """The hyperparameters of one training that belong to no layer's width.

    `dropout` has one rate per place (all models have two), `variational_dropout` one per recurrent layer. `grad_norm`
    is the largest norm of the whole gradient; `patience` counts epochs without a better dev metric.
    """

    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    loss: Loss
    weight_decay: Annotated[float, Field(ge=0)]
    grad_norm: Annotated[float, Field(gt=0)]
    dropout: tuple[Rate, ...]
    variational_dropout: tuple[Rate, ...]
    seed: int
    epochs: Positive
    patience: Positive


@dataclass(frozen=True, config=STRICT)
class Hyperparameters:
    """The hyperparameters as they are asked for, before the model and the task are known.

    `hidden`, `dropout` and `variational_dropout` may have one entry for all layers or places; `loss` "auto" is mse for
    regression and cross entropy for classification.
    """

    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    loss: Loss | Literal["auto"]
    weight_decay: Annotated[float, Field(ge=0)]
    grad_norm: Annotated[float, Field(gt=0)]
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)]
    dropout: Annotated[tuple[Rate, ...], Field(min_length=1)]
    variational_dropout: Annotated[tuple[Rate, ...], Field(min_length=1)]
    epochs: Positive
    patience: Positive


@dataclass(frozen=True, config=STRICT)
class RunSpec:
    """One training run: everything that decides its result, and nothing else."""

    kind: Literal["run"]
    data: str
    metric: Metric
    embedding: EmbeddingRef | FeaturesRef
    model: ModelSpec
    layers: tuple[LayerSpec, ...]
    training: TrainingSpec
    precision: Literal["fp32"]
    result_version: int


RUN = TypeAdapter(RunSpec)


def run_digest(spec: RunSpec) -> str:
    """The identity of a run."""
    return digest(RUN.dump_python(spec, mode="json"))


def cells_recorded(spec: RunSpec) -> tuple[dict[str, str], ...]:
    """What a record says of each layer's cell: its text, for a run knows no name of it, and its digest."""
    return tuple({"code": layer.cell, "digest": spelling.digest_of(layer.cell)} for layer in spec.layers)


def hyperparameters(training: TrainingSpec, widths: Sequence[int]) -> dict[str, Value]:
    """The hyperparameters of a training over layers of these widths, each named as in a space: `dropout_2`..."""
    named: dict[str, Any] = {**asdict(training), "hidden": tuple(widths)}
    values: dict[str, Value] = {}
    for name, value in named.items():
        values |= (
            {f"{name}_{n}": each for n, each in enumerate(value, 1)} if isinstance(value, tuple) else {name: value}
        )
    return values


ARCHITECTURE = "architecture"
"""The hyperparameter that chooses from a study's pool."""


def with_values(spec: RunSpec, values: Mapping[str, Value], pool: Pool | None = None) -> RunSpec:
    """`spec` with hyperparameters set by their names; `hidden_2`, `dropout_1` set one entry of a tuple.

    `architecture` puts the cell that `pool` calls so into its places. Raises KeyError for a name that no
    hyperparameter has, and for a cell that the pool does not have.
    """
    layers, training = list(spec.layers), RUN.dump_python(spec)["training"]
    for name, value in values.items():
        stem, _, place = name.rpartition("_")
        if name == ARCHITECTURE and pool is not None:
            cell = {each.name: each.cell for each in pool.cells}[str(value)]
            for number in pool.places:
                layers[number - 1] = LayerSpec(cell, layers[number - 1].hidden)
        elif place.isdigit() and stem == "hidden":
            layers[int(place) - 1] = LayerSpec(layers[int(place) - 1].cell, int(value))
        elif place.isdigit() and stem in {"dropout", "variational_dropout"}:
            rates = list(training[stem])
            rates[int(place) - 1] = value
            training[stem] = tuple(rates)
        elif name in training and not isinstance(training[name], tuple):
            training[name] = value
        else:
            raise KeyError(name)
    return replace(spec, layers=tuple(layers), training=TrainingSpec(**training))


# --- a search ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, config=STRICT)
class SearchSpec:
    """One search: everything that decides which cells it finds, and nothing else.

    The cells of `space` share weights in every recurrent layer of the model, `hidden` wide per direction; `training`
    is that of the shared weights, its epochs and patience those of the search. Patience counts epochs without a better
    mean score of `judged` freshly sampled cells on all of dev. An epoch trains the weights on `child_steps` batches, at
    most once each; None: on all.

    Under a strategy that proposes cells nothing is shared: `training` is that of each cell, alone.
    """

    kind: Literal["search"]
    data: str
    metric: Metric
    embedding: EmbeddingRef | FeaturesRef
    model: ModelSpec
    hidden: tuple[Positive, ...]
    training: TrainingSpec
    space: SpaceSpec
    strategy: StrategySpec
    child_steps: Positive | None
    judged: Positive
    found: FoundSpec
    precision: Literal["fp32"]
    result_version: int


SEARCH = TypeAdapter(SearchSpec)


def search_digest(spec: SearchSpec) -> str:
    """The identity of a search."""
    return digest(SEARCH.dump_python(spec, mode="json"))


def basis(spec: RunSpec | SearchSpec) -> str:
    """The identity of what scores must share to tell cells apart: data and metric, embedding, and the model's readings.

    The metric is a part of the data's digest.
    """
    parts = {"data": spec.data, "embedding": asdict(spec.embedding), "model": asdict(spec.model)}
    return digest(parts)


# --- a study ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, config=STRICT)
class Choice:
    """A hyperparameter that takes one of a few values."""

    kind: Literal["choice"]
    choices: Annotated[tuple[Value, ...], Field(min_length=1)]


@dataclass(frozen=True, config=STRICT)
class FloatRange:
    """A real hyperparameter between two bounds, both included, on a linear or logarithmic scale."""

    kind: Literal["float"]
    low: float
    high: float
    log: bool


@dataclass(frozen=True, config=STRICT)
class IntRange:
    """A whole hyperparameter between two bounds, both included."""

    kind: Literal["int"]
    low: int
    high: int
    log: bool


Domain = Annotated[Choice | FloatRange | IntRange, Field(discriminator="kind")]


CHOICE = "choice"
"""The hyperparameters `choice_1`, `choice_2`... are the code of a cell that was proposed."""


@dataclass(frozen=True, config=STRICT)
class Proposals:
    """Cells of a space that a strategy proposes, one for each trial, to stand in every recurrent layer."""

    space: SpaceSpec
    strategy: ProposerSpec
    seed: int


@dataclass(frozen=True, config=STRICT)
class StudySpec:
    """A study: a space of hyperparameters around one run, a sampler, and how many finished trials it wants.

    `space` is a sequence of (name, domain), in the order in which the sampler draws. `labels` (dataset, embedding,
    model, cell, layers, sweep) are for people and tags only. `trials`, `in_flight`, `retries` and `labels` are no part
    of the identity; `in_flight` is recorded. `pool` is None where every layer is an LSTM; of a pool of several cells
    the hyperparameter `architecture` chooses one.

    The first trials take the settings in `enqueued`, one each; the sampler draws what they leave open. With a
    `generation`, trials are asked for in groups of that many, each group when the one before has ended, so that what
    is drawn never depends on which worker was faster.

    With `proposals` the study is a search: their strategy, not the sampler, says which cell a trial has.
    """

    name: Name
    run: RunSpec
    pool: Pool | None
    space: tuple[tuple[str, Domain], ...]
    sampler: SamplerSpec
    trials: Positive
    in_flight: Positive
    retries: Annotated[int, Field(ge=0)]
    labels: dict[str, str]
    enqueued: tuple[dict[str, Value], ...] = ()
    generation: Positive | None = None
    pruner: PrunerSpec = NoPruner("none")
    proposals: Proposals | None = None


STUDY = TypeAdapter(StudySpec)


def study_identity(spec: StudySpec) -> dict[str, Any]:
    """What must be equal for a study to go on: a JSON value, compared part by part on resume."""
    whole = STUDY.dump_python(spec, mode="json")
    searched = [name for name, _ in spec.space]
    places: Sequence[int] = spec.pool.places if spec.pool is not None and ARCHITECTURE in searched else ()
    if spec.proposals is not None:
        places = range(1, len(spec.run.layers) + 1)
    identity = {
        "run": _without(whole["run"], searched, places),
        "space": {name: domain for name, domain in whole["space"] if name != ARCHITECTURE},  # the pool says it
        "order": searched,
        "sampler": whole["sampler"],
        **{part: whole[part] for part in ("enqueued", "generation") if whole[part]},
    }
    if not isinstance(spec.pruner, NoPruner):
        identity["pruner"] = whole["pruner"]
    if spec.proposals is not None:
        identity["proposals"] = whole["proposals"]
    if spec.pool is None:
        return identity
    cells = {each.name: spelling.digest_of(each.cell) for each in spec.pool.cells}
    return {**identity, "pool": {"places": list(spec.pool.places), "cells": cells}}


def _without(run: dict[str, Any], searched: Sequence[str], places: Sequence[int]) -> dict[str, Any]:
    """The run's JSON with None where the space decides, so that a default nobody uses changes no identity.

    In the layers at `places` it decides on the cell.
    """
    training = dict(run["training"])
    for stem in ("dropout", "variational_dropout"):
        training[stem] = [None if f"{stem}_{i}" in searched else rate for i, rate in enumerate(training[stem], 1)]
    training.update({name: None for name in searched if name in training})
    layers = [
        {
            "cell": None if i in places else layer["cell"],
            "hidden": None if f"hidden_{i}" in searched else layer["hidden"],
        }
        for i, layer in enumerate(run["layers"], 1)
    ]
    return {**run, "layers": layers, "training": training}
