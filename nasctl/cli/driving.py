"""Orders driven from this process over workers on this machine, whether they are studies or searches."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nasctl.cli.stores import tracker_for_studies
from nasctl.errors import UsageError

if TYPE_CHECKING:
    from nasctl.cli.stores import Stores
    from nasctl.config.settings import Settings
    from nasctl.specs import Metric
    from nasctl.tuning.events import Event
    from nasctl.tuning.work import Order
    from nasctl.workers.pool import Pool

__all__ = ["IN_FLIGHT", "check_common", "drive", "slots"]

IN_FLIGHT = 8
"""Trials of one study or search at a time, at most, whatever the number of workers: it is a part of the method."""

Prepared = tuple[str, str]
"""The digests of a prepared data set and embedding."""


def slots(settings: Settings, studies: int = 1) -> int:
    """How many jobs run at a time, of so many studies or searches."""
    from nasctl.workers.local import local_slots  # noqa: PLC0415 - --help need not pay for it

    if settings.pool == "inprocess":
        return 1
    return len(local_slots(settings.workers, settings.device, os.environ, IN_FLIGHT * studies))


def check_common(every: Sequence[Settings]) -> None:
    """What one command drives shares the stores and the workers. Raises UsageError if it was asked not to."""
    for each in every[1:]:
        for key in ("store", "pool", "workers", "device", "timeouts", "resume", "max_failed"):
            if getattr(each, key) != getattr(every[0], key):
                raise UsageError(f"{key} must be the same in all studies of one command", "one command for each")


def drive(
    orders: Sequence[Order],
    settings: Settings,
    stores: Stores,
    resume: str,
    *,
    prepared: Sequence[Prepared],
    metrics: Mapping[str, Metric],
) -> Sequence[Event]:
    """Drive all orders to their ends over one pool of workers, telling how far they are; everything that happened.

    `resume` is the command that goes on with them, `metrics` what each is tuned by. Workers open what is `prepared`.
    """
    from nasctl.cli.progress import follow  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tuning.scheduler import Scheduler  # noqa: PLC0415 - as above
    from nasctl.tuning.study import StudyStore  # noqa: PLC0415 - optuna, as above

    tracker = tracker_for_studies(stores)
    store = StudyStore(stores.studies, stores.durability, settings.timeouts.database)
    try:
        scheduler = Scheduler(
            orders,
            _pool(settings, stores, prepared, len(orders)),
            store,
            stores.root,
            tracker=tracker,
            max_failed=settings.max_failed,
            grace=settings.timeouts.grace,
            resume=f"to go on: {resume}",
            sync=stores.typed("nasctl", "sync"),
            databases=tuple(path for name, path in stores.files().items() if name == "tracking"),
        )
        return list(follow(scheduler.run(), metrics))
    finally:
        store.close()


def _pool(settings: Settings, stores: Stores, prepared: Sequence[Prepared], studies: int) -> Pool:
    from nasctl.workers.inprocess import InProcessPool  # noqa: PLC0415 - --help need not pay for it
    from nasctl.workers.local import local_pool, local_slots  # noqa: PLC0415 - as above
    from nasctl.workers.pool import Limits  # noqa: PLC0415 - as above

    times, resume = settings.timeouts, settings.resume
    if settings.pool == "inprocess":
        (slot,) = local_slots(1, settings.device, os.environ)
        return InProcessPool(
            cache=stores.cache, device=slot.device, resume_after=resume.after, resume_every=resume.every
        )
    warm = tuple(dict.fromkeys(prepared))
    limits = Limits(times.beat, times.silence, times.epoch, times.grace, resume.after, resume.every)
    return local_pool(
        settings.workers,
        settings.device,
        limits,
        cache=stores.cache,
        logs=stores.logs,
        warm=warm,
        most=IN_FLIGHT * studies,
    )
