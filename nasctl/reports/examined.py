"""Finished searches whose policies were examined, as the store's folder keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nasctl.data.metrics import METRICS
from nasctl.errors import MachineError, UsageError, nearest
from nasctl.search.samples import FILE, Examined, Policy, SampledCell, read_samples
from nasctl.tracking import tags as tag
from nasctl.tracking.found import found
from nasctl.tracking.records import RunRecord


@dataclass(frozen=True)
class ExaminedSearch:
    """A search's name, its labels (tags), its record, and samples of its policies."""

    name: str
    labels: Mapping[str, str]
    record: RunRecord
    samples: Examined

    @property
    def scale(self) -> float:
        """What a score is multiplied by to be shown."""
        return METRICS[self.samples.metric].scale

    def of(self, policy: Policy) -> tuple[SampledCell, ...]:
        """The samples of this policy; none, if it drew none."""
        return self.samples.policies.get(policy, ())

    def called(self, policy: Policy) -> str:
        """What tables and figures call it: a trained controller is plain, or supervised by a memory of cells."""
        return policy if policy != "trained" else "supervised" if self.labels.get(tag.MEMORY) else "plain"


def examined(root: Path, names: Sequence[str] = ()) -> tuple[ExaminedSearch, ...]:
    """The named searches below a store's root in this order, else all that are over and were examined, by name.

    Raises UsageError for a search that is not there, MachineError where there is none and for files that are not whole.
    """
    known = {search.name: search for search in found(root)}
    samples = {name: path for name in sorted(known) for path in known[name].files if path.name == FILE}
    for name in names:
        if name not in known:
            raise UsageError(f"no search {name!r} has ended in {root}", nearest(name, known))
        if name not in samples:
            raise UsageError(f"the search {name} examined no samples", "ask for some: search.found.examined=100")
    entries = [(name, known[name].entry) for name in names or samples]
    if not entries:
        raise MachineError(f"no search in {root} has examined its samples yet", "`nasctl search` makes one")
    return tuple(ExaminedSearch(name, entry.tags, entry.record, read_samples(samples[name])) for name, entry in entries)
