"""Being asked to stop, in stages: Ctrl-C lets the running trials end, a second one ends the workers, a third kills.

A search is not waited for but for its epoch, and gone on with another time. SIGTERM is the second stage at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

FINISH, END, KILL = 1, 2, 3

MESSAGES = {
    FINISH: "stopping: the running trials end first, of a search its epoch; Ctrl-C again to leave them unfinished",
    END: "stopping: the workers end now, their jobs will be taken up again; Ctrl-C again to kill them",
    KILL: "stopping: the workers are killed",
}


class Stages:
    """While entered, signals raise `stage` instead of ending the process; `wake` is called with each.

    In another thread than the main one there are no signals to be had, and the stage stays 0.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.stage, self.number = 0, signal.SIGINT
        self._wake = wake
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._signalled)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        least = END if number == signal.SIGTERM else FINISH
        if self.stage == 0:
            self.number = signal.Signals(number)
        self.stage = min(max(self.stage + 1, least), KILL)
        self._wake()
