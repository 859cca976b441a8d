"""Who drives a study or a search: the process that says so, and the processes that hold its lock."""

from __future__ import annotations

import contextlib
import os
import socket
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import psutil

from nasctl.errors import StateMismatchError
from nasctl.tuning.folders import FOLDERS, DrivenFolder, Kind, Owner

PROCESSES = Path("/proc")

CREATED_SECONDS = 2.0
"""By how much a process's recorded beginning may differ from what is read now: the boot's, from which both are counted,
is rounded to seconds."""


def driver(folder: DrivenFolder) -> str:
    """The scheduler that drives a study or a search, in words, if it lives; else ""."""
    owner = folder.owner()
    if owner is None:
        return ""
    if owner.host != socket.gethostname():  # another machine, or a container that is gone: only its lock can tell
        return f"process {owner.pid} on {owner.host}" if folder.locked() else ""
    try:
        process = psutil.Process(owner.pid)
        lives = process.status() != psutil.STATUS_ZOMBIE and (_as_recorded(process, owner) or _holds(folder, owner.pid))
    except (psutil.Error, ValueError):  # a number that no process can have
        return ""
    return f"process {owner.pid}" if lives else ""


def process_of(folder: DrivenFolder, owner: Owner) -> psutil.Process:
    """The very process that recorded itself as the scheduler of a study or a search, which alone may be sent a signal.

    Raises StateMismatchError if that is on another machine, has ended, or cannot be told from one that has its number.
    """
    if owner.host != socket.gethostname():
        raise StateMismatchError(f"process {owner.pid} is on {owner.host}", "ask for it there")
    try:
        process = psutil.Process(owner.pid)
        same = _as_recorded(process, owner) or owner.pid in _holders(folder)
        command = tuple(process.cmdline())
    except (psutil.Error, ValueError):
        raise StateMismatchError(f"process {owner.pid} has ended") from None
    if not same or command != owner.command:
        raise StateMismatchError(
            f"process {owner.pid} is not the one that was recorded (another beginning, or another command)",
            "nothing was sent to it",
        )
    return process


def _as_recorded(process: psutil.Process, owner: Owner) -> bool:
    """Whether the process began when the owner did. Not so of the owner itself, once the wall clock was set."""
    return owner.created is not None and abs(process.create_time() - owner.created) <= CREATED_SECONDS


def _holds(folder: DrivenFolder, pid: int) -> bool:
    """Whether the process has the lock; where nobody is seen to have it, whether it is taken."""
    holders = _holders(folder)
    return pid in holders if holders else folder.locked()


def _holders(folder: DrivenFolder) -> frozenset[int]:
    return lock_holders(folder.root, folder.kind).get(folder.name, frozenset())


def driven_by(root: Path, owner: Owner) -> list[str]:
    """The studies and searches below `root` that this scheduler drives."""
    return sorted(
        path.parent.name
        for kind, folder in FOLDERS.items()
        for path in (root / folder).glob("*/owner.json")
        if _same(root, path.parent.name, kind, owner)
    )


def _same(root: Path, name: str, kind: Kind, owner: Owner) -> bool:
    other = DrivenFolder(root, name, kind).owner()
    return other is not None and (other.host, other.pid, other.created) == (owner.host, owner.pid, owner.created)


def lock_holders(root: Path, kind: Kind = "study") -> Mapping[str, frozenset[int]]:
    """Study or search -> the processes that have its lock open, also one whose file was removed under it.

    Of this machine and, unless we are root, of our own user; nothing where there is no /proc.
    """
    above = f"{(root / FOLDERS[kind]).resolve()}{os.sep}"
    found: dict[str, set[int]] = defaultdict(set)
    for process in PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            for opened in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    path = str(opened.readlink()).removesuffix(" (deleted)")
                    if path.startswith(above) and path.endswith(f"{os.sep}lock"):
                        found[path.removeprefix(above).partition(os.sep)[0]].add(int(process.name))
    return {name: frozenset(pids) for name, pids in found.items()}
