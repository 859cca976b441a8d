"""From what a user names to what a run is: sources become digests, `auto` a value, one entry one per layer.

Here data are tokenised and vectors are read, once, in the process that was started by the user; every mistake that can
be known before a run ends here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar

from nasctl.data import datasets
from nasctl.data.corpus import Corpus
from nasctl.data.metrics import LOSSES
from nasctl.embeddings import building, static
from nasctl.embeddings.features import Features
from nasctl.embeddings.vectors import Vectors
from nasctl.errors import UsageError
from nasctl.experiments.pools import Cells
from nasctl.models import MODELS
from nasctl.sources import ContextualSpec, DatasetSpec, EmbeddingSpec, StaticSpec
from nasctl.specs import (
    RESULT_VERSION,
    EmbeddingRef,
    FeaturesRef,
    Hyperparameters,
    LayerSpec,
    Loss,
    ModelSpec,
    RunSpec,
    Task,
    TrainingSpec,
    basis,
)

LOG = logging.getLogger(__name__)

DEFAULT_LOSS: dict[Task, Loss] = {"regression": "mse", "classification": "cross_entropy"}

T = TypeVar("T")


@dataclass(frozen=True)
class Resolved:
    """A run ready to be handed out, the data behind it, and words for people: labels become tags.

    `own` says that the pairs are a user's own table.
    """

    run: RunSpec
    corpus: Corpus
    embedded: Vectors | Features
    labels: dict[str, str]
    own: bool


def resolve(
    *,
    dataset: DatasetSpec,
    embedding: EmbeddingSpec,
    model: ModelSpec,
    cells: Cells,
    asked: Hyperparameters,
    seed: int,
    data_root: Path | None,
    cache: Path,
) -> Resolved:
    """Prepare data and vectors or features, and name them by their content. Of a pool the run has the first cell.

    Raises UsageError where the parts do not fit together, and whatever reading the files raises.
    """
    _check_source(embedding, data_root)
    corpus = datasets.prepare(dataset, data_root, cache)
    hidden, training = _trained(asked, model, corpus.task, dataset.name, seed)
    reference, embedded, origin = embed(embedding, dataset, corpus, data_root, cache)
    datasets.tell_empty(dataset.name, embedded.corpus(corpus) if isinstance(embedded, Features) else corpus)
    run = RunSpec(
        kind="run",
        data=corpus.digest,
        metric=corpus.metric,
        embedding=reference,
        model=model,
        layers=tuple(LayerSpec(cell, width) for cell, width in zip(cells.spelled, hidden, strict=True)),
        training=training,
        precision="fp32",
        result_version=RESULT_VERSION,
    )
    if cells.source == "searched" and cells.labels["found_on"] != run.data:
        raise UsageError(
            f"{cells.labels['found_by']} searched on other data, or by another metric, than {dataset.name} has now",
            "nasctl search search.name=OTHER searches on these; then cell.pool=OTHER",
        )
    labels = {
        "dataset": dataset.name,
        "embedding": embedding.name,
        **origin,
        "model": model.name,
        "cell": cells.source,
        "layers": cells.layers,
        "letters": cells.letters,
        **cells.labels,
        "basis": basis(run),
    }
    if cells.pool is not None:
        labels["pool"] = cells.digest
    return Resolved(run, corpus, embedded, labels, datasets.DATASETS[dataset.source].own)


@dataclass(frozen=True)
class Outline:
    """What is known of a run before anything is prepared: how many pairs each split has, what their labels are for."""

    pairs: Mapping[str, int]
    task: Task


def outline(
    *,
    dataset: DatasetSpec,
    embedding: EmbeddingSpec,
    model: ModelSpec,
    asked: Hyperparameters,
    seed: int,
    data_root: Path | None,
) -> Outline:
    """What `resolve` would prepare, read but not tokenised; nothing is written.

    Raises what `resolve` raises, but for what only tokens, vectors or features show.
    """
    _check_source(embedding, data_root)
    parts = datasets.read(dataset, data_root)
    task = datasets.labelled(dataset, parts).task
    _trained(asked, model, task, dataset.name, seed)
    return Outline({name: len(part.pairs) for name, part in parts.items()}, task)


def _check_source(embedding: EmbeddingSpec, data_root: Path | None) -> None:
    """Raises UsageError if the file of word vectors is not there. Of an encoder all is known when it is loaded."""
    if isinstance(embedding, StaticSpec):
        static.source_file(embedding, data_root)


def _trained(
    asked: Hyperparameters, model: ModelSpec, task: Task, dataset: str, seed: int
) -> tuple[tuple[int, ...], TrainingSpec]:
    """The widths of the model's layers, and how it is trained. Raises UsageError for what fits not model or task."""
    row = MODELS[model.name]
    hidden = one_each("training.hidden", asked.hidden, row.layers)
    training = TrainingSpec(
        **{field.name: getattr(asked, field.name) for field in fields(asked) if field.name in _PLAIN},
        loss=fitting_loss(asked.loss, task, dataset),
        dropout=one_each("training.dropout", asked.dropout, row.places),
        variational_dropout=one_each("training.variational_dropout", asked.variational_dropout, row.layers),
        seed=seed,
    )
    return hidden, training


def embed(
    asked: EmbeddingSpec, dataset: DatasetSpec, corpus: Corpus, data_root: Path | None, cache: Path
) -> tuple[EmbeddingRef | FeaturesRef, Vectors | Features, dict[str, str]]:
    """What makes vectors of the data set's tokens: what a run calls it, itself, and where it comes from, as labels."""
    if isinstance(asked, ContextualSpec):
        parts = datasets.read(dataset, data_root)
        LOG.info("sentences are not cut to dataset.max_tokens: an encoder reads dataset.max_pieces of a pair")
        features = building.prepare(asked, parts, dataset.max_pieces, cache)
        reference = FeaturesRef(features.digest, building.mixed(asked, features.layers))
        return (
            reference,
            features,
            {"vectors": ", ".join([features.source, *unusual(asked)]), "encoder": features.source},
        )
    vectors = static.prepare(asked, corpus, data_root, cache)
    labels = {"vectors": vectors.source, "oov": f"{vectors.oov_share:.4f}"}
    return EmbeddingRef(vectors.digest, asked.trainable), vectors, labels


def unusual(asked: ContextualSpec) -> Iterator[str]:
    """What is read of an encoder in another way than conf/ has it, in a few words each."""
    if asked.mix != "encoder":
        yield "all layers" if isinstance(asked.mix, str) else f"layers {' '.join(map(str, asked.mix))}"
    if asked.encode != "joint":
        yield asked.encode
    if asked.special_tokens != "dropped":
        yield "with special tokens"


_PLAIN = frozenset({"batch_size", "learning_rate", "weight_decay", "grad_norm", "epochs", "patience"})


def one_each(name: str, values: Sequence[T], count: int) -> tuple[T, ...]:
    """`values` as they are, or the single one `count` times. Raises UsageError for any other number."""
    if len(values) not in {1, count} and count > 0:
        raise UsageError(f"{name} has {len(values)} values, the model {count}", f"give {count} values, or one for all")
    return tuple(values) if len(values) == count else (values[0],) * count


def fitting_loss(asked: Loss | Literal["auto"], task: Task, dataset: str) -> Loss:
    """The loss, or the task's default for "auto". Raises UsageError for one that the task cannot use."""
    if asked == "auto":
        return DEFAULT_LOSS[task]
    fitting = [loss for loss, suited in LOSSES.items() if suited == task]
    if asked in fitting:
        return asked
    raise UsageError(f"training.loss={asked} does not fit {dataset} ({task})", f"one of {', '.join(fitting)}")
