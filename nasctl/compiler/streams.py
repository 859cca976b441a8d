"""Named random streams as torch generators."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nasctl.rng import stream_seed


@dataclass(frozen=True)
class Streams:
    """Generators by name under one seed; `below` adds a name in front of every further one."""

    seed: int
    device: str
    names: tuple[str, ...] = ()

    def below(self, *names: str) -> Streams:
        """The same streams with `names` in front."""
        return Streams(self.seed, self.device, (*self.names, *names))

    def of(self, *names: str | int) -> torch.Generator:
        """A fresh generator of the stream: asked twice, it draws the same twice."""
        generator = torch.Generator(self.device)
        generator.manual_seed(stream_seed(self.seed, *self.names, *names))
        return generator
