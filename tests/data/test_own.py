from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasctl.data.own import read_table
from nasctl.errors import UsageError
from nasctl.sources import Columns, DatasetSpec


def spec(train, **changes):
    fields = {
        "name": "own",
        "source": "table",
        "task": "auto",
        "metric": "auto",
        "max_tokens": 50,
        "max_pieces": 128,
        "columns": Columns(first="left", second="right", label="score", id=None),
        "train": None if train is None else str(train),
        "dev": None,
        "test": None,
        "dev_fraction": 0.2,
        "test_fraction": 0.0,
        "split_seed": 0,
        "pairs": None,
    }
    return DatasetSpec(**{**fields, **changes})


ROWS = [
    ("a cat, a dog", 'the "big" cat', "1.5"),
    ('"quoted" first', "tab-free", "2"),
    ("naïve café", "日本語", "4.25"),
    ("last", "one", "5"),
    ("and", "more", "0"),
]


def write_csv(path):
    import csv

    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["score", "left", "extra", "right"])
        writer.writerows([label, first, "x", second] for first, second, label in ROWS)


def write_tsv(path):
    lines = ["score\tleft\textra\tright", *(f"{label}\t{first}\tx\t{second}" for first, second, label in ROWS)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_jsonl(path):
    rows = [{"right": second, "left": first, "score": json.loads(label)} for first, second, label in ROWS]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def write_parquet(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    first, second, label = zip(*ROWS, strict=True)
    columns = {"right": second, "score": [float(text) for text in label], "extra": range(5), "left": first}
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), path)


WRITERS = {".csv": write_csv, ".tsv": write_tsv, ".jsonl": write_jsonl, ".parquet": write_parquet}


@pytest.fixture(params=WRITERS)
def table(request, tmp_path):
    path = tmp_path / f"table{request.param}"
    WRITERS[request.param](path)
    return path


def test_every_format_gives_the_same_pairs(table):
    parts = read_table(spec(table))
    pairs = sorted((pair for part in parts.values() for pair in part.pairs), key=lambda pair: pair.id)
    assert [(pair.first, pair.second) for pair in pairs] == [row[:2] for row in ROWS]
    assert [float(pair.label) for pair in pairs] == [float(row[2]) for row in ROWS]
    assert [pair.id for pair in pairs] == list("12345")
    assert {name: len(part.pairs) for name, part in parts.items()} == {"train": 4, "dev": 1}


def test_a_column_that_is_not_there_is_named_with_those_that_are(table):
    with pytest.raises(UsageError, match=r"no column 'scor' \(dataset.columns.label\)") as caught:
        read_table(spec(table, columns=Columns(first="left", second="right", label="scor", id=None)))
    assert "did you mean score?" in caught.value.hint
    assert "left" in caught.value.hint


def test_names_with_blanks_are_quoted_in_a_hint(tmp_path):
    (tmp_path / "t.csv").write_text("left, right, score\na,b,1\n")
    with pytest.raises(UsageError, match=r"t.csv: no column 'right' \(dataset.columns.second\)") as caught:
        read_table(spec(tmp_path / "t.csv"))
    assert caught.value.hint == "did you mean ' right'? known: ' right', ' score', left"


def test_ids_come_from_their_column(table):
    parts = read_table(spec(table, columns=Columns(first="left", second="right", label="score", id="right")))
    assert {pair.id for part in parts.values() for pair in part.pairs} == {row[1] for row in ROWS}


@pytest.mark.parametrize(
    ("field", "told"),
    [('"He said ""go"" now"', True), ('"He left"', False), ('"Go," he said, "go"', False), ('a ""b"" c', False)],
)
def test_a_tsv_that_was_written_with_quotes_is_told(tmp_path, caplog, field, told):
    path = tmp_path / "table.tsv"
    path.write_text(f"left\tright\tscore\na\tb\t1\n{field}\tb\t2\n{field}\tb\t3\n")
    parts = read_table(spec(path))
    assert sum(pair.first == field for part in parts.values() for pair in part.pairs) == 2
    assert ("table.tsv, line 3: a field looks quoted" in caplog.text) is told
    assert caplog.text.count("looks quoted") == told


def test_byte_order_mark_and_blank_lines_do_no_harm(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes("\ufeffleft,right,score\r\na,b,1\r\n\r\nc,d,2\r\n\r\n".encode())
    parts = read_table(spec(path, dev=None))
    assert {(pair.first, pair.id) for part in parts.values() for pair in part.pairs} == {("a", "1"), ("c", "2")}


def test_a_field_may_span_lines_and_lines_are_still_counted(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('left,right,score\n"a\nb",c,1\nd,e,2\nf,g,3\n')
    parts = read_table(spec(path))
    places = {pair.first: parts[name].lines[row] for name in parts for row, pair in enumerate(parts[name].pairs)}
    assert places == {"a\nb": 2, "d": 4, "f": 5}


def test_files_of_their_own_are_taken_before_fractions(tmp_path):
    paths = {}
    for name in ("train", "dev", "test"):
        paths[name] = tmp_path / f"{name}.csv"
        paths[name].write_text(f"left,right,score\n{name},b,1\nc,{name},2\n")
    parts = read_table(spec(paths["train"], dev=str(paths["dev"]), test=str(paths["test"]), test_fraction=0.5))
    assert {name: part.pairs[0].first for name, part in parts.items()} == {n: n for n in ("train", "dev", "test")}


@settings(max_examples=25)
@given(st.integers(10, 60), st.floats(0.01, 0.4), st.floats(0.01, 0.4), st.integers(0, 3))
def test_fractions_are_shares_of_the_whole_file_and_splits_do_not_overlap(tmp_path_factory, rows, dev, test, seed):
    import math

    path = tmp_path_factory.mktemp("own") / "table.tsv"
    path.write_text("left\tright\tscore\n" + "".join(f"a{row}\tb\t{row}\n" for row in range(rows)))
    parts = read_table(spec(path, dev_fraction=dev, test_fraction=test, split_seed=seed))
    assert list(parts) == ["train", "dev", "test"]
    assert (len(parts["dev"].pairs), len(parts["test"].pairs)) == (math.ceil(dev * rows), math.ceil(test * rows))
    ids = [pair.id for part in parts.values() for pair in part.pairs]
    assert sorted(ids, key=int) == [str(row) for row in range(1, rows + 1)]
    other = read_table(spec(path, dev_fraction=0.3, test_fraction=test, split_seed=seed))
    assert other["test"].pairs == parts["test"].pairs


HEADER = "left,right,score\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", HEADER + "a,b,1\na,b\n", r"t.csv, line 3: 2 fields, but the header has 3"),
        ("t.csv", HEADER + 'a,"b,1\n', r"t.csv, line 2: unexpected end of data"),
        ("t.csv", HEADER + 'a,"b"c,1\n', r"t.csv, line 2: ',' expected"),
        ("t.csv", "left,right,left,score\na,b,c,1\n", r"2 columns called 'left'"),
        ("t.csv", "left;right;score\na;b;1\n", r"no column 'left'"),
        ("t.csv", (HEADER + "a,b,1\ncaf\u00e9,b,2\n").encode("latin-1"), r"t.csv, line 3: byte 0xe9 is not UTF-8"),
        ("t.csv", "", "t.csv has no rows"),
        ("t.tsv", "left\tright\tscore\n", "t.tsv has no rows"),
        ("t.jsonl", "\n", "t.jsonl has no rows"),
        ("t.tsv", "left\tright\tscore\na\tb\t1\n".encode("utf-16"), r"t.tsv, line 1: byte 0xff is not UTF-8"),
        ("t.tsv", "left\tright\tscore\na\tb\tc\t1\n", r"t.tsv, line 2: 4 fields, but the header has 3"),
        ("t.jsonl", '{"left": "a", "right": "b", "score": 1}\n{"left": }\n', r"t.jsonl, line 2: not JSON"),
        ("t.jsonl", "[1]\n", r"t.jsonl, line 1: not a JSON object"),
        ("t.jsonl", '{"left": "a", "right": null, "score": 1}', r"line 1: dataset.columns.second is missing"),
        ("t.jsonl", '{"left": ["a"], "right": "b", "score": 1}', r"line 1: dataset.columns.first is of type list"),
        ("t.jsonl", "[" * 100_000, r"t.jsonl, line 1: not JSON"),
        ("t.jsonl", r'{"left": "a\ud83d", "right": "b", "score": 1}', r"line 1: dataset.columns.first holds half"),
        ("t.jsonl", r'{"left": "a", "right": "b", "score": "\ude00"}', r"line 1: dataset.columns.label holds half a"),
        ("t.parquet", "left,right,score", r"t.parquet cannot be read as Parquet"),
        ("t.xlsx", "", r"the ending .xlsx is unknown"),
        ("table", "", r"the ending that a name needs is unknown"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=message) as caught:
        read_table(spec(path))
    assert caught.value.hint


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "cp1252"])
def test_the_command_that_a_hint_gives_brings_the_text_back(tmp_path, encoding):
    """Excel writes "Unicode text" in UTF-16 and plain CSV in Windows-1252, which has a euro and quotes of its own."""
    import shlex
    import subprocess

    text = HEADER + "caf\u00e9,\u201ca\u201d,1\n5 \u20ac,b,2\n"
    path = tmp_path / "my table.csv"
    mark = "\ufeff" if encoding.startswith("utf-16") else ""
    path.write_bytes((mark + text).encode(encoding))
    with pytest.raises(UsageError, match="is not UTF-8") as caught:
        read_table(spec(path))
    command = shlex.split(caught.value.hint.partition("for example: ")[2])
    converted = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path).stdout
    assert converted.decode("utf-8-sig") == text


def test_a_character_of_two_halves_is_whole(tmp_path):
    (tmp_path / "t.jsonl").write_text(
        "".join(rf'{{"left": "\ud83d\ude00", "right": "b", "score": {n}}}' + "\n" for n in range(3))
    )
    assert read_table(spec(tmp_path / "t.jsonl"))["dev"].pairs[0].first == "\U0001f600"


def test_a_column_that_parquet_has_twice_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    table = pa.Table.from_arrays([pa.array(["a"])] * 4, names=["left", "right", "score", "left"])
    pq.write_table(table, path)
    with pytest.raises(UsageError, match=r"t.parquet has 2 columns called 'left'"):
        read_table(spec(path))
    pq.write_table(table.rename_columns(["left", "right", "score", "more"]), path)
    with pytest.raises(UsageError, match="1 rows left to draw from"):
        read_table(spec(path))


def test_a_file_that_is_not_there_is_named_with_the_nearest(tmp_path):
    (tmp_path / "pairs.csv").touch()
    with pytest.raises(UsageError, match=r"pears.csv is not there") as caught:
        read_table(spec(tmp_path / "pears.csv"))
    assert "pairs.csv" in caught.value.hint
    with pytest.raises(UsageError, match="is a folder"):
        read_table(spec(tmp_path))


def test_one_file_is_not_two_splits(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(HEADER + "a,b,1\nc,d,2\n")
    with pytest.raises(UsageError, match=r"dataset.train and dataset.dev are the same file"):
        read_table(spec(path, dev=f"{tmp_path}/./pairs.csv"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": None}, "needs a training file"),
        ({"columns": None}, "needs dataset.columns"),
        (
            {"columns": Columns(first="left", second="left", label="score", id=None)},
            "dataset.columns.first and dataset.columns.second are the same column 'left'",
        ),
        (
            {"columns": Columns(first="left", second="right", label="right", id=None)},
            "dataset.columns.second and dataset.columns.label are the same column 'right'",
        ),
        ({"dev_fraction": 0.0}, "no dev data"),
        ({"dev_fraction": 0.9}, "2 rows left to draw from; dataset.dev_fraction takes 2"),
    ],
)
def test_settings_that_leave_nothing_are_refused(tmp_path, changes, message):
    path = tmp_path / "pairs.csv"
    path.write_text(HEADER + "a,b,1\nc,d,2\n")
    with pytest.raises(UsageError, match=message) as caught:
        read_table(spec(**{"train": path, **changes}))
    assert caught.value.hint
