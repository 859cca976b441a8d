"""What a scheduler tells, on stderr: a live board on a terminal, plain lines elsewhere.

The board has one line per worker and one in total; a search's epochs are lines, wherever they are shown. Scores are
shown as tables show them (×100).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import click

from nasctl.cells.spelling import LSTM
from nasctl.cli.pace import Pace
from nasctl.cli.text import counted, duration
from nasctl.data.metrics import METRICS
from nasctl.specs import Metric
from nasctl.tracking.records import RunRecord, trained_alone
from nasctl.tuning import events as tell

__all__ = ["Board", "follow", "shown_score"]

BAR_WIDTH = 20
REFRESH_PER_SECOND = 4


def shown_score(metric: Metric, value: float | None) -> str:
    """A score as tables show it: `84.52`; a dash for none."""
    return "-" if value is None else f"{value * METRICS[metric].scale:.2f}"


@dataclass
class Board:
    """The state of the studies and searches that a scheduler drives, kept up to date by its events."""

    metrics: Mapping[str, Metric]
    """Study or search -> the metric that it is tuned by."""
    clock: Callable[[], float] = time.monotonic
    trials: dict[str, int] = field(default_factory=dict)
    finished: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    searches: Pace = field(default_factory=Pace)
    workers: dict[int, str] = field(default_factory=dict)
    """Slot -> what it is doing."""
    _began: float | None = None
    _ended_here: int = 0

    def take(self, event: tell.Event) -> str:
        """Bring the board up to date; the line that says it where there is no board, "" for what needs none."""
        line = self._line(event)
        self.searches.take(event, self.clock())
        match event:
            case tell.StudyStarted():
                self._began = self._began or self.clock()
                self.trials[event.study] = event.trials
                self.finished[event.study], self.failed[event.study] = event.finished, event.failed
                if event.best is not None:
                    self.best[event.study] = event.best
            case tell.WorkerStarted():
                self.workers[event.slot] = "waits"
            case tell.JobStarted():
                self.workers[event.slot] = f"{_what(event.study, event.number, event.purpose)}  starts"
            case tell.EpochEnded() | tell.CellsJudged():
                self.workers[event.slot] = self._doing(event)
            case tell.SearchEnded():
                self._end_search(event)
            case tell.TrialEnded():
                self.finished[event.study], self.failed[event.study] = event.finished, event.failed
                self._ended_here += 1
                if event.slot is not None:
                    self.workers[event.slot] = "waits"
            case tell.BestChanged():
                self.best[event.study] = event.value
            case _:
                pass
        return line

    def _end_search(self, event: tell.SearchEnded) -> None:
        if event.record.found:
            self.best[event.search] = max(cell.score for cell in event.record.found)
        if event.slot is not None:
            self.workers[event.slot] = "waits"

    def remaining(self) -> float | None:
        """Seconds until all is done, as fast as so far, searches taking all of their epochs; None if nobody can say."""
        known = self.searches.remaining()
        if self._began is not None:
            left = max(sum(self.trials.values()) - sum(self.finished.values()), 0)
            known.append(left * (self.clock() - self._began) / self._ended_here if self._ended_here else None)
        return None if None in known else max((each for each in known if each is not None), default=None)

    def total(self) -> str:
        """The line about everything: how far, the best so far, what failed, and the time left."""
        parts = []
        if self.trials:
            done, wanted = sum(self.finished.values()), sum(self.trials.values())
            filled = BAR_WIDTH * done // wanted if wanted else 0
            parts = [f"{'█' * filled}{'░' * (BAR_WIDTH - filled)} {done}/{wanted} trials"]
        parts += self.searches.in_words()
        parts += [f"best {shown_score(self.metrics[study], value)}" for study, value in self.best.items()]
        if sum(self.failed.values()):
            parts.append(f"{sum(self.failed.values())} failed")
        if (left := self.remaining()) is not None:
            parts.append(f"{duration(left)} left" if left else "done")
        return "  ".join(parts)

    def lines(self) -> list[str]:
        """One line per worker, then the total."""
        return [*(f"worker {slot}  {doing}" for slot, doing in sorted(self.workers.items())), self.total()]

    def _doing(self, event: tell.EpochEnded | tell.CellsJudged) -> str:
        if isinstance(event, tell.CellsJudged):
            return f"{event.search}  {event.judged} of {event.cells} cells judged"
        metric = self.metrics[event.study]
        epoch = event.epoch
        loss = "-" if epoch.loss is None else f"{epoch.loss:.4f}"
        score = shown_score(metric, epoch.dev.get(metric))
        what = _what(event.study, event.number, event.purpose)
        return f"{what}  epoch {epoch.epoch}  loss {loss}  {metric} {score}  {duration(epoch.seconds)}"

    def _epoch_line(self, event: tell.EpochEnded) -> str:
        """A search's epoch, and how long it took; by name where it is not alone."""
        epoch, metric = event.epoch, self.metrics[event.study]
        name = f"{event.study}  " if len(self.metrics) > 1 else ""
        loss = "not finite" if epoch.loss is None else f"{epoch.loss:.4f}"
        scores = f"  dev {shown_score(metric, epoch.dev.get(metric))}"
        told = epoch.search
        numbers = f"  reward {shown_score(metric, told['reward'])}" if "reward" in told else ""
        numbers += f"  entropy {told['entropy']:.2f}" if "entropy" in told else ""
        numbers += f"  new {told['new']:.0%}" if "new" in told else ""
        seconds = duration(self.searches.spent(event.study, self.clock()))
        return f"{name}epoch {epoch.epoch:3d}  loss {loss}{scores}{numbers}  {seconds}"

    def _line(self, event: tell.Event) -> str:
        line = ""
        match event:
            case tell.StudyStarted():
                already = f", {event.finished} are done" if event.finished else ""
                again = f", {event.unfinished} are taken up again" if event.unfinished else ""
                line = f"{event.study}: {event.trials} trials{already}{again}"
            case tell.JobRepeated():
                what = _what(event.study, event.number, event.purpose)
                line = f"{what}: attempt {event.attempt} came to nothing ({event.reason}: {event.detail}); once more"
            case tell.TrialEnded():
                known = f", known from {event.duplicate_of}" if event.duplicate_of else ""
                count = f"{event.finished}/{self.trials.get(event.study, event.finished)}"
                cell = "".join(f", {name}" for name in _cells(event.record))
                line = f"{_what(event.study, event.number, 'trial')} ({count}): {_result(event.record)}{known}{cell}"
            case tell.BestChanged():
                score = shown_score(self.metrics[event.study], event.value)
                line = f"{event.study}: best so far {score} (trial {event.number})"
            case tell.StudyEnded():
                line = f"{event.study}: {event.finished} trials are done, {event.failed} failed"
            case tell.Stopping() | tell.Warned():
                line = event.message
            case _:
                line = self._line_of_search(event)
        return line

    def _line_of_search(self, event: tell.Event) -> str:
        line = ""
        match event:
            case tell.SearchStarted():
                again = ", gone on with" if event.again else ""
                line = (
                    f"{event.search}: a search of at most {counted(event.epochs, 'epoch')}{again}; "
                    f"dev: mean {self.metrics[event.search]} of sampled cells"
                )
            case tell.EpochEnded(purpose="search"):
                line = self._epoch_line(event)
            case tell.CellsJudged(judged=1):
                line = f"{event.search}: its epochs are over; {counted(event.cells, 'cell')} to judge"
            case tell.SearchEnded():
                line = f"{event.search}: {_cells_found(event.record)}{', as is known' if event.slot is None else ''}"
            case _:
                pass
        return line


def _what(study: str, number: int, purpose: str) -> str:
    words = {"trial": f"trial {number}", "again": f"trial {number} once more", "final": f"test of trial {number}"}
    return f"{study} {words.get(purpose, purpose)}"


def _cells(record: RunRecord) -> Iterable[str]:
    """What the cells are called that are no LSTMs, each once."""
    return dict.fromkeys(cell["code"] for cell in record.cells if cell["digest"] != LSTM)


def _cells_found(record: RunRecord) -> str:
    seconds = duration(sum(record.seconds.values()))
    if record.state != "finished":
        return f"{record.state} ({record.reason}), {seconds}"
    best = max((cell.score for cell in record.found), default=None)
    found = f"{counted(len(record.found), 'cell')} found, the best with {record.metric} "
    whose = "trained alone" if trained_alone(record) else "under the shared weights"
    return f"{found}{shown_score(record.metric, best)} {whose}, {seconds}"


def _result(record: RunRecord) -> str:
    seconds = duration(sum(record.seconds.values()))
    if record.state != "finished":
        return f"{record.state} ({record.reason}), {seconds}"
    score = shown_score(record.metric, record.value)
    return f"{record.metric} {score} in epoch {record.best_epoch} of {record.epochs}, {seconds}"


# --- showing it -------------------------------------------------------------------------------------------------------


def follow(
    events: Iterable[tell.Event], metrics: Mapping[str, Metric], *, live: bool | None = None
) -> Iterator[tell.Event]:
    """Pass the events on, and show them meanwhile. `live` says whether stderr is a terminal (None: look)."""
    board = Board(metrics)
    if sys.stderr.isatty() if live is None else live:
        yield from _on_a_terminal(events, board)
        return
    for event in events:
        if line := board.take(event):
            click.echo(line, err=True)
        yield event


def _on_a_terminal(events: Iterable[tell.Event], board: Board) -> Iterator[tell.Event]:
    """Lines scroll above the board, which is drawn anew after events: no thread of its own reads it meanwhile.

    rich leaves colours away where NO_COLOR is set.
    """
    from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
    from rich.live import Live  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    console = Console(stderr=True, highlight=False)

    def picture() -> Text:
        *workers, total = board.lines()
        text = Text("\n".join([*workers, ""]), style="dim", no_wrap=True, overflow="ellipsis")
        return text.append(total, style="not dim bold")

    with Live(get_renderable=picture, console=console, auto_refresh=False, transient=True) as board_below:
        drawn = 0.0
        for event in events:
            if line := board.take(event):
                console.print(Text(line))
            if board.clock() - drawn > 1 / REFRESH_PER_SECOND:
                board_below.refresh()
                drawn = board.clock()
            yield event
