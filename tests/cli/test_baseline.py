"""`nasctl baseline`, and `status` and `report` behind it, with a worker in this process."""

from __future__ import annotations

import json
import shlex
import types

import pytest

from nasctl.cli import driving
from nasctl.cli import studies as module
from nasctl.errors import UsageError

# Whoever comes first imports torch, MLflow, Optuna and spaCy, which takes minutes on a machine that is busy enough. A
# timeout within an import leaves half a torch behind, with which the tests that follow fail, too, and look guilty.
pytestmark = pytest.mark.timeout(900)

TINY = (
    "pool=inprocess",  # workers cost seconds to start
    *("sweep=demo", "model=bow", "dataset.pairs=60", "embedding.width=8", "training.epochs=2", "trials=2"),
    *("sampler=random", "study.space.batch_size=null", "training.batch_size=8"),
)


def test_a_study_runs_to_its_end_and_is_reported(nasctl, store):
    result = nasctl("baseline", *TINY)
    assert result.exit_code == 0
    head, first = [line.split() for line in result.stdout.strip().splitlines()[:2]]
    assert head == ["STUDY", "TRIALS", "FAILED", "BEST", "METRIC", "DEV", "TEST"]
    assert first[:3] == ["demo-sick-svd-bow", "2", "0"]
    assert first[4] == "pearson"
    assert "trial 0 (1/2): pearson" in result.stderr
    assert "nasctl ui: every trial in the browser" in result.stderr

    again = nasctl("baseline", *TINY, "--json")  # nothing is left to do
    told = json.loads(again.stdout)
    assert (told["name"], told["trials"], told["failed"]) == ("demo-sick-svd-bow", 2, 0)
    assert f"{100 * told['test/pearson']:.2f}" == first[6]
    assert "2 trials, 2 are done" in again.stderr

    other = nasctl("baseline", *TINY, "training.epochs=3")
    assert other.exit_code == 3
    assert "training.epochs" in other.stderr

    status = nasctl("status")
    assert status.stdout.splitlines()[1].split()[:4] == ["demo-sick-svd-bow", "finished", "2/2", "0"]
    assert json.loads(nasctl("status", "--json").stdout)["state"] == "finished"
    check_promises(nasctl, store / "studies" / "demo-sick-svd-bow")

    report = nasctl("report")
    assert "demo-sick-svd-bow" in report.stdout
    assert nasctl("report", "studies", "1", "--format", "csv", "--out", "tables").stdout.splitlines() == [
        "tables/table-studies.csv",
        "tables/table-1.csv",
    ]
    assert (store.parent / "tables" / "table-studies.csv").read_text().splitlines()[1].startswith("demo-sick-svd-bow,")

    from nasctl.tracking.store import MlflowTracker

    tracker = MlflowTracker(f"sqlite:///{store / 'mlflow.db'}", store / "artifacts", "nasctl")
    (study,) = tracker.runs("study")
    assert study.tags["nasctl.sweep"] == "demo"
    assert (
        study.tags["nasctl.changed"]
        == "embedding.width=8 sampler.name=random study.space.batch_size=null training.batch_size=8 training.epochs=2"
    )
    assert len(list(tracker.runs("trial"))) == 2

    plan = json.loads(nasctl("baseline", *TINY, "--dry-run", "--json").stdout)
    assert plan["past_runs"] == 2
    assert plan["seconds"] > 0


def check_promises(nasctl, folder):
    kept = nasctl("status", "--verify")
    assert (kept.exit_code, kept.stderr) == (0, "")
    assert kept.stdout.splitlines()[1].split() == ["demo-sick-svd-bow", "kept", "-"]
    unknown = nasctl("status", "demo-sick-svd-bov", "--verify")
    assert unknown.exit_code == nasctl("status", "demo-sick-svd-bov").exit_code == 2
    assert "did you mean demo-sick-svd-bow?" in unknown.stderr

    predictions = folder / "predictions.jsonl"
    before = predictions.read_text("utf-8")
    *rows, last = before.splitlines()
    other = {**json.loads(last), "prediction": 1e3}
    predictions.write_text("\n".join([*rows, json.dumps(other)]), "utf-8")
    broken = nasctl("status", "demo-sick-svd-bow", "--verify")
    assert broken.exit_code == 3
    assert broken.stderr == "nasctl: 1 broken promise in 1 study; README.md, What is promised\n"
    assert "demo-sick-svd-bow, predictions.jsonl: test pearson is " in broken.stdout
    assert "would mend it: MLflow keeps a copy" in broken.stdout
    told = json.loads(nasctl("status", "--verify", "--json").stdout)
    assert (told["kept"], [each["promise"] for each in told["broken"]]) == (False, ["tested"])
    predictions.write_text(before, "utf-8")
    (folder.parents[1] / "mlflow.db").rename(folder / "aside")
    assert "MLflow has nothing of it" in nasctl("status", "--verify").stdout
    assert not (folder.parents[1] / "mlflow.db").exists()
    (folder / "aside").rename(folder.parents[1] / "mlflow.db")


def test_a_deterministic_study_begins_with_what_is_enqueued(nasctl, store):
    enqueued = (
        "sampler=tpe",
        "study.space.batch_size={kind: choice, choices: [8, 16]}",
        "study.enqueue=[{batch_size: 16}]",
    )
    arguments = [each for each in TINY if not each.startswith(("sampler", "study.space.batch", "training.batch"))]
    result = nasctl("baseline", *arguments, *enqueued, "--deterministic", "--json")
    assert result.exit_code == 0
    stored = nasctl("baseline", *arguments, *enqueued, "--json")
    assert (stored.exit_code, "generation: 8 -> None" in stored.stderr) == (3, True)
    again = nasctl("baseline", *arguments, *enqueued, "deterministic=true", "--json")
    assert again.stdout == result.stdout
    wrong = nasctl("baseline", *arguments, *enqueued[:2], "study.enqueue=[{batch_size: 12}]")
    assert (wrong.exit_code, "study.enqueue[0].batch_size: 12" in wrong.stderr) == (2, True)


def test_two_studies_share_the_workers(nasctl, store):
    result = nasctl("baseline", *TINY, "trials=1", "-m", "dataset=demo-sick,demo-stsb", "--json")
    assert result.exit_code == 0, result.stderr
    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == [
        "demo-sick-svd-bow",
        "demo-stsb-svd-bow",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no sweep applies to model=blm embedding=svd; sweep=NAME, one of demo, paper/"),
        (["sweep=demo", "training.batch_size=8"], "the sweep demo searches batch_size"),
        (["sweep=demo", "training.hidden=[8]"], "study.space.hidden=null keeps it fixed"),
        (["sweep=demo", "study.space.hidden.choices=[0]"], "0 cannot be a hidden"),
        (["sweep=demo", "-m", "model=blm,bow", "study.name=x"], "2 of these studies are called x"),
        (["sweep=demo", "-m", "model=blm,bow", "workers=1,2"], "workers must be the same in all studies"),
        (["sweep=demo", "-m", "pool=local,inprocess", "study.name=x"], "pool must be the same in all studies"),
        (["sweep=demo", "layers=LL"], "layers=LL does not fit model=blm"),
        (
            ["sweep=demo", "layers=C"],
            "layers=C does not fit model=blm with cell=lstm; layers=L, or say which cell C is",
        ),
        (["sweep=demo", "cell=random"], "nasctl baseline tunes LSTMs, and cell=random has others; nasctl tune"),
    ],
)
def test_what_can_be_known_is_told_before_anything_starts(nasctl, store, monkeypatch, arguments, message):
    monkeypatch.setattr(driving, "_pool", pytest.fail)
    result = nasctl("baseline", "dataset.pairs=60", "embedding.width=8", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
    assert not (store / "studies").exists()


def test_a_parameter_that_is_not_searched_may_be_set(nasctl):
    result = nasctl("baseline", "sweep=demo", "study.space.batch_size=null", "training.batch_size=8", "--dry-run")
    assert result.exit_code == 0
    assert "batch_size" not in result.stdout
    assert "space    learning_rate: 0.002 .. 0.01, log" in result.stdout


def test_dry_run_shows_the_plan_and_touches_nothing(nasctl, tmp_path):
    result = nasctl("baseline", "sweep=demo", "workers=2", "--dry-run")
    assert "12 trials of at most 25 epochs" in result.stdout
    assert "hidden_1: 64 | 96" in result.stdout
    assert "at most 315,000 pairs to train on, 2 trials at a time" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert not list(tmp_path.iterdir())


def test_a_plan_has_no_more_trials_at_a_time_than_a_study_and_only_losses_that_fit(nasctl):
    asked = ("dataset=demo-sick", "sweep=paper/table3", "study.space.hidden.choices=[8]", "trials=32", "workers=16")
    plan = json.loads(nasctl("baseline", *asked, "device=cpu", "--dry-run", "--json").stdout)
    assert plan["workers"] == 8
    assert "loss: mae | mse" in plan["space"]


def test_the_command_that_goes_on_is_the_one_that_was_given(nasctl, store, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "_run", lambda _, resume, *, as_json: asked.append(resume))
    nasctl("baseline", "sweep=demo", 'data.root="/with space,"', "--conf", str(store))
    (resume,) = asked
    assert shlex.split(resume) == ["nasctl", "baseline", "--conf", str(store), "sweep=demo", 'data.root="/with space,"']


def test_the_estimate_of_disk_bounds_what_a_study_leaves(nasctl, store):
    nasctl("baseline", *TINY)
    left = sum(path.stat().st_size for path in store.rglob("*") if path.is_file() and "cache" not in path.parts)
    assert left < json.loads(nasctl("baseline", *TINY, "--dry-run", "--json").stdout)["bytes"]


def test_more_workers_than_the_memory_holds_are_refused_with_the_estimate(nasctl, store, monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=5_000_000_000))
    result = nasctl("baseline", *TINY[1:], "workers=9", "device=cpu")
    assert result.exit_code == 4
    assert "9 workers need about" in result.stderr
    assert "5.0 GB are available; workers=5, or narrower layers" in result.stderr
    assert not (store / "studies.db").exists()
    plan = nasctl("baseline", *TINY[1:], "workers=9", "device=cpu", "--dry-run")
    assert (plan.exit_code, "for each worker" in plan.stdout) == (0, True)


def test_in_flight_is_at_most_eight(nasctl, store, monkeypatch):
    seen = []

    def note(_, in_flight):
        seen.append(in_flight)
        raise UsageError("seen")

    monkeypatch.setattr(module, "slots", lambda *_: 12)
    monkeypatch.setattr(module, "_spec", note)
    assert nasctl("baseline", *TINY).exit_code == 2
    assert seen == [8]
