"""Sentence-pair models, each in one file; `MODELS` is all that is known of them before they are built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelRow:
    """A model: how many recurrent layers, how many places of standard dropout, and the class that is it."""

    layers: int
    places: int
    builder: str


MODELS: Mapping[str, ModelRow] = {
    "blm": ModelRow(layers=1, places=2, builder="nasctl.models.blm:Blm"),
    "esim": ModelRow(layers=2, places=2, builder="nasctl.models.esim:Esim"),
    "bow": ModelRow(layers=0, places=2, builder="nasctl.models.bow:Bow"),
}
