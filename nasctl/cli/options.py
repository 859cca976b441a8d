"""What the commands that take settings have in common: overrides with completion, --conf and --cfg."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from nasctl.config.groups import options
from nasctl.errors import NasctlError, UsageError

if TYPE_CHECKING:
    from nasctl.config.composition import Composition
    from nasctl.config.settings import Settings

__all__ = [
    "OverrideType",
    "check_names",
    "check_read",
    "composed",
    "compositions",
    "own_groups",
    "settings_flags",
    "settings_of",
    "show_configurations",
    "study_flags",
]

F = TypeVar("F", bound=Callable[..., Any])


class OverrideType(click.ParamType[str]):
    """KEY=VALUE, read by nasctl.config; here only the shell's completion of groups and their options."""

    name = "override"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click's signature
        """Groups while there is no `=`, then the group's options; from the names of files alone."""
        try:
            groups = options(tuple(map(Path, ctx.params.get("conf_dirs") or ())))
        except NasctlError:
            return []
        group, equals, begun = incomplete.partition("=")
        words = [f"{group}={name}" for name in groups.get(group, ())] if equals else [f"{name}=" for name in groups]
        return [CompletionItem(word) for word in words if word.startswith(f"{group}={begun}" if equals else group)]


def own_groups(command: F) -> F:
    """Give a command `conf_dirs`, the folders of the user's own groups."""
    return click.option(
        "--conf",
        "conf_dirs",
        multiple=True,
        metavar="DIR",
        help="A folder of your own groups, e.g. DIR/dataset/mine.yaml for dataset=mine.",
    )(command)


def composed(command: F) -> F:
    """Give a command the arguments that settings are made of: `overrides` and `conf_dirs`."""
    command = own_groups(command)
    return click.argument("overrides", nargs=-1, type=OverrideType(), metavar="[KEY=VALUE]...")(command)


def settings_flags(command: F) -> F:
    """Give a command what may be done with its settings: -m, --cfg, --dry-run and --json."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Answer in JSON, one object per line, for programs."),
        click.option("--dry-run", is_flag=True, help="Print what would run and what it would cost, then stop."),
        click.option("--cfg", is_flag=True, help="Print every setting (with --json as JSON), then stop."),
        click.option("-m", "--multirun", is_flag=True, help="Run every combination of comma lists, e.g. seed=0,1,2."),
    ):
        command = option(command)
    return command


def study_flags(command: F) -> F:
    """Give a command the flags of settings, and what may be done with its studies."""
    deterministic = click.option(
        "--deterministic", is_flag=True, help="Draw trials in groups: no worker's speed decides on them."
    )
    return deterministic(settings_flags(command))


def compositions(overrides: tuple[str, ...], conf_dirs: tuple[str, ...], *, multirun: bool) -> list[Composition]:
    """What is asked for: one run, or with `multirun` each combination of the overrides' values."""
    from nasctl.config.composition import composition, expand  # noqa: PLC0415 - as in settings_of

    folders = tuple(map(Path, conf_dirs))
    every = expand(overrides, folders) if multirun else [list(overrides)]
    return [composition(each, folders) for each in every]


def check_read(overrides: tuple[str, ...], command: str, unread: Mapping[str, str]) -> None:
    """Raises UsageError for an override below a key that the command does not read; `unread` has a hint for each."""
    for text in overrides:
        key = text.partition("=")[0].partition(".")[0]
        if key in unread:
            raise UsageError(f"{text}: nasctl {command} does not read {key}", unread[key])


def check_names(names: Sequence[str], kind: str, kinds: str) -> None:
    """Raises UsageError if two of the studies (`kind` "study", `kinds` "studies") or searches have one name."""
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"{names.count(name)} of these {kinds} are called {name}", f"one command for each, {kind}.name=NAME"
            )


def settings_of(overrides: tuple[str, ...] | list[str], conf_dirs: tuple[str, ...]) -> Settings:
    """The settings that the arguments ask for. Raises UsageError for every mistake in them."""
    from nasctl.config.composition import compose  # noqa: PLC0415 - Hydra costs 0.3 s, which --help need not pay

    return compose(overrides, tuple(map(Path, conf_dirs)))


def show_configurations(every: list[Composition], *, as_json: bool) -> None:
    """Print whole configurations: YAML documents, or for programs a line of JSON each; passwords hidden.

    A line on stderr names each address that the environment says instead.
    """
    from nasctl.config.composition import as_yaml  # noqa: PLC0415 - as in settings_of
    from nasctl.config.settings import SETTINGS  # noqa: PLC0415 - as in settings_of
    from nasctl.databases import ADDRESSES, redacted  # noqa: PLC0415 - as in settings_of

    for place, each in enumerate(every):
        if as_json:
            click.echo(redacted(SETTINGS.dump_json(each.settings).decode()))
        else:
            click.echo(("---\n" if place else "") + as_yaml(each.settings), nl=False)
    for key, variable in ADDRESSES.items():
        if os.environ.get(variable):
            click.echo(f"{key} is what {variable} says", err=True)
