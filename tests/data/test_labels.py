from __future__ import annotations

import logging

import numpy as np
import pytest

from nasctl.data.labels import classes_of, encode, task_of
from nasctl.data.pairs import Pair, Part
from nasctl.errors import UsageError


def part(*labels, origin="train.csv"):
    pairs = tuple(Pair(str(row), "a", "b", label) for row, label in enumerate(labels))
    return Part(pairs, origin, tuple(range(2, len(labels) + 2)))


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (["yes", "no"], "classification"),
        (["0", "1", "1"], "classification"),
        (["2", "0", "1"], "classification"),
        (["1.0", "0.0"], "classification"),
        ([str(value) for value in range(10)], "classification"),
        ([str(value) for value in range(11)], "regression"),
        (["1", "2.5"], "regression"),
        (["-1e-3", ".5", " 3 "], "regression"),
    ],
)
def test_the_task_follows_from_the_labels(caplog, labels, task):
    with caplog.at_level(logging.INFO):
        assert task_of({"train": part(*labels)}, "own") == task
    assert "dataset.task=" in caplog.text


def test_labels_that_mix_words_and_numbers_are_refused_with_one_of_each():
    with pytest.raises(UsageError, match=r"train.csv, line 2: '1.5'.*dev.csv, line 3: 'hugh'") as caught:
        task_of({"train": part("1.5", "2"), "dev": part("1", "hugh", origin="dev.csv")}, "own")
    assert "dataset.task=classification" in caught.value.hint


def test_classes_are_ordered_by_value_or_alphabet():
    assert classes_of({"train": part("10", "9", "2")}) == ("2", "9", "10")
    assert classes_of({"train": part("no ", "yes", " no")}) == ("no", "yes")


def test_one_number_in_two_spellings_is_no_two_classes():
    with pytest.raises(UsageError, match=r"train.csv: the classes '1' and '1.0' are one number") as caught:
        classes_of({"train": part("1", "0", "1.0", "0")})
    assert "spell it in one way" in caught.value.hint
    assert classes_of({"train": part("1", "one", "1.0")}) == ("1", "1.0", "one")


def test_classes_of_rows_drawn_from_the_training_file_count():
    parts = {"train": part("a", "b"), "dev": part("c"), "test": part("d", origin="test.csv")}
    assert classes_of(parts) == ("a", "b", "c")


def test_labels_become_numbers():
    scores = encode("train", part("1.5", "2", " 4 "), "regression", ())
    assert scores.dtype == np.float32
    assert scores.tolist() == [1.5, 2.0, 4.0]
    classes = encode("train", part("b", "a", "b"), "classification", ("a", "b"))
    assert classes.dtype == np.int64
    assert classes.tolist() == [1, 0, 1]


@pytest.mark.parametrize("missing", ["", " ", "nan", "NaN", "NA", "n/a", "None", "null"])
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_missing_label_is_named_with_its_line(task, missing):
    with pytest.raises(UsageError, match=r"train.csv, line 3: the label is missing") as caught:
        encode("train", part("1", missing), task, ("1", "2"))
    assert "if it is a class, call it otherwise" in caught.value.hint
    with pytest.raises(UsageError, match=r"train.csv, line 3: the label is missing"):
        task_of({"train": part("1", missing)}, "own")


@pytest.mark.parametrize("label", ["high", "inf", "-Infinity", "1e39", "1_000", "1,5", "0x10", "٣x"])
def test_a_label_that_is_no_finite_number_is_refused(label):
    with pytest.raises(UsageError, match=r"train.csv, line 3: the label .* is not a finite number"):
        encode("train", part("1", label), "regression", ())


def test_a_class_that_training_does_not_know_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"dev.csv, line 3: no training pair has the class 'entailmnet'") as caught:
        encode("dev", part("neutral", "entailmnet", origin="dev.csv"), "classification", ("entailment", "neutral"))
    assert "did you mean entailment?" in caught.value.hint


@pytest.mark.parametrize(("task", "classes"), [("regression", ()), ("classification", ("1", "2"))])
def test_one_label_everywhere_is_refused(task, classes):
    with pytest.raises(UsageError, match=r"all 3 labels of the dev split \(train.csv\) are '1'"):
        encode("dev", part("1", "1", " 1"), task, classes)
