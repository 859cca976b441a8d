"""What every embedding must do, whether it gives one vector per word or several per token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import part, tiny_encoder
from encoders import spec as encoder_spec
from tiny import WORDS, corpus

from nasctl.data.corpus import Corpus
from nasctl.embeddings import building, features, static, vectors
from nasctl.embeddings.vectors import matrix_digest
from nasctl.models.mixing import FeatureLookup
from nasctl.models.parts import WordLookup
from nasctl.sources import StaticSpec
from nasctl.training.loop import pair_batch

FILE = "w1 0.5 1.5 2.5\nW2 1.0 1.0 1.0\nw3 -1.0 0.0 2.0\n"

STATIC = {
    "glove": StaticSpec("glove", "glove", "words.txt", 3, False, "zeros", "auto", None),
    "glove, gaussian": StaticSpec("glove", "glove", "words.txt", None, False, "gaussian", "lower", None),
    "svd": StaticSpec("svd", "svd", None, 5, False, "zeros", "lower", 3),
}
CONTEXTUAL: dict[str, dict[str, Any]] = {
    "encoder, joint": {},
    "encoder, separate": {"encode": "separate", "mix": "all"},
    "encoder, input alone": {"mix": (0,), "special_tokens": "kept"},
}


@dataclass(frozen=True)
class Case:
    """An embedding over the tiny corpus: prepared in a cache, opened by a worker, its numbers, its lookup."""

    prepare: Callable[[Path], Any]
    load: Callable[[Path, str], Any]
    rows: Callable[[Any], np.ndarray]
    data: Callable[[Any], Corpus]
    lookup: Callable[[Any], torch.nn.Module]


def static_case(spec: StaticSpec, folder: Path) -> Case:
    (folder / "words.txt").write_text(FILE)
    return Case(
        prepare=lambda cache: static.prepare(spec, corpus(), folder, cache),
        load=vectors.load,
        rows=lambda found: found.matrix,
        data=lambda _: corpus(),
        lookup=lambda found: WordLookup(torch.from_numpy(found.matrix.copy()), trainable=False),
    )


def contextual_case(changes: dict[str, Any], folder: Path) -> Case:
    spec = encoder_spec(tiny_encoder(folder / "encoder"), **changes)
    parts = {name: part(*texts(split)) for name, split in corpus().splits.items()}
    return Case(
        prepare=lambda cache: building.prepare(spec, parts, 16, cache),
        load=features.load,
        rows=lambda found: found.rows,
        data=lambda found: found.corpus(corpus()),
        lookup=lambda found: FeatureLookup(found.rows, building.mixed(spec, found.layers)),
    )


def texts(split) -> list[tuple[str, str]]:
    """The pairs as text, as if somebody had written them."""
    sides = [
        [
            " ".join(WORDS[token] for token in side.tokens[a:b])
            for a, b in zip(side.offsets, side.offsets[1:], strict=False)
        ]
        for side in (split.first, split.second)
    ]
    return list(zip(*sides, strict=True))


@pytest.fixture(params=[*STATIC, *CONTEXTUAL])
def case(request, tmp_path):
    if request.param in STATIC:
        return static_case(STATIC[request.param], tmp_path)
    return contextual_case(CONTEXTUAL[request.param], tmp_path)


def test_finite_numbers_and_none_for_the_padding(case, tmp_path):
    rows = case.rows(case.prepare(tmp_path / "cache"))
    assert rows.dtype in {np.dtype(np.float32), np.dtype(np.float16)}
    assert np.isfinite(rows).all()
    assert (rows[0] == 0).all()
    assert np.abs(rows.astype(np.float64)).sum() > 0


def test_the_same_name_and_the_same_numbers_every_time(case, tmp_path):
    one, two = case.prepare(tmp_path / "one"), case.prepare(tmp_path / "two")
    assert one.digest == two.digest
    assert np.array_equal(case.rows(one), case.rows(two))


def test_a_worker_finds_it_in_the_cache(case, tmp_path):
    made = case.prepare(tmp_path / "cache")
    found = case.load(tmp_path / "cache", made.digest)
    assert np.array_equal(case.rows(found), case.rows(made))
    with pytest.raises((ValueError, RuntimeError)):
        case.rows(found)[0] = 1.0  # mapped read-only


def test_the_second_time_it_is_read_back(case, tmp_path):
    case.prepare(tmp_path / "cache")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    case.prepare(tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*") if path.is_file()} == before


def test_every_pair_is_looked_up_alike_in_any_batch(case, tmp_path):
    found = case.prepare(tmp_path / "cache")
    split, lookup = case.data(found).splits["dev"], case.lookup(found)
    rows = np.arange(len(split))
    with torch.no_grad():
        together, alone = pair_batch(split, rows, "cpu"), [pair_batch(split, rows[[n]], "cpu") for n in rows]
        x = lookup(together)
        assert x.shape == (*together.tokens.shape, lookup.width)
        assert not x[~together.real].any()
        for number, each in enumerate(alone):
            steps = len(each.tokens)
            pair = x[:steps, [number, len(split) + number]]
            torch.testing.assert_close(pair, lookup(each), rtol=0, atol=1e-6)


# --- of word vectors alone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATIC)
def test_word_vectors_have_one_row_per_word_and_are_named_by_their_content(name, tmp_path):
    spec = STATIC[name]
    found = static_case(spec, tmp_path).prepare(tmp_path / "cache")
    assert found.matrix.shape[0] == len(corpus().vocabulary)
    assert spec.width in {None, found.matrix.shape[1]}
    assert found.matrix.dtype == np.float32
    assert found.digest == matrix_digest(found.matrix)
    assert 0 <= found.oov_share < 1
    assert vectors.load(tmp_path / "cache", found.digest).oov_share == found.oov_share
