from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasctl.data.metrics import DEFAULT_METRIC, LOSSES, METRICS, is_constant, score

# Halves from a small range: many ties, and no difference that rounding could blur.
numbers = st.integers(-6, 6).map(lambda whole: whole / 2)
pairs_of_numbers = st.lists(st.tuples(numbers, numbers), min_size=2, max_size=40)
pairs_of_classes = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)
pairs_of_bits = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)


def columns(rows):
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])


@settings(max_examples=150)
@given(pairs_of_numbers)
def test_correlations_agree_with_scipy_wherever_scipy_has_one(rows):
    from scipy import stats

    gold, predicted = columns(rows)
    for name, reference in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        found = METRICS[name].function(gold, predicted, 0)
        if np.ptp(gold) == 0 or np.ptp(predicted) == 0:
            assert found == 0.0
        else:
            assert found == pytest.approx(float(reference(gold, predicted).statistic), abs=1e-12)


@settings(max_examples=150)
@given(pairs_of_bits)
def test_binary_metrics_agree_with_scikit_learn(rows):
    from sklearn import metrics

    gold, predicted = columns(rows)
    assert METRICS["accuracy"].function(gold, predicted, 2) == pytest.approx(metrics.accuracy_score(gold, predicted))
    assert METRICS["f1"].function(gold, predicted, 2) == pytest.approx(
        metrics.f1_score(gold, predicted, zero_division=0)
    )
    if len(set(gold) | set(predicted)) > 1:  # scikit-learn warns about a single label
        assert METRICS["mcc"].function(gold, predicted, 2) == pytest.approx(metrics.matthews_corrcoef(gold, predicted))


@settings(max_examples=150)
@given(pairs_of_classes)
def test_metrics_of_many_classes_agree_with_scikit_learn(rows):
    from sklearn import metrics

    gold, predicted = columns(rows)  # whichever of the four occur
    macro = metrics.f1_score(gold, predicted, average="macro", zero_division=0)
    assert METRICS["f1"].function(gold, predicted, 4) == pytest.approx(macro)
    if len(set(gold) | set(predicted)) > 1:
        assert METRICS["mcc"].function(gold, predicted, 4) == pytest.approx(metrics.matthews_corrcoef(gold, predicted))


@pytest.mark.parametrize("scale", [1e-200, 1e-20, 1.0, 1e20, 1e200])
def test_pearson_does_not_depend_on_scale_or_leave_the_range_of_float64(scale):
    gold, predicted = np.array([1.0, 2.0, 4.0, 3.0]), np.array([2.0, 1.0, 5.0, 4.0])
    assert METRICS["pearson"].function(gold, predicted * scale, 0) == pytest.approx(6 / 50**0.5, abs=1e-12)


def test_predictions_that_differ_by_float32_rounding_only_are_constant():
    answers = np.full(50, 3.3, np.float32) + np.linspace(-6e-7, 6e-7, 50, dtype=np.float32)
    assert len(np.unique(answers)) > 1
    assert is_constant(answers)
    assert METRICS["pearson"].function(np.arange(50), answers, 0) == 0.0
    assert METRICS["spearman"].function(np.arange(50), answers, 0) == 0.0


@pytest.mark.parametrize("answers", [[3.0, 3.1], [1e-9, 2e-9], [0, 1], [-1.0, 1.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_other_predictions_are_not_constant(answers):
    with np.errstate(invalid="ignore"):
        assert not is_constant(np.array(answers))


def test_a_single_prediction_is_constant():
    assert is_constant(np.array([2.0]))
    assert score("regression", np.array([1.0]), np.array([2.0]), 0) == {"pearson": 0.0, "spearman": 0.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_prediction_that_is_no_number_shows(bad):
    scores = score("regression", np.array([1.0, 2.0, 3.0]), np.array([1.0, bad, 3.0]), 0)
    assert all(math.isnan(value) for value in scores.values())


@pytest.mark.parametrize("classes", [2, 0])
def test_f1_of_two_classes_is_that_of_class_one(classes):
    gold, predicted = np.array([1, 1, 1, 0]), np.array([1, 1, 0, 0])
    assert METRICS["f1"].function(gold, predicted, classes) == pytest.approx(0.8)
    assert METRICS["f1"].function(1 - gold, 1 - predicted, classes) == pytest.approx(2 / 3)
    assert METRICS["f1"].function(np.array([0, 0]), np.array([0, 0]), classes) == 0.0


def test_f1_of_three_classes_is_a_mean_also_where_the_third_does_not_occur():
    gold, predicted = np.array([1, 1, 1, 0]), np.array([1, 1, 0, 0])
    assert METRICS["f1"].function(gold, predicted, 3) == pytest.approx((0.8 + 2 / 3) / 2)
    assert METRICS["f1"].function(gold, np.array([1, 1, 0, 2]), 3) == pytest.approx(0.8 / 3)


def test_where_nobody_knows_how_many_classes_there_are_as_many_as_occur_count():
    gold, predicted = np.array([1, 2, 1, 0]), np.array([1, 2, 0, 0])
    assert METRICS["f1"].function(gold, predicted, 0) == METRICS["f1"].function(gold, predicted, 3)


@given(pairs_of_numbers)
def test_scores_hold_every_metric_of_the_task_within_its_range(rows):
    for task in ("regression", "classification"):
        gold, predicted = columns(rows)
        if task == "classification":
            gold, predicted = gold > 0, predicted > 0
        scores = score(task, gold, predicted, 2 if task == "classification" else 0)
        assert list(scores) == [name for name, metric in METRICS.items() if metric.task == task]
        assert all(METRICS[name].worst <= value <= 1.0 for name, value in scores.items())
        assert all(type(value) is float for value in scores.values())


@pytest.mark.parametrize("sides", [([], []), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])])
def test_sides_that_do_not_fit_are_refused(sides):
    with pytest.raises(ValueError, match="both must be"):
        score("regression", np.array(sides[0]), np.array(sides[1]), 0)


def test_the_tables_fit_each_other_and_the_specs():
    from typing import get_args

    from nasctl import specs

    assert set(METRICS) == set(get_args(specs.Metric))
    assert set(LOSSES) == set(get_args(specs.Loss))
    assert set(LOSSES.values()) == {metric.task for metric in METRICS.values()} == set(get_args(specs.Task))
    assert all(METRICS[metric].task == task for task, metric in DEFAULT_METRIC.items())
    assert set(DEFAULT_METRIC) == set(get_args(specs.Task))
