"""Settings from groups and overrides, by Hydra's Compose API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nasctl.config import overrides as typed
from nasctl.config import shorthand, unread, validation
from nasctl.config.groups import Groups, conf_folder, options, search_folders
from nasctl.config.settings import SETTINGS, Settings
from nasctl.data.sources import read_text
from nasctl.databases import redacted
from nasctl.errors import UsageError, first_line
from nasctl.files import canonical_json

__all__ = ["Composition", "as_yaml", "compose", "composition", "expand"]

_RESOLVER = re.compile(r"\$\{\s*[\w.]+\s*:")
"""`${name:...}`: a call. Only plain references, `${key}`, are allowed, so that a file cannot read the environment."""


@dataclass(frozen=True)
class Composition:
    """What overrides lead to: the settings, and the chosen option of the group `sweep` ("" if none applies).

    The overrides are as they were typed; `changed` has what they change of how is searched, trained or read, each as
    KEY=VALUE whatever words led to it, in one order.
    """

    overrides: tuple[str, ...]
    settings: Settings
    sweep: str
    changed: tuple[str, ...]

    @property
    def readings(self) -> tuple[str, ...]:
        """What is changed of how data, embedding, cells and model are read: of a single run, too."""
        read = ("dataset.", "embedding.", "cell.", "model.")
        return tuple(text for text in self.changed if text.startswith(read))


def compose(overrides: Sequence[str] = (), conf_dirs: Sequence[Path] = ()) -> Settings:
    """The settings under these overrides; `conf_dirs` are folders of the user's own groups.

    Raises UsageError, in one line, for every mistake in an override or a file.
    """
    return composition(overrides, conf_dirs).settings


def composition(overrides: Sequence[str] = (), conf_dirs: Sequence[Path] = ()) -> Composition:
    """As `compose`, with the sweep that applies."""
    groups = options(conf_dirs)
    said = shorthand.written_out(overrides, typed.parse(overrides, groups))
    parsed = typed.parse(said, groups)
    config = _composed(said, parsed, groups, search_folders(conf_dirs))
    sweep = str(config.hydra.runtime.choices["sweep"])
    with open_dict(config):
        del config["hydra"]
    _refuse_resolvers_and_gaps(config)
    try:
        container: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        text = dict(_texts(OmegaConf.to_container(config, resolve=False))).get(str(error.full_key), "a reference")
        raise UsageError(f"{error.full_key}: {text} leads nowhere", "references name keys, e.g. ${seed}") from error
    settings = validation.read(container, parsed)
    unread.check(settings, parsed)
    changed = tuple(sorted(_changed(said, parsed, settings, conf_dirs)))
    return Composition(tuple(overrides), settings, sweep if sweep in groups["sweep"] else "", changed)


def _changed(
    said: Sequence[str], parsed: Sequence[Override], settings: Settings, conf_dirs: Sequence[Path]
) -> Iterator[str]:
    """The values by which the settings have another method than they would have without the overrides of that kind."""
    others = [text for text, each in zip(said, parsed, strict=True) if not typed.changes_method(each)]
    if len(others) == len(said):
        return
    try:
        plain = _method(compose(others, conf_dirs))
    except UsageError:  # they lead nowhere alone
        plain = {}
    yield from _differing(plain, _method(settings))


def _method(settings: Settings) -> dict[str, Any]:
    """How is searched, trained and read, as JSON values."""
    whole = json.loads(SETTINGS.dump_json(settings))
    return {
        group: {key: value for key, value in whole[group].items() if not keys or key in keys}
        for group, keys in typed.METHOD.items()
    }


def _differing(plain: Any, asked: Any, path: str = "") -> Iterator[str]:
    if isinstance(asked, dict):
        for key, value in asked.items():
            below = plain.get(key) if isinstance(plain, dict) else None
            yield from _differing(below, value, f"{path}.{key}" if path else key)
    elif asked != plain:
        yield f"{path}={asked if isinstance(asked, str) else canonical_json(asked)}"


def expand(overrides: Sequence[str], conf_dirs: Sequence[Path] = ()) -> list[list[str]]:
    """The overrides of every run that comma lists in `overrides` ask for (`-m`)."""
    return typed.product(overrides, options(conf_dirs))


def as_yaml(settings: Settings) -> str:
    """The settings as YAML, passwords hidden."""
    plain = json.loads(SETTINGS.dump_json(settings))
    return redacted(OmegaConf.to_yaml(OmegaConf.create(plain)))


def _composed(
    overrides: Sequence[str], parsed: Sequence[Override], groups: Groups, folders: Sequence[Path]
) -> DictConfig:
    try:
        return _hydra(overrides, folders)
    except HydraException as error:
        raise _diagnosis(error, overrides, parsed, groups, folders) from error
    except YAMLError as error:
        raise UsageError(f"a file of the configuration is not YAML: {' '.join(str(error).split())}") from error
    except OmegaConfBaseException as error:
        raise UsageError(f"the configuration does not fit together: {first_line(error).rstrip('.')}") from error


def _hydra(overrides: Sequence[str], folders: Sequence[Path]) -> DictConfig:
    """The composed configuration, with Hydra's own under `hydra`: it knows which options were chosen.

    Raises what Hydra does, and UsageError for a file that is not UTF-8.
    """
    path = ",".join(_quoted(f"file://{folder}") for folder in folders)
    with initialize_config_dir(config_dir=str(conf_folder()), version_base="1.3"):
        asked = [f"hydra.searchpath=[{path}]", *overrides]
        try:
            return hydra_compose("config", overrides=asked, return_hydra_config=True)
        except UnicodeDecodeError:  # which does not say of which file
            for folder in folders:
                for file in sorted(folder.glob("*/**/*.yaml")):
                    read_text(file)
            raise


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _diagnosis(
    error: HydraException,
    overrides: Sequence[str],
    parsed: Sequence[Override],
    groups: Groups,
    folders: Sequence[Path],
) -> UsageError:
    """Which override named a key that is not there; else what Hydra says, in one line."""
    try:
        choices = [text for text, each in zip(overrides, parsed, strict=True) if each.key_or_group in groups]
        container: Any = OmegaConf.to_container(_hydra(choices, folders), resolve=False)
    except (HydraException, OmegaConfBaseException):
        return UsageError(f"the configuration does not compose: {first_line(error).rstrip('.')}")
    del container["hydra"]
    known = {*validation.keys(container), *groups}
    for override in parsed:
        if override.key_or_group not in known:
            return validation.unknown_key(override.key_or_group, container, groups)
        if isinstance(override.value(), dict):
            return validation.whole_group(override, container)
    return UsageError(f"the configuration does not compose: {first_line(error).rstrip('.')}")


def _refuse_resolvers_and_gaps(config: DictConfig) -> None:
    texts = list(_texts(OmegaConf.to_container(config, resolve=False)))
    for key, text in texts:
        if _RESOLVER.search(text):
            raise UsageError(f"{key}: {text} calls a resolver", "only references such as ${seed} are read")
    missing = [key for key, text in texts if text == MISSING]
    if missing:
        are = "are needed and have no defaults" if missing[1:] else "is needed and has no default"
        raise UsageError(f"{', '.join(missing)} {are}", "give " + " ".join(f"{key}=..." for key in missing))


def _texts(value: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a configuration, with its key."""
    if isinstance(value, str):
        yield above, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{above}.{key}" if above else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, above)
