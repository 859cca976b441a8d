"""From settings to a run that can start: data and vectors prepared in the store's cache."""

from __future__ import annotations

from pathlib import Path

from nasctl.cli.stores import Stores, stores_of
from nasctl.cli.text import counted, size
from nasctl.config.settings import Settings
from nasctl.data.labels import in_words, otherwise
from nasctl.data.sources import data_root
from nasctl.embeddings.features import Features
from nasctl.errors import MachineError
from nasctl.experiments.found import Place
from nasctl.experiments.pools import Cells, cells_of
from nasctl.experiments.resolve import Resolved, resolve

__all__ = ["cells_asked", "data_folder", "resolved", "told"]

PAPERS_SHARE = "the paper: 6 %"
"""Of GloVe's unknown tokens, MacLaughlin et al. 2020, appendix A.1."""


def data_folder(settings: Settings) -> Path | None:
    """The folder of data sets and vectors: the one asked for, else the environment's; None if neither says one."""
    try:
        return data_root(Path(settings.data.root) if settings.data.root else None)
    except MachineError:
        return None


def cells_asked(settings: Settings) -> Cells:
    """The cells that the settings name, in their places. Raises what `experiments.pools.cells_of` raises."""
    place = Place(stores_of(settings).root, settings.dataset.name, settings.embedding.name, settings.model.name)
    return cells_of(settings.cell, place, settings.layers)


def resolved(settings: Settings, cells: Cells, stores: Stores) -> Resolved:
    """The run that the settings describe. Raises what `experiments.resolve` raises."""
    return resolve(
        dataset=settings.dataset,
        embedding=settings.embedding,
        model=settings.model,
        cells=cells,
        asked=settings.training,
        seed=settings.seed,
        data_root=data_folder(settings),
        cache=stores.cache,
    )


def told(found: Resolved) -> str:
    """What was prepared: of a user's own pairs, how their labels were read; then, as a line, what they are embedded in.

    That line has the vocabulary, and how much of the text has no vector; or the features.
    """
    return f"{_labels_told(found)}{_embedding_told(found)}"


def _labels_told(found: Resolved) -> str:
    """A line for a user's own pairs, whose labels say themselves what they are; "" for others."""
    if not found.own:
        return ""
    corpus = found.corpus
    read = in_words(corpus.task, corpus.classes, [split.labels for split in corpus.splits.values()])
    return f"{found.labels['dataset']}: labels read as {read}{otherwise(corpus.task, corpus.classes)}\n"


def _embedding_told(found: Resolved) -> str:
    if isinstance(found.embedded, Features):
        features = found.embedded
        cut = f", {counted(features.cut, 'pair')} cut" if features.cut else ""
        unknown = f", {features.unknown:.1%} of pieces unknown" if features.unknown else ""
        per_pair = f"{len(features.rows) / features.pairs:.1f} tokens per pair{cut}"
        return (
            f"{found.labels['dataset']}: {features.pairs} pairs as {found.labels['vectors']} reads them, "
            f"{features.layers} layers of {features.rows.shape[2]}, {per_pair}{unknown}, "
            f"{size(features.rows.nbytes)} in the cache"
        )
    share = f"{found.embedded.oov_share:.1%} of tokens unknown"
    if found.labels["embedding"] == "glove":
        share += f" ({PAPERS_SHARE})"
    words = len(found.corpus.vocabulary) - 1
    return f"{found.labels['dataset']}: {words} words, vectors from {found.embedded.source}, {share}"
