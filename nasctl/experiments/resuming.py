"""Going on with a run or a search that was left: what it leaves at the end of an epoch, and who may take that up.

It is left by whoever closes its generator, or by the end of its process. It can be taken up at the end of an epoch
only: one with long epochs loses up to one of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Generic, TypeVar

import safetensors
import torch
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from nasctl.errors import MachineError
from nasctl.files import digest
from nasctl.tracking.records import EpochRecord
from nasctl.training.checkpoints import load_checked, save_checked

__all__ = ["Left", "Progress", "Resumption", "Unfinished", "above", "below", "origin_of"]

T = TypeVar("T")

LOG = logging.getLogger(__name__)

SPARE_BYTES = 200 * 1000 * 1000
"""What a checkpoint leaves free on its disk: the stores are there, and they cannot do without."""

Origin = Mapping[str, str | int]
"""What must be equal for a run to go on with the same numbers, by name."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Progress:
    """What a run has told so far, for its record.

    `constant` counts epochs whose predictions did not vary, `resumed` how often the run was taken up. `seconds` are by
    phase, `memory` is the peak in bytes; both are of all attempts, but for what was lost between them.
    """

    history: tuple[EpochRecord, ...] = ()
    best_epoch: int = 0
    constant: int = 0
    resumed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)

    @property
    def best(self) -> EpochRecord | None:
        """The best epoch, if there was one."""
        return self.history[self.best_epoch - 1] if self.best_epoch else None


PROGRESS = TypeAdapter(Progress)


Left = tuple[dict[str, Tensor], dict[str, Any]]
"""A training or a search at the end of an epoch, all that its next numbers depend on: tensors, and a JSON object."""


@dataclasses.dataclass(frozen=True)
class Unfinished(Generic[T]):
    """What was found of an earlier attempt: the state that it left, and what it had told."""

    state: T
    progress: Progress


def origin_of(digest_: str, result_version: int, model: nn.Module, device: str, threads: int) -> Origin:
    """What the next numbers of a run or a search depend on beside its state."""
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    return {
        "digest": digest_,
        "result_version": result_version,
        "torch": torch.__version__,
        "device": device,
        "threads": threads,
        "tensors": digest(shapes),
    }


class Resumption:
    """The resume checkpoint of one run or search, the file `path`.

    A run that is younger than `after` seconds leaves none, unless it is told to end; an older one leaves one every
    `every` seconds at most. No run is worth less without: a checkpoint that cannot be read or written, or is not of the
    run, costs a line in the log.
    """

    def __init__(self, path: Path, after: float, every: float) -> None:
        self.path, self._after, self._every = path, after, every
        self._saved_at = -math.inf

    def load(self, origin: Origin, state_of: Callable[[Left, Progress], T]) -> Unfinished[T] | None:
        """What an earlier attempt has left, as `state_of` reads it, if it is whole and of this origin."""
        for aside in self.path.parent.glob(f".{self.path.name}.*"):
            aside.unlink(missing_ok=True)  # that attempt was killed while it wrote
        if not self.path.exists():
            return None
        try:
            left, progress = _read(self.path, origin)
            found = Unfinished(state_of(left, progress), progress)
        except (MachineError, OSError, LookupError, TypeError, AttributeError, ValueError) as error:
            LOG.warning("%s is not used, the run begins again: %s", self.path, error)
            return None
        self._saved_at = sum(progress.seconds.values())
        LOG.info("%s: the run goes on after epoch %d", self.path, len(progress.history))
        return found

    @contextlib.contextmanager
    def kept(self, origin: Origin, left: Callable[[], Left], progress: Progress) -> Iterator[None]:
        """Around the yield of an epoch: writes a checkpoint if one is due, and if the run is left there."""
        seconds = sum(progress.seconds.values())
        due = seconds >= self._after and seconds - self._saved_at >= self._every
        if due:
            self._saved_at = seconds
            self._save(origin, left(), progress)
        try:
            yield
        except GeneratorExit:
            if not due:
                self._save(origin, left(), progress)
            raise

    def _save(self, origin: Origin, left: Left, progress: Progress) -> None:
        tensors, state = left
        about = {"origin": dict(origin), "state": state, "progress": PROGRESS.dump_python(progress, mode="json")}
        try:
            _check_room(self.path.parent, sum(tensor.nbytes for tensor in tensors.values()))
            save_checked(self.path, tensors, about)
        except (OSError, MemoryError, safetensors.SafetensorError) as error:
            LOG.warning("%s was not written, the run goes on without: %s", self.path, error)


def _check_room(folder: Path, needed: int) -> None:
    """Raises OSError if a file of so many bytes would take what the stores on the same disk may need."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise OSError(errno.ENOSPC, f"{free / 1e6:.0f} MB free; {(needed + SPARE_BYTES) / 1e6:.0f} MB are wanted")


def _read(path: Path, origin: Origin) -> tuple[Left, Progress]:
    """Raises MachineError if the file is damaged or of another origin, and what a malformed value raises."""
    tensors, about = load_checked(path)
    different = {name: (about["origin"].get(name), asked) for name, asked in origin.items()}
    told = [f"{name} is {found}, not {asked}" for name, (found, asked) in different.items() if found != asked]
    if told:
        raise MachineError(f"its {', its '.join(told)}")
    return (tensors, about["state"]), PROGRESS.validate_python(about["progress"])


def above(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under longer names: `best/head.weight`."""
    return {f"{name}/{key}": tensor for key, tensor in tensors.items()}


def below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with that in front of their names, without it."""
    return {key.removeprefix(f"{name}/"): tensor for key, tensor in tensors.items() if key.startswith(f"{name}/")}
