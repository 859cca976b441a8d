"""The controller: an LSTM that takes the choices of any space, one after the other (Pham et al. 2018, 2.2).

Released code wires it in several ways; this is the plainest: the first input is zero, later ones are the embedding of
the option taken, one table for the whole space, and each place of a code has a linear head of its own.

Letters: n codes, T places of the longest code, O options of the widest place, H units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from nasctl.compiler.streams import Streams
from nasctl.errors import UsageError
from nasctl.spaces.base import MOST_TRIES, Choice, Code, RejectedError, SearchSpace, choices_of, none_accepted
from nasctl.strategies import ControllerSpec

NOTHING = 0
"""The token before the first choice: its embedding is zero, and stays so."""

ENDED = 0
"""The row of allowed options behind the end of a code: one, so that taking it is certain."""

_READ = {"hidden": 0, "cell": 1}
"""What heads read -> its place in the LSTM's state."""


@dataclass(frozen=True)
class Samples:
    """Codes with what the controller says of every decision; behind a code's end, each is certain.

    `log_probabilities` [n, T]: of the options taken, 0 behind the end. `entropies` [n, T]: of each whole distribution,
    in nats, 0 behind the end. `largest` [n, T]: the probability of the most likely option, 1 behind the end. `hidden`
    [n, H]: what the heads read at the last decision, the LSTM's hidden state unless the spec says otherwise; it has not
    seen what that decision was.
    """

    codes: tuple[Code, ...]
    log_probabilities: Tensor
    entropies: Tensor
    largest: Tensor
    hidden: Tensor


class Controller(nn.Module):
    """A distribution over the codes of `space`, on the CPU; its weights depend on the spec and the seed alone.

    Options that a prefix does not allow have probability zero. Codes that `decode` rejects are drawn anew, so that
    probabilities are those of a draw, rejected codes counted. How often a uniform draw would take an option
    (`Choice.weights`) is nothing to it: with `heads` at zero it takes each option of a choice equally often.

    `embedding` [tokens, H] has a row for each (kind, option), after that of no token; `heads` [T, O, H] and `biases`
    [T, O] have rows of zeros where a place has fewer options.
    """

    def __init__(self, space: SearchSpace, spec: ControllerSpec, seed: int) -> None:
        super().__init__()
        self.space = space
        self.spec = spec
        self._steps = space.steps()
        self._indices = tuple({option: index for index, option in enumerate(step.options)} for step in self._steps)
        tokens = list(dict.fromkeys((step.kind, option) for step in self._steps for option in step.options))
        places, options = len(self._steps), max(len(step.options) for step in self._steps)
        self.lstm = nn.LSTM(spec.hidden, spec.hidden)
        self.embedding = nn.Parameter(torch.zeros(1 + len(tokens), spec.hidden))
        self.heads = nn.Parameter(torch.zeros(places, options, spec.hidden))
        self.biases = nn.Parameter(torch.zeros(places, options))
        self._tokens = torch.full((places, options), NOTHING)
        for place, step in enumerate(self._steps):
            numbers = [1 + tokens.index((step.kind, option)) for option in step.options]
            self._tokens[place, : len(numbers)] = torch.tensor(numbers)
        self._rows: dict[tuple[int, Choice], int] = {}
        self._allowed = (torch.arange(options) == 0)[None]  # [rows, O]; a row more for every choice that is met
        self._initialise(Streams(seed, "cpu", ("controller",)), tokens)

    @torch.no_grad()
    def _initialise(self, streams: Streams, tokens: Sequence[tuple[str, str]]) -> None:
        """Every weight uniform within `initial`, the heads' biases zero; a stream for each token and each place."""
        within = self.spec.initial
        for name, parameter in self.lstm.named_parameters():
            parameter.uniform_(-within, within, generator=streams.of("lstm", name))
        for row, (kind, option) in enumerate(tokens, start=1):
            self.embedding[row].uniform_(-within, within, generator=streams.of("embedding", kind, option))
        for place, step in enumerate(self._steps):
            self.heads[place, : len(step.options)].uniform_(-within, within, generator=streams.of("heads", place))

    def sample(self, count: int, stream: torch.Generator) -> Samples:
        """Independent draws, without gradients: all at once, one choice after the other.

        Raises UsageError where `MOST_TRIES` draws in a row are rejected.
        """
        if count < 1:
            raise UsageError(f"{count} samples of a controller", "ask for 1 or more")
        parts: list[Samples] = []
        missing, tries = count, 0
        while missing:
            drawn = self._walk(missing, lambda probabilities: torch.multinomial(probabilities, 1, generator=stream))
            kept, reason = self._accepted(drawn.codes)
            tries = 0 if kept else tries + missing
            if tries >= MOST_TRIES:
                raise none_accepted(self.space, tries, reason)
            parts.append(drawn if len(kept) == missing else _part(drawn, kept))
            missing -= len(kept)
        return parts[0] if len(parts) == 1 else _joined(parts)

    def score(self, codes: Sequence[Code]) -> Samples:
        """What the controller says of these codes, rejected ones too; gradients flow.

        Raises UsageError for what is no code of the space.
        """
        if not codes:
            raise UsageError("a controller was asked to score no codes", "give it 1 or more")
        every = [self._read(code) for code in codes]
        options = torch.tensor([options for options, _ in every]).T
        rows = torch.tensor([rows for _, rows in every]).T
        tokens = self._tokens.gather(1, options)  # [T, n]
        before = torch.cat([torch.full_like(tokens[:1], NOTHING), tokens[:-1]])
        hidden = self._read_states(self._embedded(before))
        logs = self._log_probabilities(hidden, self.heads, self.biases, self._allowed[rows])
        return _samples(tuple(codes), hidden, logs, options)

    def most_probable(self) -> Code:
        """The code whose every option is the most likely one behind those before it; `decode` may reject it."""
        return self._walk(1, lambda probabilities: probabilities.argmax(1, keepdim=True)).codes[0]

    @torch.no_grad()
    def _walk(self, count: int, pick: Callable[[Tensor], Tensor]) -> Samples:
        """Codes in lock-step; `pick` takes an option [n, 1] for each of the distributions [n, O]."""
        codes: list[Code] = [()] * count
        tokens = torch.full((count,), NOTHING)
        start = self.heads.new_zeros(count, self.spec.hidden)
        state, weights = (start, start), self.lstm.all_weights[0]
        hidden, log_probabilities, options = [], [], []
        for place, step in enumerate(self._steps):
            choices = [self.space.next_choice(code) for code in codes]
            allowed = self._allowed_by(place, choices)
            state = torch.lstm_cell(self._embedded(tokens), state, *weights)
            at = slice(place, place + 1)
            read = state[_READ[self.spec.reads]]
            logs = self._log_probabilities(read[None], self.heads[at], self.biases[at], allowed)
            picked = pick(logs[0].exp())[:, 0]
            tokens = self._tokens[place][picked]
            codes = [
                code if choice is None else (*code, step.options[index])
                for code, choice, index in zip(codes, choices, picked.tolist(), strict=True)
            ]
            hidden.append(read)
            log_probabilities.append(logs)
            options.append(picked)
        return _samples(tuple(codes), torch.stack(hidden), torch.cat(log_probabilities), torch.stack(options))

    def _read_states(self, inputs: Tensor) -> Tensor:
        """What the heads read at each place: [T, n, H] of inputs [T, n, H]."""
        if self.spec.reads == "hidden":
            hidden, _ = self.lstm(inputs)
            return cast("Tensor", hidden)
        start = torch.zeros_like(inputs[0])
        state, cells = (start, start), []
        for each in inputs:  # the fused loop above tells the cell state of the last place only
            state = torch.lstm_cell(each, state, *self.lstm.all_weights[0])
            cells.append(state[1])
        return torch.stack(cells)

    def _embedded(self, tokens: Tensor) -> Tensor:
        return nn.functional.embedding(tokens, self.embedding, padding_idx=NOTHING)

    def _log_probabilities(self, hidden: Tensor, heads: Tensor, biases: Tensor, allowed: Tensor) -> Tensor:
        """The distribution, for drawing and for scoring alike: [T, n, O] of states [T, n, H], -inf where not allowed.

        `heads` [T, O, H] and `biases` [T, O] are those of the places in question.
        """
        logits = torch.baddbmm(biases[:, None], hidden, heads.transpose(1, 2)) / self.spec.temperature
        if self.spec.tanh_constant is not None:
            logits = self.spec.tanh_constant * logits.tanh()
        return logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)

    def _read(self, code: Code) -> tuple[list[int], list[int]]:
        """The indices of the options taken, and the rows of allowed options; both to the last place."""
        choices = choices_of(self.space, code)
        behind = [ENDED] * (len(self._steps) - len(code))
        options = [self._indices[place][option] for place, option in enumerate(code)]
        return options + behind, [self._row(place, choice) for place, choice in enumerate(choices)] + behind

    def _allowed_by(self, place: int, choices: Sequence[Choice | None]) -> Tensor:
        rows = [ENDED if choice is None else self._row(place, choice) for choice in choices]
        return self._allowed[rows][None]

    def _row(self, place: int, choice: Choice) -> int:
        """The row of `_allowed` for this choice at this place."""
        if (place, choice) not in self._rows:
            row = torch.zeros_like(self._allowed[:1])
            row[0, [self._indices[place][option] for option in choice.options]] = True
            self._rows[place, choice] = len(self._allowed)
            self._allowed = torch.cat([self._allowed, row])
        return self._rows[place, choice]

    def _accepted(self, codes: Sequence[Code]) -> tuple[list[int], str]:
        """Which of the codes are cells, and why the last other one is none."""
        kept, reason = [], ""
        for number, code in enumerate(codes):
            try:
                self.space.decode(code)
            except RejectedError as error:
                reason = str(error)
            else:
                kept.append(number)
        return kept, reason


def _samples(codes: tuple[Code, ...], hidden: Tensor, logs: Tensor, options: Tensor) -> Samples:
    """States [T, n, H], distributions [T, n, O] and options taken [T, n] as samples."""
    taken = logs.gather(2, options[..., None])[..., 0]
    finite = logs.masked_fill(logs == -torch.inf, 0.0)  # or what is not allowed would be 0 · -inf
    entropies = -(logs.exp() * finite).sum(2)
    last = torch.tensor([len(code) - 1 for code in codes])
    return Samples(codes, taken.T, entropies.T, logs.amax(2).exp().T, hidden[last, torch.arange(len(codes))])


def _part(samples: Samples, kept: Sequence[int]) -> Samples:
    rows = torch.tensor(kept, dtype=torch.int64)
    return Samples(
        tuple(samples.codes[row] for row in kept),
        samples.log_probabilities[rows],
        samples.entropies[rows],
        samples.largest[rows],
        samples.hidden[rows],
    )


def _joined(parts: Sequence[Samples]) -> Samples:
    return Samples(
        tuple(code for part in parts for code in part.codes),
        torch.cat([part.log_probabilities for part in parts]),
        torch.cat([part.entropies for part in parts]),
        torch.cat([part.largest for part in parts]),
        torch.cat([part.hidden for part in parts]),
    )
