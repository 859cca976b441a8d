"""The ENAS space: trees of N nodes, each with an activation and an earlier node as its parent (Pham et al. 2018, 2.1).

A code is f0, p1, f1, p2, f2, ...: the activation of node 0, then parent and activation of every later node.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from nasctl.cells.enas import enas_cell
from nasctl.cells.graph import CellGraph, Op, Step, op_named
from nasctl.errors import UsageError
from nasctl.spaces.base import Choice, Code, choices_of

ACTIVATIONS = ("tanh", "relu", "identity", "sigmoid")

MOST_NODES = 100
"""Far more than was ever searched, and few enough that `size` and `decode` take no time."""


@dataclass(frozen=True)
class EnasSpace:
    """All ENAS cells of `nodes` nodes; the paper has 6 (MacLaughlin et al. 2020, A.2.1)."""

    nodes: int

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MOST_NODES:
            raise UsageError(f"an ENAS cell of {self.nodes} nodes", f"it has 1 to {MOST_NODES}")

    @property
    def name(self) -> str:
        """Its name in `SPACES`."""
        return "enas"

    def next_choice(self, prefix: Code) -> Choice | None:
        """Activations and parents by turns, 2N - 1 in all."""
        return None if len(prefix) == 2 * self.nodes - 1 else _choice(len(prefix))

    def steps(self) -> tuple[Choice, ...]:
        """The same choices: they depend on the place alone."""
        return tuple(_choice(place) for place in range(2 * self.nodes - 1))

    def decode(self, code: Code) -> CellGraph:
        """The cell with the weight keys `x-0/gate` and `2-5/candidate`; no code is rejected."""
        choices_of(self, code)
        return enas_cell([op_named(name) for name in code[::2]], [int(parent) for parent in code[1::2]])

    def encode(self, graph: CellGraph) -> Code:
        """The code that the weight keys tell; with other keys, nodes are numbered in the order of the graph."""
        nodes = _nodes(graph)
        if len(nodes) != self.nodes:
            raise UsageError(f"the ENAS cell has {len(nodes)} nodes, the space {self.nodes}", f"nodes={len(nodes)}")
        numbers = _told_numbers(nodes) or {node.value: number for number, node in enumerate(nodes)}
        root, *others = sorted(nodes, key=lambda node: numbers[node.value])
        later = [text for node in others for text in (str(numbers[node.carried]), node.activation)]
        return (root.activation, *later)

    def size(self) -> int:
        """4^N (N - 1)!"""
        return math.prod(len(ACTIVATIONS) for _ in range(self.nodes)) * math.factorial(self.nodes - 1)

    def covering_codes(self) -> Iterator[Code]:
        """N - 1 codes that together use every weight key: in the k-th, each node that can has parent k."""
        first, *_ = ACTIVATIONS
        for parent in range(max(1, self.nodes - 1)):
            later = [text for node in range(1, self.nodes) for text in (str(min(parent, node - 1)), first)]
            yield (first, *later)


_ACTIVATION = Choice("op", ACTIVATIONS)


@cache
def _choice(place: int) -> Choice:
    return Choice("edge", tuple(map(str, range((place + 1) // 2)))) if place % 2 else _ACTIVATION


# --- a graph read as ENAS nodes ---------------------------------------------------------------------------------------


class _Node(NamedTuple):
    """The node whose output is `value`, and what it reads and carries on: `carried`, the value 1 (h) for node 0."""

    value: int
    carried: int
    activation: str
    gate: frozenset[str]
    candidate: frozenset[str]


def _not_enas(what: str) -> UsageError:
    return UsageError(
        f"the cell is no ENAS cell: {what}",
        "it is the mean of leaves; node 0 is blend(sigmoid(W·x + W·h + b), f(W·x + W·h + b), h), "
        "every later one blend(sigmoid(W·p), f(W·p), p) of its parent p",
    )


def _nodes(graph: CellGraph) -> tuple[_Node, ...]:
    """The nodes in the order of their values. Raises UsageError naming what no ENAS cell has."""
    if graph.states != ("H",) or graph.masks:
        raise _not_enas(f"it has {len(graph.states)} states and {len(graph.masks)} masks")
    output = graph.next_states[0]
    step = graph.step(output)
    leaves = step.args if step and step.op is Op.MEAN and len(step.args) > 1 else (output,)
    nodes: dict[int, _Node] = {}
    pending = list(leaves)
    while pending:
        value = pending.pop()
        if value not in nodes:
            nodes[value] = node = _node(graph, value)
            pending += [node.carried] if node.carried != 1 else []
    ordered = tuple(nodes[value] for value in sorted(nodes))
    parents = {node.carried for node in ordered}
    if inner := [leaf for leaf in leaves if leaf in parents or leaves.count(leaf) > 1]:
        raise _not_enas(f"{graph.value_name(inner[0])} is averaged, and is a parent or averaged twice")
    if roots := [node for node in ordered if node.carried == 1][1:]:
        raise _not_enas(f"{graph.value_name(roots[0].value)} is a second node 0")
    keys = [key for node in ordered for part in (node.gate, node.candidate) for key in part]
    if tied := [key for key in keys if keys.count(key) > 1]:
        raise _not_enas(f"it uses {tied[0]!r} twice")
    return ordered


def _node(graph: CellGraph, value: int) -> _Node:
    gate, candidate, carried = _step(graph, value, {Op.BLEND}).args
    gated = _step(graph, gate, {Op.SIGMOID})
    activated = _step(graph, candidate, {op_named(name) for name in ACTIVATIONS})
    keys = [_keys(graph, step.args[0], carried) for step in (gated, activated)]
    return _Node(value, carried, activated.op.label, *keys)


def _keys(graph: CellGraph, value: int, carried: int) -> frozenset[str]:
    """The keys, also of biases, of the linear step that makes `value` from what its node carries on."""
    linear = _step(graph, value, {Op.LINEAR})
    reads, biases = ([0, 1], [0.0]) if carried == 1 else ([carried], [])
    if sorted(linear.args) != reads:
        found, right = (" and ".join(map(graph.value_name, values)) for values in (linear.args, reads))
        raise _not_enas(f"{graph.value_name(value)} reads {found} instead of {right}")
    if [bias.start for bias in linear.biases] != biases:
        starts = ", ".join(f"{bias.start:g}" for bias in linear.biases) or "none"
        raise _not_enas(f"{graph.value_name(value)} has other biases (they start at: {starts})")
    return frozenset([*linear.weights, *(bias.key for bias in linear.biases)])


def _step(graph: CellGraph, value: int, ops: Collection[Op]) -> Step:
    step = graph.step(value)
    if step is None or step.op not in ops:
        found = f" ({step.op.label})" if step else ""
        right = " or ".join(sorted(op.label for op in ops))
        raise _not_enas(f"{graph.value_name(value)}{found} stands where {right} would")
    return step


def _told_numbers(nodes: Sequence[_Node]) -> dict[int, int]:
    """The number of the node at each value, told by the keys; nothing where those are not `decode`'s."""
    numbers: dict[int, int] = {}
    for node in nodes:  # a parent before its children
        match = re.fullmatch(r"(?:\d+-)?(\d+)/candidate", min(node.candidate))
        number = int(match[1]) if match else -1
        parent = numbers.get(node.carried, -1)
        keys = [f"{parent}-{number}"] if node.carried != 1 else ["x-0", "h-0", "0"]
        told = [frozenset(f"{key}/{part}" for key in keys) for part in ("gate", "candidate")]
        if [node.gate, node.candidate] != told or number <= parent:
            return {}
        numbers[node.value] = number
    return numbers if sorted(numbers.values()) == list(range(len(nodes))) else {}
