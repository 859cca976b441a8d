"""What the tables are made of: one `Result` per study or single run, read back from the tracker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from nasctl.data.metrics import METRICS
from nasctl.experiments.layers import paper_letters
from nasctl.reports.cells import ChosenCell, chosen_cell
from nasctl.tracking import tags as tag
from nasctl.tracking.kept import PREDICTIONS, STUDIES
from nasctl.tracking.records import FINAL_STATES, StoredRun, Tracker
from nasctl.tracking.totals import add_up, read_back
from nasctl.tracking.trained import folder_of


@dataclass(frozen=True, slots=True)
class Result:
    """A study by its best trial, or a single run.

    A study may have no `trials` yet, and then it has neither scores nor a cell.
    `rnn` holds the paper's letters, one per recurrent layer ("" for a model without one). `cell` is None where
    every layer is an LSTM; `found_on` is the data set on which it was found: "random" for one that was drawn, "" if
    nobody knows. `encoder` is "" for word vectors. `dev` and `test` are the `metric` as a fraction; None if not
    known (yet). `seconds` were spent on all trials together, `search_seconds` before that on the search behind the pool
    (None without one, or if nobody knows). `hyperparameters` are the best trial's, as text. `predictions` is a file
    that is there, or None; `classes` is how many the data set has, 0 for regression or if nobody wrote it down. Where
    every trial `diverged` none is the best, and whatever one would tell is missing. A study searched the space of its
    `sweep`, whose own `limits` (paper, none) held or not, but for what was `changed`; each is "" if there is none.
    Numbers of one `result_version` can be compared. `search` is the method of the search behind the pool, but for what
    was `search_changed`; `basis` stands for data, embedding and readings, by their contents; each "" if nobody knows.
    """

    kind: str
    name: str
    dataset: str
    embedding: str
    model: str
    rnn: str
    cell: ChosenCell | None
    found_on: str
    vectors: str
    encoder: str
    state: str
    metric: str
    trials: int
    dev: float | None
    test: float | None
    seconds: float
    parameters: int | None
    hyperparameters: Mapping[str, str] = field(hash=False)
    predictions: Path | None
    search_seconds: float | None = None
    classes: int = 0
    diverged: bool = False
    sweep: str = ""
    limits: str = ""
    changed: str = ""
    result_version: str = ""
    search: str = ""
    search_changed: str = ""
    basis: str = ""

    @property
    def scale(self) -> float:
        """What a score is multiplied by to be shown."""
        return METRICS[self.metric].scale if self.metric in METRICS else 1.0

    @property
    def cell_label(self) -> str | None:
        """What a table calls its cell; None for a model without recurrent layers, or where nobody wrote it down."""
        if self.cell is not None:
            return self.cell.label
        return "lstm" if set(self.rnn) == {"L"} else None

    def shown(self, value: float | None) -> float | None:
        """A score as it is shown: a fraction times 100."""
        return None if value is None else round(value * self.scale, 9)


def read_results(
    tracker: Tracker, kinds: Collection[str] = ("study", "run"), root: Path | None = None
) -> tuple[Result, ...]:
    """Every study, then every single run that ended well, each sorted by name.

    Predictions that the tracker has out of reach, as a server, are looked for in the store's folder, `root`.
    """
    found: dict[tuple[int, str], Result] = {}
    beside = _Beside(_searched(tracker), root)
    if "study" in kinds:
        for study in tracker.runs("study"):
            result = _study(tracker, study, beside)
            found.setdefault((0, result.name), result)
    if "run" in kinds:
        for name, run in _single_runs(tracker).items():
            found[1, name] = replace(_result(run, run, 1, run.metrics["seconds"], beside), name=name)
    return tuple(result for _, result in sorted(found.items()))


@dataclass(frozen=True)
class _Beside:
    """What results take from elsewhere: search -> its seconds, and the store's folder, if that may be looked at."""

    searched: Mapping[str, float]
    root: Path | None

    def predictions(self, run: StoredRun) -> Path | None:
        """The file of its predictions: the tracker's, or the store's where that is out of reach."""
        folders = [run.artifacts] if run.artifacts else []
        if self.root is not None and run.kind == "study":
            folders.append(self.root / STUDIES / run.study)
        elif self.root is not None:
            folders.append(folder_of(self.root, run.tags.get(tag.NAME, run.id), run.tags.get(tag.DIGEST, "")))
        files = (folder / PREDICTIONS for folder in folders)
        return next((file for file in files if file.is_file()), None)


def _single_runs(tracker: Tracker) -> Mapping[str, StoredRun]:
    """The single runs that ended well; those that share a name have their digests in it, as in the store's folder.

    Of those that share the digest, too, the newest counts. One without numbers is not there yet: MLflow gets them last.
    """
    newest: dict[tuple[str, str], StoredRun] = {}
    for run in tracker.runs("run"):
        if run.state == "finished" and "seconds" in run.metrics:
            newest.setdefault((run.tags.get(tag.NAME, run.id), run.tags.get(tag.DIGEST, "")), run)
    count = Counter(name for name, _ in newest)
    return {name if count[name] == 1 else f"{name}-{digest}": run for (name, digest), run in newest.items()}


def _searched(tracker: Tracker) -> Mapping[str, float]:
    """Search -> the seconds that it took, of those that are over.

    Not of namesakes from several stores: a study says by name which search its cells come from.
    """
    over = {(run.tags[tag.NAME], run.tags.get(tag.DIGEST, "")): run for run in tracker.runs("search")}
    count = Counter(name for name, _ in over)
    return {
        name: run.metrics["seconds"] for (name, _), run in over.items() if count[name] == 1 and "seconds" in run.metrics
    }


def _study(tracker: Tracker, study: StoredRun, beside: _Beside) -> Result:
    """The result of a study; unless it is finished, by what its trials say so far, if there are any."""
    totals, best = read_back(study), study.tags.get(tag.BEST_TRIAL)
    if study.state == "finished" and totals is not None and best is not None:
        chosen = next(iter(tracker.runs("trial", {tag.STUDY: study.study, tag.TRIAL: best})), None)
        return _result(study, chosen or study, totals.trials, totals.seconds, beside)
    trials = list(tracker.runs("trial", {tag.STUDY: study.study}))
    totals = add_up(trials)
    return _result(study, best_trial(trials) or study, totals.trials, totals.seconds, beside)


def best_trial(trials: Collection[StoredRun]) -> StoredRun | None:
    """The finished trial with the best value; of equal ones the earliest."""
    finished = [trial for trial in trials if trial.state in FINAL_STATES and "value" in trial.metrics]
    if not finished:
        return None
    metric = METRICS.get(finished[0].tags.get(tag.METRIC, ""))
    sign = -1.0 if metric is None or metric.direction == "maximize" else 1.0
    return min(finished, key=lambda trial: (sign * trial.metrics["value"], trial.trial or 0))


def scores_by_cell(tracker: Tracker, labels: Mapping[str, str], metric: str) -> Mapping[str, float]:
    """The best dev score that each searched cell reached when trained alone, by the cell's digest.

    Of the studies with cell=searched on the basis and of the RESULT_VERSION that the labels name, or, of a search from
    before there was a basis, on the data, embedding and model.
    """
    alike = (tag.DATASET, tag.EMBEDDING, tag.MODEL, tag.VECTORS, tag.BASIS, tag.RESULT_VERSION)
    wanted = {key: labels[key] for key in alike if key in labels}
    best = max if METRICS[metric].direction == "maximize" else min
    found: dict[str, float] = {}
    for trial in tracker.runs("trial", {**wanted, tag.CELL: "searched", tag.METRIC: metric}):
        cell = chosen_cell(trial.params, trial.tags, trial.tags.get(tag.LAYERS, ""))
        value = trial.metrics.get(f"dev/{metric}")
        if cell is not None and trial.state == "finished" and value is not None:
            found[cell.digest] = best(value, found.get(cell.digest, value))
    return found


def _result(run: StoredRun, best: StoredRun, trials: int, seconds: float, beside: _Beside) -> Result:
    metric = best.tags.get(tag.METRIC, run.tags.get(tag.METRIC, ""))
    # Then the run itself holds what the final evaluation gave; an extended study may hold that of an earlier end.
    ended = f"test/{metric}" in run.metrics and run.state == "finished"
    diverged = best.state == "diverged"  # its `dev` is then that of its last good epoch, and no value of its own
    numbers = {} if diverged else run.metrics if ended else best.metrics
    source, layers, dataset = (run.tags.get(key, "") for key in (tag.CELL, tag.LAYERS, tag.DATASET))
    rnn = run.tags.get(tag.LETTERS) or paper_letters(source, layers)
    return Result(
        kind=run.kind,
        name=run.study or run.tags.get(tag.NAME, run.id),
        dataset=dataset,
        embedding=run.tags.get(tag.EMBEDDING, ""),
        model=run.tags.get(tag.MODEL, ""),
        rnn=rnn,
        cell=None if diverged else chosen_cell(best.params, best.tags, layers),
        found_on="random" if "R" in rnn else dataset if "E" in rnn else run.tags.get(tag.SOURCE, ""),
        vectors=run.tags.get(tag.VECTORS, ""),
        encoder=run.tags.get(tag.ENCODER, ""),
        state=run.state,
        metric=metric,
        trials=trials,
        dev=numbers.get(f"dev/{metric}", numbers.get("value")),
        test=numbers.get(f"test/{metric}") if ended else None,
        seconds=seconds,
        parameters=int(numbers["parameters"]) if "parameters" in numbers else None,
        hyperparameters={} if diverged else best.params,
        predictions=beside.predictions(run),
        search_seconds=beside.searched.get(run.tags.get(tag.FOUND_BY, "")),
        classes=int(numbers.get("counts/classes", 0)),
        diverged=diverged,
        sweep=run.tags.get(tag.SWEEP, ""),
        limits=run.tags.get(tag.LIMITS, ""),
        changed=run.tags.get(tag.CHANGED, ""),
        result_version=best.tags.get(tag.RESULT_VERSION, ""),
        search=run.tags.get(tag.SEARCH, ""),
        search_changed=run.tags.get(tag.SEARCH_CHANGED, ""),
        basis=run.tags.get(tag.BASIS, ""),
    )
