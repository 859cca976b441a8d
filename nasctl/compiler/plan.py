"""From a cell to a plan: which products and pointwise operations run when, and where every value stands.

A plan has two parts. What depends on the input alone is computed for all time steps at once (`hoisted`); the rest runs
once per time step (`loop`), in waves: every product whose source is known, then every pointwise operation that can run.
All linear steps that read one value are one product, and neighbouring steps of one kind are one operation, because
their values stand side by side. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from nasctl.cells.graph import CellGraph, Op, Step
from nasctl.cells.rewrite import live

ACTIVATIONS = frozenset({Op.TANH, Op.SIGMOID, Op.RELU, Op.LEAKY_RELU})
"""Ops whose derivative follows from their output, so that they may overwrite what they read."""


class Room(Enum):
    """Where values stand: blocks of columns, one row per token (a mask: one row per sequence).

    LINEAR holds what products write (and what an activation makes of it in place) and everything hoisted; its gradients
    outlive the time loop. LOCAL holds the other values of a time step; their gradients do not. NARROW is for values of
    the input's width. BEFORE and AFTER are the states around a time step, one block each.
    """

    INPUT = "input"
    BEFORE = "before"
    AFTER = "after"
    MASK = "mask"
    LINEAR = "linear"
    LOCAL = "local"
    NARROW = "narrow"


APART = frozenset({Room.INPUT, Room.BEFORE, Room.AFTER, Room.MASK})
"""Rooms whose blocks are tensors of their own: no span holds two."""


@dataclass(frozen=True)
class Span:
    """`count` neighbouring blocks of a room."""

    room: Room
    first: int
    count: int = 1

    def apart(self) -> tuple[Span, ...]:
        """Each block by itself."""
        return tuple(Span(self.room, self.first + i) for i in range(self.count))


@dataclass(frozen=True)
class Product:
    """`into` (LINEAR) becomes, or grows by, the value at `source` times one matrix per block.

    `accumulate` is false for the first to write; then `biases` holds the bias keys of each block, to be added.
    """

    source: Span
    into: Span
    weights: tuple[str, ...]
    accumulate: bool
    biases: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Pointwise:
    """`out` = op(args), block by block; an arg of one block serves all of them. `out` may be an arg: in place."""

    op: Op
    out: Span
    args: tuple[Span, ...]


@dataclass(frozen=True)
class Sum:
    """One block `out` = `scale` times the sum of all blocks of `args`."""

    out: Span
    args: tuple[Span, ...]
    scale: float


@dataclass(frozen=True)
class Fill:
    """`into` (LINEAR) starts at its biases, because no hoisted product does it."""

    into: Span
    biases: tuple[tuple[str, ...], ...]


Action = Product | Pointwise | Sum | Fill


@dataclass(frozen=True)
class Plan:
    """What runs, and how many blocks each room has. `levels` is the number of products that wait for one another."""

    graph: CellGraph
    hoisted: tuple[Action, ...]
    loop: tuple[Action, ...]
    blocks: dict[Room, int]
    levels: int


@lru_cache(maxsize=4096)
def plan(graph: CellGraph) -> Plan:
    """The plan of a cell; its dead steps are left out."""
    return _Planner(live(graph)).plan()


class _Planner:
    """Working memory of one planning: what reads what, where values stand so far, and what is emitted."""

    def __init__(self, graph: CellGraph) -> None:
        self.graph = graph
        self.alias = _aliases(graph)
        self.steps = {
            number: step for number, step in enumerate(graph.steps, graph.first_step) if self.alias[number] == number
        }
        self.readers: dict[int, list[int]] = {}
        for number, step in self.steps.items():
            for arg in self.args(step):
                self.readers.setdefault(arg, []).append(number)
        self.hoisted = self._hoisted()
        self.wave = self._waves()
        self.next = [self.alias[value] for value in graph.next_states]
        self.places: dict[int, Span] = {0: Span(Room.INPUT, 0)}
        for index in range(len(graph.states)):
            self.places[1 + index] = Span(Room.BEFORE, index)
        for index in range(len(graph.masks)):
            self.places[1 + len(graph.states) + index] = Span(Room.MASK, index)
        self.blocks = dict.fromkeys(Room, 0)
        self.multiplied: set[int] = set()  # values whose products are emitted
        self.written: set[int] = set()  # linear steps that have a first product, or a fill, behind them

    def args(self, step: Step) -> tuple[int, ...]:
        return tuple(self.alias[arg] for arg in step.args)

    def plan(self) -> Plan:
        self._place_linears()
        self._place_states()
        hoisted = list(self._schedule(self.hoisted, {0}))
        hoisted += self._fills()
        loop = [number for number in self.steps if number not in self.hoisted]
        known = {0, *range(1, self.graph.first_step), *self.hoisted}
        acts = [*self._schedule(loop, known), *self._carried()]
        levels = max((self.wave[n] for n in self.steps if n not in self.hoisted), default=0)
        return Plan(self.graph, tuple(hoisted), tuple(acts), self.blocks, levels)

    # --- what is known before anything is placed ---

    def _hoisted(self) -> set[int]:
        """The steps that depend on the input alone."""
        found = {0}
        for number, step in self.steps.items():
            if all(arg in found for arg in self.args(step)):
                found.add(number)
        return found - {0}

    def _waves(self) -> dict[int, int]:
        """How many products in the time loop stand before each value."""
        wave = dict.fromkeys(range(self.graph.first_step), 0)
        for number, step in self.steps.items():
            args = self.args(step)
            waits = step.op is Op.LINEAR and any(arg != 0 and arg not in self.hoisted for arg in args)
            wave[number] = max(wave[arg] for arg in args) + waits
        return wave

    def _in_place(self, number: int) -> int | None:
        """The activation that overwrites this linear step: its only reader, if that makes no state of it."""
        readers = self.readers.get(number, [])
        if len(readers) != 1 or number in self.next or self.steps[readers[0]].op not in ACTIVATIONS:
            return None
        return None if readers[0] in self.next and readers[0] not in self.hoisted else readers[0]

    # --- where values stand ---

    def _place_linears(self) -> None:
        """Linear steps side by side: by wave, by what they read, and by their part in what reads them.

        So all gates of one parent are neighbours, in the order of their nodes' activations, and so are the candidates.
        """
        linears = [number for number, step in self.steps.items() if step.op is Op.LINEAR]
        signature = {number: self._signature(number) for number in self.steps}

        def key(number: int) -> tuple[object, ...]:
            sources = tuple(sorted({a for a in self.args(self.steps[number]) if a and a not in self.hoisted}))
            acted = self._in_place(number) or number
            reader = min(self.readers.get(acted, [acted]))
            position = (*self.args(self.steps[reader]), acted).index(acted)
            return (number not in self.hoisted, self.wave[number], sources, *signature[reader][:1], position,
                    signature[reader], reader, number)  # fmt: skip

        for number in sorted(linears, key=key):
            self.places[number] = self._new(Room.LINEAR)
            if (acted := self._in_place(number)) is not None:
                self.places[acted] = self.places[number]

    def _signature(self, number: int) -> tuple[str, ...]:
        """The op of a step, then those of what it reads: steps of one signature shall be neighbours.

        Sigmoids come first, because gates do: then candidates with a sigmoid continue the run of their gates.
        """
        read = [self.steps[arg].op.label if arg in self.steps else "" for arg in self.args(self.steps[number])]
        return (self.steps[number].op.label, *("" if label == Op.SIGMOID.label else label for label in read))

    def _place_states(self) -> None:
        """A step of the loop that becomes a state is written where the state stands, if nothing else is."""
        for index, value in enumerate(self.next):
            if value in self.steps and value not in self.hoisted and value not in self.places:
                self.places[value] = Span(Room.AFTER, index)

    def _new(self, room: Room) -> Span:
        self.blocks[room] += 1
        return Span(room, self.blocks[room] - 1)

    def _place(self, number: int) -> Span:
        if number not in self.places:
            if self.graph.widths[number] == "D":
                room = Room.NARROW
            else:
                room = Room.LINEAR if number in self.hoisted else Room.LOCAL
            self.places[number] = self._new(room)
        return self.places[number]

    # --- what runs ---

    def _schedule(self, numbers: Iterable[int], known: set[int]) -> Iterator[Action]:
        """The actions that compute these steps from known values, in waves."""
        known, waiting = set(known), sorted(numbers)
        while True:
            for source in sorted(known - self.multiplied):
                self.multiplied.add(source)
                yield from self._products(source)
            if not waiting:
                return
            ready = [number for number in waiting if self._ready(number, known)]
            known.update(ready)
            waiting = [number for number in waiting if number not in known]
            yield from self._pointwise(number for number in ready if self.steps[number].op is not Op.LINEAR)

    def _ready(self, number: int, known: set[int]) -> bool:
        step = self.steps[number]
        return set(self.args(step)) <= (self.multiplied if step.op is Op.LINEAR else known)

    def _products(self, source: int) -> Iterator[Product]:
        """Every product that reads this value, as few and wide as the places of the linear steps allow."""
        entries: list[tuple[int, int, str, int]] = []  # how often this step read it before, block, key, step
        for number in sorted(set(self.readers.get(source, ()))):
            step = self.steps[number]
            if step.op is Op.LINEAR:
                keys = [key for arg, key in zip(self.args(step), step.weights, strict=True) if arg == source]
                entries += [(i, self.places[number].first, key, number) for i, key in enumerate(keys)]
        entries.sort()
        runs: list[list[tuple[int, int, str, int]]] = []
        for entry in entries:
            last = runs[-1][-1] if runs else None
            joins = last is not None and entry[0] == last[0] and entry[1] == last[1] + 1
            if joins and last is not None and (entry[3] in self.written) == (last[3] in self.written):
                runs[-1].append(entry)
            else:
                runs.append([entry])
        for run in runs:
            steps = [self.steps[number] for *_, number in run]
            accumulate = run[0][3] in self.written or run[0][0] > 0
            yield Product(
                source=self.places[source],
                into=Span(Room.LINEAR, run[0][1], len(run)),
                weights=tuple(key for _, _, key, _ in run),
                accumulate=accumulate,
                biases=() if accumulate else tuple(tuple(b.key for b in step.biases) for step in steps),
            )
        self.written.update(number for *_, number in entries)

    def _fills(self) -> Iterator[Fill]:
        """Biases of linear steps in the loop that no hoisted product has written."""
        for number, step in self.steps.items():
            if step.op is Op.LINEAR and step.biases and number not in self.written:
                self.written.add(number)
                yield Fill(self.places[number], (tuple(bias.key for bias in step.biases),))

    def _pointwise(self, ready: Iterable[int]) -> Iterator[Action]:
        """The pointwise steps that can run now: those of one kind side by side are one action."""
        runs: list[Pointwise] = []
        for number in sorted(ready, key=self._order):
            step = self.steps[number]
            args = self.args(step)
            if step.op in {Op.ADD, Op.MEAN}:
                scale = 1.0 / len(args) if step.op is Op.MEAN else 1.0
                yield Sum(self._place(number), _stacks(self.places[arg] for arg in args), scale)
                continue
            out, spans = self._place(number), tuple(self.places[arg] for arg in args)
            joined = _joined(runs[-1], step.op, out, spans) if runs else None
            if joined is None:
                runs.append(Pointwise(step.op, out, spans))
            else:
                runs[-1] = joined
        yield from runs

    def _order(self, number: int) -> tuple[object, ...]:
        """Steps of one op next to each other, in the order of the blocks that they read or are placed in."""
        places = [self.places[arg] for arg in self.args(self.steps[number])]
        return (self.steps[number].op.label, [(place.room.value, place.first) for place in places], number)

    def _carried(self) -> Iterator[Pointwise]:
        """States that are no step of their own in the loop: copied."""
        for index, value in enumerate(self.next):
            if self.places[value] != Span(Room.AFTER, index):
                yield Pointwise(Op.IDENTITY, Span(Room.AFTER, index), (self.places[value],))


def _aliases(graph: CellGraph) -> list[int]:
    """For every value the one that it equals: an identity, and a sum, product or mean of one value, cost nothing."""
    alias = list(range(len(graph.widths)))
    for number, step in enumerate(graph.steps, graph.first_step):
        if len(step.args) == 1 and step.op in {Op.IDENTITY, Op.ADD, Op.MUL, Op.MEAN}:
            alias[number] = alias[step.args[0]]
    return alias


def _stacks(places: Iterable[Span]) -> tuple[Span, ...]:
    """The same blocks, neighbours joined."""
    stacks: list[Span] = []
    for place in sorted(places, key=lambda span: (span.room.value, span.first)):
        last = stacks[-1] if stacks else None
        joins = last is not None and last.room is place.room and place.first == last.first + last.count
        if joins and last is not None and place.room not in APART:
            stacks[-1] = Span(last.room, last.first, last.count + 1)
        else:
            stacks.append(place)
    return tuple(stacks)


def _joined(run: Pointwise, op: Op, out: Span, args: tuple[Span, ...]) -> Pointwise | None:
    """The run with one more step, if that continues it: every arg by its next block, or by the one block of all."""
    if run.op is not op or len(run.args) != len(args) or out.room in APART:
        return None
    if run.out.room is not out.room or run.out.first + run.out.count != out.first:
        return None
    count, wider = run.out.count, []
    for before, arg in zip(run.args, args, strict=True):
        if before == arg and (count == 1 or before.count == 1):
            wider.append(before)
        elif (before.room, before.count, before.first + count) == (
            arg.room,
            count,
            arg.first,
        ) and arg.room not in APART:
            wider.append(Span(before.room, before.first, count + 1))
        else:
            return None
    if all(arg.count == 1 for arg in wider):
        return None  # equal steps: no arg would be as wide as what they make
    return Pointwise(op, Span(out.room, run.out.first, count + 1), tuple(wider))
