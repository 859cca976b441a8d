import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import corpus, run_spec
from torch import nn

from nasctl.experiments.run import Workplace, build
from nasctl.training.loop import fit, pair_batch, predict


@pytest.fixture
def blm(tmp_path):
    spec = run_spec(tmp_path)
    workplace = Workplace(tmp_path, "cpu", 1)
    return spec, build(spec, workplace), workplace.corpus(spec.data)


def epochs_of(spec, model, data, **changes):
    training = replace(spec.training, **changes)
    splits, more = data.splits, {"task": data.task, "classes": len(data.classes), "metric": data.metric}
    return list(fit(model, splits["train"], splits["dev"], training, **more, device="cpu"))


def test_it_learns(tmp_path):
    spec = run_spec(tmp_path, dropout=(0.0, 0.0), variational_dropout=(0.0,), epochs=40, patience=40)
    workplace = Workplace(tmp_path, "cpu", 1)
    told = epochs_of(spec, build(spec, workplace), workplace.corpus(spec.data))
    assert told[-1].loss < 0.1 * told[0].loss


def test_early_stopping_counts_epochs_without_a_better_dev_metric(blm):
    spec, model, data = blm
    told = epochs_of(spec, model, data, epochs=60, patience=2, learning_rate=1e-5)
    best = max(epoch.number for epoch in told if epoch.improved)
    assert told[-1].number in {best + 2, 60}
    scores = [epoch.dev["pearson"] for epoch in told]
    assert scores[best - 1] == max(scores)
    assert [epoch.improved for epoch in told] == [s > max(scores[:i], default=-2) for i, s in enumerate(scores)]


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(blm):
    spec, model, data = blm
    with torch.no_grad():
        model.body.head.output.bias.fill_(math.inf)
    (epoch,) = epochs_of(spec, model, data)
    assert epoch.diverged
    assert not epoch.improved
    assert epoch.dev == {}


class ConstantModel(nn.Module):
    """Answers one learned number, whatever it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.zeros(1, 1))

    def forward(self, batch, masks):
        return self.answer.expand(len(batch.lengths) // 2, 1)


class Kept:
    """What a batch's graph keeps for its gradients."""


class Keep(torch.autograd.Function):
    """Passes values on, and keeps something."""

    @staticmethod
    def forward(ctx, values, kept):
        ctx.kept = kept
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class WatchedModel(ConstantModel):
    """Notes at each batch whether the graph of the last one is still there."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.held = weakref.ref(Kept()), []

    def forward(self, batch, masks):
        self.held.append(self.last() is not None)
        kept = Kept()
        self.last = weakref.ref(kept)
        return Keep.apply(super().forward(batch, masks), kept)


def test_a_batch_is_let_go_before_the_next_is_computed(tmp_path):
    model = WatchedModel()
    epochs_of(run_spec(tmp_path), model, corpus())
    assert len(model.held) > 3
    assert not any(model.held)


def test_constant_predictions_have_no_correlation_and_are_told(tmp_path):
    data = corpus()
    told = epochs_of(run_spec(tmp_path), ConstantModel(), data)
    assert all(epoch.constant and epoch.dev["pearson"] == 0.0 for epoch in told)


def test_predictions_come_in_the_order_of_the_split(blm):
    _, model, data = blm
    dev = data.splits["dev"]
    predicted = predict(model, dev, "regression", "cpu")
    with torch.no_grad():
        one_by_one = [model(pair_batch(dev, np.array([row]), "cpu"), None).item() for row in range(len(dev))]
    np.testing.assert_allclose(predicted, one_by_one, atol=1e-5)


def test_both_sentences_are_stacked_and_padded_to_the_longest():
    data = corpus()
    split = data.splits["train"]
    rows = np.array([3, 0, 7])
    batch = pair_batch(split, rows, "cpu")
    for column, (side, row) in enumerate([(s, r) for s in (split.first, split.second) for r in rows]):
        expected = side.tokens[side.offsets[row] : side.offsets[row + 1]]
        assert batch.lengths[column] == len(expected)
        assert batch.tokens[: len(expected), column].tolist() == expected.tolist()
        assert (batch.tokens[len(expected) :, column] == 0).all()
    assert batch.real.sum(0).tolist() == batch.lengths.tolist()


def test_a_state_goes_on_as_if_the_training_had_never_stopped_and_is_not_moved_by_it(tmp_path):
    spec = run_spec(tmp_path)
    workplace = Workplace(tmp_path, "cpu", 1)
    data = workplace.corpus(spec.data)
    splits, more = data.splits, {"task": data.task, "classes": 0, "metric": data.metric, "device": "cpu"}
    whole = fit(build(spec, workplace), splits["train"], splits["dev"], spec.training, **more)
    state = next(whole).state()
    before = [tensor.clone() for tensor in (*state.weights.values(), *state.moments.values())]
    for _ in range(2):
        rest = fit(build(spec, workplace), splits["train"], splits["dev"], spec.training, **more, state=state)
        told = [(epoch.number, epoch.loss, epoch.dev) for epoch in rest]
        assert [number for number, *_ in told] == [2, 3]
        after = (*state.weights.values(), *state.moments.values())
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert told == [(epoch.number, epoch.loss, epoch.dev) for epoch in whole]
