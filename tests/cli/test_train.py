"""`nasctl train`: from the command to the logged run, on a few generated pairs."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest

from nasctl.cli import names
from nasctl.cli import train as module
from nasctl.cli.options import settings_of
from nasctl.errors import StoppedError
from nasctl.tracking.records import EpochRecord

TINY = ("model=bow", "dataset.pairs=60", "embedding.width=8", "training.epochs=2")


@pytest.fixture(autouse=True)
def one_thread():
    """What the command sets for its process is taken back."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_run_is_trained_evaluated_and_logged(nasctl, store):
    result = nasctl("train", *TINY, "--json")
    told = json.loads(result.stdout)
    assert {"dev/pearson", "test/pearson", "seconds", "digest", "run"} <= set(told)
    assert told["state"] == "finished"
    assert [line.split()[1] for line in result.stderr.splitlines() if line.startswith("epoch")] == ["1", "2"]
    assert all(line.endswith(" s") for line in result.stderr.splitlines() if line.startswith("epoch"))

    from nasctl.tracking.store import MlflowTracker

    (run,) = MlflowTracker(f"sqlite:///{store / 'mlflow.db'}", store / "artifacts", "nasctl").runs("run")
    assert run.id == told["run"]
    assert run.tags["nasctl.name"] == "demo-sick-svd-bow-s0"
    assert run.tags["nasctl.role"] == "final"
    assert run.metrics["test/pearson"] == pytest.approx(told["test/pearson"])
    assert run.params["dropout_1"] == "0.35"
    assert run.tags["nasctl.changed"] == "embedding.width=8"
    assert {path.name for path in run.artifacts.iterdir()} == {"best.safetensors", "config.yaml", "predictions.jsonl"}
    rows = [json.loads(line) for line in (run.artifacts / "predictions.jsonl").read_text().splitlines()]
    assert {row["split"] for row in rows} == {"dev", "test"}
    assert not [path for path in store.iterdir() if path.name.startswith("train-")]


def test_the_seconds_are_those_of_training_and_of_evaluating(nasctl, store, monkeypatch):
    from nasctl.experiments import run

    evaluate = run.evaluate

    def slow(*arguments):
        found = evaluate(*arguments)
        return replace(found, record=replace(found.record, seconds={"load": 1000.0, "evaluate": 1.0}))

    monkeypatch.setattr(run, "evaluate", slow)
    told = json.loads(nasctl("train", *TINY, "--json").stdout)

    from nasctl.tracking.store import MlflowTracker

    (logged,) = MlflowTracker(f"sqlite:///{store / 'mlflow.db'}", store / "artifacts", "nasctl").runs("run")
    assert logged.metrics["seconds/load"] > 1000.0
    assert told["seconds"] == pytest.approx(logged.metrics["seconds"])


def test_several_seeds_give_a_mean(nasctl, store):
    result = nasctl("train", *TINY, "training.epochs=1", "-m", "seed=0,1")
    assert result.stdout.count("finished, best epoch 1 of 1") == 2
    means = result.stdout.partition("SPLIT")[2].splitlines()
    assert means[0].split() == ["METRIC", "MEAN", "SD", "RUNS"]
    assert means[1].split()[:2] == ["dev", "pearson"]
    assert means[1].split()[-1] == "2"


def test_all_runs_are_checked_before_the_first_begins(nasctl, store, monkeypatch):
    monkeypatch.setattr(module, "_train", pytest.fail)
    result = nasctl("train", *TINY, "-m", "training.loss=mse,cross_entropy")
    assert result.exit_code == 2
    assert "training.loss=cross_entropy does not fit" in result.stderr
    result = nasctl("train", *TINY, "-m", "seed=0,x")
    assert result.stderr == "nasctl: seed=x: expected a whole number\n"


def test_cfg_prints_the_configuration_and_stops(nasctl, tmp_path):
    import yaml

    assert yaml.safe_load(nasctl("train", "--cfg", "seed=7").stdout)["seed"] == 7
    assert json.loads(nasctl("train", "--cfg", "--json", "seed=7").stdout)["seed"] == 7
    both = list(yaml.safe_load_all(nasctl("train", "--cfg", "-m", "seed=7,8").stdout))
    assert [settings["seed"] for settings in both] == [7, 8]
    assert not list(tmp_path.iterdir())


def test_cfg_names_the_addresses_that_the_environment_says(nasctl, monkeypatch):
    assert nasctl("train", "--cfg").stderr == ""
    monkeypatch.setenv("NASCTL_STORE_URL", "postgresql://me:secret@host/db")
    assert nasctl("train", "--cfg").output.endswith("store.url is what NASCTL_STORE_URL says\n")


def test_dry_run_touches_nothing(nasctl, tmp_path):
    result = nasctl("train", "--dry-run")
    assert "demo-sick svd blm L: 1 trial of at most 75 epochs" in result.stdout
    assert "train 1050, dev 225, test 225" in result.stdout
    assert result.stderr == "nothing was started\n"
    plan = json.loads(nasctl("train", "--dry-run", "--json", "model=bow").stdout)
    assert plan["trials"] == 1
    assert plan["seconds"] is None
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_is_not_there_is_told_before_anything_is_prepared(nasctl, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = nasctl("train", *TINY, "device=cuda")
    assert result.exit_code == 4
    assert result.stderr == (
        "nasctl: device=cuda was asked for, and there is no GPU to be seen; device=cpu, or nasctl doctor\n"
    )
    assert not list(tmp_path.iterdir())


def test_too_little_disk_is_code_4(nasctl, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 100_000_000))
    result = nasctl("train", *TINY)
    assert result.exit_code == 4
    assert "100 MB free" in result.stderr


# --- the paper's rows -------------------------------------------------------------------------------------------------


def test_a_row_of_the_paper_sets_everything(nasctl):
    settings = json.loads(nasctl("train", "--paper", "esim/glove/LL/sick", "--cfg", "--json").stdout)
    assert (settings["dataset"]["name"], settings["model"]["name"], settings["layers"]) == ("sick", "esim", "LL")
    assert settings["seed"] == 1
    training = settings["training"]
    assert training["hidden"] == [200, 300]
    assert training["dropout"] == [0.4369, 0.5705]
    assert training["variational_dropout"] == [0.4491, 0.3239]
    assert (training["batch_size"], training["learning_rate"], training["loss"]) == (32, 0.0018, "mse")
    assert (training["weight_decay"], training["grad_norm"], training["epochs"]) == (0.0804, 12.3511, 75)


def test_explicit_overrides_stand_before_the_paper(nasctl):
    arguments = ("--paper", "blm/glove/L/sick", "--cfg", "--json")
    settings = json.loads(nasctl("train", "seed=9", "embedding=svd", "training.hidden=[8]", *arguments).stdout)
    assert (settings["seed"], settings["embedding"]["name"], settings["training"]["hidden"]) == (9, "svd", [8])
    assert settings["training"]["batch_size"] == 64


@pytest.mark.parametrize(
    ("row", "name", "layers"),
    [
        ("blm/glove/R/sick", "enas-24", "C"),
        ("esim/glove/EL/sick", "enas-10", "CL"),
        ("esim/glove/LE/mrpc", "enas-2", "LC"),
    ],
)
def test_a_row_with_other_cells_names_that_of_table_6(nasctl, row, name, layers):
    settings = json.loads(nasctl("train", "--paper", row, "--cfg", "--json").stdout)
    assert (settings["cell"], settings["layers"]) == ({"name": "named", "names": [name]}, layers)


@pytest.mark.parametrize(
    ("explicit", "cell", "layers"),
    [
        (["cell=lstm"], "lstm", None),
        (["cell.names=[gru]"], "named", "CL"),
        (["layers=LC"], "named", "LC"),
        (["layers=RL"], "random", "CL"),
    ],
)
def test_explicit_cells_stand_before_those_of_the_row(nasctl, explicit, cell, layers):
    settings = json.loads(nasctl("train", *explicit, "--paper", "esim/glove/EL/sick", "--cfg", "--json").stdout)
    assert (settings["cell"]["name"], settings["layers"]) == (cell, layers)


def test_a_row_is_logged_under_its_own_letters(nasctl, store):
    tiny = (*TINY[1:], "dataset=demo-sick", "embedding=svd", "training.hidden=[3]", "training.epochs=1")
    told = json.loads(nasctl("train", *tiny, "--paper", "blm/glove/R/sick", "--json").stdout)
    assert told["name"] == "demo-sick-svd-blm-R-s0"

    from nasctl.tracking.store import MlflowTracker

    (run,) = MlflowTracker(f"sqlite:///{store / 'mlflow.db'}", store / "artifacts", "nasctl").runs("run")
    assert run.params["architecture"] == run.tags["nasctl.code_1"] == "enas-24"
    assert (run.tags["nasctl.paper"], run.tags["nasctl.letters"]) == ("blm/glove/R/sick", "R")
    assert (run.tags["nasctl.cell"], run.tags["nasctl.layers"]) == ("named", "C")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["cell=random"],
            "the pool of cell=random has 10; nasctl tune chooses; take one: cell=named 'cell.names=[",
        ),
        (["cell=named", "cell.names=[gru,rnn]"], "take one: cell=named 'cell.names=[gru]'"),
        (["cell=file", "cell.files=[a.txt,b.txt]"], "take one: 'cell.files=[a.txt]'"),
    ],
)
def test_a_run_has_one_cell(nasctl, tmp_path, arguments, message):
    (tmp_path / "a.txt").write_text("next h1 = tanh(linear(x, h1, +))")
    (tmp_path / "b.txt").write_text("next h1 = relu(linear(x, h1, +))")
    for flag in ((), ("--dry-run",)):
        result = nasctl("train", *arguments, *flag)
        assert result.exit_code == 2
        assert message in result.stderr


def test_a_row_that_is_not_there_is_refused(nasctl):
    result = nasctl("train", "--paper", "blm/glove/L/sik", "--cfg")
    assert result.exit_code == 2
    assert "did you mean blm/glove/L/sick" in result.stderr


@pytest.mark.parametrize("group", ["training=quick", "sweep=small"])
def test_a_row_and_a_group_of_hyperparameters_are_not_mixed(nasctl, group):
    result = nasctl("train", "--paper", "blm/glove/L/sick", group, "--cfg")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"nasctl: {group}: --paper says the hyperparameters; single keys stand before")


@pytest.mark.parametrize("unread", ["trials=3", "study.name=x", "sampler=random", "pruner=median", "search.name=x"])
def test_what_only_a_study_or_a_search_reads_is_refused(nasctl, unread):
    result = nasctl("train", unread, "--cfg")
    assert result.exit_code == 2
    assert (
        f"{unread}: nasctl train does not read {unread.partition('=')[0].partition('.')[0]}; nasctl " in result.stderr
    )


@pytest.mark.parametrize("embedding", ["bert", "minilm"])
def test_a_row_on_bert_takes_any_encoder(nasctl, embedding):
    said = () if embedding == "bert" else (f"embedding={embedding}",)
    settings = json.loads(nasctl("train", "--paper", "esim/bert/RL/stsb", *said, "--cfg", "--json").stdout)
    assert settings["embedding"]["name"] == embedding
    assert (settings["dataset"]["name"], settings["training"]["hidden"]) == ("stsb", [512, 384])


@pytest.mark.parametrize("embedding", ["glove", "bert"])
def test_every_row_is_a_run(embedding):
    from nasctl.cli.paper import paper_overrides, paper_scores
    from nasctl.experiments.layers import layer_letters
    from nasctl.reference import hyperparameters

    rows = [row for row in hyperparameters() if row.embedding == embedding]
    assert len(rows) == 23
    for row in rows:
        said = dict(text.split("=", 1) for text in paper_overrides(row.name, []))
        assert layer_letters(row.model, said.get("cell", "lstm"), said["layers"]) == said["layers"]
        assert said.get("cell.names") == (None if row.architecture is None else f"[enas-{row.architecture}]")
        assert len(said) == (13 if row.architecture is None else 15)
        dev, test = paper_scores(row.name)
        assert 60 < test < dev < 100


def test_transferred_rows_have_the_scores_of_table_2():
    from nasctl.cli.paper import paper_scores

    assert paper_scores("blm/glove/T/sick") == (87.3, 83.5)
    assert paper_scores("blm/glove/R/sick") == (87.6, 84.7)
    assert paper_scores("esim/bert/TL/mrpc") == (87.0, 81.3)


# --- pieces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_goes_on_with_the_same_command(nasctl, store, monkeypatch, number, code):
    command = ("train", *TINY, "training.epochs=4", "--json")
    line = module._epoch_line

    def interrupted(*said):
        os.kill(os.getpid(), number)
        return line(*said)

    monkeypatch.setattr(module, "_epoch_line", interrupted)
    stopped = nasctl(*command)
    assert stopped.exit_code == code
    assert "stopped after epoch 1" in stopped.stderr
    assert "the same command goes on from there" in stopped.stderr
    (left,) = (store / "scratch").glob("*/*")
    monkeypatch.setattr(module, "_epoch_line", line)
    result = nasctl(*command)
    assert result.exit_code == 0
    assert "went on after epoch 1" in result.stderr
    assert left.parent.name == json.loads(result.stdout)["digest"]
    assert not left.parent.exists()


def test_a_second_signal_ends_a_run_at_once(tmp_path, monkeypatch):
    import tiny

    from nasctl.experiments import run as runs

    def twice(*_):
        yield EpochRecord(1, 0.5, {"pearson": 0.1}, 1.0)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("it went on")

    monkeypatch.setattr(runs, "train", twice)
    resumption = runs.Resumption(tmp_path / "none", 0.0, 0.0)
    with pytest.raises(StoppedError, match="stopped after epoch 1") as caught:
        module._followed("x", tiny.run_spec(tmp_path), runs.Workplace(tmp_path, "cpu", 1), resumption)
    assert (caught.value.exit_code, caught.value.hint) == (130, "the same command begins again")


def test_a_run_that_diverged_is_logged_and_said(nasctl, store):
    result = nasctl("train", *TINY, "training.learning_rate=1e30", "training.grad_norm=1e30")
    assert result.exit_code == 0
    assert "diverged" in result.stdout
    assert "loss not finite" in result.stdout


def test_hyperparameters_have_the_names_of_a_space(tmp_path):
    import tiny

    from nasctl.specs import hyperparameters, with_values

    spec = tiny.run_spec(tmp_path, "esim")
    values = hyperparameters(spec.training, [layer.hidden for layer in spec.layers])
    assert {"hidden_1", "hidden_2", "dropout_2", "variational_dropout_2", "seed"} <= set(values)
    assert with_values(spec, values) == spec


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({"dataset": "sick", "embedding": "glove", "model": "blm", "letters": "L"}, "sick-glove-blm-L"),
        ({"dataset": "my pairs/2", "embedding": "svd", "model": "bow", "letters": ""}, "my_pairs_2-svd-bow"),
        ({"dataset": "x" * 200, "embedding": "svd", "model": "bow", "letters": ""}, "x" * 100),
    ],
)
def test_names_say_what_a_run_is(labels, name):
    assert names.study_name(labels) == name
    assert names.run_name(labels, 3) == f"{name}-s3"


def test_the_name_of_a_search_is_that_of_a_folder():
    settings = settings_of(["embedding=hf", "embedding.name=owner/name"], ())
    assert names.search_name(settings) == "demo-sick-owner_name-blm-enas"


def test_epoch_lines_tell_the_seconds_of_that_epoch():
    epoch = EpochRecord(7, 0.123456, {"pearson": 0.5}, 12.0)
    assert module._epoch_line(epoch, 2.5) == "epoch   7  loss 0.1235  dev pearson 50.00  2.5 s"
    assert "not finite" in module._epoch_line(replace(epoch, loss=None, dev={}), 9.5)
