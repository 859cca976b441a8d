"""`nasctl search`: whose hyperparameters it takes, and what cannot be a search, a pool or a file of one."""

from __future__ import annotations

import json
import shutil

import pytest
from searching import ALONE, ENAS, FOUND, LITTLE, STUDY, interrupted_after_an_epoch, record_of, runs

from nasctl.cli.options import settings_of
from nasctl.cli.starting import start_of
from nasctl.cli.stores import stores_of


def settings(nasctl, *overrides):
    result = nasctl("search", *overrides, "--cfg", "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def best_of(searched):
    """The values of the best LSTM trial of all studies."""
    trials = [run for run in runs(searched, "trial") if run.tags["nasctl.cell"] == "lstm"]
    assert len({run.study for run in trials}) == 2
    best = max(trials, key=lambda run: run.metrics["value"])
    return best, best.params


def test_the_best_lstms_hyperparameters_are_taken(nasctl, searched):
    best, params = best_of(searched)
    given = settings(nasctl, *LITTLE)
    training = given["training"]
    assert training["hidden"] == [int(params["hidden_1"])]
    assert training["dropout"] == pytest.approx([float(params["dropout_1"]), float(params["dropout_2"])])
    assert training["variational_dropout"] == pytest.approx([float(params["variational_dropout_1"])])
    assert training["weight_decay"] == pytest.approx(float(params["weight_decay"]))
    assert (training["batch_size"], training["loss"], given["seed"]) == (32, "mse", int(params["seed"]))
    asked = ("learning_rate", "grad_norm", "epochs", "patience")
    assert [training[key] for key in asked] == [1e-4, 0.25, 150, 20]
    begun = nasctl("search", *ENAS, "search.name=other")
    assert f"hyperparameters: {best.study}, trial {best.trial}" in begun.stderr
    assert record_of(searched, "other").digest != record_of(searched, "demo-sick-svd-blm-enas").digest


def test_what_is_typed_wins(nasctl, searched):
    given = settings(
        nasctl, *LITTLE, "training.hidden=[7]", "training.epochs=3", "seed=11", "search.training.patience=4"
    )
    assert [given["training"][key] for key in ("hidden", "epochs", "patience")] == [[7], 3, 4]
    assert given["seed"] == 11


def test_a_search_keeps_what_it_began_with(nasctl, searched):
    best, _ = best_of(searched)
    with interrupted_after_an_epoch():
        assert nasctl("search", *ENAS, "search.name=kept").exit_code == 130
    before = settings(nasctl, *ENAS, "search.name=kept")
    assert "stale" not in nasctl("status").output
    nasctl("baseline", *STUDY, "study.name=third", "training.epochs=30", "study.space.hidden.choices=[48]")
    assert settings(nasctl, *ENAS, "search.name=new")["training"]["hidden"] == [
        48
    ]  # another would take the better one's
    assert settings(nasctl, *ENAS, "search.name=kept") == before
    told = nasctl("status")
    assert "kept                     stopped, stale" in told.stdout
    assert "kept is stale: the best LSTM is third, trial" in told.stderr
    searches = [json.loads(line) for line in nasctl("status", "--json").stdout.splitlines() if '"search"' in line]
    assert {each["search"] for each in searches if each["stale"]} == {"kept", "demo-sick-svd-blm-enas"}
    result = nasctl("resume", "kept")
    assert result.exit_code == 0, result.stderr
    assert f"hyperparameters: as it was begun ({best.study}, trial {best.trial})" in result.stderr
    (run,) = [each for each in runs(searched, "search") if each.tags["nasctl.name"] == "kept"]
    assert run.tags["nasctl.start"] == f"{best.study}, trial {best.trial}"


def test_only_lstms_of_the_same_metric_and_vectors_are_asked(nasctl, store):
    here = ("dataset=demo-mrpc", "dataset.pairs=120")
    widths = {"accuracy": 3, "f1": 4}
    for metric, width in widths.items():
        hidden = f"study.space.hidden.choices=[{width}]"
        nasctl("baseline", *STUDY, *here, f"dataset.metric={metric}", f"study.name={metric}", hidden)
    for metric, width in widths.items():
        assert settings(nasctl, *LITTLE, *here, f"dataset.metric={metric}")["training"]["hidden"] == [width]
        begun = nasctl("search", *ENAS, *here, f"dataset.metric={metric}", f"search.name=by-{metric}")
        assert f"hyperparameters: {metric}, trial" in begun.stderr
    told = nasctl("status")
    assert "by-accuracy  finished  " in told.stdout
    assert "stale" not in told.output
    (store / "searches" / "by-f1" / "identity.json").write_text("{}")
    assert nasctl("status").exit_code == 0

    for other in ("embedding.window=3", "dataset.metric=mcc"):
        result = nasctl("search", *ENAS, *here, other, "search.name=other")
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert "dataset=demo-mrpc embedding=svd model=blm" in line
        assert "is of the data, the metric, the vectors and the readings that the search would have" in line
    found = ("cell=searched", *FOUND, "cell.pool=by-accuracy", "dataset.metric=f1")
    tuned = nasctl("tune", *STUDY, *here, *found)
    assert tuned.exit_code == 2
    assert "by-accuracy searched on other data, or by another metric, than demo-mrpc has now" in tuned.stderr


def test_the_papers_hyperparameters_and_its_limits(nasctl):
    asked = ("dataset=stsb", "embedding=bert", "model=esim", "search.start=paper")
    whole = settings(nasctl, *asked, "limits=none")["training"]
    limited = settings(nasctl, *asked)["training"]
    assert (whole["batch_size"], whole["hidden"]) == (64, [1152, 1152])
    assert (limited["batch_size"], limited["hidden"]) == (32, [768, 768])
    changed = ("batch_size", "hidden")
    assert [whole.pop(key) and limited.pop(key) for key in changed] == [32, [768, 768]]
    assert whole == limited


def test_only_what_was_lowered_is_said_to_be_within_the_papers_limits():
    asked = ("dataset=stsb", "embedding=bert", "model=esim", "search.start=paper")
    small = ("training.batch_size=16", "training.hidden=[32]")
    for typed, limited in ((asked, True), ((*asked, *small), False), ((*asked, "search.start=training"), False)):
        settings_ = settings_of(typed, ())
        assert start_of(settings_, stores_of(settings_), typed).origin.endswith("limits") == limited


def test_a_group_of_hyperparameters_counts_where_nothing_else_says_them(nasctl):
    assert settings(nasctl, "search.start=training", "training=quick")["training"]["hidden"] == [32]


def test_without_hyperparameters_to_take(nasctl, tmp_path, nothing_starts):
    result = nasctl("search", "dataset=demo-mrpc", "model=esim")
    assert result.exit_code == 2
    asked = "dataset=demo-mrpc embedding=svd model=esim"
    (line,) = result.stderr.splitlines()
    where = f"no LSTM study of {asked} is in {tmp_path / 'runs'}, whose best hyperparameters the search could take"
    begin = "nasctl baseline sweep=demo with that dataset=, embedding= and model="
    hint = f"{begin}, or search.start=paper (Table 5), or search.start=training"
    assert line == f"nasctl: {where}; {hint}"
    assert not (tmp_path / "runs").exists()
    paper = nasctl("search", "dataset=demo-mrpc", "search.start=paper")
    assert paper.exit_code == 2
    assert "search.start=paper: " in paper.stderr
    assert len(paper.stderr.splitlines()) == 1


def test_every_key_is_shown_where_no_search_can_begin(nasctl, tmp_path):
    result = nasctl("search", "--cfg", "--json")
    assert (result.exit_code, json.loads(result.stdout)["search"]["method"]) == (0, "enas")
    assert "no search can begin so: no LSTM study of dataset=demo-sick" in result.stderr
    assert not list(tmp_path.iterdir())


# --- wrong input ------------------------------------------------------------------------------------------------------

SICK = "dataset=demo-sick embedding=svd model=blm search=enas"


def test_a_model_without_layers_is_not_searched(nasctl):
    result = nasctl("search", "model=bow")
    assert result.exit_code == 2
    assert result.stderr == "nasctl: model=bow has no recurrent layer to search a cell for; model=blm\n"


@pytest.mark.usefixtures("searched", "nothing_starts")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cell=random"], "a search has the cells of search.space in every recurrent layer: cell= and layers= are for"),
        (["layers=C"], "cell= and layers= are for nasctl tune; leave them away"),
        (
            ["search.name=x", "search.strategy.reward.pairs=64"],
            "search.strategy.reward.pairs=64, and demo-sick has 9 dev pairs; search.strategy.reward.pairs=9",
        ),
        (
            ["search=enas_memory", "search.strategy.memory.replaced=20000"],
            "search.strategy.memory: of a memory of 10000 cells at most as many replaced, not 20000",
        ),
        (["search=enass"], "did you mean enas"),
        (["search.space.name=ensa"], "there is no space 'ensa'; did you mean enas?"),
        (["search.start=pepper"], "search.start=pepper: expected best, paper or training"),
        (["trials=20"], "trials=20: nasctl search does not read trials; search=random trains search.strategy.trials="),
        (["study.name=x"], "study.name=x: nasctl search does not read study; search.name= names a search"),
        (["sampler=tpe"], "sampler=tpe: nasctl search does not read sampler"),
        (["pruner=hyperband"], "pruner=hyperband: nasctl search does not read pruner"),
        (
            ["search.start=best", "training=quick"],
            "training=quick: search.start=best says the hyperparameters; single keys stand before them, e.g. training.",
        ),
        (["search.start=best", "sweep=small"], "sweep=small: search.start=best says the hyperparameters"),
        (["-m", "seed=1,2"], "2 of these searches are called demo-sick-svd-blm-enas"),
    ],
)
def test_what_is_no_search(nasctl, arguments, message):
    result = nasctl("search", *ENAS, *ALONE, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
    assert result.stdout == ""


@pytest.mark.usefixtures("searched", "nothing_starts")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cell=searched"], "demo-sick-svd-blm-enas has cells of the space enas with 3 nodes, not of enas with 6"),
        (["cell=searched", "cell.space=darts", *FOUND], "with 3 nodes, not of darts with 3; cell.space=enas"),
        (
            ["cell=searched", "model=esim", "cell.search=random_ws", *FOUND],
            "no search has found cells with dataset=demo-sick embedding=svd model=esim search=random_ws in ",
        ),
        (
            ["cell=searched", "cell.pool=demo-sick-svd-blm-ens", *FOUND],
            "cell.pool=demo-sick-svd-blm-ens: there is no such search; did you mean demo-sick-svd-blm-enas",
        ),
        (
            ["cell=searched", "cell.pool=demo-stsb-svd-blm-enas", *FOUND],
            f"cell.pool=demo-stsb-svd-blm-enas was found with {SICK.replace('sick', 'stsb')}, not with {SICK}",
        ),
        (["cell=transferred", *FOUND], "cell.source is needed and has no default; give cell.source="),
        (
            ["cell=transferred", "cell.source=sick", *FOUND],
            "no search has found cells with dataset=sick embedding=svd model=blm search=enas in ",
        ),
        (["cell=transferred", "cell.source=demo-sick", *FOUND], "cell.source=demo-sick is the data set itself"),
    ],
)
def test_what_is_no_pool(nasctl, arguments, message):
    result = nasctl("tune", *STUDY, *arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr


def test_of_several_pools_one_must_be_named(nasctl, searched, nothing_starts):
    shutil.copytree(searched / "searches" / "demo-sick-svd-blm-enas", searched / "searches" / "other")
    several = nasctl("tune", *STUDY, "cell=searched", *FOUND)
    assert several.exit_code == 2
    assert f"2 searches fit {SICK}; cell.pool=demo-sick-svd-blm-enas or cell.pool=other" in several.stderr
    assert nasctl("tune", *STUDY, "cell=searched", *FOUND, "cell.pool=other", "--dry-run").exit_code == 0


def test_files_that_are_damaged_are_named(nasctl, searched, nothing_starts):
    folder = searched / "searches" / "demo-sick-svd-blm-enas"
    samples = (folder / "samples.json").read_text()
    (folder / "samples.json").write_text(samples[: len(samples) // 2])
    examined = nasctl("report", "controller")
    assert examined.exit_code == 4
    assert f"{folder / 'samples.json'} holds no samples" in examined.stderr
    (folder / "record.json").write_text("{")
    for command in (["tune", *STUDY, "cell=searched", *FOUND], ["search", "search=demo", *ENAS]):
        damaged = nasctl(*command)
        assert damaged.exit_code == 3
        (line,) = damaged.stderr.splitlines()[-1:]
        assert f"{folder / 'record.json'} is no record: " in line
        assert "remove its folder, and search again" in line
