"""The one place that speaks with transformers: what it reads is what transformers itself would read."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from encoders import LAYERS, LONGEST, VOCABULARY, WIDTH, of_family, part, spec, tiny_encoder

from nasctl.embeddings import building
from nasctl.embeddings.contextual import Encoder
from nasctl.errors import MachineError, UsageError

PAIRS = [
    ("the cats run", "a dog (not running)!"),
    ("", "the dog"),
    ("Cats, dogs; cats...", ""),
    ("don't", "é 不 好 😀 \u200b naïve"),
    ("w1 " * 40, "the dog's house-door"),
    ("the dog's house-door", "w2 " * 70),
    ("w1 " * 50, "w2 w3 " * 30),
    ("the cats run", "a dog (not running)!"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoders") / "tiny")


@pytest.fixture(scope="module")
def encoder(folder):
    return Encoder(folder, "tiny")


def direct(folder, first: str, second: str, cap: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sentences' tokens [n, L, D], by transformers alone, one pair at a time."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    # as a batch: a lone second sentence without a word is passed over, as if there were none
    read = tokenizer([first], [second], truncation="longest_first", max_length=cap, return_tensors="pt")
    with torch.no_grad():
        hidden = torch.stack(model(**read, output_hidden_states=True).hidden_states, -2)[0].numpy()
    owners = np.array([-1 if owner is None else owner for owner in read.sequence_ids(0)])
    return hidden[owners == 0], hidden[owners == 1]


@pytest.mark.parametrize("cap", [16, 64])
def test_cached_features_are_the_encoders_own(folder, tmp_path, cap):
    """For truncation, punctuation, other scripts, empty sentences; whatever stood in the same batch."""
    found = building.prepare(spec(folder), {"train": part(*PAIRS)}, cap, tmp_path)
    assert found.rows.shape[1:] == (LAYERS + 1, WIDTH)
    sides = found.sentences["train"]
    for number, pair in enumerate(PAIRS):
        for sentences, expected in zip(sides, direct(folder, *pair, cap), strict=True):
            lying = sentences.tokens[sentences.offsets[number] : sentences.offsets[number + 1]]
            if not len(expected):
                assert lying.tolist() == [0]
                continue
            cached = found.rows[lying].astype(np.float32)
            assert cached.shape == expected.shape
            assert (np.abs(cached - expected) <= 1e-3 * np.maximum(np.abs(expected), 0.01)).all()
    assert not found.rows[0].any()


def test_the_cut_is_that_of_transformers(folder, encoder):
    """Pairs for which the two cuts could differ by one piece: both long, of odd and even caps."""
    from transformers import AutoTokenizer

    from nasctl.embeddings.spans import lay_out

    tokenizer = AutoTokenizer.from_pretrained(folder)
    pairs = [("w1 " * a, "w2 " * b) for a in (3, 8, 9, 20) for b in (3, 8, 9, 20)]
    texts = encoder.pieces([text for pair in pairs for text in pair])
    for cap in (12, 13, 20, 21):
        for pair in pairs:
            options = {"cap": cap, "encode": "joint", "special_tokens": "dropped"}
            (ours,) = lay_out({"train": part(pair)}, texts, encoder.frames(), **options).inputs
            theirs = tokenizer(*pair, truncation="longest_first", max_length=cap)
            assert list(ours.ids) == theirs["input_ids"]
            assert list(ours.types) == theirs["token_type_ids"]


def test_token_types_are_read(folder, tmp_path):
    """Without them both sentences would be one segment."""
    made = building.prepare(spec(folder), {"train": part(("the cat", "a dog"))}, 64, tmp_path)
    from transformers import AutoModel, AutoTokenizer

    read = AutoTokenizer.from_pretrained(folder)("the cat", "a dog", return_tensors="pt")
    read["token_type_ids"] *= 0
    with torch.no_grad():
        blind = AutoModel.from_pretrained(folder).eval()(**read, output_hidden_states=True).hidden_states
    second = made.rows[3:5].astype(np.float32)
    assert np.abs(torch.stack(blind, -2)[0, 4:6].numpy() - second).max() > 0.01


def test_frozen_and_never_in_training(encoder):
    assert not encoder.training
    encoder._model.encoder.layer[0].train()
    assert encoder.training
    encoder._model.eval()


def test_joint_and_separate_differ(folder, tmp_path):
    parts = {"train": part(("the cats run", "a dog"))}
    joint = building.prepare(spec(folder), parts, 64, tmp_path)
    separate = building.prepare(spec(folder, encode="separate"), parts, 64, tmp_path)
    kept = building.prepare(spec(folder, special_tokens="kept"), parts, 64, tmp_path)
    assert len({joint.digest, separate.digest, kept.digest}) == 3
    assert [each.sentences["train"][0].lengths.tolist() for each in (joint, separate, kept)] == [[4], [4], [6]]
    assert np.abs(joint.rows.astype(float)[1:, 0].sum(0) - separate.rows.astype(float)[1:, 0].sum(0)).max() > 0


@pytest.mark.parametrize("changes", [("ConvBert", {"embedding_size": WIDTH, "num_attention_heads": 4}), ("FNet", {})])
def test_a_pair_does_not_depend_on_those_beside_it(tmp_path, changes):
    """Of encoders whose convolutions and Fourier transforms would see padding as well."""
    kind, fields = changes
    folder, pair = of_family(tmp_path / kind, kind, **fields), ("the cats run", "a dog running")
    alone = building.prepare(spec(folder), {"train": part(pair)}, 64, tmp_path)
    beside = building.prepare(spec(folder), {"train": part(pair, ("w1 " * 20, "the dog"))}, 64, tmp_path)
    one, two = (each.rows[1 : len(alone.rows)].astype(np.float32) for each in (alone, beside))
    assert (np.abs(one - two) <= 1e-3 * np.maximum(np.abs(one), 0.01)).all()


def test_positions_that_a_family_keeps_for_padding_are_not_read(tmp_path):
    folder = of_family(tmp_path / "roberta", "Roberta", num_attention_heads=2, pad_token_id=0)
    settings = folder / "tokenizer_config.json"
    stated = json.loads(settings.read_text())
    stated.pop("model_max_length")
    settings.write_text(json.dumps(stated))
    pairs = {"train": part(("w1 " * 90, "the dog"))}
    with pytest.raises(UsageError, match=rf"roberta reads 5 to {LONGEST - 1} pieces"):
        building.prepare(spec(folder), pairs, LONGEST, tmp_path)
    assert building.prepare(spec(folder), pairs, LONGEST - 1, tmp_path).cut == 1


# --- what cannot be used ----------------------------------------------------------------------------------------------


def refused(folder, tmp_path, kind=UsageError, **changes: object):
    with pytest.raises(kind) as caught:
        building.prepare(spec(folder, **changes), {"train": part(("a", "b"))}, 64, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.arr*"))
    return caught.value


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("Xmod", {"num_attention_heads": 2, "pad_token_id": 0}), ("Canine", {"num_attention_heads": 2})],
)
def test_families_that_read_otherwise_are_refused_before_anything_is_read(tmp_path, kind, fields):
    error = refused(of_family(tmp_path / "other", kind, **fields), tmp_path)
    assert str(error).startswith("other cannot be used: ")
    assert error.hint == "an encoder of the BERT family"
    assert "\n" not in str(error)


def test_an_encoder_that_answers_in_another_shape_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Encoder, "layers", LAYERS + 2)
    told = str(refused(folder, tmp_path))
    assert (
        told
        == f"tiny answers with (2, {LAYERS + 1}, {WIDTH}) numbers, by its config.json with (2, {LAYERS + 2}, {WIDTH})"
    )


@pytest.mark.parametrize("mix", [(0, 4), (9,), (1, 1), ()])
def test_layers_that_are_not_there(folder, tmp_path, mix):
    error = refused(folder, tmp_path, mix=mix)
    assert f"embedding.mix={list(mix)}" in str(error)
    assert "the layers 0 (its input) to 3" in str(error)


@pytest.mark.parametrize("cap", [4, 65])
def test_a_cap_beyond_what_it_reads(folder, tmp_path, cap):
    with pytest.raises(UsageError, match=rf"dataset.max_pieces={cap}: tiny reads 5 to 64 pieces"):
        building.prepare(spec(folder), {"train": part(("a", "b"))}, cap, tmp_path)


def test_weights_that_are_missing(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny_encoder(tmp_path / "some")
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "layer.1.output.dense" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    assert "lacks 2 of its weights, encoder.layer.1.output.dense.bias among them" in str(refused(folder, tmp_path))


def test_weights_that_are_damaged(tmp_path):
    folder = tiny_encoder(tmp_path / "damaged")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    error = refused(folder, tmp_path, MachineError)
    assert "its weights are damaged" in str(error)


def test_an_encoder_that_brings_code(tmp_path):
    folder = tiny_encoder(tmp_path / "code")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    auto_map = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    path.write_text(json.dumps({**config, "model_type": "unheard-of", "auto_map": auto_map}))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    assert "needs code of its own" in str(refused(folder, tmp_path))
    assert not (tmp_path / "ran").exists()


def test_an_encoder_with_a_decoder(tmp_path):
    folder = tiny_encoder(tmp_path / "both")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "is_encoder_decoder": True}))
    assert "an encoder with a decoder" in str(refused(folder, tmp_path))


def test_a_tokenizer_that_is_not_fast(folder, tmp_path, monkeypatch):
    from transformers import BertTokenizer

    monkeypatch.setattr(BertTokenizer, "is_fast", False)
    error = refused(folder, tmp_path)
    assert "tiny has no fast tokenizer" in str(error)
    assert "tokenizer.json" in error.hint


def test_an_encoder_without_a_tokenizer(folder, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(folder, alone, ignore=shutil.ignore_patterns("tokenizer*", "vocab*", "special_tokens*"))
    assert sorted(path.name for path in alone.iterdir()) == ["config.json", "model.safetensors"]
    error = refused(alone, tmp_path)
    assert "alone has no tokenizer that knows a word" in str(error)
    assert "tokenizer.json" in error.hint


def changed(path, **changes: object):
    """A JSON file with other values."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_tokenizer_of_an_unknown_kind(tmp_path):
    folder = tiny_encoder(tmp_path / "odd")
    changed(folder / "tokenizer.json", model={"type": "Unheard"})
    assert "odd cannot be loaded: " in str(refused(folder, tmp_path))


def test_a_configuration_that_does_not_fit_the_weights(tmp_path):
    folder = tiny_encoder(tmp_path / "other")
    changed(folder / "config.json", hidden_size=2 * WIDTH)
    assert "other cannot be loaded: its config.json does not fit its weights" in str(refused(folder, tmp_path))


def test_a_tokenizer_of_an_encoder_with_more_pieces(tmp_path):
    folder = tiny_encoder(tmp_path / "mixed")
    path = folder / "tokenizer.json"
    model = json.loads(path.read_text())["model"]
    known = len(VOCABULARY)
    changed(path, model={**model, "vocab": {**model["vocab"], "newer": known}})
    building.prepare(spec(folder), {"train": part(("a", "b"))}, 64, tmp_path / "fine")
    with pytest.raises(UsageError, match=f"mixed has {known} word pieces, and its tokenizer gives number {known}"):
        building.prepare(spec(folder), {"train": part(("newer", "b"))}, 64, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.arr*"))
