"""What signals make of a scheduler's stage."""

import signal

import pytest

from nasctl.tuning.stopping import END, FINISH, KILL, Stages

INT, TERM, USR = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1


@pytest.mark.parametrize(
    ("signals", "stages", "ended_by"),
    [
        ((INT, INT, INT, INT), (FINISH, END, KILL, KILL), INT),
        ((TERM, TERM, TERM), (END, KILL, KILL), TERM),
        ((INT, TERM), (FINISH, END), INT),
        ((USR, USR, USR), (FINISH, FINISH, FINISH), INT),
        ((USR, INT, USR), (FINISH, END, END), INT),
        ((USR, TERM, USR, INT), (FINISH, END, END, KILL), INT),
    ],
)
def test_each_signal_leads_to_its_stage(signals, stages, ended_by):
    woken = []
    with Stages(lambda: woken.append(True)) as stage:
        seen = []
        for number in signals:
            signal.raise_signal(number)
            seen.append(stage.stage)
    assert tuple(seen) == stages
    assert stage.number == ended_by
    assert len(woken) == len(signals)


def test_others_handlers_come_back_and_one_that_asks_too_late_kills_nobody():
    before = {number: signal.getsignal(number) for number in (INT, TERM)}
    was = signal.signal(USR, signal.SIG_DFL)
    try:
        with Stages(lambda: None):
            pass
        signal.raise_signal(USR)
        heard = []
        signal.signal(USR, lambda *_: heard.append(True))
        with Stages(lambda: None):
            pass
        signal.raise_signal(USR)
        assert heard == [True]
    finally:
        signal.signal(USR, was)
    assert {number: signal.getsignal(number) for number in before} == before
