"""Runs over cached features: what is trained, what is not, and what a worker loads for it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import features_spec, run_spec

from nasctl.data.corpus import Sentences
from nasctl.embeddings.features import features_path
from nasctl.errors import MachineError
from nasctl.experiments.run import Workplace, build, evaluate, save_weights, train
from nasctl.specs import RUN, EmbeddingRef, FeaturesRef, run_digest


def outcome_of(spec, workplace, role="trial"):
    generator = train(spec, workplace, role)
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(("model", "cell"), [("blm", "lstm"), ("esim", "enas-24"), ("bow", "lstm")])
def test_the_same_spec_gives_the_same_bits_whatever_ran_before(tmp_path, model, cell):
    spec, workplace = features_spec(tmp_path, model, "regression", cell), Workplace(tmp_path, "cpu", 1)
    first = outcome_of(spec, workplace)
    outcome_of(run_spec(tmp_path, "blm", seed=5), workplace)
    second = outcome_of(spec, Workplace(tmp_path, "cpu", 1))
    assert first.record.history[-1].dev == second.record.history[-1].dev
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_training_moves_the_mix_and_never_the_features(tmp_path):
    spec, workplace = features_spec(tmp_path, epochs=2), Workplace(tmp_path, "cpu", 1)
    path = features_path(tmp_path, spec.embedding.digest)
    before = path.read_bytes()
    outcome = outcome_of(spec, workplace)
    assert path.read_bytes() == before
    assert not any("rows" in name for name in outcome.weights)
    assert outcome.weights["embed.mix.weights"].abs().min() > 0
    assert outcome.weights["embed.mix.gain"] != 1
    counted = build(spec, workplace)
    assert outcome.record.parameters == sum(each.numel() for each in counted.body.parameters()) + 3 + 1


def test_an_evaluation_needs_the_weights_alone(tmp_path):
    spec, workplace = features_spec(tmp_path), Workplace(tmp_path, "cpu", 1)
    outcome = outcome_of(spec, workplace)
    weights = tmp_path / "best.safetensors"
    save_weights(weights, outcome.weights, {"digest": outcome.record.digest})
    found = evaluate(spec, weights, outcome.record, workplace, "final")
    assert found.record.dev == outcome.record.dev
    assert len(found.predictions) == 60


def test_the_features_and_the_mix_are_part_of_the_identity(tmp_path):
    spec = features_spec(tmp_path)
    assert RUN.validate_json(RUN.dump_json(spec)) == spec
    others = [
        replace(spec, embedding=FeaturesRef(spec.embedding.digest, (0, 1, 2, 3))),
        replace(spec, embedding=FeaturesRef("other", spec.embedding.mix)),
        replace(spec, embedding=EmbeddingRef(spec.embedding.digest, trainable=False)),
    ]
    assert len({run_digest(each) for each in [spec, *others]}) == 4


def test_a_run_on_word_vectors_kept_its_identity(tmp_path):
    spec = run_spec(tmp_path)
    assert json.loads(RUN.dump_json(spec))["embedding"] == {"digest": spec.embedding.digest, "trainable": False}


def test_features_that_are_gone_stop_the_run(tmp_path):
    spec = features_spec(tmp_path)
    features_path(tmp_path, spec.embedding.digest).unlink()
    with pytest.raises(MachineError, match="no features"):
        outcome_of(spec, Workplace(tmp_path, "cpu", 1))


WORKER = """
import json, sys
from pathlib import Path
from nasctl.specs import RUN
from nasctl.workers.jobs import Executor
from nasctl.workers.protocol import PROTOCOL, Done, Job, Start
cache, spec = sys.argv[1], json.loads(sys.argv[2])
start = Start(PROTOCOL, cache, "cpu", 1, 60.0, 0.5, 120.0, 60.0, ((spec["data"], spec["embedding"]["digest"]),))
executor = Executor(start)
executor.warm()
warm = sorted(sys.modules)
job = Job(job="s/0", attempt=1, kind="run", spec=spec, role="trial", scratch=cache)
last = list(executor.perform(job))[-1]
assert isinstance(last, Done), last
print(json.dumps([warm, sorted(sys.modules)]))
"""


def test_a_worker_reads_features_and_loads_nothing_for_it(tmp_path):
    static, spec = run_spec(tmp_path), features_spec(tmp_path)
    loaded = []
    for each in (static, spec):
        command = [sys.executable, "-c", WORKER, str(tmp_path), RUN.dump_json(each).decode()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        loaded.append([set(modules) for modules in json.loads(done.stdout.splitlines()[-1])])
    (_, ended_static), (warm, ended) = loaded
    assert not {"transformers", "tokenizers", "huggingface_hub", "spacy", "hydra", "optuna", "mlflow"} & ended
    assert ended - ended_static == set()
    assert "torch" in warm


def test_the_first_batch_reads_its_own_rows_and_not_the_file(tmp_path):
    """Opening is instant whatever the size: rows come from the map as they are asked for."""
    spec = features_spec(tmp_path)
    workplace = Workplace(tmp_path, "cpu", 1)
    workplace.warm(spec.data, spec.embedding.digest)
    assert isinstance(workplace.features(spec.embedding.digest).rows, np.memmap)


def test_a_run_reads_rows_of_features_and_no_words(tmp_path):
    spec, workplace, blind = features_spec(tmp_path), Workplace(tmp_path, "cpu", 1), Workplace(tmp_path, "cpu", 1)
    words = workplace.corpus(spec.data)
    beyond = {
        name: replace(split, **{
            side: Sentences(getattr(split, side).tokens + 10**6, getattr(split, side).offsets)
            for side in ("first", "second")
        })
        for name, split in words.splits.items()
    }  # fmt: skip
    blind._corpora[spec.data] = replace(words, splits=beyond)
    outcome, again = outcome_of(spec, workplace), outcome_of(spec, blind)
    assert again.record.dev == outcome.record.dev
    weights = tmp_path / "best.safetensors"
    save_weights(weights, outcome.weights, {"digest": outcome.record.digest})
    evaluate(spec, weights, outcome.record, blind, "final")
