"""Weights on disk: safetensors, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from nasctl.errors import MachineError
from nasctl.files import write_atomically


def save_weights(path: Path, weights: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write weights (contiguous, on the CPU) with what they are of: strings, such as the run's digest."""
    write_atomically(path, safetensors.torch.save(dict(weights), dict(about)))


def load_weights(path: Path, device: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights of a file and what they are of. Raises MachineError if it is missing or damaged."""
    try:
        with safetensors.safe_open(path, framework="pt", device=device) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise MachineError(f"no usable checkpoint at {path}: {error}") from error
