"""What it costs that each batch has another cell: docs/benchmarks.md, "Shared weights"; `make bench`."""

import itertools
import statistics
import time
from dataclasses import replace

import pytest
import torch
from tiny import search_spec

from nasctl.cells.spelling import spelled
from nasctl.config.composition import compose
from nasctl.data import datasets
from nasctl.embeddings import static
from nasctl.experiments.run import Workplace, build
from nasctl.experiments.search import alone
from nasctl.rng import stream
from nasctl.search.supernet import Supernet
from nasctl.spaces.base import pick
from nasctl.spaces.enas import ACTIVATIONS, EnasSpace
from nasctl.spaces.sharing import shared_weights
from nasctl.specs import EmbeddingRef
from nasctl.training.adam import Adam, grouped
from nasctl.training.loop import descend

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

ROUNDS = 7
PARENTS = ("0", "0", "1", "1", "2")
"""Of every cell alike, so that none is deeper than another: the mean depth of the space."""


def test_an_epoch_of_shared_weights_against_one_of_a_cell_alone(tmp_path):
    torch.set_num_threads(1)
    settings, space, draw = compose(["dataset=demo"]), EnasSpace(6), stream(0, "bench")
    corpus = datasets.prepare(settings.dataset, None, tmp_path)
    vectors = static.prepare(settings.embedding, corpus, None, tmp_path)
    spec = search_spec(tmp_path, batch_size=32, epochs=1)
    spec = replace(spec, data=corpus.digest, embedding=EmbeddingRef(vectors.digest, trainable=False), hidden=(64,))

    def code():
        first, *others = (pick(draw, ACTIVATIONS) for _ in range(6))
        return (first, *itertools.chain.from_iterable(zip(PARENTS, others, strict=True)))

    place, train = Workplace(tmp_path, "cpu", 1), corpus.splits["train"]
    own = build(alone(spec, spelled(space.decode(code()))), place)
    net = Supernet(build(alone(spec, "lstm"), place, shared_weights(space)), space)
    decay, rate = spec.training.weight_decay, spec.training.learning_rate
    optimisers = {name: Adam(grouped(model, decay), rate) for name, model in (("alone", own), ("shared", net.model))}
    took = {"alone": [], "shared": []}
    for number in range(1, ROUNDS + 2):
        models = {"alone": itertools.repeat(own), "shared": (net.take(code()) for _ in itertools.count())}
        for name, seconds in took.items():
            masks, began = torch.Generator().manual_seed(number), time.process_time()
            descend(models[name], train, spec.training, number, optimisers[name], masks=masks, device="cpu")
            seconds.append(time.process_time() - began)
    each = {name: statistics.median(seconds[1:]) for name, seconds in took.items()}
    ratio = each["shared"] / each["alone"]
    print(f"an epoch of {len(train)} pairs: alone {each['alone']:.2f} s, shared {each['shared']:.2f} s: {ratio:.2f} x")
    assert ratio <= 1.3
