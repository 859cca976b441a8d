"""Tiny runs whose numbers may only move together with RESULT_VERSION.

After a change that is meant to move them: raise `nasctl.specs.RESULT_VERSION`, then
`PYTHONPATH=tests python tests/golden/test_runs.py`.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import run_spec

from nasctl.experiments.run import Workplace, train
from nasctl.specs import RESULT_VERSION, RunSpec

GOLDEN = Path(__file__).with_name("runs.json")
TOLERANCE = 2e-3  # other processors round other ways, and three epochs let that grow


def runs(cache: Path) -> dict[str, RunSpec]:
    plain = run_spec(cache, "blm")
    torch_rule = run_spec(cache, "blm", loss="mae", seed=1)
    return {
        "blm regression": plain,
        "blm regression, one mask per pair": replace(plain, model=replace(plain.model, masks="pair")),
        "esim regression": run_spec(cache, "esim"),
        "bow regression": run_spec(cache, "bow"),
        "blm regression, enas-24": run_spec(cache, "blm", cell="enas-24"),
        "esim regression, gru": run_spec(cache, "esim", cell="gru"),
        "blm classification": run_spec(cache, "blm", "classification"),
        "blm, torch's weights, pooled dropout": replace(
            torch_rule, model=replace(torch_rule.model, initialisation="torch", dropout_1="pooled")
        ),
    }


def losses(cache: Path) -> dict[str, list[float]]:
    """The training loss of every epoch of every run."""
    workplace = Workplace(cache, "cpu", 1)
    return {
        name: [round(epoch.loss, 6) for epoch in train(spec, workplace, "trial")] for name, spec in runs(cache).items()
    }


def test_the_numbers_move_only_with_the_result_version(tmp_path):
    golden = json.loads(GOLDEN.read_text())
    assert golden["result_version"] == RESULT_VERSION, "write the golden runs anew for this RESULT_VERSION"
    found = losses(tmp_path)
    assert set(found) == set(golden["losses"])
    for name, expected in golden["losses"].items():
        assert found[name] == pytest.approx(expected, rel=TOLERANCE), f"{name}: raise RESULT_VERSION if this is meant"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        written = {"result_version": RESULT_VERSION, "losses": losses(Path(folder))}
    GOLDEN.write_text(json.dumps(written, indent=1) + "\n")
