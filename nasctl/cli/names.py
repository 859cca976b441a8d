"""What runs, studies and searches are called unless they are given names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from nasctl.files import LONGEST_NAME

if TYPE_CHECKING:
    from nasctl.config.settings import Settings

__all__ = ["run_name", "search_name", "study_name"]


def run_name(labels: Mapping[str, str], seed: int) -> str:
    """What a single run is called: `sick-glove-blm-L-s3`."""
    return f"{study_name(labels)}-s{seed}"


def study_name(labels: Mapping[str, str]) -> str:
    """What a study is called unless it is given a name: `sick-glove-blm-L`."""
    return _joined(*(labels[part] for part in ("dataset", "embedding", "model", "letters")))


def search_name(settings: Settings) -> str:
    """What a search is called unless it is given a name: `sick-glove-blm-enas`."""
    parts = (settings.dataset.name, settings.embedding.name, settings.model.name, settings.search.method)
    return settings.search.name or _joined(*parts)


def _joined(*parts: str) -> str:
    """The parts as one name that is a folder's too; an encoder's, say, may hold slashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(filter(None, parts))).strip("_-.")[:LONGEST_NAME]
