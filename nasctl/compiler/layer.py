"""A recurrent layer: a cell run over ragged sequences in both directions.

Letters: T time, B batch (rows), D input width, H hidden width per direction. Tensors are time-major.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nasctl.compiler.streams import Streams

State = tuple[Tensor, ...]
"""The cell's states, each [directions, B, H]; the first is the output's."""


class RecurrentLayer(nn.Module):
    """A cell over ragged sequences.

    Every row is read within its own length: the backward direction starts at the row's last token, outputs behind it
    are zero, and what stands in the padding never changes a result. A row of length 0 gives zeros and its initial
    state.
    """

    def __init__(self, cell: str, input_width: int, hidden: int, *, bidirectional: bool = True) -> None:
        super().__init__()
        self.cell = cell
        self.hidden = hidden
        self.output_width = hidden * (2 if bidirectional else 1)
        self.program = CELLS[cell](input_width, hidden, bidirectional=bidirectional)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Outputs [T, B, directions·H] of `x` [T, B, D] with `lengths` [B] (on any device), from a zero state."""
        return self.program(x, lengths)  # type: ignore[no-any-return]

    def with_states(self, x: Tensor, lengths: Tensor, initial: State | None = None) -> tuple[Tensor, State]:
        """The same outputs from an `initial` state (None: zero), and the state of every row behind its last token."""
        return self.program.with_states(x, lengths, initial)

    def initialise(self, streams: Streams, rule: str) -> None:
        """Draw the weights, each matrix from the stream of its own key."""
        self.program.initialise(streams, rule)


class TorchLstm(nn.Module):
    """The LSTM of torch.nn, one module per direction.

    Both directions run over padded input, the backward one over rows reversed within their length: a fifth to a half
    faster on a CPU than one bidirectional module over a packed sequence, whose gradient fills a whole tensor per step.
    """

    gates = ("input", "forget", "candidate", "output")

    def __init__(self, input_width: int, hidden: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.onward = nn.LSTM(input_width, hidden)
        self.backward = nn.LSTM(input_width, hidden) if bidirectional else None

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """See `RecurrentLayer.forward`."""
        lengths = lengths.to(x.device)
        steps = torch.arange(x.shape[0], device=x.device)[:, None]  # [T, 1]
        real = steps < lengths  # [T, B]
        x = torch.where(real[:, :, None], x, torch.zeros_like(x))
        y, _ = self.onward(x)
        if self.backward is not None:
            turn = _turn(lengths, x)
            y = torch.cat([y, _reordered(self.backward(_reordered(x, turn))[0], turn)], -1)
        return torch.where(real[:, :, None], y, torch.zeros_like(y))

    def with_states(self, x: Tensor, lengths: Tensor, initial: State | None) -> tuple[Tensor, State]:
        """See `RecurrentLayer.with_states`; states are (h, c). Packed, for only so torch tells c at ragged ends."""
        count = 1 if self.backward is None else 2
        start = initial or (x.new_zeros(count, x.shape[1], self.onward.hidden_size),) * 2
        y, final = _packed(self.onward, x, lengths, tuple(s[:1] for s in start))
        if self.backward is not None:
            turn = _turn(lengths.to(x.device), x)
            z, final_backward = _packed(self.backward, _reordered(x, turn), lengths, tuple(s[1:] for s in start))
            y = torch.cat([y, _reordered(z, turn)], -1)
            final = tuple(torch.cat(ends) for ends in zip(final, final_backward, strict=True))
        return y, final

    def initialise(self, streams: Streams, rule: str) -> None:
        """`common`: input side Xavier-uniform, every H×H orthogonal, biases 0, forget gate 1. `torch`: torch's own."""
        for direction, lstm in (("onward", self.onward), ("backward", self.backward)):
            if lstm is None:
                continue
            bound = lstm.hidden_size**-0.5
            for name, parameter in lstm.named_parameters():
                kind, side, _ = name.split("_")  # weight_ih_l0, bias_hh_l0
                for gate, block in zip(self.gates, parameter.data.chunk(len(self.gates)), strict=True):
                    stream = streams.of(direction, side, gate, kind)
                    if rule == "torch":
                        block.uniform_(-bound, bound, generator=stream)
                    elif kind == "bias":
                        block.fill_(1.0 if gate == "forget" and side == "ih" else 0.0)
                    elif side == "ih":
                        nn.init.xavier_uniform_(block, generator=stream)
                    else:
                        nn.init.orthogonal_(block, generator=stream)


def _turn(lengths: Tensor, x: Tensor) -> Tensor:
    """Each row's steps with the real ones reversed [T, B]: a permutation that is its own inverse."""
    steps = torch.arange(x.shape[0], device=x.device)[:, None]
    return torch.where(steps < lengths, lengths - 1 - steps, steps)


def _packed(lstm: nn.LSTM, x: Tensor, lengths: Tensor, start: State) -> tuple[Tensor, State]:
    """Outputs and final (h, c) of one direction over ragged rows; an empty row keeps its `start` and gives zeros."""
    rows = lengths.to("cpu")
    # torch refuses empty rows: they run over one step of padding, and what that does is taken back
    packed = pack_padded_sequence(x, rows.clamp(min=1), enforce_sorted=False)
    output, final = lstm(packed, tuple(s.contiguous() for s in start))
    y, _ = pad_packed_sequence(output, total_length=x.shape[0])
    empty = (rows == 0).to(x.device)[None, :, None]
    states = tuple(torch.where(empty, first, last) for first, last in zip(start, final, strict=True))
    return torch.where(empty, torch.zeros_like(y), y), states


def _reordered(x: Tensor, order: Tensor) -> Tensor:
    """`x` [T, B, D] with step `order[t, b]` [T, B] of row b at step t."""
    steps, rows, width = x.shape
    flat = order * rows + torch.arange(rows, device=x.device)
    return x.reshape(steps * rows, width).index_select(0, flat.reshape(-1)).view(steps, rows, width)


CELLS = {"lstm": TorchLstm}
"""Which module runs a cell."""
