"""How fast searches go: what is left of each, by the epochs that were seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean

from nasctl.cli.text import counted
from nasctl.tuning import events as tell

__all__ = ["Pace"]


class _Judging:
    """A search that judges the cells it ends with, since its event `first`."""

    def __init__(self, first: tell.CellsJudged, now: float) -> None:
        self._first, self._began = first.judged, now
        self.take(first, now)

    def take(self, event: tell.CellsJudged, now: float) -> None:
        """Note how many cells are left, and the seconds until they are judged; None where nobody can say yet."""
        self.left, done = event.cells - event.judged, event.judged - self._first
        self.remaining = self.left * (now - self._began) / done if done else None


@dataclass
class Pace:
    """The searches that a scheduler drives, kept up to date by its events; times are those of the caller's clock."""

    left: dict[str, int] = field(default_factory=dict)
    """Search -> how many epochs it may still take; one that is over is gone."""
    _judging: dict[str, _Judging] = field(default_factory=dict)
    _limits: dict[str, int] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    _seconds: dict[str, list[float]] = field(default_factory=dict)

    def take(self, event: tell.Event, now: float) -> None:
        """Note what an event says of a search, if it is about one."""
        match event:
            case tell.SearchStarted():
                self.left[event.search] = self._limits[event.search] = event.epochs
            case tell.JobStarted(purpose="search"):
                self._since[event.study] = now
            case tell.EpochEnded(purpose="search"):
                self.left[event.study] = self._limits[event.study] - event.epoch.epoch
                self._seconds.setdefault(event.study, []).append(self.spent(event.study, now))
                self._since[event.study] = now
            case tell.CellsJudged():
                self._judging.setdefault(event.search, _Judging(event, now)).take(event, now)
            case tell.SearchEnded():
                self.left.pop(event.search, None)
            case _:
                pass

    def spent(self, search: str, now: float) -> float:
        """Seconds since the search's present epoch began."""
        return now - self._since[search]

    def remaining(self) -> list[float | None]:
        """Seconds until each search that is not over has taken all of its epochs, or judged all of its cells.

        None where nothing of that has been seen yet.
        """
        return [self._remaining(search, left) for search, left in self.left.items()]

    def in_words(self) -> list[str]:
        """What each search that is not over has before it."""
        return [
            f"{search}: {counted(self._judging[search].left, 'cell')} to judge"
            if search in self._judging
            else f"{search}: at most {counted(epochs, 'epoch')} more"
            for search, epochs in self.left.items()
        ]

    def _remaining(self, search: str, left: int) -> float | None:
        if search in self._judging:
            return self._judging[search].remaining
        return left * fmean(self._seconds[search]) if search in self._seconds else None
