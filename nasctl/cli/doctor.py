"""`nasctl doctor`: what works on this machine, and what to do about the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.options import composed, settings_of
from nasctl.cli.stores import Stores, stores_of
from nasctl.cli.text import size
from nasctl.errors import MachineError, NasctlError, first_line

if TYPE_CHECKING:
    from pathlib import Path

    from nasctl.config.settings import Settings

__all__ = ["doctor"]

OLDEST, NEWEST_TESTED = (3, 11), (3, 13)
"""Python: what the package demands, and the newest that its tests ran on."""
NETWORK_FILE_SYSTEMS = (
    "nfs",
    "cifs",
    "smb",
    "afs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "9p",
    "fuse.sshfs",
    "glusterfs",
)
"""Beginnings of the names of file systems on which SQLite's locks cannot be trusted."""
LEAST_FREE, COMFORTABLE_FREE = 200_000_000, 2_000_000_000

EXAMPLES = """
nasctl doctor
nasctl doctor store.root=/data/runs data.root=/data/pairs --json
"""

State = Literal["ok", "note", "fails"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, and what to do about it ("" if nothing)."""

    what: str
    state: State
    message: str
    hint: str = ""


@click.command(cls=ExampleCommand, examples=EXAMPLES)
@composed
@click.option("--json", "as_json", is_flag=True, help="One JSON object per finding instead of lines.")
def doctor(overrides: tuple[str, ...], conf_dirs: tuple[str, ...], *, as_json: bool) -> None:
    """What works on this machine, and what to do about the rest.

    Looks at Python, packages, devices, the store and the data. Exit code 4 if something fails; what says "note" may be
    as you want it.
    """
    settings = settings_of(overrides, conf_dirs)
    stores = stores_of(settings)
    failed = 0
    for finding in _findings(settings, stores):
        failed += finding.state == "fails"
        if as_json:
            click.echo(json.dumps(asdict(finding)))
            continue
        click.echo(f"{finding.state:<6} {finding.what}: {finding.message}")
        if finding.hint:
            click.echo(f"       -> {finding.hint}")
    if failed:
        raise MachineError(f"{failed} of the things above must be put right", "the lines that begin with fails")


def _findings(settings: Settings, stores: Stores) -> Iterator[Finding]:
    yield _python()
    yield from _packages()
    yield from _devices()
    yield from _folder(stores)
    yield from _databases(stores)
    yield from _data(settings)


def _python() -> Finding:
    import platform  # noqa: PLC0415 - --help need not pay for it
    import sys  # noqa: PLC0415 - as above

    version, text = sys.version_info[:2], f"{platform.python_version()} ({sys.executable})"
    oldest, newest = (".".join(map(str, each)) for each in (OLDEST, NEWEST_TESTED))
    if version < OLDEST:
        return Finding("python", "fails", text, f"nasctl needs {oldest} or newer")
    if version > NEWEST_TESTED:
        return Finding("python", "note", text, f"newer than {newest}, the newest that nasctl was tested with")
    return Finding("python", "ok", text)


def _packages() -> Iterator[Finding]:
    """Every package that nasctl demands, against the range it demands."""
    from importlib import metadata  # noqa: PLC0415 - --help need not pay for it

    from packaging.requirements import Requirement  # noqa: PLC0415 - as above

    try:
        demanded = [Requirement(line) for line in metadata.requires("nasctl") or []]
    except metadata.PackageNotFoundError:
        yield Finding("nasctl", "note", "runs from a folder and is not installed", "pip install -e .")
        return
    fine = 0
    for requirement in demanded:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        hint = f"pip install '{requirement.name}{requirement.specifier}'"
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Finding(requirement.name, "fails", "not installed", hint)
            continue
        if requirement.specifier.contains(version, prereleases=True):
            fine += 1
        else:
            yield Finding(requirement.name, "fails", f"{version}, and {requirement.specifier} is needed", hint)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("nasctl", "torch", "optuna", "mlflow"))
    yield Finding("packages", "ok", f"{fine} in their ranges ({versions})")


def _devices() -> Iterator[Finding]:
    import os  # noqa: PLC0415 - --help need not pay for it

    from nasctl.cli.driving import IN_FLIGHT  # noqa: PLC0415 - as above
    from nasctl.workers.local import visible_devices  # noqa: PLC0415 - as above
    from nasctl.workers.machine import cores, free_memory  # noqa: PLC0415 - as above

    yield Finding("cores", "ok", f"{cores()} for this process: a worker each, at most {IN_FLIGHT} per study, if no GPU")
    yield Finding("memory", "ok", f"{size(free_memory())} free for this process and its workers")
    try:
        import torch  # noqa: PLC0415 - as above
    except (ImportError, OSError) as error:
        yield Finding("torch", "fails", f"cannot be loaded: {error}", "pip install --force-reinstall torch")
        return
    seen = visible_devices(os.environ)
    build = torch.version.cuda
    if not seen:
        yield Finding(
            "GPU", "note", "none to be seen: everything runs on the CPU", "" if build is None else "nvidia-smi"
        )
    elif build is None:
        hint = "install torch's CUDA build: pip install --force-reinstall torch"
        yield Finding("GPU", "note", f"{len(seen)} to be seen, but torch {torch.__version__} is a CPU build", hint)
    elif not torch.cuda.is_available():
        hint = f"a driver that knows CUDA {build}, or a torch for your driver"
        yield Finding("GPU", "fails", f"{len(seen)} to be seen, but torch cannot use them (CUDA {build})", hint)
    else:
        names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
        yield Finding("GPU", "ok", f"{len(seen)}: {names} (CUDA {build})")


def _folder(stores: Stores) -> Iterator[Finding]:
    """The store's folder: can be written, on which file system, with how much room."""
    import os  # noqa: PLC0415 - --help need not pay for it
    import shutil  # noqa: PLC0415 - as above

    there = next(path for path in (stores.root, *stores.root.parents) if path.exists())
    made = "" if there == stores.root else " (not made yet)"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield Finding("store", "fails", f"{stores.root} cannot be written", "store.root=FOLDER, another one")
        return
    kind = _file_system(there)
    on_network = kind.startswith(NETWORK_FILE_SYSTEMS)
    if on_network and stores.files():
        hint = "store.root=FOLDER on a local disk, or store.url and store.tracking on a server"
        yield Finding("store", "fails", f"{stores.root} is on {kind}, where SQLite may lose data", hint)
    else:
        yield Finding("store", "ok", f"{stores.root}{made}, on {kind or 'an unknown file system'}")
    free = shutil.disk_usage(there).free
    state: State = "fails" if free < LEAST_FREE else "note" if free < COMFORTABLE_FREE else "ok"
    yield Finding("disk", state, f"{size(free)} free", "" if state == "ok" else "free some, or store.root=FOLDER")


def _file_system(path: Path) -> str:
    """The type of the file system that holds `path`, as the system calls it; "" if it does not say."""
    import psutil  # noqa: PLC0415 - --help need not pay for it

    mounts = [part for part in psutil.disk_partitions(all=True) if path.resolve().is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype.lower() if mounts else ""


def _databases(stores: Stores) -> Iterator[Finding]:
    """Both databases open with the installed versions, where they exist."""
    from nasctl.cli.stores import open_tracker  # noqa: PLC0415 - --help need not pay for it
    from nasctl.databases import redacted  # noqa: PLC0415 - as above
    from nasctl.tuning.study import StudyStore  # noqa: PLC0415 - as above

    def studies() -> str:
        store = StudyStore(stores.studies, stores.durability)
        try:
            return f"{len(store.progress())} studies"
        finally:
            store.close()

    def runs() -> str:
        return f"{sum(1 for _ in open_tracker(stores).runs('study'))} studies in MLflow"

    opened: dict[str, tuple[str, Callable[[], str]]] = {
        "studies": (stores.studies, studies),
        "tracking": (stores.tracking, runs),
    }
    files = stores.files()
    for name, (address, count) in opened.items():
        if name in files and not files[name].exists():
            yield Finding(name, "ok", f"{files[name].name} is not there yet; the first study makes it")
            continue
        try:
            yield Finding(name, "ok", f"{redacted(address)}: {count()}")
        except NasctlError as error:
            yield Finding(name, "fails", str(error), error.hint)
        except RuntimeError as error:  # Optuna's word for a database of another version
            yield Finding(
                name, "fails", redacted(first_line(error)), "the version that made it, or another store.root=FOLDER"
            )


def _data(settings: Settings) -> Iterator[Finding]:
    """Data sets and vectors that can be fetched: those that are here, and those that are not as published."""
    from nasctl.cli.resolution import data_folder  # noqa: PLC0415 - --help need not pay for it
    from nasctl.data.fetch import check  # noqa: PLC0415 - as above
    from nasctl.data.published import PUBLISHED  # noqa: PLC0415 - as above

    root = data_folder(settings)
    if root is None:
        hint = "data.root=FOLDER or NASCTL_DATA; dataset=demo needs none"
        yield Finding("data", "note", "no folder of data sets is known", hint)
        return
    if not root.is_dir():
        yield Finding("data", "fails", f"{root} is not there", "nasctl data fetch NAME makes it")
        return
    for name in PUBLISHED:
        findings = check([name], root)
        wrong = [each for each in findings if each.state != "ok"]
        if not wrong:
            yield Finding(name, "ok", f"whole, in {root / PUBLISHED[name].folder}")
        elif any(each.state == "changed" for each in wrong):
            yield Finding(name, "fails", f"{wrong[0].path}: {wrong[0].message}", wrong[0].hint)
        else:
            yield Finding(name, "note", "not here", f"nasctl data fetch {name}")
