"""One training: a generator of epochs with early stopping, and the prediction pass.

Everything random comes from the run's seed by name (data order, dropout masks), so that on a CPU the same spec gives
the same bits, whatever ran before it in the process. The streams are keyed by epoch, so what a training is between two
epochs can be said in one value, `State`, from which `fit` goes on as if it had never stopped.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasctl.compiler.streams import Streams
from nasctl.data.batches import evaluation_batches, training_batches
from nasctl.data.corpus import Split
from nasctl.data.metrics import METRICS, is_constant, score
from nasctl.models.parts import PairBatch
from nasctl.specs import Loss, Metric, Task, TrainingSpec
from nasctl.training.adam import Adam, grouped

Array = np.ndarray[Any, np.dtype[Any]]

EVALUATION_BATCH = 256

LOSSES: Mapping[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda scores, gold: nn.functional.mse_loss(scores[:, 0], gold),
    "mae": lambda scores, gold: nn.functional.l1_loss(scores[:, 0], gold),
    "cross_entropy": nn.functional.cross_entropy,
}
"""Loss of scores [B, outputs] against labels [B], a mean over the batch."""


@dataclass(frozen=True)
class State:
    """A training at the end of an epoch; tensors are copies, on the CPU.

    `best` is the best dev metric so far, its sign such that higher is better; `moments` are the optimiser's, as
    `Adam.moments` tells them. What is drawn depends on the seed and the epoch alone, so no random state is in it.
    """

    epoch: int
    best: float
    best_epoch: int
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: mean training loss, dev metrics, and whether the optimised one is the best so far.

    `diverged`: a loss or a prediction was not finite; it is the last epoch then. `state` copies the training as it is
    now; call it before the next epoch begins, and not after one that diverged.
    """

    number: int
    loss: float
    dev: dict[str, float]
    constant: bool
    improved: bool
    diverged: bool
    state: Callable[[], State] = field(repr=False, compare=False)


def fit(
    model: nn.Module,
    train: Split,
    dev: Split,
    spec: TrainingSpec,
    *,
    task: Task,
    classes: int,
    metric: Metric,
    device: str,
    state: State | None = None,
) -> Iterator[Epoch]:
    """Train `model` in place; one Epoch after each pass over `train`, until `spec.epochs` or `spec.patience` ends it.

    `classes` is how many the data set has, 0 for regression. Whoever wants the best weights copies them when an epoch
    says `improved`. Equal dev scores: the earlier epoch. With a `state` it goes on after that epoch, on a CPU with the
    same bits.
    """
    optimiser = Adam(grouped(model, spec.weight_decay), spec.learning_rate)
    done, best, best_epoch = 0, -math.inf, 0
    if state is not None:
        done, best, best_epoch = state.epoch, state.best, state.best_epoch
        model.load_state_dict(state.weights)
        optimiser.restore(state.moments)
    streams = Streams(spec.seed, device, ("dropout",))
    sign = METRICS[metric].sign
    for number in range(done + 1, spec.epochs + 1):
        if number - 1 - best_epoch >= spec.patience:
            return
        mean_loss = descend(
            itertools.repeat(model), train, spec, number, optimiser, masks=streams.of(number), device=device
        )
        predicted = predict(model, dev, task, device) if math.isfinite(mean_loss) else None
        diverged = predicted is None or not np.isfinite(predicted).all()
        scores = {} if predicted is None or diverged else score(task, dev.labels, predicted, classes)
        improved = not diverged and sign * scores[metric] > best
        if improved:
            best, best_epoch = sign * scores[metric], number
        yield Epoch(
            number,
            mean_loss,
            scores,
            constant=predicted is not None and not diverged and is_constant(predicted),
            improved=improved,
            diverged=diverged,
            state=functools.partial(state_of, model, optimiser, number, best, best_epoch),
        )
        if diverged:
            return


def descend(
    models: Iterable[nn.Module],
    split: Split,
    spec: TrainingSpec,
    epoch: int,
    optimiser: Adam,
    *,
    masks: torch.Generator,
    device: str,
) -> float:
    """One epoch: a step of the optimiser per batch, upon the next of `models` until these end; a pair's mean loss.

    The parameters that a batch's model does not use keep no gradient, so nothing moves them: neither decay nor
    momentum.
    """
    loss_of = LOSSES[spec.loss]
    total, pairs = torch.zeros((), device=device), 0
    for rows, model in zip(training_batches(split, spec.batch_size, spec.seed, epoch), models, strict=False):
        model.train()
        loss = loss_of(model(pair_batch(split, rows, device), masks), labels(split, rows, device))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), spec.grad_norm)
        optimiser.step()
        total += loss.detach() * len(rows)
        pairs += len(rows)
        del loss  # with it go this batch's values, before those of the next are computed
    return float(total) / pairs


def state_of(model: nn.Module, optimiser: Adam, epoch: int, best: float, best_epoch: int) -> State:
    """The training as it is now, at the end of `epoch`."""
    return State(epoch, best, best_epoch, copied(model.state_dict()), copied(optimiser.moments()))


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU that no further training moves."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def predict(model: nn.Module, split: Split, task: Task, device: str) -> Array:
    """Predictions for every pair of `split`, in its order: scores (float64) or class indices; all NaN if one is not
    finite.
    """
    model.eval()
    predicted = np.zeros(len(split), np.float64 if task == "regression" else np.int64)
    for rows in evaluation_batches(split, EVALUATION_BATCH):
        found = answers(model, split, rows, task=task, device=device)
        if not np.isfinite(found).all():
            return np.full(len(split), np.nan)
        predicted[rows] = found
    return predicted


@torch.no_grad()
def answers(
    model: nn.Module, split: Split, rows: Array, *, task: Task, device: str, masks: torch.Generator | None = None
) -> Array:
    """Predictions for the pairs `rows`; all NaN if one is not finite. With `masks` dropout is on."""
    scores = model(pair_batch(split, rows, device), masks)
    if not bool(torch.isfinite(scores).all()):
        return np.full(len(rows), np.nan)
    found = scores[:, 0].double() if task == "regression" else scores.argmax(-1)
    return np.asarray(found.cpu().numpy())


def pair_batch(split: Split, rows: Array, device: str) -> PairBatch:
    """The pairs `rows` of `split`, both sentences stacked and padded to the longest."""
    first, first_lengths = split.first.padded(rows)
    second, second_lengths = split.second.padded(rows)
    steps = max(len(first), len(second), 1)
    tokens = np.zeros((steps, 2 * len(rows)), np.int64)
    tokens[: len(first), : len(rows)] = first
    tokens[: len(second), len(rows) :] = second
    lengths = torch.from_numpy(np.concatenate([first_lengths, second_lengths]))
    return PairBatch(torch.from_numpy(tokens).to(device), lengths)


def labels(split: Split, rows: Array, device: str) -> Tensor:
    """The labels of `rows`: float32 scores or int64 classes, [B]."""
    return torch.from_numpy(np.ascontiguousarray(split.labels[rows])).to(device)
