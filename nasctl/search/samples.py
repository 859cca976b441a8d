"""samples.json: what a finished search says of samples of its policies, for the controller's study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from nasctl.errors import MachineError, UsageError
from nasctl.files import write_atomically
from nasctl.samplers import STRICT
from nasctl.spaces import space_named
from nasctl.spaces.base import SearchSpace, choices_of
from nasctl.specs import Metric
from nasctl.strategies import SpaceSpec

FILE = "samples.json"

Policy = Literal["untrained", "trained", "uniform"]
"""Who drew a sample: the controller as it began, the controller of the best epoch, or nobody (uniform draws)."""

Probability = Annotated[float, Field(ge=0.0, le=1.0 + 1e-6)]  # float32 rounds up

ROUNDING = 1e-6
"""By how much the probability of the option taken may exceed the largest one."""


@dataclass(frozen=True, config=STRICT)
class SampledCell:
    """A code, and what its policy held while drawing it.

    `largest` and `chosen` are probabilities per choice, of the likeliest option and of the one taken; `hidden` is the
    LSTM's hidden state at the last choice. A uniform draw has none of them, and its `log_probability` (natural) may be
    None. `score` is the metric on all of dev under the shared weights; None if there is none.
    """

    code: str
    log_probability: Annotated[float, Field(le=ROUNDING)] | None = None
    largest: tuple[Probability, ...] = ()
    chosen: tuple[Probability, ...] = ()
    hidden: tuple[float, ...] | None = None
    score: float | None = None

    def __post_init__(self) -> None:
        if len(self.largest) != len(self.chosen):
            raise ValueError(f"{self.code} has {len(self.largest)} largest and {len(self.chosen)} chosen probabilities")
        for step, (most, taken) in enumerate(zip(self.largest, self.chosen, strict=True), start=1):
            if taken > most + ROUNDING:
                raise ValueError(f"choice {step} of {self.code}: {taken:g} was chosen, and the largest is {most:g}")


@dataclass(frozen=True, config=STRICT)
class Examined:
    """Samples of each policy that a search examined, in the order drawn; duplicates stay.

    Raises ValueError for codes of another space, for probabilities that are not one per choice, and where hidden
    states differ in width.
    """

    version: Literal[1]
    space: SpaceSpec
    metric: Metric
    policies: Mapping[Policy, tuple[SampledCell, ...]] = field(hash=False)

    def __post_init__(self) -> None:
        space = self.cells
        widths = set()
        for policy, samples in self.policies.items():
            for each in samples:
                try:
                    choices = choices_of(space, tuple(each.code.split("-")))
                except UsageError as error:
                    raise ValueError(f"{policy}: {error}") from error
                if each.largest and len(each.largest) != len(choices):
                    raise ValueError(f"{policy}: {each.code} has {len(each.largest)} of {len(choices)} probabilities")
                widths |= set() if each.hidden is None else {len(each.hidden)}
        if len(widths) > 1:
            raise ValueError(f"hidden states of {', '.join(map(str, sorted(widths)))} numbers")

    @property
    def cells(self) -> SearchSpace:
        """The space that the codes are of."""
        return space_named(self.space.name, nodes=self.space.nodes)


EXAMINED = TypeAdapter(Examined)


def write_samples(path: Path, examined: Examined) -> None:
    """Write the file whole or not at all; raises OSError that names it."""
    write_atomically(path, EXAMINED.dump_json(examined) + b"\n")


def read_samples(path: Path) -> Examined:
    """Read the file back. Raises MachineError if it is not there, or not whole, or no such file."""
    try:
        return EXAMINED.validate_json(path.read_bytes())
    except OSError as error:
        raise MachineError(f"no samples in {path}: {error.strerror}", "the search has to run to its end") from error
    except (ValidationError, UsageError) as error:
        raise MachineError(f"{path} holds no samples: {_fault(error)}", "run the search again") from error


def _fault(error: ValidationError | UsageError) -> str:
    if isinstance(error, UsageError):
        return str(error)
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
