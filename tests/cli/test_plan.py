"""`--dry-run`: it refuses what the command itself would, and only runs that were no smaller bound the time it says."""

from __future__ import annotations

import json
import types

import pytest

from nasctl.cli import plan as module
from nasctl.tracking import tags as tag
from nasctl.tracking.records import StoredRun

ASKED = ("dataset.pairs=60", "embedding.width=8", "model=esim", "training.hidden=[600,100]", "training.batch_size=32")


@pytest.fixture
def past(tmp_path, monkeypatch):
    """Put runs of these seconds, parameters and studies into the store; each had two epochs."""

    def runs(*facts):
        tags = {tag.DATASET: "demo-sick", tag.EMBEDDING: "svd", tag.MODEL: "esim", tag.LAYERS: "LL", tag.CELL: "lstm"}
        stored = [
            StoredRun("1", "trial", study, 0, "finished", 0.0, params, tags, {"seconds": seconds, "epochs": 2.0}, None)
            for seconds, params, study in facts
        ]
        monkeypatch.setattr(
            module, "open_tracker", lambda _: types.SimpleNamespace(runs=lambda tags: (each for each in stored))
        )

    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").touch()
    return runs


def params(first, second, batch):
    return {"hidden_1": str(first), "hidden_2": str(second), "batch_size": str(batch)}


def test_only_runs_that_were_no_smaller_bound_the_time(nasctl, past):
    wide, wider = (44.0, params(600, 100, 32), ""), (60.0, params(600, 300, 16), "")
    small = [(1.0, params(32, 32, 32), ""), (1.0, params(300, 600, 32), ""), (1.0, params(600, 100, 64), "")]
    past(*small, wide, wider)
    shown = nasctl("train", *ASKED, "--dry-run").stdout
    assert "at most about 32 min 30 s (26.0 s per epoch, the median of 2 runs in the store)" in shown
    past(*small)
    shown = nasctl("train", *ASKED, "--dry-run").stdout
    assert "time     unknown: the 3 runs so far have narrower layers or larger batches (0.5 s per epoch)" in shown
    plan = json.loads(nasctl("train", *ASKED, "--dry-run", "--json").stdout)
    assert (plan["seconds"], plan["past_runs"], plan["smaller_runs"]) == (None, 0, 3)
    past()
    assert "unknown: nothing like it is in the store yet" in nasctl("train", *ASKED, "--dry-run").stdout


def test_what_a_study_did_not_search_is_read_of_its_identity(nasctl, past, tmp_path):
    study = tmp_path / "runs" / "studies" / "wide"
    study.mkdir(parents=True)
    run = {"layers": [{"hidden": 600}, {"hidden": None}], "training": {"batch_size": 32}}
    (study / "identity.json").write_text(json.dumps({"run": run}))
    past((44.0, {"hidden_2": "100"}, "wide"), (2.0, {"hidden_2": "100"}, "gone"))
    plan = json.loads(nasctl("train", *ASKED, "--dry-run", "--json").stdout)
    assert (plan["epoch_seconds"], plan["past_runs"], plan["smaller_runs"]) == (22.0, 1, 1)


def test_a_study_is_bounded_by_its_widest_layers_and_smallest_batch(nasctl, past):
    past((44.0, params(96, 64, 16), ""), (50.0, params(96, 96, 16), ""), (40.0, params(96, 96, 32), ""))
    asked = ("sweep=demo", "study.space.batch_size={kind: choice, choices: [64, 16]}", *ASKED[:3])
    plan = json.loads(nasctl("baseline", *asked, "--dry-run", "--json").stdout)
    assert (plan["epoch_seconds"], plan["past_runs"], plan["smaller_runs"]) == (25.0, 1, 2)


def test_a_run_is_as_wide_as_it_is_whatever_a_sweep_searches(nasctl, past):
    past((2.0, params(8, 8, 32), ""))
    narrow = ("embedding.width=8", "model=esim", "training.hidden=[8]", "training.batch_size=32", "sweep=demo")
    plan = json.loads(nasctl("train", *narrow, "--dry-run", "--json").stdout)
    assert plan["epoch_seconds"] == 1.0


SMALL = ("dataset.pairs=60", "embedding.width=8", "pool=inprocess")


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train embedding=glove embedding.width=null data.root=nowhere", "embedding.file: no file glove.6B.300d.txt"),
        ("train embedding.file=x.txt", "embedding.file=x.txt means nothing for embedding.source=svd"),
        ("train dataset.metric=accuracy", "dataset.metric=accuracy does not fit regression"),
        ("train training.loss=cross_entropy", "training.loss=cross_entropy does not fit demo-sick (regression)"),
        ("train training.hidden=[8,9]", "training.hidden has 2 values, the model 1"),
        ("train training.dropout=[0.1,0.2,0.3]", "training.dropout has 3 values, the model 2"),
        ("baseline sweep=demo study.enqueue=[{hidden:65}]", "study.enqueue[0].hidden: 65 is none of the choices"),
        ("baseline -m sweep=demo seed=0,1", "2 of these studies are called demo-sick-svd-blm-L"),
        ("baseline -m sweep=demo seed=0,1 workers=1,2", "workers must be the same in all studies"),
        ("search -m search=demo search.start=training seed=0,1", "2 of these searches are called demo-sick-svd-blm-"),
        (
            "search search=demo search.start=training search.strategy.reward.pairs=100000",
            "search.strategy.reward.pairs=100000, and demo-sick has 9 dev pairs",
        ),
    ],
)
def test_a_dry_run_refuses_what_the_command_refuses(nasctl, store, tmp_path, command, message):
    name, *rest = command.split()
    words = (name, *SMALL, *rest)
    before = sorted(tmp_path.rglob("*"))
    dry = nasctl(*words, "--dry-run")
    assert (dry.exit_code, dry.stdout) == (2, "")
    assert message in dry.stderr
    assert sorted(tmp_path.rglob("*")) == before
    real = nasctl(*words)
    assert (real.exit_code, real.stderr) == (2, dry.stderr)
