"""Commands over a frozen encoder: a run, a study, and what they say of an encoder that cannot be used."""

from __future__ import annotations

import json

import pytest
from encoders import tiny_encoder

QUICK = ("dataset.pairs=60", "training=short", "training.epochs=2", "training.hidden=[6]")


@pytest.fixture
def encoder(tmp_path):
    return tiny_encoder(tmp_path / "tiny")


def test_a_run_over_any_encoder(nasctl, store, encoder):
    result = nasctl("train", "embedding=hf", f"embedding.name={encoder}", *QUICK, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert "60 pairs as tiny reads them, 4 layers of 8," in result.stderr
    assert told["state"] == "finished"
    mixed = nasctl("-v", "train", "embedding=hf", f"embedding.name={encoder}", "embedding.mix=all", *QUICK, "--json")
    assert "nasctl: sentences are not cut to dataset.max_tokens: an encoder reads dataset.max_pieces" in mixed.stderr
    assert json.loads(mixed.stdout)["parameters"] == told["parameters"] + 1
    assert json.loads(mixed.stdout)["digest"] != told["digest"]
    assert len(list((store / "cache" / "features").glob("*.arr"))) == 1  # all layers are there
    runs = nasctl("report", "runs", "--format", "csv").stdout
    assert "tiny, all layers" in runs


def test_a_study_over_an_encoder_trains_in_workers(nasctl, store, encoder):
    space = ("study.space.hidden.choices=[4,6]", "study.space.batch_size.choices=[16]")
    result = nasctl(
        *("baseline", "sweep=demo", "embedding=hf", f"embedding.name={encoder}", "dataset.pairs=60"),
        *("trials=2", "workers=1", "training.epochs=1", *space, "study.name=tiny", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    assert (told["trials"], told["failed"]) == (2, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["embedding.mix=[0,7]"], (2, "embedding.mix=[0, 7]: ")),
        (["embedding.mix=some"], (2, "embedding.mix=some: expected encoder, all or a list in brackets")),
        (["dataset.max_pieces=100"], (2, "dataset.max_pieces=100: tiny reads 5 to 64 pieces at once")),
        (["embedding.encoder=./tinny"], (2, "there is no such folder")),
        (["embedding.encoder=owner/name"], (4, "not here, and the hub cannot be reached")),
        (["dataset.max_tokens=9"], (2, "an encoder reads word pieces, dataset.max_pieces of each pair; leave ")),
        (["embedding.source=package", "embedding.encoder=not_there/model"], (4, "which is not installed")),
    ],
)
def test_mistakes_cost_one_line(nasctl, store, encoder, changes, said):
    code, message = said
    result = nasctl("train", "embedding=hf", f"embedding.name={encoder}", *QUICK, *changes)
    assert result.exit_code == code
    assert message in result.stderr
    assert not list(store.rglob("*.arr.*"))
    assert "Traceback" not in result.stderr


def test_what_is_empty_is_told_of_what_is_read(nasctl, store, encoder, tmp_path):
    rows = "".join(f"{first},a dog runs,{score}\n" for score, first in enumerate(["the cat", "", "a dog", "a cat"]))
    files = {split: tmp_path / f"{split}.csv" for split in ("train", "dev", "test")}
    for split, file in files.items():
        file.write_text("first,second,label\n" + (rows if split == "train" else rows.replace(",,", ",x,")), "utf-8")
    own = [f"dataset.{split}={file}" for split, file in files.items()]
    asked = (
        "train",
        "dataset=own",
        *own,
        "dataset.max_pieces=64",
        "embedding=hf",
        f"embedding.name={encoder}",
        *QUICK[1:],
    )
    assert "own: 1 of 8 train sentences without a word" in nasctl(*asked).stderr
    kept = nasctl(*asked, "embedding.special_tokens=kept")
    assert kept.exit_code == 0, kept.stderr
    assert "without a word" not in kept.stderr


def test_a_plan_tells_of_what_is_encoded(nasctl, store, encoder):
    result = nasctl("train", "embedding=hf", f"embedding.name={encoder}", *QUICK, "--dry-run")
    assert f"encoding at most {60 * 64:,} word pieces, once" in result.stdout
    assert "encoding" not in nasctl("train", *QUICK, "--dry-run").stdout
    assert not list(store.rglob("*.arr"))


def test_a_name_is_needed(nasctl):
    result = nasctl("train", "embedding=hf")
    assert result.exit_code == 2
    assert "embedding.name is needed and has no default" in result.stderr
