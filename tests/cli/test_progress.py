"""What a scheduler's events look like: lines without a terminal, a board on one."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace

import pytest

from nasctl.cli.progress import Board, follow
from nasctl.tracking.records import EpochRecord, FoundCell, RunRecord
from nasctl.tuning import events as tell

STUDY = "sick-glove-blm-L"


def record(value: float, state: str = "finished", reason: str = "") -> RunRecord:
    return RunRecord(
        digest="0" * 16,
        role="trial",
        state=state,
        reason=reason,
        metric="pearson",
        value=value,
        dev={"pearson": value},
        test={},
        epochs=7,
        best_epoch=4,
        parameters=1,
        cells=(),
        seconds={"train": 62.0},
        memory={},
        counts={},
        device="cpu",
        threads=1,
        backend="torch",
        result_version=1,
        versions={},
        history=(),
    )


def happenings() -> list[tell.Event]:
    epoch = EpochRecord(3, 0.25, {"pearson": 0.8123}, 61.0)
    return [
        tell.StudyStarted(STUDY, 4, 1, 0, 1, 0.7),
        tell.WorkerStarted(0, "host", 1, "cpu"),
        tell.WorkerStarted(1, "host", 2, "cpu"),
        tell.JobStarted(STUDY, 1, "trial", 1, 0, {}),
        tell.EpochEnded(STUDY, 1, "trial", 0, epoch),
        tell.JobRepeated(STUDY, 1, "trial", 1, "crashed", "exit code 9"),
        tell.TrialEnded(STUDY, 1, 0, record(0.8123), None, 2, 0),
        tell.BestChanged(STUDY, 1, 0.8123),
        tell.TrialEnded(STUDY, 2, 1, record(0.0, "diverged", "loss not finite in epoch 2"), None, 3, 0),
        tell.TrialEnded(STUDY, 3, None, record(0.8123), f"{STUDY}/1", 4, 0),
        tell.Warned("the tracker is away"),
        tell.StudyEnded(STUDY, 4, 0, 1, None),
    ]


def test_without_a_terminal_every_trial_is_a_line(capsys):
    passed = list(follow(happenings(), {STUDY: "pearson"}, live=False))
    assert passed == happenings()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        f"{STUDY}: 4 trials, 1 are done, 1 are taken up again",
        f"{STUDY} trial 1: attempt 1 came to nothing (crashed: exit code 9); once more",
        f"{STUDY} trial 1 (2/4): pearson 81.23 in epoch 4 of 7, 1 min 02 s",
        f"{STUDY}: best so far 81.23 (trial 1)",
        f"{STUDY} trial 2 (3/4): diverged (loss not finite in epoch 2), 1 min 02 s",
        f"{STUDY} trial 3 (4/4): pearson 81.23 in epoch 4 of 7, 1 min 02 s, known from {STUDY}/1",
        "the tracker is away",
        f"{STUDY}: 4 trials are done, 0 failed",
    ]


def test_the_board_has_a_line_per_worker_and_a_total():
    now = [0.0]
    board = Board({STUDY: "pearson"}, clock=lambda: now[0])
    for event in happenings()[:5]:
        board.take(event)
    assert board.lines() == [
        f"worker 0  {STUDY} trial 1  epoch 3  loss 0.2500  pearson 81.23  1 min 01 s",
        "worker 1  waits",
        "█████░░░░░░░░░░░░░░░ 1/4 trials  best 70.00",
    ]
    now[0] = 30.0
    for event in happenings()[5:8]:
        board.take(event)
    assert board.lines()[0] == "worker 0  waits"
    assert board.total() == "██████████░░░░░░░░░░ 2/4 trials  best 81.23  1 min 00 s left"
    for event in happenings()[8:]:
        board.take(event)
    assert board.total().endswith("4/4 trials  best 81.23  done")


def test_failed_trials_and_the_final_test_are_on_the_board():
    board = Board({STUDY: "pearson"})
    board.take(tell.StudyStarted(STUDY, 4, 0, 0, 0, None))
    board.take(tell.TrialEnded(STUDY, 0, 0, record(-1.0, "failed", "crashed"), None, 0, 1))
    board.take(tell.JobStarted(STUDY, 3, "final", 1, 0, {}))
    assert "1 failed" in board.total()
    assert board.lines()[0] == f"worker 0  {STUDY} test of trial 3  starts"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_trial_tells_which_cell_of_the_pool_it_had():
    cells = ({"code": "enas-24", "digest": "0a1b2c3d4e5f"}, {"code": "lstm", "digest": "lstm"})
    line = Board({STUDY: "pearson"}).take(tell.TrialEnded(STUDY, 1, 0, replace(record(0.8), cells=cells), None, 2, 0))
    assert line == f"{STUDY} trial 1 (2/2): pearson 80.00 in epoch 4 of 7, 1 min 02 s, enas-24"


@pytest.mark.parametrize("no_colour", [True, False])
def test_on_a_terminal_lines_scroll_above_the_board(monkeypatch, no_colour):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    if no_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(follow(happenings(), {STUDY: "pearson"})) == happenings()
    written = sys.stderr.getvalue()
    assert "worker 1  waits" in written
    assert f"{STUDY} trial 1 (2/4): pearson 81.23" in written
    assert "\x1b[2K" in written  # the board is drawn over
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert max(map(len, re.split(r"[\r\n]+", plain))) <= 80
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", written)  # colours


def search_happenings() -> list[tell.Event]:
    def epoch(number: int, new: float) -> EpochRecord:
        return EpochRecord(
            number, 0.25, {"pearson": 0.612}, 61.0, {"reward": 0.6, "entropy": 12.75, "new": new}, "tanh"
        )

    cells = tuple(FoundCell(f"c{score}", "", "", -1.0, score) for score in (0.5, 0.7))
    return [
        tell.SearchStarted("f", 5, again=True),
        tell.WorkerStarted(0, "host", 1, "cpu"),
        tell.JobStarted("f", 0, "search", 1, 0, {}),
        tell.EpochEnded("f", 0, "search", 0, epoch(3, 1.0)),
        tell.EpochEnded("f", 0, "search", 0, epoch(4, 0.25)),
        tell.SearchEnded("f", replace(record(0.6), found=cells), 0),
        tell.SearchEnded("f", replace(record(0.6), found=cells), None),
        tell.SearchEnded("f", record(0.0, "diverged", "loss not finite in epoch 2"), 0),
    ]


def test_a_search_is_a_line_per_epoch_with_the_time_left() -> None:
    now = [0.0]
    board = Board({"f": "pearson"}, clock=lambda: now[0])
    first, *_, diverged = events = search_happenings()
    assert board.take(first) == "f: a search of at most 5 epochs, gone on with; dev: mean pearson of sampled cells"
    assert board.total() == "f: at most 5 epochs more"
    assert [board.take(event) for event in events[1:3]] == ["", ""]
    assert board.lines()[0] == "worker 0  f search  starts"
    now[0] = 62.0
    assert board.take(events[3]) == (
        "epoch   3  loss 0.2500  dev 61.20  reward 60.00  entropy 12.75  new 100%  1 min 02 s"
    )
    assert board.total() == "f: at most 2 epochs more  2 min 04 s left"
    now[0] = 80.0
    assert board.take(events[4]).endswith("new 25%  18.0 s")
    assert board.total() == "f: at most 1 epoch more  40.0 s left"
    assert board.take(tell.CellsJudged("f", 0, 1, 310)) == "f: its epochs are over; 310 cells to judge"
    assert board.total() == "f: 309 cells to judge"
    now[0] = 100.0
    assert board.take(tell.CellsJudged("f", 0, 11, 310)) == ""
    assert board.lines() == ["worker 0  f  11 of 310 cells judged", "f: 299 cells to judge  9 min 58 s left"]
    found = "f: 2 cells found, the best with pearson 70.00 under the shared weights, 1 min 02 s"
    assert [board.take(event) for event in events[5:7]] == [found, f"{found}, as is known"]
    assert board.lines() == ["worker 0  waits", "best 70.00"]
    assert board.take(diverged) == "f: diverged (loss not finite in epoch 2), 1 min 02 s"


def test_beside_others_a_search_is_named_and_the_longest_is_waited_for() -> None:
    now = [0.0]
    board = Board({"f": "pearson", STUDY: "pearson"}, clock=lambda: now[0])
    board.take(tell.StudyStarted(STUDY, 4, 0, 0, 0, None))
    for event in search_happenings()[:3]:
        board.take(event)
    now[0] = 10.0
    assert board.take(search_happenings()[3]).startswith("f  epoch   3  loss")
    assert board.remaining() is None
    board.take(tell.TrialEnded(STUDY, 0, 1, record(0.5), None, 1, 0))
    assert board.remaining() == 30.0
