from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import write_predictions

from nasctl.data.metrics import METRICS
from nasctl.errors import MachineError, UsageError
from nasctl.files import canonical_json
from nasctl.reports.statistics import (
    STATISTICS,
    Interval,
    Predictions,
    Resampled,
    interval,
    kendall,
    read_predictions,
    resample,
    resample_means,
    verdict,
)

CONTINUOUS, CLASSES = ("pearson", "spearman"), ("accuracy", "f1", "mcc")


def predictions(gold: np.ndarray, predicted: np.ndarray) -> Predictions:
    return Predictions(tuple(f"r{i:05d}" for i in range(len(gold))), gold.astype(float), predicted.astype(float))


def regression(rows: int, noise: float = 0.6, seed: int = 0) -> Predictions:
    draw = np.random.default_rng(seed)
    gold = np.round(draw.normal(3, 1, rows) * 2) / 2
    return predictions(gold, gold + np.random.default_rng(seed + 1).normal(0, noise, rows))


def classes(rows: int, kinds: int, right: float = 0.7, seed: int = 0) -> Predictions:
    draw = np.random.default_rng(seed)
    gold = draw.integers(kinds, size=rows)
    return predictions(gold, np.where(draw.random(rows) < right, gold, draw.integers(kinds, size=rows)))


def test_every_metric_can_be_resampled() -> None:
    assert set(STATISTICS) == set(METRICS)


@settings(max_examples=60)
@given(metric=st.sampled_from(sorted(STATISTICS)), rows=st.integers(1, 12), seed=st.integers(0, 10_000))
def test_weights_are_repetitions(metric: str, rows: int, seed: int) -> None:
    """A weighted row counts as often as the row repeated, ties and constants included."""
    draw = np.random.default_rng(seed)
    kinds = int(draw.integers(1, 5))
    gold = draw.integers(kinds, size=rows).astype(float)
    predicted = draw.integers(kinds, size=rows).astype(float)
    if METRICS[metric].task == "regression" and draw.random() < 0.5:
        predicted += draw.normal(size=rows)
    weights = draw.multinomial(rows, np.full(rows, 1 / rows), size=5)
    found = STATISTICS[metric](gold, predicted, kinds)(weights.astype(float))
    expected = [METRICS[metric].function(np.repeat(gold, w), np.repeat(predicted, w), kinds) for w in weights]
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", sorted(STATISTICS))
def test_the_jackknife_leaves_each_row_out_once(metric: str) -> None:
    data = regression(17) if metric in CONTINUOUS else classes(17, 3)
    left_out = resample(data, metric, classes=3, resamples=1).jackknife
    for row in range(17):
        keep = np.arange(17) != row
        expected = METRICS[metric].function(data.gold[keep], data.predicted[keep], 3)
        assert left_out[row] == pytest.approx(expected, abs=1e-9)
    assert len(resample(data, metric, resamples=1, jackknife=False).jackknife) == 0


@pytest.mark.parametrize("classes", [3, 0])
def test_a_resample_without_a_rare_class_is_judged_by_the_same_f1(classes: int) -> None:
    """Class 2 is one row of 100: a third of the resamples lack it, and have the mean of the other two."""
    gold = np.repeat([0, 1, 2], [75, 24, 1])
    predicted = gold.copy()
    predicted[75:93] = 0  # class 1 is hard: its F1 is 0.4, that of class 0 0.89
    drawn = resample(predictions(gold, predicted), "f1", classes=classes, resamples=400)
    assert drawn.estimate == pytest.approx((0.4 + 150 / 168 + 1) / 3)
    assert drawn.jackknife[-1] == pytest.approx((0.4 + 150 / 168) / 2)
    assert interval(drawn, "percentile").low > 0.5


@pytest.mark.parametrize("metric", sorted(STATISTICS))
@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_intervals_agree_with_scipy(metric: str, method: str) -> None:
    from scipy.stats import bootstrap

    data = regression(150) if metric in CONTINUOUS else classes(150, 2)
    ours = interval(resample(data, metric, resamples=4000), method)
    theirs = bootstrap(
        (data.gold, data.predicted),
        lambda gold, predicted: METRICS[metric].function(gold, predicted, 2),
        paired=True,
        vectorized=False,
        n_resamples=1500,
        method=method,
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert ours.low < ours.estimate == METRICS[metric].function(data.gold, data.predicted, 2) < ours.high
    width = ours.high - ours.low
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.12 * width)


@pytest.mark.parametrize("metric", sorted(STATISTICS))
def test_one_row_cannot_be_left_out(metric: str) -> None:
    found = resample(predictions(np.ones(1), np.ones(1)), metric, resamples=5)
    assert len(found.jackknife) == 0
    assert interval(found) == Interval(found.estimate, found.estimate, found.estimate)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """200 samples of a known correlation: 95 % of the intervals hold it, give or take three deviations."""
    truth = 1 / np.sqrt(1.0 + 0.5**2)
    draw = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        x = draw.normal(size=80)
        bounds = interval(resample(predictions(x, x + draw.normal(0, 0.5, 80)), "pearson", resamples=400))
        held += not bounds.excludes(float(truth))
    assert 0.95 - 3 * np.sqrt(0.95 * 0.05 / 200) <= held / 200 <= 1.0


def test_a_seed_decides_the_draws() -> None:
    data = regression(50)
    first, again, other = (resample(data, "pearson", resamples=100, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.resamples, again.resamples)
    assert not np.array_equal(first.resamples, other.resamples)


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    data = regression(50)
    whole = resample(data, "pearson", resamples=100)
    monkeypatch.setattr("nasctl.reports.statistics.CHUNK", 333)
    parts = resample(data, "pearson", resamples=100)
    assert np.array_equal(parts.resamples, whole.resamples)
    assert parts.jackknife == pytest.approx(whole.jackknife)


def test_systems_are_resampled_alike() -> None:
    """The difference of a system and itself is exactly 0 in every resample; of a noisier one it is not."""
    clear, noisy = regression(400, 0.5), regression(400, 0.9)
    assert np.array_equal(clear.gold, noisy.gold)
    one, other = resample(clear, "pearson", resamples=500), resample(noisy, "pearson", resamples=500)
    nothing = interval(one - resample(clear, "pearson", resamples=500))
    assert (nothing.low, nothing.estimate, nothing.high) == (0.0, 0.0, 0.0)
    assert verdict(nothing) == "not distinguishable"
    difference = interval(one - other)
    assert difference.estimate == one.estimate - other.estimate > 0
    assert verdict(difference) == "better"
    assert verdict(interval(other - one)) == "worse"
    assert verdict(difference, "minimize") == "worse"
    apart = interval(one).high - interval(one).low
    assert difference.high - difference.low < 2 * apart


def test_resamples_that_tie_with_the_estimate_are_no_bias() -> None:
    """Half of them count as below: a scatter that is symmetric needs no correction."""
    resamples = np.repeat([0.3, 0.4, 0.5, 0.6, 0.7], [10, 20, 40, 20, 10])
    symmetric = Resampled(0.5, resamples, np.array([0.4, 0.5, 0.6]))
    assert interval(symmetric, level=0.6) == interval(symmetric, "percentile", level=0.6) == Interval(0.5, 0.4, 0.6)


@pytest.mark.parametrize("towards", [0.0, 1.0])
def test_ties_that_rounding_has_parted_are_ties(towards: float) -> None:
    resamples = np.repeat([0.3, 0.4, np.nextafter(0.5, towards), 0.6, 0.7], [10, 20, 40, 20, 10])
    parted = Resampled(0.5, resamples, np.array([0.4, 0.5, 0.6]))
    assert interval(parted, level=0.6) == Interval(0.5, 0.4, 0.6)


def test_what_cannot_be_corrected_is_the_percentile_interval() -> None:
    constant = predictions(np.arange(20.0), np.ones(20))
    assert interval(resample(constant, "pearson", resamples=50)) == Interval(0.0, 0.0, 0.0)
    one_sided = Resampled(5.0, np.arange(101.0) / 100, np.arange(3.0))
    bounds = interval(one_sided)
    assert (bounds.low, bounds.high) == pytest.approx((0.025, 0.975))


@pytest.mark.parametrize("metric", CONTINUOUS)
def test_what_is_constant_up_to_rounding_is_so_in_every_resample(metric: str) -> None:
    gold = np.arange(40.0)
    nearly = np.where(gold > 20, 4.0000005, 4.0)
    assert METRICS[metric].function(gold, nearly, 0) == 0.0
    for data in (predictions(gold, nearly), predictions(nearly, gold)):
        assert interval(resample(data, metric, resamples=50)) == Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("estimate", "low", "high", "said"), [(1, 0.1, 2, "better"), (1, 0.0, 2, "not distinguishable")]
)
def test_a_bound_at_zero_does_not_exclude_it(estimate: float, low: float, high: float, said: str) -> None:
    assert verdict(Interval(estimate, low, high)) == said


def test_predictions_are_read_in_the_order_of_their_ids(tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "predictions.jsonl", [3.0, 1.0, 2.0], [0.3, 0.1, 0.2])
    lines = path.read_text().splitlines()
    path.write_text("\n".join(reversed(lines)) + "\n")
    found = read_predictions(path)
    assert found.row_ids == ("r0", "r1", "r2")
    assert found.gold.tolist() == [3.0, 1.0, 2.0]
    assert found.predicted.tolist() == [0.3, 0.1, 0.2]
    assert read_predictions(path, "dev").row_ids == ("d0", "d1")
    with pytest.raises(UsageError, match="no predictions of the split tset") as raised:
        read_predictions(path, "tset")
    assert "did you mean test" in raised.value.hint


@pytest.mark.parametrize("end", ["\u2028", "\x85"])
def test_an_id_may_hold_what_ends_a_line_elsewhere(tmp_path: Path, end: str) -> None:
    row = {"split": "test", "row_id": f"a{end}b", "gold": 1.0, "prediction": 2.0}
    path = tmp_path / "predictions.jsonl"
    path.write_text(canonical_json(row) + "\n", "utf-8")
    assert read_predictions(path).row_ids == (f"a{end}b",)


@pytest.mark.parametrize(
    "text",
    [
        '{"split": "test", "row_id": "r0", "gold": 1.0, "predi',
        '{"split": "test", "row_id": "r0", "gold": 1.0}',
        '{"split": "test", "row_id": "r0", "gold": 1.0, "prediction": "entailment"}',
        "[1, 2, 3]",
        "7",
    ],
)
def test_a_broken_file_of_predictions_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text(json.dumps({"split": "dev", "row_id": "d0", "gold": 1, "prediction": 1}) + "\n" + text + "\n")
    with pytest.raises(MachineError, match=r"predictions\.jsonl holds no predictions"):
        read_predictions(path)
    with pytest.raises(MachineError, match="holds no predictions"):
        read_predictions(tmp_path / "nowhere.jsonl")


@pytest.mark.bench
@pytest.mark.parametrize("metric", sorted(STATISTICS))
def test_ten_thousand_resamples_of_five_thousand_rows(metric: str) -> None:
    data = regression(5000) if metric in CONTINUOUS else classes(5000, 2)
    began = time.process_time()
    interval(resample(data, metric))
    seconds = time.process_time() - began
    assert seconds < (4 if metric == "spearman" else 2)


@settings(max_examples=40)
@given(rows=st.integers(2, 9), seed=st.integers(0, 10_000))
def test_kendalls_tau_of_repeated_rows(rows: int, seed: int) -> None:
    from scipy.stats import kendalltau

    draw = np.random.default_rng(seed)
    gold, predicted = draw.integers(4, size=(2, rows)).astype(float)
    weights = draw.multinomial(rows, np.full(rows, 1 / rows), size=4)
    found = kendall(gold, predicted)(weights.astype(float))
    for weight, tau in zip(weights, found, strict=True):
        one, other = np.repeat(gold, weight), np.repeat(predicted, weight)
        constant = np.ptp(one) == 0 or np.ptp(other) == 0
        assert tau == pytest.approx(0.0 if constant else kendalltau(one, other).statistic, abs=1e-12)


def test_the_difference_of_means_covers_the_truth() -> None:
    """Two samples of unlike sizes and spreads: 95 % intervals hold the true difference about as often."""
    draw = np.random.default_rng(3)
    held = 0
    for seed in range(200):
        first, second = draw.normal(1.0, 1.0, 40), draw.normal(0.5, 3.0, 60)
        bounds = interval(resample_means(first, second, resamples=400, seed=seed))
        assert bounds.estimate == pytest.approx(first.mean() - second.mean())
        held += bounds.low <= 0.5 <= bounds.high
    assert 178 <= held <= 199


@pytest.mark.parametrize("constant", [100 * 279 / 408, 68.4, 0.1])
def test_samples_of_one_value_are_alike_whatever_their_sizes(constant: float) -> None:
    for rows in (8, 50, 97):
        bounds = interval(resample_means(np.full(100, constant), np.full(rows, constant), resamples=100))
        assert bounds == Interval(0.0, 0.0, 0.0)


def test_each_row_of_either_sample_is_left_out_once() -> None:
    first, second = np.array([1.0, 2.0, 6.0]), np.array([0.5, 1.5])
    found = resample_means(first, second, resamples=5).jackknife
    one, other = first.mean(), second.mean()
    expected = [*(np.delete(first, i).mean() - other for i in range(3)), one - 1.5, one - 0.5]
    assert found.tolist() == pytest.approx(expected)
