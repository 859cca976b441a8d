from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasctl.data.corpus import Corpus, Sentences, Split, corpus_digest, corpus_path, load, save
from nasctl.errors import MachineError


def sentences(*coded):
    offsets = np.cumsum([0, *map(len, coded)]).astype(np.int64)
    return Sentences(np.array([number for one in coded for number in one], np.int32), offsets)


def named(corpus):
    return replace(
        corpus,
        digest=corpus_digest(corpus.task, corpus.classes, corpus.metric, corpus.vocabulary, corpus.splits),
    )


def small(**changes):
    train = Split(
        "train", sentences([1, 2], [3]), sentences([2], [1, 1, 3]), np.array([1.5, 4.0], np.float32), ("a", "b")
    )
    dev = Split("dev", sentences([0]), sentences([3, 2, 1]), np.array([2.0], np.float32), ("c",))
    corpus = Corpus("", "regression", (), "pearson", ("", "a", "dog", "runs"), {"train": train, "dev": dev})
    return named(replace(corpus, **changes))


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=8), st.data())
def test_a_batch_holds_each_sentence_in_its_column_and_zeros_below(coded, data):
    rows = np.array(data.draw(st.lists(st.integers(0, len(coded) - 1), max_size=9)), np.int64)
    tokens, lengths = sentences(*coded).padded(rows)
    assert tokens.dtype == lengths.dtype == np.int64
    assert tokens.shape == (max([len(coded[row]) for row in rows], default=1), len(rows))
    for column, row in enumerate(rows):
        assert lengths[column] == len(coded[row])
        assert tokens[:, column].tolist() == coded[row] + [0] * (len(tokens) - len(coded[row]))


def test_lengths_and_sentences_without_a_word():
    coded = sentences([1, 2], [0], [3])
    assert len(coded) == 3
    assert coded.lengths.tolist() == [2, 1, 1]
    assert coded.empty.tolist() == [False, True, False]


def test_what_is_saved_is_loaded(tmp_path):
    corpus = small()
    save(corpus, tmp_path)
    loaded = load(tmp_path, corpus.digest)
    assert (loaded.digest, loaded.task, loaded.classes, loaded.metric, loaded.vocabulary) == (
        corpus.digest, "regression", (), "pearson", ("", "a", "dog", "runs"),
    )  # fmt: skip
    assert list(loaded.splits) == ["train", "dev"]
    for name, split in corpus.splits.items():
        other = loaded.splits[name]
        assert (other.name, other.row_ids, len(other)) == (name, split.row_ids, len(split))
        assert other.labels.dtype == split.labels.dtype
        np.testing.assert_array_equal(other.labels, split.labels)
        for mine, theirs in ((split.first, other.first), (split.second, other.second)):
            assert theirs.tokens.dtype == np.int32
            np.testing.assert_array_equal(mine.tokens, theirs.tokens)
            np.testing.assert_array_equal(mine.offsets, theirs.offsets)


def test_what_is_loaded_is_mapped_and_cannot_be_written(tmp_path):
    corpus = small()
    save(corpus, tmp_path)
    tokens = load(tmp_path, corpus.digest).splits["train"].first.tokens
    assert isinstance(tokens, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 2


def test_two_layouts_of_equal_numbers_have_two_digests():
    corpus = small()
    train, dev = corpus.splits["train"], corpus.splits["dev"]
    variants = [
        corpus,
        small(task="classification"),
        small(metric="spearman"),
        small(classes=("x",)),
        small(vocabulary=("", "a", "dog", "walks")),
        small(splits={"train": train}),
        small(splits={"train": train, "test": dev}),
        small(splits={"train": replace(train, row_ids=("a", "d")), "dev": dev}),
        small(splits={"train": replace(train, labels=np.array([1.5, 3.0], np.float32)), "dev": dev}),
        small(splits={"train": replace(train, labels=np.array([1, 4], np.int64)), "dev": dev}),
        small(splits={"train": replace(train, first=train.second, second=train.first), "dev": dev}),
        small(splits={"train": replace(train, first=sentences([1], [2, 3])), "dev": dev}),
        small(splits={"train": replace(train, first=sentences([2, 1], [3])), "dev": dev}),
    ]
    assert len({variant.digest for variant in variants}) == len(variants)
    assert small(splits={"dev": dev, "train": train}).digest == corpus.digest


def test_the_digest_is_the_same_on_every_machine():
    assert small().digest == "7c3036b9267f6dea"


def damage_end(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-7])


def change_word(path):
    path.write_bytes(path.read_bytes().replace(b'"dog"', b'"cat"'))


def drop_split(path):
    path.write_bytes(path.read_bytes().replace(b'"dev/labels"', b'"dev/l_bels"'))


def other_file(path):
    path.write_text(json.dumps({"corpus": "?"}))


@pytest.mark.parametrize("damage", [damage_end, cut_short, change_word, drop_split, other_file])
def test_a_damaged_file_is_refused(tmp_path, damage):
    corpus = small()
    save(corpus, tmp_path)
    damage(corpus_path(tmp_path, corpus.digest))
    with pytest.raises(MachineError) as caught:
        load(tmp_path, corpus.digest)
    assert corpus.digest in str(caught.value)
    assert "delete" in caught.value.hint


def test_a_file_under_another_name_is_refused(tmp_path):
    corpus = small()
    save(corpus, tmp_path)
    corpus_path(tmp_path, corpus.digest).rename(corpus_path(tmp_path, "0" * 16))
    with pytest.raises(MachineError, match="changed"):
        load(tmp_path, "0" * 16)


def test_a_corpus_that_is_not_there_says_so(tmp_path):
    with pytest.raises(MachineError, match="0123456789abcdef is not in") as caught:
        load(tmp_path, "0123456789abcdef")
    assert "prepares it again" in caught.value.hint


def test_a_cache_that_cannot_be_written_is_a_failure_of_the_machine(tmp_path):
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(MachineError, match="cannot write") as caught:
        save(small(), tmp_path)
    assert "store.root" in caught.value.hint


def test_a_worker_needs_numpy_and_the_specs_pydantic_alone(tmp_path):
    corpus = small()
    save(corpus, tmp_path)
    program = (
        "import sys, pathlib, numpy\n"
        "from nasctl.data import batches, corpus, metrics\n"
        f"loaded = corpus.load(pathlib.Path({str(tmp_path)!r}), {corpus.digest!r})\n"
        "batches.training_batches(loaded.splits['train'], 2, 0, 1)\n"
        "metrics.score('regression', loaded.splits['train'].labels, loaded.splits['train'].labels, 0)\n"
        "own = {'nasctl', 'numpy', 'pydantic', 'pydantic_core', 'annotated_types'} | set(sys.stdlib_module_names)\n"
        "own |= {'typing_extensions', 'typing_inspection'}\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} - own))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    foreign = [
        name
        for name in json.loads(done.stdout.replace("'", '"'))
        if not name.startswith(("_", "cython", "sitecustomize"))
    ]
    assert foreign == []
