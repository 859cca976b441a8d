"""What of this machine nasctl may use: in a container or a cluster's job, no more than that was given."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

GROUPS, OURS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Linux's control groups (version 2), and the file that says which of them this process is in."""


def cores() -> int:
    """How many cores this process may use, a part of one included."""
    known = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(min([known, *map(_quota, _groups())]))


def free_memory() -> int:
    """How many bytes this process and those that it starts may still take."""
    return max(int(min([psutil.virtual_memory().available, *map(_left, _groups())])), 0)


def _groups() -> Iterator[Path]:
    """This process's group and those around it; each may have limits."""
    try:
        lines = OURS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        hierarchy, _, name = line.partition("::")
        if hierarchy == "0":
            group = GROUPS / name.lstrip("/")
            yield from (group, *(each for each in group.parents if each.is_relative_to(GROUPS)))


def _quota(group: Path) -> float:
    """The cores that a group is given (`docker run --cpus`), upwards; infinity without a limit."""
    try:
        time, period = (group / "cpu.max").read_text().split()
        return math.ceil(int(time) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return math.inf


def _left(group: Path) -> float:
    """The bytes that are left of a group's limit (`docker run --memory`, Slurm's `--mem`); infinity without one.

    What it holds of files that nobody has used of late is given back as soon as it is needed.
    """
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        held = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return limit - used + int(held["inactive_file"])
    except (OSError, ValueError, KeyError):
        return math.inf
