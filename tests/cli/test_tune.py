"""`nasctl tune`: a pool of cells from the command to the report's tags, with a worker in this process."""

from __future__ import annotations

import json
import logging
import shlex

import pytest

from nasctl.cells.library import LIBRARY
from nasctl.cells.spelling import digest_of, spelled
from nasctl.cells.text import to_json
from nasctl.cli import studies as module

TINY = (
    "pool=inprocess",  # workers cost seconds to start
    *("sweep=demo", "model=esim", "dataset.pairs=60", "embedding.width=8", "training.epochs=1", "trials=3"),
    *("sampler=random", "study.space.hidden.choices=[3,4]"),
)
POOL = ("cell=random", "cell.nodes=3", "cell.count=4", "layers=CL")


def test_a_study_chooses_among_cells_drawn_at_random(nasctl, store):
    limited = (*TINY, *POOL, "study.limits=[{cells: 1, choices: {hidden: [3, 4, 5]}}]")
    result = nasctl("tune", *limited)
    assert result.exit_code == 0, result.stderr
    first = result.stdout.strip().splitlines()[1].split()
    assert first[:3] == ["demo-sick-svd-esim-RL", "3", "0"]

    told = json.loads(nasctl("tune", *limited, "--json").stdout)  # nothing is left to do
    assert (told["name"], told["trials"]) == ("demo-sick-svd-esim-RL", 3)
    assert f"The cell of demo-sick-svd-esim-RL is {told['architecture']}:\n{told['cell']}\n" in result.stdout
    assert told["cell"].startswith("v")

    from nasctl.tracking.store import MlflowTracker

    tracker = MlflowTracker(f"sqlite:///{store / 'mlflow.db'}", store / "artifacts", "nasctl")
    (study,) = tracker.runs("study")
    wanted = {"cell": "random", "layers": "CL", "letters": "RL", "limits": "paper", "code_1": told["architecture"]}
    for key, text in wanted.items():
        assert study.tags[f"nasctl.{key}"] == text
    trials = {run.trial: run for run in tracker.runs("trial")}
    for run in trials.values():
        assert run.tags["nasctl.code_1"] == run.params["architecture"]
        assert run.tags["nasctl.digest_1"] != "lstm"
        assert run.tags["nasctl.code_2"] == run.tags["nasctl.digest_2"] == "lstm"
        assert run.tags["nasctl.pool"] == study.tags["nasctl.pool"]
    best = trials[int(study.tags["nasctl.best_trial"])]
    assert best.params["architecture"] == told["architecture"]
    assert best.tags["nasctl.digest_1"] == digest_of(told["cell"])
    assert best.tags["nasctl.backend"] == "planned"  # for the cell's layer and the LSTM's

    other = nasctl("tune", *TINY, *POOL, "cell.seed=1")
    assert other.exit_code == 3
    assert "was begun with other settings: pool.cells." in other.stderr
    assert "study.name=OTHER" in other.stderr
    moved = nasctl("tune", *TINY, *POOL[:-1], "layers=LC", "study.name=demo-sick-svd-esim-RL")
    assert moved.exit_code == 3

    plan = json.loads(nasctl("tune", *TINY, *POOL, "--dry-run", "--json").stdout)
    assert (plan["past_runs"] + plan["smaller_runs"], plan["dearer"], len(plan["cells"])) == (3, 1.0, 4)


def test_one_cell_needs_no_choice(nasctl, store):
    result = nasctl("tune", *TINY, "trials=1", "model=blm", "cell=named", "cell.names=[gru]", "--json")
    told = json.loads(result.stdout)
    assert (told["name"], told["architecture"]) == ("demo-sick-svd-blm-C", "gru")
    assert told["cell"] == spelled(LIBRARY["gru"].graph)


def test_cells_are_dearer_than_the_lstms_of_the_past(nasctl, store):
    asked = (*TINY, "study.space.hidden.choices=[4]")
    nasctl("baseline", *asked, "trials=1")
    lstms = json.loads(nasctl("baseline", *asked, "--dry-run", "--json").stdout)
    cells = json.loads(nasctl("tune", *asked, "layers=RR", "--dry-run", "--json").stdout)
    half = json.loads(nasctl("tune", *asked, "layers=RL", "--dry-run", "--json").stdout)
    assert lstms["dearer"] == 1.0
    assert cells["dearer"] == 2.0  # 2 products of x and 12 of the state, for the LSTM's 4 and 4
    assert cells["epoch_seconds"] == pytest.approx(lstms["epoch_seconds"] * cells["dearer"])
    assert half["dearer"] == pytest.approx((1 + cells["dearer"]) / 2)
    shown = nasctl("tune", *asked, "layers=RR", "--dry-run").stdout
    assert "of 1 run in the store with LSTMs, times 2.0" in shown
    assert "architecture: one of 10 cells" in shown


def test_a_graph_under_two_names_is_told(nasctl, store):
    logging.getLogger("nasctl").handlers.clear()
    result = nasctl("tune", *TINY, "cell=named", "cell.names=[enas-8,enas-10]", "--dry-run")
    assert result.exit_code == 0
    assert "nasctl: the cells enas-8, enas-10 are one graph" in result.stderr


def test_a_cell_comes_from_a_file(nasctl, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(to_json(LIBRARY["rnn"].graph)))
    result = nasctl("tune", *TINY, "cell=file", "cell.files=[mine.json]", "--dry-run")
    assert "cells    mine\n" in result.stdout
    assert result.stdout.startswith("demo-sick svd esim CC:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nasctl tune chooses from a pool of cells, and cell=lstm has none; cell=random, cell=named or cell=file"),
        (["cell=random", "layers=LL"], "layers=LL does not fit model=esim with cell=random; layers=CC or CL or LC"),
        (["cell=random", "layers=C"], "one letter per recurrent layer: layers=CC or CL or LC"),
        (["layers=RL", "cell=lstm"], "layers=RL is short for cell=random layers=CL, and contradicts cell=lstm"),
        (["layers=EL"], "no search has found cells with dataset=demo-sick embedding=svd model=esim search=enas in "),
        (["cell=random", "model=bow"], "model=bow has no recurrent layer in which cell=random could stand"),
        (["cell=named", "cell.names=[gru,gur]"], "there is no cell 'gur' in the library; did you mean gru"),
        (["cell=named", "cell.names=[gru,gru]"], "the pool has two cells called gru; name each cell once"),
        (["cell=file", "cell.files=[nowhere.json]"], "nowhere.json cannot be read"),
        (["cell=random", "study.space.hidden.choices=[0]"], "0 cannot be a hidden"),
    ],
)
def test_what_can_be_known_is_told_before_anything_starts(nasctl, store, monkeypatch, arguments, message):
    monkeypatch.setattr(module, "_run", pytest.fail)
    result = nasctl("tune", *TINY, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
    assert result.stdout == ""


def test_without_a_sweep_the_papers_applies_or_none(nasctl):
    settings = json.loads(nasctl("tune", "embedding=glove", "layers=R", "--cfg", "--json").stdout)
    assert settings["trials"] == 200
    assert "no sweep applies" in nasctl("tune", "cell=random").stderr


def test_the_command_that_goes_on_is_the_one_that_was_given(nasctl, store, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "_run", lambda _, resume, *, as_json: asked.append(resume))
    nasctl("tune", "sweep=demo", "layers=R")
    assert [shlex.split(resume) for resume in asked] == [["nasctl", "tune", "sweep=demo", "layers=R"]]
