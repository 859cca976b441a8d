"""Cells that share weights compute what they would compute alone, and touch nothing that is not theirs."""

import math
from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest
import torch
from tiny import corpus, search_spec
from torch import nn

from nasctl.cells.library import lstm
from nasctl.cells.spelling import spelled
from nasctl.compiler.layer import RecurrentLayer
from nasctl.data.metrics import f1, pearson
from nasctl.errors import UsageError
from nasctl.experiments.alone import alone
from nasctl.experiments.run import Workplace, build
from nasctl.rng import stream
from nasctl.search.supernet import Judge, Supernet
from nasctl.spaces.base import sample
from nasctl.spaces.enas import EnasSpace
from nasctl.spaces.sharing import shared_weights
from nasctl.training.adam import Adam, grouped
from nasctl.training.loop import descend, predict

SPACE = EnasSpace(6)


def supernet(spec, folder):
    first = alone(spec, "lstm")  # which cell stands there at first is nothing to the weights
    return Supernet(build(first, Workplace(folder, "cpu", 1), shared_weights(SPACE)), SPACE)


def codes(count):
    draw = stream(0, "test")
    return [sample(SPACE, draw) for _ in range(count)]


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("code", codes(6))
def test_a_cell_upon_shared_weights_is_the_cell_alone(code, bidirectional):
    """Outputs, and the gradients of everything that it uses, in float64; the rest has none."""
    cell, draw = SPACE.decode(code), torch.Generator().manual_seed(1)
    sides = {"bidirectional": bidirectional}
    shared = RecurrentLayer(cell, 4, 5, shared=shared_weights(SPACE), **sides).double()
    own = RecurrentLayer(cell, 4, 5, **sides).double()
    with torch.no_grad():
        for parameter in shared.parameters():
            parameter.normal_(generator=draw)
        own.load_state_dict({name: shared.state_dict()[name] for name in own.state_dict()})
    x, lengths = torch.randn(7, 3, 4, generator=draw, dtype=torch.float64), torch.tensor([7, 2, 5])
    above = torch.randn(7, 3, own.output_width, generator=draw, dtype=torch.float64)
    found, wanted = shared(x, lengths), own(x, lengths)
    assert torch.equal(found, wanted)
    (found * above).sum().backward()
    (wanted * above).sum().backward()
    gradients = {name: parameter.grad for name, parameter in own.named_parameters()}
    for name, parameter in shared.named_parameters():
        if name in gradients:
            assert (parameter.grad - gradients[name]).abs().max() <= 1e-12
        else:
            assert parameter.grad is None


@pytest.mark.parametrize("model", ["blm", "esim"])
def test_training_moves_what_its_cells_use_and_nothing_else(tmp_path, model):
    """Not even weight decay, nor the momentum of earlier steps."""
    spec = search_spec(tmp_path, model, weight_decay=0.5)
    net, train = supernet(spec, tmp_path), Workplace(tmp_path, "cpu", 1).corpus(spec.data).splits["train"]
    optimiser = Adam(grouped(net.model, 0.5), spec.training.learning_rate)

    def moved(code):
        before = {name: parameter.detach().clone() for name, parameter in net.model.named_parameters()}
        masks = torch.Generator().manual_seed(0)
        descend(repeat(net.take(code)), train, spec.training, 1, optimiser, masks=masks, device="cpu")
        after = net.model.named_parameters()
        return {name.rpartition(".")[2] for name, now in after if not torch.equal(now, before[name])}

    everything = {*shared_weights(SPACE).weights, *shared_weights(SPACE).biases}
    for code in codes(3):
        cell = SPACE.decode(code)
        assert moved(code) & everything == {*cell.weights, *cell.biases}


def test_the_supernet_has_the_papers_number_of_weights():
    layer = RecurrentLayer(SPACE.decode(codes(1)[0]), 300, 300, bidirectional=False, shared=shared_weights(SPACE))
    assert sum(parameter.numel() for parameter in layer.parameters()) == 3_060_600


def test_a_model_holds_the_weights_of_each_of_its_layers(tmp_path):
    spec = search_spec(tmp_path, "esim")
    net = supernet(spec, tmp_path)
    layers = [module for module in net.model.modules() if isinstance(module, RecurrentLayer)]
    inputs = (12, spec.hidden[1])
    for layer, width, hidden in zip(layers, inputs, spec.hidden, strict=True):
        count = sum(parameter.numel() for parameter in layer.parameters())
        assert count == 2 * shared_weights(SPACE).parameters(width, hidden)
    (code,) = codes(1)
    net.take(code)
    assert layers[0].cell == layers[1].cell == SPACE.decode(code)


def test_initial_weights_do_not_depend_on_the_first_cell(tmp_path):
    spec, workplace = search_spec(tmp_path), Workplace(tmp_path, "cpu", 1)
    one, other = (
        build(alone(spec, spelled(cell)), workplace, shared_weights(SPACE)).state_dict()
        for cell in (lstm(), SPACE.decode(codes(1)[0]))
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_cell_of_another_space_is_refused():
    layer = RecurrentLayer(SPACE.decode(codes(1)[0]), 3, 4, shared=shared_weights(SPACE))
    with pytest.raises(UsageError, match="which the layer does not hold"):
        layer.take(lstm())


def test_a_cell_is_judged_as_a_model_is(tmp_path):
    spec = search_spec(tmp_path)
    net, corpus = supernet(spec, tmp_path), Workplace(tmp_path, "cpu", 1).corpus(spec.data)
    dev = corpus.splits["dev"]
    judge = Judge(net, dev, corpus.task, spec.metric, "cpu", classes=0)
    for code in codes(3):
        predicted = predict(net.take(code), dev, corpus.task, "cpu")
        assert judge.score(code) == pearson(dev.labels, predicted)
        rows = np.array([4, 2, 9, 11])
        assert judge.reward(code, rows, None) == pytest.approx(pearson(dev.labels[rows], predicted[rows]), abs=1e-4)
        with_dropout = judge.reward(code, rows, torch.Generator().manual_seed(3))
        assert with_dropout != judge.reward(code, rows, None)


def test_cells_are_judged_by_the_classes_of_the_data_set():
    class Yes(nn.Module):
        """Always says the second of three classes; stands for a supernet with any cell."""

        def take(self, _code):
            return self

        def forward(self, batch, _masks):
            return torch.tensor([0.0, 1.0, 0.0]).expand(len(batch.lengths) // 2, 3)

    dev, rows = corpus("classification").splits["dev"], np.arange(4)  # none of the third class
    judge = Judge(Yes(), dev, "classification", "f1", "cpu", classes=3)
    said = np.ones(len(dev), int)
    assert judge.score(()) == f1(dev.labels, said, 3) < f1(dev.labels, said, 2)
    assert judge.reward((), rows, None) == f1(dev.labels[rows], said[rows], 3) < f1(dev.labels[rows], said[rows], 2)


def test_a_prediction_that_is_not_finite_has_no_score_and_the_worst_reward(tmp_path):
    spec = search_spec(tmp_path)
    net, corpus = supernet(spec, tmp_path), Workplace(tmp_path, "cpu", 1).corpus(spec.data)
    with torch.no_grad():
        net.model.get_parameter("body.head.output.bias").fill_(torch.inf)
    judge = Judge(net, corpus.splits["dev"], corpus.task, spec.metric, "cpu", classes=0)
    assert math.isnan(judge.score(codes(1)[0]))
    assert judge.reward(codes(1)[0], np.arange(5), None) == -1.0


def test_seeds_move_the_shared_weights(tmp_path):
    spec = search_spec(tmp_path)
    other = replace(spec, training=replace(spec.training, seed=1))
    one, two = (supernet(each, tmp_path).model.state_dict() for each in (spec, other))
    assert any(not torch.equal(one[name], two[name]) for name in one)
