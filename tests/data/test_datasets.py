from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from published import write_sick

from nasctl.data.datasets import DATASETS, prepare, tell_empty
from nasctl.errors import MachineError, UsageError
from nasctl.sources import Columns, DatasetSpec

COLUMNS = Columns(first="a", second="b", label="label", id=None)
TABLE = DatasetSpec(
    name="own", source="table", task="auto", metric="auto", max_tokens=5, max_pieces=64, columns=COLUMNS,
    train="train.csv", dev="dev.csv", test=None, dev_fraction=0.0, test_fraction=0.0, split_seed=0, pairs=None,
)  # fmt: skip
SCENES = replace(TABLE, name="demo-sick", source="scenes", columns=None, train=None, dev=None, pairs=60)
SICK = replace(SCENES, name="sick", source="sick", pairs=None)


@pytest.fixture
def table(tmp_path):
    """Two files of three classes in the folder where the test stands; a sentence without words, and a long one."""
    (tmp_path / "train.csv").write_text(
        'a,b,label\nA dog runs.,It ran,yes\nA cat,,no\n"One, two, three, four",a dog,maybe\nA cat,a dog,no\n'
    )
    (tmp_path / "dev.csv").write_text("a,b,label\na horse,A dog,maybe\nA cat,a cat,yes\n")
    return tmp_path


def texts(corpus, split, side):
    sentences = getattr(corpus.splits[split], side)
    return [
        " ".join(corpus.vocabulary[token] for token in sentences.tokens[start:end])
        for start, end in zip(sentences.offsets, sentences.offsets[1:], strict=False)
    ]


def test_a_table_becomes_a_corpus(table, caplog):
    with caplog.at_level(logging.INFO):
        corpus = prepare(TABLE, None, table / "cache")
    assert (corpus.task, corpus.metric, corpus.classes) == ("classification", "accuracy", ("maybe", "no", "yes"))
    assert corpus.splits["train"].labels.tolist() == [2, 1, 0, 1]
    assert corpus.splits["dev"].labels.tolist() == [0, 2]
    assert corpus.splits["train"].row_ids == ("1", "2", "3", "4")
    assert texts(corpus, "train", "first") == ["A dog runs .", "A cat", "One , two , three", "A cat"]
    assert texts(corpus, "train", "second") == ["It ran", "", "a dog", "a dog"]
    assert corpus.splits["train"].second.lengths.tolist() == [2, 1, 2, 2]
    assert corpus.vocabulary[0] == ""
    assert list(corpus.vocabulary) == sorted(set(corpus.vocabulary))
    assert "horse" in corpus.vocabulary
    assert "four" not in corpus.vocabulary
    assert "own: 1 of 8 train sentences cut to 5 tokens" in caplog.text
    assert "own: 3 different labels: classification" in caplog.text


def test_a_sentence_without_words_is_told(table, caplog):
    tell_empty("own", prepare(TABLE, None, table / "cache"))
    assert [record.message for record in caplog.records] == [
        "own: 1 of 8 train sentences without a word, each read as a zero vector"
    ]


def test_labels_stay_as_they_are_in_regression(table):
    (table / "train.csv").write_text("a,b,label\nx,y,0.25\nz,y,4\n")
    (table / "dev.csv").write_text("a,b,label\nx,y,1\nz,y,-2.5\n")
    corpus = prepare(TABLE, None, table / "cache")
    assert (corpus.task, corpus.metric, corpus.classes) == ("regression", "pearson", ())
    assert corpus.splits["dev"].labels.tolist() == [1.0, -2.5]
    assert corpus.splits["dev"].labels.dtype == np.float32


def test_the_second_call_reads_no_pair(table, monkeypatch):
    corpus = prepare(TABLE, None, table / "cache")
    monkeypatch.setattr("nasctl.data.datasets.tokenise", None)
    monkeypatch.setattr("nasctl.data.own.read_text", None)
    assert prepare(TABLE, None, table / "cache").digest == corpus.digest


def test_the_second_call_imports_no_tokenizer_nor_what_it_needs(table):
    prepare(SCENES, None, table / "cache")
    program = (
        "import sys; from pathlib import Path; from pydantic import TypeAdapter\n"
        "from nasctl.data.datasets import prepare; from nasctl.sources import DatasetSpec\n"
        f"spec = TypeAdapter(DatasetSpec).validate_json({json.dumps(dump(SCENES))!r})\n"
        f"prepare(spec, None, Path({str(table / 'cache')!r}))\n"
        "print([name for name in ('spacy', 'torch', 'sklearn', 'pyarrow', 'pooch') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def dump(spec):
    from pydantic import TypeAdapter

    return TypeAdapter(DatasetSpec).dump_python(spec, mode="json")


def test_neither_names_nor_places_are_part_of_the_digest(table):
    first = prepare(TABLE, None, table / "cache")
    (table / "elsewhere").mkdir()
    for name in ("train", "dev"):
        (table / f"{name}.csv").rename(table / "elsewhere" / f"{name}2.csv")
    moved = replace(TABLE, train="elsewhere/train2.csv", dev=str(table / "elsewhere/dev2.csv"))
    assert prepare(moved, None, table / "cache").digest == first.digest
    assert len(list((table / "cache/data").glob("*.json"))) == 1  # found, not made again
    assert prepare(replace(moved, name="other"), None, table / "cache").digest == first.digest
    assert len(list((table / "cache/data").glob("*.arr"))) == 1


@pytest.mark.parametrize(
    "changes", [{"max_tokens": 4}, {"metric": "f1"}, {"columns": replace(COLUMNS, first="b", second="a")}]
)
def test_another_reading_has_another_digest(table, changes):
    first = prepare(TABLE, None, table / "cache")
    assert prepare(replace(TABLE, **changes), None, table / "cache").digest != first.digest


def test_a_changed_file_is_read_again(table):
    first = prepare(TABLE, None, table / "cache")
    with (table / "train.csv").open("a") as stream:
        stream.write("new,words,no\n")
    second = prepare(TABLE, None, table / "cache")
    assert second.digest != first.digest
    assert len(second.splits["train"]) == 5


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("pattern", "damage", "warned"),
    [
        ("*.arr", flip, True),
        ("*.arr", lambda path: path.write_bytes(path.read_bytes()[:100]), True),
        ("*.arr", Path.unlink, False),
        ("*.json", lambda path: path.write_text("{"), True),
        ("*.json", lambda path: path.write_text("[]"), True),
        ("*.json", Path.unlink, False),
    ],
)
def test_a_damaged_cache_is_made_again_with_a_warning(table, caplog, pattern, damage, warned):
    first = prepare(TABLE, None, table / "cache")
    damage(next((table / "cache/data").glob(pattern)))
    caplog.clear()
    assert prepare(TABLE, None, table / "cache").digest == first.digest
    assert ("prepared again" in caplog.text) is warned
    caplog.clear()
    assert prepare(TABLE, None, table / "cache").digest == first.digest
    assert "prepared again" not in caplog.text


def test_a_cache_in_a_place_that_cannot_be_written_is_a_failure_of_the_machine(table):
    (table / "cache").write_text("a file")
    with pytest.raises(MachineError, match="cannot write prepared data sets") as caught:
        prepare(TABLE, None, table / "cache")
    assert "store.root" in caught.value.hint


def test_many_starters_make_it_once(table):
    program = (
        "import sys; from pathlib import Path; from pydantic import TypeAdapter\n"
        "from nasctl.data import datasets; from nasctl.sources import DatasetSpec\n"
        "made = datasets._build\n"
        "def slowly(*arguments):\n"
        "    import time; time.sleep(0.5); print('built'); return made(*arguments)\n"
        "datasets._build = slowly\n"
        "datasets.tokenise = lambda texts: [text.split() for text in texts]\n"
        f"spec = TypeAdapter(DatasetSpec).validate_json({json.dumps(dump(TABLE))!r})\n"
        "print(datasets.prepare(spec, None, Path('cache')).digest)\n"
    )
    starters = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    lines = [line for starter in starters for line in starter.communicate()[0].split()]
    assert [starter.returncode for starter in starters] == [0, 0, 0]
    assert lines.count("built") == 1
    assert len(set(lines) - {"built"}) == 1


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        (replace(TABLE, source="tabel"), "dataset.source=tabel is unknown", "did you mean table?"),
        (replace(TABLE, pairs=9), "dataset.pairs means nothing for dataset.source=table", "dataset.source=scenes"),
        (replace(SICK, train="a.csv"), "dataset.train means nothing for dataset.source=sick", "dataset.source=table"),
        (replace(SICK, dev_fraction=0.2), "dataset.dev_fraction means nothing", "dataset.source=table"),
        (replace(SICK, task="classification"), "dataset.task=classification does not fit sick", "regression"),
        (replace(SCENES, pairs=None), "needs dataset.pairs", "dataset.pairs=1500"),
        (replace(TABLE, metric="pearson"), "dataset.metric=pearson does not fit classification", "accuracy, f1, mcc"),
        (replace(TABLE, task="regression"), "label 'yes' is not a finite number", "dataset.task=classification"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_before_anything_is_written(table, spec, message, hint):
    with pytest.raises(UsageError, match=message) as caught:
        prepare(spec, table, table / "cache")
    assert hint in caught.value.hint
    assert not [path for path in table.glob("cache/data/*") if path.name != "lock"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,label\n", "^dev.csv has no rows$"),
        ("", "^dev.csv has no rows$"),
        ("a,b,label\nx,y,no\nx,z,no\n", r"all 2 labels of the dev split \(dev.csv\) are 'no'"),
        ("a,b,label\nx,y,no\nx,z,on\n", r"dev.csv, line 3: no training pair has the class 'on'"),
    ],
)
def test_a_split_that_cannot_be_used_is_refused(table, content, message):
    (table / "dev.csv").write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        prepare(TABLE, None, table / "cache")
    assert caught.value.hint


def test_an_id_that_is_used_twice_is_named_with_both_lines(table):
    (table / "dev.csv").write_text("a,b,label,name\nx,y,no,7\nx,z,yes,8\nx,z,yes,7\n")
    (table / "train.csv").write_text("a,b,label,name\nx,y,no,7\nx,z,yes,8\n")
    with pytest.raises(UsageError, match=r"dev.csv, line 4: the id '7' was used before, in line 2"):
        prepare(replace(TABLE, columns=replace(COLUMNS, id="name")), None, table / "cache")


def test_published_files_are_found_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("NASCTL_DATA", raising=False)
    with pytest.raises(MachineError, match="no folder of data sets is known") as caught:
        prepare(SICK, None, tmp_path / "cache")
    assert "set NASCTL_DATA; `nasctl data fetch NAME data.root=FOLDER` fills" in caught.value.hint
    monkeypatch.setenv("NASCTL_DATA", str(tmp_path / "named"))
    with pytest.raises(MachineError, match=r"named/sick/SICK_train.txt is not there"):
        prepare(SICK, None, tmp_path / "cache")
    write_sick(tmp_path / "given/sick")
    corpus = prepare(SICK, tmp_path / "given", tmp_path / "cache")
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 4050, "dev": 450, "test": 4927}


def test_every_field_that_some_source_ignores_is_guarded():
    from dataclasses import fields

    from nasctl.data.datasets import UNUSED

    common = {"name", "source", "task", "metric", "max_tokens", "max_pieces"}
    assert {field.name for field in fields(DatasetSpec)} == common | set(UNUSED)
    assert all(any(field in source.fields for source in DATASETS.values()) for field in UNUSED)


def test_drawn_pairs_that_train_has_too_are_told(table, caplog):
    """The last of ten pairs stands there five times: wherever the lines are drawn, one stays."""
    rows = [f"one {row},two {row},{row}.5" for row in range(5)] + ["The same,pair.,3.5"] * 15
    (table / "train.csv").write_text("a,b,label\n" + "\n".join(rows) + "\n")
    spec = replace(TABLE, name="tickets", dev=None, dev_fraction=0.3, test_fraction=0.3)
    prepare(spec, None, table / "cache")
    (told,) = [record.message for record in caplog.records if "stand in train" in record.message]
    assert told == "tickets: pairs that stand in train as well: 1 of dev, 1 of test"


def test_files_that_share_pairs_with_train_are_told(table, caplog):
    """A copy of the training file, and a file of which one pair is known but for case and order."""
    (table / "train.csv").write_text("a,b,label\nx,y,yes\nz,y,no\n")
    (table / "test.csv").write_text("a,b,label\nx,y,yes\nz,y,no\n")
    (table / "dev.csv").write_text("a,b,label\nY,x.,yes\nv,w,no\n")
    prepare(replace(TABLE, test="test.csv"), None, table / "cache")
    (told,) = [record.message for record in caplog.records if "stand in train" in record.message]
    assert told == "own: pairs that stand in train as well: 1 of dev, 2 of test"


def test_where_no_pair_is_shared_nothing_is_told(table, caplog):
    (table / "train.csv").write_text("a,b,label\n" + "".join(f"w{n},y,{'no' if n % 2 else 'yes'}\n" for n in range(40)))
    prepare(replace(TABLE, dev=None, dev_fraction=0.5), None, table / "cache")
    assert "stand in train" not in caplog.text
