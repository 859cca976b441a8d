"""Reads the one-line notation of cells (its rules stand in `nasctl.cells.text`): no recursion, nothing evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, cast
from urllib.parse import unquote

from nasctl.cells.graph import Bias, CellGraph, Op, Step, Width, op_named
from nasctl.errors import UsageError, nearest

EXAMPLE = "a cell reads like `next h1 = tanh(linear(x, h1, +))`"

_KEY = r"@[\w.~/%-]*"
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_TOKEN = re.compile(
    rf"(?P<call>[a-z_]\w*)\s*\(|(?P<name>[a-z_]\w*)|(?P<key>{_KEY})|(?P<bias>\+(?:{_NUMBER})?(?:{_KEY})?)"
    r"|(?P<comma>,)|(?P<close>\))|(?P<odd>\S)",
    re.ASCII | re.IGNORECASE,
)
_STATEMENT = re.compile(
    r"(?P<next>next\s+)?(?P<name>[a-z_]\w*)\s*(?::\s*(?P<width>\w+)\s*)?(?P<formula>=.*)?", re.ASCII | re.IGNORECASE
)


def parse(text: str) -> CellGraph:
    """The graph that the text writes. Raises UsageError, naming the statement and what would be right."""
    return _Reader(list(_statements(text))).graph()


class KeyNames:
    """The keys that a text has used so far, and what a new one is called that has no name."""

    def __init__(self) -> None:
        self.weights: set[str] = set()
        self.biases: dict[str, float] = {}

    def new_weight(self) -> str:
        """w1 for the first weight, if no key has that name."""
        return self._new("w", len(self.weights))

    def new_bias(self) -> str:
        """b1 for the first bias, if no key has that name."""
        return self._new("b", len(self.biases))

    def weight(self, key: str | None) -> str:
        """The key of an operand that is used now; None for a new one."""
        used = self.new_weight() if key is None else key
        self.weights.add(used)
        return used

    def bias(self, key: str | None, start: float | None) -> Bias:
        """A bias that is used now; what it starts at is said once, and 0 if never."""
        used = self.new_bias() if key is None else key
        self.biases.setdefault(used, 0.0 if start is None else start)
        return Bias(used, self.biases[used] if start is None else start)

    def _new(self, letter: str, alike: int) -> str:
        number = alike + 1
        while (key := f"{letter}{number}") in self.weights or key in self.biases:
            number += 1
        return key


@dataclass(frozen=True)
class _Statement:
    """`next NAME:WIDTH = FORMULA`, `NAME = FORMULA` or `NAME:WIDTH`."""

    number: int
    text: str
    updates: bool
    name: str
    width: str | None
    formula: str | None

    def wrong(self, what: str, hint: str) -> NoReturn:
        raise _wrong(self.number, self.text, what, hint)


@dataclass
class _Call:
    """A step that is being read; a key or start that the text leaves out is None."""

    op: Op
    args: list[int] = field(default_factory=list)
    weights: list[str | None] = field(default_factory=list)
    biases: list[tuple[str | None, float | None]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.args and not self.biases

    def read(self, value: int | None, key: str | None) -> None:
        if value is not None:
            self.args.append(value)
            self.weights.append(key)


def _wrong(number: int, text: str, what: str, hint: str) -> UsageError:
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return UsageError(f"statement {number} of the cell, `{shown}`: {what}", hint)


def _statements(text: str) -> Iterator[_Statement]:
    lines = (line.partition("#")[0] for line in text.splitlines())
    texts = [part.strip() for line in lines for part in line.split(";") if part.strip()]
    if not texts:
        raise UsageError("the text holds no cell", EXAMPLE)
    for number, part in enumerate(texts, 1):
        found = _STATEMENT.fullmatch(part)
        if found is None or found["width"] is found["formula"] is None:
            raise _wrong(number, part, "this is no part of a cell", EXAMPLE)
        yield _Statement(number, part, bool(found["next"]), found["name"], found["width"], found["formula"])


class _Reader:
    """Reads statement after statement into steps. What states and masks there are decides the numbers of the steps."""

    def __init__(self, statements: list[_Statement]) -> None:
        self._updates = _numbered("h", [each for each in statements if each.updates])
        self._masks = _numbered("m", [each for each in statements if each.formula is None])
        self._programs = [each for each in statements if each.formula is not None]
        given = ["x", *(each.name for each in self._updates), *(each.name for each in self._masks)]
        self._values = {name: number for number, name in enumerate(given)}
        self._first_step = len(given)
        self._calls: list[_Call] = []

    def graph(self) -> CellGraph:
        becomes: dict[str, int] = {}
        for statement in self._programs:
            if statement.updates:
                becomes[statement.name] = self._formula(statement)
                continue
            self._check_name(statement)
            self._values[statement.name] = self._formula(statement)
        return CellGraph(
            tuple(_width(each) for each in self._updates),
            self._steps(),
            tuple(becomes[each.name] for each in self._updates),
            tuple(_width(each) for each in self._masks),
        )

    def _check_name(self, statement: _Statement) -> None:
        name = statement.name
        if re.fullmatch(r"h\d+", name, re.ASCII):
            statement.wrong(f"{name} alone is the previous state", f"what it becomes is written `next {name} = ...`")
        if re.fullmatch(r"x|next|m\d+", name, re.ASCII):
            statement.wrong(f"{name} is given, no step computes it", "take another name, for example v1")
        if name in self._values:
            statement.wrong(f"{name} has a value already", "take another name: a value never changes")
        if statement.width is not None:
            statement.wrong(f"{name} is given a width", "only states and masks are; a value has that of what it reads")

    def _formula(self, statement: _Statement) -> int:
        """The number of the value that the formula computes; its steps are added, innermost and leftmost first."""
        calls: list[_Call] = []  # those that are open
        value: int | None = None  # the operand just read; None behind a bias
        key: str | None = None  # its key
        awaited = True  # whether an operand or a bias must come
        for token in _TOKEN.finditer(statement.formula or "", 1):
            linear = bool(calls) and calls[-1].op is Op.LINEAR
            match token.lastgroup:
                case "call" if awaited:
                    calls.append(_Call(_op(statement, token["call"])))
                case "name" if awaited:
                    value, key, awaited = self._value(statement, token["name"]), None, False
                case "bias" if awaited and linear:
                    calls[-1].biases.append(_bias(statement, token["bias"]))
                    value, awaited = None, False
                case "key" if not awaited and linear and value is not None and key is None:
                    key = _key(statement, token["key"])
                case "comma" if not awaited and calls:
                    calls[-1].read(value, key)
                    awaited = True
                case "close" if calls and (not awaited or calls[-1].is_empty):
                    call = calls.pop()
                    if not awaited:
                        call.read(value, key)
                    value, key, awaited = self._emit(statement, call), None, False
                case _:
                    statement.wrong(f"{token[0]!r} does not belong there", _hint(token.lastgroup))
        if calls or awaited or value is None:
            statement.wrong("the formula is not complete", "close every bracket, and let a value follow every comma")
        return value

    def _value(self, statement: _Statement, name: str) -> int:
        if name in self._values:
            return self._values[name]
        if any(name == each.name for each in self._programs if not each.updates):
            statement.wrong(f"it reads {name}, which comes later", "a step reads earlier values only: x, states, masks")
        if re.fullmatch(r"h\d+", name, re.ASCII):
            statement.wrong(f"state {name} is read and never updated", f"say what it becomes: `next {name} = ...`")
        if re.fullmatch(r"m\d+", name, re.ASCII):
            statement.wrong(f"there is no mask {name}", f"declare it with its width, D or H: `{name}:H`")
        return statement.wrong(f"there is no value {name}", nearest(name, self._values))

    def _emit(self, statement: _Statement, call: _Call) -> int:
        """The number of a step that was read whole."""
        form = call.op.value
        if len(call.args) < form.least or (form.most is not None and len(call.args) > form.most):
            asked = f"{form.least}" if form.most == form.least else f"{form.least} or more"
            statement.wrong(f"{form.name} reads {len(call.args)} values", f"it needs {asked}: {form.formula}")
        self._calls.append(call)
        return self._first_step + len(self._calls) - 1

    def _steps(self) -> tuple[Step, ...]:
        """The steps with every key; those left out are named in the order of the steps."""
        names = KeyNames()
        steps: list[Step] = []
        for call in self._calls:
            keys = [names.weight(key) for key in call.weights] if call.op is Op.LINEAR else []
            biases = [names.bias(key, start) for key, start in call.biases]
            steps.append(Step(call.op, tuple(call.args), tuple(keys), tuple(biases)))
        return tuple(steps)


def _numbered(letter: str, statements: Sequence[_Statement]) -> list[_Statement]:
    """States or masks in the order of their numbers: h1, h2, ..."""
    found: dict[str, _Statement] = {}
    for each in statements:
        if not re.fullmatch(rf"{letter}[1-9]\d*", each.name, re.ASCII):
            what = "state" if each.updates else "mask"
            each.wrong(f"there is no {what} {each.name}", f"{what}s are called {letter}1, {letter}2, ...")
        if each.name in found:
            each.wrong(f"{each.name} stands there twice", f"statement {found[each.name].number} has it already")
        found[each.name] = each
    names = [f"{letter}{number}" for number in range(1, len(found) + 1)]
    for name in names:
        if name not in found:
            last = max(found.values(), key=lambda each: int(each.name[1:]))
            last.wrong(f"there is {last.name} and no {name}", f"number them without a gap: {letter}1, {letter}2, ...")
    return [found[name] for name in names]


def _width(statement: _Statement) -> Width:
    width = statement.width or "H"
    if width not in ("D", "H"):
        statement.wrong(f"there is no width {width}", "D is the input's, H the hidden one")
    return cast("Width", width)


def _op(statement: _Statement, name: str) -> Op:
    try:
        return op_named(name)
    except UsageError as error:
        statement.wrong(str(error), error.hint)


def _key(statement: _Statement, token: str) -> str:
    """The key that a token `@key` names."""
    try:
        return unquote(token.removeprefix("@"), errors="surrogatepass")
    except UnicodeDecodeError:
        statement.wrong(f"{token!r} is not text in UTF-8", "behind each % stands a byte of it: %C3%A4 is ä")


def _bias(statement: _Statement, token: str) -> tuple[str | None, float | None]:
    start, at, key = token[1:].partition("@")
    return (_key(statement, at + key) if at else None), (float(start) if start else None)


def _hint(kind: str | None) -> str:
    if kind == "bias":
        return "a bias stands in linear(...)"
    if kind == "key":
        return "a key stands in linear(...), once behind each operand"
    return "a formula reads like `mul(v3, tanh(v4))`"
