"""What a scheduler and a worker say to each other: frozen messages, one JSON line each. `docs/protocol.md` shows all.

A line is `{"seq": N, "message": {"type": ..., ...}}`; `seq` counts a sender's lines from 0, so that a line that arrives
twice is dropped. JSON has no NaN: a number that is not finite is sent as null, and the line's `nonfinite` lists
where it stood and what it was: `[[["message", "epoch", "loss"], "nan"]]`.
"""

from __future__ import annotations

import functools
import json
import math
import operator
import os
import select
import threading
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from nasctl.specs import Role
from nasctl.tracking.records import EpochRecord, RunRecord

PROTOCOL = 5
"""Raised whenever a message changes; the two sides must agree."""

MAX_LINE_BYTES = 1024 * 1024

CONFIG = ConfigDict(extra="forbid", strict=True)

JobKind = Literal["run", "evaluate", "search", "noop"]

FailureReason = Literal["exception", "device", "device_memory", "memory", "disk", "machine", "usage"]
"""Why a job failed in a worker that still speaks. "device" is a CUDA error; "machine" and "usage" are the errors of
`nasctl.errors`, which no repetition mends; "exception" is everything that has no better name."""


class ProtocolError(ValueError):
    """A line that is no message, or a message that may not be sent."""


# --- scheduler to worker ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, config=CONFIG)
class Start:
    """How this worker shall work: answer to `Hello`, answered by `Ready`.

    `cache` is the folder of prepared data; `device` is "cpu" or "cuda" (the one that the worker can see). A sign of
    life is wanted every `beat` seconds; `grace` is how long the worker lives at most after its input has ended. A run
    older than `resume_after` seconds leaves a resume checkpoint every `resume_every` seconds at most. `warm` names
    (data, embedding) digests to be opened before `Ready`; with any of them torch is loaded, too.
    """

    protocol: int
    cache: str
    device: str
    threads: int
    beat: float
    grace: float
    resume_after: float
    resume_every: float
    warm: tuple[tuple[str, str], ...]
    type: Literal["start"] = "start"


@dataclass(frozen=True, config=CONFIG)
class Job:
    """Work to be done: `spec` is a RunSpec or a SearchSpec in JSON, `scratch` the one folder that the job may write to.

    "evaluate" reads the checkpoint `weights` of the trained run `record`; `options` are read by `workers.noop` alone.
    """

    job: str
    attempt: int
    kind: JobKind
    spec: dict[str, Any]
    role: Role
    scratch: str
    weights: str | None = None
    record: RunRecord | None = None
    options: dict[str, Any] = field(default_factory=dict)
    type: Literal["job"] = "job"


@dataclass(frozen=True, config=CONFIG)
class Keep:
    """Write the job's weights to `path`, below its scratch folder; answered by `Kept`."""

    job: str
    attempt: int
    path: str
    type: Literal["keep"] = "keep"


@dataclass(frozen=True, config=CONFIG)
class Drop:
    """Forget the job's weights."""

    job: str
    attempt: int
    type: Literal["drop"] = "drop"


@dataclass(frozen=True, config=CONFIG)
class Prune:
    """End the job after its present epoch, without weights; if it is at its end already, nothing changes."""

    job: str
    attempt: int
    type: Literal["prune"] = "prune"


@dataclass(frozen=True, config=CONFIG)
class Stop:
    """End after this epoch, or at once if there is none; answered by `Stopped`."""

    type: Literal["stop"] = "stop"


# --- worker to scheduler ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, config=CONFIG)
class Hello:
    """A worker's first line: who it is, before it has loaded anything."""

    protocol: int
    nasctl: str
    result_version: int
    pid: int
    host: str
    python: str
    torch: str
    type: Literal["hello"] = "hello"


@dataclass(frozen=True, config=CONFIG)
class Ready:
    """The worker waits for its first job."""

    rss_bytes: int
    type: Literal["ready"] = "ready"


@dataclass(frozen=True, config=CONFIG)
class Beat:
    """A sign of life, whatever else the worker is doing; `job` and `attempt` are what it is at, if anything."""

    job: str | None
    attempt: int | None
    rss_bytes: int
    type: Literal["beat"] = "beat"


@dataclass(frozen=True, config=CONFIG)
class Epoch:
    """An epoch has ended."""

    job: str
    attempt: int
    epoch: EpochRecord
    type: Literal["epoch"] = "epoch"


@dataclass(frozen=True, config=CONFIG)
class Judged:
    """A search has judged one more of the `cells` that it ends with, so many by now."""

    job: str
    attempt: int
    judged: int
    cells: int
    type: Literal["judged"] = "judged"


@dataclass(frozen=True, config=CONFIG)
class Done:
    """The job has ended well. `weights` says whether there are any to keep; the scheduler answers `Keep` or `Drop`."""

    job: str
    attempt: int
    record: RunRecord
    weights: bool
    rss_bytes: int
    type: Literal["done"] = "done"


@dataclass(frozen=True, config=CONFIG)
class Kept:
    """The weights lie at `path`, whole, with this SHA-256."""

    job: str
    attempt: int
    path: str
    sha256: str
    type: Literal["kept"] = "kept"


@dataclass(frozen=True, config=CONFIG)
class Failed:
    """The job, or keeping its weights, has failed; `traceback` is its last part."""

    job: str
    attempt: int
    reason: FailureReason
    message: str
    hint: str
    traceback: str
    type: Literal["failed"] = "failed"


@dataclass(frozen=True, config=CONFIG)
class Stopped:
    """The worker's last line: it was told to stop, and `job` (if any) was left unfinished."""

    job: str | None
    attempt: int | None
    type: Literal["stopped"] = "stopped"


FromScheduler = Start | Job | Keep | Drop | Prune | Stop
OfJob = Epoch | Judged | Done | Kept | Failed | Stopped
"""What a worker says about its job."""

FromWorker = Hello | Ready | Beat | OfJob
Message = FromScheduler | FromWorker


# --- lines ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, config=CONFIG)
class Line:
    """A message and its place in the sender's sequence."""

    seq: int
    message: Annotated[Message, Field(discriminator="type")]


_LINE = TypeAdapter(Line)


def encode(seq: int, message: Message) -> bytes:
    """The line of a message, its newline included. Raises ProtocolError if it is too long."""
    nonfinite: list[tuple[list[str | int], str]] = []
    body = _without_nonfinite(_LINE.dump_python(Line(seq, message), mode="json"), [], nonfinite)
    body["message"] = {"type": message.type} | body["message"]  # first, for whoever reads a log
    if nonfinite:
        body["nonfinite"] = nonfinite
    line = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"a {message.type} message of {len(line)} bytes; a line has at most {MAX_LINE_BYTES}")
    return line


def decode(line: bytes) -> Line:
    """The message of a line. Raises ProtocolError for whatever is none: torn, unknown, of wrong types."""
    try:
        body = json.loads(line)
        for path, name in body.pop("nonfinite", ()):
            parent = functools.reduce(operator.getitem, path[:-1], body)
            parent[path[-1]] = float(name)
        return _LINE.validate_json(json.dumps(body))  # the detour lets JSON's lists be tuples, strictly, and NaN pass
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        shown = line[:200].decode(errors="replace")
        raise ProtocolError(f"not a message of protocol {PROTOCOL} ({reason}): {shown}") from error


def _without_nonfinite(value: Any, path: list[str | int], nonfinite: list[tuple[list[str | int], str]]) -> Any:
    """`value` with None for each number that is not finite; those are listed in `nonfinite`, each with its path."""
    if isinstance(value, float) and not math.isfinite(value):
        nonfinite.append((path, str(value)))
        return None
    if isinstance(value, dict):
        return {key: _without_nonfinite(item, [*path, key], nonfinite) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nonfinite(item, [*path, place], nonfinite) for place, item in enumerate(value)]
    return value


class LineSplitter:
    """Lines out of bytes as they come; an incomplete last line is kept until the rest of it arrives."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now, without their newlines. Raises ProtocolError if one grows too long."""
        *lines, self._tail = (self._tail + data).split(b"\n")
        if len(self._tail) > MAX_LINE_BYTES:
            self._tail = b""
            raise ProtocolError(f"a line of more than {MAX_LINE_BYTES} bytes")
        return [line for line in lines if line.strip()]


class Sender:
    """Writes messages to a file descriptor, whole lines in one sequence, from any thread.

    `send` raises OSError when nobody reads any more: of a descriptor that is non-blocking, if it stays full for
    `patience` seconds. A pipe holds 64 KiB, and a message may be longer.
    """

    def __init__(self, descriptor: int, patience: float = 0.0) -> None:
        self._descriptor, self._patience = descriptor, patience
        self._lock = threading.Lock()
        self._seq = 0

    def send(self, message: Message) -> None:
        """Write one message."""
        with self._lock:
            rest = memoryview(encode(self._seq, message))
            self._seq += 1
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    if not self._has_room():
                        raise

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(1000 * self._patience))
