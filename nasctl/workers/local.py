"""Workers on this machine: which devices there are, and a process for each slot."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import nasctl
from nasctl.databases import ADDRESSES
from nasctl.errors import MachineError
from nasctl.workers.machine import cores
from nasctl.workers.pool import Limits
from nasctl.workers.process import Slot
from nasctl.workers.supervision import ProcessPool

WORKERS_WITH_GPUS = 8

SECRET_PREFIXES = ("MLFLOW_", "PG", "AWS_")
SECRETS = frozenset({*ADDRESSES.values(), "HF_TOKEN"})
"""Variables that no worker needs: they may hold passwords, and a worker writes to no store."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def local_pool(
    workers: int | Literal["auto"],
    device: Literal["auto", "cpu", "cuda"],
    limits: Limits,
    *,
    cache: Path,
    logs: Path,
    warm: Sequence[tuple[str, str]] = (),
    most: int | None = None,
) -> ProcessPool:
    """A pool of `workers` processes on this machine, one thread each; nothing is started yet.

    "auto" is eight workers where there are GPUs, sharing them in turn, else one per core; at `most`
    so many, if more could not be kept busy. Raises MachineError if device="cuda" and there is none.
    """
    slots = local_slots(workers, device, os.environ, most)
    return ProcessPool(slots, limits, cache=cache, logs=logs, warm=warm, is_lost=is_lost)


def local_slots(
    workers: int | Literal["auto"],
    device: Literal["auto", "cpu", "cuda"],
    environment: Mapping[str, str],
    most: int | None = None,
) -> tuple[Slot, ...]:
    """One slot per worker, with the environment that its process gets; the arguments are those of `local_pool`."""
    devices = () if device == "cpu" else visible_devices(environment)
    if device == "cuda" and not devices:
        raise no_gpu()
    useful = WORKERS_WITH_GPUS if devices else min(cores(), most or cores())
    count = useful if workers == "auto" else workers
    command = (sys.executable, "-P", "-m", "nasctl.workers.worker")
    gpus = [devices[number % len(devices)] if devices else "" for number in range(count)]
    kind = "cuda" if devices else "cpu"
    return tuple(
        Slot(number, command, worker_environment(environment, gpu, threads=1), device=kind, threads=1, gpu=gpu)
        for number, gpu in enumerate(gpus)
    )


def no_gpu() -> MachineError:
    """What is wrong where device=cuda was asked for in vain."""
    return MachineError("device=cuda was asked for, and there is no GPU to be seen", "device=cpu, or nasctl doctor")


def visible_devices(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The GPUs that may be used, each as CUDA_VISIBLE_DEVICES names it: those of an outer such variable, or all.

    NVML counts them; CUDA is not initialised here, and in no other place of the scheduler's process.
    """
    count = _count_gpus()
    outer = environment.get("CUDA_VISIBLE_DEVICES")
    if outer is None:
        return tuple(map(str, range(count)))
    visible = []
    for name in (part.strip() for part in outer.split(",")):
        known = name.startswith(("GPU-", "MIG-")) or (name.isdecimal() and int(name) < count)
        if not known or not count:
            break  # CUDA itself ignores whatever follows the first that it does not know
        visible.append(name)
    return tuple(visible)


def _count_gpus() -> int:
    import pynvml  # noqa: PLC0415 - only where workers are started

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
    finally:
        pynvml.nvmlShutdown()


def is_lost(gpu: str) -> bool:
    """Whether the driver has lost this GPU, named as CUDA_VISIBLE_DEVICES does: one that it cannot ask for its memory.

    A number is the driver's own only where nobody has chosen an order of their own before; elsewhere nothing is known.
    """
    import pynvml  # noqa: PLC0415 - only where workers are started

    if gpu.isdecimal() and "CUDA_VISIBLE_DEVICES" in os.environ:
        return False
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return True  # the driver answered when the workers were started
    try:
        number = gpu.isdecimal()
        handle = pynvml.nvmlDeviceGetHandleByIndex(int(gpu)) if number else pynvml.nvmlDeviceGetHandleByUUID(gpu)
        pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        return True
    finally:
        pynvml.nvmlShutdown()
    return False


def worker_environment(environment: Mapping[str, str], gpu: str, threads: int) -> dict[str, str]:
    """What a worker's process sees: no secrets, one GPU or none, and as many threads as it may use."""
    seen = {
        name: value
        for name, value in environment.items()
        if name not in SECRETS and not name.startswith(SECRET_PREFIXES)
    }
    seen |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    if "CUDA_VISIBLE_DEVICES" not in environment:
        seen["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # NVML's order; an outer choice was made in CUDA's own
    seen["CUDA_VISIBLE_DEVICES"] = gpu
    home = str(Path(nasctl.__file__).resolve().parents[1])
    if home == str(Path.cwd()):  # run from a checkout that is not installed
        seen["PYTHONPATH"] = os.pathsep.join(filter(None, (home, environment.get("PYTHONPATH"))))
    return seen
