"""`nasctl data`: what is here, and what is wrong with it."""

from __future__ import annotations

import json
import logging

import pytest


def test_list_names_every_data_set_and_the_vectors(nasctl):
    from nasctl.config.groups import options

    result = nasctl("data", "list")
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == [*options()["dataset"], "glove"]
    assert "nasctl data fetch sick" in result.stdout
    assert "say data.root=DIR or set NASCTL_DATA" in result.stderr
    entries = {entry["name"]: entry for entry in map(json.loads, nasctl("data", "list", "--json").stdout.splitlines())}
    assert entries["demo"]["state"] == "generated"
    assert entries["sick"]["licence"] == "CC BY-NC-SA 3.0"


def test_fetch_needs_names_and_a_folder(nasctl, monkeypatch):
    monkeypatch.delenv("NASCTL_DATA", raising=False)
    result = nasctl("data", "fetch")
    assert (result.exit_code, "known: mrpc, stsb, sick, glove" in result.stderr) == (2, True)
    assert nasctl("data", "fetch", "sick").exit_code == 4


def test_fetch_prints_what_is_new(nasctl, tmp_path, monkeypatch):
    from nasctl.data import fetch

    monkeypatch.setattr(fetch, "fetch", lambda names, root, *, progress: [root / "sick" / "SICK_train.txt"])
    result = nasctl("data", "fetch", "sick", f"data.root={tmp_path}")
    assert result.stdout == f"{tmp_path}/sick/SICK_train.txt\n"
    assert "1 file is new, all of sick is here" in result.stderr


def test_check_ends_with_code_4_for_what_was_named(nasctl, tmp_path):
    (tmp_path / "sick").mkdir()
    named = nasctl("data", "check", "sick", f"data.root={tmp_path}")
    assert named.exit_code == 4
    assert "SICK_train.txt" in named.stdout
    assert "missing" in named.stdout
    assert "`nasctl data fetch sick` downloads it" in named.stderr
    assert nasctl("data", "check", f"data.root={tmp_path}").exit_code == 0  # nobody said that it should be here
    (tmp_path / "sick" / "SICK_train.txt").write_text("1\ta\tb\t3\tNEUTRAL\n")
    changed = nasctl("data", "check", f"data.root={tmp_path}", "--json")
    assert changed.exit_code == 4
    states = [json.loads(line)["state"] for line in changed.stdout.splitlines()]
    assert states.count("changed") == 1


def test_check_reads_own_data_by_overrides_alone(nasctl, tmp_path):
    rows = [f"a sentence {n},another {n},{n % 3}" for n in range(20)]
    (tmp_path / "pairs.csv").write_text("left,right,kind\n" + "\n".join(rows) + "\n")
    columns = [
        f"dataset.columns.{role}={name}" for role, name in (("first", "left"), ("second", "right"), ("label", "kind"))
    ]
    result = nasctl("data", "check", "dataset=own", "dataset.train=pairs.csv", *columns, "--json")
    known = {"dataset": "own", "task": "classification", "classes": ["0", "1", "2"], "metric": "accuracy"}
    assert json.loads(result.stdout) == known | {"train": 18, "dev": 2}
    wrong = nasctl("data", "check", "dataset=own", "dataset.train=pairs.csv", *columns, "dataset.columns.label=knd")
    assert wrong.exit_code == 2
    assert "did you mean kind?" in wrong.stderr


def test_overlap_counts_shared_pairs(nasctl):
    result = nasctl("data", "check", "demo-sick", "demo-stsb", "--overlap", "--json")
    assert result.exit_code == 0
    for line in result.stdout.splitlines():
        assert set(json.loads(line)) == {"one", "other", "pairs"}


def test_overlap_counts_what_splits_of_own_pairs_share(nasctl, tmp_path):
    rows = [f"a sentence,another,{n}.5" for n in range(20)]
    (tmp_path / "pairs.csv").write_text("first,second,label\n" + "\n".join(rows) + "\n")
    own = ("dataset=own", "dataset.name=tickets", "dataset.train=pairs.csv")
    result = nasctl("data", "check", "--overlap", *own, "--json")
    assert json.loads(result.stdout) == {"one": "tickets/train", "other": "tickets/dev", "pairs": 1}
    table = nasctl("data", "check", "--overlap", *own).stdout
    assert table.splitlines()[1].split() == ["tickets/train", "tickets/dev", "1"]
    logging.getLogger("nasctl").handlers.clear()
    checked = nasctl("data", "check", *own, "--json")
    assert checked.stderr == "nasctl: tickets: pairs that stand in train as well: 1 of dev\n"
    alone = checked.stdout
    scores = {"dataset": "tickets", "task": "regression", "classes": [], "metric": "pearson"}
    assert json.loads(alone) == scores | {"train": 18, "dev": 2}


def test_a_name_beside_a_data_set_that_is_said_is_refused(nasctl):
    result = nasctl("data", "check", "sick", "dataset=demo")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "sick: dataset= says already what is read" in result.stderr


@pytest.mark.parametrize("command", ["check", "fetch"])
def test_an_unknown_name_is_named(nasctl, tmp_path, command):
    result = nasctl("data", command, "sik", f"data.root={tmp_path}")
    assert result.exit_code == 2
    assert "did you mean sick?" in result.stderr


OWN = ("dataset=own", "dataset.name=tickets", "dataset.train=train.csv", "dataset.dev=dev.csv")


@pytest.mark.parametrize(
    ("labels", "overrides", "message"),
    [
        (("yes no", "yes n/a"), (), "dev.csv, line 3: the label is missing ('n/a')"),
        (("yes yes", "yes yes"), (), "all 2 labels of the train split (train.csv) are 'yes'"),
        (("yes no", "no no"), (), "all 2 labels of the dev split (dev.csv) are 'no'"),
        (
            ("yes 3", "yes no"),
            (),
            "the labels mix numbers (train.csv, line 3: '3') and words (train.csv, line 2: 'yes')",
        ),
        (("1 0 1.0", "1 0"), (), "train.csv: the classes '1' and '1.0' are one number"),
        (("yes no", "yes on"), (), "dev.csv, line 3: no training pair has the class 'on'"),
        (("yes no", "yes no"), ("dataset.metric=pearson",), "dataset.metric=pearson does not fit classification"),
    ],
)
def test_check_refuses_labels_that_no_command_accepts(nasctl, tmp_path, labels, overrides, message):
    for name, own in zip(("train", "dev"), labels, strict=True):
        rows = [f"a {row},b {row},{label}" for row, label in enumerate(own.split())]
        (tmp_path / f"{name}.csv").write_text("first,second,label\n" + "\n".join(rows) + "\n")
    for flags in ((), ("--overlap",)):
        result = nasctl("data", "check", *OWN, *overrides, *flags)
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr


@pytest.mark.parametrize(
    ("labels", "overrides", "told"),
    [
        ("yes no", (), "labels read as 2 classes, judged by accuracy"),
        ("4 5", ("dataset.metric=f1",), "labels read as 2 classes (else dataset.task=regression), judged by f1"),
        ("1.5 4", (), "labels read as scores from 1.5 to 4 (else dataset.task=classification), judged by pearson"),
        ("4 5", ("dataset.task=regression",), "labels read as scores from 4 to 5 (else dataset.task=classification), "),
    ],
)
def test_check_tells_how_labels_are_read(nasctl, tmp_path, labels, overrides, told):
    rows = [f"a {row},b {row},{label}" for row, label in enumerate(labels.split())]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.csv").write_text("first,second,label\n" + "\n".join(rows) + "\n")
    result = nasctl("data", "check", *OWN, *overrides)
    assert result.stdout.splitlines()[1].split() == ["train", "2", "train.csv"]
    assert f"tickets: {told}" in result.stdout


def test_of_pairs_that_are_not_ones_own_there_is_one_reading(nasctl):
    told = nasctl("data", "check", "dataset=demo-sick").stdout.splitlines()[-1]
    assert told == "demo-sick: labels read as scores from 1.2 to 5, judged by pearson"


def test_check_takes_groups_of_ones_own(nasctl, tmp_path):
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    (tmp_path / "conf" / "dataset" / "mine.yaml").write_text(
        "defaults: [own, _self_]\nname: mine\ntrain: pairs.csv\ndev_fraction: 0.5\n"
    )
    rows = [f"a {row},b {row},{row % 2}" for row in range(20)]
    (tmp_path / "pairs.csv").write_text("first,second,label\n" + "\n".join(rows) + "\n")
    result = nasctl("data", "check", "dataset=mine", "--conf", "conf", "--json")
    assert (result.exit_code, json.loads(result.stdout)["train"]) == (0, 10)
