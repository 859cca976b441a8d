"""The flat tags by which runs are found, filtered and grouped, on a study and on each of its trials alike.

All start with `nasctl.` and hold text. The labels (dataset, embedding, model, cell, layers, sweep, vectors...) come
from the caller; what follows from a record, and the keys by which a tracker finds its runs again, is added here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nasctl.files import digest
from nasctl.tracking.records import RunRecord, TrialEntry

PREFIX = "nasctl."

KIND = "nasctl.kind"  # study, trial, run or search
STUDY = "nasctl.study"
UID = "nasctl.uid"  # on a study: what its database calls it, so that studies of one name are told apart
TRIAL = "nasctl.trial"
NAME = "nasctl.name"  # of a single run or a search

DATASET = "nasctl.dataset"
EMBEDDING = "nasctl.embedding"
MODEL = "nasctl.model"
CELL = "nasctl.cell"  # where the cells come from: lstm, searched, random, transferred...
LAYERS = "nasctl.layers"  # where they stand: one letter per recurrent layer
LETTERS = "nasctl.letters"  # both in the paper's letters: L, E, R, T per layer
SOURCE = "nasctl.source"  # the data set on which a transferred cell was found
DATA = "nasctl.data"  # the digest of the data that a search had
FOUND_BY = "nasctl.found_by"  # the name of that search
SEARCH = "nasctl.search"  # the method of the search behind a pool
SEARCH_CHANGED = "nasctl.search_changed"  # what the command of that search changed of the method
SPACE = "nasctl.space"
NODES = "nasctl.nodes"
SWEEP = "nasctl.sweep"
LIMITS = "nasctl.limits"  # paper or none: whether the limits of the sweep held; not there where it has none
CHANGED = "nasctl.changed"  # what a command changed of space, training and readings; not there for nothing
VECTORS = "nasctl.vectors"  # the file name of the word vectors (the paper's: glove.6B.300d.txt), or how they were made
MEMORY = "nasctl.memory"  # the memory of cells that a search's controller was taught from; not there without one
ENCODER = "nasctl.encoder"  # the frozen encoder behind the vectors; not there for word vectors

BASIS = "nasctl.basis"  # the digest of what scores must share to be compared: data, embedding and the model's readings

ROLE = "nasctl.role"
STATE = "nasctl.state"
REASON = "nasctl.reason"
DIGEST = "nasctl.digest"
METRIC = "nasctl.metric"
DEVICE = "nasctl.device"
THREADS = "nasctl.threads"
BACKEND = "nasctl.backend"
RESULT_VERSION = "nasctl.result_version"
VERSION = "nasctl.version"
ATTEMPTS = "nasctl.attempts"
DUPLICATE_OF = "nasctl.duplicate_of"  # the trial whose known result this one was told
BEST_TRIAL = "nasctl.best_trial"  # on a study: the number of the trial that its final run comes from

REASON_LENGTH = 2_000
"""Characters of a failure's reason that are kept; stores limit a tag's length."""
CHANGED_LENGTH = 500
"""Characters of what was changed that are told: it stands in notes below tables."""
CELL_LENGTH = 4_000
"""A cell whose text is longer is known by its digest alone: half a text is none."""


def changed_label(changed: Sequence[str]) -> dict[str, str]:
    """What a command changed of a method as a label; what is longer than a tag may be is told apart by its digest."""
    text = " ".join(changed)
    if len(text) > CHANGED_LENGTH:
        text = f"{text[:CHANGED_LENGTH]}... ({digest(text)})"
    return {"changed": text} if text else {}


def label_tags(labels: Mapping[str, str]) -> dict[str, str]:
    """A study's labels as tags: {"dataset": "sick"} becomes {"nasctl.dataset": "sick"}."""
    return {PREFIX + name: text for name, text in labels.items()}


def uid_tag(uid: str | None) -> dict[str, str]:
    """What tells a study from others of its name; nothing for one from before they had any."""
    return {} if uid is None else {UID: uid}


def record_tags(record: RunRecord) -> dict[str, str]:
    """What a record says in words: role, state, device, versions, and each layer's cell."""
    tags = {
        ROLE: record.role,
        STATE: record.state,
        DIGEST: record.digest,
        METRIC: record.metric,
        DEVICE: record.device,
        THREADS: str(record.threads),
        BACKEND: record.backend,
        RESULT_VERSION: str(record.result_version),
    }
    if record.reason:
        tags[REASON] = record.reason[:REASON_LENGTH]
    for name, version in record.versions.items():
        tags[VERSION if name == "nasctl" else PREFIX + name] = version
    for place, cell in enumerate(record.cells, 1):
        tags |= {f"{PREFIX}{key}_{place}": text for key, text in cell.items() if len(text) <= CELL_LENGTH}
    return tags


def study_tags(study: str, tags: Mapping[str, str]) -> dict[str, str]:
    """All tags of a study's own run that has just begun, or goes on."""
    return {**tags, KIND: "study", STUDY: study, STATE: "running"}


def study_key(study: str, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags by which a study's own run is found again."""
    return {KIND: "study", STUDY: study} | {key: text for key, text in tags.items() if key == UID}


def trial_tags(study: str, entry: TrialEntry) -> dict[str, str]:
    """All tags of a trial's run."""
    return {**record_tags(entry.record), **entry.tags, KIND: "trial", STUDY: study, TRIAL: str(entry.number)}


def run_tags(name: str, entry: TrialEntry) -> dict[str, str]:
    """All tags of a single run, or of a search."""
    kind = "search" if entry.record.role == "search" else "run"
    return {**record_tags(entry.record), **entry.tags, KIND: kind, NAME: name}


def trial_name(study: str, number: int) -> str:
    """What a trial's run is called: `sick-glove-blm-L/t0042`."""
    return f"{study}/t{number:04d}"
