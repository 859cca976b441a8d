"""What every source of `DATASETS`, and every file of conf/dataset, must give."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from omegaconf import OmegaConf
from published import write_all
from pydantic import TypeAdapter

from nasctl.data.corpus import PADDING, corpus_path
from nasctl.data.datasets import DATASETS, prepare, read
from nasctl.data.metrics import METRICS
from nasctl.sources import DatasetSpec

SPEC = TypeAdapter(DatasetSpec)
OPTIONS = ("sick", "stsb", "mrpc", "own", "demo", "demo-sick", "demo-stsb", "demo-mrpc")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Published files of the right size, and a table of one's own."""
    folder = write_all(tmp_path_factory.mktemp("data"))
    rows = "".join(f"a dog {row},it runs {row % 7},{'abc'[row % 3]}\n" for row in range(60))
    (folder / "own.csv").write_text("first,second,label\n" + rows)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def spec_of(option, checkout, root):
    node = OmegaConf.load(checkout / f"conf/dataset/{option}.yaml")
    if OmegaConf.is_missing(node, "train"):
        node.train = str(root / "own.csv")
    if node.pairs is not None:
        node.pairs = 120  # enough for every property, and quick
    return SPEC.validate_json(json.dumps(OmegaConf.to_container(node, throw_on_missing=True)))


@pytest.fixture(params=OPTIONS)
def prepared(request, checkout, root, cache):
    spec = spec_of(request.param, checkout, root)
    return spec, prepare(spec, root, cache)


def test_the_options_are_those_of_the_folder_and_use_every_source(checkout, root):
    assert {path.stem for path in (checkout / "conf/dataset").glob("*.yaml")} == set(OPTIONS)
    assert {spec_of(option, checkout, root).source for option in OPTIONS} == set(DATASETS)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_says_every_field(checkout, option):
    node = OmegaConf.load(checkout / f"conf/dataset/{option}.yaml")
    assert list(node) == [field.name for field in fields(DatasetSpec)]
    assert node.name == ("demo-sick" if option == "demo" else option)


def test_splits_come_in_order_and_have_rows_with_ids_of_their_own(prepared):
    _, corpus = prepared
    assert list(corpus.splits) in (["train", "dev", "test"], ["train", "dev"])
    for name, split in corpus.splits.items():
        assert split.name == name
        assert len(split) == len(split.labels) == len(split.first) == len(split.second) > 0
        assert len(set(split.row_ids)) == len(split)


def test_tokens_are_words_of_the_vocabulary_within_the_cap(prepared):
    spec, corpus = prepared
    assert corpus.vocabulary[PADDING] == ""
    assert len(set(corpus.vocabulary)) == len(corpus.vocabulary)
    used = set()
    for split in corpus.splits.values():
        for sentences in (split.first, split.second):
            assert sentences.tokens.dtype == np.int32
            assert sentences.offsets.dtype == np.int64
            assert sentences.offsets[0] == 0
            assert sentences.offsets[-1] == len(sentences.tokens)
            assert 1 <= sentences.lengths.min() <= sentences.lengths.max() <= spec.max_tokens
            used |= set(np.unique(sentences.tokens).tolist())
    assert used - {PADDING} == set(range(1, len(corpus.vocabulary)))


def test_labels_fit_the_task(prepared):
    spec, corpus = prepared
    assert spec.task in {corpus.task, "auto"}
    assert METRICS[corpus.metric].task == corpus.task
    for split in corpus.splits.values():
        if corpus.task == "regression":
            assert split.labels.dtype == np.float32
            assert np.isfinite(split.labels).all()
        else:
            assert split.labels.dtype == np.int64
            assert set(split.labels.tolist()) <= set(range(len(corpus.classes)))
        assert len(set(split.labels.tolist())) > 1
    assert (corpus.classes == ()) is (corpus.task == "regression")


def test_rows_stand_in_the_order_in_which_they_were_read(prepared, root):
    spec, corpus = prepared
    parts = read(spec, root)
    assert {name: split.row_ids for name, split in corpus.splits.items()} == {
        name: tuple(pair.id for pair in part.pairs) for name, part in parts.items()
    }


def test_no_pair_stands_in_two_splits(prepared):
    _, corpus = prepared
    ids = [row_id for split in corpus.splits.values() for row_id in split.row_ids]
    assert len(set(ids)) == len(ids)


def test_it_is_made_once_and_found_again(prepared, root, cache):
    spec, corpus = prepared
    before = corpus_path(cache, corpus.digest).stat().st_mtime_ns
    assert prepare(spec, root, cache).digest == corpus.digest
    assert corpus_path(cache, corpus.digest).stat().st_mtime_ns == before


def test_another_cache_gives_the_same_digest(prepared, root, tmp_path):
    spec, corpus = prepared
    if spec.source in {"table", "scenes"}:  # the others take seconds
        assert prepare(spec, root, tmp_path).digest == corpus.digest


def test_the_cap_cuts(checkout, root, tmp_path):
    spec = replace(spec_of("own", checkout, root), max_tokens=2)
    lengths = prepare(spec, root, tmp_path).splits["train"].first.lengths
    assert set(lengths.tolist()) == {2}
