"""`nasctl stop`, asked again and again, of a scheduler in a process of its own."""

from __future__ import annotations

import pytest
from studies import Driven

from nasctl.cli import stop as module

pytestmark = pytest.mark.timeout(300)  # each command imports Optuna


@pytest.fixture(autouse=True)
def this_checkout(checkout, monkeypatch):
    """Processes of their own import what this one does, whatever else is installed."""
    monkeypatch.setenv("PYTHONPATH", str(checkout))


def test_whoever_asks_again_asks_for_no_more(nasctl, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_wait", lambda *_: None)
    with Driven(tmp_path / "runs", trials=4, workers=1, seconds=3600.0, epochs=36000) as driven:
        assert driven.until("EpochEnded")
        for _ in range(2):
            result = nasctl("stop", "s")
            assert result.exit_code == 0, result.stderr
            assert "is asked to stop; its running trials end first" in result.stderr
        assert driven.until("Stopping")
        assert driven.until("EpochEnded", 3)
        assert nasctl("stop", "s", "--now").exit_code == 0
        assert driven.end()[0] == 130
    assert [event["stage"] for event in driven.of("Stopping")] == [1, 2]
