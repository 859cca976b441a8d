"""The packaged numbers against each other and against what the paper's text says of them."""

from __future__ import annotations

from statistics import mean

import pytest

from nasctl import reference
from nasctl.errors import UsageError

SHAPES = {"results": 36, "transfer": 16, "search_space": 15, "hours": 12, "hyperparameters": 46, "architectures": 26}


@pytest.mark.parametrize(("table", "rows"), [*SHAPES.items(), ("prior_work", 6), ("claims", 14), ("controllers", 3)])
def test_every_table_is_whole(table: str, rows: int) -> None:
    found = getattr(reference, table)()
    assert len(found) == len(set(found)) == rows


def test_a_row_is_found_by_its_name() -> None:
    row = reference.hyperparameters_row("blm/glove/L/sick")
    assert (row.batch_size, row.learning_rate, row.loss, row.hidden_1, row.hidden_2) == (64, 0.0007, "mse", 300, None)
    assert row.values() == {
        "batch_size": 64,
        "learning_rate": 0.0007,
        "loss": "mse",
        "weight_decay": 0.0040,
        "grad_norm": 10.2636,
        "hidden_1": 300,
        "dropout_1": 0.3555,
        "dropout_2": 0.2937,
        "variational_dropout_1": 0.2774,
        "seed": 1,
    }
    assert row.architecture is None
    assert reference.hyperparameters_row("esim/glove/LL/stsb").variational_dropout_2 == 0.5283
    assert len({each.name for each in reference.hyperparameters()}) == 46


@pytest.mark.parametrize(
    ("asked", "hint"),
    [("blm/glove/L/sik", "did you mean blm/glove/L/sick"), ("7", "a row is MODEL/EMBEDDING/RNN/DATASET")],
)
def test_a_row_that_is_not_there_is_told_with_the_nearest(asked: str, hint: str) -> None:
    with pytest.raises(UsageError, match="Table 5 has no row") as raised:
        reference.hyperparameters_row(asked)
    assert hint in raised.value.hint


def test_the_claims_follow_from_the_tables() -> None:
    claims = {row.claim: row.paper for row in reference.claims()}
    scores = {(row.embedding, row.model, row.rnn, row.dataset): row.test for row in reference.results()}
    blm = [
        scores[embedding, "blm", "E", dataset] - scores[embedding, "blm", "L", dataset]
        for embedding in ("bert", "glove")
        for dataset in ("sick", "mrpc", "stsb")
    ]
    assert mean(blm) == pytest.approx(claims["blm_E_minus_L"], abs=1e-3)
    hours = {(row.embedding, row.cell, row.dataset): row.hours for row in reference.hours()}
    ratios = [value / hours[key[0], "lstm", key[2]] for key, value in hours.items() if key[1] == "enas"]
    assert (min(ratios), max(ratios)) == pytest.approx((claims["hours_ratio_min"], claims["hours_ratio_max"]), abs=1e-3)


def test_table_2_repeats_table_1() -> None:
    scores = {(row.embedding, row.model, row.rnn, row.dataset): (row.dev, row.test) for row in reference.results()}
    own = [row for row in reference.transfer() if row.optimized_for == row.dataset]
    assert len(own) == 6
    assert all(scores[row.embedding, row.model, row.rnn, row.dataset] == (row.dev, row.test) for row in own)


def test_table_5_stays_inside_table_3() -> None:
    space = {row.hyperparameter: row for row in reference.search_space() if row.applies_to == "all"}
    for row in reference.hyperparameters():
        assert str(row.batch_size) in space["batch_size"].values
        assert str(row.seed) in space["seed"].values
        for name in ("learning_rate", "weight_decay", "grad_norm"):
            low, high = space[name].low, space[name].high
            assert low is not None
            assert high is not None
            assert low <= getattr(row, name) <= high
        assert (row.architecture is None) == (set(row.rnn) == {"L"})


def test_cells_are_programs_of_six_nodes() -> None:
    for row in reference.architectures():
        assert len(row.nodes) == 6
        assert row.nodes[0][0] is None
        assert all(source is not None and source < place for place, (source, _) in enumerate(row.nodes) if place)
        assert {operation for _, operation in row.nodes} <= {"tanh", "relu", "sigmoid", "identity"}
