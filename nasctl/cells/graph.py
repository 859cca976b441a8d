"""A recurrent cell as data: a straight-line program that is run once per time step.

Letters: D input width, H hidden width. The program's values are numbered: 0 is the input x, then the previous states,
then the masks, then the steps in their order. A step reads smaller numbers only, so a cycle cannot be written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Literal, NamedTuple

from nasctl.errors import UsageError, nearest

Width = Literal["D", "H"]

MOST_STEPS = 10_000
"""What a cell that comes from a file may hold at most."""


class Form(NamedTuple):
    """An op's name, how few and how many values it reads (None: any number), and what it computes of them."""

    name: str
    least: int
    most: int | None
    formula: str


class Op(Enum):
    """What a step can compute. A new op is one row here and one row in the table of each backend."""

    LINEAR = Form("linear", 1, None, "W1·a1 + W2·a2 + ... + b1 + ...")
    ADD = Form("add", 1, None, "a1 + a2 + ...")
    SUB = Form("sub", 2, 2, "a - b")
    MUL = Form("mul", 1, None, "a1 · a2 · ..., elementwise")
    MEAN = Form("mean", 1, None, "(a1 + a2 + ...) / their number")
    BLEND = Form("blend", 3, 3, "z·a + (1 - z)·b, elementwise")
    TANH = Form("tanh", 1, 1, "tanh(a)")
    SIGMOID = Form("sigmoid", 1, 1, "1 / (1 + exp(-a))")
    RELU = Form("relu", 1, 1, "max(a, 0)")
    LEAKY_RELU = Form("leaky_relu", 1, 1, "max(a, 0) + 0.01·min(a, 0)")
    IDENTITY = Form("identity", 1, 1, "a")

    @property
    def label(self) -> str:
        """The name in notations and tables."""
        return self.value.name

    @property
    def commutes(self) -> bool:
        """Whether the order of what it reads is of no account."""
        return self in COMMUTING


COMMUTING = frozenset({Op.LINEAR, Op.ADD, Op.MUL, Op.MEAN})

OPS: Mapping[str, Op] = {op.label: op for op in Op}


def op_named(name: str) -> Op:
    """The op of this name. Raises UsageError with the nearest ones."""
    if name not in OPS:
        raise UsageError(f"there is no op {name!r}", nearest(name, OPS))
    return OPS[name]


@dataclass(frozen=True)
class Bias:
    """A bias vector [H]: its key, and the value it starts at (an LSTM's forget gate: 1)."""

    key: str
    start: float = 0.0


@dataclass(frozen=True)
class Step:
    """One operation on earlier values.

    A linear step has one weight key per value it reads, naming the matrix [H, width of the value] that multiplies it,
    and any number of biases; the same key anywhere is the same matrix. Other steps have neither.
    """

    op: Op
    args: tuple[int, ...]
    weights: tuple[str, ...] = ()
    biases: tuple[Bias, ...] = ()


@dataclass(frozen=True)
class CellGraph:
    """A recurrent cell. `next_states[0]` is its output too, and has width H.

    `states` and `masks` hold a width per value: a state that delays the input has width D. A mask is the same at every
    time step of a row and is not learned (variational dropout inside the cell). Raises UsageError, naming the step,
    for anything that is no cell.
    """

    states: tuple[Width, ...]
    steps: tuple[Step, ...]
    next_states: tuple[int, ...]
    masks: tuple[Width, ...] = ()

    def __post_init__(self) -> None:
        if not self.states:
            raise UsageError("a cell without a state is not recurrent", "give it one state at least")
        if len(self.steps) > MOST_STEPS:
            raise UsageError(f"a cell of {len(self.steps)} steps", f"at most {MOST_STEPS}")
        known: list[Width] = ["D", *self.states, *self.masks]
        for number, step in enumerate(self.steps, self.first_step):
            self._check_step(number, step, known)
            known.append("H" if step.op is Op.LINEAR else known[step.args[0]])
        self._check_states()
        self._check_keys()

    @property
    def first_step(self) -> int:
        """The number of the first step's value."""
        return 1 + len(self.states) + len(self.masks)

    @cached_property
    def widths(self) -> tuple[Width, ...]:
        """The width of every value."""
        widths: list[Width] = ["D", *self.states, *self.masks]
        for step in self.steps:
            widths.append("H" if step.op is Op.LINEAR else widths[step.args[0]])
        return tuple(widths)

    @cached_property
    def weights(self) -> Mapping[str, Width]:
        """Every weight key with the width of what its matrix multiplies, in order of first use."""
        linear = (step for step in self.steps if step.op is Op.LINEAR)
        return {key: self.widths[arg] for step in linear for key, arg in zip(step.weights, step.args, strict=True)}

    @cached_property
    def biases(self) -> Mapping[str, float]:
        """Every bias key with the value it starts at, in order of first use."""
        return {bias.key: bias.start for step in self.steps for bias in step.biases}

    def step(self, value: int) -> Step | None:
        """The step that computes this value; None for the input, a state or a mask."""
        return self.steps[value - self.first_step] if value >= self.first_step else None

    def value_name(self, value: int) -> str:
        """What a person calls this value: x, h1, m1, or v and its number."""
        if value == 0:
            return "x"
        if value <= len(self.states):
            return f"h{value}"
        if value < self.first_step:
            return f"m{value - len(self.states)}"
        return f"v{value}"

    def parameters(self, input_width: int, hidden: int) -> int:
        """How many numbers one direction of this cell learns."""
        inputs = sum(input_width if width == "D" else hidden for width in self.weights.values())
        return hidden * (inputs + len(self.biases))

    def _check_step(self, number: int, step: Step, known: list[Width]) -> None:
        where = f"step v{number} ({step.op.label})"
        form = step.op.value
        for arg in step.args:
            if not 0 <= arg < number:
                raise UsageError(
                    f"{where} reads value {arg}", f"a step reads earlier values only: 0 to {number - 1} here"
                )
        if len(step.args) < form.least or (form.most is not None and len(step.args) > form.most):
            asked = f"{form.least}" if form.most == form.least else f"{form.least} or more"
            raise UsageError(f"{where} reads {len(step.args)} values", f"it needs {asked}: {form.formula}")
        if step.op is Op.LINEAR:
            if len(step.weights) != len(step.args):
                raise UsageError(
                    f"{where} has {len(step.weights)} weight keys for {len(step.args)} values", "give one key per value"
                )
            return
        if step.weights or step.biases:
            raise UsageError(f"{where} has weights or biases", "only linear steps have them")
        if len({known[arg] for arg in step.args}) > 1:
            widths = ", ".join(f"{self.value_name(arg)}: {known[arg]}" for arg in step.args)
            raise UsageError(f"{where} reads values of two widths ({widths})", "a linear step makes width H of D")

    def _check_states(self) -> None:
        if len(self.next_states) != len(self.states):
            raise UsageError(
                f"the cell has {len(self.states)} states and updates {len(self.next_states)}", "update each state once"
            )
        for index, (value, width) in enumerate(zip(self.next_states, self.states, strict=True), 1):
            if not 0 <= value < len(self.widths):
                raise UsageError(
                    f"state h{index} becomes value {value}", f"there are values 0 to {len(self.widths) - 1}"
                )
            if value == index:
                raise UsageError(f"state h{index} is never updated", "leave it away, or let it become another value")
            if self.widths[value] != width:
                raise UsageError(
                    f"state h{index} of width {width} becomes {self.value_name(value)} of width {self.widths[value]}",
                    "a state keeps its width; D is for one that delays the input",
                )
        if self.states[0] != "H":
            raise UsageError("the first state has width D", "the first state is the cell's output and has width H")

    def _check_keys(self) -> None:
        widths: dict[str, Width] = {}
        starts: dict[str, float] = {}
        for number, step in enumerate(self.steps, self.first_step):
            for key, arg in zip(step.weights, step.args, strict=False):
                if widths.setdefault(key, self.widths[arg]) != self.widths[arg]:
                    raise UsageError(f"step v{number} uses weight {key!r} on another width", "take another key")
            for bias in step.biases:
                if not math.isfinite(bias.start):
                    raise UsageError(
                        f"step v{number} starts bias {bias.key!r} at {bias.start}", "it starts at a finite number"
                    )
                if starts.setdefault(bias.key, bias.start) != bias.start:
                    raise UsageError(f"step v{number} starts bias {bias.key!r} at another value", "take another key")
        if both := sorted(widths.keys() & starts.keys()):
            raise UsageError(f"{both[0]!r} is a weight and a bias", "give each a key of its own")
