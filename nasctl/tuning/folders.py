"""A study's or a search's folder: who owns it, its identity and configuration for people to read, its one checkpoint.

`studies/<name>/` and `searches/<name>/` below the store hold: lock and owner.json, identity.json, config.yaml,
command.json (how it was asked for), best.safetensors with best.json (whose it is), and scratch/ (one folder per job,
gone when its result is told); a study's predictions.jsonl; a search's labels.json and progress.json, and what
`tracking.found` says of one that is over.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import shlex
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import filelock
import psutil

from nasctl.errors import MachineError, StateMismatchError
from nasctl.files import atomically, file_sha256, write_atomically
from nasctl.tracking import found
from nasctl.tracking.kept import PREDICTIONS, STUDIES

SPARE_BYTES = 200 * 1000 * 1000
"""What must stay free on the disk beside the estimate."""

TRIAL_BYTES, EPOCH_BYTES = 25_000, 700
"""What a trial and each of its epochs add to both databases, at most (measured: 13 parameters, three metrics per epoch,
the texts of two cells)."""

LOOK_SECONDS = 0.5
"""For how long a new scheduler waits for a lock: somebody may only be looking whether it is taken."""

CHECKPOINT, COMMAND, IDENTITY, LABELS = "best.safetensors", "command.json", "identity.json", "labels.json"
PROGRESS = "progress.json"

Kind = Literal["study", "search"]

FOLDERS: Mapping[Kind, str] = MappingProxyType({"study": STUDIES, "search": found.FOLDER})
"""Where each kind lives below the store. A name is given once, whatever the kind."""


@dataclass(frozen=True)
class Kept:
    """Whose checkpoint it is: the trial's number (a search's is 0), its run's digest, and the file's SHA-256."""

    number: int
    digest: str
    sha256: str


@dataclass(frozen=True)
class Owner:
    """The scheduler that drives a study or a search: its machine, its process there, and since when it drives it.

    `created` (seconds since 1970, as its machine counts them) and `command` are the process's own: only with them is
    it known again. None and () where they were not recorded.
    """

    host: str
    pid: int
    start: dt.datetime
    created: float | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """What a study or a search was asked for with: `nasctl NAME [--conf DIR] KEY=VALUE...`, typed in `folder`."""

    name: str
    overrides: tuple[str, ...]
    conf_dirs: tuple[str, ...]
    folder: str

    def typed(self) -> str:
        """As it could be typed there."""
        confs = (part for conf in self.conf_dirs for part in ("--conf", conf))
        return shlex.join(["nasctl", self.name, *confs, *self.overrides])


class DrivenFolder:
    """The one place that knows the names of a study's files, and of a search's until it is over."""

    def __init__(self, root: Path, name: str, kind: Kind = "study") -> None:
        self.name, self.kind, self.root = name, kind, root
        self.path = (root / FOLDERS[kind] / name).absolute()  # workers are told of paths below it
        self._namesakes = [(other, root / where / name) for other, where in FOLDERS.items() if other != kind]
        self._lock = filelock.FileLock(self.path / "lock")
        self._owner = self.path / "owner.json"

    @property
    def checkpoint(self) -> Path:
        """The weights of the best trial, or of the search."""
        return self.path / CHECKPOINT

    @property
    def predictions(self) -> Path:
        """The final evaluation's predictions."""
        return self.path / PREDICTIONS

    @property
    def config(self) -> Path:
        """The configuration, for people to read."""
        return self.path / "config.yaml"

    def scratch(self, job: str) -> Path:
        """The folder that a job may write to."""
        return self.path / "scratch" / job

    # --- owner --------------------------------------------------------------------------------------------------------

    def acquire(self) -> None:
        """Become its one scheduler. The lock of one that has died is free by itself.

        Raises StateMismatchError if another one lives or its name is taken, MachineError if the folder cannot be
        written.
        """
        another = f"{self.kind}.name=OTHER starts another {self.kind}"
        for kind, path in self._namesakes:
            if path.exists():
                raise StateMismatchError(f"there is a {kind} {self.name} in this store", another)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=LOOK_SECONDS)
            started = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
            ours = psutil.Process()
            owner = {"host": socket.gethostname(), "pid": ours.pid, "start": started}
            known = {"created": ours.create_time(), "command": ours.cmdline()}
            write_atomically(self._owner, json.dumps(owner | known))
        except filelock.Timeout:
            raise StateMismatchError(
                f"the {self.kind} {self.name} is driven by another scheduler: {self._described_owner()}",
                f"wait for it or stop it; {another}",
            ) from None
        except OSError as error:
            self._lock.release()
            raise MachineError(
                f"the store's folder {self.path} cannot be written: {error.strerror or error}", "store.root=FOLDER"
            ) from error

    def locked(self) -> bool:
        """Whether a process has its lock, on whatever machine; also if that cannot be seen (a file of somebody else's).

        Looking takes the lock for a moment, which `acquire` waits for.
        """
        look = filelock.FileLock(self.path / "lock")
        try:
            with look.acquire(blocking=False):
                return False
        except (filelock.Timeout, OSError):
            return True

    def release(self) -> None:
        """Let another scheduler have it."""
        if self._lock.is_locked:
            self._owner.unlink(missing_ok=True)
            self._lock.release()

    def owner(self) -> Owner | None:
        """Who wrote last that it is theirs, dead or alive; None if nobody did, or let go of it in good order.

        Looked at without the lock, which would stand in the way of one that starts just now.
        """
        try:
            owner = json.loads(self._owner.read_text("utf-8"))
            start = dt.datetime.fromisoformat(owner["start"])
            created, command = owner.get("created"), tuple(map(str, owner.get("command", ())))
            return Owner(str(owner["host"]), int(owner["pid"]), start, created and float(created), command)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _described_owner(self) -> str:
        owner = self.owner()
        if owner is None:
            return "it has just begun"
        return f"process {owner.pid} on {owner.host}, since {owner.start.isoformat()}"

    # --- for people ---------------------------------------------------------------------------------------------------

    def describe(self, identity: Any, config: str, command: Command | None = None) -> None:
        """Write down what it is, beside what it makes, and the command that it was asked for with."""
        write_atomically(self.path / IDENTITY, json.dumps(identity, indent=2))
        if command is not None:
            write_atomically(self.path / COMMAND, json.dumps(asdict(command), indent=2))
        write_atomically(self.config, config)

    def identity(self) -> Any:
        """What was written down that it is; None if nothing was.

        Raises StateMismatchError if that cannot be read.
        """
        try:
            return json.loads((self.path / IDENTITY).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StateMismatchError(
                f"{self.path / IDENTITY} is damaged", f"remove the folder to begin the {self.kind} {self.name} anew"
            ) from error

    def label(self, labels: Mapping[str, str]) -> None:
        """Write down what it is called for people and in tags."""
        write_atomically(self.path / LABELS, json.dumps(dict(labels), indent=2))

    def labels(self) -> Mapping[str, str] | None:
        """What was written down that it is called; None if nothing was, or it cannot be read."""
        try:
            known = json.loads((self.path / LABELS).read_text("utf-8"))
            return {name: str(text) for name, text in known.items()}
        except (OSError, ValueError, AttributeError):
            return None

    def advance(self, epochs: int, at_most: int) -> None:
        """Write down how far a search is. Only people read it: that it cannot be written is nobody's fault."""
        with contextlib.suppress(OSError):
            write_atomically(self.path / PROGRESS, json.dumps({"epochs": epochs, "at_most": at_most}))

    def epochs(self) -> tuple[int, int] | None:
        """How many epochs a search has behind it, and at most; None if nothing was written down, or cannot be read."""
        try:
            known = json.loads((self.path / PROGRESS).read_text("utf-8"))
            return int(known["epochs"]), int(known["at_most"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def command(self) -> Command | None:
        """The command that it was asked for with last; None if it was not recorded, or cannot be read."""
        try:
            known = json.loads((self.path / COMMAND).read_text("utf-8"))
            return Command(known["name"], tuple(known["overrides"]), tuple(known["conf_dirs"]), known["folder"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    # --- checkpoint ---------------------------------------------------------------------------------------------------

    def trial_checkpoint(self, number: int) -> Path:
        """Where the worker of a trial, or of a search (0), writes the weights that may become `checkpoint`."""
        return self.scratch(str(number)) / CHECKPOINT

    def place(self, kept: Kept) -> None:
        """Make what lies there the checkpoint. Killed in between, `kept_checkpoint` still tells the truth."""
        write_atomically(self.path / "best.json", json.dumps(asdict(kept)))
        os.replace(self.trial_checkpoint(kept.number), self.checkpoint)

    def kept_checkpoint(self, number: int, digest: str) -> Path | None:
        """The whole checkpoint of the run `digest`, or None. One that was written but not yet placed is placed now."""
        waiting = self.trial_checkpoint(number)
        if waiting.exists():
            self.place(Kept(number, digest, file_sha256(waiting)))
        try:
            kept = self.kept()
            whole = kept is not None and kept.digest == digest and file_sha256(self.checkpoint) == kept.sha256
        except OSError:
            return None
        return self.checkpoint if whole else None

    def adopt(self, number: int, digest: str, other: DrivenFolder) -> bool:
        """Make a copy of another's checkpoint ours, as that of trial `number`; False if it is none of the run `digest`.

        One that is not whole is none, either. Raises OSError if there is no room for it.
        """
        kept = other.kept()
        if kept is None or kept.digest != digest or not other.checkpoint.is_file():
            return False
        with other.checkpoint.open("rb") as theirs:  # stays what it is, whatever comes in its place meanwhile
            if hashlib.file_digest(theirs, "sha256").hexdigest() != kept.sha256:
                return False
            theirs.seek(0)
            with atomically(self.trial_checkpoint(number)) as ours:  # one that is there is taken to be whole
                shutil.copyfileobj(theirs, ours)
        self.place(Kept(number, digest, kept.sha256))
        self.clear(str(number))
        return True

    def kept(self) -> Kept | None:
        """Whose the checkpoint is, as was written down; None if that cannot be read."""
        try:
            return Kept(**json.loads((self.path / "best.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    # --- scratch ------------------------------------------------------------------------------------------------------

    def clear(self, job: str) -> None:
        """Remove a job's scratch folder."""
        shutil.rmtree(self.scratch(job), ignore_errors=True)

    def clear_all_but(self, jobs: Sequence[str]) -> None:
        """Remove the scratch folders of every other job: what a killed scheduler left behind."""
        with contextlib.suppress(FileNotFoundError):
            for folder in (self.path / "scratch").iterdir():
                if folder.name not in jobs:
                    shutil.rmtree(folder, ignore_errors=True)


def folder_named(root: Path, name: str) -> DrivenFolder:
    """The folder of the study or search of this name, whichever there is."""
    kinds = [kind for kind, where in FOLDERS.items() if (root / where / name).exists()]
    return DrivenFolder(root, name, *kinds[:1])


def trial_bytes(epochs: int) -> int:
    """An upper estimate of what a trial of so many epochs takes in both databases."""
    return TRIAL_BYTES + EPOCH_BYTES * epochs


def check_room(root: Path, estimate_bytes: int) -> None:
    """Make the store's folder.

    Raises MachineError if it cannot be written, or if its disk is too full for what is estimated to come.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
        free = shutil.disk_usage(root).free
    except OSError as error:
        raise MachineError(
            f"the store's folder {root} cannot be written: {error.strerror or error}", "store.root=FOLDER"
        ) from error
    needed = estimate_bytes + SPARE_BYTES
    if free < needed:
        raise MachineError(
            f"the disk of {root} has {free / 1e6:.0f} MB free; {needed / 1e6:.0f} MB are needed "
            f"({estimate_bytes / 1e6:.0f} MB as estimated, and {SPARE_BYTES / 1e6:.0f} MB to spare)",
            "free some space, or store.root=FOLDER on another disk",
        )
