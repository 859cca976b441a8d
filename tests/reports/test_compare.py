from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from records import write_predictions

from nasctl.reports.cells import ChosenCell
from nasctl.reports.compare import compare_table, scatters
from nasctl.reports.results import Result
from nasctl.reports.scores import table_1
from nasctl.reports.tables import runs_table, studies_table


def result(name: str, predictions: Path, test: float, **changes: object) -> Result:
    plain = Result(
        kind="study",
        name=name,
        dataset="sick",
        embedding="glove",
        model="blm",
        rnn="L",
        cell=None,
        found_on="",
        vectors="glove.6B.300d.txt",
        encoder="",
        state="finished",
        metric="pearson",
        trials=12,
        dev=0.9,
        test=test,
        seconds=100.0,
        parameters=1000,
        hyperparameters={},
        predictions=predictions,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture
def systems(tmp_path: Path) -> list[Result]:
    """Two systems that are alike and one that is clearly worse, on the same 300 rows."""
    draw = np.random.default_rng(0)
    gold = draw.normal(3, 1, 300).round(1)
    found = []
    for name, noise in (("a", 0.40), ("b", 0.41), ("c", 1.5)):
        made = gold + draw.normal(0, noise, 300)
        path = write_predictions(tmp_path / name / "predictions.jsonl", gold.tolist(), made.tolist())
        drawn = {"rnn": "R", "cell": ChosenCell("enas-24", "4d0ebb24fed4")} if name == "b" else {}
        found.append(result(name, path, float(np.corrcoef(gold, made)[0, 1]), **drawn))
    return found


def test_pairs_are_compared_on_their_common_rows(systems: list[Result]) -> None:
    table = compare_table(systems, scatters(systems, resamples=1000))
    assert [(row[1], row[3], row[9]) for row in table.rows] == [
        ("a", "b", "not distinguishable"),
        ("a", "c", "better"),
        ("b", "c", "better"),
    ]
    assert {(row[2], row[4]) for row in table.rows} == {("lstm", "24"), ("lstm", "lstm"), ("24", "lstm")}
    for row in table.rows:
        difference, bounds = row[7], row[8]
        assert isinstance(difference, float)
        assert isinstance(bounds, tuple)
        assert difference == pytest.approx(row[5] - row[6])  # type: ignore[operator]
        assert bounds[0] <= difference <= bounds[1]
    assert "3 comparisons: of pairs that are alike, about one in twenty would seem different." in table.notes
    turned = compare_table(systems[::-1], scatters(systems, resamples=1000))
    assert [row[9] for row in turned.rows] == ["worse", "worse", "not distinguishable"]


def test_f1_is_resampled_by_the_classes_of_the_data_set(tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "predictions.jsonl", [1, 1, 1, 0], [1, 1, 0, 0])  # none of the third class
    three, two = (result("s", path, 0.8, metric="f1", classes=classes) for classes in (3, 2))
    found = scatters([three, two], resamples=10)
    assert found[three].resampled.estimate == pytest.approx((0.8 + 2 / 3) / 2)
    assert found[two].resampled.estimate == pytest.approx(0.8)


def test_what_answered_other_questions_is_not_compared(systems: list[Result], tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "d" / "predictions.jsonl", [1.0, 2.0, 3.0], [1.0, 2.5, 3.0])
    other = result("d", path, 0.9)
    elsewhere = result("e", path, 0.9, dataset="stsb")
    everything = [systems[0], other, elsewhere]
    table = compare_table(everything, scatters(everything, resamples=50))
    assert table.rows == ()
    assert table.notes[-1] == "Not compared, since their test rows differ: a and d."
    by_rank = [replace(each, metric="spearman") for each in systems[:1]] + systems[1:]
    table = compare_table(by_rank, scatters(by_rank, resamples=50))
    assert [(row[1], row[3]) for row in table.rows] == [("b", "c")]
    assert table.notes[-1] == "Not compared, since their metrics differ: a and b; a and c."


def test_one_test_row_has_no_interval(tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "predictions.jsonl", [1.0], [1.0])
    one = result("a", path, 1.0, metric="accuracy", classes=2)
    (row,) = studies_table([one], scatters([one], resamples=50)).rows
    assert row[10:12] == (100.0, None)


@pytest.mark.parametrize(("differing", "told"), [(5, "not distinguishable"), (6, "better")])
def test_a_few_rows_tell_nobody_apart(tmp_path: Path, differing: int, told: str) -> None:
    gold = [0.0, 1.0] * 150
    wrong = [1.0 - each if row < differing else each for row, each in enumerate(gold)]
    paths = [write_predictions(tmp_path / name / "p.jsonl", gold, made) for name, made in (("a", gold), ("b", wrong))]
    both = [
        result(path.parent.name, path, 1 - each / 300, metric="accuracy", classes=2)
        for path, each in zip(paths, (0, differing), strict=True)
    ]
    table = compare_table(both, scatters(both, resamples=1000))
    (row,) = table.rows
    assert (row[8] is None, row[9]) == (differing < 6, told)
    assert row[7] == pytest.approx(100 * differing / 300)
    assert any(note.startswith("No interval where fewer than 6 rows differ") for note in table.notes) == (differing < 6)


def test_what_cannot_be_compared_is_told(systems: list[Result]) -> None:
    untested = replace(systems[1], name="d", test=None, predictions=None)
    table = compare_table([*systems, untested], scatters(systems, resamples=50))
    assert "Not compared, since there are no test predictions of them (yet): d." in table.notes
    assert len(table.rows) == 3


def test_intervals_of_few_rows_are_told_to_be_too_narrow(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    found = []
    for name in "ab":
        path = write_predictions(tmp_path / name / "p.jsonl", list(range(20)), draw.normal(size=20).tolist())
        found.append(result(name, path, 0.1))
    table = compare_table(found, scatters(found, resamples=50))
    assert "Of fewer than 100 test rows intervals are too narrow: about one in ten would seem different." in table.notes


def test_results_of_other_versions_are_not_compared(systems: list[Result]) -> None:
    versions = [replace(each, result_version=version) for each, version in zip(systems, "122", strict=True)]
    known = scatters(versions, resamples=50)
    table = compare_table(versions, known)
    assert [(row[1], row[3]) for row in table.rows] == [("b", "c")]
    assert table.notes[-1] == "Not compared, since their result versions differ: a and b; a and c."
    told = "Numbers that moved between versions of nasctl (RESULT_VERSION) stand side by side: 1 in a; 2 in b, c."
    assert told in studies_table(versions, known).notes
    assert told in table_1([replace(each, rnn=rnn) for each, rnn in zip(versions, "LRE", strict=True)], {}).notes
    assert not any("RESULT_VERSION" in note for note in studies_table(versions[1:], known).notes)


def test_studies_have_the_interval_of_their_test_score(systems: list[Result]) -> None:
    known = scatters(systems, resamples=1000)
    table = studies_table([*systems, replace(systems[0], name="lost", predictions=None)], known)
    for row in table.rows[:3]:
        bounds = row[11]
        assert isinstance(bounds, tuple)
        assert bounds[0] < row[10] < bounds[1]  # type: ignore[operator]
    assert table.rows[3][11] is None
    assert not any("another test score" in note for note in table.notes)
    assert runs_table(systems, known).rows == ()


def test_predictions_that_do_not_give_the_logged_score_are_told(systems: list[Result]) -> None:
    wrong = replace(systems[0], test=0.5)
    table = studies_table([wrong], scatters([wrong], resamples=50))
    assert "a: its predictions give another test score than the one that was logged." in table.notes


def test_a_study_without_a_test_score_has_no_interval(systems: list[Result]) -> None:
    unfinished = replace(systems[0], test=None, state="running")
    assert scatters([unfinished]) == {}
    table = table_1([unfinished], {})
    assert "Not at their end: a (running)." in table.notes
