"""Sentence-pair models, each in one file; `MODELS` is all that is known of them before they are built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelRow:
    """A model: the names of its recurrent layers in order, how many places of standard dropout, and its class."""

    recurrent: tuple[str, ...]
    places: int
    builder: str

    @property
    def layers(self) -> int:
        """How many recurrent layers it has."""
        return len(self.recurrent)


MODELS: Mapping[str, ModelRow] = {
    "blm": ModelRow(recurrent=("recurrent",), places=2, builder="nasctl.models.blm:Blm"),
    "esim": ModelRow(recurrent=("encode", "compose"), places=2, builder="nasctl.models.esim:Esim"),
    "bow": ModelRow(recurrent=(), places=2, builder="nasctl.models.bow:Bow"),
}
