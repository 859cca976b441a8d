"""The ENAS cell: N nodes, each an activation over one earlier node behind a highway gate (Pham et al. 2018, 2.1).

The reading is the one with a matrix per pair of nodes (MacLaughlin et al. 2020, A.2.1): node 0 sees x and h, every
later node its parent alone; the output, which is the state too, is the mean of the leaves. Only node 0 has biases.
"""

from __future__ import annotations

from collections.abc import Sequence

from nasctl.cells.graph import Bias, CellGraph, Op, Step
from nasctl.errors import UsageError


def enas_cell(activations: Sequence[Op], parents: Sequence[int], *, highway: bool = True) -> CellGraph:
    """The cell with `activations` of nodes 0 to N-1 and `parents` of nodes 1 to N-1.

    Weight keys are those of shared weights: `h-0/gate`, `x-0/candidate`, and `2-5/gate` from node 2 to node 5. Without
    `highway` a node is its activation alone. Raises UsageError for a parent that is no earlier node.
    """
    if len(parents) != len(activations) - 1:
        raise UsageError(
            f"{len(activations)} activations and {len(parents)} parents", "each node but the first has one"
        )
    steps: list[Step] = []

    def emit(step: Step) -> int:
        steps.append(step)
        return len(steps) + 1  # behind x and h

    def node(sources: Sequence[tuple[str, int]], number: int, carried: int) -> int:
        """The node that reads `sources` (a name and a value each) and carries on the value `carried`."""
        values = tuple(value for _, value in sources)

        def pre_activation(part: str) -> int:
            keys = tuple(f"{name}-{number}/{part}" for name, _ in sources)
            biases = (Bias(f"{number}/{part}"),) if number == 0 else ()
            return emit(Step(Op.LINEAR, values, keys, biases))

        gate = emit(Step(Op.SIGMOID, (pre_activation("gate"),))) if highway else None
        candidate = emit(Step(activations[number], (pre_activation("candidate"),)))
        return candidate if gate is None else emit(Step(Op.BLEND, (gate, candidate, carried)))

    nodes = [node([("x", 0), ("h", 1)], 0, 1)]
    for number, parent in enumerate(parents, 1):
        if not 0 <= parent < number:
            raise UsageError(f"node {number} has parent {parent}", f"a parent is an earlier node: 0 to {number - 1}")
        nodes.append(node([(str(parent), nodes[parent])], number, nodes[parent]))
    leaves = [value for number, value in enumerate(nodes) if number not in parents]
    output = leaves[0] if len(leaves) == 1 else emit(Step(Op.MEAN, tuple(leaves)))
    return CellGraph(("H",), tuple(steps), (output,))
