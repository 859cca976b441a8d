"""Generated cells: valid by construction, over every op, shrinking to few steps that read what stands before them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from nasctl.cells.graph import Bias, CellGraph, Op, Step, Width

STARTS = (0.0, 1.0, -0.5)


@st.composite
def cell_graphs(
    draw: st.DrawFn,
    *,
    ops: Sequence[Op] = tuple(Op),
    most_steps: int = 12,
    most_states: int = 3,
    most_masks: int = 2,
) -> CellGraph:
    """A cell of up to so many steps, states and masks; states behind the first and masks may have width D.

    Weights and biases may be shared, also within a step, and steps, states and masks may be dead.
    """
    states: list[Width] = ["H", *draw(st.lists(st.sampled_from(("H", "D")), max_size=most_states - 1))]
    masks: list[Width] = draw(st.lists(st.sampled_from(("H", "D")), max_size=most_masks))
    widths: list[Width] = ["D", *states, *masks]
    keys = _Keys(draw)
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, most_steps))):
        steps.append(_step(draw, ops, widths, keys))
        widths.append("H" if steps[-1].op is Op.LINEAR else widths[steps[-1].args[0]])
    if draw(st.sampled_from((True, True, True, False))):
        _gather(draw, ops, steps, widths, keys)
    if widths[-1] == "D":  # the output has width H, and is no state of before
        steps.append(Step(Op.LINEAR, (len(widths) - 1,), (keys.weight("D"),)))
        widths.append("H")
    output = len(widths) - 1 if draw(st.integers(0, 3)) else draw(st.sampled_from(_latest_first(widths, "H", but=1)))
    others = (draw(st.sampled_from(_latest_first(widths, width, but=place))) for place, width in enumerate(states, 1))
    return CellGraph(tuple(states), tuple(steps), (output, *list(others)[1:]), tuple(masks))


@st.composite
def parallel_cells(draw: st.DrawFn, *, most_lanes: int = 3, most_layers: int = 2) -> CellGraph:
    """A cell of parallel linear steps with layers of one op over them, which share some of what they read.

    A plan joins such steps into one. A product may read more in one lane than in the next.
    """
    states, masks = draw(st.integers(1, 2)), draw(st.integers(0, 1))
    steps: list[Step] = []

    def emit(op: Op, *args: int) -> int:
        weights = tuple(f"weight/{len(steps)}/{place}" for place in range(len(args))) if op is Op.LINEAR else ()
        steps.append(Step(op, args, weights, (Bias(f"bias/{len(steps)}"),) if weights else ()))
        return states + masks + len(steps)

    read = draw(st.sampled_from(((0, 1), (1,), (0,))))
    layers = [[emit(Op.LINEAR, *read) for _ in range(draw(st.integers(2, most_lanes)))]]
    shared = [[each] * len(layers[0]) for each in range(1, 1 + states + masks)]
    shared.append([emit(Op.TANH, emit(Op.LINEAR, 0, 1))] * len(layers[0]))
    for _ in range(draw(st.integers(1, most_layers))):
        op = draw(st.sampled_from([op for op in Op if op is not Op.LINEAR]))
        count = op.value.most or draw(st.integers(2, 4))
        operands = draw(st.lists(st.sampled_from([*layers, *shared]), min_size=count, max_size=count))
        operands[draw(st.integers(0, count - 1))] = layers[-1]
        counts = [draw(st.integers(2, count)) if op is Op.MUL else count for _ in layers[0]]
        layers.append([emit(op, *args[:few]) for few, *args in zip(counts, *operands, strict=True)])
    output = emit(draw(st.sampled_from((Op.LINEAR, Op.MEAN))), *layers[-1], 1)
    other = draw(st.sampled_from((1, *(lane for layer in layers for lane in layer))))
    return CellGraph(("H",) * states, tuple(steps), (output, other)[:states], ("H",) * masks)


def _step(draw: st.DrawFn, ops: Sequence[Op], widths: Sequence[Width], keys: _Keys) -> Step:
    # A third of the steps is linear where they may be, as in published cells: the rest lives between matrices.
    op = Op.LINEAR if Op.LINEAR in ops and not draw(st.integers(0, 2)) else draw(st.sampled_from(ops))
    form = op.value
    count = draw(st.integers(form.least, form.least + 2 if form.most is None else form.most))
    latest = range(len(widths) - 1, -1, -1)
    args = [draw(st.sampled_from(latest[:2] if draw(st.booleans()) else latest))]
    alike = latest if op is Op.LINEAR else _latest_first(widths, widths[args[0]])
    args += [draw(st.sampled_from(alike)) for _ in range(count - 1)]
    return _with_keys(draw, op, args, widths, keys)


def _gather(draw: st.DrawFn, ops: Sequence[Op], steps: list[Step], widths: list[Width], keys: _Keys) -> None:
    """Read what no step has read, in one last step: otherwise most of a generated cell is dead."""
    read = {arg for step in steps for arg in step.args}
    first_step = len(widths) - len(steps)
    width = draw(st.sampled_from(("H", "any")))
    unread = [each for each in range(first_step, len(widths)) if each not in read and width in ("any", widths[each])]
    gathering = [op for op in ops if op.value.most is None and (op is Op.LINEAR or width == "H")]
    if len(unread) > 1 and gathering:
        steps.append(_with_keys(draw, draw(st.sampled_from(gathering)), unread, widths, keys))
        widths.append("H")


def _with_keys(draw: st.DrawFn, op: Op, args: Sequence[int], widths: Sequence[Width], keys: _Keys) -> Step:
    if op is not Op.LINEAR:
        return Step(op, tuple(args))
    weights = tuple(keys.weight(widths[arg]) for arg in args)
    return Step(op, tuple(args), weights, tuple(keys.bias() for _ in range(draw(st.integers(0, 2)))))


def _latest_first(widths: Sequence[Width], width: Width, but: int = -1) -> list[int]:
    return [value for value in range(len(widths) - 1, -1, -1) if widths[value] == width and value != but]


class _Keys:
    """Draws a key: mostly a new one, at times one that is in use."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._weights: dict[str, Width] = {}
        self._biases: list[Bias] = []

    def weight(self, width: Width) -> str:
        known = [key for key, other in self._weights.items() if other == width]
        if known and self._draw(st.integers(0, 3)) == 3:
            return self._draw(st.sampled_from(known))
        key = f"weight/{len(self._weights)}"
        self._weights[key] = width
        return key

    def bias(self) -> Bias:
        if self._biases and self._draw(st.integers(0, 3)) == 3:
            return self._draw(st.sampled_from(self._biases))
        self._biases.append(Bias(f"bias/{len(self._biases)}", self._draw(st.sampled_from(STARTS))))
        return self._biases[-1]
