"""A recurrent layer: a cell run over ragged sequences in one or both directions, by whichever backend serves it best.

Letters: T time, B batch (rows), D input width, H hidden width per direction. Tensors are time-major.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasctl.cells.graph import CellGraph
from nasctl.cells.rewrite import live
from nasctl.compiler import planned, reference, torchcell
from nasctl.compiler.recurrence import Recurrence, Result, State
from nasctl.compiler.streams import Streams
from nasctl.errors import UsageError, nearest
from nasctl.spaces.sharing import SharedWeights

PRECISIONS: Mapping[str, torch.dtype | None] = {"fp32": None, "fp64": None, "bf16": torch.bfloat16}
"""What products read: None is the type of the parameters themselves. States and sums keep that type always."""


@dataclass(frozen=True)
class Backend:
    """One way to run a cell: `why_not` says why it cannot serve a cell, on a device, with operands of a type."""

    run: Callable[[Recurrence], Result]
    why_not: Callable[[CellGraph, torch.device, torch.dtype], str | None] = lambda *_: None


BACKENDS: Mapping[str, Backend] = {
    "torch": Backend(torchcell.run, torchcell.why_not),
    "planned": Backend(planned.run),
    "reference": Backend(reference.run),
}
"""Every way to run a cell."""

FASTEST: Mapping[str, tuple[str, ...]] = {"cpu": ("planned",), "cuda": ("torch", "planned")}
"""By device, what `auto` takes: the first that can. On a CPU torch's own LSTM is slower, because it computes padding
too: on SICK's batches `planned` took 0.7 to 0.9 of its time (docs/benchmarks.md)."""


def serving(backend: str, graph: CellGraph, device: torch.device, operands: torch.dtype) -> str:
    """The name of the backend that is asked for, or that `auto` means. Raises UsageError where it cannot serve."""
    if backend == "auto":
        names = FASTEST.get(device.type, FASTEST["cpu"])
        return next(name for name in names if BACKENDS[name].why_not(graph, device, operands) is None)
    if backend not in BACKENDS:
        raise UsageError(f"there is no backend {backend!r}", nearest(backend, ["auto", *BACKENDS]))
    if (reason := BACKENDS[backend].why_not(graph, device, operands)) is not None:
        raise UsageError(f"backend={backend} cannot run this cell: {reason}", "backend=auto takes one that can")
    return backend


class RecurrentLayer(nn.Module):
    """A cell over ragged sequences.

    Every row is read within its own length: the backward direction starts at the row's last token, outputs behind it
    are zero, and what stands in the padding never changes a result. A row of length 0 gives zeros and its initial
    state. Each direction has one parameter per key of the cell: a matrix [H, width] or a bias [H]. What never reaches
    the cell's output is left out, so `cell` is the live part of what is given: its states and masks, and no others,
    have initial and final values.

    With `shared` it has a parameter for each key of those instead, and cells that use some of them `take` turns. What
    the cell of the moment does not use has no gradient then, not even one of zeros.
    """

    def __init__(
        self,
        cell: CellGraph,
        input_width: int,
        hidden: int,
        *,
        bidirectional: bool = True,
        backend: str = "auto",
        precision: str = "fp32",
        shared: SharedWeights | None = None,
    ) -> None:
        super().__init__()
        self.cell, self.backend = live(cell), backend
        self.held = SharedWeights(self.cell.weights, self.cell.biases) if shared is None else shared
        self.widths = {"D": input_width, "H": hidden}
        self.hidden = hidden
        self.operands = PRECISIONS[precision]
        self.output_width = hidden * (2 if bidirectional else 1)
        self.onward = self._side()
        self.backward = self._side() if bidirectional else None

    def _side(self) -> nn.ParameterDict:
        matrices = {key: torch.zeros(self.hidden, self.widths[width]) for key, width in self.held.weights.items()}
        biases = {key: torch.full((self.hidden,), start) for key, start in self.held.biases.items()}
        return nn.ParameterDict({**matrices, **biases})

    def take(self, cell: CellGraph) -> None:
        """Be of this cell from now on, upon the same weights. Raises UsageError if it uses one that is not held."""
        cell = live(cell)
        if missing := [*(cell.weights.keys() - self.held.weights), *(cell.biases.keys() - self.held.biases)]:
            raise UsageError(f"the cell uses {missing[0]}, which the layer does not hold", "take one of its space")
        self.cell = cell

    def forward(self, x: Tensor, lengths: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Outputs [T, B, directions·H] of `x` [T, B, D] with `lengths` [B] (on any device), from a zero state.

        `masks` has one tensor [B, width] per mask of the cell. Raises UsageError if it has more or fewer.
        """
        return self._run(x, lengths, None, masks, finals=False)[0]

    def with_states(
        self, x: Tensor, lengths: Tensor, initial: State | None = None, masks: Sequence[Tensor] = ()
    ) -> Result:
        """The same outputs from an `initial` state (None: zero), and every state of each row behind its last token."""
        return self._run(x, lengths, initial, masks, finals=True)

    def served_by(self, device: torch.device) -> str:
        """The name of the backend that runs this layer on `device`."""
        return serving(self.backend, self.cell, device, self.operands or torch.float32)

    def _run(
        self, x: Tensor, lengths: Tensor, initial: State | None, masks: Sequence[Tensor], *, finals: bool
    ) -> Result:
        if len(masks) != len(self.cell.masks):
            given = f"the cell has {len(self.cell.masks)} masks, and {len(masks)} are given"
            raise UsageError(given, "give one tensor [B, width] for each")
        sides = [self.onward] if self.backward is None else [self.onward, self.backward]
        if initial is None:
            initial = tuple(x.new_zeros(len(sides), x.shape[1], self.widths[width]) for width in self.cell.states)
        if x.shape[0] == 0 or not lengths.any():
            return x.new_zeros(*x.shape[:2], self.output_width), initial
        used = (*self.cell.weights, *self.cell.biases)
        weights = tuple({key: side[key] for key in used} for side in sides)
        operands = self.operands or x.dtype
        asked = Recurrence(self.cell, weights, x, lengths, initial, tuple(masks), operands, finals)
        return BACKENDS[self.served_by(x.device)].run(asked)

    @torch.no_grad()
    def initialise(self, streams: Streams, rule: str) -> None:
        """Draw the weights, each from the stream of its own key.

        `common`: what reads the input Xavier-uniform, every H×H orthogonal, biases at the cell's start values.
        `torch`: torch's own, uniform within 1/sqrt(H).
        """
        bound = self.hidden**-0.5
        for direction, parameters in (("onward", self.onward), ("backward", self.backward)):
            for key, parameter in (parameters or {}).items():
                stream = streams.of(direction, key)
                if rule == "torch":
                    parameter.uniform_(-bound, bound, generator=stream)
                elif key in self.held.biases:
                    parameter.fill_(self.held.biases[key])
                elif self.held.weights[key] == "D":
                    nn.init.xavier_uniform_(parameter, generator=stream)
                else:
                    nn.init.orthogonal_(parameter, generator=stream)
