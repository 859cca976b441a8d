"""Who drives a study: the process that says so, and the processes that hold its lock."""

from __future__ import annotations

import contextlib
import os
import socket
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import psutil

from nasctl.tuning.folders import Owner

PROCESSES = Path("/proc")


def living(owner: Owner | None) -> str:
    """A study's scheduler in words, if it lives; else ""."""
    if owner is None:
        return ""
    if owner.host != socket.gethostname():
        return f"process {owner.pid} on {owner.host}"  # whether it lives cannot be seen from here
    try:
        began = psutil.Process(owner.pid).create_time()
    except (psutil.Error, ValueError):  # a number that no process can have
        return ""
    return f"process {owner.pid}" if began <= owner.start.timestamp() + 1 else ""


def lock_holders(root: Path) -> Mapping[str, frozenset[int]]:
    """Study -> the processes that have its lock open, also one whose file was removed under it.

    Of this machine and, unless we are root, of our own user; nothing where there is no /proc.
    """
    studies = f"{(root / 'studies').absolute()}{os.sep}"
    found: dict[str, set[int]] = defaultdict(set)
    for process in PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            for opened in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    path = str(opened.readlink()).removesuffix(" (deleted)")
                    if path.startswith(studies) and path.endswith(f"{os.sep}lock"):
                        found[path.removeprefix(studies).partition(os.sep)[0]].add(int(process.name))
    return {study: frozenset(pids) for study, pids in found.items()}
