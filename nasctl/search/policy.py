"""How the controller learns: REINFORCE with a moving baseline, and a memory of cells that it is taught to reproduce.

Everything random is keyed by (seed, epoch, number of the step), so that between two epochs the policy is one value,
`state`, from which `restore` goes on as if it had never stopped, on a CPU with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nasctl.compiler.streams import Streams
from nasctl.search.controller import Controller, Samples
from nasctl.spaces.base import Code, code_of, code_text
from nasctl.strategies import EnasStrategy
from nasctl.training.adam import Adam, Group
from nasctl.training.loop import copied

Reward = Callable[[Sequence[Code]], Sequence[float]]
"""What cells earn, one number each, the higher the better; in [-1, 1], for which learning rates were chosen."""


@dataclass(frozen=True)
class Step:
    """One update. Its loss was policy - weight · entropy (where the loss has it) + memory.weight · supervised.

    `reward`: the mean of what the cells earned, without what the sampled form of entropy adds; `baseline`: what they
    were compared with; `entropy`: of the distributions that the cells were drawn from, nats per cell; `policy`: the
    mean of negative log-likelihood · advantage; `supervised`: the mean negative log-likelihood, nats per cell, of cells
    of the memory; None where none was taught.
    """

    reward: float
    baseline: float
    entropy: float
    policy: float
    supervised: float | None


class Policy:
    """A controller under training, with its optimiser, its baseline and its memory."""

    def __init__(self, controller: Controller, strategy: EnasStrategy, seed: int) -> None:
        self.controller = controller
        self.strategy = strategy
        self._optimiser = Adam([Group(list(controller.parameters()), 0.0)], strategy.controller.learning_rate)
        self._baseline: float | None = None
        self._memory: list[Code] = []
        self._streams = Streams(seed, "cpu", ("policy",))

    def step(self, epoch: int, number: int, reward: Reward) -> Step:
        """Draw cells, ask what they earn, and move the controller once: step `number` of `epoch`, from 1.

        The baseline is taken before this step's rewards move it, so that it is independent of them; only with its
        start at "first" is the very first step compared with its own mean. Moving it first, as released code does,
        would multiply all advantages by `decay`. In a space that rejects codes the gradient is that of the mean reward
        of accepted ones as far as the baseline has come to be that mean. Raises ValueError where `reward` does not give
        a finite number per cell.
        """
        drawn = self.controller.sample(self.strategy.samples, self._streams.of("cells", epoch, number))
        earned = [float(each) for each in reward(drawn.codes)]
        if len(earned) != len(drawn.codes) or not all(map(math.isfinite, earned)):
            raise ValueError(f"{len(drawn.codes)} cells earned {earned}")
        rewards = [own + bonus for own, bonus in zip(earned, self._bonuses(drawn), strict=True)]
        baseline = self._moved(math.fsum(rewards) / len(rewards))
        taught = self._taught(epoch, number)
        scored = self.controller.score([*drawn.codes, *taught])
        surprise = -scored.log_probabilities.sum(1)
        count = len(earned)
        advantages = surprise.new_tensor([each - baseline for each in rewards])
        policy = (surprise[:count] * advantages).mean()
        entropy = scored.entropies[:count].sum(1).mean()
        loss, supervised = policy, None
        if self.strategy.entropy.form == "loss":
            loss = loss - self.strategy.entropy.weight * entropy
        if taught and self.strategy.memory is not None:
            supervised = surprise[count:].mean()
            loss = loss + self.strategy.memory.weight * supervised
        self._descend(loss)
        return Step(
            reward=math.fsum(earned) / count,
            baseline=baseline,
            entropy=entropy.item(),
            policy=policy.item(),
            supervised=None if supervised is None else supervised.item(),
        )

    def end_epoch(self, epoch: int) -> None:
        """What happens once per epoch, after its steps: the memory takes in fresh cells, a baseline may be dropped.

        While it is not full the memory gets `drawn` ones, at most to its capacity; from the next epoch on it has
        `replaced` of its cells replaced. A cell may stand in it more than once.
        """
        if self.strategy.baseline.reset:
            self._baseline = None
        memory = self.strategy.memory
        if memory is None or epoch < memory.first:
            return
        stream = self._streams.of("memory", epoch)
        if room := memory.capacity - len(self._memory):
            self._memory += self.controller.sample(min(memory.drawn, room), stream).codes
        else:
            fresh = self.controller.sample(memory.replaced, stream).codes
            places = torch.randperm(memory.capacity, generator=stream)[: memory.replaced]
            for place, code in zip(places.tolist(), fresh, strict=True):
                self._memory[place] = code

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The policy as it is now: copies of its tensors, and the rest as JSON."""
        weights = {f"weights/{name}": tensor for name, tensor in copied(self.controller.state_dict()).items()}
        adam = {f"adam/{name}": tensor for name, tensor in copied(self._optimiser.moments()).items()}
        return weights | adam, {"baseline": self._baseline, "memory": [code_text(code) for code in self._memory]}

    def restore(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Become what `state` told, of a policy over the same space with the same spec and seed.

        Raises UsageError for a memory of codes of another space.
        """
        memory = [code_of(text, self.controller.space) for text in about["memory"]]
        self.controller.load_state_dict(_below("weights/", tensors))
        self._optimiser.restore(_below("adam/", tensors))
        self._baseline = about["baseline"]
        self._memory = memory

    def _bonuses(self, drawn: Samples) -> list[float]:
        """What the sampled form of entropy adds to each cell's reward: weight · Σ -p·log p of its options."""
        if self.strategy.entropy.form != "sampled":
            return [0.0] * len(drawn.codes)
        sums = -(drawn.log_probabilities.exp() * drawn.log_probabilities).sum(1)
        return [self.strategy.entropy.weight * each for each in sums.tolist()]

    def _moved(self, mean: float) -> float:
        """The baseline as it was, and move it towards this step's mean reward."""
        spec = self.strategy.baseline
        baseline = self._baseline
        if baseline is None:
            baseline = mean if spec.start == "first" else 0.0
        self._baseline = spec.decay * baseline + (1 - spec.decay) * mean
        return baseline

    def _taught(self, epoch: int, number: int) -> list[Code]:
        """The cells of the memory that this step teaches, no place of it twice; all where it has too few."""
        memory = self.strategy.memory
        if memory is None or epoch < memory.taught:
            return []
        order = torch.randperm(len(self._memory), generator=self._streams.of("taught", epoch, number))
        return [self._memory[place] for place in order[: memory.batch].tolist()]

    def _descend(self, loss: Tensor) -> None:
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.strategy.controller.grad_norm is not None:
            nn.utils.clip_grad_norm_(self.controller.parameters(), self.strategy.controller.grad_norm)
        self._optimiser.step()


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
