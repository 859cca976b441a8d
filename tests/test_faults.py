"""Fault points: off they are nothing, on they end the process, and a wrong name is told."""

import os
import signal

import pytest

from nasctl import faults
from nasctl.errors import UsageError


@pytest.fixture
def asked(monkeypatch):
    """Ask for a fault; the processes that would have been killed."""
    killed = []
    monkeypatch.setattr(os, "kill", lambda *call: killed.append(call))

    def ask(text):
        monkeypatch.setenv(faults.VARIABLE, text)
        faults._asked_for.cache_clear()
        return killed

    yield ask
    monkeypatch.undo()
    faults._asked_for.cache_clear()


@pytest.mark.parametrize("text", ["", "asked", "asked:2"])
def test_a_point_kills_the_time_it_was_asked_for(asked, text):
    killed = asked(text)
    after = []
    for _ in range(4):
        for point in faults.POINTS:
            faults.reach(point)
        after.append(len(killed))
    assert after == {"": [0, 0, 0, 0], "asked": [1, 1, 1, 1], "asked:2": [0, 1, 1, 1]}[text]
    assert set(killed) <= {(os.getpid(), signal.SIGKILL)}


@pytest.mark.parametrize(
    ("text", "message"),
    [("tolled", "names no point: 'tolled'"), ("told:0", "'0' is no count"), ("told:x", "'x' is no")],
)
def test_a_wrong_name_is_told_and_not_passed_over(asked, text, message):
    asked(text)
    with pytest.raises(UsageError, match=message):
        faults.reach("asked")
