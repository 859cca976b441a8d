"""The space of a study as the sampler sees it: one parameter per layer or place, in a fixed order."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields

from pydantic import TypeAdapter, ValidationError

from nasctl.config.settings import Settings
from nasctl.data.metrics import LOSSES
from nasctl.errors import UsageError, nearest
from nasctl.specs import ARCHITECTURE, Choice, Domain, FloatRange, IntRange, LayerSpec, Task, TrainingSpec, Value

__all__ = ["expand_enqueued", "expand_space"]

ORDER = (
    "batch_size",
    "learning_rate",
    "loss",
    "weight_decay",
    "grad_norm",
    "hidden",
    "dropout",
    "variational_dropout",
    "epochs",
    "patience",
    "seed",
)
"""Every hyperparameter that a space may search, in the order in which a sampler draws; last comes the architecture."""


def expand_space(
    settings: Settings, layers: int, places: int, task: Task | None, pool: Sequence[str] = (), *, cells: int = 0
) -> tuple[tuple[str, Domain], ...]:
    """What is searched, by name: `hidden_1`, ... and `variational_dropout_1`, ... per recurrent layer, `dropout_1`, ...
    per place. A domain given for one of them (`hidden_2`) stands before that of its stem.

    Losses that do not fit `task` are left out (None: not known yet, all stay), and with limits=paper the choices that
    the study's limits forbid to pools that stand in so many layers, `cells`. Where the `pool` has several cells,
    `architecture` chooses one by its name. Raises UsageError for a parameter that does not exist, and for a domain with
    values that it cannot take.
    """
    asked = {name: domain for name, domain in settings.study.space.items() if domain is not None}
    counts = {"hidden": layers, "variational_dropout": layers, "dropout": places}
    single = {stem: [f"{stem}_{number}" for number in range(1, count + 1)] for stem, count in counts.items()}
    expected = [name for stem in ORDER for name in single.get(stem, [stem])]
    for name in settings.study.space:
        if name == ARCHITECTURE:
            raise UsageError(f"study.space.{name}: a study chooses among its pool", "cell.names=[...] says which cells")
        if name not in expected and name not in counts:
            raise UsageError(
                f"study.space.{name}: {settings.model.name} has no such parameter", nearest(name, expected)
            )
    for name, domain in asked.items():
        _check(name, domain)
    space: list[tuple[str, Domain]] = []
    for stem in ORDER:
        for name in single.get(stem, [stem]):
            own = settings.study.space.get(name, asked.get(stem))
            if own is not None:
                left = _limited(own, name, stem, settings, cells)
                space.append((name, _fitting(left, task) if name == "loss" else left))
    if len(pool) > 1:
        space.append((ARCHITECTURE, Choice("choice", tuple(sorted(pool)))))  # their order decides nothing
    return tuple(space)


def expand_enqueued(
    enqueued: Sequence[Mapping[str, Value]], space: Sequence[tuple[str, Domain]]
) -> tuple[dict[str, Value], ...]:
    """The settings of a study's first trials by the names of its space; `hidden` stands for `hidden_1`, `hidden_2`...

    Raises UsageError for a parameter that is not searched, and for a value that its domain does not have.
    """
    domains = dict(space)
    expanded = []
    for place, asked in enumerate(enqueued):
        found: dict[str, Value] = {}
        for name, value in sorted(asked.items(), key=lambda item: item[0] in domains):  # hidden before hidden_2
            key = f"study.enqueue[{place}].{name}"
            names = [name] if name in domains else [each for each in domains if each.rpartition("_")[0] == name]
            if not names:
                raise UsageError(f"{key}: the study does not search it", nearest(name, domains))
            for each in names:
                found[each] = _member(key, value, domains[each])
        expanded.append({name: found[name] for name in domains if name in found})
    return tuple(expanded)


def _member(key: str, value: Value, domain: Domain) -> Value:
    """The value as the domain has it. Raises UsageError if it has none that is equal."""
    if isinstance(domain, Choice):
        same = [each for each in domain.choices if each == value and isinstance(each, str) == isinstance(value, str)]
        if same:
            return same[0]
        raise UsageError(f"{key}: {value} is none of the choices", _listed(domain.choices))
    whole = isinstance(domain, IntRange)
    if isinstance(value, str) or (whole and value != int(value)) or not domain.low <= value <= domain.high:
        raise UsageError(f"{key}: {value} is not between {domain.low} and {domain.high}")
    return int(value) if whole else float(value)


def _fitting(domain: Domain, task: Task | None) -> Domain:
    if task is None or not isinstance(domain, Choice):
        return domain
    fitting = [loss for loss, suited in LOSSES.items() if suited == task]
    left = tuple(loss for loss in domain.choices if loss in fitting)
    if not left:
        raise UsageError(
            f"study.space.loss.choices={_listed(domain.choices)}: none fits a {task}", f"take {' or '.join(fitting)}"
        )
    return Choice("choice", left)


def _limited(domain: Domain, name: str, stem: str, settings: Settings, cells: int) -> Domain:
    """What the limits that apply leave of a domain."""
    if settings.limits == "none":
        return domain
    for limit in settings.study.limits:
        allowed = limit.choices.get(name, limit.choices.get(stem))
        if allowed is None or cells < limit.cells:
            continue
        left = tuple(value for value in domain.choices if value in allowed) if isinstance(domain, Choice) else ()
        if not left:
            raise UsageError(
                f"study.space.{name}: limits=paper leaves only {_listed(allowed)} to cells, and none is asked for",
                "limits=none, where the memory suffices",
            )
        domain = Choice("choice", left)
    return domain


def _check(name: str, domain: Domain) -> None:
    """Both ends of a range, or every choice, must be values that the hyperparameter can take."""
    key = f"study.space.{name}"
    if isinstance(domain, Choice):
        ends: Mapping[str, tuple[Value, ...]] = {f"{key}.choices": domain.choices}
        if len(set(domain.choices)) < len(domain.choices):
            raise UsageError(f"{key}.choices={_listed(domain.choices)}: a value stands twice", "say each value once")
    else:
        ends = {f"{key}.low": (domain.low,), f"{key}.high": (domain.high,)}
        if domain.low >= domain.high:
            raise UsageError(f"{key}: low {domain.low} is not below high {domain.high}")
        if domain.log and domain.low <= 0:
            raise UsageError(f"{key}: a logarithmic scale begins above 0, not at {domain.low}", f"{key}.log=false")
    whole = not isinstance(domain, FloatRange)
    for place, values in ends.items():
        for value in values:
            try:
                _type_of(name).validate_python(value if whole else float(value), strict=True)
            except ValidationError as error:
                what = error.errors()[0]["msg"].removeprefix("Input should be ")
                raise UsageError(f"{place}: {value} cannot be a {name}: it takes {what}") from None


def _type_of(name: str) -> TypeAdapter[object]:
    """What one value of this parameter can be: the type of a spec's field, or of the entries of a tuple there."""
    stem, _, number = name.rpartition("_")
    field = stem if number.isdigit() else name
    spec = LayerSpec if field == "hidden" else TrainingSpec
    hint = typing.get_type_hints(spec, include_extras=True)[next(f.name for f in fields(spec) if f.name == field)]
    return TypeAdapter(typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint)


def _listed(values: tuple[Value, ...]) -> str:
    return f"[{','.join(map(str, values))}]"
