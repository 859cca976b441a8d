"""Overrides as typed on the command line, `KEY=VALUE`: read with Hydra's grammar, refused where they mislead."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException

from nasctl.config.groups import Groups, group_of
from nasctl.databases import ADDRESSES, URL_VARIABLE, redacted
from nasctl.errors import UsageError, nearest

__all__ = ["METHOD", "OWN_SWEEP", "changes_method", "parse", "product"]

OWN_SWEEP = "a sweep of your own says what is searched: DIR/sweep/mine.yaml, --conf DIR, sweep=mine"

_SECRET = re.compile(r"(?i)\b(password|passwd|pwd|secret|token|api_?key)=")


def parse(overrides: Sequence[str], groups: Groups) -> list[Override]:
    """The overrides one by one, each with one value. Raises UsageError for whatever nasctl does not take."""
    parsed = [_read(text, groups) for text in overrides]
    for text, override in zip(overrides, parsed, strict=True):
        if override.is_sweep_override():
            quoted = _quoted(*text.split("=", 1))
            raise UsageError(f"{text}: more than one value", f"-m makes one run of each; as one text: {quoted}")
        _check_option(text, override.get_key_element(), override.value(), groups)
    return parsed


def product(overrides: Sequence[str], groups: Groups) -> list[list[str]]:
    """Every combination of the values in comma lists, choice(...) and range(...), the last one running fastest."""
    alternatives = []
    for text in overrides:
        override = _read(text, groups)
        key = override.get_key_element()
        if not override.is_sweep_override():
            alternatives.append([text])
        elif override.is_discrete_sweep() and override.value_type != ValueType.GLOB_CHOICE_SWEEP:
            alternatives.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            raise UsageError(f"{text}: -m takes lists, not intervals or patterns", f"e.g. {key}=A,B")
    return [list(combination) for combination in itertools.product(*alternatives)]


def changes_method(override: Override) -> bool:
    """Whether it may change how is searched, trained or read."""
    group, *keys = override.get_key_element().split(".")
    if group not in METHOD:
        return False
    return isinstance(override.value(), dict) or not METHOD[group] or keys[:1] in ([each] for each in METHOD[group])


METHOD: Mapping[str, tuple[str, ...]] = {
    "cell": ("space", "nodes", "count"),
    "dataset": ("max_tokens", "max_pieces"),
    "embedding": ("trainable", "oov", "case", "width", "window"),
    "model": ("masks", "dropout_1", "dropout_2", "padding", "initialisation", "hidden"),
    "pruner": (),
    "sampler": (),
    "search": ("start", "training", "space", "strategy", "child_steps", "judged", "found"),
    "study": ("space", "limits", "enqueue"),
    "training": (),
}
"""Group -> its keys that decide a method and stand in no other column of a table; none: all of them, and its option."""


def _read(text: str, groups: Groups) -> Override:
    key, equals, value = text.partition("=")
    if redacted(text) != text or _SECRET.search(value):
        raise UsageError(
            f"{key}: an override must not hold a password, since every user can list this command",
            f"set the environment variable {ADDRESSES.get(key, URL_VARIABLE)}, or use a .pgpass file",
        )
    if text.startswith(("+", "~")):
        what = "adds keys, and no others are read" if text[0] == "+" else "removes keys, and all are needed"
        plain = text.lstrip("+~")
        hint = OWN_SWEEP if plain.startswith("study.space.") else plain if equals else "set it: KEY=VALUE"
        raise UsageError(f"{text}: {text[0]}KEY {what}", hint)
    if not equals or not key:
        raise UsageError(f"{text}: not an override", group_of(value or text, groups))
    if key.startswith("hydra.") or "@" in key:
        raise UsageError(f"{text}: nasctl sets {'hydra.*' if '@' not in key else 'packages'} itself", "see --conf DIR")
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise UsageError(f"{text}: this value cannot be read", f"quoted it can: {_quoted(key, value)}") from error


def _quoted(key: str, value: str) -> str:
    """The override as a shell takes it, with its value as one text: 'file="a,b.csv"'."""
    inner = value.strip("'\"").replace("\\", "\\\\").replace('"', '\\"')
    return shlex.quote(f'{key}="{inner}"')


def _check_option(text: str, key: str, value: object, groups: Groups) -> None:
    """A group takes its options only. Hydra would pass over a misspelt optional group (sweep) without a word."""
    group, _, last = key.partition(".")
    if last == "name" and value in groups.get(group, ()):
        raise UsageError(f"{text}: sets the name and nothing else", f"{group}={value} chooses it")
    if key not in groups or value in groups[key]:
        return
    if not isinstance(value, str):
        raise UsageError(f"{text}: {key} takes one of its options", nearest("", groups[key]))
    raise UsageError(f"{text}: there is no {key} called {value}", nearest(value, groups[key]))
