"""Figures of what controllers learned (Adam and Lorraine 2019, Figures 1 to 4), as SVG and PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nasctl.reports.examined import ExaminedSearch
from nasctl.search.samples import Policy, SampledCell
from nasctl.spaces.base import SearchSpace, choices_of

STYLE: Mapping[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 9,
    "svg.hashsalt": "nasctl",  # one picture, one file
    "text.parse_math": False,  # a name is no formula
}
COLOURS: Mapping[Policy, str] = {"uniform": "#6e6e6e", "untrained": "#d55e00", "trained": "#0072b2"}
"""Told apart by the colour-blind (Okabe and Ito 2008), and in grey."""

PANEL = 3.4
"""Inches that a panel is wide."""

NAME = 36
"""Letters of a name that fit above a panel."""

ACROSS = 3
"""Panels beside each other where more would be too small to read."""

DOTS_PER_INCH = 160


@dataclass(frozen=True)
class Picture:
    """A figure in both forms, and the word for its files."""

    name: str
    svg: bytes
    png: bytes


def controller_pictures(searches: Sequence[ExaminedSearch]) -> Iterator[Picture]:
    """Every figure that the samples have something for."""
    with mpl.rc_context(dict(STYLE)):
        for name, draw in (("certainty", _certainty), ("scores", _scores), ("states", _states)):
            figure = draw(searches)
            if figure is not None:
                yield Picture(f"controller-{name}", _written(figure, "svg"), _written(figure, "png"))


def _written(figure: Figure, form: str) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=form, dpi=DOTS_PER_INCH, metadata={"Date": None} if form == "svg" else {})
    return stream.getvalue()


def _framed(title: str, caption: str, rows: int, columns: int, height: float) -> tuple[Figure, Any]:
    """A figure of panels `height` inches high [rows, columns], its title above and its caption below."""
    width = PANEL * max(columns, 2)
    text = textwrap.fill(caption, int(width * 17))
    lines = text.count("\n") + 1
    figure = Figure(figsize=(width, height * rows + 0.45 + 0.16 * lines))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color="#404040")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _title(search: ExaminedSearch, policy: Policy, count: int) -> str:
    """What stands above a panel: the search, and which of its controllers drew how many samples."""
    return f"{textwrap.fill(search.name, NAME)}\n{search.called(policy)}, n = {count}"


def _certainty(searches: Sequence[ExaminedSearch]) -> Figure | None:
    """A line per sample: the largest probability at each choice."""
    policies: tuple[Policy, ...] = ("untrained", "trained")
    shown = [each for each in searches if any(sample.largest for policy in policies for sample in each.of(policy))]
    if not shown:
        return None
    caption = (
        "A line per sampled cell (n in all). Lines that coincide: a choice does not depend on the earlier ones. "
        "Short bars: uniform draws; 1 where there is one option only. As in Figures 1 and 4 of Adam and Lorraine 2019."
    )
    figure, panels = _framed("How likely is the likeliest option, choice by choice?", caption, len(shown), 2, 2.25)
    for search, row in zip(shown, panels, strict=True):
        for policy, axes in zip(policies, row, strict=True):
            samples = [each for each in search.of(policy) if each.largest]
            if samples:
                _lines(axes, search.samples.cells, samples, COLOURS[policy])
                axes.set_title(_title(search, policy, len(samples)))
            else:
                axes.set_axis_off()
    return figure


def _lines(axes: Axes, space: SearchSpace, samples: Sequence[SampledCell], colour: str) -> None:
    """A line per sample, and what uniform draws would give along the first one's choices."""
    for each in samples:
        axes.plot(range(1, len(each.largest) + 1), each.largest, color=colour, linewidth=0.7, alpha=0.35)
    choices = choices_of(space, tuple(samples[0].code.split("-")))
    weights = [choice.weights or (1.0,) * len(choice.options) for choice in choices]
    chance = [max(each) / sum(each) for each in weights]
    axes.plot(range(1, len(chance) + 1), chance, "_", color="#303030", markersize=5, zorder=3)
    axes.set_ylim(0, 1.04)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("choice")
    axes.set_ylabel("probability")


def _scores(searches: Sequence[ExaminedSearch]) -> Figure | None:
    """A dot per sample: its score under the shared weights."""
    policies: tuple[Policy, ...] = ("trained", "untrained", "uniform")
    shown = [each for each in searches if any(sample.score is not None for p in policies for sample in each.of(p))]
    if not shown:
        return None
    caption = (
        "A dot per sampled cell: its score on all of dev under the shared weights that the search ended with, times "
        "100; the bar is the mean. Dots lie apart vertically only to be seen. As in Figure 2 of Adam and Lorraine 2019."
    )
    figure, panels = _framed("How good are the cells that each policy draws?", caption, len(shown), 1, 1.9)
    for search, axes in zip(shown, panels[:, 0], strict=True):
        _strips(axes, search, [policy for policy in policies if search.of(policy)])
        axes.set_title(textwrap.fill(search.name, 2 * NAME))
        axes.set_xlabel(f"{search.samples.metric}, times {search.scale:g}")
    if len({search.samples.metric for search in shown}) == 1:  # then searches can be compared, too
        bounds = [axes.get_xlim() for axes in panels.flat]
        for axes in panels.flat:
            axes.set_xlim(min(low for low, _ in bounds), max(high for _, high in bounds))
    return figure


def _strips(axes: Axes, search: ExaminedSearch, policies: Sequence[Policy]) -> None:
    labels = []
    for place, policy in enumerate(policies):
        scores = np.array([each.score * search.scale for each in search.of(policy) if each.score is not None])
        apart = place + 0.5 * (np.arange(len(scores)) * 0.618034 % 1.0 - 0.5)  # even, and the same each time
        axes.plot(scores, apart, "o", color=COLOURS[policy], markersize=3.5, alpha=0.55, markeredgewidth=0)
        if len(scores):
            axes.plot([scores.mean()] * 2, [place - 0.36, place + 0.36], color="black", linewidth=2)
            labels.append(f"{search.called(policy)}\nn = {len(scores)}, mean {scores.mean():.1f}")
        else:
            labels.append(f"{search.called(policy)}\nno scores")
    axes.set_yticks(range(len(policies)), labels)
    axes.set_ylim(-0.6, len(policies) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _states(searches: Sequence[ExaminedSearch]) -> Figure | None:
    """A row per sample, a column per hidden unit, one scale of colours for all panels."""
    shown = _state_panels(searches)
    if not shown:
        return None
    most = max(float(np.abs(states).max()) for _, states in shown) or 1.0
    caption = (
        "The LSTM's hidden state at the last choice: a row per sampled cell, in the order drawn (n in all), a "
        "column per unit, one scale for all. Columns of one colour: the state is the same whatever the cell. As in "
        "Figure 3 of Adam and Lorraine 2019."
    )
    columns = min(len(shown), ACROSS)
    rows = -(-len(shown) // ACROSS)
    figure, panels = _framed("Do final hidden states differ between cells?", caption, rows, columns, 3.0)
    image = None
    for axes, (title, states) in zip(panels.flat, shown, strict=False):
        count, width = states.shape
        image = axes.imshow(
            states,
            cmap="RdBu_r",
            vmin=-most,
            vmax=most,
            aspect="auto",
            interpolation="nearest",
            extent=(0.5, width + 0.5, count + 0.5, 0.5),
        )
        axes.set_title(title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("hidden unit")
        for side in axes.spines.values():
            side.set_visible(False)
    for axes in panels.flat[len(shown) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("sample")
    if image is not None:
        figure.colorbar(image, ax=panels, label="value", fraction=0.025, pad=0.01)
    return figure


def _state_panels(searches: Sequence[ExaminedSearch]) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Untrained controllers, one per space, then the trained ones in the order of their searches."""
    untrained: dict[Any, tuple[str, np.ndarray[Any, Any]]] = {}
    trained = []
    policies: tuple[Policy, ...] = ("untrained", "trained")
    for search in searches:
        for policy in policies:
            states = np.array([each.hidden for each in search.of(policy) if each.hidden is not None], np.float64)
            panel = _title(search, policy, len(states)), states
            if len(states) and policy == "trained":
                trained.append(panel)
            elif len(states):
                untrained.setdefault(search.samples.space, panel)
    return [*untrained.values(), *trained]
