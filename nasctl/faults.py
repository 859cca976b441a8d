"""Points at which a scheduler can be made to kill itself: for tests of what a kill leaves behind, and for nothing else.

The variable NASCTL_FAULT names one of `POINTS`: `NASCTL_FAULT=told` is a SIGKILL right after the first trial's end was
committed, `NASCTL_FAULT=told:5` after the fifth one's. Without it a point costs one look at a cached None.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
from collections.abc import Iterator
from typing import Literal, get_args

from nasctl.errors import UsageError, nearest

VARIABLE = "NASCTL_FAULT"

Point = Literal[
    "asking",  # a trial is drawn, nothing of it is stored
    "asked",  # its beginning is committed
    "handed-out",  # a worker has been sent the job
    "first-event",  # an epoch was heard of
    "done",  # a worker's `done` was read, nothing was answered
    "keep",  # the answer `keep` was written to the worker
    "told",  # a trial's end is committed
    "mlflow-created",  # its run exists in MLflow
    "mlflow-logged",  # that has its numbers
    "mlflow-ended",  # and has ended
    "final",  # the final evaluation's predictions are in place, its record is not
    "study-end",  # that is stored, the tracker does not know of it
    "search-files",  # a search's weights and samples are in place, its record is not
    "search-end",  # that is written, the tracker does not know of it
]

POINTS: tuple[Point, ...] = get_args(Point)


def reach(point: Point) -> None:
    """The process is at `point`: the end of it, if NASCTL_FAULT says so.

    Raises UsageError where that names no point.
    """
    fault = _asked_for()
    if fault is not None and fault[0] == point and next(fault[1]) == 0:
        os.kill(os.getpid(), signal.SIGKILL)


@functools.cache
def _asked_for() -> tuple[str, Iterator[int]] | None:
    """The point that was asked for, and a count-down of how often it is still passed."""
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    point, colon, count = text.partition(":")
    if point not in POINTS:
        raise UsageError(f"{VARIABLE} names no point: {point!r}", nearest(point, POINTS))
    if colon and (not count.isdecimal() or int(count) == 0):
        raise UsageError(f"{VARIABLE}={text}: {count!r} is no count", f"{VARIABLE}={point}:1 is the first time")
    return point, itertools.count(int(count or 1) - 1, -1)
