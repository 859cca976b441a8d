"""Tiny corpora and runs for tests: made in memory, no file of anybody's."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from nasctl.cells.library import LIBRARY
from nasctl.cells.spelling import spelled
from nasctl.data import corpus as corpora
from nasctl.data.corpus import Corpus, Sentences, Split, corpus_digest
from nasctl.embeddings import features, vectors
from nasctl.embeddings.features import Features, Rows
from nasctl.embeddings.vectors import Vectors
from nasctl.specs import (
    RESULT_VERSION,
    BlmSpec,
    BowSpec,
    EmbeddingRef,
    EsimSpec,
    FeaturesRef,
    LayerSpec,
    RunSpec,
    SearchSpec,
    TrainingSpec,
)
from nasctl.strategies import (
    BaselineSpec,
    ControllerSpec,
    EnasStrategy,
    EntropySpec,
    FoundSpec,
    RandomStrategy,
    RewardSpec,
    SpaceSpec,
    StrategySpec,
)

WORDS = ("", *(f"w{i}" for i in range(1, 20)))


def sentences(rows: list[list[int]]) -> Sentences:
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Sentences(np.array([token for row in rows for token in row], np.int32), offsets)


def corpus(task: str = "regression", sizes: tuple[int, int, int] = (60, 30, 30), seed: int = 0) -> Corpus:
    """Pairs of random words; the label is the share of common words, which a model can learn."""
    draw = random.Random(seed)
    splits = {}
    for name, size in zip(("train", "dev", "test"), sizes, strict=True):
        first, second, gold = [], [], []
        for _ in range(size):
            a = [draw.randrange(1, len(WORDS)) for _ in range(draw.randrange(1, 9))]
            b = [word if draw.random() < 0.5 else draw.randrange(1, len(WORDS)) for word in a] + [1] * draw.randrange(3)
            first.append(a)
            second.append(b)
            gold.append(len(set(a) & set(b)) / len(set(a)))
        labels = np.array(gold, np.float32) if task == "regression" else (np.array(gold) > 0.5).astype(np.int64)
        ids = tuple(f"{name}-{i}" for i in range(size))
        splits[name] = Split(name, sentences(first), sentences(second), labels, ids)
    classes = () if task == "regression" else ("no", "yes")
    metric = "pearson" if task == "regression" else "accuracy"
    digest = corpus_digest(task, classes, metric, WORDS, splits)
    return Corpus(digest, task, classes, metric, WORDS, splits)


def word_vectors(cache: Path, width: int = 12) -> Vectors:
    matrix = np.random.default_rng(0).normal(size=(len(WORDS), width)).astype(np.float32)
    matrix[0] = 0.0
    return vectors.save(matrix, 0.0, "tiny", cache)


def contextual(cache: Path, data: Corpus, layers: int = 4, width: int = 6) -> Features:
    """Features for the pairs of `data` as an encoder might give them: other ones for a word at every place."""
    stream = np.random.default_rng(1)
    values = stream.normal(size=(1 + words_of(data), layers, width)).astype(np.float16)
    values[0] = 0
    return features_of(cache, data, values.shape, [values])


def words_of(data: Corpus) -> int:
    return sum(len(side.tokens) for split in data.splits.values() for side in (split.first, split.second))


def features_of(cache: Path, data: Corpus, shape: tuple[int, int, int], blocks: Iterable[Rows]) -> Features:
    """Features of every word at every place: `shape` is [1 + words_of(data), layers, width]."""
    sentences, row = {}, 1
    for name, split in data.splits.items():
        sides = []
        for side in (split.first, split.second):
            sides.append(Sentences(np.arange(row, row + len(side.tokens), dtype=np.int32), side.offsets))
            row += len(side.tokens)
        sentences[name] = (sides[0], sides[1])
    digest = f"tiny-{data.digest[:11]}"
    about = {"pairs": sum(map(len, data.splits.values())), "cut": 0, "unknown": 0.0}
    features.save(cache, digest, sentences, shape=shape, blocks=blocks, about=about)
    return features.load(cache, digest)


def features_spec(cache: Path, *arguments: str, mix: tuple[int, ...] = (1, 2, 3), **training: object) -> RunSpec:
    """As `run_spec`, over features in the place of word vectors."""
    spec = run_spec(cache, *arguments, **training)
    found = contextual(cache, corpora.load(cache, spec.data))
    return replace(spec, embedding=FeaturesRef(found.digest, mix))


def run_spec(
    cache: Path, model: str = "blm", task: str = "regression", cell: str = "lstm", **training: object
) -> RunSpec:
    """A run over the tiny corpus, its data written to `cache`; `cell`, by its name in the library, in every layer."""
    data = corpus(task)
    corpora.save(data, cache)
    specs = {
        "blm": (BlmSpec("blm", "sentence", "sequence", "masked", "common"), 1),
        "esim": (EsimSpec("esim", "sentence", "projection", "pooled_and_hidden", "masked", "common"), 2),
        "bow": (BowSpec("bow", 8, "common"), 0),
    }
    model_spec, layers = specs[model]
    values: dict[str, object] = {
        "batch_size": 8,
        "learning_rate": 0.01,
        "loss": "mse" if task == "regression" else "cross_entropy",
        "weight_decay": 0.01,
        "grad_norm": 5.0,
        "dropout": (0.25, 0.25),
        "variational_dropout": (0.25,) * layers,
        "seed": 0,
        "epochs": 3,
        "patience": 10,
    }
    return RunSpec(
        kind="run",
        data=data.digest,
        metric=data.metric,
        embedding=EmbeddingRef(word_vectors(cache).digest, trainable=False),
        model=model_spec,
        layers=tuple(LayerSpec(spelled(LIBRARY[cell].graph), 5 + i) for i in range(layers)),
        training=TrainingSpec(**{**values, **training}),
        precision="fp32",
        result_version=RESULT_VERSION,
    )


# --- searches ---------------------------------------------------------------------------------------------------------

CONTROLLER = ControllerSpec(
    hidden=10,
    reads="hidden",
    temperature=5.0,
    tanh_constant=2.5,
    initial=0.1,
    learning_rate=3.5e-4,
    grad_norm=None,
)

ENAS = EnasStrategy(
    name="enas",
    controller=CONTROLLER,
    reward=RewardSpec(pairs=16, batches="random", mode="eval"),
    baseline=BaselineSpec(decay=0.95, start="first", reset=False),
    entropy=EntropySpec(weight=1e-4, form="loss"),
    memory=None,
    steps=3,
    samples=2,
)
RANDOM_WS = RandomStrategy(name="random_ws", controller=CONTROLLER, candidates=6)


def search_spec(cache: Path, model: str = "blm", strategy: StrategySpec = ENAS, **training: object) -> SearchSpec:
    """A search of three nodes over a tiny corpus that is prepared in `cache`."""
    run = run_spec(cache, model, **training)
    return SearchSpec(
        kind="search",
        data=run.data,
        metric=run.metric,
        embedding=run.embedding,
        model=run.model,
        hidden=tuple(layer.hidden for layer in run.layers),
        training=run.training,
        space=SpaceSpec(name="enas", nodes=3),
        strategy=strategy,
        child_steps=None,
        judged=3,
        found=FoundSpec(count=4, distinct="code", max_draws=100, examined=5),
        precision="fp32",
        result_version=RESULT_VERSION,
    )
