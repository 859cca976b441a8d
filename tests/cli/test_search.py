"""`nasctl search`, and what becomes of its pools: from the LSTM study to the rows of the report, in this process."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from searching import ALONE, ENAS, FOUND, REWARDS, STUDY, TINY, interrupted_after_an_epoch, record_of, runs


def without_time(record):
    return [
        (record.value, record.best_epoch, record.found),
        [(each.loss, each.dev, dict(each.search), each.cell) for each in record.history],
    ]


def test_from_a_search_to_the_report(nasctl, searched):
    pool = record_of(searched, "demo-sick-svd-blm-enas").found
    assert len({cell.code for cell in pool}) == 4
    told = json.loads(nasctl("tune", *STUDY, "cell=searched", *FOUND, "--json").stdout)
    assert (told["name"], told["trials"]) == ("demo-sick-svd-blm-E", 2)
    assert told["architecture"] in {cell.code for cell in pool}
    moved = nasctl("tune", *STUDY, "cell=transferred", "cell.source=demo-stsb", *FOUND, "--json")
    assert moved.exit_code == 0, moved.stderr
    there = {cell.code for cell in record_of(searched, "demo-stsb-svd-blm-enas").found}
    assert json.loads(moved.stdout)["name"] == "demo-sick-svd-blm-T"
    assert json.loads(moved.stdout)["architecture"] in there

    tags = {run.study: run.tags for run in runs(searched, "study")}
    assert tags["demo-sick-svd-blm-E"].items() >= {
        ("nasctl.cell", "searched"),
        ("nasctl.letters", "E"),
        ("nasctl.found_by", "demo-sick-svd-blm-enas"),
        ("nasctl.search", "enas"),
    }
    assert "nasctl.source" not in tags["demo-sick-svd-blm-E"]
    here = [run for run in runs(searched, "search") if run.tags["nasctl.name"] == "demo-sick-svd-blm-enas"]
    assert {run.tags["nasctl.basis"] for run in here} == {tags["demo-sick-svd-blm-E"]["nasctl.basis"]}
    assert tags["demo-sick-svd-blm-T"].items() >= {
        ("nasctl.cell", "transferred"),
        ("nasctl.letters", "T"),
        ("nasctl.found_by", "demo-stsb-svd-blm-enas"),
        ("nasctl.search", "enas"),
        ("nasctl.source", "demo-stsb"),
    }
    rows = [line.split(",") for line in nasctl("report", "studies", "--format", "csv").stdout.splitlines()]
    letters = {row[0]: row[rows[0].index("RNN")] for row in rows[1:]}
    assert letters.items() >= {("demo-sick-svd-blm-E", "E"), ("demo-sick-svd-blm-T", "T"), ("second", "L")}
    assert "demo-sick-svd-blm-enas" in nasctl("report", "controller").stdout


def test_three_layouts_choose_from_one_pool(nasctl, searched):
    asked = (*STUDY, "trials=1", "model=esim", "cell=searched", *FOUND)
    result = nasctl("tune", "-m", *asked, "layers=CC,CL,LC", "--json")
    assert result.exit_code == 0, result.stderr
    names = [json.loads(line)["name"] for line in result.stdout.splitlines()]
    assert sorted(names) == [f"demo-sick-svd-esim-{letters}" for letters in ("EE", "EL", "LE")]
    assert len({run.tags["nasctl.pool"] for run in runs(searched, "study") if "esim" in run.study}) == 1
    short = nasctl("tune", *STUDY, "trials=1", "model=esim", "layers=EL", *FOUND, "--json")
    assert json.loads(short.stdout)["name"] == "demo-sick-svd-esim-EL"  # the same study: nothing is left to do


def test_what_a_search_tells(nasctl, searched):
    first = nasctl("search", *ENAS, *ALONE, "search.name=mine")
    assert first.exit_code == 0, first.stderr
    lines = first.stderr.splitlines()
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert [line.split()[1] for line in epochs] == ["1", "2"]
    assert all(len(line) <= 80 for line in epochs), epochs
    assert all(word in epochs[0] for word in ("loss", "dev", "reward", "entropy", "new 100%"))
    assert "hyperparameters: as under training" in lines[0]
    record = record_of(searched, "mine")
    assert all(cell.code in first.stdout for cell in record.found)
    assert (
        lines[-1]
        == "nasctl tune sweep=small embedding.width=8 dataset.pairs=60 cell=searched cell.nodes=3 cell.pool=mine"
    )

    again = nasctl("search", *ENAS, *ALONE, "search.name=mine", "--json")
    assert "as is known" in again.stderr
    told = json.loads(again.stdout)
    assert (told["name"], told["state"], told["digest"], told["epochs"]) == ("mine", "finished", record.digest, 2)
    assert [cell["code"] for cell in told["cells"]] == [cell.code for cell in record.found]
    (run,) = [each for each in runs(searched, "search") if each.tags["nasctl.name"] == "mine"]
    assert run.tags.items() >= {("nasctl.space", "enas"), ("nasctl.nodes", "3"), ("nasctl.start", "as under training")}


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("random_ws", ("search.strategy.candidates=8",)),
        ("enas_cas", REWARDS),
        ("enas_nni", (*REWARDS, "search.strategy.samples=3")),
        (
            "enas_memory",
            (*REWARDS, *(f"search.strategy.memory.{key}" for key in ("first=1", "taught=2", "drawn=5", "batch=3"))),
        ),
    ],
)
def test_the_shipped_strategies_search(nasctl, searched, method, more):
    result = nasctl("search", *TINY, *ALONE, f"search={method}", *more, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["name"], told["epochs"], len(told["cells"])) == (f"demo-sick-svd-blm-{method}", 2, 4)
    epochs = record_of(searched, told["name"]).history
    assert ("supervised" in epochs[1].search) == (method == "enas_memory")
    assert nasctl("tune", *STUDY, "cell=searched", f"cell.search={method}", *FOUND, "--dry-run").exit_code == 0


def test_a_plan_starts_nothing(nasctl, searched, nothing_starts):
    as_tuned = ("training.hidden=[3]", "training.batch_size=32")  # no larger than the LSTMs of the past
    asked = ("search", "-m", *ENAS, *ALONE, *as_tuned, "dataset=demo-sick,demo-stsb", "--dry-run")
    shown = nasctl(*asked).stdout
    assert "demo-sick svd blm search: 1 trial of at most 2 epochs" in shown
    assert "pairs    train 42, dev 9, test 9" in shown
    judged = 2 * (2 * 6 + 2 * 9) + (4 + 3 * 3) * 9  # in two epochs; the pool and what is examined, at the end
    assert f"cost     at most 84 pairs to train on, {judged} to judge cells by" in shown
    plans = [json.loads(line) for line in nasctl(*asked, "--json").stdout.splitlines()]
    assert [(plan["what"], plan["epochs"]) for plan in plans] == [
        ("demo-sick svd blm search", 2),
        ("demo-stsb svd blm search", 2),
    ]
    assert plans[0]["cells"] == ["the space enas, 3 nodes: 128 codes"]
    spent = plans[0]["epoch_seconds"]
    assert plans[0]["seconds"] == pytest.approx(spent * (2 + judged / 42 / 3))


def test_a_plan_of_candidates_counts_them(nasctl):
    few = ("search.judged=1", "search.training.epochs=1", "search.strategy.candidates=8", "search.found.examined=5")
    plan = nasctl("search", "search=random_ws", *TINY[:3], *few, *ALONE, "--dry-run", "--json").stdout
    assert json.loads(plan)["judged"] == (1 + 8 + 2 * 5) * 9


def test_a_plan_of_cells_alone_has_eight_at_a_time(nasctl):
    asked = ("search=random", *ALONE, "workers=16", "device=cpu", "--dry-run", "--json")
    assert json.loads(nasctl("search", *asked).stdout)["workers"] == 8


# --- going on ---------------------------------------------------------------------------------------------------------


def test_an_interrupted_search_goes_on_with_the_same_bits(nasctl, searched, tmp_path):
    with interrupted_after_an_epoch():
        assert nasctl("search", *ENAS, *ALONE, "search.name=cut").exit_code == 130
    status = nasctl("status", "cut")
    assert "stopped" in status.stdout
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.chdir(elsewhere)
    result = nasctl("resume", "cut", "store.root=../runs")
    assert result.exit_code == 0, result.stderr
    assert "resuming cut: it goes on where it was left; nasctl search" in result.stderr
    assert [line.split()[1] for line in result.stderr.splitlines() if line.startswith("epoch ")] == ["2"]
    assert f"\ncd {tmp_path} && nasctl tune " in result.stderr
    assert Path.cwd() == elsewhere
    os.chdir(tmp_path)
    nasctl("search", *ENAS, *ALONE, "search.name=whole")
    assert without_time(record_of(searched, "cut")) == without_time(record_of(searched, "whole"))


def test_another_searchs_checkpoint_is_not_taken_up(nasctl, searched):
    for name, rate in (("one", "1e-3"), ("two", "2e-3")):
        with interrupted_after_an_epoch():
            nasctl("search", *ENAS, *ALONE, f"search.name={name}", f"training.learning_rate={rate}")
    (one,), (two,) = ((searched / "searches" / name).rglob("resume.safetensors") for name in ("one", "two"))
    shutil.copyfile(one, two)
    result = nasctl("resume", "two")
    assert result.exit_code == 0, result.stderr
    (line,) = [
        line for line in result.stderr.splitlines() if "is not used, the run begins again: its digest is" in line
    ]
    assert line.startswith(f"nasctl: {two} ")
    assert [each.epoch for each in record_of(searched, "two").history] == [1, 2]


@pytest.mark.usefixtures("nothing_starts")
def test_a_name_is_of_one_search(nasctl, searched):
    other = nasctl("search", "search=demo", *ENAS, "search.judged=3")
    assert other.exit_code == 3
    (line,) = other.stderr.splitlines()[-1:]
    assert "demo-sick-svd-blm-enas was begun with other settings: judged" in line
    assert "search.name=OTHER" in line


def test_a_search_needs_the_memory_of_its_own_layers(nasctl, tmp_path):
    """Not that of the widest ones that a study of the same model may choose."""
    (tmp_path / "glove.6B.300d.txt").touch()

    def needed(width):
        asked = ("search", "embedding=glove", "search.start=training", f"training.hidden=[{width}]")
        return json.loads(nasctl(*asked, "--dry-run", "--json").stdout)["worker_memory"]

    assert needed(8) < 0.6 * needed(600)
