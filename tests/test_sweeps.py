"""The shipped sweeps: Table 3 of the paper, whole, and spaces that every model can search."""

from __future__ import annotations

import functools
import json

import pytest

from nasctl.config.composition import compose
from nasctl.config.groups import options
from nasctl.config.settings import SETTINGS, Settings
from nasctl.config.space import ORDER, expand_space
from nasctl.errors import UsageError
from nasctl.models import MODELS
from nasctl.reference import SearchSpaceRow, search_space
from nasctl.specs import Choice, FloatRange, TrainingSpec

PAPER = [("blm", "glove"), ("blm", "bert"), ("esim", "glove"), ("esim", "bert")]


@functools.cache  # composing costs a tenth of a second
def settings_of(*overrides: str) -> Settings:
    return compose(overrides)


def space_of(model: str, embedding: str, task: str | None = None) -> dict[str, object]:
    settings = settings_of(f"model={model}", f"sweep=paper/{model}-{embedding}-lstm")
    return dict(expand_space(settings, MODELS[model].layers, MODELS[model].places, task))


def domain(row: SearchSpaceRow) -> Choice | FloatRange:
    """A row of the oracle as a domain."""
    if row.kind == "float":
        return FloatRange("float", row.low, row.high, row.scale == "log")
    return Choice("choice", tuple(int(word) if word.isdigit() else word for word in row.values))


@pytest.mark.parametrize(("model", "embedding"), PAPER)
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_the_paper_studies_search_all_of_table_3(model, embedding, task):
    rows = {
        (row.hyperparameter, row.applies_to.split()[0].strip(",")): row
        for row in search_space()
        if row.source != "A.2.1"
    }
    expected = {
        name: domain(rows[name, "all"]) for name in ("batch_size", "learning_rate", "weight_decay", "grad_norm", "seed")
    }
    expected["loss"] = domain(rows["loss", task])
    for number in range(1, MODELS[model].layers + 1):
        expected[f"hidden_{number}"] = domain(rows["hidden", embedding])
        expected[f"variational_dropout_{number}"] = domain(rows["variational_dropout", "before"])
    for number in (1, 2):
        expected[f"dropout_{number}"] = domain(rows["dropout", "every"])
    assert space_of(model, embedding, task) == expected


@pytest.mark.parametrize(("model", "embedding"), PAPER)
def test_the_paper_studies_run_500_trials_of_75_epochs(model, embedding):
    settings = settings_of(f"model={model}", f"sweep=paper/{model}-{embedding}-lstm")
    (epochs,) = [row.values[0] for row in search_space() if row.hyperparameter == "epochs"]
    assert settings.trials == 500
    assert settings.training.epochs == int(epochs.split()[0]) == 75


@pytest.mark.parametrize(("model", "embedding"), PAPER)
def test_the_paper_studies_of_other_cells_run_200_trials(model, embedding):
    lstms = space_of(model, embedding, "regression")
    settings = settings_of(f"model={model}", f"sweep=paper/{model}-{embedding}-cells")
    row = MODELS[model]
    space = dict(expand_space(settings, row.layers, row.places, "regression", ("b", "a"), cells=1))
    assert settings.trials == 200
    assert space.pop("architecture") == Choice("choice", ("a", "b"))
    (widths,) = [each for each in search_space() if each.hyperparameter == "hidden" and each.source == "A.2.1"]
    for number in range(1, row.layers + 1):
        expected = domain(widths) if embedding == "bert" else lstms[f"hidden_{number}"]
        assert space.pop(f"hidden_{number}") == expected
        del lstms[f"hidden_{number}"]
    assert space == lstms


BERT_WIDTHS = (384, 512, 768, 1152, 1536)


@pytest.mark.parametrize("embedding", ["bert", "minilm", "hf"])
@pytest.mark.parametrize(
    ("model", "cells", "limits", "choices"),
    [
        ("blm", 0, "paper", (BERT_WIDTHS, (16, 32, 64))),
        ("blm", 1, "paper", (BERT_WIDTHS[:3], (16, 32, 64))),
        ("blm", 1, "none", (BERT_WIDTHS, (16, 32, 64))),
        ("esim", 0, "paper", (BERT_WIDTHS, (16, 32, 64))),
        ("esim", 1, "paper", (BERT_WIDTHS[:3], (16, 32, 64))),
        ("esim", 2, "paper", (BERT_WIDTHS[:3], (16, 32))),
        ("esim", 2, "none", (BERT_WIDTHS, (16, 32, 64))),
    ],
)
def test_what_the_papers_memory_did_not_hold(embedding, model, cells, limits, choices):
    """A.2.1, for every place of the cells."""
    sweep = f"sweep=paper/{model}-{embedding}-{'cells' if cells else 'lstm'}"
    row = MODELS[model]
    space = dict(
        expand_space(settings_of(f"model={model}", sweep, f"limits={limits}"), row.layers, 2, None, cells=cells)
    )
    assert all(space[f"hidden_{number}"].choices == choices[0] for number in range(1, row.layers + 1))
    assert space["batch_size"].choices == choices[1]


def test_the_limits_are_the_papers():
    limits = settings_of("model=esim", "sweep=paper/esim-bert-cells").study.limits
    rows = {each.hyperparameter: domain(each).choices for each in search_space() if each.source == "A.2.1"}
    assert {name: values for limit in limits for name, values in limit.choices.items()} == rows


def test_glove_has_no_limits():
    assert settings_of("model=esim", "sweep=paper/esim-glove-cells").study.limits == ()


def test_limits_that_leave_nothing_say_so():
    settings = compose(["model=esim", "sweep=paper/esim-bert-cells", "study.space.hidden.choices=[1536]"])
    with pytest.raises(UsageError, match=r"study.space.hidden_1: limits=paper leaves only \[384,512,768\]") as caught:
        expand_space(settings, 2, 2, None, cells=1)
    assert "limits=none" in caught.value.hint


def test_a_pool_of_one_cell_leaves_nothing_to_choose():
    assert "architecture" not in dict(expand_space(settings_of("sweep=small"), 1, 2, None, ("gru",)))


@pytest.mark.parametrize("sweep", [name for name in options()["sweep"] if name != "paper/table3"])
def test_every_sweep_serves_every_model(sweep):
    settings = settings_of(f"sweep={sweep}")
    assert settings.trials is not None
    for row in MODELS.values():
        names = [name for name, _ in expand_space(settings, row.layers, row.places, None)]
        assert len(set(names)) == len(names)
        assert sum(name.startswith("hidden_") for name in names) == row.layers


def test_the_demo_is_small_and_needs_no_file():
    settings = compose(["sweep=demo"])
    assert (settings.dataset.source, settings.embedding.source) == ("scenes", "svd")
    assert settings.trials == 12
    assert settings.training.epochs <= 25


def test_small_has_narrow_layers():
    assert compose(["sweep=small", "dataset=sick"]).study.space["hidden"].choices == (32, 64)


# --- expanding a space ------------------------------------------------------------------------------------------------


def expanded(*, task: str | None = None, **changes: object) -> dict[str, object]:
    """ESIM's space in the sweep `small`, with these parameters' domains changed (a dict: some keys of one)."""
    settings = settings_of("model=esim", "sweep=small")
    plain = SETTINGS.dump_python(settings, mode="json")
    space = plain["study"]["space"]
    for name, change in changes.items():
        space[name] = {**space.get(name, {}), **change} if isinstance(change, dict) else change
    settings = SETTINGS.validate_json(json.dumps(plain))
    return dict(expand_space(settings, 2, 2, task))


def test_one_override_narrows_every_layer():
    settings = compose(["model=esim", "sweep=small", "study.space.hidden.choices=[150,200]"])
    space = dict(expand_space(settings, 2, 2, None))
    assert space["hidden_1"] == space["hidden_2"] == Choice("choice", (150, 200))


def test_the_order_is_fixed_and_covers_every_hyperparameter():
    from dataclasses import fields

    assert set(ORDER) == {field.name for field in fields(TrainingSpec)} | {"hidden"}
    assert list(expanded()) == [
        *("batch_size", "learning_rate", "loss", "weight_decay", "grad_norm", "hidden_1", "hidden_2"),
        *("dropout_1", "dropout_2", "variational_dropout_1", "variational_dropout_2", "seed"),
    ]


def test_null_takes_a_parameter_out():
    settings = compose(["model=esim", "sweep=small", "study.space.hidden=null"])
    assert not {"hidden_1", "hidden_2"} & set(dict(expand_space(settings, 2, 2, None)))
    assert "loss" not in expanded(loss=None)


def test_a_place_of_its_own_stands_before_its_stem():
    space = expanded(hidden_2={"kind": "choice", "choices": (8,)}, dropout_1=None)
    assert space["hidden_1"] == Choice("choice", (32, 64))
    assert space["hidden_2"] == Choice("choice", (8,))
    assert "dropout_1" not in space
    assert "dropout_2" in space


@pytest.mark.parametrize(
    ("task", "left"), [("regression", ("mae", "mse")), ("classification", ("cross_entropy",)), (None, 3)]
)
def test_losses_that_do_not_fit_are_left_out(task, left):
    choices = expanded(task=task)["loss"].choices
    assert choices == left or len(choices) == left


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": {"choices": ("mae",)}}, "none fits a classification"),
        ({"loss": {"choices": ("mes",)}}, "mes cannot be a loss"),
        ({"hidden": {"choices": (150, "abc")}}, "study.space.hidden.choices: abc cannot be a hidden"),
        ({"hidden": {"choices": (0,)}}, "0 cannot be a hidden"),
        ({"hidden": {"choices": (64, 64)}}, "a value stands twice"),
        ({"batch_size": {"choices": (1.5,)}}, "1.5 cannot be a batch_size"),
        ({"dropout": {"high": 1.5}}, "study.space.dropout.high: 1.5 cannot be a dropout"),
        ({"dropout": {"low": 0.9}}, "low 0.9 is not below high 0.75"),
        ({"learning_rate": {"low": 0.0}}, "a logarithmic scale begins above 0"),
        ({"hidden_3": {"kind": "choice", "choices": (8,)}}, "esim has no such parameter"),
        ({"architecture": {"kind": "choice", "choices": ("a",)}}, "study.space.architecture: a study chooses among"),
        ({"momentum": {"kind": "choice", "choices": (8,)}}, "study.space.momentum: esim has no such parameter"),
    ],
)
def test_spaces_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UsageError) as caught:
        expanded(task="classification", **changes)
    assert message in str(caught.value)
