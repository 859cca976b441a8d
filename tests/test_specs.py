"""Layers, pools and studies as values: what is refused, and what is part of an identity."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError
from studies import RUN_SPEC, SMALL_SPACE, study

from nasctl.cells.library import LIBRARY
from nasctl.cells.spelling import digest_of, spelled
from nasctl.errors import UsageError
from nasctl.specs import (
    RUN,
    STUDY,
    Choice,
    FeaturesRef,
    LayerSpec,
    Pool,
    PoolCell,
    basis,
    cells_recorded,
    run_digest,
    study_identity,
    with_values,
)

TEXTS = {name: spelled(LIBRARY[name].graph) for name in ("lstm", "gru", "rnn", "enas-8", "enas-10", "enas-24")}


def pool(*names: str, places: tuple[int, ...] = (1,)) -> Pool:
    return Pool(places, tuple(PoolCell(name, TEXTS[name]) for name in names))


def choosing(*names: str) -> tuple[tuple[str, Choice], ...]:
    return (*SMALL_SPACE, ("architecture", Choice("choice", names)))


# --- layers -----------------------------------------------------------------------------------------------------------


def test_a_layer_takes_the_one_text_of_a_cell():
    assert LayerSpec(TEXTS["gru"], 8).cell == TEXTS["gru"]
    assert LayerSpec("lstm", 8).cell == "lstm"


@pytest.mark.parametrize("cell", ["gru", "enas-24", "tanh-0-relu", "next h1 = tanh(linear(h1, x, +))", ""])
def test_a_layer_takes_no_name_and_no_other_spelling(cell):
    with pytest.raises(UsageError):
        LayerSpec(cell, 8)


def test_a_message_with_a_wrong_cell_is_refused():
    plain = RUN.dump_python(RUN_SPEC, mode="json")
    plain["layers"] = [{"cell": "next h1 = v9", "hidden": 8}]
    with pytest.raises(UsageError):
        RUN.validate_json(json.dumps(plain))


def test_a_run_with_a_cell_survives_its_journey():
    spec = replace(RUN_SPEC, layers=(LayerSpec(TEXTS["enas-24"], 8),))
    assert RUN.validate_json(RUN.dump_json(spec)) == spec
    assert run_digest(spec) != run_digest(RUN_SPEC)
    assert cells_recorded(spec) == ({"code": TEXTS["enas-24"], "digest": digest_of(TEXTS["enas-24"])},)
    assert cells_recorded(RUN_SPEC) == ({"code": "lstm", "digest": "lstm"},)


def test_one_graph_under_two_codes_is_one_run():
    eight, ten = (with_values(RUN_SPEC, {"architecture": name}, pool("enas-8", "enas-10")) for name in TEXTS_OF_8)
    assert run_digest(eight) == run_digest(ten)


TEXTS_OF_8 = ("enas-8", "enas-10")


# --- pools ------------------------------------------------------------------------------------------------------------


def test_the_architecture_stands_in_its_places():
    two = replace(RUN_SPEC, layers=(LayerSpec("lstm", 8), LayerSpec("lstm", 9)))
    second = with_values(two, {"architecture": "gru", "hidden_1": 5}, pool("rnn", "gru", places=(2,)))
    assert second.layers == (LayerSpec("lstm", 5), LayerSpec(TEXTS["gru"], 9))
    both = with_values(two, {"architecture": "lstm"}, pool("rnn", "lstm", places=(1, 2)))
    assert both.layers == two.layers


def test_an_architecture_needs_a_pool_that_has_it():
    with pytest.raises(KeyError, match="architecture"):
        with_values(RUN_SPEC, {"architecture": "gru"})
    with pytest.raises(KeyError, match="gru"):
        with_values(RUN_SPEC, {"architecture": "gru"}, pool("rnn"))


@pytest.mark.parametrize("places", [(), (0,)])
def test_a_pool_stands_somewhere(places):
    with pytest.raises(ValidationError):
        pool("gru", places=places)


# --- the identity of a study ------------------------------------------------------------------------------------------


def test_the_pool_is_part_of_the_identity_by_names_and_digests():
    spec = study(space=choosing("gru", "rnn"), pool=pool("gru", "rnn"))
    assert study_identity(spec)["pool"] == {
        "places": [1],
        "cells": {"gru": digest_of(TEXTS["gru"]), "rnn": digest_of(TEXTS["rnn"])},
    }
    assert STUDY.validate_json(STUDY.dump_json(spec)) == spec
    others = [
        study(space=choosing("gru", "lstm"), pool=pool("gru", "lstm")),
        study(space=choosing("gru", "rnn"), pool=replace(pool("gru", "rnn"), cells=pool("gru", "enas-8").cells)),
        study(pool=pool("gru"), run=replace(RUN_SPEC, layers=(LayerSpec(TEXTS["gru"], 8),))),
        study(),
    ]
    assert all(study_identity(other) != study_identity(spec) for other in others)


def test_neither_the_order_of_a_pool_nor_the_cell_of_the_run_around_it_is():
    spec = study(space=choosing("gru", "rnn"), pool=pool("gru", "rnn"))
    same = replace(spec, pool=pool("rnn", "gru"), run=replace(RUN_SPEC, layers=(LayerSpec(TEXTS["gru"], 8),)))
    assert study_identity(same) == study_identity(spec)


def test_the_basis_is_data_embedding_and_readings_and_no_setting():
    alike = [
        replace(RUN_SPEC, training=replace(RUN_SPEC.training, seed=RUN_SPEC.training.seed + 1)),
        replace(RUN_SPEC, layers=(replace(RUN_SPEC.layers[0], hidden=RUN_SPEC.layers[0].hidden + 1),)),
    ]
    others = [
        replace(RUN_SPEC, data="another"),
        replace(RUN_SPEC, model=replace(RUN_SPEC.model, padding="zeros")),
        replace(RUN_SPEC, embedding=replace(RUN_SPEC.embedding, digest="another")),
        replace(RUN_SPEC, embedding=FeaturesRef(RUN_SPEC.embedding.digest, (0,))),
    ]
    assert {basis(each) for each in alike} == {basis(RUN_SPEC)}
    assert len({basis(each) for each in [RUN_SPEC, *others]}) == 5


def test_a_study_of_lstms_has_no_pool_in_its_identity():
    assert "pool" not in study_identity(study())
