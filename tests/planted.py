"""Problems whose best cells are known, for policies: rewards that are functions of a code alone."""

from dataclasses import replace
from typing import Any

from nasctl.spaces.base import Code
from nasctl.spaces.enas import ACTIVATIONS
from nasctl.strategies import BaselineSpec, ControllerSpec, EnasStrategy, EntropySpec, RewardSpec

PHAM = ControllerSpec(
    hidden=100,
    reads="hidden",
    temperature=5.0,
    tanh_constant=2.5,
    initial=0.1,
    learning_rate=3.5e-4,
    grad_norm=None,
)
FROM_FIRST = BaselineSpec(decay=0.95, start="first", reset=False)


def strategy(**changes: Any) -> EnasStrategy:
    """The defaults of a search, with these changes."""
    spec = EnasStrategy(
        name="enas",
        controller=PHAM,
        reward=RewardSpec(pairs=64, batches="random", mode="eval"),
        baseline=FROM_FIRST,
        entropy=EntropySpec(weight=1e-4, form="loss"),
        memory=None,
        steps=100,
        samples=10,
    )
    return replace(spec, **changes)


def relations(code: Code) -> float:
    """How many of the relations between an ENAS cell's choices are right, from 0 to 1; by chance one half are.

    Where tanh, relu, identity, sigmoid are 0 to 3: a later node's activation is of the other half of these than its
    parent's, and odd where the number of its parent is. No choice is better than another but for what stands around it.
    """
    activations = [ACTIVATIONS.index(name) for name in code[::2]]
    right = 0
    for node, parent in enumerate(map(int, code[1::2]), start=1):
        right += activations[node] // 2 != activations[parent] // 2
        right += activations[node] % 2 == parent % 2
    return right / (2 * len(activations) - 2)
