"""How fast searches go: what is left of each, by the epochs that were seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean

from nasctl.tuning import events as tell

__all__ = ["Pace"]


@dataclass
class Pace:
    """The searches that a scheduler drives, kept up to date by its events; times are those of the caller's clock."""

    left: dict[str, int] = field(default_factory=dict)
    """Search -> how many epochs it may still take; one that is over is gone."""
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
            case tell.SearchEnded():
                self.left.pop(event.search, None)
            case _:
                pass

    def spent(self, search: str, now: float) -> float:
        """Seconds since the search's present epoch began."""
        return now - self._since[search]

    def remaining(self) -> list[float | None]:
        """Seconds until each search that is not over has taken all of its epochs; None before its first one."""
        return [
            left * fmean(self._seconds[search]) if search in self._seconds else None
            for search, left in self.left.items()
        ]
