"""`nasctl data`: what is here, and what is wrong with it."""

from __future__ import annotations

import json

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
    assert "1 files are new" in result.stderr


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
    assert json.loads(result.stdout) == {"dataset": "own", "train": 18, "dev": 2}
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
    alone = nasctl("data", "check", *own, "--json").stdout
    assert json.loads(alone) == {"dataset": "tickets", "train": 18, "dev": 2}


def test_a_name_beside_a_data_set_that_is_said_is_refused(nasctl):
    result = nasctl("data", "check", "sick", "dataset=demo")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "sick: dataset= says already what is read" in result.stderr


@pytest.mark.parametrize("command", ["check", "fetch"])
def test_an_unknown_name_is_named(nasctl, tmp_path, command):
    result = nasctl("data", command, "sik", f"data.root={tmp_path}")
    assert result.exit_code == 2
    assert "did you mean sick?" in result.stderr
