"""Where the cells stand: one letter per recurrent layer, C for the cell and L for an LSTM; and the paper's letters.

The paper says in one letter what stands in a layer and where it comes from: L, E (searched), R (random) and T
(transferred). Here two settings say it: `cell=random layers=CL` is the paper's RL.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from nasctl.errors import UsageError
from nasctl.models import MODELS

LETTERS: Mapping[str, str] = {"lstm": "L", "searched": "E", "random": "R", "transferred": "T"}
"""The paper's letter of a layer whose cell comes from there; any other keeps the C for cell."""

SOURCES: Mapping[str, str] = {letter: source for source, letter in LETTERS.items() if source != "lstm"}
"""Which cells a letter of the paper's stands for."""


def paper_letters(cell: str, layers: str) -> str:
    """The paper's letters: ("random", "CL") becomes "RL", ("lstm", "C") becomes "L"."""
    return layers.replace("C", LETTERS.get(cell, "C"))


def from_paper(letters: str) -> tuple[str, str] | None:
    """`cell` and `layers` for the paper's letters: "RL" becomes ("random", "CL"); None if these are ours already.

    Raises UsageError for letters of which no two settings could be made.
    """
    found = sorted({letter for letter in letters if letter in SOURCES})
    if not found:
        return None
    if len(found) > 1 or "C" in letters:
        raise UsageError(
            f"layers={letters} takes cells from two places", "one of the paper's letters, E, R or T, beside L: RL, RR"
        )
    return SOURCES[found[0]], letters.replace(found[0], "C")


def layer_letters(model: str, cell: str, asked: str | None) -> str:
    """One letter per recurrent layer, C or L: as asked for, or (None) `cell` in every layer.

    Raises UsageError for letters that do not fit the model, or that contradict `cell`.
    """
    count = MODELS[model].layers
    if cell == "lstm":
        fitting = ["L" * count]
    else:
        fitting = ["".join(letters) for letters in product("CL", repeat=count) if "C" in letters]
    if not fitting:
        raise UsageError(f"model={model} has no recurrent layer in which cell={cell} could stand", "cell=lstm")
    if asked is None:
        return fitting[0]
    if asked in fitting:
        return asked
    raise UsageError(f"layers={asked} does not fit model={model} with cell={cell}", _hint(model, cell, asked, fitting))


def _hint(model: str, cell: str, asked: str, fitting: list[str]) -> str:
    if asked.upper() in fitting:
        return f"layers={asked.upper()}"
    if not any(fitting):
        return f"{model} has no recurrent layer: leave layers= away"
    right = "layers=" + " or ".join(fitting)
    if len(asked) != len(fitting[0]):
        return f"one letter per recurrent layer: {right}"
    if set(asked) - {"C", "L"}:
        return f"C is the cell, L an LSTM: {right}"
    if cell == "lstm":
        return f"{right}, or say which cell C is: cell=random, named or file"
    return f"{right} (C is the cell), or cell=lstm"
