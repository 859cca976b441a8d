"""One form for every spelling of a cell: what is dead goes, order and names of keys become canonical.

Two graphs that differ in the order of their steps, of commuting operands, of their masks and of their states behind
the first, or in the names of their keys, are one cell, and training it from scratch follows one law; `canonical` gives
them one form. Nothing is simplified beyond that: identities and sums of one value stay, equal steps are not merged,
two biases are not one. Every one of these would hide what a code or a person wrote, some change the law, and none is
needed to recognise a cell.

The form is found by refining colours: each value and key starts with what it is, and takes up, sweep by sweep, the
colours of what it reads and of what reads it, until no colour splits. Ties that remain are mostly true symmetries
(equal children of a node), so one of the tied is set apart, whichever, and the sweeps go on. Where a tie is no
symmetry, two spellings may keep two forms; two different cells never share one, since a form is a whole graph.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from nasctl.cells.graph import Bias, CellGraph, Op, Step
from nasctl.cells.text import to_text

DIGEST_LENGTH = 12

MOST_UPDATES = 100_000
"""How many colours may be computed for one cell, about a second of work: a searched cell needs a few thousand."""

_COMMUTING = frozenset(op for op in Op if op.commutes)


def live(graph: CellGraph) -> CellGraph:
    """The graph without what never reaches the output: steps, states behind the first, masks.

    A state is live if the output reads it, or the next value of a live state does; the first state is the output.
    What stays keeps its order and its keys. A graph that is live as a whole is returned as it is.
    """
    alive: set[int] = {0, 1}
    ahead = [graph.next_states[0]]
    while ahead:
        value = ahead.pop()
        if value in alive:
            continue
        alive.add(value)
        step = graph.step(value)
        if step is not None:
            ahead.extend(step.args)
        elif value <= len(graph.states):
            ahead.append(graph.next_states[value - 1])
    if len(alive) == len(graph.widths):
        return graph
    return _in_order(graph, sorted(alive))


def canonical(graph: CellGraph) -> CellGraph:
    """The one form of this cell: live, in canonical order, its keys w1, w2, ... and b1, b2, ... by first use.

    Starts of biases are part of the form; names of keys are not, but which operands share one is.
    """
    return _canonical(graph)


def cell_digest(graph: CellGraph) -> str:
    """Twelve hexadecimal digits of the SHA-256 of the canonical text: what training from scratch depends on."""
    return hashlib.sha256(to_text(canonical(graph)).encode()).hexdigest()[:DIGEST_LENGTH]


def equal(one: CellGraph, other: CellGraph) -> bool:
    """Whether two graphs are one cell, however they are spelled."""
    return canonical(one) == canonical(other)


def canonical_keys(graph: CellGraph) -> dict[str, str]:
    """What each key of the graph's live steps is called in its canonical form."""
    ordered = _ordered(graph)
    weights = {key: f"w{number}" for number, key in enumerate(ordered.weights, 1)}
    return weights | {key: f"b{number}" for number, key in enumerate(ordered.biases, 1)}


@lru_cache(maxsize=4096)
def _canonical(graph: CellGraph) -> CellGraph:
    names = canonical_keys(graph)
    graph = _ordered(graph)
    steps = (
        Step(
            step.op,
            step.args,
            tuple(names[key] for key in step.weights),
            tuple(Bias(names[bias.key], _plain(bias.start)) for bias in step.biases),
        )
        for step in graph.steps
    )
    return replace(graph, steps=tuple(steps))


@lru_cache(maxsize=4096)
def _ordered(graph: CellGraph) -> CellGraph:
    """The live graph in canonical order, with the keys that it came with."""
    graph = live(graph)
    colours = _Colours(graph)
    colours.settle()
    first_mask = 1 + len(graph.states)
    states = sorted(range(2, first_mask), key=colours.values.__getitem__)
    masks = sorted(range(first_mask, graph.first_step), key=colours.values.__getitem__)
    graph = replace(graph, steps=tuple(_sorted(step, colours.operand, colours.bias) for step in graph.steps))
    graph = _in_order(graph, [0, 1, *states, *masks, *_depth_first(graph, [1, *states])])

    def by_number(arg: int, key: str) -> tuple[int, bytes]:
        """A person reads x before h1 before v5."""
        return arg, colours.weights.get(key, b"")

    return replace(graph, steps=tuple(_sorted(step, by_number, colours.bias) for step in graph.steps))


def _in_order(graph: CellGraph, values: Sequence[int]) -> CellGraph:
    """The graph of these values of `graph` alone, numbered as they stand: x, states, masks, steps."""
    number = {value: place for place, value in enumerate(values)}
    states = [value for value in values if 1 <= value <= len(graph.states)]
    masks = [value for value in values if len(graph.states) < value < graph.first_step]
    steps = [step for step in map(graph.step, values) if step is not None]
    return CellGraph(
        tuple(graph.widths[state] for state in states),
        tuple(replace(step, args=tuple(number[arg] for arg in step.args)) for step in steps),
        tuple(number[graph.next_states[state - 1]] for state in states),
        tuple(graph.widths[mask] for mask in masks),
    )


def _depth_first(graph: CellGraph, states: Iterable[int]) -> list[int]:
    """The steps in the order in which the states' next values need them: what belongs together stands together."""
    order: dict[int, None] = {}
    for state in states:
        opened = [(value := graph.next_states[state - 1], _reads(graph, value))]
        while opened:
            value, reads = opened[-1]
            ahead = next((arg for arg in reads if arg >= graph.first_step and arg not in order), None)
            if ahead is not None:
                opened.append((ahead, _reads(graph, ahead)))
                continue
            opened.pop()
            if value >= graph.first_step:
                order[value] = None
    return list(order)


def _reads(graph: CellGraph, value: int) -> Iterator[int]:
    step = graph.step(value)
    return iter(() if step is None else step.args)


def _sorted(step: Step, operand: Callable[[int, str], Any], bias: Callable[[Bias], bytes]) -> Step:
    """The step with its operands and biases sorted, where their order is of no account."""
    if step.op not in _COMMUTING:
        return step
    keys = step.weights or ("",) * len(step.args)
    pairs = sorted(zip(step.args, keys, strict=True), key=lambda pair: operand(*pair))
    return Step(
        step.op,
        tuple(arg for arg, _ in pairs),
        tuple(key for _, key in pairs) if step.weights else (),
        tuple(sorted(step.biases, key=bias)),
    )


class _Colours:
    """A colour for every value and key of a live graph: equal colours so far look alike from everywhere.

    A colour is eight bytes made of what it stands for alone, never of an order or a name, so it means the same in
    every spelling of the cell.
    """

    def __init__(self, graph: CellGraph) -> None:
        self.next_states = graph.next_states
        self.steps = [
            (number, step, step.op in _COMMUTING) for number, step in enumerate(graph.steps, graph.first_step)
        ]
        self.depths = [0] * graph.first_step
        for step in graph.steps:
            self.depths.append(1 + max(self.depths[arg] for arg in step.args))
        given = [
            "x",
            *(f"state {width} {index == 0}" for index, width in enumerate(graph.states)),
            *(f"mask {width}" for width in graph.masks),
        ]
        self.values = {number: _named(name) for number, name in enumerate(given)}
        self.values |= {number: _named(step.op.label) for number, step, _ in self.steps}
        self.weights = {key: _named(f"weight {width}") for key, width in graph.weights.items()}
        self.biases = {key: _named(f"bias {_plain(start)!r}") for key, start in graph.biases.items()}

    def settle(self) -> None:
        """Refine until all colours differ; set one of the tied apart where refining no longer helps."""
        everything = len(self.values) + len(self.weights) + len(self.biases)
        known = updates = 0
        while (now := self._count()) < everything and updates < MOST_UPDATES:
            if now == known:
                self._set_one_apart()
            known = now
            self._sweep()
            updates += everything

    def operand(self, arg: int, key: str) -> tuple[int, bytes, bytes]:
        """When an operand is computed among those that commute: the deepest first, so that the others stay near."""
        return -self.depths[arg], self.values[arg], self.weights.get(key, b"")

    def bias(self, bias: Bias) -> bytes:
        """Where a bias stands among those of its step."""
        return self.biases[bias.key]

    def _count(self) -> int:
        return sum(len(set(colours.values())) for colours in (self.values, self.weights, self.biases))

    def _set_one_apart(self) -> None:
        """Give one of those that share the smallest tied colour a colour of its own; values first, then keys."""
        tables: tuple[dict[Any, bytes], ...] = (self.values, self.weights, self.biases)
        for table in tables:
            tied = [colour for colour, times in Counter(table.values()).items() if times > 1]
            if tied:
                smallest = min(tied)
                name = next(name for name, colour in table.items() if colour == smallest)
                table[name] = _mixed(smallest, _named("apart"))
                return

    def _sweep(self) -> None:
        """Carry colours down the program, over to the states, back up to what is read, and out to the keys.

        A value is coloured when all that it reads (or all that reads it) has been, so one sweep crosses any depth.
        """
        value, weight, bias = self.values, self.weights, self.biases
        for number, step, commutes in self.steps:
            read = [value[arg] + weight[key] for arg, key in zip(step.args, step.weights, strict=False)]
            read = read or [value[arg] for arg in step.args]
            if commutes:
                read.sort()
            value[number] = _mixed(value[number], *read, b"+", *sorted([bias[each.key] for each in step.biases]))
        uses: list[list[bytes]] = [[] for _ in value]
        before = [value[becomes] for becomes in self.next_states]
        for state, becomes in enumerate(self.next_states, 1):
            value[state] = _mixed(value[state], before[state - 1])
            uses[becomes].append(value[state] + b"next")
        for number, step, commutes in reversed(self.steps):
            value[number] = own = _mixed(value[number], *sorted(uses[number]))
            for place, arg in enumerate(step.args):
                role = weight[step.weights[place]] if step.weights else b"" if commutes else b"%d" % place
                uses[arg].append(own + role)
        for number in range(len(value) - len(self.steps)):
            value[number] = _mixed(value[number], *sorted(uses[number]))
        self._sweep_keys()

    def _sweep_keys(self) -> None:
        of_weight: defaultdict[str, list[bytes]] = defaultdict(list)
        of_bias: defaultdict[str, list[bytes]] = defaultdict(list)
        for number, step, _ in self.steps:
            for arg, key in zip(step.args, step.weights, strict=False):
                of_weight[key].append(self.values[number] + self.values[arg])
            for bias in step.biases:
                of_bias[bias.key].append(self.values[number])
        self.weights = {key: _mixed(self.weights[key], *sorted(seen)) for key, seen in of_weight.items()}
        self.biases = {key: _mixed(self.biases[key], *sorted(seen)) for key, seen in of_bias.items()}


def _named(what: str) -> bytes:
    return _mixed(what.encode())


def _mixed(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=8).digest()


def _plain(start: float) -> float:
    """Without the sign of zero: both start a bias at the same value."""
    return float(start) + 0.0
