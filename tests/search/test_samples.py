from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from nasctl.errors import MachineError
from nasctl.search.samples import Examined, SampledCell, read_samples, write_samples
from nasctl.strategies import SpaceSpec

TWO = SampledCell("tanh-0-relu", -2.5, (0.5, 1.0, 0.6), (0.4, 1.0, 0.6), (0.1, -0.2), 0.71)
EXAMINED = Examined(
    1, SpaceSpec("enas", 2), "pearson", {"untrained": (TWO,), "uniform": (SampledCell("relu-0-relu", score=0.5),)}
)


def as_json(**changes):
    cell = {
        "code": "tanh-0-relu",
        "log_probability": -2.5,
        "largest": [0.5, 1, 0.6],
        "chosen": [0.4, 1.0, 0.6],
        "hidden": [0.1, -0.2],
        "score": 0.71,
    }
    uniform = {"code": "relu-0-relu", "log_probability": None, "hidden": None, "score": 0.5}
    return {
        "version": 1,
        "space": {"name": "enas", "nodes": 2},
        "metric": "pearson",
        "policies": {"untrained": [cell | changes], "uniform": [uniform]},
    }


def test_what_is_written_is_read(tmp_path):
    write_samples(tmp_path / "new" / "samples.json", EXAMINED)
    assert read_samples(tmp_path / "new" / "samples.json") == EXAMINED


def test_the_file_is_as_agreed(tmp_path):
    (tmp_path / "samples.json").write_text(json.dumps(as_json()))
    assert read_samples(tmp_path / "samples.json") == EXAMINED


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"code": "tanh-0"}, "ends behind 2 choices"),
        ({"code": "tanh-0-relu-1-relu"}, "has 5 choices"),
        ({"code": "tanh-0-gelu"}, "no 'gelu'"),
        ({"largest": [0.5, 1.0]}, "2 largest and 3 chosen"),
        ({"largest": [1.0], "chosen": [1.0]}, "has 1 of 3 probabilities"),
        ({"chosen": [0.9, 1.0, 0.6]}, "choice 1 of tanh-0-relu: 0.9 was chosen"),
        ({"largest": [1.5, 1.0, 0.6]}, "less than or equal"),
        ({"log_probability": 0.5}, "less than or equal"),
        ({"hidden": ["a", 0.0]}, "valid number"),
        ({"score": "high"}, "valid number"),
        ({"entropy": 3.0}, "[Uu]nexpected"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, change, told):
    (tmp_path / "samples.json").write_text(json.dumps(as_json(**change)))
    with pytest.raises(MachineError, match=told):
        read_samples(tmp_path / "samples.json")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "holds no samples"),
        (json.dumps(as_json() | {"version": 2}), "version: Input should be 1"),
        (json.dumps(as_json() | {"metric": "luck"}), "metric"),
        (json.dumps(as_json() | {"space": {"name": "enos", "nodes": 2}}), "there is no space 'enos'"),
        (json.dumps(as_json() | {"policies": {"lucky": []}}), "policies"),
    ],
)
def test_another_file_is_refused(tmp_path, text, told):
    (tmp_path / "samples.json").write_text(text)
    with pytest.raises(MachineError, match=told):
        read_samples(tmp_path / "samples.json")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(MachineError, match="No such file"):
        read_samples(tmp_path / "samples.json")


def test_states_are_of_one_width():
    other = SampledCell("tanh-0-tanh", hidden=(0.0,))
    with pytest.raises(ValidationError, match="hidden states of 1, 2 numbers"):
        Examined(1, SpaceSpec("enas", 2), "pearson", {"untrained": (TWO,), "trained": (other,)})
