"""A cell as a picture: Mermaid for a README, DOT for Graphviz, SVG and PNG through its program `dot`.

The step of time runs upwards: x and the previous states stand at the bottom, the next states at the top. What is live
is drawn, in canonical order. A linear step that one activation alone reads is drawn as one node with it, and a gate
and a candidate that are blended or multiplied as one block, so that an ENAS cell looks like the tree that it is.
Thin lines pass a matrix, thick ones carry a value as it is, and double ones do both; biases are not drawn, unless they
start at another value than 0.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from nasctl.cells.graph import CellGraph, Op, Step
from nasctl.cells.rewrite import canonical
from nasctl.errors import MachineError, UsageError, nearest

FORMATS: Mapping[str, tuple[str, ...]] = {"svg": ("-Tsvg",), "png": ("-Tpng", "-Gdpi=160")}
"""What kinds of pictures there are, and how `dot` is asked for one."""

LIMIT_SECONDS = 60
"""How long `dot` may take for one picture."""


class _Look(NamedTuple):
    fill: str
    line: str
    ink: str


_LOOKS: Mapping[str, _Look] = {
    "input": _Look("#eef1f6", "#97a1b3", "#2b3240"),
    "state": _Look("#34435e", "#34435e", "#ffffff"),
    "mask": _Look("#f8f3df", "#bfae62", "#4d4318"),
    "linear": _Look("#ffffff", "#97a1b3", "#2b3240"),
    "gate": _Look("#fdecd6", "#dba05a", "#5b3a0c"),
    "activation": _Look("#deecfb", "#6d9ed1", "#173a5e"),
    "combination": _Look("#e5f3e3", "#7bb673", "#1f4719"),
}
_MATRIX, _CARRY = "#97a1b3", "#34435e"


class _Mark(NamedTuple):
    """What stands in a node, or in a part of one."""

    text: str
    look: str


@dataclass(frozen=True)
class _Node:
    """A block has parts: the activations that it combines, by the value that each computes."""

    name: str
    mark: _Mark
    parts: Mapping[int, _Mark]


class _Edge(NamedTuple):
    """From node to node, or to the part of a block: through a matrix, as it is, or both."""

    source: str
    target: str
    part: int | None
    matrix: bool
    carry: bool
    text: str


@dataclass(frozen=True)
class _Picture:
    bottom: tuple[_Node, ...]
    middle: tuple[_Node, ...]
    top: tuple[_Node, ...]
    edges: tuple[_Edge, ...]


def to_dot(graph: CellGraph, title: str = "") -> str:
    """The picture in Graphviz's language."""
    return "\n".join(_dot_lines(_picture(graph), " ".join(title.split()))) + "\n"


def to_mermaid(graph: CellGraph, title: str = "") -> str:
    """The picture in Mermaid's language, which GitHub, GitLab and many editors show."""
    return "\n".join(_mermaid_lines(_picture(graph), " ".join(title.split()))) + "\n"


def to_picture(graph: CellGraph, kind: str, title: str = "") -> str | bytes:
    """The picture as SVG (text) or PNG (bytes), drawn by Graphviz.

    Raises UsageError for another kind, MachineError where Graphviz is missing or fails.
    """
    if kind not in FORMATS:
        raise UsageError(f"a cell cannot be drawn as {kind!r}", nearest(kind, FORMATS))
    program = shutil.which("dot")
    if program is None:
        hint = "install it (`apt install graphviz`, `brew install graphviz`), or take Mermaid, which needs nothing"
        raise MachineError("a picture of a cell is drawn by Graphviz, and its program `dot` is not there", hint)
    command = [program, *FORMATS[kind]]
    text = to_dot(graph, title)
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        what = f"Graphviz drew for {LIMIT_SECONDS} seconds and was not done"
        raise MachineError(what, f"a cell of {len(graph.steps)} steps is better drawn as Mermaid") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise MachineError(f"Graphviz could not draw the cell: {said}", "`dot -V` says which Graphviz this is")
    return done.stdout.decode() if kind == "svg" else done.stdout


# --- what is drawn ----------------------------------------------------------------------------------------------------


def _picture(graph: CellGraph) -> _Picture:
    graph = canonical(graph)
    hosts = _hosts(graph)
    numbered = list(enumerate(graph.steps, graph.first_step))
    marks = {value: _mark(graph, value, hosts) for value, _ in numbered}
    parts: defaultdict[int, dict[int, _Mark]] = defaultdict(dict)
    for value, step in numbered:
        if value in hosts and step.op is not Op.LINEAR:
            parts[hosts[value]][value] = marks[value]
    middle = [_Node(graph.value_name(value), marks[value], parts[value]) for value, _ in numbered if value not in hosts]
    edges = [*_edges(graph, hosts, parts)]
    top = []
    for state, value in enumerate(graph.next_states, 1):
        top.append(_Node(f"next{state}", _Mark(f"next h{state}", "state"), {}))
        edges.append(_Edge(graph.value_name(value), f"next{state}", None, matrix=False, carry=True, text=""))
    read = {edge.source for edge in edges}
    names = [graph.value_name(value) for value in range(graph.first_step)]
    looks = {"x": "input", "h": "state", "m": "mask"}
    bottom = [_Node(name, _Mark(name, looks[name[0]]), {}) for name in names if name in read]
    return _Picture(tuple(bottom), tuple(middle), tuple(top), tuple(edges))


def _hosts(graph: CellGraph) -> dict[int, int]:
    """Which value is drawn within another: a linear step in its activation, gate and candidate in what joins them."""
    numbered = list(enumerate(graph.steps, graph.first_step))
    uses = Counter([*graph.next_states, *(arg for step in graph.steps for arg in step.args)])
    hosts: dict[int, int] = {}
    activated: set[int] = set()
    for value, step in numbered:
        read = [arg for arg in step.args if uses[arg] == 1]
        if _is_activation(step) and read and (inner := graph.step(read[0])) is not None and inner.op is Op.LINEAR:
            hosts[read[0]] = value
            activated.add(value)
        pair = [arg for arg in read if arg in activated]
        joins = step.op is Op.BLEND or (step.op is Op.MUL and len(step.args) == 2)
        if joins and len(pair) == 2:
            hosts |= dict.fromkeys(pair, value)
    return hosts


def _is_activation(step: Step) -> bool:
    return step.op.value.most == 1


def _mark(graph: CellGraph, value: int, hosts: Mapping[int, int]) -> _Mark:
    """The op's name, and what its biases start at where that is not 0."""
    step = graph.steps[value - graph.first_step]
    inner = graph.step(step.args[0]) if hosts.get(step.args[0]) == value else None
    biases = step.biases if inner is None or inner.op is not Op.LINEAR else inner.biases
    starts = "".join(f" {bias.start:+g}" for bias in biases if bias.start)
    look = "combination"
    if step.op is Op.LINEAR:
        look = "linear"
    elif _is_activation(step):
        host = graph.step(hosts.get(value, 0))
        gates = step.op is Op.SIGMOID if host is None or host.op is not Op.BLEND else host.args[0] == value
        look = "gate" if gates else "activation"
    return _Mark(step.op.label.replace("_", " ") + starts, look)


def _edges(graph: CellGraph, hosts: Mapping[int, int], parts: Mapping[int, Mapping[int, _Mark]]) -> Iterator[_Edge]:
    """One line per pair of nodes where one can say it all; a block is reached as a whole where both parts read."""
    keys = Counter(key for step in graph.steps for key in step.weights)
    matrices: defaultdict[tuple[int, int], dict[int, list[str]]] = defaultdict(dict)
    carries: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    for value, step in enumerate(graph.steps, graph.first_step):
        part = hosts.get(value, value) if step.op is Op.LINEAR else value
        target = hosts.get(part, part)
        for place, arg in enumerate(step.args):
            if hosts.get(arg) == value:
                continue
            if step.op is Op.LINEAR:
                key = step.weights[place]
                matrices[arg, target].setdefault(part, []).append(key if keys[key] > 1 else "")
            elif part != target:
                matrices[arg, target].setdefault(part, [])
            else:
                carries[arg, target].append(_role(step, place, in_block=bool(parts.get(value))))
    for pair in dict.fromkeys((*matrices, *carries)):
        ends = graph.value_name(pair[0]), graph.value_name(pair[1])
        reached = matrices.get(pair, {})
        whole = not parts.get(pair[1]) or len(reached) == len(parts[pair[1]])
        carried = carries.get(pair, [])
        roles = ", ".join(role for role in carried if role) or (f"{len(carried)} times" if len(carried) > 1 else "")
        if whole:
            names = sorted({name for each in reached.values() for name in each if name})
            yield _Edge(*ends, None, bool(reached), bool(carried), ", ".join([*names, roles] if roles else names))
            continue
        for part, each in reached.items():
            yield _Edge(*ends, part, True, False, ", ".join(sorted({name for name in each if name})))
        if carried:
            yield _Edge(*ends, None, False, True, roles)


def _role(step: Step, place: int, *, in_block: bool) -> str:
    """What an operand is called in the op's formula where its place counts; a block's gate opens to its candidate."""
    if step.op is Op.SUB:
        return "ab"[place]
    if step.op is Op.BLEND and not (in_block and place == 2):
        return "zab"[place]
    return ""


# --- Graphviz ---------------------------------------------------------------------------------------------------------


def _dot_lines(picture: _Picture, title: str) -> Iterator[str]:
    yield "digraph cell {"
    yield '  graph [rankdir=BT, nodesep=0.32, ranksep=0.46, pad=0.2, bgcolor="white", labelloc=t, fontsize=15,'
    yield f'    fontname="Helvetica,Arial,sans-serif", fontcolor="{_CARRY}", label={_quoted(title)}];'
    yield '  node [shape=box, style="rounded,filled", fontname="Helvetica,Arial,sans-serif", fontsize=12, height=0.34,'
    yield '    margin="0.14,0.05", penwidth=1.1];'
    yield '  edge [arrowsize=0.6, fontname="Helvetica,Arial,sans-serif", fontsize=9];'
    for rank, nodes in (("source", picture.bottom), ("", picture.middle), ("sink", picture.top)):
        lines = [f"  {node.name} [{_dot_look(node)}];" for node in nodes]
        yield from ([f"  {{ rank={rank};", *lines, "  }"] if rank and lines else lines)
    for edge in picture.edges:
        port = "" if edge.part is None else f":p{edge.part}"
        ink = f"{_CARRY}:{_MATRIX}" if edge.matrix and edge.carry else _MATRIX if edge.matrix else _CARRY
        width = "1.1" if edge.matrix else "1.7"
        text = f", label={_quoted(edge.text)}" if edge.text else ""
        yield f'  {edge.source} -> {edge.target}{port} [color="{ink}", penwidth={width}{text}];'
    yield "}"


def _dot_look(node: _Node) -> str:
    fill, line, ink = _LOOKS[node.mark.look]
    if not node.parts:
        return f'label={_quoted(node.mark.text)}, fillcolor="{fill}", color="{line}", fontcolor="{ink}"'
    cells = "".join(_dot_cell(mark, f' PORT="p{value}"') for value, mark in node.parts.items())
    whole = _dot_cell(node.mark, f' COLSPAN="{len(node.parts)}"')
    table = f'<TABLE BORDER="0" CELLBORDER="1" CELLSPACING="2" CELLPADDING="5"><TR>{whole}</TR><TR>{cells}</TR></TABLE>'
    return f'shape=plain, style="", label=<{table}>'


def _dot_cell(mark: _Mark, place: str) -> str:
    fill, line, ink = _LOOKS[mark.look]
    text = f'<FONT COLOR="{ink}">{escape(mark.text)}</FONT>'
    return f'<TD{place} BGCOLOR="{fill}" COLOR="{line}" STYLE="ROUNDED">{text}</TD>'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# --- Mermaid ----------------------------------------------------------------------------------------------------------


def _mermaid_lines(picture: _Picture, title: str) -> Iterator[str]:
    if title:
        yield from ("---", f"title: {json.dumps(title)}", "---")
    yield "flowchart BT"
    for node in (*picture.bottom, *picture.middle, *picture.top):
        marks = " | ".join(mark.text for mark in node.parts.values())
        text = f"{node.mark.text}<br/>{marks}" if marks else node.mark.text
        left, right = ("([", "])") if node.mark.look in {"input", "state", "mask"} else ("(", ")")
        yield f'  {node.name}{left}"{text}"{right}:::{node.mark.look}'
    for edge in picture.edges:
        text = f"|{_mermaid_text(edge.text)}|" if edge.text else ""
        if edge.matrix:
            yield f"  {edge.source} -->{text} {edge.target}"
        if edge.carry:
            yield f"  {edge.source} ==>{'' if edge.matrix else text} {edge.target}"
    used = {node.mark.look for node in (*picture.bottom, *picture.middle, *picture.top)}
    for name, look in _LOOKS.items():
        if name in used:
            yield f"  classDef {name} fill:{look.fill},stroke:{look.line},color:{look.ink}"


def _mermaid_text(text: str) -> str:
    """Characters that Mermaid reads as its own stand as their numbers."""
    return "".join(each if each.isalnum() or each in " ," else f"#{ord(each)};" for each in text)
