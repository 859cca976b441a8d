"""Tensors on disk: safetensors and JSON, written whole or not at all.

Two kinds of files: the weights of a trained model, and what a training needs to go on, which says what it is of and
carries a checksum of everything in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from nasctl.errors import MachineError
from nasctl.files import write_atomically

ABOUT, CHECKSUM = "about", "sha256"
"""The keys of a checked file's metadata."""


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


def save_checked(path: Path, tensors: Mapping[str, Tensor], about: Any) -> None:
    """Write tensors (on the CPU) and a JSON value, with a checksum of both."""
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    text = json.dumps(about)
    save_weights(path, plain, {ABOUT: text, CHECKSUM: _checksum(plain, text)})


def load_checked(path: Path) -> tuple[dict[str, Tensor], Any]:
    """What `save_checked` wrote. Raises MachineError if the file is missing, cut short or changed."""
    tensors, meta = load_weights(path, "cpu")
    text = meta.get(ABOUT, "")
    if meta.get(CHECKSUM) != _checksum(tensors, text):
        raise MachineError(f"no usable checkpoint at {path}: its content does not fit its checksum")
    return tensors, json.loads(text)


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    """SHA-256 of the text, and of every tensor's name, type, shape and bytes."""
    sum_ = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sum_.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        sum_.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sum_.hexdigest()
