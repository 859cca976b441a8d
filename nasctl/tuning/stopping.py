"""Being asked to stop, in stages: Ctrl-C lets the running trials end, a second one ends the workers, a third kills.

A search is not waited for but for its epoch, and gone on with another time. SIGTERM is the second stage at once;
SIGUSR1, by which others ask, is the first and never more, however often it comes.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType, MappingProxyType, TracebackType
from typing import Any, Self

FINISH, END, KILL = 1, 2, 3

MESSAGES = {
    FINISH: "stopping: the running trials end first, of a search its epoch; Ctrl-C again to leave them unfinished",
    END: "stopping: the workers end now, their jobs will be taken up again; Ctrl-C again to kill them",
    KILL: "stopping: the workers are killed",
}

ASK, NOW = signal.SIGUSR1, signal.SIGTERM
"""What asks a scheduler from elsewhere to stop once its trials have ended, and what asks it to stop at once."""

SIGNALS: Mapping[signal.Signals, tuple[signal.Signals, Callable[[int], int]]] = MappingProxyType(
    {
        signal.SIGINT: (signal.SIGINT, lambda stage: min(stage + 1, KILL)),
        NOW: (signal.SIGTERM, lambda stage: min(max(stage + 1, END), KILL)),
        ASK: (signal.SIGINT, lambda stage: max(stage, FINISH)),
    }
)
"""Signal -> the one that a command which it stops has ended by, and what it makes of a stage."""


class Stages:
    """While entered, signals raise `stage` instead of ending the process; `wake` is called with each.

    `number` is what the first one has ended the command by, for its exit code. In another thread than the main one
    there are no signals to be had, and the stage stays 0.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.stage, self.number = 0, signal.SIGINT
        self._wake = wake
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._signalled)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            late = number == ASK and handler == signal.SIG_DFL  # it would kill what has ended meanwhile
            signal.signal(number, signal.SIG_IGN if late else handler)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        ended_by, after = SIGNALS[signal.Signals(number)]
        if self.stage == 0:
            self.number = ended_by
        self.stage = after(self.stage)
        self._wake()
