"""What runs need of a machine, estimated before anything starts: disk and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nasctl.cells.spelling import LSTM, cell_of
from nasctl.cli.driving import IN_FLIGHT
from nasctl.cli.stores import stores_of
from nasctl.cli.text import counted, size
from nasctl.errors import MachineError
from nasctl.experiments.found import Place
from nasctl.experiments.pools import RandomCells, cells_of
from nasctl.models import MODELS
from nasctl.sources import ContextualSpec
from nasctl.spaces import space_named
from nasctl.spaces.sharing import shared_weights, sharing
from nasctl.specs import Choice
from nasctl.strategies import ProposerSpec
from nasctl.tuning.folders import trial_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nasctl.config.settings import Settings
    from nasctl.experiments.pools import Cells

__all__ = ["check_memory", "run_bytes", "sampled_cells", "search_bytes", "study_bytes", "widest", "worker_memory"]

DATABASE_BYTES = 2_000_000
"""Both databases, empty."""
FLOAT_BYTES = 4
WIDEST_INPUT = 2400
"""An upper bound of what enters a recurrent layer, to bound a checkpoint's size."""

SAMPLED = 4
"""Cells by which the cost of a space is judged."""

RESUME_COPIES = 4
"""What a resume checkpoint holds: the weights, two moments of each, the best weights."""

WORKER_BYTES = 900_000_000
"""What a worker with torch has resident before it trains anything wide, prepared data included."""
TRAINING_COPIES = 5
"""Weights, gradients, two moments, the best weights."""
VALUES = 48
"""Numbers per token, direction and hidden unit: gates, states, their gradients, and what the allocator keeps."""


def run_bytes(settings: Settings, cells: Cells) -> int:
    """An upper estimate of the disk that one run needs, prepared data and its checkpoints included."""
    return study_bytes(settings, cells, trials=1, workers=1)


def study_bytes(settings: Settings, cells: Cells, trials: int, workers: int) -> int:
    """An upper estimate of the disk that a study needs: databases, checkpoints, and one to go on from per worker."""
    databases = DATABASE_BYTES + trials * trial_bytes(settings.training.epochs)
    return databases + ((1 + RESUME_COPIES) * workers + 1) * _checkpoint_bytes(settings, cells)


def search_bytes(settings: Settings, workers: int) -> int:
    """An upper estimate of the disk that a search needs: its epochs, its checkpoint, and one to go on from.

    Where cells are trained alone, what their trials need.
    """
    strategy = settings.search.strategy
    if isinstance(strategy, ProposerSpec):
        return study_bytes(settings, sampled_cells(settings), strategy.trials, min(IN_FLIGHT, workers))
    shared = FLOAT_BYTES * max(MODELS[settings.model.name].layers, 1) * 2 * _shared(settings)
    return DATABASE_BYTES + trial_bytes(settings.training.epochs) + (2 + RESUME_COPIES) * shared


def sampled_cells(settings: Settings) -> Cells:
    """A few cells of the space that is searched, to judge its cost by."""
    asked = settings.search.space
    place = Place(stores_of(settings).root, settings.dataset.name, settings.embedding.name, settings.model.name)
    return cells_of(RandomCells("random", asked.name, asked.nodes, SAMPLED, 0), place, None)


def _shared(settings: Settings) -> int:
    """The numbers of one direction of the shared weights, in the widest layer that is asked for."""
    width = max(settings.training.hidden)
    space = sharing(space_named(settings.search.space.name, nodes=settings.search.space.nodes))
    return shared_weights(space).parameters(min(8 * width, WIDEST_INPUT), width)


def worker_memory(settings: Settings, cells: Cells) -> int:
    """About how many bytes of memory a worker needs, at the widest layers and the largest batch that can be asked for.

    BLM with 200 units on SICK-R had 1.2 to 1.7 GB at most, ESIM with 600 and 200 on MRPC 4.3; this says 1.3 and 4.1.
    """
    layers = max(MODELS[settings.model.name].layers, 1)
    domain = settings.study.space.get("batch_size")
    batch = max(map(int, domain.choices)) if isinstance(domain, Choice) else settings.training.batch_size
    contextual = isinstance(settings.embedding, ContextualSpec)
    per_pair = settings.dataset.max_pieces if contextual else 2 * settings.dataset.max_tokens
    activations = FLOAT_BYTES * batch * per_pair * 2 * layers * widest(settings) * VALUES
    return WORKER_BYTES + TRAINING_COPIES * _checkpoint_bytes(settings, cells) + activations


def check_memory(asked: Sequence[tuple[Settings, Cells]], workers: int) -> None:
    """Raises MachineError if so many workers cannot all have the memory that the hungriest of the studies needs."""
    from nasctl.workers.machine import free_memory  # noqa: PLC0415 - --help need not pay for it

    each = max(worker_memory(settings, cells) for settings, cells in asked)
    available = free_memory()
    if workers > 1 and workers * each > available:
        raise MachineError(
            f"{counted(workers, 'worker')} need about {size(workers * each)} of memory ({size(each)} each), "
            f"{size(available)} are available",
            f"workers={max(available // each, 1)}, or narrower layers and smaller batches",
        )


def widest(settings: Settings) -> int:
    """The widest layer that the space allows."""
    domain = settings.study.space.get("hidden")
    return max(map(int, domain.choices) if isinstance(domain, Choice) else settings.training.hidden)


def _checkpoint_bytes(settings: Settings, cells: Cells) -> int:
    """Two directions of the largest cell per recurrent layer, as wide as anything that the space allows."""
    width = widest(settings)
    inputs = min(8 * width, WIDEST_INPUT)
    texts = {LSTM, *(each.cell for each in cells.pool.cells)} if cells.pool else {LSTM}
    largest = max(cell_of(text).parameters(inputs, width) for text in texts)
    return FLOAT_BYTES * max(MODELS[settings.model.name].layers, 1) * 2 * largest
