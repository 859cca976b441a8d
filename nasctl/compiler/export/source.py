"""A cell as Python source: one readable file that needs torch alone."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from keyword import iskeyword
from string import Template
from typing import NamedTuple

from torch import nn

import nasctl
from nasctl.cells.graph import CellGraph, Op, Step
from nasctl.cells.rewrite import canonical, cell_digest, live
from nasctl.errors import UsageError

LONGEST_NAME = 40
"""Characters of a class; a cell with a longer name is called by its digest."""

LINE = 120
INDENT = "    "

SIZES: Mapping[str, str] = {"D": "input", "H": "hidden"}
"""How the file calls the widths."""


class Written(NamedTuple):
    """An expression, in parts so that a long one can be broken: `before`, the terms with `between`, `after`."""

    before: str
    terms: Sequence[str]
    between: str = " + "
    after: str = ""


WRITTEN: Mapping[Op, Callable[[Sequence[str]], Written]] = {
    Op.LINEAR: lambda terms: Written("", terms),
    Op.ADD: lambda args: Written("", args),
    Op.SUB: lambda args: Written("", args, " - "),
    Op.MUL: lambda args: Written("", args, " * "),
    Op.MEAN: lambda args: Written("(", args, after=f") / {len(args)}"),
    Op.BLEND: lambda args: Written("", (f"{args[0]} * {args[1]}", f"(1 - {args[0]}) * {args[2]}")),
    Op.TANH: lambda terms: Written("torch.tanh(", terms, after=")"),
    Op.SIGMOID: lambda terms: Written("torch.sigmoid(", terms, after=")"),
    Op.RELU: lambda terms: Written("torch.relu(", terms, after=")"),
    Op.LEAKY_RELU: lambda terms: Written("nn.functional.leaky_relu(", terms, after=", 0.01)"),
    Op.IDENTITY: lambda terms: Written("", terms),
}
"""Each op in Python, of its args; of one arg that is a linear step read nowhere else, its terms."""


def exported(graph: CellGraph) -> CellGraph:
    """What is exported of a cell: its live steps, without masks, under keys that torch takes as names.

    A mask belongs to training (dropout inside the cell); where a cell is used it is one everywhere. Keys that
    cannot name a parameter give way to the canonical ones. Raises UsageError if a mask does anything but multiply.
    """
    graph = live(graph)
    masks = range(1 + len(graph.states), graph.first_step)

    def number(value: int) -> int:
        return value if value < graph.first_step else value - len(masks)

    refused = "only a mask that multiplies is exported"
    for state, value in enumerate(graph.next_states, 1):
        if value in masks:
            raise UsageError(f"state h{state} of the cell becomes a mask", refused)
    steps = []
    for place, step in enumerate(graph.steps, graph.first_step):
        args = tuple(arg for arg in step.args if arg not in masks)
        if len(args) < len(step.args) and (step.op is not Op.MUL or not args):
            raise UsageError(f"step v{place} ({step.op.label}) of the cell reads a mask", refused)
        steps.append(replace(step, args=tuple(number(arg) for arg in args)))
    plain = CellGraph(graph.states, tuple(steps), tuple(number(value) for value in graph.next_states))
    return plain if all(map(_can_name_a_parameter, (*plain.weights, *plain.biases))) else canonical(plain)


def _can_name_a_parameter(key: str) -> bool:
    return bool(key) and "." not in key and not hasattr(nn.ParameterDict(), key)  # some names are of instances alone


def class_name(name: str, graph: CellGraph) -> str:
    """What the cell's class is called: `enas-24` is Enas24.

    Names that Python cannot take, and those that stand for something else in the file, give way to the digest.
    """
    words = re.findall(r"[A-Za-z0-9]+", name)
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    fits = name.isascii() and joined[:1].isalpha() and len(joined) <= LONGEST_NAME
    free = not iskeyword(joined) and joined not in _names_in_use()
    return joined if fits and free else f"Cell{cell_digest(graph)}"


@cache
def _names_in_use() -> frozenset[str]:
    """What the file reads by name: its imports, its constants, and names of Python's own."""
    tree = ast.parse(_template().substitute(defaultdict(lambda: "_")))
    return frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def _template() -> Template:
    return Template(files(__package__).joinpath("template.txt").read_text("utf-8"))


def source(name: str, graph: CellGraph, origin: str) -> str:
    """The file cell.py of a cell as `exported` gives it; `origin` says in words where the cell comes from."""
    states = state_names(graph)
    said = f" ({plain(origin)})" if origin else ""
    return _template().substitute(
        title=textwrap.fill(f"The recurrent cell {plain(name)}{said}, as a module of torch.", LINE - len('"""')),
        name=plain(name),
        class_name=class_name(name, graph),
        digest=cell_digest(graph),
        version=nasctl.__version__,
        states=_tuple(json.dumps(SIZES[width]) for width in graph.states),
        weights=_literal({key: SIZES[width] for key, width in graph.weights.items()}),
        biases=_literal(graph.biases),
        arguments=", ".join(f"{state}: Tensor" for state in ("x", *states)),
        hx_said="a tensor" if len(states) == 1 else f"a tuple of {len(states)} tensors",
        body=textwrap.indent("\n".join(_body(graph, states)), INDENT),
    )


def state_names(graph: CellGraph) -> tuple[str, ...]:
    """The states as the file calls them: h, or h1, h2 and so on."""
    return ("h",) if len(graph.states) == 1 else tuple(f"h{index}" for index in range(1, len(graph.states) + 1))


def plain(text: str) -> str:
    """The text on one line, without what could end a docstring or a line of Markdown."""
    return " ".join(re.sub(r"[^\w .,;:()/+&'-]", " ", text).split())


def _literal(entries: Mapping[str, object]) -> str:
    lines = [f"{INDENT}{json.dumps(key)}: {json.dumps(value)}," for key, value in entries.items()]
    return "\n".join(["{", *lines, "}"]) if lines else "{}"


def _body(graph: CellGraph, states: Sequence[str]) -> Iterator[str]:
    """The lines of the function `step`: one per step, a linear step in one with the function that alone reads it."""
    names = ["x", *states]
    terms: dict[int, list[str]] = {}
    reads = Counter([*graph.next_states, *(arg for step in graph.steps for arg in step.args)])
    readers = {arg: step for step in graph.steps for arg in step.args}
    for number, step in enumerate(graph.steps, graph.first_step):
        names.append(graph.value_name(number))
        args = [names[arg] for arg in step.args]
        if step.op is Op.LINEAR:
            args = list(_linear(step, args))
            if reads[number] == 1 and number in readers and readers[number].op.value.most == 1:
                terms[number] = args
                continue
        elif step.args[0] in terms:
            args = terms[step.args[0]]
        yield from _lines(names[number], WRITTEN[step.op](args))
    yield f"return {_tuple(names[value] for value in graph.next_states)}"


def _tuple(parts: Iterable[str]) -> str:
    several = list(parts)
    return f"({', '.join(several)}{',' * (len(several) == 1)})"


def _linear(step: Step, args: Sequence[str]) -> Iterator[str]:
    """The terms of a linear step; each product takes a bias along while there are any."""
    biases = [f"w[{json.dumps(bias.key)}]" for bias in step.biases]
    for place, (key, arg) in enumerate(zip(step.weights, args, strict=True)):
        yield f"linear({', '.join([arg, f'w[{json.dumps(key)}]', *biases[place : place + 1]])})"
    yield from biases[len(args) :]


def _lines(name: str, written: Written) -> Iterator[str]:
    line = f"{name} = {written.before}{written.between.join(written.terms)}{written.after}"
    if len(line) + len(INDENT) <= LINE:
        yield line
        return
    yield f"{name} = {written.before or '('}"
    for place, term in enumerate(written.terms):
        yield INDENT + (f"{written.between.lstrip()}{term}" if place else term)
    yield written.after or ")"
