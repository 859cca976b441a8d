"""What is said of prepared data before anything is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny import contextual, corpus, run_spec

from nasctl.cli.resolution import told
from nasctl.embeddings.vectors import Vectors
from nasctl.experiments.resolve import Resolved

LABELS = {"dataset": "tickets", "embedding": "svd", "vectors": "tiny"}
VECTORS = Vectors("0123", np.zeros((1, 2), np.float32), 0.25, "words.txt")


@pytest.fixture
def said(tmp_path):
    """What is told of a data set and what it is embedded in."""
    run = run_spec(tmp_path / "cache")
    return lambda data, embedded: told(Resolved(run, data, embedded, LABELS))


def test_of_other_pairs_one_line_is_told(said):
    words = len(corpus().vocabulary) - 1
    assert said(corpus(), VECTORS) == f"tickets: {words} words, vectors from words.txt, 25.0% of tokens unknown"


def test_pieces_that_an_encoder_does_not_know_are_told(said, tmp_path):
    known = contextual(tmp_path / "cache", corpus())
    assert "unknown" not in said(corpus(), known)
    assert ", 12.5% of pieces unknown, " in said(corpus(), replace(known, unknown=0.125))
