"""The training of one cell of a search on its own."""

from __future__ import annotations

from nasctl.specs import LayerSpec, RunSpec, SearchSpec

__all__ = ["alone"]


def alone(spec: SearchSpec, cell: str) -> RunSpec:
    """The run that trains this cell on its own with the search's hyperparameters."""
    return RunSpec(
        kind="run",
        data=spec.data,
        metric=spec.metric,
        embedding=spec.embedding,
        model=spec.model,
        layers=tuple(LayerSpec(cell, width) for width in spec.hidden),
        training=spec.training,
        precision=spec.precision,
        result_version=spec.result_version,
    )
