"""A space that no paper has, with everything that makes spaces difficult."""

from dataclasses import dataclass

from nasctl.cells.graph import CellGraph, Op, Step, op_named
from nasctl.spaces.base import Choice, Code, RejectedError, choices_of

COUNTS = ("one", "two")
OPS = ("tanh", "relu")
EDGES = ("x", "h")


@dataclass(frozen=True)
class Toy:
    """An activation over one or two inputs, drawn without replacement; where it `rejects`, a cell reads its state.

    Its codes vary in length, its draws are weighted, its options depend on earlier ones, and some codes are no cell.
    """

    rejects: bool = True
    name: str = "toy"

    def next_choice(self, prefix: Code) -> Choice | None:
        if len(prefix) < 2:
            return self.steps()[len(prefix)]
        count = COUNTS.index(prefix[0]) + 1
        return Choice("edge", tuple(name for name in EDGES if name not in prefix)) if len(prefix) < count + 2 else None

    def steps(self) -> tuple[Choice, ...]:
        edge = Choice("edge", EDGES)
        return (Choice("op", COUNTS, (3.0, 1.0)), Choice("output", OPS), edge, edge)

    def decode(self, code: Code) -> CellGraph:
        choices_of(self, code)
        inputs = code[2:]
        if self.rejects and "h" not in inputs:
            raise RejectedError("nothing reads the state", "read h")
        linear = Step(Op.LINEAR, tuple(map("xh".index, inputs)), tuple(inputs))
        return CellGraph(("H",), (linear, Step(op_named(code[1]), (2,))), (3,))

    def encode(self, graph: CellGraph) -> Code:
        inputs = ["xh"[arg] for arg in graph.steps[0].args]
        return (COUNTS[len(inputs) - 1], graph.steps[1].op.label, *inputs)

    def size(self) -> int | None:
        return None
