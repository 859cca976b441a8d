"""What runs need of a machine, estimated before anything starts: disk and memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nasctl.cells.spelling import LSTM, cell_of
from nasctl.cli.driving import IN_FLIGHT
from nasctl.cli.stores import stores_of
from nasctl.cli.text import counted, size
from nasctl.errors import MachineError
from nasctl.experiments.found import Place
from nasctl.experiments.pools import RandomCells, cells_of
from nasctl.experiments.resolve import one_each
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
    from nasctl.specs import Domain

__all__ = [
    "batch_sizes",
    "check_memory",
    "run_bytes",
    "sampled_cells",
    "search_bytes",
    "study_bytes",
    "untuned",
    "widest",
    "widths",
    "worker_memory",
]

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
    return study_bytes(untuned(settings), cells, trials=1, workers=1)


def untuned(settings: Settings) -> Settings:
    """The settings of a single run: a sweep's widest layers and batches are none that it needs anything for."""
    return replace(settings, study=replace(settings.study, space={}))


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
    _, batch = batch_sizes(settings)
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
    """The widest layer that can be asked for; of a model without layers what `training.hidden` says."""
    return max(widths(settings), default=max(settings.training.hidden))


def widths(settings: Settings) -> tuple[int, ...]:
    """The most units that each recurrent layer can have. Raises UsageError for another number of widths than layers."""
    space, count = settings.study.space, MODELS[settings.model.name].layers
    fixed = one_each("training.hidden", settings.training.hidden, count)
    domains = [space.get(f"hidden_{layer}", space.get("hidden")) for layer in range(1, count + 1)]
    return tuple(_ends(domain, width)[1] for domain, width in zip(domains, fixed, strict=True))


def batch_sizes(settings: Settings) -> tuple[int, int]:
    """The smallest and the largest batch that can be asked for."""
    return _ends(settings.study.space.get("batch_size"), settings.training.batch_size)


def _ends(domain: Domain | None, fixed: int) -> tuple[int, int]:
    """The least and the most that a whole number can be which is searched in `domain`, if there is one."""
    if domain is None:
        return fixed, fixed
    values = domain.choices if isinstance(domain, Choice) else (domain.low, domain.high)
    return min(map(int, values)), max(map(int, values))


def _checkpoint_bytes(settings: Settings, cells: Cells) -> int:
    """Two directions of the largest cell per recurrent layer, as wide as anything that the space allows."""
    width = widest(settings)
    inputs = min(8 * width, WIDEST_INPUT)
    texts = {LSTM, *(each.cell for each in cells.pool.cells)} if cells.pool else {LSTM}
    largest = max(cell_of(text).parameters(inputs, width) for text in texts)
    return FLOAT_BYTES * max(MODELS[settings.model.name].layers, 1) * 2 * largest
