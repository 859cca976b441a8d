"""Adam with decoupled weight decay (Loshchilov and Hutter 2019, Algorithm 2): torch's kernel without torch's classes.

The first use of any `torch.optim.Optimizer` imports torch's compiler, which takes longer than torch itself: seconds of
every worker. The functional form moves the same bits and imports nothing; tests hold both.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

BETAS, EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class Group:
    """Parameters that lose learning rate times `weight_decay` of themselves in every step."""

    parameters: Sequence[nn.Parameter]
    weight_decay: float


def grouped(model: nn.Module, weight_decay: float) -> tuple[Group, Group]:
    """What is trained of a model: matrices decay, vectors (biases, gains) do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = Group([each for each in trained if each.ndim >= 2], weight_decay)
    return matrices, Group([each for each in trained if each.ndim < 2], 0.0)


@dataclass(frozen=True)
class _Moments:
    """What is remembered of a parameter's gradients: running means of them and of their squares, and their number."""

    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor


class Adam:
    """An optimiser. What has no gradient is not moved, by decay neither."""

    def __init__(self, groups: Sequence[Group], learning_rate: float) -> None:
        places = itertools.count()
        self._groups = [(group.weight_decay, [(next(places), each) for each in group.parameters]) for group in groups]
        self._rate = learning_rate
        self._moments: dict[int, _Moments] = {}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for _, placed in self._groups:
            for _, parameter in placed:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for decay, placed in self._groups:
            moved = [(place, each, each.grad) for place, each in placed if each.grad is not None]
            moments = [self._of(place, each) for place, each, _ in moved]
            adamw(
                [each for _, each, _ in moved],
                [gradient for *_, gradient in moved],
                [each.exp_avg for each in moments],
                [each.exp_avg_sq for each in moments],
                [],
                [each.step for each in moments],
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=self._rate,
                weight_decay=decay,
                eps=EPSILON,
                maximize=False,
            )

    def moments(self) -> dict[str, Tensor]:
        """What it remembers, by the place of the parameter: "3/exp_avg". Of what never had a gradient there is nothing.

        They move with the next step.
        """
        return {f"{place}/{name}": each for place, held in self._moments.items() for name, each in vars(held).items()}

    def restore(self, held: Mapping[str, Tensor]) -> None:
        """Remember copies of the `moments` of another of the same parameters."""
        self._moments = {
            place: _Moments(
                *(held[f"{place}/{name}"].to(each.device, copy=True) for name in ("exp_avg", "exp_avg_sq", "step"))
            )
            for _, placed in self._groups
            for place, each in placed
            if f"{place}/step" in held
        }

    def _of(self, place: int, parameter: nn.Parameter) -> _Moments:
        if place not in self._moments:
            mean, square = torch.zeros_like(parameter), torch.zeros_like(parameter)
            self._moments[place] = _Moments(mean, square, torch.zeros((), device=parameter.device))
        return self._moments[place]
