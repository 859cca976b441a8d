"""What the feature cache saves: docs/benchmarks.md. Random weights will do: their numbers take as long as learned ones.

NASCTL_BENCH_PAIRS=64 makes it shorter.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from encoders import part, spec, tiny_encoder
from tiny import corpus, features_of, run_spec, words_of

from nasctl.data import corpus as corpora
from nasctl.data.batches import training_batches
from nasctl.data.corpus import Split
from nasctl.data.scenes import scenes
from nasctl.embeddings import building
from nasctl.embeddings.contextual import Encoder
from nasctl.embeddings.features import features_path
from nasctl.experiments.run import Workplace, build
from nasctl.models.mixing import FeatureLookup
from nasctl.specs import RUN, FeaturesRef, LayerSpec
from nasctl.training.loop import LOSSES, labels, pair_batch
from nasctl.workers.jobs import Executor
from nasctl.workers.protocol import PROTOCOL, Job, Start

pytestmark = pytest.mark.bench

PAIRS = int(os.environ.get("NASCTL_BENCH_PAIRS", "128"))
BASE = {"layers": 12, "width": 768, "heads": 12, "inner": 3072}
"""BERT-base; MiniLM is 6, 384, 12, 1536."""
SMALL = {"layers": 6, "width": 384, "heads": 12, "inner": 1536}


def padded(encoder, inputs):
    """Each input's kept tokens, all encoded in one padded batch, as whoever keeps no features would."""
    ids, types = (
        torch.nn.utils.rnn.pad_sequence([torch.tensor(getattr(each, field)) for each in inputs], batch_first=True)
        for field in ("ids", "types")
    )
    lengths = torch.tensor([len(each.ids) for each in inputs])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    with torch.no_grad():
        told = encoder._model(input_ids=ids, token_type_ids=types, attention_mask=mask, output_hidden_states=True)
    answers = torch.stack(told.hidden_states, 2).numpy()
    return [
        np.concatenate([row[begin:end] for begin, end in each.spans]) for row, each in zip(answers, inputs, strict=True)
    ]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("sizes", "hidden", "least"), [(BASE, 384, 5.0), (SMALL, 384, 0.0), (SMALL, 150, 0.0)])
def test_an_epoch_with_the_cache_against_one_that_encodes_every_batch(tmp_path, sizes, hidden, least):
    folder = tiny_encoder(tmp_path / "encoder", **sizes)
    pairs = [(pair.first, pair.second) for pair in scenes("demo-sick", 4 * PAIRS)["train"][:PAIRS]]
    begin = time.perf_counter()
    found = building.prepare(spec(folder), {"train": part(*pairs)}, 64, tmp_path)
    built = time.perf_counter() - begin
    tokens = len(found.rows) - 1
    size = (sizes["layers"] + 1) * sizes["width"] * 2
    print(f"\n{sizes}: built {PAIRS / built:.1f} pairs/s with what it takes to load, {tokens / PAIRS:.1f} tokens and")
    print(f"{found.rows.nbytes / PAIRS:.0f} bytes per pair; by arithmetic {size * tokens / PAIRS:.0f}")

    gold = np.linspace(1, 5, PAIRS, dtype=np.float32)
    split = Split("train", *found.sentences["train"], gold, tuple(map(str, range(PAIRS))))
    run = run_spec(tmp_path, batch_size=32)
    run = replace(run, embedding=FeaturesRef(found.digest, building.mixed(spec(folder), found.layers)))
    run = replace(run, layers=(LayerSpec(run.layers[0].cell, hidden),))
    assert corpora.corpus_path(tmp_path, run.data).exists()
    workplace = Workplace(tmp_path, "cpu", 1)
    model, encoder = build(run, workplace), Encoder(folder, "random")
    layout, _ = building._layout(spec(folder), encoder, {"train": part(*pairs)}, 64)
    owner = {}
    row = 1
    for each in layout.inputs:
        for _ in range(each.kept):
            owner[row] = each
            row += 1
    begins = {each: min(row for row in owner if owner[row] is each) for each in layout.inputs}

    def epoch(*, cached: bool) -> float:
        begin = time.perf_counter()
        for rows in training_batches(split, run.training.batch_size, 0, 1):
            batch = pair_batch(split, rows, "cpu")
            if not cached:
                inputs = list(dict.fromkeys(owner[int(token)] for token in batch.tokens.unique() if token))
                fresh = np.zeros(found.rows.shape, found.rows.dtype)
                for each, answers in zip(inputs, padded(encoder, inputs), strict=True):
                    fresh[begins[each] : begins[each] + each.kept] = answers
                kept, model.embed.rows = model.embed.rows, fresh
            loss = LOSSES["mse"](model(batch, torch.Generator().manual_seed(0)), labels(split, rows, "cpu"))
            loss.backward()
            if not cached:
                model.embed.rows = kept
        return time.perf_counter() - begin

    assert isinstance(model.embed, FeatureLookup)
    begin = time.perf_counter()
    Workplace(tmp_path, "cpu", 1).rows(found.digest)
    print(f"opened in {time.perf_counter() - begin:.3f} s")
    with_cache = min(epoch(cached=True) for _ in range(2))
    without = epoch(cached=False)
    print(
        f"H={hidden}: {with_cache:.2f} s an epoch with the cache, {without:.2f} s without: {without / with_cache:.1f} x"
    )
    assert without >= least * with_cache


class _Enough(BaseException):
    """The first batch is there."""


def test_the_first_batch_is_there_soon_after_ready(tmp_path, monkeypatch):
    data = corpus(sizes=(40_000, 2_000, 2_000))
    corpora.save(data, tmp_path)
    shape = (1 + words_of(data), 7, 384)
    block = np.random.default_rng(0).normal(size=(1000, *shape[1:])).astype(np.float16)
    blocks = (block[: min(1000, shape[0] - begin)] for begin in range(0, shape[0], 1000))
    found = features_of(tmp_path, data, shape, blocks)
    path = features_path(tmp_path, found.digest)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    run = replace(run_spec(tmp_path), data=data.digest, embedding=FeaturesRef(found.digest, (1, 2, 3, 4, 5, 6)))
    job = Job("s/0", 1, "run", RUN.dump_python(run, mode="json"), "trial", str(tmp_path / "scratch"))
    executor = Executor(
        Start(PROTOCOL, str(tmp_path), "cpu", 1, 10.0, 10.0, 120.0, 60.0, ((data.digest, found.digest),))
    )

    whole = FeatureLookup.forward

    def first(self, batch):
        whole(self, batch)
        raise _Enough

    monkeypatch.setattr(FeatureLookup, "forward", first)
    begin = time.perf_counter()
    executor.warm()
    ready = time.perf_counter()
    with pytest.raises(_Enough):
        next(executor.perform(job))
    soon = time.perf_counter() - ready
    size = path.stat().st_size / 1e9
    print(f"\n{size:.1f} GB on disk: ready after {ready - begin:.2f} s, first batch {soon:.2f} s later")
    assert soon <= 2.0
