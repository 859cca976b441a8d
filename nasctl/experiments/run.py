"""A run: spec in, record out. Pure but for the clock: equal specs give equal records on one machine.

`train` is a generator of epochs that returns the record and the best weights; `evaluate` reads weights and answers for
dev and test. Neither knows of studies, trials or stores.
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import nasctl
from nasctl.compiler.export.trained import CELLS
from nasctl.compiler.layer import RecurrentLayer
from nasctl.compiler.precision import fp32_throughout
from nasctl.data import corpus as corpora
from nasctl.data.corpus import Corpus
from nasctl.data.metrics import METRICS, is_constant, score
from nasctl.embeddings import features, vectors
from nasctl.embeddings.features import Features, features_path
from nasctl.embeddings.vectors import Vectors
from nasctl.errors import MachineError
from nasctl.experiments.costs import Clock
from nasctl.experiments.course import Course
from nasctl.experiments.resuming import Left, Progress, Resumption, above, below, origin_of
from nasctl.files import canonical_json
from nasctl.models import MODELS
from nasctl.models.mixing import FeatureLookup, Rows, fits, on_device
from nasctl.models.parts import PairBatch, WordLookup, initialise
from nasctl.spaces.sharing import SharedWeights
from nasctl.specs import FeaturesRef, Role, RunSpec, cells_recorded, run_digest
from nasctl.tracking.records import PRUNED, EpochRecord, RunRecord, RunState
from nasctl.training.checkpoints import load_weights, save_weights
from nasctl.training.loop import State, copied, fit, predict

__all__ = ["Evaluation", "Outcome", "Prediction", "Resumption", "Workplace", "evaluate", "save_weights", "train"]


MOST_WORKERS = 8
"""That share one GPU: as many as a study has trials in flight."""


class Workplace:
    """Where runs happen: a device, and the prepared data that this process has opened so far.

    On a GPU features are kept in its memory if there is room for `copies` of them: other processes may want theirs; and
    fp32 is fp32 there in the whole process.
    """

    def __init__(self, cache: Path, device: str, threads: int, copies: int = MOST_WORKERS) -> None:
        fp32_throughout()
        self.cache, self.device, self.threads, self._copies = cache, device, threads, copies
        self._corpora: dict[str, Corpus] = {}
        self._vectors: dict[str, Vectors] = {}
        self._features: dict[str, Features] = {}
        self._rows: dict[str, Rows | Tensor] = {}

    def warm(self, data: str, embedding: str) -> None:
        """Open the data set and the embedding of these digests."""
        self.corpus(data)
        if features_path(self.cache, embedding).exists():
            self.rows(embedding)
        else:
            self.vectors(embedding)

    def data(self, spec: RunSpec) -> Corpus:
        """The data set as the model of `spec` sees it: with numbers of words, or of rows of features."""
        words, embedding = self.corpus(spec.data), spec.embedding
        return self.features(embedding.digest).corpus(words) if isinstance(embedding, FeaturesRef) else words

    def embed(self, spec: RunSpec) -> WordLookup | FeatureLookup:
        """What makes vectors of the numbers in `data`."""
        embedding = spec.embedding
        if isinstance(embedding, FeaturesRef):
            return FeatureLookup(self.rows(embedding.digest), embedding.mix)
        matrix = torch.from_numpy(self.vectors(embedding.digest).matrix.copy())
        return WordLookup(matrix, trainable=embedding.trainable)

    def corpus(self, digest: str) -> Corpus:
        """The prepared corpus of this digest, opened once."""
        if digest not in self._corpora:
            self._corpora[digest] = corpora.load(self.cache, digest)
        return self._corpora[digest]

    def vectors(self, digest: str) -> Vectors:
        """The prepared word vectors of this digest, opened once."""
        if digest not in self._vectors:
            self._vectors[digest] = vectors.load(self.cache, digest)
        return self._vectors[digest]

    def features(self, digest: str) -> Features:
        """The cached features of this digest, opened once."""
        if digest not in self._features:
            self._features[digest] = features.load(self.cache, digest)
        return self._features[digest]

    def rows(self, digest: str) -> Rows | Tensor:
        """The rows of features of this digest: on the GPU if there is one and they fit, else mapped from their file."""
        if digest not in self._rows:
            rows = self.features(digest).rows
            resident = self.device != "cpu" and fits(rows, torch.cuda.mem_get_info()[0], self._copies)
            self._rows[digest] = on_device(rows, self.device) if resident else rows
        return self._rows[digest]


@dataclass(frozen=True)
class Outcome:
    """What a training leaves: its record, and the weights of its best epoch (empty if it diverged at once)."""

    record: RunRecord
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Prediction:
    """One pair's answer; `gold` and `prediction` are scores, or indices of classes."""

    split: str
    row_id: str
    gold: float
    prediction: float


@dataclass(frozen=True)
class Evaluation:
    """A record with dev and test metrics, and the predictions behind them."""

    record: RunRecord
    predictions: tuple[Prediction, ...]


class PairModel(nn.Module):
    """Embedding and body: a batch of pairs in, scores [B, outputs] out."""

    def __init__(self, embed: WordLookup | FeatureLookup, body: nn.Module) -> None:
        super().__init__()
        self.embed, self.body = embed, body

    def forward(self, batch: PairBatch, masks: torch.Generator | None) -> Tensor:
        """Scores [B, outputs]; `masks` is the stream of dropout masks, None for evaluation."""
        return self.body(self.embed(batch), batch, masks)  # type: ignore[no-any-return]


def build(spec: RunSpec, workplace: Workplace, shared: SharedWeights | None = None) -> PairModel:
    """The model of `spec` with its initial weights, on the workplace's device; with `shared`, all of these."""
    corpus, embed = workplace.corpus(spec.data), workplace.embed(spec)
    module, _, name = MODELS[spec.model.name].builder.partition(":")
    outputs = len(corpus.classes) if corpus.task == "classification" else 1
    held = {} if shared is None else {"shared": shared}  # a model without recurrent layers cannot be asked for any
    body = getattr(importlib.import_module(module), name)(
        spec.model, spec.layers, spec.training, embed.width, outputs, **held
    )
    mean_label = torch.tensor([float(corpus.splits["train"].labels.mean())]) if corpus.task == "regression" else None
    initialise(body, spec.training.seed, spec.model.initialisation, mean_label)
    return PairModel(embed, body).to(workplace.device)


def train(
    spec: RunSpec, workplace: Workplace, role: Role, resumption: Resumption | None = None
) -> Generator[EpochRecord, bool | None, Outcome]:
    """Train `spec` to its end, telling each epoch; the record holds dev metrics only.

    Who sends True to an epoch wants no more of them: the run is "pruned", unless that was the last one.

    With a `resumption` it goes on where an earlier attempt was left, and can be left itself: close the generator, or
    kill the process. On a CPU the outcome has the same bits then but for what it cost, seconds and memory, and for
    `counts`, which tells how often the run was `resumed`; the attempts' seconds add up, but for what was lost.
    """
    course = Course(workplace.device, resumption)
    corpus, metric = workplace.data(spec), METRICS[spec.metric]
    splits, model = corpus.splits, build(spec, workplace)
    origin = origin_of(run_digest(spec), spec.result_version, model, workplace.device, workplace.threads)
    state, weights = course.begin(origin, _taken_up) or (None, dict[str, Tensor]())
    diverged = pruned = False
    for epoch in fit(
        model,
        splits["train"],
        splits["dev"],
        spec.training,
        task=corpus.task,
        classes=len(corpus.classes),
        metric=spec.metric,
        device=workplace.device,
        state=state,
    ):
        diverged = epoch.diverged
        told = EpochRecord(epoch.number, None if diverged else epoch.loss, epoch.dev, course.lap("train"))
        course.tell(told, improved=epoch.improved, constant=epoch.constant)
        if epoch.improved:
            weights = copied(model.state_dict())
        with course.kept(None if diverged else partial(_left, epoch.state, weights)):
            pruned = bool((yield told))
        pruned = pruned and not diverged and epoch.number < spec.training.epochs
        if pruned:
            break
    course.lap("train")
    progress = course.progress
    best = progress.best
    end: RunState = "diverged" if diverged else "pruned" if pruned else "finished"
    record = RunRecord(
        digest=run_digest(spec),
        role=role,
        state=end,
        reason=_reason(end, len(progress.history)),
        metric=spec.metric,
        value=metric.worst if diverged or best is None else best.dev[spec.metric],
        dev={} if best is None else best.dev,
        test={},
        epochs=len(progress.history),
        best_epoch=progress.best_epoch,
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        cells=cells_recorded(spec),
        seconds=progress.seconds,
        memory=progress.memory,
        counts={"constant_predictions": progress.constant, "resumed": progress.resumed},
        device=course.memory.device_name,
        threads=workplace.threads,
        backend=backends(model, workplace.device),
        result_version=spec.result_version,
        versions={"python": platform.python_version(), "torch": torch.__version__, "nasctl": nasctl.__version__},
        history=progress.history,
    )
    return Outcome(record, {} if pruned else weights)


def _left(state_of: Callable[[], State], weights: Mapping[str, Tensor]) -> Left:
    """The training as it is now, and the weights of its best epoch."""
    state = state_of()
    tensors = above("weights", state.weights) | above("moments", state.moments)
    if state.best_epoch != state.epoch:
        tensors |= above("best", weights)
    return tensors, {"epoch": state.epoch, "best": state.best}


def _taken_up(left: Left, progress: Progress) -> tuple[State, dict[str, Tensor]]:
    tensors, about = left
    weights, moments = below("weights", tensors), below("moments", tensors)
    state = State(about["epoch"], about["best"], progress.best_epoch, weights, moments)
    return state, weights if state.best_epoch == state.epoch else below("best", tensors)


def _reason(state: RunState, epochs: int) -> str:
    """Why a run ended in this state after so many epochs; "" for the usual way."""
    return {"diverged": f"loss not finite in epoch {epochs}", "pruned": PRUNED.format(epochs)}.get(state, "")


def notes(record: RunRecord) -> dict[str, str]:
    """What stands in a run's file of weights beside them: whose they are, and the cell of each recurrent layer."""
    return {"digest": record.digest, CELLS: canonical_json(record.cells)}


def evaluate(spec: RunSpec, weights: Path, record: RunRecord, workplace: Workplace, role: Role) -> Evaluation:
    """The trained run `record` again, with test metrics and predictions for dev and test, from its checkpoint.

    The new record's seconds are those of this evaluation alone. Raises MachineError if the checkpoint is missing,
    damaged or of another run.
    """
    clock = Clock()
    corpus, model = workplace.data(spec), build(spec, workplace)
    stored, about = load_weights(weights, workplace.device)
    if about.get("digest") != record.digest:
        raise MachineError(f"the checkpoint {weights} belongs to run {about.get('digest')}, not {record.digest}")
    model.load_state_dict(stored)
    clock.lap("load")
    metrics: dict[str, dict[str, float]] = {}
    predictions: list[Prediction] = []
    counts = {"classes": len(corpus.classes)} if corpus.classes else {}
    constant = record.counts.get("constant_predictions", 0)
    for name in ("dev", "test"):
        split = corpus.splits.get(name)
        if split is None:
            continue
        predicted = predict(model, split, corpus.task, workplace.device)
        metrics[name] = score(corpus.task, split.labels, predicted, len(corpus.classes))
        constant += is_constant(predicted)
        counts[f"{name}_rows"] = len(predicted)
        predictions += [
            Prediction(name, row, float(gold), float(answer))
            for row, gold, answer in zip(split.row_ids, split.labels, predicted, strict=True)
        ]
    clock.lap("evaluate")
    evaluated = replace(
        record,
        role=role,
        dev=metrics["dev"],
        test=metrics.get("test", {}),
        seconds=clock.seconds,
        counts={**record.counts, **counts, "constant_predictions": constant},
    )
    return Evaluation(evaluated, tuple(predictions))


def backends(model: nn.Module, device: str) -> str:
    """What runs the recurrent layers on a device, e.g. "planned+torch" for a cell beside an LSTM."""
    layers = (layer for layer in model.modules() if isinstance(layer, RecurrentLayer))
    return "+".join(dict.fromkeys(layer.served_by(torch.device(device)) for layer in layers)) or "torch"
