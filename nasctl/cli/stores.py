"""Where a command's results are kept: the store's folder, and the addresses of its two databases."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from nasctl.databases import ADDRESSES, Durability, absolute, redacted, sqlite_path
from nasctl.errors import MachineError, UsageError
from nasctl.files import path_of

if TYPE_CHECKING:
    from nasctl.config.settings import Settings
    from nasctl.tracking.records import Tracker
    from nasctl.tracking.store import MlflowTracker

__all__ = ["Stores", "open_tracker", "quoted", "stores_of", "tracker_for_studies", "typed_in", "working_in"]

STUDIES_FILE, TRACKING_FILE = "studies.db", "mlflow.db"
HYDRA_WORDS = frozenset({"true", "false", "null", "nan", "inf"})
"""What Hydra reads as something else than text."""


@dataclass(frozen=True)
class Stores:
    """`studies` and `tracking` are addresses, and may hold a password: show them with `databases.redacted` only."""

    root: Path
    studies: str
    tracking: str
    experiment: str
    durability: Durability

    @property
    def cache(self) -> Path:
        """Prepared data and vectors."""
        return self.root / "cache"

    @property
    def artifacts(self) -> Path:
        """The files of MLflow's runs, unless a server keeps them."""
        return self.root / "artifacts"

    @property
    def logs(self) -> Path:
        """What workers write on stderr."""
        return self.root / "logs"

    def scratch(self, digest: str) -> Path:
        """Where a single run leaves what it needs to go on from."""
        return self.root / "scratch" / digest

    def typed(self, *command: str) -> str:
        """A command as it could be typed on these stores: with what is not as conf/ or the environment has it."""
        from nasctl.config.composition import compose  # noqa: PLC0415 - hydra, which --help need not pay for

        default = compose(()).store
        asked = {
            "store.root": (str(self.root), str(typed_in() / default.root)),
            "store.url": (self.studies, _set("store.url") or _file(self.root, STUDIES_FILE)),
            "store.tracking": (self.tracking, _set("store.tracking") or _file(self.root, TRACKING_FILE)),
            "store.experiment": (self.experiment, default.experiment),
        }
        words = (f"{key}={quoted(value)}" for key, (value, unasked) in asked.items() if value != unasked)
        return shlex.join([*command, *words])

    def files(self) -> dict[str, Path]:
        """The databases that are SQLite files, whether they exist or not."""
        both = {"studies": sqlite_path(self.studies), "tracking": sqlite_path(self.tracking)}
        return {name: path for name, path in both.items() if path is not None}


_TYPED_IN = "nasctl.typed_in"


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in another folder than the command was typed in, which stays where the next one will be."""
    click.get_current_context().meta.setdefault(_TYPED_IN, Path.cwd())
    with contextlib.chdir(folder):
        yield


def typed_in() -> Path:
    """The folder in which the user types commands."""
    context = click.get_current_context(silent=True)
    folder: Path = context.meta.get(_TYPED_IN, Path.cwd()) if context else Path.cwd()
    return folder


def stores_of(settings: Settings) -> Stores:
    """The stores that the settings, or variables of the environment, name.

    Raises UsageError if settings and variables name two places, if both databases are one, or if the folder's name
    cannot stand in the address of one.
    """
    root = path_of(settings.store.root).absolute()
    studies = _address("store.url", settings.store.url) or _in_file(root, STUDIES_FILE)
    tracking = _address("store.tracking", settings.store.tracking) or _in_file(root, TRACKING_FILE)
    if studies == tracking:
        raise UsageError(
            "store.url and store.tracking are one database; Optuna and MLflow need one each",
            "another database, on the same server if you like",
        )
    return Stores(root, studies, tracking, settings.store.experiment, settings.store.durability)


def _address(key: str, asked: str | None) -> str | None:
    """The address that the setting or its variable says; None if neither does."""
    set_ = _set(key)
    if set_ and asked and set_ != asked:
        raise UsageError(
            f"{key}={redacted(asked)}, and the environment's {ADDRESSES[key]} is another address",
            f"leave {key}= away, or unset {ADDRESSES[key]}",
        )
    address = set_ or asked
    return address and absolute(address)


def _set(key: str) -> str | None:
    """The address that the environment has for the setting."""
    address = os.environ.get(ADDRESSES[key])
    return address and absolute(address)


def _file(root: Path, name: str) -> str:
    return f"sqlite:///{root / name}"


def _in_file(root: Path, name: str) -> str:
    """The address of an SQLite file. Raises UsageError for a folder that cannot stand in one."""
    if foreign := re.search(r"\?|%[0-9A-Fa-f]{2}", str(root)):  # SQLAlchemy takes them for its own
        raise UsageError(
            f"store.root={root}: {foreign.group()} cannot stand in a database's address", "a folder without it"
        )
    return _file(root, name)


def quoted(text: str) -> str:
    """A text as a value of an override, whatever it holds."""
    if re.fullmatch(r"[A-Za-z/][A-Za-z0-9_./:@+-]*", text) and text.lower() not in HYDRA_WORDS:
        return text
    # To Hydra a backslash is one, but before a quotation mark.
    return '"' + re.sub(r'(\\*)("|\Z)', lambda found: found[1] * 2 + found[2].replace('"', r"\""), text) + '"'


def tracker_for_studies(stores: Stores) -> Tracker:
    """MLflow's store, made if it is not there; a server that is away may come back, and no study waits for it.

    Raises MachineError if a database cannot be used.
    """
    from nasctl.tracking.late import LateTracker  # noqa: PLC0415 - --help need not pay for it

    try:
        return open_tracker(stores)
    except MachineError as error:
        if urlsplit(stores.tracking).scheme not in {"http", "https"}:
            raise
        sync = stores.typed("nasctl", "sync")
        click.echo(f"nasctl: {error}: the study goes on without it; {sync} completes it later", err=True)
        return LateTracker(lambda: open_tracker(stores))


def open_tracker(stores: Stores) -> MlflowTracker:
    """MLflow's store, made if it is not there. Raises MachineError if it cannot be used."""
    from nasctl.tracking.store import MlflowTracker  # noqa: PLC0415 - mlflow costs two seconds

    return MlflowTracker(stores.tracking, stores.artifacts, stores.experiment, durability=stores.durability)
