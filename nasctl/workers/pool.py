"""What a scheduler needs of those who compute: slots that take jobs, and events that come back.

`workers.supervision` has it for processes (`workers.local` starts them), `workers.inprocess` for tests and debugging.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from nasctl.workers.protocol import Drop, Hello, Job, Keep, OfJob, Prune, Stop

LossReason = Literal["crashed", "silent", "stuck", "protocol", "device"]
"""Why a worker was lost: it ended by itself, gave no sign of life, made no progress, spoke nonsense, or its GPU is
lost."""


@dataclass(frozen=True)
class Limits:
    """How long a worker is waited for, and what it may lose, in seconds.

    It gives a sign of life every `beat`; without one for `silence` it is taken for dead. An epoch, a cell that a search
    judges in the end, or getting ready may take `epoch`. After a request to stop it has `grace`. A run older than
    `resume_after` leaves a resume checkpoint every `resume_every` at most.
    """

    beat: float
    silence: float
    epoch: float
    grace: float
    resume_after: float
    resume_every: float


@dataclass(frozen=True)
class WorkerReady:
    """A slot has a worker that waits for a job: at the start, and again after each loss or renewal."""

    slot: int
    hello: Hello
    device: str


@dataclass(frozen=True)
class Told:
    """A worker has said something about its job."""

    slot: int
    message: OfJob


@dataclass(frozen=True)
class WorkerLost:
    """A worker ended without having been asked to; its job, if any, is unfinished. `words` are its last lines."""

    slot: int
    reason: LossReason
    detail: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class GpuLost:
    """A GPU is used no more, and why; `slots` are left."""

    gpu: str
    detail: str
    slots: int


PoolEvent = WorkerReady | Told | WorkerLost | GpuLost


class Pool(Protocol):
    """Slots, each with at most one job. All calls come from one thread, the main one; `wake` may come from anywhere.

    A slot is idle from its worker's `Ready` until a `Job` is sent, and again once the job's weights are settled: `Drop`
    was sent or `Kept` came back. A lost worker is replaced, and so is one that has failed or has worked for long.
    """

    @property
    def slots(self) -> int:
        """How many jobs can be done at a time."""

    @property
    def living(self) -> int:
        """How many workers have not ended."""

    def start(self) -> None:
        """Begin to start a worker in every slot."""

    def idle(self) -> Sequence[int]:
        """The slots that wait for a job."""

    def send(self, slot: int, message: Job | Keep | Drop | Prune | Stop) -> None:
        """Tell a slot's worker. If it is dead, `WorkerLost` follows; one that stops is replaced."""

    def events(self, timeout: float) -> list[PoolEvent]:
        """What has happened since the last call; waits up to `timeout` seconds for something to happen.

        Raises MachineError when workers cannot be started, or every GPU is lost.
        """

    def wake(self) -> None:
        """Let a waiting `events` return at once; safe in a signal handler."""

    def stop(self) -> None:
        """Ask every worker to end after its epoch. From now on nothing is replaced, and losses are no events."""

    def close(self) -> None:
        """End what still lives, at once, and let go of everything."""
