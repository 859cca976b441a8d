"""The predictions that a study leaves, checked against the scores of its record."""

import json

import pytest
from records import record

from nasctl.tuning.leftovers import evaluation_trouble


def trouble(path, rows, score, counts, metric="f1"):
    """What is wrong with a file of these (row id, gold, prediction), dev and test alike, whose score was recorded."""
    lines = [
        {"split": split, "row_id": row_id, "gold": gold, "prediction": made}
        for split in ("dev", "test")
        for row_id, gold, made in rows
    ]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    final = record(score, test=score, metric=metric, role="final", counts=counts)
    return list(evaluation_trouble(path, record(score, metric=metric), final))


@pytest.mark.parametrize("end", ["\u2028", "\x85"])
def test_an_id_may_hold_what_ends_a_line_elsewhere(tmp_path, end):
    rows = [(f"a{end}b", 0, 0), ("c", 1, 1)]
    assert trouble(tmp_path / "predictions.jsonl", rows, 1.0, {}, "accuracy") == []
    (found, _) = trouble(tmp_path / "predictions.jsonl", rows, 0.5, {}, "accuracy")
    assert "accuracy is 1.0 by its rows, 0.5 was recorded" in found


def test_f1_follows_from_the_rows_and_the_number_of_classes(tmp_path):
    rows = [("a", 1, 1), ("b", 1, 1), ("c", 1, 0), ("d", 0, 0)]
    mean = (0.8 + 2 / 3) / 2
    assert trouble(tmp_path / "predictions.jsonl", rows, mean, {"classes": 3}) == []
    assert trouble(tmp_path / "predictions.jsonl", rows, 0.8, {"classes": 2}) == []
    assert trouble(tmp_path / "predictions.jsonl", rows, 0.8, {}) == []  # as many as occur: records of earlier versions
