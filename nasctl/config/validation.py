"""What pydantic says about the composed configuration, in the user's words: the override and what its key takes."""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from nasctl.config.overrides import OWN_SWEEP
from nasctl.config.settings import SETTINGS, Settings
from nasctl.config.space import ORDER
from nasctl.errors import UsageError, nearest
from nasctl.files import LONGEST_NAME

__all__ = ["keys", "read", "unknown_key", "whole_group"]

_EXPECTED: Mapping[str, str] = {
    "bool_type": "true or false",
    "dataclass_type": "a group of keys",
    "dict_type": "a group of keys",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_too_short": "a text that is not empty",
    "string_type": "a text",
    "too_short": "at least one entry",
    "tuple_type": "a list in brackets",
}
_LONGEST_SHOWN = 60
MISTYPED = 0.8
"""The likeness, by difflib, of a word with a letter or two wrong: `epoch` and `epochs` have 0.9."""

Path = tuple[str, ...]


def read(container: Mapping[str, Any], overrides: Iterable[Override]) -> Settings:
    """The settings in a composed configuration. Raises UsageError with the first mistake, named by its override."""
    text = json.dumps(container)
    try:
        return SETTINGS.validate_json(text)
    except ValidationError as error:
        container = json.loads(text)  # YAML's keys may be other than texts (`on:` is true)
        given = [each for each in overrides if not _chooses(each, container)]
        mistakes = list(_mistakes(error.errors(include_url=False), container))
        first = next((path for path, _ in mistakes if _given(path, given)), mistakes[0][0])
        raise _told(first, [each for path, each in mistakes if path == first], container, given) from None


def _chooses(override: Override, container: Mapping[str, Any]) -> bool:
    """Whether the override took a group's option, which sets many values, rather than one value."""
    return isinstance(override.value(), str) and isinstance(container.get(override.key_or_group), dict)


def _mistakes(errors: list[ErrorDetails], container: Mapping[str, Any]) -> Iterator[tuple[Path, ErrorDetails]]:
    """Each error with its key: pydantic's locations also name the branches of unions, which nobody typed."""
    for error in errors:
        path: list[str] = []
        value: Any = container
        for part in error["loc"]:
            if isinstance(value, dict) and part in value:
                value = value[part]
            elif not (isinstance(value, list) and isinstance(part, int) and part < len(value)):
                continue
            else:
                value = value[part]
            path.append(str(part))
        if error["type"] == "missing":
            path.append(str(error["loc"][-1]))
        if error["type"] == "union_tag_invalid":
            path.append(error["ctx"]["discriminator"].strip("'"))
        yield tuple(path), error


def _told(
    path: Path, errors: list[ErrorDetails], container: Mapping[str, Any], overrides: list[Override]
) -> UsageError:
    key = re.sub(r"\.(\d+)", r"[\1]", ".".join(path))
    kinds = {error["type"] for error in errors}
    if kinds & {"extra_forbidden", "unexpected_keyword_argument"}:
        return UsageError(f"{key}: no such key", _near_sibling(path, container))
    if kinds == {"value_error"}:
        return UsageError(f"{key}: {errors[0]['ctx']['error']}")
    if "missing" in kinds:
        return UsageError(f"{key} is missing from the configuration", f"write {path[-1]}: into the file of its group")
    given = _given(path, overrides)
    if given is not None:
        asked, where = str(given.input_line), ""
    else:
        asked, where = f"{key}: {_shown(errors[0])}", " (in the configuration's files)"
    expected = _alternatives([each for error in errors for each in _expectations(error)])
    at = "" if given is None or given.key_or_group == key else f" for {key}"
    hint, value = "", errors[0]["input"]
    if "literal_error" in kinds and isinstance(value, str):
        hint = did_you_mean(value, [word for error in errors for word in _expectations(error)])
    if "tuple_type" in kinds and isinstance(value, int | float | str):
        hint = shlex.quote(f"{key}=[{value}]")
    if kinds == {"string_type"} and isinstance(value, int | float):
        text = value if given is None or given.key_or_group != key else asked.partition("=")[2]
        hint = f"as a text: '{key}=\"{text}\"'"
    return UsageError(f"{asked}: expected {expected}{at}{where}", hint)


def did_you_mean(asked: str, known: Iterable[str]) -> str:
    """The nearest of the known words as a hint, without the list of all; empty if none is near."""
    return nearest(asked, set(known)).partition("known:")[0].strip()


def _alternatives(words: list[str]) -> str:
    *others, last = dict.fromkeys(words)
    return f"{', '.join(others)} or {last}" if others else last


def _given(path: Path, overrides: list[Override]) -> Override | None:
    """The override, if any, that set the value at `path` or something around it."""
    around = {".".join(path[:length]) for length in range(1, len(path) + 1)}
    return next((each for each in reversed(overrides) if each.key_or_group in around), None)


def _expectations(error: ErrorDetails) -> list[str]:
    """What would have been right: one phrase, or each of a few words."""
    kind, limits = error["type"], error.get("ctx", {})
    if kind in {"literal_error", "union_tag_invalid"}:
        return re.findall(r"'([^']*)'", limits["expected" if kind == "literal_error" else "expected_tags"])
    if kind == "union_tag_not_found":
        return [f"a key {limits['discriminator']}".replace("'", "")]
    if kind == "string_pattern_mismatch":
        return [f"letters and digits, and behind the first also . _ -, at most {LONGEST_NAME}"]
    if kind.startswith(("greater_than", "less_than")):
        return ["a number " + error["msg"].removeprefix("Input should be ")]
    return [_EXPECTED.get(kind) or error["msg"][:1].lower() + error["msg"][1:]]


def _shown(error: ErrorDetails) -> str:
    text = json.dumps(error.get("ctx", {}).get("tag", error["input"]), ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


# --- keys -------------------------------------------------------------------------------------------------------------


def keys(container: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Every dotted key of a configuration, groups of keys included."""
    for name, value in container.items():
        yield f"{above}{name}"
        if isinstance(value, dict):
            yield from keys(value, f"{above}{name}.")


def unknown_key(asked: str, container: Mapping[str, Any], groups: Iterable[str]) -> UsageError:
    """The mistake of an override whose key the configuration does not have."""
    known = [*keys(container), *groups]
    value: Any = container
    parts = asked.split(".")
    there = []
    for part in parts:
        if not isinstance(value, dict) or part not in value:
            break
        value = value[part]
        there.append(part)
    where = ".".join(there)
    if where and not isinstance(value, dict):
        return UsageError(f"{asked}: {where} is one value and has no keys", f"{where}=VALUE")
    if where == "study.space" and value and parts[2].rstrip("_0123456789") in ORDER:
        return UsageError(f"{asked}: the sweep does not search {parts[2]}", OWN_SWEEP)
    meant = _meant(there, parts[len(there) :], value, known)
    hint = f"did you mean {' or '.join(meant)}?" if meant else did_you_mean(asked, known)
    if where:
        hint = hint or nearest(asked, [f"{where}.{name}" for name in value]) or f"{where} is empty: no sweep applies"
    return UsageError(f"{asked}: no such key", hint or "--cfg prints every key")


def _meant(there: list[str], rest: list[str], siblings: Iterable[str], known: Sequence[str]) -> list[str]:
    """The keys that a mistyped one, right up to `there`, can hardly fail to mean; none if it is spelled like nothing.

    A key spelled nearly so that stands where it was looked for; else those of that very name that stand elsewhere.
    """
    close = difflib.get_close_matches(rest[0], list(siblings), n=1, cutoff=MISTYPED)
    if close:
        return difflib.get_close_matches(".".join([*there, *close, *rest[1:]]), known, n=1, cutoff=MISTYPED)
    elsewhere = [key for key in known if key.rpartition(".")[2] == rest[-1]]
    return sorted(elsewhere, key=lambda key: key.count("."))[:3]


def whole_group(override: Override, container: Mapping[str, Any]) -> UsageError:
    """The mistake of an override that sets a group of keys to what does not fit into it."""
    group = override.key_or_group
    inner = ", ".join(key for key in keys(container) if key.startswith(f"{group}."))
    hint = OWN_SWEEP if f"{group}.".startswith("study.space.") else f"one key at a time: {inner}"
    return UsageError(f"{override.input_line}: this does not fit into {group}", hint)


def _near_sibling(path: Path, container: Mapping[str, Any]) -> str:
    """A hint for a key that a file brought along."""
    if path == ("sweep",):
        return "the first line of a sweep must be: # @package study"
    siblings: Any = container
    for part in path[:-1]:
        siblings = siblings[int(part)] if isinstance(siblings, list) else siblings[part]
    others = [name for name in siblings if name != path[-1]] if isinstance(siblings, dict) else []
    return nearest(path[-1], others)
