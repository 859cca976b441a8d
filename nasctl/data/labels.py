"""From label text to numbers: which task the labels make, the order of classes, and labels that cannot be."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from nasctl.data.pairs import Part
from nasctl.errors import UsageError, nearest
from nasctl.specs import Task

__all__ = ["classes_of", "encode", "in_words", "otherwise", "task_of"]

Array = np.ndarray[Any, np.dtype[Any]]

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "#n/a"})
MAX_NUMERIC_CLASSES = 10

logger = logging.getLogger(__name__)


def task_of(parts: Mapping[str, Part], name: str) -> Task:
    """The task that the labels themselves suggest, where the configuration says "auto".

    Words: classification. Numbers: regression, unless all of them are whole and at most ten differ: classification
    then. What was decided is logged, since ratings from 1 to 5 look like five classes.

    Raises UsageError if some labels are numbers and some are words.
    """
    odd: dict[bool, str] = {}
    for part in parts.values():
        for row, pair in enumerate(part.pairs):
            label = _present(part, row)
            odd.setdefault(NUMBER.fullmatch(label) is not None, f"{part.where(row)}: {pair.label!r}")
    if len(odd) == 2:
        raise UsageError(
            f"the labels mix numbers ({odd[True]}) and words ({odd[False]})",
            "correct the file, or say dataset.task=classification if these are classes",
        )
    values = {pair.label.strip() for part in parts.values() for pair in part.pairs}
    scores = True in odd and not (
        len({float(value) for value in values}) <= MAX_NUMERIC_CLASSES
        and all(float(value).is_integer() for value in values)
    )
    task: Task = "regression" if scores else "classification"
    other = "classification" if scores else "regression"
    logger.info("%s: %d different labels: %s (else say dataset.task=%s)", name, len(values), task, other)
    return task


def classes_of(parts: Mapping[str, Part]) -> tuple[str, ...]:
    """The classes of the training file, also of rows held out from it: numbers by value, words alphabetically.

    Raises UsageError for a number that is spelled in two ways, since two spellings would be two classes.
    """
    origin = parts["train"].origin
    found = {pair.label.strip() for part in parts.values() if part.origin == origin for pair in part.pairs}
    if not all(NUMBER.fullmatch(label) for label in found):
        return tuple(sorted(found))
    ordered = sorted(found, key=lambda label: (float(label), label))
    for one, other in pairwise(ordered):
        if float(one) == float(other):
            raise UsageError(
                f"{origin}: the classes {one!r} and {other!r} are one number",
                "spell it in one way; if they are two classes, one needs a word for its name",
            )
    return tuple(ordered)


def encode(name: str, part: Part, task: Task, classes: tuple[str, ...]) -> Array:
    """The labels of split `name`: float32 [n] as they stand for regression, int64 [n] class numbers else.

    Raises UsageError for a label that cannot be read or is no class of the training data, and if all labels are equal:
    nothing can be learnt from them, and no metric can be computed on them.
    """
    if task == "regression":
        labels = np.array([_score(part, row) for row in range(len(part.pairs))], np.float32)
    else:
        numbers = {label: number for number, label in enumerate(classes)}
        labels = np.array([_class(part, row, numbers) for row in range(len(part.pairs))], np.int64)
    if (labels == labels[0]).all():
        raise UsageError(
            f"all {len(labels)} labels of the {name} split ({part.origin}) are {part.pairs[0].label.strip()!r}",
            "a split needs at least two different labels; hidden test labels: leave that file out",
        )
    return labels


def in_words(task: Task, classes: Sequence[str], labels: Iterable[Array]) -> str:
    """How labels (of each split, as `encode` gives them) are read, for people."""
    if task == "classification":
        return f"{len(classes)} classes"
    each = list(labels)
    return f"scores from {min(map(min, each)):g} to {max(map(max, each)):g}"


def otherwise(task: Task, classes: Sequence[str]) -> str:
    """What would read a user's own labels as the other task, in brackets; "" for words, which are no scores."""
    if task == "regression":
        return " (else dataset.task=classification)"
    numbers = any(map(str.isdigit, "".join(classes)))  # "4,5" may be meant as a score, a word cannot
    return " (else dataset.task=regression)" if numbers else ""


def _present(part: Part, row: int) -> str:
    """The label without blanks around it."""
    label = part.pairs[row].label.strip()
    if label.lower() in MISSING:
        raise UsageError(
            f"{part.where(row)}: the label is missing ({label!r})",
            "give every row a label, or drop it; if it is a class, call it otherwise",
        )
    return label


def _score(part: Part, row: int) -> float:
    label = _present(part, row)
    value = float(label) if NUMBER.fullmatch(label) else math.nan
    if not abs(value) <= float(np.finfo(np.float32).max):
        raise UsageError(
            f"{part.where(row)}: the label {label!r} is not a finite number",
            "regression needs numbers; for classes say dataset.task=classification",
        )
    return value


def _class(part: Part, row: int, numbers: Mapping[str, int]) -> int:
    label = _present(part, row)
    if label not in numbers:
        raise UsageError(f"{part.where(row)}: no training pair has the class {label!r}", nearest(label, numbers))
    return numbers[label]
