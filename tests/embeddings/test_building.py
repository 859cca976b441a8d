"""The feature cache: made once, by its content's name, and made again when it is damaged."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from encoders import LAYERS, WIDTH, part, spec, tiny_encoder

from nasctl.embeddings import building, features
from nasctl.embeddings.features import features_path
from nasctl.errors import MachineError, UsageError

PARTS = {"train": part(("the cats run", "a dog"), ("w1 w2", "w3")), "dev": part(("", "the dog"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoders") / "tiny")


def stamps(cache):
    return {path.name: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}


def test_the_second_time_nobody_loads_transformers(folder, tmp_path):
    made = building.prepare(spec(folder), PARTS, 64, tmp_path)
    before = stamps(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[2]); from encoders import spec, part; from pathlib import Path\n"
        "from nasctl.embeddings import building\n"
        "parts = {'train': part(('the cats run', 'a dog'), ('w1 w2', 'w3')), 'dev': part(('', 'the dog'))}\n"
        "found = building.prepare(spec(sys.argv[1]), parts, 64, Path(sys.argv[3]))\n"
        "print(found.digest, sorted({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", program, str(folder), str(Path(__file__).parents[1]), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{made.digest} []"
    assert stamps(tmp_path) == before


def test_packed_without_padding_in_half_precision(folder, tmp_path):
    made = building.prepare(spec(folder), PARTS, 64, tmp_path)
    tokens = 4 + 2 + 2 + 1 + 2
    assert made.rows.shape == (1 + tokens, LAYERS + 1, WIDTH)
    assert made.rows.dtype == np.float16
    size = features_path(tmp_path, made.digest).stat().st_size
    assert 0 < size - made.rows.nbytes < 4096
    assert features_path(tmp_path, made.digest).stat().st_mode & 0o777 == 0o600
    assert (made.pairs, made.cut) == (3, 0)


def test_named_by_what_it_is_made_from(folder, tmp_path):
    def digest(encoder=folder, parts=PARTS, cap=64, **changes):
        return building.prepare(spec(encoder, **changes), parts, cap, tmp_path).digest

    one = digest()
    same = shutil.copytree(folder, tmp_path / "elsewhere")
    assert digest(same) == digest(mix="all") == digest(name="other") == one
    other = tiny_encoder(tmp_path / "other", seed=1)
    cut_texts = {**PARTS, "dev": part(("the dog", ""))}
    named = {one, digest(other), digest(parts=cut_texts), digest(cap=32), digest(encode="separate")}
    assert len(named) == 5


@pytest.mark.parametrize("damage", ["flip", "cut", "magic", "another"])
def test_a_damaged_file_is_made_again(folder, tmp_path, caplog, damage):
    made = building.prepare(spec(folder), PARTS, 64, tmp_path)
    path = features_path(tmp_path, made.digest)
    rows = np.array(made.rows)
    content = bytearray(path.read_bytes())
    whole = bytes(content)
    if damage == "flip":
        content[-3] ^= 16
    elif damage == "cut":
        del content[-2:]
    elif damage == "magic":
        content[7] ^= 1
    else:
        about = {"pairs": 3, "cut": 0, "unknown": 0.0}
        features.save(tmp_path, "f" * 16, made.sentences, shape=made.rows.shape, blocks=[rows], about=about)
        content = bytearray(features_path(tmp_path, "f" * 16).read_bytes())
    path.write_bytes(content)
    again = building.prepare(spec(folder), PARTS, 64, tmp_path)
    assert caplog.text.count("the pairs are encoded again") == 1
    assert path.read_bytes() == whole
    assert np.array_equal(again.rows, rows)


def test_damaged_twice_it_is_an_error(folder, tmp_path, monkeypatch):
    """A disk that does not give back what was written."""
    save = features.save

    def failing(cache, digest, *arguments, **options):
        save(cache, digest, *arguments, **options)
        path = features_path(cache, digest)
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")

    monkeypatch.setattr(features, "save", failing)
    with pytest.raises(MachineError, match="was changed after it was written"):
        building.prepare(spec(folder), PARTS, 64, tmp_path)


def test_a_disk_that_is_too_small_is_told_before_anything_is_encoded(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(building.shutil, "disk_usage", lambda _: SimpleNamespace(free=200_000_100))
    with pytest.raises(MachineError, match=r"the features take 0.00 GB, and the disk of .* has 0.20 GB free") as caught:
        building.prepare(spec(folder), PARTS, 64, tmp_path)
    assert "store.root=FOLDER" in caught.value.hint
    assert not list(tmp_path.rglob("*.arr*"))


def test_what_a_killed_builder_left_is_removed(folder, tmp_path):
    made = building.prepare(spec(folder), PARTS, 64, tmp_path)
    path = features_path(tmp_path, made.digest)
    path.unlink()
    left = path.parent / f".{path.name}.abc123"
    left.write_bytes(b"half of it")
    building.prepare(spec(folder), PARTS, 64, tmp_path)
    assert not left.exists()


def test_what_a_killed_builder_of_other_features_left_is_removed(folder, tmp_path):
    made = building.prepare(spec(folder), PARTS, 32, tmp_path)
    path = features_path(tmp_path, made.digest)
    left = path.parent / f".{path.name}.abc123"
    left.write_bytes(b"half of it")
    with building._alone(path):  # somebody builds these
        building.prepare(spec(folder), PARTS, 48, tmp_path)
        assert left.exists()
    building.prepare(spec(folder), PARTS, 64, tmp_path)
    assert not left.exists()


def test_equal_encoders_are_called_what_was_asked_for(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "my-copy")
    made = building.prepare(spec(copy), PARTS, 64, tmp_path)
    found = building.prepare(spec(folder), PARTS, 64, tmp_path)
    assert (made.source, found.source, made.digest == found.digest) == ("my-copy", "tiny", True)


def test_a_folder_in_the_place_of_the_features(folder, tmp_path):
    path = features_path(tmp_path, building.prepare(spec(folder), PARTS, 64, tmp_path).digest)
    path.unlink()
    path.mkdir()
    with pytest.raises(MachineError, match="cannot write features"):
        building.prepare(spec(folder), PARTS, 64, tmp_path)


def test_a_cache_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "features").write_text("in the way")
    with pytest.raises(MachineError, match="cannot write features"):
        building.prepare(spec(folder), PARTS, 64, tmp_path)


def test_features_of_other_pairs_are_refused(folder, tmp_path):
    from tiny import corpus

    made = building.prepare(spec(folder), PARTS, 64, tmp_path)
    with pytest.raises(MachineError, match="are not of the data set"):
        made.corpus(corpus())


def test_text_that_the_encoder_does_not_know_is_told_every_time(folder, tmp_path, caplog):
    parts = {"train": part(("the cats", "แมว รถ"), ("the cats", "😀"))}
    for _ in range(2):  # made, then found
        caplog.clear()
        assert building.prepare(spec(folder), parts, 64, tmp_path).unknown == pytest.approx(3 / 9)
        assert [record.message[:47] for record in caplog.records] == ["33% of the word pieces are unknown to tiny: eac"]


def test_a_little_unknown_text_is_counted_without_a_warning(folder, tmp_path, caplog):
    parts = {"train": part(("the cats run", "the dog"), ("w1 w2 w3 w4 w5", "แมว"))}
    assert building.prepare(spec(folder), parts, 64, tmp_path).unknown == pytest.approx(1 / 12)
    assert building.prepare(spec(folder), PARTS, 64, tmp_path).unknown == 0
    assert not caplog.records


def test_absent_features_say_what_to_do(tmp_path):
    with pytest.raises(MachineError, match="no features 0123") as caught:
        features.load(tmp_path, "0123")
    assert "start the command again" in caught.value.hint


def test_answers_too_large_for_the_cache(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny_encoder(tmp_path / "large")
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.weight"] *= 1e6
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match="a half-precision cache cannot hold"):
        building.prepare(spec(folder), PARTS, 64, tmp_path)
    assert not list(tmp_path.rglob("*.arr*"))
