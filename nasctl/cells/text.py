"""A cell as one line of text, and back: `next h1 = tanh(linear(x, h1, +))`.

Statements are separated by `;` or line ends and stand in the order of the program:

- `v5 = mul(x, tanh(v4))` names a value; what is read once may stand nested, and is computed from left to right;
- `next h1 = v5` says what a state becomes, once for each state; `h1` alone is always the previous one, and the first
  state is the output. `next h2:D = x` is a state of the input's width;
- `m1:D` declares a mask and its width.

In `linear(x, h1, +, +1)` each operand has a matrix of its own, each `+` is a bias, and the number what it starts at.
A matrix or bias that is used again is named: `linear(v3@w2, +@b1)`; characters other than letters, digits and `_.-/~`
stand as `%20`. Those without a name are called w1, w2, ... and b1, b2, ... by first use, as `rewrite.canonical` does.
A comment runs from `#` to the end of its line. Nothing is evaluated.

The other notation is JSON, for programs: the fields of CellGraph and Step by their names, under a format and a version.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from nasctl.cells.graph import Bias, CellGraph, Op, Step, Width, op_named
from nasctl.cells.parsing import KeyNames, parse
from nasctl.errors import UsageError, nearest

FORMAT = "nasctl-cell"
VERSION = 1

LARGEST_FILE = 1_000_000
"""Bytes that a file with a cell may have."""

DEEPEST = 6
"""How deep a formula is nested at most: what is deeper is easier to read by a name."""


def to_text(graph: CellGraph) -> str:
    """The graph on one line; `from_text` gives it back as it is, keys, starts and order included."""
    return "; ".join(_statements(graph))


def _statements(graph: CellGraph) -> Iterator[str]:
    first_mask = 1 + len(graph.states)
    yield from (f"{graph.value_name(mask)}:{graph.widths[mask]}" for mask in range(first_mask, graph.first_step))
    uses = [0] * len(graph.widths)
    for arg in (*graph.next_states, *(arg for step in graph.steps for arg in step.args)):
        uses[arg] += 1
    written: dict[int, _Formula] = {}
    keys = KeyNames()
    for number, step in enumerate(graph.steps, graph.first_step):
        parts, size, depth = _nested(graph, step.args, number, uses, written)
        if step.op is Op.LINEAR:
            parts = [part + _weight(keys, key) for part, key in zip(parts, step.weights, strict=True)]
            parts += [_bias(keys, bias) for bias in step.biases]
        written[number] = _Formula(f"{step.op.label}({', '.join(parts)})", size + 1, depth + 1)
    # A formula leaves `written` when it is nested in a later one: what is left is named, in its order.
    becomes, _, _ = _nested(graph, graph.next_states, len(graph.widths), uses, written)
    yield from (f"{graph.value_name(number)} = {formula.text}" for number, formula in written.items())
    for state, (width, formula) in enumerate(zip(graph.states, becomes, strict=True), 1):
        yield f"next h{state}{':D' if width == 'D' else ''} = {formula}"


class _Formula(NamedTuple):
    text: str
    size: int
    depth: int


def _nested(
    graph: CellGraph, args: Sequence[int], end: int, uses: Sequence[int], written: dict[int, _Formula]
) -> tuple[list[str], int, int]:
    """What is read by number `end`, as text, with how many steps stand nested in it, and how deep.

    A formula is nested only where reading from left to right gives every step the number that it has.
    """
    parts: list[str] = []
    before = end - 1
    depth = 0
    for arg in reversed(args):
        if arg == before and uses[arg] == 1 and arg in written and written[arg].depth <= DEEPEST:
            formula = written.pop(arg)
            parts.append(formula.text)
            before -= formula.size
            depth = max(depth, formula.depth)
        else:
            parts.append(graph.value_name(arg))
    return parts[::-1], end - 1 - before, depth


def _weight(keys: KeyNames, key: str) -> str:
    """What stands behind an operand: nothing where the reader would find this key by itself, else `@key`."""
    shown = "" if key == keys.new_weight() else f"@{_quoted(key)}"
    keys.weight(key)
    return shown


def _bias(keys: KeyNames, bias: Bias) -> str:
    """A bias as an operand; what it starts at is said once."""
    start = "" if bias.key in keys.biases or not bias.start else repr(float(bias.start)).removesuffix(".0")
    shown = "" if bias.key == keys.new_bias() else f"@{_quoted(bias.key)}"
    keys.bias(bias.key, bias.start)
    return f"+{start}{shown}"


def _quoted(key: str) -> str:
    return quote(key, safe="/", errors="surrogatepass")


def from_text(text: str) -> CellGraph:
    """The graph that the text writes. Raises UsageError, naming the statement or step and what would be right."""
    return parse(text)


def to_json(graph: CellGraph) -> dict[str, Any]:
    """The graph as a JSON value; `from_json` gives it back. Steps read values by number, see `CellGraph`."""

    def step_fields(step: Step) -> dict[str, Any]:
        fields: dict[str, Any] = {"op": step.op.label, "args": list(step.args)}
        if step.op is Op.LINEAR:
            fields["weights"] = list(step.weights)
            fields["biases"] = [{"key": bias.key, "start": float(bias.start)} for bias in step.biases]
        return fields

    return {
        "format": FORMAT,
        "version": VERSION,
        "states": list(graph.states),
        "masks": list(graph.masks),
        "steps": [step_fields(step) for step in graph.steps],
        "next_states": list(graph.next_states),
    }


def from_json(value: object) -> CellGraph:
    """The graph of a JSON value. Raises UsageError, naming the step, for what is no cell or a newer version of one."""
    if not isinstance(value, Mapping) or value.get("format") != FORMAT:
        raise UsageError("this JSON is no cell", f'a cell says "format": "{FORMAT}"')
    version = value.get("version")
    if type(version) is not int or version < 1:
        raise UsageError(f"the cell has the version {version!r}", f"this nasctl reads version {VERSION}")
    if version > VERSION:
        raise UsageError(f"the cell has version {version}, this nasctl reads {VERSION}", "update nasctl")
    fields = _fields(value, "the cell", ("format", "version", "states", "steps", "next_states"), ("masks",))
    states, masks = (
        tuple(_width(each, name) for each in _list(fields, name, "the cell")) for name in ("states", "masks")
    )
    first_step = 1 + len(states) + len(masks)
    steps = _list(fields, "steps", "the cell")
    return CellGraph(
        states,
        tuple(_step(step, f"step v{number}") for number, step in enumerate(steps, first_step)),
        tuple(_whole(each, "next_states of the cell") for each in _list(fields, "next_states", "the cell")),
        masks,
    )


def read_cell(path: Path) -> CellGraph:
    """The cell in a file: JSON if it is called `.json` or starts with a brace, else the one-line notation.

    Raises UsageError, naming the file, for one that is missing, has over 1 MB, or is no cell.
    """
    text = _content(path)
    is_json = path.suffix.lower() == ".json" or text.lstrip().startswith("{")
    try:
        return from_json(json.loads(text)) if is_json else from_text(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON: {error}", f'a cell is {{"format": "{FORMAT}", ...}}') from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}", error.hint) from error


def _content(path: Path) -> str:
    try:
        if path.stat().st_size <= LARGEST_FILE:
            return path.read_text("utf-8-sig")  # Windows editors write a byte-order mark
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", "give a file with a cell, .json or .txt"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no cell: it is not text in UTF-8", "give a .json or .txt file") from error
    raise UsageError(f"{path} has over {LARGEST_FILE:,} bytes", "a cell is much smaller: is it another file?")


def _step(value: object, where: str) -> Step:
    fields = _fields(value, where, ("op", "args"), ("weights", "biases"))
    try:
        op = op_named(_name(fields["op"], f"op of {where}"))
    except UsageError as error:
        raise UsageError(f"{where}: {error}", error.hint) from error
    return Step(
        op,
        tuple(_whole(each, f"args of {where}") for each in _list(fields, "args", where)),
        tuple(_name(each, f"weights of {where}") for each in _list(fields, "weights", where)),
        tuple(_bias_of(each, f"a bias of {where}") for each in _list(fields, "biases", where)),
    )


def _bias_of(value: object, where: str) -> Bias:
    fields = _fields(value, where, ("key",), ("start",))
    start = fields.get("start", 0.0)
    if isinstance(start, bool) or not isinstance(start, int | float) or not math.isfinite(start):
        raise UsageError(f"{where} starts at {start!r}", "start is a finite number")
    return Bias(_name(fields["key"], f"key of {where}"), float(start))


def _fields(value: object, where: str, needed: Sequence[str], allowed: Sequence[str]) -> Mapping[str, Any]:
    """The JSON object with all of the needed fields and no others than the allowed."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} is {value!r:.40}", f"it is an object with {', '.join(needed)}")
    for name in needed:
        if name not in value:
            raise UsageError(f"{where} has no {name}", f"it has {', '.join(needed)}")
    for name in value:
        if name not in needed and name not in allowed:
            raise UsageError(f"{where} has a field {name!r}", nearest(name, [*needed, *allowed]))
    return value


def _list(fields: Mapping[str, Any], name: str, where: str) -> list[Any]:
    value = fields.get(name, [])
    if not isinstance(value, list):
        raise UsageError(f"{name} of {where} is {value!r:.40}", "it is a list")
    return value


def _whole(value: object, where: str) -> int:
    if type(value) is not int:
        raise UsageError(
            f"{where} hold {value!r:.40}", "values are read by their numbers: 0 is x, then states, masks, steps"
        )
    return value


def _name(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where} is {value!r:.40}", "it is a name in quotes")
    return value


def _width(value: object, name: str) -> Width:
    if value not in ("D", "H"):
        raise UsageError(
            f"{name} of the cell hold {value!r:.40}", "each is a width: D is the input's, H the hidden one"
        )
    return value
