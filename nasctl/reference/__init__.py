"""The papers' own numbers as typed rows: MacLaughlin et al. 2020 (Tables 1-6, scores in percent, as printed).

Of Adam and Lorraine 2019: the correlations and perplexities of its controllers.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from nasctl.errors import UsageError, nearest


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A line of Table 1: the scores of the best trial of one study."""

    embedding: str
    model: str
    rnn: str
    dataset: str
    dev: float
    test: float


@dataclass(frozen=True, slots=True)
class TransferRow:
    """A line of Table 2; `optimized_for` is the data set that the cells were searched on, or "random"."""

    embedding: str
    model: str
    rnn: str
    optimized_for: str
    dataset: str
    dev: float
    test: float

    @property
    def letters(self) -> str:
        """The letters with T where the cells come from another data set: Table 2 prints E, Table 5 T."""
        return self.rnn if self.optimized_for in {self.dataset, "random"} else self.rnn.replace("E", "T")


@dataclass(frozen=True, slots=True)
class SearchSpaceRow:
    """A line of Table 3: either `values` to choose from, or a range from `low` to `high` on a `scale` (linear, log).

    `applies_to` limits the line, in words; `kind` is categorical, float or fixed.
    """

    hyperparameter: str
    applies_to: str
    kind: str
    values: tuple[str, ...]
    low: float | None
    high: float | None
    scale: str
    source: str


@dataclass(frozen=True, slots=True)
class HoursRow:
    """A line of Table 4: hours to tune BLM on one machine with eight V100; `cell` is lstm or enas."""

    model: str
    embedding: str
    cell: str
    dataset: str
    trials: int
    hours: float


@dataclass(frozen=True, slots=True)
class HyperparametersRow:
    """A line of Table 5: the best setting of one study; the second of a pair is None for BLM.

    `architecture` numbers a row of Table 6, None for LSTMs.
    """

    model: str
    embedding: str
    rnn: str
    dataset: str
    batch_size: int
    learning_rate: float
    loss: str
    weight_decay: float
    grad_norm: float
    hidden_1: int
    hidden_2: int | None
    dropout_1: float
    dropout_2: float
    variational_dropout_1: float
    variational_dropout_2: float | None
    seed: int
    architecture: int | None

    @property
    def name(self) -> str:
        """What the row is asked for by: `blm/glove/L/sick`."""
        return f"{self.model}/{self.embedding}/{self.rnn}/{self.dataset}"

    def values(self) -> dict[str, str | int | float]:
        """The hyperparameters by their names, as `specs.with_values` reads them."""
        settings = {name: getattr(self, name) for name in HYPERPARAMETERS}
        return {name: value for name, value in settings.items() if value is not None}


HYPERPARAMETERS = (
    "batch_size",
    "learning_rate",
    "loss",
    "weight_decay",
    "grad_norm",
    "hidden_1",
    "hidden_2",
    "dropout_1",
    "dropout_2",
    "variational_dropout_1",
    "variational_dropout_2",
    "seed",
)
"""The columns of Table 5 that are set before a training, in its order."""


@dataclass(frozen=True, slots=True)
class ArchitectureRow:
    """A line of Table 6: a cell of six nodes; `nodes` holds (input node, operation), node 0 has the input None."""

    architecture: int
    nodes: tuple[tuple[int | None, str], ...]


@dataclass(frozen=True, slots=True)
class PriorWorkRow:
    """An earlier result in Table 1; it has no dev score, and no `rnn` where the whole encoder was tuned."""

    source: str
    embedding: str
    model: str
    rnn: str
    dataset: str
    test: float


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A difference or count that the paper's text states, with the value that its tables give."""

    claim: str
    meaning: str
    paper: float


@dataclass(frozen=True, slots=True)
class ControllerRow:
    """A controller of Adam and Lorraine 2019 (PTB, cells of twelve nodes): its correlations (their Table 1).

    `perplexity` is the mean of its samples under the shared weights (their Figure 2), None where they give none.
    """

    controller: str
    activations: float
    connections: float
    graph_edits: float
    score_gap: float
    perplexity: float | None


@cache
def controllers() -> tuple[ControllerRow, ...]:
    """Adam and Lorraine 2019, Table 1 and Figure 2."""
    return tuple(
        ControllerRow(
            controller=row["controller"],
            activations=float(row["activations"]),
            connections=float(row["connections"]),
            graph_edits=float(row["graph_edits"]),
            score_gap=float(row["score_gap"]),
            perplexity=_real(row["perplexity"]),
        )
        for row in _read("adam2019_controllers.csv")
    )


@cache
def results() -> tuple[ResultRow, ...]:
    """Table 1: 36 results."""
    return tuple(
        ResultRow(row["embedding"], row["model"], row["rnn"], row["dataset"], float(row["dev"]), float(row["test"]))
        for row in _read("table1_results.csv")
    )


@cache
def transfer() -> tuple[TransferRow, ...]:
    """Table 2: 16 results."""
    return tuple(
        TransferRow(
            embedding=row["embedding"],
            model=row["model"],
            rnn=row["rnn"],
            optimized_for=row["optimized_for"],
            dataset=row["dataset"],
            dev=float(row["dev"]),
            test=float(row["test"]),
        )
        for row in _read("table2_results.csv")
    )


@cache
def scores() -> Mapping[tuple[str, str, str, str], tuple[float, float]]:
    """Dev and test of Tables 1 and 2 by embedding, model, letters and data set, transferred cells with the letter T."""
    found = {(row.embedding, row.model, row.rnn, row.dataset): (row.dev, row.test) for row in results()}
    return found | {(row.embedding, row.model, row.letters, row.dataset): (row.dev, row.test) for row in transfer()}


@cache
def search_space() -> tuple[SearchSpaceRow, ...]:
    """Table 3, with the limits of A.2.1."""
    return tuple(_search_space_row(row) for row in _read("table3_search_space.csv"))


@cache
def hours() -> tuple[HoursRow, ...]:
    """Table 4: twelve studies of BLM."""
    return tuple(
        HoursRow(
            row["model"],
            row["embedding"],
            row["cell"],
            row["dataset"],
            int(row["trials"]),
            float(row["hours_on_8_v100"]),
        )
        for row in _read("table4_tuning_hours.csv")
    )


@cache
def hyperparameters() -> tuple[HyperparametersRow, ...]:
    """Table 5: 46 studies."""
    return tuple(
        HyperparametersRow(
            model=row["model"],
            embedding=row["embedding"],
            rnn=row["rnn"],
            dataset=row["dataset"],
            batch_size=int(row["batch_size"]),
            learning_rate=float(row["learning_rate"]),
            loss=row["loss"],
            weight_decay=float(row["weight_decay"]),
            grad_norm=float(row["grad_norm"]),
            hidden_1=int(row["hidden_1"]),
            hidden_2=_whole(row["hidden_2"]),
            dropout_1=float(row["dropout_1"]),
            dropout_2=float(row["dropout_2"]),
            variational_dropout_1=float(row["variational_dropout_1"]),
            variational_dropout_2=_real(row["variational_dropout_2"]),
            seed=int(row["seed"]),
            architecture=_whole(row["architecture"]),
        )
        for row in _read("table5_hyperparameters.csv")
    )


def hyperparameters_row(name: str) -> HyperparametersRow:
    """The line of Table 5 called `name`, e.g. `blm/glove/L/sick`; UsageError if there is none."""
    rows = {row.name: row for row in hyperparameters()}
    if name not in rows:
        hint = nearest(name, rows) or "a row is MODEL/EMBEDDING/RNN/DATASET, e.g. blm/glove/L/sick"
        raise UsageError(f"the paper's Table 5 has no row {name!r}", hint)
    return rows[name]


@cache
def architectures() -> tuple[ArchitectureRow, ...]:
    """Table 6: 26 cells."""
    return tuple(
        ArchitectureRow(
            int(row["architecture"]),
            tuple((int(row[f"node_{i}_input"]) if i else None, row[f"node_{i}_op"]) for i in range(6)),
        )
        for row in _read("table6_architectures.csv")
    )


@cache
def prior_work() -> tuple[PriorWorkRow, ...]:
    """The first two rows of Table 1."""
    return tuple(
        PriorWorkRow(row["source"], row["embedding"], row["model"], row["rnn"], row["dataset"], float(row["test"]))
        for row in _read("table1_prior_work.csv")
    )


@cache
def claims() -> tuple[ClaimRow, ...]:
    """The numbers behind the result sentences of sections 4, 4.1 and A.2.2."""
    return tuple(ClaimRow(row["claim"], row["meaning"], float(row["paper"])) for row in _read("claims.csv"))


def _read(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(files(__name__).joinpath(name).read_text("utf-8").splitlines(), strict=True))


def _search_space_row(row: Mapping[str, str]) -> SearchSpaceRow:
    low, is_range, high = row["values"].partition("..")
    return SearchSpaceRow(
        hyperparameter=row["hyperparameter"],
        applies_to=row["applies_to"],
        kind=row["kind"],
        values=() if is_range else tuple(row["values"].split("|")),
        low=float(low) if is_range else None,
        high=float(high) if is_range else None,
        scale=row["scale"],
        source=row["source"],
    )


def _whole(text: str) -> int | None:
    return int(text) if text else None


def _real(text: str) -> float | None:
    return float(text) if text else None
