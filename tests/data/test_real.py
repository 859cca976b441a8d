"""The real MRPC, STS-B and SICK: `make test-data`, with the folder in NASCTL_DATA."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from nasctl.data.datasets import prepare, read
from nasctl.data.fetch import check
from nasctl.data.overlap import Overlap, overlaps
from nasctl.sources import DatasetSpec

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif("NASCTL_DATA" not in os.environ, reason="NASCTL_DATA does not name the folder of real data"),
]

NAMES = ("sick", "stsb", "mrpc")


def spec_of(name, checkout):
    content = OmegaConf.to_container(OmegaConf.load(checkout / f"conf/dataset/{name}.yaml"))
    return TypeAdapter(DatasetSpec).validate_json(json.dumps(content))


@pytest.fixture(scope="module")
def corpora(checkout, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return {name: prepare(spec_of(name, checkout), None, cache) for name in NAMES}


def test_the_splits_have_the_published_rows(corpora, checkout):
    golden = json.loads((checkout / "tests/golden/splits.json").read_text())
    assert golden == {
        name: {
            split.name: {
                "pairs": len(split),
                "ids_sha256": hashlib.sha256(",".join(split.row_ids).encode()).hexdigest()[:16],
            }
            for split in corpus.splits.values()
        }
        for name, corpus in corpora.items()
    }


def test_the_counts_are_those_of_the_paper(corpora):
    sizes = {name: tuple(len(split) for split in corpus.splits.values()) for name, corpus in corpora.items()}
    assert sizes == {"sick": (4050, 450, 4927), "stsb": (5749, 1500, 1379), "mrpc": (3668, 408, 1725)}


def test_labels_are_as_published(corpora):
    assert [int(split.labels.sum()) for split in corpora["mrpc"].splits.values()] == [2474, 279, 1147]
    assert corpora["mrpc"].classes == ("0", "1")
    for name, low, high in (("sick", 1.0, 5.0), ("stsb", 0.0, 5.0)):
        labels = np.concatenate([split.labels for split in corpora[name].splits.values()])
        assert (labels.min(), labels.max()) == (low, high)


def test_few_sentences_are_cut(corpora):
    """The paper's caps hold nearly every sentence; no sentence is without words."""
    longest = dict.fromkeys(NAMES, 0)
    for name, corpus in corpora.items():
        for split in corpus.splits.values():
            for sentences in (split.first, split.second):
                assert not sentences.empty.any()
                longest[name] = max(longest[name], int(sentences.lengths.max()))
    assert longest == {"sick": 30, "stsb": 39, "mrpc": 46}


def test_the_files_are_the_published_ones(checkout):
    findings = check(NAMES, Path(os.environ["NASCTL_DATA"]))
    assert len(findings) == 8
    assert {finding.state for finding in findings} == {"ok"}


def test_stsb_holds_test_pairs_of_mrpc(checkout):
    found = list(overlaps({name: read(spec_of(name, checkout), None) for name in ("stsb", "mrpc")}))
    assert Overlap("stsb/train", "mrpc/test", 498) in found
