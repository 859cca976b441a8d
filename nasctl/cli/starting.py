"""Whose hyperparameters the training of a search takes, as overrides: the best LSTM's, or those of Table 5."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nasctl.cli.named import opened_studies
from nasctl.cli.names import search_name
from nasctl.cli.paper import check_no_group, paper_hyperparameters
from nasctl.data.metrics import METRICS
from nasctl.errors import NasctlError, UsageError
from nasctl.models import MODELS
from nasctl.sources import ContextualSpec
from nasctl.specs import TrainingSpec, basis

if TYPE_CHECKING:
    from nasctl.cli.stores import Stores
    from nasctl.config.settings import Settings
    from nasctl.specs import RunSpec, SearchSpec
    from nasctl.tuning.look import Look
    from nasctl.tuning.trials import Best

__all__ = ["Start", "best_lstm", "start_of"]


@dataclass(frozen=True)
class Start:
    """What a search begins with: overrides, and in words where they come from.

    `lstm` is the trial that they are of, as `best_lstm` calls it; "" if of none, or if the search was begun before.
    """

    overrides: tuple[str, ...]
    origin: str
    lstm: str


def start_of(settings: Settings, stores: Stores, typed: Sequence[str]) -> Start:
    """The hyperparameters that `search.start` names, then those of `search.training`, but for what was typed.

    A search that was begun before keeps those it began with, whatever LSTM is the best by now. Raises UsageError where
    there is nothing to take them from, and for a group of hyperparameters beside those.
    """
    source = _SOURCES[settings.search.start](settings, stores)
    if source.values:
        check_no_group(typed, f"search.start={settings.search.start}")
    values = {**source.values}
    values |= {name: value for name, value in asdict(settings.search.training).items() if value is not None}
    taken = {text.partition("=")[0] for text in typed}
    lowered = _lowered(settings, values) if settings.limits == "paper" else {}
    limited = any(f"training.{name}" not in taken for name in lowered)
    values |= lowered
    keyed = {"seed" if name == "seed" else f"training.{name}": value for name, value in values.items()}
    overrides = tuple(f"{key}={_text(value)}" for key, value in keyed.items() if key not in taken)
    origin = f"{source.origin}, within the paper's limits" if limited else source.origin
    return Start(overrides, origin, source.lstm)


@dataclass(frozen=True)
class _Source:
    """Hyperparameters by their names under `training`; the rest is as a Start has it."""

    values: Mapping[str, Any]
    origin: str
    lstm: str = ""


def _best(settings: Settings, stores: Stores) -> _Source:
    from nasctl.cli.resolution import cells_asked, resolved  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tuning.driven_search import pinned  # noqa: PLC0415 - as above

    begun = pinned(stores.root, search_name(settings))
    if begun is not None:
        spec, whose = begun
        origin = f"as it was begun ({whose})" if whose else "as it was begun"
        return _Source(_values(spec.training, spec.hidden), origin)
    wanted = {name: getattr(settings, name).name for name in _ALIKE}
    asked = " ".join(f"{name}={value}" for name, value in wanted.items())
    tuned = _tuned(stores, wanted)
    if not tuned:
        sweep = "" if settings.study.trials else " sweep=demo"  # where the paper has none
        raise UsageError(
            f"no LSTM study of {asked} is in {stores.root}, whose best hyperparameters the search could take",
            f"nasctl baseline{sweep} with that dataset=, embedding= and model=, or search.start=paper (Table 5), "
            "or search.start=training",
        )
    found = _best_on(tuned, resolved(settings, cells_asked(settings), stores).run)
    if found is None:
        raise UsageError(
            f"no LSTM study of {asked} in {stores.root} is of the data, the metric, the vectors and the "
            "readings that the search would have",
            "nasctl baseline tunes on these under another study.name=, or search.start=training",
        )
    name, run = found
    return _Source(_values(run.training, [layer.hidden for layer in run.layers]), name, name)


_ALIKE = ("dataset", "embedding", "model")
"""The labels that a search and the LSTM studies whose best it takes have in common."""


def best_lstm(stores: Stores, labels: Mapping[str, str], begun: SearchSpec) -> str | None:
    """What the best trial, on dev, of the LSTM studies is called that a search of these labels could have asked.

    None if there is none.
    """
    found = _best_on(_tuned(stores, {name: labels.get(name, "") for name in _ALIKE}), begun)
    return None if found is None else found[0]


def _best_on(tuned: Sequence[tuple[Look, Best]], spec: RunSpec | SearchSpec) -> tuple[str, RunSpec] | None:
    """The best trial, on dev, of the studies on the basis of `spec`: what it is called, and its run.

    None if there is none.
    """
    here = [(look, best) for look, best in tuned if basis(look.spec.run) == basis(spec)]
    if not here:
        return None
    look, best = max(here, key=lambda each: METRICS[spec.metric].sign * each[1].value)
    return f"{look.spec.name}, trial {best.number}", look.ended[best.number].asked.run


def _paper(settings: Settings, _: Stores) -> _Source:
    contextual = isinstance(settings.embedding, ContextualSpec)
    letters = "L" * MODELS[settings.model.name].layers
    row = f"{settings.model.name}/{'bert' if contextual else 'glove'}/{letters}/{settings.dataset.name}"
    try:
        return _Source(paper_hyperparameters(row), f"Table 5, {row}")
    except UsageError as error:
        raise UsageError(f"search.start=paper: {error}", "search.start=best or search.start=training") from error


def _training(*_: object) -> _Source:
    return _Source({}, "as under training")


_SOURCES: Mapping[str, Callable[[Settings, Stores], _Source]] = {
    "best": _best,
    "paper": _paper,
    "training": _training,
}


_TAKEN = (
    *("batch_size", "learning_rate", "loss", "weight_decay", "grad_norm", "dropout", "variational_dropout"),
    *("seed", "epochs", "patience"),
)
"""What a search takes of an LSTM's training, where `search.training` says nothing else."""


def _tuned(stores: Stores, labels: Mapping[str, str]) -> Sequence[tuple[Look, Best]]:
    """The LSTM studies with these labels that have a best trial, each with it."""
    looks = [(look, look.best) for look in _lstm_studies(stores, labels)]
    return [(look, best) for look, best in looks if best is not None]


def _lstm_studies(stores: Stores, labels: Mapping[str, str]) -> Iterator[Look]:
    from nasctl.tuning.look import look_at  # noqa: PLC0415 - optuna, which --help need not pay for

    wanted = {**labels, "cell": "lstm"}
    with opened_studies(stores) as (store, known):
        for study in known:
            assert store is not None  # noqa: S101 - it has this study
            try:
                look = look_at(store, study.name)
            except NasctlError:
                continue  # `nasctl status --verify` says what is wrong with it
            if wanted.items() <= look.spec.labels.items():
                yield look


def _values(training: TrainingSpec, widths: Sequence[int]) -> dict[str, Any]:
    return {name: getattr(training, name) for name in _TAKEN} | {"hidden": widths}


def _lowered(settings: Settings, values: Mapping[str, Any]) -> dict[str, Any]:
    """Batch and widths that are larger than the search of this configuration may have them, taken down to that."""
    here = (settings.dataset.name, settings.embedding.name, settings.model.name)
    batch_size = values.get("batch_size", settings.training.batch_size)
    hidden = [int(width) for width in values.get("hidden", settings.training.hidden)]
    asked = {"batch_size": batch_size, "hidden": hidden}
    for limit in settings.search.limits:
        if here == (limit.dataset, limit.embedding, limit.model):
            batch_size = min(batch_size, limit.batch_size)
            hidden = [min(width, limit.hidden) for width in hidden]
    return {name: value for name, value in (("batch_size", batch_size), ("hidden", hidden)) if value != asked[name]}


def _text(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)
