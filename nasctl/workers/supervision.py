"""A pool of worker processes: started, listened to, watched, renewed, ended. It does not matter what starts them."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import filelock

from nasctl.errors import MachineError
from nasctl.specs import RESULT_VERSION
from nasctl.workers.logs import marker, take_folder
from nasctl.workers.pool import GpuLost, Limits, LossReason, PoolEvent, Told, WorkerLost, WorkerReady
from nasctl.workers.process import Item, Slot, WorkerProcess, last_lines
from nasctl.workers.protocol import (
    PROTOCOL,
    Beat,
    Done,
    Drop,
    Epoch,
    Failed,
    Hello,
    Job,
    Judged,
    Keep,
    Kept,
    OfJob,
    ProtocolError,
    Prune,
    Ready,
    Start,
    Stop,
    Stopped,
    decode,
)

GPU_FAILURES = 3
"""Of so many jobs one after the other on a GPU, each ended by a CUDA error, nobody blames the jobs any more."""

RENEW_AFTER_JOBS = 200
RENEW_AFTER_GROWTH_BYTES = 1024**3
"""Of a worker's resident memory since its first job ended."""

START_FAILURES = 3
LOG_CHECK_SECONDS = 5.0
LONGEST_TICK_SECONDS = 1.0
"""More time than this between two looks is time in which nobody read, and is held against no worker."""

State = Literal["starting", "idle", "busy", "settling", "ending"]


class _Worker:
    """A process and what is known of it. Times are of the pool's reading clock."""

    def __init__(self, process: WorkerProcess, now: float) -> None:
        self.process = process
        self.state: State = "starting"
        self.hello: Hello | None = None
        self.seq = -1
        self.heard = self.progress = now
        self.jobs = 0
        self.first_rss_bytes = self.rss_bytes = 0
        self.verdict: tuple[LossReason, str] | None = None
        self.seen_dead = False


class ProcessPool:
    """The `Pool` of the workers that `slots` describe.

    `cache` and `warm` are passed on to them (`protocol.Start`); their logs are `worker-K.log` in `logs`, or in one
    below it while another pool writes there (`logs.take_folder`). `clock` is monotonic, in seconds. `is_lost` is asked
    about a GPU after each CUDA error there: a lost one is used no more.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        limits: Limits,
        *,
        cache: Path,
        logs: Path,
        warm: Sequence[tuple[str, str]] = (),
        clock: Callable[[], float] = time.monotonic,
        is_lost: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._slots, self._limits = tuple(slots), limits
        self._cache, self._logs, self._warm = cache.absolute(), logs, tuple(warm)
        self._clock, self._is_lost = clock, is_lost
        self._gpu_failures: dict[str, set[str]] = {}  # GPU -> the jobs that failed there since one went well
        self._lost: dict[str, str] = {}  # GPU -> why it is used no more
        self._held: filelock.BaseFileLock | None = None
        self._inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._workers: dict[int, _Worker] = {}
        self._reading, self._looked, self._capped = 0.0, clock(), clock()
        self._start_failures = 0
        self._stopping = False

    @property
    def slots(self) -> int:
        """How many jobs can be done at a time."""
        return sum(slot.gpu not in self._lost for slot in self._slots)

    @property
    def living(self) -> int:
        """How many workers have not ended."""
        return len(self._workers)

    def start(self) -> None:
        """Begin to start a worker in every slot. Raises OSError if the logs cannot be written."""
        self._logs, self._held = take_folder(self._logs)
        for slot in self._slots:
            self._spawn(slot)

    def idle(self) -> Sequence[int]:
        """The slots that wait for a job."""
        return [number for number, worker in self._workers.items() if worker.state == "idle"]

    def send(self, slot: int, message: Job | Keep | Drop | Prune | Stop) -> None:
        """Tell a slot's worker. If it is dead, `WorkerLost` follows; one that stops is replaced."""
        worker = self._workers.get(slot)
        if worker is None:  # it has ended since, and its loss was told
            return
        if isinstance(message, Job):
            worker.process.note(marker(message.job, message.attempt))
        worker.process.send(message)
        if isinstance(message, Job):
            worker.state, worker.progress = "busy", self._reading
        elif isinstance(message, Drop):
            self._settled(worker)

    def events(self, timeout: float) -> list[PoolEvent]:
        """What has happened since the last call; see `Pool`."""
        self._tick()
        happened: list[PoolEvent] = []
        try:
            items = [self._inbox.get(timeout=timeout) if timeout > 0 else self._inbox.get_nowait()]
            while not self._inbox.empty():
                items.append(self._inbox.get_nowait())
        except queue.Empty:
            items = []
        self._tick()
        for process, item in items:
            worker = None if process is None else self._workers.get(process.slot.number)
            if worker is not None and worker.process is process:
                happened += self._end(worker) if item is None else self._hear(worker, item)
        for worker in list(self._workers.values()):
            happened += self._watch(worker)
        return happened

    def wake(self) -> None:
        """Let a waiting `events` return at once; safe in a signal handler."""
        self._inbox.put((None, None))

    def stop(self) -> None:
        """Ask every worker to end after its epoch. From now on nothing is replaced."""
        self._stopping = True
        for worker in self._workers.values():
            self._retire(worker)
            worker.process.signal(signal.SIGTERM)  # it says the same to whatever the worker has started

    def close(self) -> None:
        """End what still lives, at once, and let go of everything."""
        self._stopping = True
        for worker in self._workers.values():
            worker.process.signal(signal.SIGKILL)
        for worker in self._workers.values():
            worker.process.end()
        self._workers.clear()
        if self._held is not None:
            self._held.release()

    # --- a worker's life ----------------------------------------------------------------------------------------------

    def _spawn(self, slot: Slot) -> None:
        process = WorkerProcess(slot, self._logs / f"worker-{slot.number}.log", self._inbox)
        self._workers[slot.number] = _Worker(process, self._reading)

    def _hear(self, worker: _Worker, item: bytes | ProtocolError) -> list[PoolEvent]:
        worker.heard = self._reading
        if worker.verdict is not None:  # it has been sentenced; nothing it says counts any more
            return []
        try:
            if isinstance(item, ProtocolError):
                raise item
            line = decode(item)
        except ProtocolError as error:
            if worker.hello is None and isinstance(item, bytes):
                worker.process.note(item)  # what a module prints before the worker has taken its ends
            else:
                self._sentence(worker, "protocol", str(error))
            return []
        if line.seq <= worker.seq:
            return []  # it has arrived twice
        worker.seq = line.seq
        slot = worker.process.slot.number
        match line.message:
            case Hello() as hello if worker.hello is None:
                self._greet(worker, hello)
            case Ready(rss_bytes=resident) if worker.state == "starting" and worker.hello is not None:
                worker.state, worker.rss_bytes, self._start_failures = "idle", resident, 0
                return [WorkerReady(slot, worker.hello, worker.process.slot.device)]
            case Beat(rss_bytes=resident):
                worker.rss_bytes = resident
            case Epoch() | Judged() | Done() | Kept() | Failed() | Stopped() as told if worker.hello is not None:
                worker.progress = self._reading
                self._follow(worker, told)
                return [Told(slot, told), *self._blamed(worker.process.slot.gpu, told)]
            case other:
                self._sentence(worker, "protocol", f"a {other.type} message has no place here")
        return []

    def _greet(self, worker: _Worker, hello: Hello) -> None:
        """Raises MachineError if worker and scheduler are of different versions."""
        worker.hello = hello
        if (hello.protocol, hello.result_version) != (PROTOCOL, RESULT_VERSION):
            raise MachineError(
                f"the worker on {hello.host} has nasctl {hello.nasctl} (protocol {hello.protocol}, result version "
                f"{hello.result_version}), the scheduler has protocol {PROTOCOL}, result version {RESULT_VERSION}",
                "install the same nasctl on both sides",
            )
        slot, limits = worker.process.slot, self._limits
        worker.process.send(
            Start(
                protocol=PROTOCOL,
                cache=str(self._cache),
                device=slot.device,
                threads=slot.threads,
                beat=limits.beat,
                grace=limits.grace,
                resume_after=limits.resume_after,
                resume_every=limits.resume_every,
                warm=self._warm,
            )
        )

    def _follow(self, worker: _Worker, told: OfJob) -> None:
        """What a message means for the worker's state."""
        if isinstance(told, Done):
            worker.rss_bytes = told.rss_bytes
            worker.state = "settling"
        elif isinstance(told, Kept):
            self._settled(worker)
        elif isinstance(told, Failed):
            self._retire(worker)
        elif isinstance(told, Stopped) and (told.job is not None or worker.state == "idle"):
            worker.state = "ending"  # else a job's answer is lost with it

    def _blamed(self, gpu: str, told: OfJob) -> list[PoolEvent]:
        """Whether a GPU is to blame for what its worker says, and lost with that."""
        if isinstance(told, Done):
            self._gpu_failures.pop(gpu, None)
        if not gpu or gpu in self._lost or not isinstance(told, Failed) or told.reason != "device":
            return []
        failed = self._gpu_failures.setdefault(gpu, set())
        failed.add(told.job)
        if len(failed) >= GPU_FAILURES:
            return self._lose_gpu(gpu, f"{len(failed)} jobs running failed there, the last of them: {told.message}")
        return self._lose_gpu(gpu, f"the driver has lost it: {told.message}") if self._is_lost(gpu) else []

    def _lose_gpu(self, gpu: str, detail: str) -> list[PoolEvent]:
        """Use a GPU no more, and end whoever works there. Raises MachineError if none is left."""
        self._lost[gpu] = detail
        if not self.slots:
            raise MachineError(f"no GPU is left; {gpu}: {detail}", "nvidia-smi says more; the same command goes on")
        for worker in self._workers.values():
            if worker.process.slot.gpu == gpu and worker.state != "ending":
                self._sentence(worker, "device", f"its GPU {gpu} is lost")
        return [GpuLost(gpu, detail, self.slots)]

    def _settled(self, worker: _Worker) -> None:
        worker.jobs += 1
        worker.first_rss_bytes = worker.first_rss_bytes or worker.rss_bytes
        grown = worker.rss_bytes - worker.first_rss_bytes
        if worker.jobs >= RENEW_AFTER_JOBS or grown >= RENEW_AFTER_GROWTH_BYTES:
            self._retire(worker)
        elif worker.state != "ending":
            worker.state = "idle"

    def _retire(self, worker: _Worker) -> None:
        worker.state, worker.progress = "ending", self._reading
        worker.process.send(Stop())

    def _sentence(self, worker: _Worker, reason: LossReason, detail: str) -> None:
        worker.verdict = (reason, detail)
        worker.process.signal(signal.SIGKILL)

    def _end(self, worker: _Worker) -> list[PoolEvent]:
        """The process has ended: say so unless it was wanted, and start another. Raises MachineError, see `events`."""
        slot = worker.process.slot
        ended = worker.process.end()
        del self._workers[slot.number]
        if self._stopping:
            return []
        words = worker.process.last_words()
        lost = []
        if slot.gpu and slot.gpu not in self._lost and worker.state != "ending" and self._is_lost(slot.gpu):
            lost = self._lose_gpu(slot.gpu, f"the driver has lost it; its worker: {ended}")
        if slot.gpu in self._lost:
            return [*self._loss(worker, ended, words), *lost]
        if worker.state == "starting":
            self._start_failures += 1
            if self._start_failures >= START_FAILURES:
                raise MachineError(
                    f"workers fail to start ({ended}), {START_FAILURES} times running; the last words of one are:"
                    f"{last_lines(words)}",
                    f"the whole log is {worker.process.log}",
                )
        self._spawn(slot)
        return self._loss(worker, ended, words)

    def _loss(self, worker: _Worker, ended: str, words: tuple[str, ...]) -> list[PoolEvent]:
        """What is told of a worker's end: nothing if it was wanted."""
        if worker.state in {"starting", "ending"} and worker.verdict is None:
            return []
        reason, detail = worker.verdict or ("crashed", ended)
        return [WorkerLost(worker.process.slot.number, reason, detail, words)]

    # --- watching -----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Let the reading clock go on: it stands still while nobody reads (a blocked disk, a suspended machine)."""
        now = self._clock()
        self._reading += min(max(0.0, now - self._looked), LONGEST_TICK_SECONDS)
        self._looked = now
        if now - self._capped >= LOG_CHECK_SECONDS:
            self._capped = now
            for worker in self._workers.values():
                worker.process.cap_log()

    def _watch(self, worker: _Worker) -> list[PoolEvent]:
        if worker.process.has_exited():
            if worker.seen_dead:  # its last lines have had their time to arrive
                return self._end(worker)
            worker.seen_dead = True
        limits, idle_for = self._limits, self._reading - worker.progress
        if worker.state == "ending":
            if idle_for > limits.grace:
                worker.process.signal(signal.SIGKILL)
        elif worker.verdict is not None:
            pass
        elif worker.state != "starting" and self._reading - worker.heard > limits.silence:
            self._sentence(worker, "silent", f"no sign of life for {limits.silence:g} s")
        elif worker.state in {"starting", "busy", "settling"} and idle_for > limits.epoch:
            self._sentence(worker, "stuck", f"no progress for {limits.epoch:g} s")
        return []
