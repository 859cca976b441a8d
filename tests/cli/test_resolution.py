"""What is said of prepared data before anything is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny import contextual, corpus, run_spec

from nasctl.cli.resolution import told
from nasctl.data.datasets import prepare
from nasctl.embeddings.vectors import Vectors
from nasctl.experiments.resolve import Resolved
from nasctl.sources import Columns, DatasetSpec

LABELS = {"dataset": "tickets", "embedding": "svd", "vectors": "tiny"}
VECTORS = Vectors("0123", np.zeros((1, 2), np.float32), 0.25, "words.txt")


@pytest.fixture
def said(tmp_path):
    """What is told of a data set and what it is embedded in."""
    run = run_spec(tmp_path / "cache")
    return lambda data, embedded, own=False: told(Resolved(run, data, embedded, LABELS, own))


def own(folder, labels):
    rows = [f'a cat,dog {number},"{label}"' for number, label in enumerate(labels)]
    (folder / "own.csv").write_text("a,b,c\n" + "\n".join(rows))
    spec = DatasetSpec(
        name="tickets", source="table", task="auto", metric="auto", max_tokens=5, max_pieces=64,
        columns=Columns("a", "b", "c", None), train="own.csv", dev=None, test=None, dev_fraction=0.4,
        test_fraction=0.0, split_seed=0, pairs=None,
    )  # fmt: skip
    return prepare(spec, None, folder / "cache")


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        ([f"{number},5" for number in range(50)] * 4, "50 classes (else dataset.task=regression)"),
        (["yes", "no"] * 10, "2 classes"),
        (["1.5", "4", "5", "2"] * 5, "scores from 1.5 to 5 (else dataset.task=classification)"),
    ],
)
def test_of_own_pairs_it_is_told_how_their_labels_are_read(said, tmp_path, labels, task):
    first, second = said(own(tmp_path, labels), VECTORS, own=True).splitlines()
    assert first == f"tickets: labels read as {task}"
    assert second.endswith("words, vectors from words.txt, 25.0% of tokens unknown")


def test_of_other_pairs_one_line_is_told(said):
    words = len(corpus().vocabulary) - 1
    assert said(corpus(), VECTORS) == f"tickets: {words} words, vectors from words.txt, 25.0% of tokens unknown"


def test_pieces_that_an_encoder_does_not_know_are_told(said, tmp_path):
    known = contextual(tmp_path / "cache", corpus())
    assert "unknown" not in said(corpus(), known)
    assert ", 12.5% of pieces unknown, " in said(corpus(), replace(known, unknown=0.125))
