"""What one run costs in a process that has served others before: peak memory, and seconds by phase."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Measures from its creation on: the host's resident set, and what the device's allocator handed out."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self._earlier: dict[str, int] = {}
        self.device_name = torch.cuda.get_device_name(device) if self._cuda else "cpu"
        with contextlib.suppress(OSError):  # Linux takes the peak back to what is resident now; elsewhere it stays
            _RESET.write_text("5")
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()

    def add(self, earlier: Mapping[str, int]) -> None:
        """Let the peak be no lower than that of an earlier attempt."""
        self._earlier = dict(earlier)

    def peak(self) -> dict[str, int]:
        """Bytes: `host_rss_bytes`, and on a GPU `device_bytes`."""
        measured = {"host_rss_bytes": _host_peak()}
        if self._cuda:
            measured["device_bytes"] = torch.cuda.max_memory_allocated()
        return {kind: max(now, self._earlier.get(kind, 0)) for kind, now in measured.items()}


def _host_peak() -> int:
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def added(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """Seconds by phase of two parts of one run."""
    return {**first, **{phase: first.get(phase, 0.0) + more for phase, more in second.items()}}


class Clock:
    """Seconds by phase: a lap ends a phase and begins the next."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def add(self, seconds: Mapping[str, float]) -> None:
        """Count what an earlier attempt took as well."""
        self.seconds = added(self.seconds, seconds)

    def lap(self, phase: str) -> None:
        """Count the time since the last lap as this phase's."""
        now = time.monotonic()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def elapsed(self) -> float:
        """Seconds of all phases, the one that has not ended included."""
        return sum(self.seconds.values()) + time.monotonic() - self._last
