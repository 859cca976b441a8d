"""conf/ and sweeps/ as files: where they lie, which groups they hold, and each group's options.

Reads names only and imports nothing heavy, so that shell completion can ask it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import nasctl
from nasctl.errors import MachineError, UsageError
from nasctl.files import path_of

__all__ = ["conf_folder", "description", "options", "search_folders", "sweeps_folder", "top_keys"]

Groups = Mapping[str, tuple[str, ...]]
"""Group -> its options, e.g. "sweep" -> ("demo", "paper/blm-glove-lstm", ...)."""


def conf_folder() -> Path:
    """The folder of the shipped groups and defaults."""
    return _shipped("conf", "config.yaml")


def sweeps_folder() -> Path:
    """The folder that holds the group `sweep`."""
    return _shipped("sweeps", "sweep")


def _shipped(name: str, inside: str) -> Path:
    """`name` beside the package if that is a checkout of nasctl, else inside it, where the wheel puts it.

    A folder beside an *installed* package belongs to somebody else, hence the look for pyproject.toml.
    """
    package = Path(nasctl.__file__).resolve().parent
    checkout = package.parent / name
    if (package.parent / "pyproject.toml").is_file() and (checkout / inside).exists():
        return checkout
    if (package / name / inside).exists():
        return package / name
    raise MachineError(f"this installation of nasctl has no {name}/", "install nasctl again")


def search_folders(conf_dirs: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Every folder of groups but conf/ itself: sweeps/, then the user's own, absolute.

    Raises UsageError for a folder that is not there, and for a file that another one would hide.
    """
    own = tuple(dict.fromkeys(path_of(folder).absolute() for folder in conf_dirs))
    owners = {
        (group, name): "nasctl" for group, names in _options((conf_folder(), sweeps_folder())).items() for name in names
    }
    for folder in own:
        if not folder.is_dir():
            raise UsageError(f"--conf {folder}: no such folder", "it holds groups, e.g. DIR/dataset/mine.yaml")
        if (folder / "config.yaml").is_file():
            raise UsageError(
                f"--conf {folder}: its config.yaml is not read", "it holds groups, e.g. DIR/training/mine.yaml"
            )
        for group, names in _options((folder,)).items():
            for name in names:
                owner = owners.setdefault((group, name), str(folder))
                if owner != str(folder):
                    raise UsageError(
                        f"--conf {folder}: {owner} has a {group}={name} already", f"rename {group}/{name}.yaml"
                    )
    return (sweeps_folder(), *own)


def options(conf_dirs: Sequence[Path] = ()) -> Groups:
    """Every group and its options, shipped ones and those of the user's folders."""
    return _options((conf_folder(), *search_folders(conf_dirs)))


def description(group: str, option: str) -> str:
    """What the file of a shipped option says of itself: its first comment."""
    for folder in (conf_folder(), sweeps_folder()):
        path = folder / group / f"{option}.yaml"
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            if line.startswith("# ") and not line.startswith("# @package"):
                return line.removeprefix("# ")
    return ""


def top_keys() -> list[str]:
    """The groups, and the keys of conf/config.yaml that stand beside them."""
    lines = (conf_folder() / "config.yaml").read_text(encoding="utf-8").splitlines()
    plain = [line.partition(":")[0] for line in lines if line[:1].isalpha()]
    return sorted({*plain, *options()} - {"defaults"})


def _options(folders: Sequence[Path]) -> Groups:
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in folder.glob("*/**/*.yaml"):
            group, *rest = path.relative_to(folder).with_suffix("").parts
            found.setdefault(group, set()).add("/".join(rest))
    return {group: tuple(sorted(found[group])) for group in sorted(found)}


def group_of(option: str, groups: Groups) -> str:
    """A hint for a word without a key: the group that has such an option, or what overrides look like."""
    owners = [group for group, names in groups.items() if option in names]
    if owners:
        return "did you mean " + " or ".join(f"{group}={option}" for group in owners) + "?"
    owner_of = {name: group for group, names in groups.items() for name in names}
    close = difflib.get_close_matches(option, owner_of, n=1)
    return f"did you mean {owner_of[close[0]]}={close[0]}?" if close else "overrides read KEY=VALUE, e.g. dataset=demo"
