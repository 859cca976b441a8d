"""One worker's process as its supervisor sees it: two pipes, a log file, a thread that reads, and its end."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nasctl.workers.logs import is_marker, marker
from nasctl.workers.protocol import LineSplitter, Message, ProtocolError, Sender

LOG_BYTES = 10 * 1024 * 1024
LAST_LINES = 20

_TAIL_BYTES = 64 * 1024
_READ_BYTES = 65536
_REAP_SECONDS = 5.0
_SEND_SECONDS = 2.0


@dataclass(frozen=True)
class Slot:
    """A place for a worker: the command that starts one, its environment, and the device it is told to use.

    `gpu` is the one that its environment shows, as CUDA_VISIBLE_DEVICES names it; "" for none.
    """

    number: int
    command: tuple[str, ...]
    environment: Mapping[str, str]
    device: str
    threads: int
    gpu: str = ""


Item = tuple["WorkerProcess | None", "bytes | ProtocolError | None"]
"""What a reading thread hands over: a line, what made it give up, or None at the end. Without a worker: a wake-up."""


class WorkerProcess:
    """A process in a session of its own, so that no terminal's signal reaches it and it can be ended with its children.

    Create it in the main thread. Its lines come as (worker, line) through `inbox`, the last item being (worker, None).
    """

    def __init__(self, slot: Slot, log: Path, inbox: queue.SimpleQueue[Item]) -> None:
        self.slot = slot
        self.log = log
        self._inbox = inbox
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self._log_start = errors.tell()
            self._process = subprocess.Popen(
                slot.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                env=dict(slot.environment),
                start_new_session=True,
            )
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        os.set_blocking(self._process.stdin.fileno(), False)  # a worker that no longer reads must not hold us up
        self.note(marker())
        self._sender = Sender(self._process.stdin.fileno(), _SEND_SECONDS)
        self._reader = threading.Thread(target=self._read, name=f"worker-{slot.number}", daemon=True)
        self._reader.start()

    def send(self, message: Message) -> None:
        """Tell the worker; one that does not read for seconds is killed, and its end will be noticed."""
        try:
            self._sender.send(message)
        except OSError:
            self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker and everything it has started."""
        if self._process.returncode is None:  # not reaped, so its number is nobody else's
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def has_exited(self) -> bool:
        """Whether the process has ended, even if something that it left behind holds its output open."""
        if self._process.returncode is not None:
            return True
        if not hasattr(os, "waitid"):
            return False
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self) -> str:
        """Kill what is left, let go of everything, and tell how the process ended."""
        self.signal(signal.SIGKILL)
        try:
            code = self._process.wait(_REAP_SECONDS)
        except subprocess.TimeoutExpired:
            return "does not end, even when killed"
        self._reader.join(_REAP_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not (pipe is self._process.stdout and self._reader.is_alive()):
                pipe.close()
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def note(self, text: bytes) -> None:
        """Add a line to the worker's log; none where it cannot be written, since no study ends for that."""
        with contextlib.suppress(OSError), self.log.open("ab") as log:
            log.write(text + b"\n")

    def cap_log(self) -> None:
        """Put the log aside once it is full; one older part is kept. Nothing if somebody has removed it."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)  # the worker appends, so it goes on at the new end
                self._log_start = 0

    def last_words(self) -> tuple[str, ...]:
        """The last lines of what this worker wrote to standard error; none if somebody has removed its log."""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - _TAIL_BYTES))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return ()
        return tuple(line for line in lines if not is_marker(line))[-LAST_LINES:]

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        lines, descriptor = LineSplitter(), self._process.stdout.fileno()
        try:
            while data := os.read(descriptor, _READ_BYTES):
                for line in lines.feed(data):
                    self._inbox.put((self, line))
        except ProtocolError as error:
            self._inbox.put((self, error))
        self._inbox.put((self, None))


def last_lines(words: Sequence[str]) -> str:
    """A worker's last words, to be put below a message."""
    return "".join(f"\n  {line}" for line in words)
