"""The paper's letters in `layers=`, which set two keys: `layers=RL` is written out as `cell=random layers=CL`."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.types import Override

from nasctl.errors import UsageError
from nasctl.experiments.layers import from_paper

__all__ = ["written_out"]


def written_out(overrides: Sequence[str], parsed: Sequence[Override]) -> list[str]:
    """The overrides with `layers=RL` as the two keys that it stands for; others as they are.

    Raises UsageError where another `cell` is asked for.
    """
    values = {each.key_or_group: each.value() for each in parsed}
    letters = values.get("layers")
    meant = from_paper(letters) if isinstance(letters, str) else None
    if meant is None:
        return list(overrides)
    cell, layers = meant
    if values.get("cell", cell) != cell:
        raise UsageError(
            f"layers={letters} is short for cell={cell} layers={layers}, and contradicts cell={values['cell']}",
            f"layers={layers}, or leave cell= away",
        )
    others = [text for text, each in zip(overrides, parsed, strict=True) if each.key_or_group not in {"layers", "cell"}]
    return [f"cell={cell}", f"layers={layers}", *others]
