"""What every study promises, and whether it is so: one function that looks at all that was stored, and changes nothing.

What a scheduler is just changing is looked at twice, and what it may still do is no broken promise: while one lives,
the tracker may lag behind and the end of the study is to come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from nasctl.errors import NasctlError, StateMismatchError, UsageError, nearest
from nasctl.tracking.namesakes import check_own
from nasctl.tracking.records import Tracker
from nasctl.tuning.agreement import Shown, disagreements, table_differences
from nasctl.tuning.folders import DrivenFolder
from nasctl.tuning.leftovers import checkpoint_trouble, evaluation_trouble
from nasctl.tuning.look import BACKUP, Look, look_at
from nasctl.tuning.owners import driver, lock_holders
from nasctl.tuning.searches import SearchProgress, search_disagreements, searches
from nasctl.tuning.study import StudyStore
from nasctl.tuning.trials import Ended

Promise = Literal["counted", "numbered", "ended", "owned", "tracked", "checkpoint", "tested", "tables"]

PROMISES: Mapping[Promise, str] = MappingProxyType(
    {
        "counted": "no finished trial is lost or counted twice",
        "numbered": "numbers are unique and without gaps, exactly as many trials finish as are asked for",
        "ended": "every trial's end is recorded, a failure or a diverged run with its reason",
        "owned": "one scheduler at a time drives a study",
        "tracked": "MLflow has the trials and searches that have ended, each once and as they are",
        "checkpoint": "best.safetensors is the best trial's",
        "tested": "the best trial was evaluated, and the predictions are those that its scores come from",
        "tables": "tables follow from the recorded runs alone",
    }
)

AGAIN = ("nasctl", "resume")
LACKING, ANEW = ("nasctl", "sync"), ("nasctl", "sync", "--rebuild")
FROM_MLFLOW = "MLflow keeps a copy among the files of the study's run; or study.name=OTHER anew"


Typed = Callable[..., str]
"""The words of a command -> what to type for it on these stores."""


@dataclass(frozen=True)
class Broken:
    """A promise that does not hold: which one, where, what is wrong, and what would mend it."""

    promise: Promise
    where: str
    what: str
    mend: str


@dataclass(frozen=True)
class Verified:
    """A study or a search that was looked at; `owner` is the scheduler that drives it, in words, or ""."""

    study: str
    owner: str
    broken: tuple[Broken, ...]


@dataclass(frozen=True)
class _Stores:
    studies: StudyStore
    root: Path
    tracker: Tracker
    shown: Shown
    ours: Callable[[], Mapping[str, Mapping[str, Any]]]
    """What is shown of `tracker`, read once."""
    typed: Typed


def verify(
    store: StudyStore | None, root: Path, tracker: Tracker, shown: Shown, typed: Typed, *, names: Sequence[str] = ()
) -> Iterator[Verified]:
    """The named studies and searches, or all: every promise of theirs that is broken.

    `store` is None where there is none yet; `root` is the folder of everything but the databases; `shown` tells by
    study what tables show of a tracker, `typed` what to type for a command on these stores. Raises UsageError for a
    name that the store does not have, MachineError if a store cannot be read.
    """
    known = [study.name for study in store.progress()] if store is not None else []
    begun = {search.name: search for search in searches(root)}
    for name in names:
        if name not in known and name not in begun:
            raise UsageError(f"there is no study or search {name!r}", nearest(name, [*known, *begun]))
    tables = cache(lambda: shown(tracker))
    for name in names or [*known, *begun]:
        if (search := begun.get(name)) is not None:
            yield _search_verified(search, tracker, typed)
            continue
        assert store is not None  # noqa: S101 - it has this study
        stores = _Stores(store, root, tracker, shown, tables, typed)
        found = _verified(stores, name)
        if found.owner and found.broken:  # seen in the middle of a change?
            again = _verified(stores, name)
            found = replace(again, broken=tuple(each for each in again.broken if each in found.broken))
        yield found


def _search_verified(search: SearchProgress, tracker: Tracker, typed: Typed) -> Verified:
    """While somebody drives the search, MLflow may lag behind."""
    if search.owner or search.found is None:
        return Verified(search.name, search.owner, ())
    broken = (
        Broken("tracked", "the search", what, typed(*(LACKING if lacking else ANEW), search.name))
        for what, lacking in search_disagreements(search.found, tracker)
    )
    return Verified(search.name, "", tuple(broken))


def _verified(stores: _Stores, name: str) -> Verified:
    folder, tracker = DrivenFolder(stores.root, name), stores.tracker
    before = driver(folder)
    parents = list(tracker.runs("study", {"nasctl.study": name}))  # first: what it has was stored before
    children = list(tracker.runs("trial", {"nasctl.study": name}))
    whole = frozenset(id_ for parent in parents for id_ in tracker.trials(parent.id).values())
    try:
        look = look_at(stores.studies, name)
    except StateMismatchError as error:
        return Verified(name, before, (Broken("ended", "the study", str(error), error.hint),))
    look, spec = replace(look, owner=before or driver(folder)), look.spec
    stored_badly = damage(look, stores.studies)
    try:
        check_own(parents, name, look.uid)
    except StateMismatchError as error:
        behind = [Broken("tracked", "the study", str(error), error.hint)]
    else:
        behind = [  # where the database itself is damaged, MLflow may know better: nothing is to be deleted there
            Broken(
                "tracked", where, what, BACKUP if stored_badly else stores.typed(*(LACKING if lacking else ANEW), name)
            )
            for where, what, lacking in disagreements(
                spec, look.ended, parents, children, whole, living=bool(look.owner), over=look.over
            )
        ]
    broken = [*stored_badly, *_owned(name, folder, stores), *behind]
    if look.over and look.best is not None:
        broken += _end(look, folder, stores)
        if not stored_badly and not behind:
            broken += [
                Broken("tables", "the study", text, stores.typed(*ANEW, name))
                for text in table_differences(spec, look.ended, look.evaluated, stores.ours().get(name), stores.shown)
            ]
    return Verified(name, look.owner, tuple(broken))


# --- what the studies' database says by itself ------------------------------------------------------------------------


def damage(look: Look, store: StudyStore) -> tuple[Broken, ...]:
    """The promises that the studies' database breaks by itself, whatever else there is."""
    return (*_counted(look, store), *_numbered(look), *_ended(look))


def _counted(look: Look, store: StudyStore) -> Iterator[Broken]:
    for number, trial in look.trials.items():
        told, where = look.ended.get(number), f"trial {number}"
        if trial.state == "finished" and told is not None:
            digests = {str(trial.attributes.get("digest")), told.record.digest, told.asked.digest}
            if trial.values != (told.record.value,):
                values = ", ".join(map(str, trial.values)) or "no value"
                yield Broken("counted", where, f"Optuna has {values}, its record {told.record.value}", BACKUP)
            if len(digests) > 1:
                yield Broken("counted", where, f"its record is of another run: {', '.join(sorted(digests))}", BACKUP)
            if told.duplicate_of is not None and (wrong := _not_told_by(store, told)):
                yield Broken("counted", where, wrong, BACKUP)
        elif trial.state == "unfinished" and "record" in trial.attributes:
            yield Broken("counted", where, "it has ended, and counts as if it had not", BACKUP)
    if look.final is not None and look.final["trials"] > look.counted:
        text = f"{look.final['trials']} trials had finished when the best was tested, {look.counted} are there"
        yield Broken("counted", "the study", text, BACKUP)


def _not_told_by(store: StudyStore, trial: Ended) -> str:
    """What is wrong with the trial whose known result this one was told; "" if nothing."""
    study, _, number = str(trial.duplicate_of).rpartition("/")
    try:
        known = store.ended(study, int(number))
    except (NasctlError, ValueError, KeyError):
        return f"it was told the result of {trial.duplicate_of}, which has none"
    same = (known.record.digest, known.record.value) == (trial.record.digest, trial.record.value)
    return "" if same and known.known else f"it was told the result of {trial.duplicate_of}, which has another"


def _numbered(look: Look) -> Iterator[Broken]:
    counts = Counter(trial.number for trial in look.stored.trials)
    for number in sorted(set(range(max(counts, default=-1) + 1)) - set(counts)):
        yield Broken("numbered", f"trial {number}", "it is not there, and later ones are", BACKUP)
    for number in sorted(number for number, times in counts.items() if times > 1):
        yield Broken("numbered", f"trial {number}", f"{counts[number]} trials have this number", BACKUP)
    finished = look.counted
    if look.over and look.final is not None and finished > max(look.spec.trials, look.final["trials"]):
        yield Broken("numbered", "the study", f"{finished} trials finished, {look.spec.trials} were wanted", BACKUP)


def _ended(look: Look) -> Iterator[Broken]:
    for number, trial in look.trials.items():
        told, where = look.ended.get(number), f"trial {number}"
        if number in look.unreadable:
            yield Broken("ended", where, f"it cannot be read: {look.unreadable[number]}", BACKUP)
        elif trial.state not in {"finished", "pruned", "failed", "unfinished"}:
            yield Broken("ended", where, f"Optuna calls it {trial.state}, which no scheduler of nasctl writes", BACKUP)
        elif trial.state != "unfinished" and (told is None or trial.ended is None):
            yield Broken("ended", where, f"it is {trial.state}, and nothing says how or when", BACKUP)
        elif trial.state != "unfinished" and told is not None and trial.state != _as_stored(told):
            yield Broken("ended", where, f"it is {trial.state}, by its record {told.record.state}", BACKUP)
        elif told is not None and told.record.state != "finished" and not told.record.reason:
            yield Broken("ended", where, f"it is {told.record.state} without a reason", BACKUP)
        for place, failure in enumerate(trial.attributes.get("failures", ()), 1):
            if not failure.get("reason"):
                yield Broken("ended", where, f"attempt {place} came to nothing without a reason", BACKUP)


def _as_stored(trial: Ended) -> str:
    """What the database calls the state of a trial that has been told this."""
    return "finished" if trial.known else "pruned" if trial.counts else "failed"


def _owned(name: str, folder: DrivenFolder, stores: _Stores) -> Iterator[Broken]:
    holders, owner = lock_holders(stores.root).get(name, frozenset()), folder.owner()
    if len(holders) > 1:
        pids = ", ".join(map(str, sorted(holders)))
        yield Broken("owned", "the study", f"processes {pids} hold its lock", "stop all of them but one")
    elif holders and owner is not None and not driver(folder):
        text = f"process {min(holders)} holds its lock, process {owner.pid} says that it drives it"
        mend = f"is {min(holders)} a scheduler? stop it, and {stores.typed(*AGAIN, name)}"
        yield Broken("owned", "the study", text, mend)


# --- what the end left ------------------------------------------------------------------------------------------------


def _end(look: Look, folder: DrivenFolder, stores: _Stores) -> Iterator[Broken]:
    best = look.best
    if best is None or look.final is None:  # every trial has diverged
        return
    known, final, tested = look.ended[best.number], look.evaluated, look.final["trial"]
    if (trouble := checkpoint_trouble(folder, known.asked)) is not None:
        yield Broken("checkpoint", folder.checkpoint.name, trouble, FROM_MLFLOW)
    if tested != best.number:
        yield Broken(
            "tested",
            "the study",
            f"trial {tested} was tested, the best is trial {best.number}",
            stores.typed(*AGAIN, look.spec.name),
        )
    elif final is None:
        yield Broken("tested", "the study", "the record of its evaluation cannot be read", BACKUP)
    else:
        for text in evaluation_trouble(folder.predictions, known.record, final):
            yield Broken("tested", folder.predictions.name, text, FROM_MLFLOW)
