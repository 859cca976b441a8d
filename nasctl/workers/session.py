"""A worker's side of the conversation: a thread that reads and gives signs of life, and the jobs in the main thread.

The end of the input means that the scheduler is gone, however it went: the worker stops within its grace, and its whole
process group with it, even if the main thread hangs.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import queue
import select
import signal
import socket
import sys
import threading
import time
from types import FrameType

import nasctl
from nasctl.errors import MachineError, NasctlError
from nasctl.specs import RESULT_VERSION
from nasctl.workers.jobs import Executor, rss_bytes
from nasctl.workers.protocol import (
    PROTOCOL,
    Beat,
    Drop,
    Hello,
    Job,
    Keep,
    LineSplitter,
    Message,
    ProtocolError,
    Prune,
    Ready,
    Sender,
    Start,
    Stop,
    Stopped,
    decode,
)

BEAT_SECONDS, GRACE_SECONDS = 10.0, 10.0
"""Until `Start` says otherwise."""

READ_BYTES = 65536


class Session:
    """One worker's conversation, from `Hello` to `Stopped`; `inward` and `outward` are file descriptors."""

    def __init__(self, inward: int, outward: int) -> None:
        self._inward = inward
        self._sender = Sender(outward)
        self._inbox: queue.SimpleQueue[Message | ProtocolError | None] = queue.SimpleQueue()
        self._stopping = False
        self._asks = self._alone = False  # whether it has asked about weights, and whether nobody answers any more
        self._beat, self._grace = BEAT_SECONDS, GRACE_SECONDS
        self._at: Job | None = None
        self._pruned: tuple[str, int] | None = None  # the job and attempt that the scheduler has given up
        self._parent = os.getppid()

    def serve(self) -> int:
        """Answer until told to stop, or until nobody listens; the exit code."""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._signalled)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the scheduler's
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        try:
            self._sender.send(hello())
            self._converse()
        except BrokenPipeError:
            return 0  # the scheduler is gone; the reader has seen it, too
        except (NasctlError, ProtocolError) as error:
            hint = f" ({error.hint})" if isinstance(error, NasctlError) and error.hint else ""
            print(f"nasctl worker: {error}{hint}", file=sys.stderr)  # noqa: T201 - for the log, and whoever started us
            return MachineError.exit_code
        return 0

    # --- the main thread ----------------------------------------------------------------------------------------------

    def _converse(self) -> None:
        executor: Executor | None = None
        while (message := self._next()) is not None:
            match message:
                case Start() if executor is None:
                    executor = self._start(message)
                case Job() if executor is not None and not self._stopping:
                    self._work(executor, message)
                case Keep() | Drop() if executor is not None:
                    self._asks = False
                    if (answer := executor.settle(message)) is not None:
                        self._sender.send(answer)
                    if self._stopping:
                        break
                case Job() if self._stopping:
                    self._at = message
                    break  # it was on its way when the stop came
                case ProtocolError():
                    raise message
                case _:
                    raise ProtocolError(f"a {message.type} message has no place here")
        unfinished = self._at
        self._sender.send(Stopped(*((unfinished.job, unfinished.attempt) if unfinished else (None, None))))

    def _next(self) -> Message | ProtocolError | None:
        """What comes next, None after a stop; what becomes of weights is waited for as long as somebody may say it."""
        while (message := self._inbox.get()) is None and self._asks and not self._alone:
            pass
        return message

    def _start(self, start: Start) -> Executor:
        if start.protocol != PROTOCOL:
            raise MachineError(
                f"the scheduler speaks protocol {start.protocol}, this worker {PROTOCOL}",
                "install the same nasctl on both sides",
            )
        executor = Executor(start)
        executor.warm()
        self._sender.send(Ready(rss_bytes()))
        return executor

    def _work(self, executor: Executor, job: Job) -> None:
        self._at = job
        with contextlib.closing(executor.perform(job)) as told:  # closed, a run leaves what is needed to go on
            answer = None
            with contextlib.suppress(StopIteration):
                while True:
                    message = told.send(answer)
                    self._sender.send(message)
                    self._asks = message.type == "done"
                    if self._stopping and message.type in {"epoch", "judged"}:
                        return
                    answer = self._pruned == (job.job, job.attempt)
        self._at = None

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        self._alone = True
        self._stop()

    def _stop(self) -> None:
        self._stopping = True
        self._inbox.put(None)

    # --- the reader's thread ------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            self._read_lines()
        except ProtocolError as error:
            self._inbox.put(error)
        except OSError:  # a beat that nobody hears
            pass
        self._alone = True
        self._stop()
        time.sleep(self._grace)
        _end_group()

    def _read_lines(self) -> None:
        """Until the input ends, or the scheduler does."""
        lines, last = LineSplitter(), -1
        due = time.monotonic() + self._beat
        while os.getppid() == self._parent:  # where another process holds our input open, its end never comes
            if select.select([self._inward], [], [], max(0.0, min(due - time.monotonic(), self._beat)))[0]:
                data = os.read(self._inward, READ_BYTES)
                if not data:
                    return
                for text in lines.feed(data):
                    line = decode(text)
                    if line.seq <= last:
                        continue  # it has arrived twice
                    last = line.seq
                    if isinstance(line.message, Stop):
                        self._stop()
                        continue
                    if isinstance(line.message, Prune):
                        self._pruned = line.message.job, line.message.attempt
                        continue
                    if isinstance(line.message, Start):
                        self._grace, self._beat = line.message.grace, line.message.beat
                        due = time.monotonic() + self._beat
                    self._inbox.put(line.message)
            if time.monotonic() >= due:
                at = self._at
                self._sender.send(Beat(at.job if at else None, at.attempt if at else None, rss_bytes()))
                due = time.monotonic() + self._beat


def hello() -> Hello:
    """Who this process is."""
    return Hello(
        protocol=PROTOCOL,
        nasctl=nasctl.__version__,
        result_version=RESULT_VERSION,
        pid=os.getpid(),
        host=socket.gethostname(),
        python=platform.python_version(),
        torch=importlib.metadata.version("torch"),
    )


def _end_group() -> None:
    """End this process and whatever it has started, at once. Never returns."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
