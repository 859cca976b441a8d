"""What every model of the table must do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import features_spec, run_spec

from nasctl.compiler.layer import RecurrentLayer
from nasctl.data.corpus import Split
from nasctl.experiments.run import Workplace, build
from nasctl.models import MODELS
from nasctl.training.checkpoints import load_weights, save_weights
from nasctl.training.loop import LOSSES, labels, pair_batch, predict

CASES = [(model, task, "lstm") for model in MODELS for task in ("regression", "classification")]
CASES += [(model, "regression", "enas-24") for model, row in MODELS.items() if row.layers]


CASES = [(*case, "vectors") for case in CASES] + [(model, "regression", "lstm", "features") for model in MODELS]


@pytest.fixture(params=CASES, ids="-".join)
def built(request, tmp_path):
    model, task, cell, embedding = request.param
    make = run_spec if embedding == "vectors" else features_spec
    spec = make(tmp_path, model, task, cell)
    if cell == "lstm" and embedding == "features" and MODELS[model].layers:  # as BLM has them, and ESIM can
        spec = replace(spec, model=replace(spec.model, masks="pair"))
    workplace = Workplace(tmp_path, "cpu", 1)
    return spec, workplace, build(spec, workplace), workplace.data(spec)


def scores(model, split: Split, rows: list[int]) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(pair_batch(split, np.array(rows), "cpu"), None)


def test_one_score_or_one_logit_per_class(built):
    _, _, model, corpus = built
    assert scores(model, corpus.splits["dev"], [0, 1, 2]).shape == (3, len(corpus.classes) or 1)


def test_a_prediction_does_not_depend_on_the_batch(built):
    _, _, model, corpus = built
    dev = corpus.splits["dev"]
    together = scores(model, dev, list(range(len(dev))))
    alone = torch.cat([scores(model, dev, [row]) for row in range(len(dev))])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5 * float(together.abs().max().clamp(min=1)))
    order = list(reversed(range(len(dev))))
    torch.testing.assert_close(scores(model, dev, order).flip(0), together, rtol=0, atol=1e-5)


def test_its_recurrent_layers_are_called_as_its_row_says(built):
    spec, _, model, _ = built
    layers = [name for name, module in model.named_modules() if isinstance(module, RecurrentLayer)]
    assert layers == [f"body.{name}" for name in MODELS[spec.model.name].recurrent]


def test_every_parameter_is_trained(built):
    spec, _, model, corpus = built
    train = corpus.splits["train"]
    rows = np.arange(16)
    model.train()
    masks = torch.Generator().manual_seed(0)
    loss = LOSSES[spec.training.loss](model(pair_batch(train, rows, "cpu"), masks), labels(train, rows, "cpu"))
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_initial_weights_come_from_the_seed_alone(built, tmp_path):
    spec, workplace, model, _ = built
    torch.manual_seed(99)
    again = build(spec, workplace)
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


def test_saved_and_loaded_it_predicts_the_same(built, tmp_path):
    spec, workplace, model, corpus = built
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    path = tmp_path / "weights.safetensors"
    save_weights(path, model.state_dict(), {"digest": "x"})
    other = build(spec, workplace)
    other.load_state_dict(load_weights(path, "cpu")[0])
    one, two = (predict(m, corpus.splits["test"], corpus.task, "cpu") for m in (model, other))
    assert np.array_equal(one, two)


def test_frozen_vectors_are_no_parameter_and_trainable_ones_are(tmp_path):
    from dataclasses import replace

    spec, workplace = run_spec(tmp_path), Workplace(tmp_path, "cpu", 1)
    model = build(spec, workplace)
    assert "embed.matrix" not in dict(model.named_parameters())
    trainable = build(replace(spec, embedding=replace(spec.embedding, trainable=True)), workplace)
    assert "embed.matrix" in dict(trainable.named_parameters())


def test_swapping_the_sentences_of_blm_keeps_the_symmetric_half(tmp_path):
    """|u - v| and u * v do not know the order of a pair; [u; v] does."""
    spec = run_spec(tmp_path, "blm")
    workplace = Workplace(tmp_path, "cpu", 1)
    model, dev = build(spec, workplace), workplace.corpus(spec.data).splits["dev"]
    width = 2 * spec.layers[0].hidden
    with torch.no_grad():
        model.body.head.hidden.weight[:, : 2 * width] = 0
    swapped = Split(dev.name, dev.second, dev.first, dev.labels, dev.row_ids)
    torch.testing.assert_close(scores(model, dev, [0, 1, 2]), scores(model, swapped, [0, 1, 2]))


def test_the_control_sees_no_word_order(tmp_path):
    from tiny import sentences

    spec = run_spec(tmp_path, "bow")
    workplace = Workplace(tmp_path, "cpu", 1)
    model = build(spec, workplace)
    one, two = sentences([[1, 2, 3]]), sentences([[3, 1, 2]])
    splits = [Split("dev", side, one, np.zeros(1, np.float32), ("0",)) for side in (one, two)]
    torch.testing.assert_close(*(scores(model, split, [0]) for split in splits))
